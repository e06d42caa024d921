"""``GET /events``: one subscription as server-sent events.

A stream is a session on a socket that it owns, as a WebSocket is: rules, limits, overflow policies
and back-pressure are those of every session.

::

    WAITING --- the broker has the subscription ---> OPEN     200, events and heartbeats
       |                                               |
       '--- refused: answered with its status ---------'---> CLOSED   gone at the deadline at latest
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable
from contextlib import suppress
from random import random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge.dialects.interfaces import Encoder
from twbridge.dialects.sse import HEARTBEAT, EventCodec, read_subscribe
from twbridge.direct import direct
from twbridge.errors import ClientError, TwbridgeError
from twbridge.flow import Outbox
from twbridge.sockets.admission import Admission
from twbridge.sockets.census import Lease
from twbridge.sockets.heads import Head
from twbridge.sockets.keepalive import Keepalive
from twbridge.sockets.origins import Client
from twbridge.sockets.ports import ISession, OpenSession, SocketOptions
from twbridge.web.entrance import (
    COMMON,
    Entrance,
    Guest,
    JsonRefusal,
    Leaving,
    check_taking,
    error_answer,
)

PATH: Final = "/events"

_HEAD: Final = (
    "HTTP/1.1 200 OK",
    "Content-Type: text/event-stream; charset=utf-8",
    # nginx's buffer would keep events back.
    "X-Accel-Buffering: no",
    "Connection: close",
)
_RETRY: Final = (1.0, 5.0)
"""Seconds after which a reader that was cut off comes back: one of many somewhere between."""


class State(enum.Enum):
    """Where a stream is."""

    WAITING = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class EventStreams:
    """The streams of one listener; see ``sides.ISocketSide``.

    Args:
        open_session: makes the session of a stream.
        admission: the listener's rules.
        clock: the time.
        options: limits and times.
        random: a number from 0 to 1, for delays.
    """

    def __init__(
        self,
        open_session: OpenSession,
        *,
        admission: Admission,
        clock: IReactorTime,
        options: SocketOptions | None = None,
        random: Callable[[], float] = random,
    ) -> None:
        self.open_session = open_session
        self.clock = clock
        self.options = options = options or SocketOptions()
        self.streams: set[EventStream] = set()
        self.keepalive = Keepalive(
            clock,
            interval=options.ping_interval,
            timeout=options.ping_timeout,
            close_timeout=options.close_timeout,
        )
        self.leaving = False
        self._entrance = Entrance(admission, "GET", "last-event-id, cache-control")
        self._random = random
        self._closing: list[Deferred[None]] = []

    def admit(self, head: Head, client: Client, lease: Lease) -> EventStream:
        """Builds the protocol for a socket that asked for a stream.

        Raises:
            Refusal: 403, 405; 422, its URL means no subscription; 503, the bridge stops.
        """
        guest = self._entrance.enter(head, client)
        if self.leaving:
            raise JsonRefusal(Leaving(), guest.fields)
        try:
            subscribe = read_subscribe(guest.parameters, head.one("last-event-id"))
            check_taking(head, subscribe.destination)
        except ClientError as error:
            raise JsonRefusal(error, guest.fields) from None
        return EventStream(self, guest, EventCodec(subscribe, self._between(*_RETRY)), lease)

    def _between(self, first: float, last: float) -> float:
        return round(first + max(last - first, 0.0) * self._random(), 3)

    def opened(self, stream: EventStream) -> None:
        """A socket has become a stream."""
        self.streams.add(stream)
        self.keepalive.add(stream)

    def gone(self, stream: EventStream) -> None:
        """A socket is lost."""
        self.keepalive.remove(stream)
        self.streams.discard(stream)
        if not self.streams:
            closing, self._closing = self._closing, []
            for done in closing:
                done.callback(None)

    def link_changed(self, state: str) -> None:
        """The link is in another state: every session hears of it."""
        for stream in list(self.streams):
            stream.link_changed(state)

    def close_all(self) -> Deferred[None]:
        """Lets nobody in any more, tells readers when to be back and closes every stream.

        Returns:
            Fires when all are gone: after ``close_timeout`` and a second at the latest.
        """
        self.leaving = True
        done: Deferred[None] = Deferred()
        if not self.streams:
            done.callback(None)
            return done
        self._closing.append(done)
        for stream in list(self.streams):
            stream.send_away(self._between(0.5, self.options.reconnect_spread))
        return done


@implementer(IPushProducer)
class EventStream(Protocol):
    """One stream, the socket of its session. Made by `EventStreams.admit`.

    Args:
        streams: its own.
        guest: who reads.
        codec: of its subscription.
        lease: released when the connection is lost.
    """

    _log = Logger()
    transport: Any

    #: For the heartbeats: a reader never says anything.
    heard = False
    deaf = True

    def __init__(
        self, streams: EventStreams, guest: Guest, codec: EventCodec, lease: Lease
    ) -> None:
        self._streams = streams
        self._guest = guest
        self.codec = codec
        self._lease = lease
        self._state = State.WAITING
        self._session: ISession | None = None

    def connectionMade(self) -> None:
        """The socket is ours."""
        transport, options = self.transport, self._streams.options
        self._outbox = Outbox(direct(transport), options.send_buffer, self._overflow)
        self.send_frame: Callable[[bytes], None] = self._outbox.send
        _watch(transport, options.ping_interval + options.ping_timeout)
        transport.registerProducer(self, True)
        self._streams.opened(self)
        try:
            self._session = self._streams.open_session(self._guest.peer, self.codec, self)
            self._session.opened()
        except Exception:
            self._fail("A stream could not be opened")

    def dataReceived(self, data: bytes) -> None:
        """There is nothing to say behind the request."""

    # -- what the session has of it

    def send(self, payload: bytes, binary: bool) -> None:
        """Send an event. The first one says that the subscription stands."""
        if self._state is State.WAITING:
            self._state = State.OPEN
            fields = (f"{name}: {value}" for name, value in (*COMMON, *self._guest.fields))
            head = "\r\n".join([*_HEAD, *fields, "", ""])
            payload = head.encode("latin-1") + payload
        self._outbox.send(payload)

    @property
    def writable(self) -> bool:
        """Whether the socket takes data."""
        return not self._outbox.paused

    @property
    def room(self) -> int:
        """Bytes that may wait for a slow reader."""
        return self._streams.options.send_buffer

    def beat(self, send: float, expect: float, payload: bytes) -> None:
        """What is spoken here has no heart-beats of its own."""

    def encoder(self, encoder: Encoder) -> Encoder:
        """That one."""
        return encoder

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def close(self, code: int, reason: str) -> None:
        """The session is over: the answer is its refusal, or ends here."""
        was, self._state = self._state, State.CLOSED
        if was is State.CLOSED:
            return
        if was is State.WAITING:
            error = self.codec.refusal
            if error is None:
                error = Leaving() if self._streams.leaving else TwbridgeError()
            answer = error_answer(error, self._guest.fields)
            self.transport.write(answer.encode(("Connection", "close")))
        self._outbox.close()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._streams.keepalive.closing(self)
        # Not at once: who closes may be in the midst of a broadcast.
        self._streams.clock.callLater(0, self._end)

    # -- what happens to the socket

    def link_changed(self, state: str) -> None:
        """Tells the session that the link is in another state."""
        if self._session is not None:
            self._session.link_changed(state)

    def send_away(self, seconds: float) -> None:
        """Closes, after the session has said when to come back."""
        if self._session is not None:
            try:
                self._session.draining(seconds)
            except Exception:
                self._log.failure("A session could not say goodbye")
        self.close(1001, "going away")

    def _overflow(self) -> None:
        if self._session is not None:
            self._session.overflowed()
        self.close(1013, "You read too slowly.")

    def _fail(self, what: str) -> None:
        """Our fault: the log has the traceback."""
        self._log.failure(what)
        self.close(1011, "")

    def pauseProducing(self) -> None:
        """The socket takes no more data."""
        self._outbox.pauseProducing()

    def resumeProducing(self) -> None:
        """It does again."""
        self._outbox.resumeProducing()
        if self._outbox.paused or self._session is None:
            return
        try:
            self._session.writable()
        except Exception:
            self._fail("A session failed")

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._outbox.stopProducing()

    # -- for the heartbeats

    def ping(self) -> None:
        """Say that the stream lives."""
        if self._state is State.OPEN and not self._outbox.paused:
            self.transport.write(HEARTBEAT)

    def drop(self, why: str) -> None:
        """End the connection at once."""
        self._log.debug("Dropped {peer}: {why}", peer=self.transport.getPeer(), why=why)
        self.transport.abortConnection()

    # -- the end

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.lost()
            except Exception:
                self._log.failure("A session could not be ended")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The reader is gone."""
        self._state = State.CLOSED
        self._outbox.close()
        self._lease.release()
        self._streams.gone(self)
        self._end()


def _watch(transport: Any, seconds: float) -> None:
    """Have the kernel end a connection whose peer takes nothing for so long.

    A reader says nothing, so that a heartbeat has no answer but TCP's (RFC 5482). Where it can't
    be had, heartbeats find a dead peer when the kernel gives up: after 15 minutes or so.
    """
    with suppress(AttributeError, OSError):
        transport.setTcpNoDelay(True)
        encrypted: bool = ISSLTransport.providedBy(transport)
        plain = transport.transport if encrypted else transport
        plain.getHandle().setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000)
        )
