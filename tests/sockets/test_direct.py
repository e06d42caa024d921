"""Writing at once: in order, without loss, and never past TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionLost
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from twbridge.sockets.direct import direct


class FakeConnection(tcp.Connection):
    """A socket that takes ``room`` bytes and queues the rest, as Twisted's does."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room
        self.connected = 1
        self.disconnecting = False
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.sent = b""
        self.broken = False

    def writeSomeData(self, data: bytes) -> Any:
        if self.broken:
            return ConnectionLost()
        taken = data[: int(min(self.room, len(data)))]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)


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
        for name, value in (("disconnecting", True), ("connected", 0)):
            socket = FakeConnection()
            setattr(socket, name, value)
            direct(socket).write(b"hello")
            self.assertEqual((socket.sent, socket._tempDataBuffer), (b"", [b"hello"]))

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
