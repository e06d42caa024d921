"""Writing to a socket earlier than Twisted's ``transport.write`` does.

That one waits for the next turn of the reactor, and tells epoll twice. It is right where a turn has
some small writes for one socket. A broadcast has one for each of many sockets: there one system
call instead of four saves a third of the latency (:func:`direct`). And a turn that has hundreds
for one socket would let its peer idle for all that time: `write_soon` sends them by the dozen.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from twisted.internet import tcp

from twbridge.flow import Writer

__all__ = ["MANY", "MUCH", "direct", "write_soon"]

#: Writes that wait for the end of a turn.
MANY = 32
#: Their bytes. A quarter of what a transport keeps before it pauses its producer.
MUCH = 16_384


def direct(transport: Any) -> Writer:
    """A writer that sends at once where the transport can; else the transport itself (TLS)."""
    if _is_plain(transport):
        return _Direct(transport)
    plain: Writer = transport
    return plain


def write_soon(transport: Any, data: bytes) -> None:
    """Write at the end of the turn, or with others of this turn, when there are many of them.

    Where the transport can't send at once (TLS), where something waits for the socket already, and
    where it is about to close, this is its ``write``.
    """
    if not _is_plain(transport) or transport.dataBuffer:
        transport.write(data)
        return
    pieces = transport._tempDataBuffer
    size = transport._tempDataLen + len(data)
    if pieces and len(pieces) < MANY - 1 and size < MUCH:
        # The reactor knows of those before, and the producer need not be paused.
        pieces.append(data)
        transport._tempDataLen = size
        return
    transport.write(data)
    if (len(pieces) < MANY and size < MUCH) or _has_to_wait(transport):
        return
    collected = b"".join(pieces)
    pieces.clear()
    transport._tempDataLen = 0
    _send(transport, collected)


def _has_to_wait(transport: tcp.Connection) -> bool:
    return bool(
        transport.producerPaused or transport.disconnecting or transport._writeDisconnecting
    )


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
        else:
            _send(transport, data)


def _is_plain(transport: Any) -> TypeGuard[tcp.Connection]:
    # The type, not its attributes: TLS's wrapper has those of the plain socket that it wraps.
    return isinstance(transport, tcp.Connection) and not transport.TLS


def _send(transport: Any, data: bytes) -> None:
    sent = transport.writeSomeData(data)
    if sent != len(data):
        # A number, or the error that the same write will meet again, in the reactor's hands.
        transport.write(data[sent:] if isinstance(sent, int) and sent > 0 else data)
