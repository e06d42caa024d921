"""What a hostile client sends on an open WebSocket.

A bare Autobahn server passes none of these but those that say what must still work.
"""

from __future__ import annotations

import struct

from tests.fake_sockets import client_frame
from tests.sockets.harness import BINARY, CLOSE, PING, PONG, TEXT, WebSocketTestCase
from twbridge.frames import binary_frame


class SizeTests(WebSocketTestCase):
    """Frames and messages over the limits."""

    def test_a_declared_frame_of_2_to_the_40_is_1009_on_its_header(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(BINARY, b"", length=2**40))
        self.assert_closed_in_frame(socket.take(), 1009)
        for _ in range(100):
            socket.deliver(b"a" * 60_000)
        protocol = socket.protocol
        self.assertLess(len(getattr(protocol, "data", b"")), 100)
        self.assertEqual(self.session.messages, [])

    def assert_closed_in_frame(self, frame: bytes, code: int) -> None:
        self.assertEqual(frame[0], 0x80 | CLOSE)
        self.assertEqual(struct.unpack("!H", frame[2:4]), (code,))

    def test_a_peer_that_goes_on_after_1009_is_dropped(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(BINARY, b"", length=2**40))
        for _ in range(6):
            socket.deliver(b"a" * 60_000)
            self.clock.advance(1)
        self.assertTrue(socket.lost)

    def test_a_frame_of_the_limit_is_received_and_one_more_byte_is_1009(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(BINARY, b"a" * 1_000))
        self.assertEqual(self.session.messages, [(b"a" * 1_000, True)])
        socket.deliver(client_frame(BINARY, b"a" * 1_001))
        self.assert_closed(socket, 1009)
        self.assertEqual(len(self.session.messages), 1)

    def test_fragments_over_the_message_limit_are_1009(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(BINARY, b"a" * 1_000, fin=False))
        socket.deliver(client_frame(0, b"a" * 1_000, fin=False))
        self.assertEqual(socket.received, b"")
        socket.deliver(client_frame(0, b"a"))
        self.assert_closed(socket, 1009)
        self.assertEqual(self.session.messages, [])

    def test_a_million_empty_fragments_are_1008_after_the_limit(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"a", fin=False))
        socket.deliver(client_frame(0, b"", fin=False) * 9)
        self.assertEqual(socket.received, b"")
        socket.deliver(client_frame(0, b"", fin=False) * 3)
        self.assert_closed(socket, 1008)

    def test_a_peer_that_goes_on_with_fragments_is_dropped(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"a", fin=False))
        socket.deliver(client_frame(0, b"", fin=False) * 1_000)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_fragments_up_to_the_limit_are_one_message(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"a", fin=False))
        socket.deliver(client_frame(0, b"b", fin=False) * 8)
        socket.deliver(client_frame(0, b"c"))
        socket.deliver(client_frame(TEXT, b"d", fin=False))
        socket.deliver(client_frame(0, b"e"))
        self.assertEqual(self.session.messages, [(b"abbbbbbbbc", False), (b"de", False)])


class FrameTests(WebSocketTestCase):
    """Frames that are none."""

    def test_text_that_is_not_utf8_is_1007(self) -> None:
        for payload in (b"\xff", b"a\xc3", b"\xed\xa0\x80"):
            socket = self.open()
            socket.deliver(client_frame(TEXT, payload))
            self.assert_closed(socket, 1007)
            self.assertEqual(self.session.messages, [])

    def test_text_split_inside_a_character_is_whole_again(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"h\xc3", fin=False) + client_frame(0, b"\xa9"))
        self.assertEqual(self.session.messages, [("hé".encode(), False)])

    def test_binary_may_be_anything(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(BINARY, b"\xff\xfe") + client_frame(BINARY, b""))
        self.assertEqual(self.session.messages, [(b"\xff\xfe", True), (b"", True)])

    def test_violations_are_1002(self) -> None:
        for data in (
            client_frame(TEXT, b"unmasked", mask=None),
            client_frame(TEXT, b"rsv", rsv=4),
            client_frame(3, b"reserved"),
            client_frame(0, b"nothing to continue"),
            client_frame(PING, b"fragment", fin=False),
            client_frame(CLOSE, b"\x03"),
            client_frame(CLOSE, struct.pack("!H", 1005)),
        ):
            socket = self.open()
            socket.deliver(data)
            self.assert_closed(socket, 1002)

    def test_nothing_is_received_after_a_violation(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(3, b"reserved") + client_frame(TEXT, b"late"))
        self.assertEqual(self.session.messages, [])


class PingTests(WebSocketTestCase):
    """Pings of the peer."""

    def test_a_ping_is_answered(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(PING, b"one") + client_frame(PING, b"two"))
        self.assertEqual(socket.take_frames(), [(PONG, b"one"), (PONG, b"two")])

    def test_between_fragments_too(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"a", fin=False) + client_frame(PING, b"p"))
        self.assertEqual(socket.take_frames(), [(PONG, b"p")])

    def test_a_flood_that_is_never_read_takes_no_memory(self) -> None:
        socket = self.open()
        socket.reading = False
        for i in range(5_000):
            socket.deliver(client_frame(PING, b"%0125d" % i))
        self.assertLess(len(socket.buffer), 70_000)
        socket.reading = True
        socket.drain()
        self.assertEqual(socket.take_frames()[-1], (PONG, b"%0125d" % 4_999))

    def test_only_the_latest_is_answered_afterwards(self) -> None:
        socket = self.open()
        socket.reading = False
        self.session.socket.send_frame(binary_frame(b"a" * 70_000))
        socket.deliver(client_frame(PING, b"one") + client_frame(PING, b"two"))
        socket.reading = True
        socket.drain()
        self.assertEqual(socket.take_frames()[1:], [(PONG, b"two")])


class SlowReaderTests(WebSocketTestCase):
    """A peer that does not read."""

    def test_it_is_closed_with_1013_and_memory_stays_flat(self) -> None:
        socket = self.open()
        socket.reading = False
        frame = binary_frame(b"a" * 1_000)
        for _ in range(10_000):
            self.session.socket.send_frame(frame)
        self.assertLess(len(socket.buffer), 70_000)
        self.assertEqual(self.session.events, ["opened", "overflowed"])
        self.clock.advance(0)
        self.assertEqual(self.session.events, ["opened", "overflowed", "lost"])
        socket.reading = True
        socket.drain()
        self.assert_closed(socket, 1013)

    def test_it_is_dropped_when_it_does_not_read_its_close(self) -> None:
        socket = self.open()
        socket.reading = False
        for _ in range(300):
            self.session.socket.send(b"a" * 1_000, True)
        self.clock.pump([1] * 5)
        self.assertTrue(socket.lost)

    def test_what_waited_comes_in_order_once_it_reads(self) -> None:
        socket = self.open()
        socket.reading = False
        sent = [(BINARY, b"%d" % i * 100) for i in range(400)]
        for _, payload in sent:
            self.session.socket.send(payload, True)
        socket.reading = True
        socket.drain()
        self.assertEqual(socket.take_frames(), sent)

    def test_others_are_not_delayed(self) -> None:
        slow, fast = self.open(), self.open()
        slow.reading = False
        for _ in range(200):
            for session in self.sessions:
                session.socket.send(b"a" * 1_000, True)
        self.assertEqual(len(fast.take_frames()), 200)
