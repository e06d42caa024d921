"""Frames of a WebSocket server, read back by a reader of RFC 6455 written for the test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.frames import (
    binary_frame,
    compressed_frame,
    data_frame,
    split_frame,
    text_frame,
)


def read(frame: bytes) -> tuple[int, bytes]:
    """The first byte and the payload of one unmasked frame (RFC 6455, section 5.2)."""
    size, at = frame[1], 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4], "big"), 4
        assert size > 125, "not the shortest form"
    elif size == 127:
        size, at = int.from_bytes(frame[2:10], "big"), 10
        assert size > 0xFFFF, "not the shortest form"
    assert len(frame) == at + size
    return frame[0], frame[at:]


class FrameTests(SynchronousTestCase):
    @given(st.binary(max_size=300))
    def test_the_payload_reads_back(self, payload: bytes) -> None:
        self.assertEqual(read(text_frame(payload)), (0x81, payload))
        self.assertEqual(read(binary_frame(payload)), (0x82, payload))

    @given(st.binary(max_size=300), st.integers(1, 400))
    def test_a_frame_can_be_split_again(self, payload: bytes, times: int) -> None:
        self.assertEqual(split_frame(text_frame(payload * times)), (0x81, payload * times))
        self.assertEqual(split_frame(binary_frame(payload * times)), (0x82, payload * times))

    @given(st.binary(max_size=20))
    def test_anything_can_be_asked_for_its_parts(self, data: bytes) -> None:
        parts = split_frame(data)
        if parts is not None:
            self.assertIn(data, (data_frame(parts[1], parts[0] == 0x82), data))

    def test_a_compressed_frame_has_the_first_reserved_bit(self) -> None:
        self.assertEqual(read(compressed_frame(0x81, b"small")), (0xC1, b"small"))
        self.assertEqual(read(compressed_frame(0x82, b"s" * 300)), (0xC2, b"s" * 300))
        self.assertIsNone(split_frame(compressed_frame(0x81, b"small")))

    def test_each_length_has_its_shortest_form(self) -> None:
        for size in (0, 1, 125, 126, 127, 0xFFFF, 0x10000, 300_000):
            self.assertEqual(read(data_frame(bytes(size), True)), (0x82, bytes(size)))
            self.assertEqual(read(data_frame(bytes(size), False)), (0x81, bytes(size)))
