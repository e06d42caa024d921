"""Frames of a WebSocket server, read back by a reader of RFC 6455 written for the test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.frames import binary_frame, data_frame, text_frame


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

    def test_each_length_has_its_shortest_form(self) -> None:
        for size in (0, 1, 125, 126, 127, 0xFFFF, 0x10000, 300_000):
            self.assertEqual(read(data_frame(bytes(size), True)), (0x82, bytes(size)))
            self.assertEqual(read(data_frame(bytes(size), False)), (0x81, bytes(size)))
