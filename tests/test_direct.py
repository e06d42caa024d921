"""Writing at once: in order, without loss, and never past TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from twbridge.direct import MANY, MUCH, direct, write_soon


class FakeConnection(tcp.Connection):
    """A transport of Twisted's over a socket that takes ``room`` bytes."""

    def __init__(self, room: float = float("inf")) -> None:
        self.turn = MemoryReactor()
        FileDescriptor.__init__(self, self.turn)
        self.connected = 1
        self.room = room
        self.sent = b""
        self.sends: list[int] = []
        self.broken = False

    def writeSomeData(self, data: bytes) -> Any:
        if self.broken:
            return ConnectionLost()
        taken = bytes(data[: int(min(self.room, len(data)))])
        self.room -= len(taken)
        self.sent += taken
        self.sends.append(len(taken))
        return len(taken)

    def end_turn(self) -> None:
        """What the reactor does when the socket takes data."""
        if self in self.turn.getWriters():
            self.outcome = self.doWrite()


class Producer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")


class DirectTests(SynchronousTestCase):
    def test_a_free_socket_is_written_to_at_once(self) -> None:
        socket = FakeConnection()
        direct(socket).write(b"hello")
        self.assertEqual((socket.sent, socket._tempDataBuffer), (b"hello", []))

    def test_what_the_socket_does_not_take_is_queued(self) -> None:
        for room, sent, rest in ((3, b"hel", [b"lo"]), (0, b"", [b"hello"])):
            socket = FakeConnection(room)
            direct(socket).write(b"hello")
            self.assertEqual((socket.sent, socket._tempDataBuffer), (sent, rest))

    def test_nothing_overtakes_what_is_queued(self) -> None:
        socket = FakeConnection(room=3)
        writer = direct(socket)
        writer.write(b"hello")
        socket.room = 100
        writer.write(b"again")
        self.assertEqual((socket.sent, socket._tempDataBuffer), (b"hel", [b"lo", b"again"]))

    def test_an_error_is_left_to_the_transport(self) -> None:
        socket = FakeConnection()
        socket.broken = True
        direct(socket).write(b"hello")
        self.assertEqual(socket._tempDataBuffer, [b"hello"])

    def test_a_closing_socket_is_left_to_the_transport(self) -> None:
        socket = FakeConnection()
        socket.disconnecting = True
        direct(socket).write(b"hello")
        self.assertEqual((socket.sent, socket._tempDataBuffer), (b"", [b"hello"]))

    def test_a_lost_connection_takes_nothing(self) -> None:
        socket = FakeConnection()
        socket.connected = 0
        direct(socket).write(b"hello")
        self.assertEqual((socket.sent, socket._tempDataBuffer), (b"", []))

    def test_a_wrapper_is_written_to_as_it_is(self) -> None:
        """TLS's has all attributes of the plain socket below it, which must not be written to."""
        wrapper = ProtocolWrapper(WrappingFactory(None), None)  # type: ignore[arg-type]
        wrapper.transport = FakeConnection()
        self.assertTrue(callable(wrapper.writeSomeData))
        self.assertIs(direct(wrapper), wrapper)

    def test_a_socket_with_tls_started_is_written_to_as_it_is(self) -> None:
        socket = FakeConnection()
        socket.TLS = True
        self.assertIs(direct(socket), socket)


class WriteSoonTests(SynchronousTestCase):
    def write(self, socket: FakeConnection, count: int, size: int = 2) -> bytes:
        """Write so many pieces, no two of them the same; return what they are together."""
        pieces = [f"{index:0{size}}".encode() for index in range(count)]
        for piece in pieces:
            write_soon(socket, piece)
        return b"".join(pieces)

    def test_a_few_writes_leave_together_at_the_end_of_the_turn(self) -> None:
        socket = FakeConnection()
        written = self.write(socket, MANY - 1)
        self.assertEqual(socket.sent, b"")
        socket.end_turn()
        self.assertEqual((socket.sent, socket.sends), (written, [len(written)]))

    def test_many_writes_leave_before_the_end_of_the_turn(self) -> None:
        socket = FakeConnection()
        written = self.write(socket, 2 * MANY + 1)
        self.assertEqual((socket.sent, socket.sends), (written[:-2], [2 * MANY] * 2))
        socket.end_turn()
        self.assertEqual(socket.sent, written)

    def test_few_large_writes_leave_before_the_end_of_the_turn(self) -> None:
        socket = FakeConnection()
        producer = Producer()
        socket.registerProducer(producer, True)
        written = self.write(socket, 20, MUCH // 2)
        self.assertEqual((socket.sent, socket.sends), (written, [MUCH] * 10))
        self.assertEqual(producer.told, [])

    def test_a_transport_that_has_sent_all_writes_no_more(self) -> None:
        socket = FakeConnection()
        written = self.write(socket, MANY)
        socket.end_turn()
        self.assertEqual((socket.sent, socket.turn.getWriters()), (written, []))

    def test_nothing_is_lost_or_reordered_where_the_socket_takes_a_part(self) -> None:
        for room in (0, 1, 63, 64, 65, 128, 150):
            socket = FakeConnection(room)
            written = self.write(socket, 3 * MANY)
            self.assertEqual(socket.sent, written[:room])
            socket.room = 2_000
            socket.end_turn()
            self.assertEqual(socket.sent, written)

    def test_it_waits_behind_what_waits_for_the_socket(self) -> None:
        socket = FakeConnection(room=3)
        socket.write(b"first")
        socket.end_turn()
        self.assertEqual(socket.sent, b"fir")
        socket.room = 2_000
        written = self.write(socket, 2 * MANY)
        self.assertEqual(socket.sent, b"fir")
        socket.end_turn()
        self.assertEqual(socket.sent, b"first" + written)

    def test_a_producer_is_paused_and_resumed_as_before(self) -> None:
        socket = FakeConnection(room=0)
        producer = Producer()
        socket.registerProducer(producer, True)
        written = self.write(socket, 8, MUCH)
        self.assertEqual(producer.told[:1], ["pause"])
        self.assertNotIn("resume", producer.told)
        sends = len(socket.sends)
        written += self.write(socket, MANY)
        self.assertEqual(len(socket.sends), sends, "it waits for the reactor")
        socket.room = float("inf")
        for _ in range(2):
            socket.end_turn()
        self.assertEqual((socket.sent, producer.told[-1]), (written, "resume"))

    def test_an_error_is_left_to_the_reactor(self) -> None:
        socket = FakeConnection()
        socket.broken = True
        self.write(socket, MANY)
        socket.end_turn()
        self.assertIsInstance(socket.outcome, ConnectionLost)

    def test_a_closing_socket_is_left_to_the_reactor(self) -> None:
        socket = FakeConnection()
        written = self.write(socket, MANY - 1)
        socket.loseConnection()
        written += self.write(socket, 2)
        self.assertEqual(socket.sent, b"")
        socket.end_turn()
        self.assertEqual(socket.sent, written)
        self.assertIsInstance(socket.outcome, ConnectionDone)

    def test_a_half_closed_socket_is_left_to_the_reactor(self) -> None:
        socket = FakeConnection()
        closed: list[bytes] = []
        socket._closeWriteConnection = lambda: closed.append(socket.sent)  # type: ignore[method-assign]
        written = self.write(socket, MANY - 1)
        socket.loseWriteConnection()
        written += self.write(socket, 2)
        self.assertEqual(socket.sent, b"")
        socket.end_turn()
        self.assertEqual(closed, [written])
        self.write(socket, MANY)
        self.assertEqual(socket.sent, written)

    def test_a_lost_connection_takes_nothing(self) -> None:
        socket = FakeConnection()
        socket.connected = 0
        self.write(socket, 2 * MANY)
        self.assertEqual((socket.sent, socket._tempDataBuffer), (b"", []))

    def test_tls_and_other_transports_are_written_to_as_they_are(self) -> None:
        wrapper = ProtocolWrapper(WrappingFactory(None), None)  # type: ignore[arg-type]
        plain = FakeConnection()
        wrapper.transport = plain
        started = FakeConnection()
        started.TLS = True
        written: list[bytes] = []
        started.write = written.append  # type: ignore[method-assign]
        other = StringTransport()
        for transport in (wrapper, started, other):
            for _ in range(2 * MANY):
                write_soon(transport, b"a")
        self.assertEqual(plain.sent, b"")
        self.assertEqual(len(plain._tempDataBuffer), 2 * MANY)
        self.assertEqual((started.sent, len(written)), (b"", 2 * MANY))
        self.assertEqual(other.value(), b"a" * 2 * MANY)
