"""The door: what every accepted socket meets first.

A connection is counted, its request head is read under a deadline and limits of our own, and
then the socket goes, with every byte it sent, to the WebSocket side or to twisted.web. Neither
of them bounds the head or its time the way a server on the open web must.

::

    HEAD --- of a WebSocket, for a path of `streams` ---> (another protocol has the socket now)
      |----- for a path of `calls` ----> CALL      its body bounded, answered; then HEAD again
      |----- another one --------------> HTTP      one request, its body bounded
      '----- refused, too late --------> CLOSING   answered, closed at the deadline
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.sockets.census import Census, Lease
from twbridge.sockets.exchange import Exchange
from twbridge.sockets.heads import Head, HeadReader, Refusal
from twbridge.sockets.origins import Client, Listener, Proxies, networks
from twbridge.sockets.sides import Answer, FrontLimits, ICallSide, IHTTPSide, ISocketSide

__all__ = ["Front", "FrontFactory", "FrontLimits", "State"]

_AGAIN: Final = (("Retry-After", "5"),)


class State(enum.Enum):
    """Where a connection at the door is."""

    HEAD = enum.auto()
    CALL = enum.auto()
    HTTP = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


class Front(Protocol):
    """One socket, from its acceptance to the hand-over; to its end, where it is HTTP."""

    _log = Logger()
    factory: FrontFactory

    def __init__(self) -> None:
        self._state = State.HEAD
        self._inner: IProtocol | None = None
        self._exchange: Exchange | None = None
        self._deadline: IDelayedCall | None = None
        self._lease: Lease | None = None
        self._address = "unix"
        # What plain HTTP may still send.
        self._allowance = 0
        self._requests = 0
        self._head: Head | None = None
        self._idle = False
        self._pending = b""
        self._reading = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        factory, peer = self.factory, self.transport.getPeer()
        self._address = getattr(peer, "host", "unix")
        self._lease = lease = factory.census.enter()
        if self._address != "unix" and not factory.proxies.trusts(self._address):
            lease.settle(self._address)
        self._begin(factory.limits.handshake_seconds)
        if factory.census.overrun or lease.overrun:
            self._state = State.CLOSING
            self._abort()

    def _begin(self, seconds: float) -> None:
        """Waits for a head."""
        self._state = State.HEAD
        self._reader = HeadReader(self.factory.limits.handshake_bytes)
        self.factory.waiting.add(self)
        self._set_deadline(seconds)

    def dataReceived(self, data: bytes) -> None:
        self._pending += data
        if not self._reading:
            self._read_pending()

    def _read_pending(self) -> None:
        """Reads all that is there; an answer given at once leads to the next request."""
        self._reading = True
        while self._pending:
            data, self._pending = self._pending, b""
            self._read(data)
        self._reading = False

    def _read(self, data: bytes) -> None:
        try:
            if self._state is State.HTTP:
                self._forward(data)
            elif self._state is State.CALL:
                assert self._exchange is not None
                self._exchange.received(data)
            elif self._state is State.HEAD:
                self._read_head(data)
        except Refusal as refusal:
            self._refuse(refusal)
        except Exception:
            self._log.failure("A connection from {address} failed", address=self._address)
            self._refuse(Refusal(500, "Something went wrong inside the bridge."))
            if self._state is State.HTTP:
                self._abort()

    def _read_head(self, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self._set_deadline(self.factory.limits.handshake_seconds)
        result = self._reader.receive(data)
        if result is not None:
            self._admit(*result)

    def _admit(self, head: Head, data: bytes) -> None:
        """Decides whose socket this is, or raises Refusal."""
        assert self.transport is not None
        assert self._lease is not None
        factory = self.factory
        self._head = head
        peer = getattr(self.transport.getPeer(), "host", "unix")
        client = factory.proxies.client(head, peer, secure=ISSLTransport.providedBy(self.transport))
        # Each request may be another client's, where a proxy keeps its connections.
        self._address = client.address
        if client.address != peer:
            self._lease.settle(client.address)
        if self._lease.crowded:
            raise Refusal(503, "Too many connections from your address.", _AGAIN)
        side = factory.websocket if head.wants_websocket else factory.streams.get(head.path)
        call = factory.call_side(head.path)
        if factory.census.crowded and (side is not None or call is not None):
            raise Refusal(503, "Too many connections, come back later.", _AGAIN)
        if side is not None:
            self._hand_over(side, head, client, data)
        elif call is not None:
            self._to_call(call, head, client, data)
        else:
            self._to_http(head, data)

    def _hand_over(self, side: ISocketSide, head: Head, client: Client, data: bytes) -> None:
        assert self._lease is not None
        if head.has_body:
            raise Refusal(400, "This request has no body.")
        protocol = side.admit(head, client, self._lease)
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

    def _to_call(self, side: ICallSide, head: Head, client: Client, data: bytes) -> None:
        self._exchange = Exchange(
            side,
            head,
            client,
            transport=self.transport,
            clock=self.factory.clock,
            seconds=self.factory.limits.body_seconds,
            answered=self._answered,
            refused=self._refuse,
        )
        self._leave(State.CALL)
        self._exchange.received(data.partition(b"\r\n\r\n")[2])

    def _answered(self, answer: Answer, rest: bytes) -> None:
        assert self.transport is not None
        assert self._exchange is not None
        head, self._exchange = self._exchange.head, None
        factory, limits = self.factory, self.factory.limits
        self._requests += 1
        enough = self._requests >= limits.requests or factory.census.crowded
        if enough or head.wants_close or factory.stopped:
            self.transport.write(answer.encode(("Connection", "close")))
            self._close()
            return
        hint = ("Keep-Alive", f"timeout={limits.idle_seconds:.0f}")
        self.transport.write(answer.encode(hint))
        self._begin(limits.idle_seconds)
        self._idle = True
        self._pending = rest + self._pending
        if not self._reading:
            self._read_pending()

    def _forward(self, data: bytes) -> None:
        assert self._inner is not None
        self._allowance -= len(data)
        if self._allowance < 0:
            self._abort()
        else:
            self._inner.dataReceived(data)

    def _refuse(self, refusal: Refusal) -> None:
        """Answers and closes; with a deadline, for a peer that does not let us close."""
        if self._state not in (State.HEAD, State.CALL) or self.transport is None:
            return
        self._log.debug(
            "Refused {address}: {status} {sentence}",
            address=self._address,
            status=refusal.status,
            sentence=refusal.sentence,
        )
        head, answer = self._head, refusal.response()
        if head is not None and head.method == "HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self.factory.waiting.add(self)
        self._close(linger=head is not None and head.has_body)

    def _close(self, linger: bool = False) -> None:
        """Ends the connection when the answer is sent, at the deadline at the latest.

        With `linger` the peer closes it: a socket that is closed while bytes of a body come in is
        reset, and its peer may never see the answer (RFC 9112, section 9.6).
        """
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()
        self._state = State.CLOSING
        if self._deadline is None:
            self._set_deadline(self.factory.limits.handshake_seconds)
        transport: Any = self.transport
        plain = ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport)
        (transport.loseWriteConnection if linger and plain else transport.loseConnection)()

    def _set_deadline(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.factory.clock.callLater(seconds, self._abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _leave(self, state: State) -> None:
        """The head is done: no deadline any more."""
        self._state = state
        self.factory.waiting.discard(self)
        self._cancel_deadline()

    def _abort(self) -> None:
        assert self.transport is not None
        abort = getattr(self.transport, "abortConnection", self.transport.loseConnection)
        abort()

    def abort(self) -> None:
        """Ends a connection whose head is not complete; behind an answer, when that is sent."""
        if self.transport is None:
            return
        if self._idle:
            self.transport.loseConnection()
        elif self._state in (State.HEAD, State.CLOSING):
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        inner, self._inner = self._inner, None
        exchange, self._exchange = self._exchange, None
        self._pending = b""
        self._leave(State.GONE)
        if self._lease is not None:
            self._lease.release()
        if exchange is not None:
            exchange.lost()
        if inner is not None:
            inner.connectionLost(reason)


class FrontFactory(Factory[Front]):
    """Builds the door of every socket of one listener; give it to any endpoint.

    Args:
        websocket: takes the sockets that ask for WebSocket.
        site: takes the others. One request is read of each.
        streams: by path, who takes the sockets that ask for it.
        calls: by path, who answers the requests for it; their connections live on. A path that
            ends with a slash stands for all that have one segment behind it.
        listener: whose proxies are believed.
        limits: what a connection may cost.
        clock: for the deadline.
        census: shared where several listeners share the limits.
    """

    noisy = False

    def __init__(
        self,
        websocket: ISocketSide,
        site: IHTTPSide,
        *,
        streams: Mapping[str, ISocketSide] | None = None,
        calls: Mapping[str, ICallSide] | None = None,
        clock: IReactorTime,
        listener: Listener | None = None,
        limits: FrontLimits | None = None,
        census: Census | None = None,
    ) -> None:
        self.websocket = websocket
        self.site = site
        self.streams = streams or {}
        self.calls = calls or {}
        self.clock = clock
        self.limits = limits or FrontLimits()
        self.proxies = Proxies(networks((listener or Listener()).proxies))
        self.census = census or Census(self.limits.connections, self.limits.connections_per_address)
        self.waiting: set[Front] = set()
        self.stopped = False

    def buildProtocol(self, addr: IAddress | None) -> Front:
        front = Front()
        front.factory = self
        return front

    def call_side(self, path: str) -> ICallSide | None:
        """Who answers the requests for a path."""
        return self.calls.get(path) or self.calls.get(path[: path.rfind("/") + 1])

    def stopFactory(self) -> None:
        """The port is closed: nobody waits for a head any more, or for its rest."""
        self.stopped = True
        for front in list(self.waiting):
            front.abort()
