"""The short way in: the plain messages it takes, and everything that it leaves alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import client_frame
from twbridge.sockets.inbound import next_message

TEXT, BINARY, PING = 1, 2, 9
LIMIT = 1 << 20


class NextMessageTests(SynchronousTestCase):
    @given(st.binary(min_size=1, max_size=70_000), st.binary(max_size=9), st.binary(max_size=9))
    def test_a_binary_message_comes_out_as_it_was_sent(
        self, payload: bytes, before: bytes, after: bytes
    ) -> None:
        data = before + client_frame(BINARY, payload) + after
        found = next_message(data, len(before), LIMIT)
        if len(payload) > 0xFFFF:
            self.assertIsNone(found)
        else:
            self.assertEqual(found, (payload, True, len(data) - len(after)))

    @given(st.text(min_size=1))
    def test_a_text_message_comes_out_as_it_was_sent(self, text: str) -> None:
        frame = client_frame(TEXT, text.encode())
        self.assertEqual(next_message(frame, 0, LIMIT), (text.encode(), False, len(frame)))

    @given(st.binary(min_size=1, max_size=300).filter(lambda data: not _is_utf8(data)))
    def test_text_that_is_not_utf8_is_left_alone(self, payload: bytes) -> None:
        self.assertIsNone(next_message(client_frame(TEXT, payload), 0, LIMIT))

    def test_what_is_not_all_there_is_left_alone(self) -> None:
        for size in (1, 125, 126, 300):
            frame = client_frame(BINARY, b"x" * size)
            for length in range(len(frame)):
                self.assertIsNone(next_message(frame[:length], 0, LIMIT), length)

    def test_a_message_over_the_limit_is_left_alone(self) -> None:
        self.assertIsNone(next_message(client_frame(BINARY, b"x" * 101), 0, 100))
        self.assertIsNotNone(next_message(client_frame(BINARY, b"x" * 100), 0, 100))

    def test_other_frames_are_left_alone(self) -> None:
        whole = bytearray(client_frame(TEXT, b"hello"))
        for name, position, value in (
            ("a fragment", 0, 0x01),
            ("a continuation", 0, 0x80),
            ("a reserved bit", 0, 0xC1),
            ("a ping", 0, 0x89),
            ("no mask", 1, 0x05),
        ):
            changed = bytearray(whole)
            changed[position] = value
            self.assertIsNone(next_message(bytes(changed), 0, LIMIT), name)
        self.assertIsNone(next_message(client_frame(PING, b"hello"), 0, LIMIT))
        self.assertIsNone(next_message(client_frame(TEXT, b""), 0, LIMIT))

    def test_a_length_in_a_longer_form_than_needed_is_left_alone(self) -> None:
        frame = b"\x82\xfe\x00\x05" + b"\0\0\0\0" + b"hello"
        self.assertIsNone(next_message(frame, 0, LIMIT))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
