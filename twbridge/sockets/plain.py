"""A connection that twisted.web serves, behind a head that went through the door."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.sides import AGAIN, FrontLimits, IHTTPSide

__all__ = ["Plain", "abort"]


def abort(transport: Any) -> None:
    """Ends a connection at once, where its transport can."""
    getattr(transport, "abortConnection", transport.loseConnection)()


class Plain:
    """One request, its body bounded.

    Args:
        site: serves it.
        head: the request's.
        transport: the connection's.
        limits: of the body.

    Raises:
        Refusal: 413, its body is too large; 503, nothing is served any more.
    """

    def __init__(self, site: IHTTPSide, head: Head, transport: Any, limits: FrontLimits) -> None:
        length = head.one("content-length") or "0"
        if length.isdecimal() and int(length) > limits.body:
            raise Refusal(413, "The request's body is too large.")
        inner = site.buildProtocol(transport.getPeer())
        if inner is None:
            raise Refusal(503, "The server is shutting down.", AGAIN)
        self._transport = transport
        self._inner: IProtocol = inner
        # Chunks have their own framing, and one more request may follow that nobody reads.
        self._allowance = limits.handshake_bytes + 2 * limits.body

    def begin(self, data: bytes) -> None:
        """The site has the connection, and gets all that comes, and what has come."""
        self._inner.makeConnection(self._transport)
        self.receive(data)

    def receive(self, data: bytes) -> None:
        """Takes bytes as they come; too many end the connection."""
        self._allowance -= len(data)
        if self._allowance < 0:
            abort(self._transport)
        else:
            self._inner.dataReceived(data)

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._inner.connectionLost(reason)
