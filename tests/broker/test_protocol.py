"""Heartbeats, deadlines and back-pressure of the embedded broker's socket."""

from __future__ import annotations

from pamqp import commands
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import shown
from twbridge import wire
from twbridge.broker import EmbeddedBroker
from twbridge.broker.protocol import (
    CLOSE_TIMEOUT,
    LOGIN_TIMEOUT,
    MAX_UNREAD_ANSWERS,
    BrokerProtocol,
)

LOGIN = (
    wire.PROTOCOL_HEADER
    + wire.method_frame(0, commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest"))
    + wire.method_frame(0, commands.Connection.TuneOk(2047, 131072, 20))
    + wire.method_frame(0, commands.Connection.Open("/"))
    + wire.method_frame(1, commands.Channel.Open())
)


class Socket(StringTransport):
    """Tells its producer when ``full`` bytes are not taken away."""

    aborted = False
    full = 1000

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > self.full:
            self.producer.pauseProducing()

    def taken(self) -> None:
        """The client has read everything."""
        self.clear()
        assert self.producer is not None
        self.producer.resumeProducing()

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def reading(self) -> bool:
        return self.producerState == "producing"


class ProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = EmbeddedBroker(self.clock)
        self.protocol, self.socket = self.connect()

    def connect(self, login: bytes = LOGIN) -> tuple[BrokerProtocol, Socket]:
        protocol, socket = self.broker.factory.buildProtocol(None), Socket()
        protocol.makeConnection(socket)
        protocol.dataReceived(login)
        socket.clear()
        return protocol, socket

    def declare(self, name: str) -> None:
        self.protocol.dataReceived(wire.method_frame(1, commands.Queue.Declare(queue=name)))
        self.socket.clear()

    def publish(self, queue: str, size: int) -> None:
        self.protocol.dataReceived(
            wire.publish_frames(1, "", queue, b"\0\0", b"x" * size, False, 0)
        )

    def test_a_login_has_a_deadline(self) -> None:
        _, slow = self.connect(b"AMQP")
        self.clock.advance(LOGIN_TIMEOUT - 0.1)
        self.assertFalse(slow.aborted)
        self.clock.advance(0.1)
        self.assertTrue(slow.aborted)
        self.assertFalse(self.socket.aborted)

    def test_heartbeats_go_out_while_nothing_else_does(self) -> None:
        self.clock.advance(10)
        self.socket.clear()
        self.clock.advance(10)
        self.assertEqual(self.socket.value(), wire.HEARTBEAT)
        self.declare("q")
        self.clock.advance(10)
        self.assertEqual(self.socket.value(), b"")

    def test_a_client_without_heartbeats_is_dropped(self) -> None:
        for _ in range(10):
            self.clock.advance(10)
            self.protocol.dataReceived(wire.HEARTBEAT)
        self.assertFalse(self.socket.aborted)
        self.clock.pump([10] * 4)
        self.assertFalse(self.socket.aborted)
        self.clock.advance(10)
        self.assertTrue(self.socket.aborted)

    def test_a_publisher_that_is_not_read_is_not_missed(self) -> None:
        self.protocol.pause_reading()
        self.clock.pump([10] * 20)
        self.assertFalse(self.socket.aborted)

    def test_a_client_may_do_without_heartbeats(self) -> None:
        no_heartbeat = LOGIN.replace(
            wire.method_frame(0, commands.Connection.TuneOk(2047, 131072, 20)),
            wire.method_frame(0, commands.Connection.TuneOk(2047, 131072, 0)),
        )
        _, socket = self.connect(no_heartbeat)
        self.clock.pump([10] * 20)
        self.assertEqual((socket.value(), socket.aborted), (b"", False))

    def test_a_close_that_is_not_answered_ends_anyway(self) -> None:
        self.broker.close_connections("test")
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.socket.aborted)

    def test_an_answered_close_closes(self) -> None:
        self.broker.close_connections("test")
        self.protocol.dataReceived(wire.method_frame(0, commands.Connection.CloseOk()))
        self.assertTrue(self.socket.disconnecting)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.broker.clients, set())

    def test_a_consumer_that_does_not_read_costs_one_buffer(self) -> None:
        self.declare("q")
        self.protocol.dataReceived(
            wire.method_frame(1, commands.Basic.Consume(queue="q", no_ack=True))
        )
        for _ in range(100):
            self.publish("q", 300)
        self.assertLess(len(self.socket.value()), 2000)
        taken = 0
        while self.broker.vhost.queues["q"].message_count:
            taken += 1
            self.socket.taken()
            self.assertLess(len(self.socket.value()), 2000)
        self.assertGreater(taken, 20)
        self.assertTrue(self.socket.reading)

    def test_who_asks_without_reading_is_not_read_either(self) -> None:
        self.declare("q")
        self.publish("q", 100_000)
        asked = 0
        get = wire.method_frame(1, commands.Basic.Get(queue="q")) + wire.method_frame(
            1, commands.Basic.Recover(requeue=True)
        )
        while self.socket.reading:
            self.protocol.dataReceived(get)
            asked += 1
        self.assertEqual(asked, MAX_UNREAD_ANSWERS // 100_000 + 2)
        self.socket.taken()
        self.assertTrue(self.socket.reading)

    def test_a_blocked_publisher_is_read_again_for_its_close(self) -> None:
        self.protocol.pause_reading()
        self.assertFalse(self.socket.reading)
        self.broker.close_connections("test")
        self.assertTrue(self.socket.reading)


class MemoryAlarmTests(SynchronousTestCase):
    def test_publishers_are_not_read_until_messages_are_consumed(self) -> None:
        broker = EmbeddedBroker(Clock(), memory_limit=10_000)
        protocol, socket = broker.factory.buildProtocol(None), Socket()
        protocol.makeConnection(socket)
        protocol.dataReceived(LOGIN + wire.method_frame(1, commands.Queue.Declare(queue="q")))
        frames = wire.publish_frames(1, "", "q", b"\0\0", b"x" * 1000, False, 0)
        published = 0
        while socket.reading:
            protocol.dataReceived(frames)
            published += 1
        self.assertEqual(published, 7)
        broker.vhost.queues["q"].purge()
        self.assertTrue(socket.reading)


class Recorder(Protocol):
    """The client's end of a socket that is simulated."""

    def __init__(self) -> None:
        self.events: list[wire.Event] = []
        self.lost = False
        self._reader = wire.FrameReader()

    def dataReceived(self, data: bytes) -> None:
        self.events += self._reader.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class SimulatedSocketTests(SynchronousTestCase):
    def test_it_needs_no_socket(self) -> None:
        broker, client = EmbeddedBroker(Clock()), Recorder()
        server = broker.factory.buildProtocol(None)
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True),
            client,
            iosim.FakeTransport(client, isServer=False),
        )
        assert client.transport is not None
        client.transport.write(LOGIN)
        pump.flush()
        self.assertEqual(
            [shown(event).split()[0] for event in client.events],
            ["connection.start", "connection.tune", "connection.openok", "channel.openok"],
        )
        stopped = broker.stop()
        pump.flush()
        self.assertNoResult(stopped)
        client.transport.write(wire.method_frame(0, commands.Connection.CloseOk()))
        pump.flush()
        self.assertTrue(client.lost)
        self.successResultOf(stopped)
