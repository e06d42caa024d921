"""A broker that does what the test tells it: no sockets, and time stands still.

It answers synchronous methods like RabbitMQ and keeps all that it heard; confirms, deliveries,
returns and ends come from the test. Bytes move when the test says :meth:`ScriptedBroker.pump`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge import wire

__all__ = ["ScriptedBroker", "Session", "Socket", "advance"]

START = commands.Connection.Start(0, 9, {"product": "script"}, "PLAIN AMQPLAIN", "en_US")


class Socket(StringTransport):
    """A transport that keeps what is written."""

    no_delay = False
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def take(self) -> bytes:
        """What was written since the last call."""
        data: bytes = self.value()
        self.clear()
        return data

    def full(self, full: bool) -> None:
        """It does not drain, or drains again."""
        assert self.producer is not None
        if full:
            self.producer.pauseProducing()
        else:
            self.producer.resumeProducing()


class Session:
    """One connection, seen from the broker."""

    def __init__(self, broker: ScriptedBroker, host: str, port: int) -> None:
        self.broker = broker
        self.address = (host, port)
        self.socket = Socket()
        #: Neither reads nor answers any more.
        self.frozen = False
        #: Every event from the client, in order.
        self.heard: list[Any] = []
        self.gone = False
        self._protocol: Any = None
        self._header = b""
        self._reader = wire.FrameReader()
        #: Channels on which a close was sent and not yet answered.
        self._closing: set[int] = set()

    def connect(self, protocol: Any) -> None:
        """The client's end is there."""
        self._protocol = protocol
        protocol.makeConnection(self.socket)

    # -- what the client said -----------------------------------------------------------------

    @property
    def client_properties(self) -> dict[str, Any]:
        """Those of its connection.start-ok."""
        [start] = self.methods(commands.Connection.StartOk)
        properties: dict[str, Any] = start.client_properties
        return properties

    def methods(self, kind: type) -> list[Any]:
        """The methods of this kind, in order."""
        return [
            event.method
            for event in self.heard
            if isinstance(event, wire.Method) and isinstance(event.method, kind)
        ]

    @property
    def published(self) -> list[wire.Content]:
        """Every basic.publish, in order."""
        return [event for event in self.heard if isinstance(event, wire.Content)]

    def channel_of(self, kind: type, **fields: object) -> int:
        """The channel of the last method of this kind with these arguments."""
        found = [
            event.channel
            for event in self.heard
            if isinstance(event, wire.Method)
            and isinstance(event.method, kind)
            and all(getattr(event.method, name) == value for name, value in fields.items())
        ]
        return int(found[-1])

    def tag_of(self, publish: wire.Content) -> int:
        """The tag of a publish: its place on its channel since that was opened."""
        tag = 0
        for event in self.heard:
            if getattr(event, "channel", None) != publish.channel:
                continue
            if isinstance(event, wire.Content):
                tag += 1
            elif isinstance(event, wire.Method) and type(event.method) is commands.Channel.Open:
                tag = 0
            if event is publish:
                return tag
        raise AssertionError("it was not published")

    # -- what the broker says -----------------------------------------------------------------

    def send(self, channel: int, *methods: Any) -> None:
        """Send methods."""
        self.write(b"".join(wire.method_frame(channel, each) for each in methods))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.gone and not self.socket.aborted:
            self._protocol.dataReceived(data)

    def ack(self, channel: int, tag: int, multiple: bool = False) -> None:
        self.write(wire.ack_frame(channel, tag, multiple))

    def nack(self, channel: int, tag: int, multiple: bool = False) -> None:
        self.write(wire.nack_frame(channel, tag, multiple, False))

    def give_back(self, publish: wire.Content) -> None:
        """basic.return."""
        to = publish.method
        method = commands.Basic.Return(312, "NO_ROUTE", to.exchange, to.routing_key)
        raw, body = publish.raw_properties, publish.body
        self.write(wire.content_frames(publish.channel, method, raw, body, 0))

    def deliver(self, channel: int, consumer: str, tag: int, body: bytes, key: str = "k") -> None:
        method = commands.Basic.Deliver(consumer, tag, False, "e", key)
        self.write(wire.content_frames(channel, method, b"\x00\x00", body, 0))

    def close_channel(self, channel: int, code: int = 404, words: str = "NOT_FOUND") -> None:
        """Close a channel: what the client says on it is ignored until it agrees."""
        self._closing.add(channel)
        self.send(channel, commands.Channel.Close(code, words, 0, 0))

    def drop(self, reason: Exception | None = None) -> None:
        """The socket ends."""
        if not self.gone:
            self.gone = True
            self._protocol.connectionLost(Failure(reason or ConnectionLost()))

    # -- the script ---------------------------------------------------------------------------

    def pump(self) -> bool:
        """Hear what was written, and answer it. False when there was nothing."""
        if self.gone:
            return False
        data = self.socket.take()
        if self.frozen:
            data = b""
        moved = bool(data)
        if len(self._header) < 8 and data:
            self._header += data[: 8 - len(self._header)]
            data = data[8:]
            self._answer(0, START)
        for event in self._reader.receive(data) if data else ():
            self.heard.append(event)
            if isinstance(event, wire.Method):
                self._hear(event.channel, event.method)
            elif isinstance(event, wire.Content) and self.broker.confirming:
                self.broker.confirm(self, event)
        if self.frozen and not self.socket.aborted:
            return False  # what is written never leaves, so the socket can't end in order
        if self.socket.disconnecting and not moved:
            self.drop(ConnectionDone())
            return True
        return moved

    def _hear(self, channel: int, method: Any) -> None:
        if channel in self._closing:
            if isinstance(method, commands.Channel.CloseOk):
                self._closing.discard(channel)
            return
        kind = type(method)
        if kind in self.broker.silent:
            return
        refusal = self.broker.refusals(method)
        if refusal is not None:
            self.close_channel(channel, *refusal)
        elif kind is commands.Connection.Open and self.broker.login_refusal is not None:
            self.send(0, commands.Connection.Close(*self.broker.login_refusal, 10, 40))
        elif kind in ANSWERS and not getattr(method, "nowait", False):
            self._answer(channel, ANSWERS[kind](method))
            if kind is commands.Connection.Close:
                self.drop(ConnectionDone())

    def _answer(self, channel: int, method: Any) -> None:
        if type(method) is commands.Connection.Tune:
            method = commands.Connection.Tune(*self.broker.tune)
        if type(method) not in self.broker.silent:
            self.send(channel, method)


_generated = count(1)


def _declared(method: Any) -> Any:
    name = method.queue or f"amq.gen-{next(_generated)}"
    answer = commands.Queue.DeclareOk.__new__(commands.Queue.DeclareOk)
    answer.queue, answer.message_count, answer.consumer_count = name, 0, 0
    return answer


ANSWERS: dict[type, Callable[[Any], Any]] = {
    commands.Connection.StartOk: lambda _: commands.Connection.Tune(),
    commands.Connection.Open: lambda _: commands.Connection.OpenOk(),
    commands.Connection.Close: lambda _: commands.Connection.CloseOk(),
    commands.Channel.Open: lambda _: commands.Channel.OpenOk(),
    commands.Channel.Close: lambda _: commands.Channel.CloseOk(),
    commands.Confirm.Select: lambda _: commands.Confirm.SelectOk(),
    commands.Exchange.Declare: lambda _: commands.Exchange.DeclareOk(),
    commands.Queue.Declare: _declared,
    commands.Queue.Bind: lambda _: commands.Queue.BindOk(),
    commands.Queue.Unbind: lambda _: commands.Queue.UnbindOk(),
    commands.Queue.Purge: lambda _: commands.Queue.PurgeOk(0),
    commands.Queue.Delete: lambda _: commands.Queue.DeleteOk(0),
    commands.Basic.Qos: lambda _: commands.Basic.QosOk(),
    commands.Basic.Consume: lambda method: commands.Basic.ConsumeOk(method.consumer_tag),
    commands.Basic.Cancel: lambda method: commands.Basic.CancelOk(method.consumer_tag),
}


class ScriptedBroker:
    """All connections of one test.

    Attributes:
        sessions: every connection that was accepted, in order.
        attempts: every (host, port) that was tried.
        unreachable: hosts that refuse connections.
        hanging: hosts that never answer a connection.
        silent: methods that get no answer, or answers that are not sent.
        missing: exchanges that do not exist.
        confirming: acknowledge every publish at once.
        login_refusal: code and text with which the login ends.
        tune: channel_max, frame_max and heartbeat as proposed.
    """

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.attempts: list[tuple[str, int]] = []
        self.unreachable: set[str] = set()
        self.hanging: set[str] = set()
        self.given_up: list[tuple[str, int]] = []
        self.silent: set[type] = set()
        self.missing: set[str] = set()
        self.confirming = False
        self.login_refusal: tuple[int, str] | None = None
        self.tune = (2047, 131072, 60)

    @property
    def alive(self) -> list[Session]:
        """The connections that are there."""
        return [session for session in self.sessions if not session.gone]

    def named(self, word: str) -> Session:
        """The living connection whose name, told at login, holds ``word``."""
        [found] = [
            session
            for session in self.alive
            if word in session.client_properties["connection_name"]
        ]
        return found

    def endpoint(self, _parameters: object, host: str, port: int) -> Endpoint:
        """What ``Link(connect=...)`` wants."""
        return Endpoint(self, host, port)

    def refusals(self, method: Any) -> tuple[int, str] | None:
        """Why a method is refused, if it is."""
        name = None
        if isinstance(method, commands.Queue.Bind) or getattr(method, "passive", False):
            name = getattr(method, "exchange", None) or getattr(method, "queue", None)
        if name in self.missing:
            return 404, "NOT_FOUND"
        return None

    def confirm(self, session: Session, publish: wire.Content) -> None:
        """Acknowledge a publish."""
        session.ack(publish.channel, session.tag_of(publish))

    def pump(self) -> None:
        """Move bytes until nothing moves any more."""
        for _ in range(10_000):
            moved = [session.pump() for session in list(self.sessions)]
            if not any(moved):
                return
        raise AssertionError("the two sides never fall silent")


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects to the scripted broker."""

    def __init__(self, broker: ScriptedBroker, host: str, port: int) -> None:
        self._broker = broker
        self._address = (host, port)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        broker, (host, port) = self._broker, self._address
        broker.attempts.append(self._address)
        if host in broker.hanging:
            return Deferred(lambda _: broker.given_up.append(self._address))
        if host in broker.unreachable:
            return fail(ConnectionRefusedError(f"{host} refused"))
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        session = Session(broker, host, port)
        broker.sessions.append(session)
        session.connect(protocol)
        assert protocol is not None
        return succeed(protocol)


def advance(clock: Clock, broker: ScriptedBroker, seconds: float, step: float = 0.25) -> None:
    """Let time pass in steps, with bytes moving."""
    broker.pump()
    for _ in range(round(seconds / step)):
        clock.advance(step)
        broker.pump()
