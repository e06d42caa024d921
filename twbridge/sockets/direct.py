"""Writing to a socket at once.

Twisted's ``transport.write`` waits for the next turn of the reactor, and tells epoll twice, which
is right where a turn has many small writes for one socket. A broadcast has one for each of many
sockets: there one system call instead of four saves a third of the latency.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp

from twbridge.flow import Writer


def direct(transport: Any) -> Writer:
    """A writer that sends at once where the transport can; else the transport itself (TLS)."""
    # The type, not its attributes: TLS's wrapper has those of the plain socket that it wraps.
    if isinstance(transport, tcp.Connection) and not transport.TLS:
        return _Direct(transport)
    plain: Writer = transport
    return plain


class _Direct:
    """Writes at once unless something waits; order and back-pressure stay the transport's."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        transport = self._transport
        if (
            transport.dataBuffer
            or transport._tempDataBuffer
            or transport.disconnecting
            or not transport.connected
        ):
            transport.write(data)
            return
        sent = transport.writeSomeData(data)
        if sent == len(data):
            return
        # A number, or the error that the same write will meet again, in the reactor's hands.
        transport.write(data[sent:] if isinstance(sent, int) and sent > 0 else data)
