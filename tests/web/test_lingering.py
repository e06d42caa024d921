"""A connection that ends while its client still sends a body (RFC 9112, section 9.6)."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone

from tests.fake_sockets import FakeSocket
from tests.web.harness import HttpCase, request


class TalkingSocket(FakeSocket):
    """One whose peer does not close just because the server has nothing more to say."""

    half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class LingeringTests(HttpCase):
    """To close at once would be a reset, which may take the answer away from the client."""

    def talk(self, data: bytes) -> TalkingSocket:
        peer = IPv4Address("TCP", "127.0.0.1", 50_000)
        socket = TalkingSocket(self.clock, peer)
        socket.protocol = self.front.buildProtocol(peer)
        socket.protocol.makeConnection(socket)
        self.sockets.append(socket)
        socket.deliver(data)
        self.clock.advance(0)
        return socket

    def refused_body(self) -> TalkingSocket:
        """A socket in the midst of a body that is too large."""
        head = request("POST", "/api/publish", "Content-Type: application/json")
        socket = self.talk(head[:-2] + b"Content-Length: 1000000\r\n\r\n" + b"x" * 10)
        self.assertEqual(self.answer(socket).status, 413)
        return socket

    def test_the_client_closes(self) -> None:
        socket = self.refused_body()
        self.assertTrue(socket.half_closed)
        self.assertIsNone(socket.lost)
        socket.deliver(b"x" * 100_000)
        self.assertEqual(socket.take(), b"")
        socket.lose(ConnectionDone())

    def test_one_that_does_not_is_dropped_at_the_deadline(self) -> None:
        socket = self.refused_body()
        self.clock.advance(self.front_limits.handshake_seconds)
        self.clock.advance(0)
        self.assertIsNotNone(socket.lost)

    def test_without_a_body_the_server_closes(self) -> None:
        socket = self.talk(request("GET", "/api/publish"))
        self.assertEqual(self.answer(socket).status, 405)
        self.assertFalse(socket.half_closed)
        self.assertIsNotNone(socket.lost)
