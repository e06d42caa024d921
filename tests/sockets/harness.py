"""A WebSocket side with recording sessions, behind the real door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.fake_sockets import ACCEPT, FakeSocket, client_frame, close_of, connect, upgrade
from twbridge.commands import Command, Event
from twbridge.dialects.interfaces import Close, Codec, ICodec, IDialect, Route
from twbridge.policy import Peer
from twbridge.settings import Route as RouteSettings
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.sockets.origins import Listener
from twbridge.ws import BridgeFactory, BridgeProtocol, Socket, SocketOptions

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@implementer(ICodec)
class NoCodec(Codec):
    """Nothing is decoded here."""

    encoder: Any = None
    #: Of its dialect.
    subprotocol: str | None = None

    def opening(self) -> Sequence[Command]:
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        raise NotImplementedError

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        raise NotImplementedError

    def closing(self, event: Event) -> Close | None:
        raise NotImplementedError


@implementer(IDialect)
class NamedDialect:
    """A dialect that has a name and nothing else."""

    def __init__(self, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol

    def codec(self, route: Route) -> NoCodec:
        found = NoCodec()
        found.subprotocol = self.subprotocol
        return found


class RecordingSession:
    """Remembers what happened to it."""

    def __init__(self, peer: Peer, codec: ICodec, socket: Socket) -> None:
        self.peer = peer
        self.codec = codec
        self.socket = socket
        self.messages: list[tuple[bytes, bool]] = []
        self.events: list[str] = []
        self.awoken = 0
        self.delays: list[float] = []
        self.error: Exception | None = None

    def opened(self) -> None:
        self.events.append("opened")

    def received(self, payload: bytes, binary: bool) -> None:
        if self.error:
            raise self.error
        self.messages.append((payload, binary))

    def overflowed(self) -> None:
        self.events.append("overflowed")

    def link_changed(self, state: str) -> None:
        self.events.append(state)

    def writable(self) -> None:
        self.awoken += 1

    def draining(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.socket.send(b"bye", False)

    def lost(self) -> None:
        self.events.append("lost")


class WebSocketTestCase(SynchronousTestCase):
    """A listener with a route at ``/ws``."""

    listener = Listener()
    options = SocketOptions(frame=1_000, message=2_000, fragments=10, send_buffer=100_000)

    def setUp(self) -> None:
        self.clock = Clock()
        self.luck = 0.5
        self.sessions: list[RecordingSession] = []
        self.factory = BridgeFactory(
            self.open_session,
            dialects=[NamedDialect(each) for each in (None, "v1.twbridge.json", "v12.stomp")],
            routes={
                "/ws": RouteSettings(),
                "/json": RouteSettings(path="/json", dialect="json"),
                "/stomp": RouteSettings(path="/stomp", dialect="stomp"),
            },
            clock=self.clock,
            listener=self.listener,
            options=self.options,
            random=lambda: self.luck,
        )
        self.front = FrontFactory(
            self.factory,
            self.factory,
            clock=self.clock,
            listener=self.listener,
            limits=FrontLimits(),
        )

    def open_session(self, peer: Peer, codec: ICodec, socket: Socket) -> RecordingSession:
        self.sessions.append(RecordingSession(peer, codec, socket))
        return self.sessions[-1]

    def ask(self, request: bytes | None = None, address: str = "192.0.2.1") -> FakeSocket:
        """A socket that has sent a request."""
        socket = connect(self.front, self.clock, address)
        socket.deliver(upgrade() if request is None else request)
        return socket

    def open(self, request: bytes | None = None) -> FakeSocket:
        """An open WebSocket."""
        socket = self.ask(request)
        answer = socket.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertIn(b"Sec-WebSocket-Accept: " + ACCEPT, answer)
        return socket

    def protocol(self, socket: FakeSocket) -> BridgeProtocol:
        assert isinstance(socket.protocol, BridgeProtocol)
        return socket.protocol

    @property
    def session(self) -> RecordingSession:
        """The newest one."""
        return self.sessions[-1]

    def status(self, socket: FakeSocket) -> int:
        """The status of a refusal, after which the socket must be gone."""
        self.clock.advance(0)
        self.assertTrue(socket.lost)
        return int(socket.received.split(b" ")[1])

    def assert_closed(self, socket: FakeSocket, code: int) -> None:
        """A close frame has been sent; the peer answers it and the socket is gone."""
        frames = socket.take_frames()
        closed = close_of(frames)
        assert closed is not None, frames
        self.assertEqual(closed.code, code, closed.reason)
        self.assertEqual(frames[-1][0], CLOSE, "data after a close frame")
        socket.deliver(client_frame(CLOSE, frames[-1][1][:2]))
        self.clock.advance(0)
        self.assertTrue(socket.lost)
