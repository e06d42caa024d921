"""The door: what every accepted socket meets first.

A connection is counted, its request head is read under a deadline and limits of our own, and
then the socket goes, with every byte it sent, to the WebSocket side or to twisted.web. Neither
of them bounds the head or its time the way a server on the open web must.

::

    HEAD --- a WebSocket's head ---> (the WebSocket side owns the socket, this object is gone)
      |----- another head ---------> HTTP      one request, its body bounded
      '----- refused, too late ----> CLOSING   answered, closed at the deadline at the latest
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.sockets.census import Census, Lease
from twbridge.sockets.heads import Head, HeadReader, Refusal
from twbridge.sockets.origins import Client, Listener, Proxies, networks

_AGAIN: Final = (("Retry-After", "5"),)


@dataclass(frozen=True)
class FrontLimits:
    """What a connection may cost before it is anybody's.

    Attributes:
        connections: sockets in all.
        connections_per_address: sockets of one IPv4 address or IPv6 /64.
        handshake_bytes: of a request head.
        handshake_seconds: from the accepted socket to the end of its head, TLS included,
            however steadily it drips.
        body: bytes that a plain HTTP request may send after its head.
    """

    connections: int = 20_000
    connections_per_address: int = 1_000
    handshake_bytes: int = 16_384
    handshake_seconds: float = 5.0
    body: int = 1_048_576


class IWebSocketSide(TypingProtocol):
    """Whoever takes the sockets that ask for WebSocket."""

    def admit(self, head: Head, client: Client, lease: Lease) -> IProtocol:
        """Builds the protocol for a socket, which then gets its transport and every byte.

        The protocol releases the lease when its connection is lost.

        Raises:
            Refusal: it may not come in.
        """


class IHTTPSide(TypingProtocol):
    """Whoever takes all the others: a ``twisted.web.server.Site``."""

    def buildProtocol(self, addr: IAddress, /) -> IProtocol | None:
        """Builds the protocol for a socket of plain HTTP."""


class State(enum.Enum):
    """Where a connection at the door is."""

    HEAD = enum.auto()
    HTTP = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


class Front(Protocol):
    """One socket, from its acceptance to the hand-over; to its end, where it is plain HTTP."""

    _log = Logger()
    factory: FrontFactory

    def __init__(self) -> None:
        self._state = State.HEAD
        self._inner: IProtocol | None = None
        self._deadline: IDelayedCall | None = None
        self._lease: Lease | None = None
        self._address = "unix"
        # What plain HTTP may still send.
        self._allowance = 0

    def connectionMade(self) -> None:
        assert self.transport is not None
        factory, peer = self.factory, self.transport.getPeer()
        self._address = getattr(peer, "host", "unix")
        self._reader = HeadReader(factory.limits.handshake_bytes)
        self._lease = lease = factory.census.enter()
        factory.waiting.add(self)
        if self._address != "unix" and not factory.proxies.trusts(self._address):
            lease.settle(self._address)
        if factory.census.overrun or lease.overrun:
            self._state = State.CLOSING
            self._abort()
            return
        self._deadline = factory.clock.callLater(factory.limits.handshake_seconds, self._abort)

    def dataReceived(self, data: bytes) -> None:
        if self._state is State.HEAD:
            self._read_head(data)
        elif self._state is State.HTTP:
            self._forward(data)

    def _read_head(self, data: bytes) -> None:
        try:
            result = self._reader.receive(data)
            if result is not None:
                self._admit(*result)
        except Refusal as refusal:
            self._refuse(refusal)
        except Exception:
            self._log.failure("A connection from {address} failed", address=self._address)
            self._refuse(Refusal(500, "Something went wrong inside the bridge."))
            if self._state is State.HTTP:
                self._abort()

    def _admit(self, head: Head, data: bytes) -> None:
        """Decides whose socket this is.

        Raises:
            Refusal: nobody's.
        """
        assert self.transport is not None
        assert self._lease is not None
        client = self.factory.proxies.client(
            head, self._address, secure=ISSLTransport.providedBy(self.transport)
        )
        if client.address != self._address:
            self._address = client.address
            self._lease.settle(client.address)
        if self._lease.crowded:
            raise Refusal(503, "Too many connections from your address.", _AGAIN)
        if head.wants_websocket:
            self._to_websocket(head, client, data)
        else:
            self._to_http(head, data)

    def _to_websocket(self, head: Head, client: Client, data: bytes) -> None:
        assert self._lease is not None
        if self.factory.census.crowded:
            raise Refusal(503, "Too many connections, come back later.", _AGAIN)
        if head.has_body:
            raise Refusal(400, "A WebSocket's opening request has no body.")
        protocol = self.factory.websocket.admit(head, client, self._lease)
        transport, self.transport = self.transport, None
        self._leave(State.GONE)
        # The transport knows its protocol under one of two names: the second is that of
        # protocols which wrap another, as TLS does.
        name = "wrappedProtocol" if hasattr(transport, "wrappedProtocol") else "protocol"
        setattr(transport, name, protocol)
        assert transport is not None
        protocol.makeConnection(transport)
        protocol.dataReceived(data)

    def _to_http(self, head: Head, data: bytes) -> None:
        assert self.transport is not None
        length = head.one("content-length") or "0"
        if length.isdecimal() and int(length) > self.factory.limits.body:
            raise Refusal(413, "The request's body is too large.")
        inner = self.factory.site.buildProtocol(self.transport.getPeer())
        if inner is None:
            raise Refusal(503, "The server is shutting down.", _AGAIN)
        self._leave(State.HTTP)
        self._inner = inner
        # Chunks have their own framing, and one more request may follow that nobody reads.
        self._allowance = self.factory.limits.handshake_bytes + 2 * self.factory.limits.body
        inner.makeConnection(self.transport)
        self._forward(data)

    def _forward(self, data: bytes) -> None:
        assert self._inner is not None
        self._allowance -= len(data)
        if self._allowance < 0:
            self._abort()
        else:
            self._inner.dataReceived(data)

    def _refuse(self, refusal: Refusal) -> None:
        """Answers and closes; the deadline stays, for a peer that does not let us close."""
        if self._state is not State.HEAD or self.transport is None:
            return
        self._state = State.CLOSING
        self._log.debug(
            "Refused {address}: {status} {sentence}",
            address=self._address,
            status=refusal.status,
            sentence=refusal.sentence,
        )
        self.transport.write(refusal.response())
        self.transport.loseConnection()

    def _leave(self, state: State) -> None:
        """The head is done: no deadline any more."""
        self._state = state
        self.factory.waiting.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _abort(self) -> None:
        assert self.transport is not None
        abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
        abort()

    def abort(self) -> None:
        """Ends a connection whose head is not complete."""
        if self._state in (State.HEAD, State.CLOSING) and self.transport is not None:
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        inner, self._inner = self._inner, None
        self._leave(State.GONE)
        if self._lease is not None:
            self._lease.release()
        if inner is not None:
            inner.connectionLost(reason)


class FrontFactory(Factory[Front]):
    """Builds the door of every socket of one listener; give it to any endpoint.

    Args:
        websocket: takes the sockets that ask for WebSocket.
        site: takes the others. One request is read of each.
        listener: whose proxies are believed.
        limits: what a connection may cost.
        clock: for the deadline.
        census: shared where several listeners share the limits.
    """

    noisy = False

    def __init__(
        self,
        websocket: IWebSocketSide,
        site: IHTTPSide,
        *,
        clock: IReactorTime,
        listener: Listener | None = None,
        limits: FrontLimits | None = None,
        census: Census | None = None,
    ) -> None:
        self.websocket = websocket
        self.site = site
        self.clock = clock
        self.limits = limits or FrontLimits()
        self.proxies = Proxies(networks((listener or Listener()).proxies))
        self.census = census or Census(self.limits.connections, self.limits.connections_per_address)
        self.waiting: set[Front] = set()

    def buildProtocol(self, addr: IAddress | None) -> Front:
        front = Front()
        front.factory = self
        return front

    def stopFactory(self) -> None:
        """The port is closed: nobody waits for the rest of a head any more."""
        for front in list(self.waiting):
            front.abort()
