"""Compressed frames, read back with zlib as a client does."""

from __future__ import annotations

import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import delivery
from tests.test_frames import read
from twbridge.deflate import WORTH, agree, deflated, deflating, once
from twbridge.destinations import Destination, parse
from twbridge.frames import binary_frame, text_frame
from twbridge.live.fanout import Fanout
from twbridge.wire import Delivery

ANY = "permessage-deflate"
DESTINATION = parse("/topic/a")


def inflated(frame: bytes, bits: int = 15) -> bytes:
    """What a client reads (RFC 7692, section 7.2.2), its window empty before each message."""
    first, payload = read(frame)
    if not first & 0x40:
        return payload
    inflater = zlib.decompressobj(-bits)
    found = inflater.decompress(payload + b"\x00\x00\xff\xff")
    assert not inflater.unconsumed_tail
    assert not inflater.eof
    return found


class Counting:
    """An encoder that counts, and notes what it was asked for."""

    def __init__(self, size: int = 1_000) -> None:
        self.asked: list[tuple[int | None, int | None]] = []
        self._size = size

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        self.asked.append((offset, delivery_tag))
        return text_frame(f"{destination} {offset} {delivery_tag}".encode().ljust(self._size))


class Listener:
    """A subscriber with an encoder."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.frames: list[bytes] = []
        self.send = self.frames.append
        self.take = None

    def ended(self, destination: Destination, error: Exception) -> None:
        raise NotImplementedError

    def interrupted(self, destination: Destination) -> None:
        raise NotImplementedError


class FrameTests(SynchronousTestCase):
    @given(
        st.binary(max_size=400) | st.text("ab\u00e9", max_size=2_000).map(str.encode),
        st.integers(1, 300),
        st.integers(9, 15),
    )
    def test_the_payload_reads_back(self, payload: bytes, times: int, bits: int) -> None:
        for make in (text_frame, binary_frame):
            plain = make(payload * times)
            frame = deflated(plain, bits)
            self.assertEqual(inflated(frame, bits), payload * times)
            self.assertEqual(frame[0] & ~0x40, plain[0])
            self.assertLessEqual(len(frame), len(plain))

    def test_it_is_smaller_and_says_so(self) -> None:
        frame = deflated(text_frame(b"hello " * 100))
        self.assertEqual(frame[0], 0xC1)
        self.assertLess(len(frame), 40)

    def test_small_ones_and_those_that_do_not_shrink_stay_as_they_are(self) -> None:
        noise = bytes((i * i * 7 + i // 3) % 251 ^ i % 256 for i in range(WORTH))
        for plain in (
            text_frame(b""),
            text_frame(b"a" * (WORTH - 1)),
            binary_frame(zlib.compress(noise)),
            binary_frame(zlib.compress(bytes(range(256)) * 4, 9) * 1),
        ):
            self.assertIs(deflated(plain), plain)
        self.assertNotEqual(deflated(text_frame(b"a" * WORTH)), text_frame(b"a" * WORTH))

    def test_what_is_not_one_plain_data_frame_stays_as_it_is(self) -> None:
        text = text_frame(b"a" * 200)
        for odd in (
            b"",
            b"\x81",
            text + text,
            text[:-1],
            deflated(text) + bytes(200),
            b"\x89" + text[1:],
            b"\x81\x80" + bytes(4 + 200),
        ):
            self.assertIs(deflated(odd), odd)


class EncoderTests(SynchronousTestCase):
    def test_it_is_one_object_for_all_with_the_same_encoder_and_window(self) -> None:
        one, other = Counting(), Counting()
        self.assertIs(deflating(one), deflating(one, 15))
        self.assertIs(once(one), once(one))
        found = {deflating(one), deflating(one, 10), deflating(other), once(one), once(other)}
        self.assertEqual(len(found), 5)

    def test_a_message_is_encoded_once_and_compressed_once_for_all(self) -> None:
        encoder = Counting()
        fanout = Fanout("topic")
        plain = [Listener(once(encoder)) for _ in range(5)]
        small = [Listener(deflating(encoder)) for _ in range(5)]
        for each in (*plain, *small):
            fanout.join(parse("/topic/a"), each)
        for _ in range(3):
            fanout.deliver(delivery("a"))
            fanout.flush()
        self.assertEqual(len(encoder.asked), 3)
        for listeners in (plain, small):
            for column in zip(*(each.frames for each in listeners), strict=True):
                self.assertEqual(len({id(frame) for frame in column}), 1)
        self.assertEqual(inflated(small[0].frames[0]), read(plain[0].frames[0])[1])
        self.assertLess(len(small[0].frames[0]), 100)

    def test_different_questions_have_different_answers(self) -> None:
        encoder = Counting()
        one = delivery("a")
        for wrapped in (once(encoder), deflating(encoder)):
            for destination in (DESTINATION, parse("/topic/b")):
                for offset in (None, 0, 1):
                    for tag in (None, 1):
                        for message in (one, one, delivery("a")):
                            frame = wrapped.encode(
                                destination, message, offset=offset, delivery_tag=tag
                            )
                            wanted = f"{destination} {offset} {tag}"
                            self.assertEqual(inflated(frame).decode().strip(), wanted)

    def test_each_gets_its_own_spelling_of_a_destination(self) -> None:
        encoder = Counting()
        one, other = parse("/topic/a"), parse("/topic/%61")
        self.assertEqual(one, other)
        message = delivery("a")
        for wrapped in (once(encoder), deflating(encoder)):
            for destination in (one, other, one):
                frame = inflated(wrapped.encode(destination, message))
                self.assertTrue(frame.startswith(str(destination).encode() + b" "), frame)

    def test_small_messages_are_shared_with_the_plain_ones(self) -> None:
        encoder = Counting(10)
        message = delivery("a")
        plain = once(encoder).encode(DESTINATION, message)
        self.assertIs(deflating(encoder).encode(DESTINATION, message), plain)


class AgreementTests(SynchronousTestCase):
    """RFC 7692, section 7.1."""

    def test_every_offer_that_can_be_met_is(self) -> None:
        for parameters, bits in (
            ({}, 15),
            ({"client_max_window_bits": [True]}, 15),
            ({"client_max_window_bits": ["8"]}, 15),
            ({"client_no_context_takeover": [True], "server_no_context_takeover": [True]}, 15),
            ({"server_max_window_bits": ["9"]}, 9),
            ({"server_max_window_bits": ["15"], "client_max_window_bits": ["15"]}, 15),
        ):
            self.assertEqual(agree([(ANY, parameters)]), bits, parameters)

    def test_others_are_declined(self) -> None:
        for parameters in (
            {"server_max_window_bits": ["8"]},
            {"server_max_window_bits": ["7"]},
            {"server_max_window_bits": ["16"]},
            {"server_max_window_bits": ["09"]},
            {"server_max_window_bits": [True]},
            {"server_max_window_bits": ["10", "10"]},
            {"client_max_window_bits": ["\u0661\u0660"]},
            {"client_max_window_bits": [""]},
            {"client_no_context_takeover": ["1"]},
            {"server_no_context_takeover": ["true"]},
            {"client_max_message": [True]},
            {"": [True]},
        ):
            self.assertIsNone(agree([(ANY, parameters)]), parameters)
        self.assertIsNone(agree([]))
        self.assertIsNone(agree([("x-webkit-deflate-frame", {}), ("permessage-bzip2", {})]))

    def test_the_first_that_can_be_met_is_taken(self) -> None:
        offers: list[Any] = [
            ("permessage-bzip2", {}),
            (ANY, {"nonsense": [True]}),
            (ANY, {"server_max_window_bits": ["10"]}),
            (ANY, {}),
        ]
        self.assertEqual(agree(offers), 10)
