"""permessage-deflate on a connection: what is agreed on, what comes, what goes, what it costs."""

from __future__ import annotations

import gc
import tracemalloc
import zlib
from typing import Any

from tests.fake_sockets import FakeSocket, client_frame, upgrade
from tests.fakes import delivery
from tests.sockets.harness import BINARY, CLOSE, PING, TEXT, WebSocketTestCase
from tests.test_deflate import inflated
from twbridge.destinations import parse
from twbridge.dialects.raw import RawDialect
from twbridge.settings import Route
from twbridge.ws import SocketOptions

OFFER = "permessage-deflate; client_max_window_bits"
"""That of Chromium and of Firefox."""

MIB = 1 << 20


def compressed(data: bytes) -> bytes:
    """The payload of a compressed message."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def bomb(size: int) -> bytes:
    """A payload of a thousandth of ``size`` bytes that inflates to so many zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return block * (size // MIB)


class DeflateCase(WebSocketTestCase):
    """A listener with the extension switched on."""

    options = SocketOptions(message=100_000, frame=100_000, deflate=True)

    def open_deflating(self, offer: str = OFFER) -> FakeSocket:
        """An open WebSocket with the extension."""
        socket = self.ask(upgrade(Sec_WebSocket_Extensions=offer))
        self.assertIn(b"permessage-deflate", socket.take())
        return socket


class HandshakeTests(DeflateCase):
    """What is agreed on."""

    def answer(self, offer: str) -> str:
        head = self.ask(upgrade(Sec_WebSocket_Extensions=offer)).take().decode()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        _, _, rest = head.partition("Sec-WebSocket-Extensions: ")
        return rest.partition("\r\n")[0]

    def test_no_context_is_kept_in_either_direction(self) -> None:
        same = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        for offer in (
            "permessage-deflate",
            OFFER,
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-bzip2, permessage-deflate; nonsense=1, permessage-deflate",
        ):
            self.assertEqual(self.answer(offer), same, offer)

    def test_a_smaller_window_is_granted(self) -> None:
        self.assertEqual(
            self.answer("permessage-deflate; server_max_window_bits=10"),
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; "
            "client_no_context_takeover",
        )

    def test_what_can_not_be_met_is_declined(self) -> None:
        for offer in (
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; nonsense",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-bzip2; client_max_compress_level",
            "x-webkit-deflate-frame",
        ):
            self.assertEqual(self.answer(offer), "", offer)


class OutgoingTests(DeflateCase):
    """What goes out."""

    def frames_for(self, socket: FakeSocket, size: int = 2_000) -> bytes:
        """What a socket gets of a message, by the encoder that it asks for."""
        port = self.session.socket
        encoder = port.encoder(RawDialect().codec(Route()).encoder)
        port.send_frame(encoder.encode(parse("/topic/a"), delivery("a", b"hello" * (size // 5))))
        return socket.take()

    def test_a_message_is_compressed(self) -> None:
        frame = self.frames_for(self.open_deflating())
        self.assertLess(len(frame), 100)
        self.assertEqual(inflated(frame), b"hello" * 400)

    def test_not_for_who_did_not_offer_it(self) -> None:
        frame = self.frames_for(self.open())
        self.assertEqual((frame[0], len(frame)), (0x81, 2_004))

    def test_within_the_window_that_was_agreed_on(self) -> None:
        port_of = []
        for bits in (9, 12, 15):
            socket = self.open_deflating(f"permessage-deflate; server_max_window_bits={bits}")
            frame = self.frames_for(socket, 90_000)
            self.assertEqual(inflated(frame, bits), b"hello" * 18_000)
            port_of.append(self.session.socket)
        raw = RawDialect().codec(Route()).encoder
        self.assertEqual(len({port.encoder(raw) for port in port_of}), 3)

    def test_all_with_the_same_window_share_an_encoder(self) -> None:
        raw = RawDialect().codec(Route()).encoder
        found = set()
        for _ in range(5):
            self.open_deflating()
            found.add(self.session.socket.encoder(raw))
        self.assertEqual(len(found), 1)

    def test_answers_are_sent_as_they_are(self) -> None:
        socket = self.open_deflating()
        self.session.socket.send(b"hello", False)
        self.assertEqual(socket.take(), b"\x81\x05hello")


class IncomingTests(DeflateCase):
    """What comes in."""

    def test_a_compressed_message_is_received(self) -> None:
        socket = self.open_deflating()
        for _ in range(2):
            socket.deliver(client_frame(TEXT, compressed(b"hello" * 100), rsv=4))
        self.assertEqual(self.session.messages, [(b"hello" * 100, False)] * 2)

    def test_one_in_fragments_and_reads_of_any_size_too(self) -> None:
        socket = self.open_deflating()
        data = compressed("häh".encode() * 1_000)
        wire = client_frame(TEXT, data[:7], rsv=4, fin=False) + client_frame(PING, b"p")
        wire += client_frame(0, b"", fin=False) + client_frame(0, data[7:])
        for step in (1, 2, 5, 1_000):
            for start in range(0, len(wire), step):
                socket.deliver(wire[start : start + step])
        self.assertEqual(self.session.messages, [("häh".encode() * 1_000, False)] * 4)

    def test_uncompressed_messages_in_between_too(self) -> None:
        socket = self.open_deflating()
        socket.deliver(
            client_frame(TEXT, b"one")
            + client_frame(TEXT, compressed(b"two"), rsv=4)
            + client_frame(BINARY, b"three")
            + client_frame(BINARY, compressed(b""), rsv=4)
        )
        self.assertEqual(
            self.session.messages,
            [(b"one", False), (b"two", False), (b"three", True), (b"", True)],
        )

    def test_the_limit_holds_after_inflation(self) -> None:
        for make in (
            b"\0".__mul__,
            lambda size: bytes(range(250)) * (size // 250) + b"x" * (size % 250),
        ):
            socket = self.open_deflating()
            socket.deliver(client_frame(BINARY, compressed(make(100_000)), rsv=4))
            self.assertEqual(self.session.messages, [(make(100_000), True)])
            socket.deliver(client_frame(BINARY, compressed(make(100_001)), rsv=4))
            self.assert_closed(socket, 1009)
            self.assertEqual(len(self.session.messages), 1)

    def test_what_cannot_be_inflated_is_1007(self) -> None:
        socket = self.open_deflating()
        socket.deliver(client_frame(BINARY, b"\xff\xff\xff\xff", rsv=4))
        self.assert_closed(socket, 1007)

    def test_text_that_is_not_utf8_after_inflation_is_1007(self) -> None:
        socket = self.open_deflating()
        socket.deliver(client_frame(TEXT, compressed(b"a" * 300 + b"\xff"), rsv=4))
        self.assert_closed(socket, 1007)
        self.assertEqual(self.session.messages, [])

    def test_the_bit_in_the_wrong_place_is_1002(self) -> None:
        for wire in (
            client_frame(PING, b"p", rsv=4),
            client_frame(CLOSE, b"\x03\xe8", rsv=4),
            client_frame(TEXT, b"a", fin=False) + client_frame(0, b"b", rsv=4),
            client_frame(TEXT, b"a", rsv=2),
        ):
            socket = self.open_deflating()
            socket.deliver(wire)
            self.assert_closed(socket, 1002)


class BombTests(DeflateCase):
    """1 MiB on the wire, 1 GB inflated."""

    options = SocketOptions(deflate=True)

    def setUp(self) -> None:
        super().setUp()
        self.payload = bomb(1000 * MIB)
        self.assertLess(len(self.payload), 1_048_576)

    def peak(self, *reads: bytes) -> int:
        """The most memory that it took to be told 1009."""
        socket = self.open_deflating()
        tracemalloc.start()
        try:
            for each in reads:
                socket.deliver(each)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assert_closed(socket, 1009)
        self.assertEqual(self.session.messages, [])
        return most

    def test_in_one_frame(self) -> None:
        wire = client_frame(BINARY, self.payload, rsv=4)
        self.assertLess(self.peak(wire), 4 * MIB)

    def test_in_small_reads(self) -> None:
        wire = client_frame(BINARY, self.payload, rsv=4)
        reads = [wire[at : at + 700] for at in range(0, len(wire), 700)]
        self.assertLess(self.peak(*reads), 4 * MIB)

    def test_in_fragments(self) -> None:
        size = len(self.payload) // 500
        wire = client_frame(TEXT, self.payload[:size], rsv=4, fin=False)
        for at in range(size, 10 * size, size):
            wire += client_frame(0, self.payload[at : at + size], fin=False)
        self.assertLess(self.peak(wire), 4 * MIB)

    def test_in_fragments_under_the_limit_until_the_last(self) -> None:
        half = compressed(bytes(MIB // 2)) + b"\x00\x00\xff\xff"
        first = client_frame(BINARY, half, rsv=4, fin=False)
        self.assertLess(self.peak(first, client_frame(0, self.payload)), 4 * MIB)


class MemoryTests(DeflateCase):
    """What a connection keeps that has received a compressed message."""

    def cost(self, offer: str | None, wire: bytes) -> float:
        """Bytes of an open connection that keeps still."""
        number = 200
        fields: dict[str, Any] = {"Sec_WebSocket_Extensions": offer} if offer else {}
        sockets = []
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(number):
                sockets.append(self.open(upgrade(**fields)))
                sockets[-1].deliver(wire)
            self.sessions.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / number
        finally:
            tracemalloc.stop()

    def test_it_keeps_no_window(self) -> None:
        body = b"hello" * 100
        wire = client_frame(TEXT, compressed(body), rsv=4)
        plain = self.cost(None, client_frame(TEXT, body, fin=False) + client_frame(0))
        self.assertLess(self.cost(OFFER, wire) - plain, 1_500)
