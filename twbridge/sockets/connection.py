"""What every accepted socket meets first.

Its request head is read under a deadline and limits of our own, and then the socket goes, with
every byte it sent, to the WebSocket side or to twisted.web. Neither of them bounds the head or its
time the way a server on the open web must.

::

    HEAD --- of a WebSocket, for a path of `streams` ---> (another protocol has the socket now)
      |----- for a path of `calls` ----> CALL      its body bounded, answered; then HEAD again
      |----- that `relays` wants ------> RELAY     its body and its answer streamed; then HEAD again
      |----- another one --------------> HTTP      one request, its body bounded
      '----- refused, too late --------> CLOSING   answered, closed at the deadline
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IDelayedCall,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.sockets.census import Lease
from twbridge.sockets.exchange import Exchange
from twbridge.sockets.heads import Head, HeadReader, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.plain import Plain, abort
from twbridge.sockets.relay import Relay
from twbridge.sockets.sides import AGAIN, Answer, ICallSide, IRelaySide, ISocketSide

if TYPE_CHECKING:
    from twbridge.sockets.front import FrontFactory

__all__ = ["Front", "State"]


class State(enum.Enum):
    """Where a connection at the door is."""

    HEAD = enum.auto()
    CALL = enum.auto()
    RELAY = enum.auto()
    HTTP = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


class Front(Protocol):
    """One socket, from its acceptance to the hand-over; to its end, where it is HTTP."""

    _log = Logger()
    factory: FrontFactory

    def __init__(self) -> None:
        self._state = State.HEAD
        self._plain: Plain | None = None
        self._exchange: Exchange | Relay | None = None
        self._deadline: IDelayedCall | None = None
        self._lease: Lease | None = None
        self._address = "unix"
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
        self._head = None
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
                assert self._plain is not None
                self._plain.receive(data)
            elif self._state in (State.CALL, State.RELAY):
                assert self._exchange is not None
                self._exchange.received(data)
            elif self._state is State.HEAD:
                self._read_head(data)
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception:
            self._log.failure("A connection from {address} failed", address=self._address)
            self.refuse(Refusal(500, "Something went wrong inside the bridge."))
            if self._state is State.HTTP:
                self._abort()

    def _read_head(self, data: bytes) -> None:
        result = self._reader.receive(data)
        if result is not None:
            self._admit(*result)
        elif self._reader.begun:
            self._awaken()

    def _awaken(self) -> None:
        """A head has begun: from now on it has as long as the first one."""
        if self._idle:
            self._idle = False
            self._set_deadline(self.factory.limits.handshake_seconds)

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
            raise Refusal(503, "Too many connections from your address.", AGAIN)
        side = factory.websocket if head.wants_websocket else factory.streams.get(head.path)
        call = factory.call_side(head.path)
        if factory.census.crowded and (side is not None or call is not None):
            raise Refusal(503, "Too many connections, come back later.", AGAIN)
        if side is not None:
            self._hand_over(side, head, client, data)
        elif call is not None:
            self._to_call(call, head, client, data)
        elif (relay := factory.relays(head, client)) is not None:
            self._to_relay(relay, head, client, data)
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
        self._plain = Plain(self.factory.site, head, self.transport, self.factory.limits)
        self._leave(State.HTTP)
        self._plain.begin(data)

    def _to_call(self, side: ICallSide, head: Head, client: Client, data: bytes) -> None:
        self._exchange = Exchange(
            side,
            head,
            client,
            transport=self.transport,
            clock=self.factory.clock,
            seconds=self.factory.limits.body_seconds,
            answered=self._answered,
            refused=self.refuse,
        )
        self._leave(State.CALL)
        self._exchange.received(data.partition(b"\r\n\r\n")[2])

    def _to_relay(self, side: IRelaySide, head: Head, client: Client, data: bytes) -> None:
        factory = self.factory
        if factory.census.crowded:
            raise Refusal(503, "Too many connections, come back later.", AGAIN)
        self._leave(State.RELAY)
        self._exchange = Relay(
            side,
            head,
            client,
            connection=self,
            clock=factory.clock,
            seconds=factory.limits.body_seconds,
            under_way=factory.relaying,
        )
        self._exchange.received(data.partition(b"\r\n\r\n")[2])

    def _answered(self, answer: Answer, rest: bytes) -> None:
        assert self.transport is not None
        assert self._head is not None
        stays = self.stays(self._head)
        self.transport.write(answer.encode(self.hint(stays)))
        if stays:
            self._go_on(rest)
        else:
            self._exchange = None
            self._close()

    def stays(self, head: Head) -> bool:
        """Counts a request; whether the connection lives on behind its answer."""
        factory = self.factory
        self._requests += 1
        enough = self._requests >= factory.limits.requests or factory.census.crowded
        return not (enough or head.wants_close or factory.stopped)

    def hint(self, stays: bool) -> tuple[str, str]:
        """The header field of an answer that says so."""
        if stays:
            return ("Keep-Alive", f"timeout={self.factory.limits.idle_seconds:.0f}")
        return ("Connection", "close")

    def _go_on(self, rest: bytes) -> None:
        """The next request."""
        self._exchange = None
        self._begin(self.factory.limits.idle_seconds)
        self._idle = True
        self._pending = rest + self._pending
        if not self._reading:
            self._read_pending()

    # -- for a request that is relayed

    def relayed(self, rest: bytes, *, stays: bool, linger: bool) -> None:
        """Its answer is written. The connection lives on, from `rest`; or it closes, and its
        client may `linger` over what it sends and nobody wants.
        """
        limits = self.factory.limits
        if stays:
            self._go_on(rest)
        else:
            self._set_deadline(limits.body_seconds if linger else limits.idle_seconds)
            self._close(linger)

    def draining(self) -> None:
        """Its answer is complete, and the client slow to take it."""
        self._set_deadline(self.factory.limits.idle_seconds)

    def cut(self, *, orderly: bool) -> None:
        """Ends in the midst of its answer; `orderly` where the client can tell."""
        if orderly:
            self._close()
        else:
            self._leave(State.CLOSING)
            self._abort()

    def refuse(self, refusal: Refusal) -> None:
        """Answers, or cuts the answer that has begun, and closes; at the deadline at the latest."""
        if self._state not in (State.HEAD, State.CALL, State.RELAY) or self.transport is None:
            return
        self._log.debug(
            "Refused {address}: {refusal.status} {refusal}", address=self._address, refusal=refusal
        )
        if isinstance(self._exchange, Relay) and self._exchange.begun:
            self._exchange.cut()
            return
        self._awaken()
        head, answer = self._head, refusal.response()
        if head is not None and head.method == "HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self.factory.waiting.add(self)
        linger = head is not None and head.has_body
        if linger and self._state is State.RELAY:
            self._set_deadline(self.factory.limits.body_seconds)
        self._close(linger)

    def _close(self, linger: bool = False) -> None:
        """Ends the connection when the answer is sent, at the deadline at the latest.

        With `linger` the peer closes it: a socket that is closed while bytes of a body come in is
        reset, and its peer may never see the answer (RFC 9112, section 9.6).
        """
        self._lose_exchange()
        self._state = State.CLOSING
        if self._deadline is None:
            self._set_deadline(self.factory.limits.handshake_seconds)
        transport: Any = self.transport
        plain = ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport)
        (transport.loseWriteConnection if linger and plain else transport.loseConnection)()

    def _lose_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

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
        self._idle = False
        self.factory.waiting.discard(self)
        self._cancel_deadline()

    def _abort(self) -> None:
        abort(self.transport)

    def abort(self) -> None:
        """Ends a connection whose head is not complete; behind an answer, when that is sent."""
        if self.transport is None:
            return
        if self._idle:
            self.transport.loseConnection()
        elif self._state in (State.HEAD, State.CLOSING):
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        plain, self._plain = self._plain, None
        self._pending = b""
        self._leave(State.GONE)
        if self._lease is not None:
            self._lease.release()
        self._lose_exchange()
        if plain is not None:
            plain.lost(reason)
