"""Values to bodies and back."""

from __future__ import annotations

import gzip
import os
import pickle
import tracemalloc
import zlib
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import BadBody
from twbridge.rpc.serializers import (
    COMPRESSED_FROM,
    JSON,
    MSGPACK,
    OCTETS,
    PICKLE,
    TEXT,
    Body,
    Serializers,
    answer_type,
    inflate,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TYPES = st.sampled_from((JSON, MSGPACK, PICKLE, TEXT, OCTETS, "text/html; charset=utf-8"))


class Unpicklable:
    """Counts how often it is made by pickle."""

    made = 0

    def __reduce__(self) -> Any:
        return (_count, ())


def _count() -> None:
    Unpicklable.made += 1


class EncodeTests(SynchronousTestCase):
    """What a value becomes."""

    def setUp(self) -> None:
        self.serializers = Serializers()

    def test_a_string_is_text_bytes_stay_and_the_rest_is_json(self) -> None:
        for value, body in (
            ("å", Body("å".encode(), TEXT)),
            (b"\x00\xff", Body(b"\x00\xff", OCTETS)),
            (bytearray(b"a"), Body(b"a", OCTETS)),
            (memoryview(b"a"), Body(b"a", OCTETS)),
            (None, Body(b"null", JSON)),
            ([1, "a"], Body(b'[1,"a"]', JSON)),
            ({"a": {1}}, Body(b'{"a":[1]}', JSON)),
            (datetime(2026, 1, 2, tzinfo=UTC), Body(b'"2026-01-02T00:00:00Z"', JSON)),
        ):
            self.assertEqual(self.serializers.encode(value), body)

    def test_the_content_type_says_it_otherwise(self) -> None:
        encode = self.serializers.encode
        self.assertEqual(encode([1], content_type=MSGPACK), Body(b"\x91\x01", MSGPACK))
        self.assertEqual(encode("a", content_type=JSON), Body(b'"a"', JSON))
        self.assertEqual(encode("a", content_type="text/html").data, b"a")
        self.assertEqual(encode(b"a", content_type="image/png"), Body(b"a", "image/png"))
        latin = "text/plain; charset=iso-8859-1"
        self.assertEqual(encode("å", content_type=latin), Body(b"\xe5", latin))
        self.assertEqual(encode({}, content_type="application/problem+json").data, b"{}")

    def test_nothing_is_compressed_that_nobody_would_inflate(self) -> None:
        serializers = Serializers(max_inflated=100_000)
        for data, encoding in ((b"a" * 100_000, "gzip"), (b"a" * 100_001, None)):
            body = serializers.encode(data)
            self.assertEqual(body.content_encoding, encoding)
            self.assertEqual(serializers.decode(body), data)
            self.assertEqual(serializers.encode(data, compress=False), Body(data, OCTETS))
        with self.assertRaisesRegex(BadBody, "100001 bytes: compressed, it may have 100000"):
            serializers.encode(b"a" * 100_001, compress=True)

    def test_a_body_is_taken_as_it_is(self) -> None:
        body = Body(b"<svg/>", "image/svg+xml")
        self.assertIs(self.serializers.encode(body), body)
        packed = self.serializers.encode(Body(b"a" * 100, "text/csv"), compress=True)
        self.assertEqual(packed.content_encoding, "gzip")
        self.assertIs(self.serializers.encode(packed, compress=True), packed)

    def test_what_does_not_go_is_refused_with_a_sentence(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value, content_type in (
            (object(), None),
            (object(), MSGPACK),
            ({(1, 2): 3}, None),
            (2**64, MSGPACK),
            (10**5000, None),
            ("\ud800", None),
            (["\ud800"], None),
            ("å", "text/plain; charset=us-ascii"),
            ("a", "text/plain; charset=rot13"),
            ("a", OCTETS),
            (b"a", TEXT),
            (1, "application/xml"),
            (deep, None),
            (deep, MSGPACK),
        ):
            error = self.assertRaises(
                BadBody, self.serializers.encode, value, content_type=content_type
            )
            self.assertNotIn("\n", str(error))
            self.assertEqual(error.code, "worker_error")

    def test_what_does_not_pickle_is_refused(self) -> None:
        with self.assertRaisesRegex(BadBody, "pickle"):
            Serializers(pickle=True).encode(lambda: None, content_type=PICKLE)

    def test_an_answer_has_the_type_of_its_question_where_somebody_chose_it(self) -> None:
        self.assertEqual(answer_type(MSGPACK), MSGPACK)
        self.assertEqual(answer_type(" Application/X-Python-Pickle ; a=b"), PICKLE)
        for each in (JSON, TEXT, OCTETS, "", "application/xml"):
            self.assertIsNone(answer_type(each))


class DecodeTests(SynchronousTestCase):
    """What a body becomes."""

    def setUp(self) -> None:
        self.serializers = Serializers()

    def test_the_content_type_decides(self) -> None:
        for data, content_type, value in (
            (b"[1]", JSON, [1]),
            (b" [1]\n", "Application/JSON ; charset=utf-8", [1]),
            (b"{}", "application/problem+json", {}),
            (b"\x91\x01", MSGPACK, [1]),
            (b"[1]", "text/plain", "[1]"),
            (b"", "text/plain", ""),
            (b"\xe5", 'text/plain; format=flowed; Charset="ISO-8859-1"', "å"),
            (b"[1]", OCTETS, b"[1]"),
            (b"\x89PNG", "image/png", b"\x89PNG"),
        ):
            self.assertEqual(self.serializers.decode(Body(data, content_type)), value)

    def test_a_type_or_charset_that_is_not_known_is_refused(self) -> None:
        for content_type in (
            "application/xml",
            "",
            "json",
            "text/plain; charset=rot13",
            "text/plain; charset=",
            "multipart/form-data; boundary=a",
            "application/x-python-pickle-2",
        ):
            with self.assertRaisesRegex(BadBody, "is not known"):
                self.serializers.decode(Body(b"[]", content_type))

    def test_malformed_bodies_are_refused(self) -> None:
        for data, content_type in (
            (b"", JSON),
            (b"[1", JSON),
            (b"[1]]", JSON),
            (b"NaN", JSON),
            (b"1e999", JSON),
            (b"1" * 5000, JSON),
            (b'"\\ud800"', JSON),
            (b'"\xff"', JSON),
            (b"\xef\xbb\xbf[]", JSON),
            (b"", MSGPACK),
            (b"\xc1", MSGPACK),
            (b"\x81\x80\x01", MSGPACK),
            (b"\xdd\xff\xff\xff\xff", MSGPACK),
            (b"\xff", "text/plain"),
        ):
            with self.assertRaisesRegex(BadBody, "not valid"):
                self.serializers.decode(Body(data, content_type))

    def test_deep_nesting_is_refused_and_crashes_nothing(self) -> None:
        for data, content_type in (
            (b"[" * 100_000 + b"]" * 100_000, JSON),
            (b"[" * 1_000_000, JSON),
            (b'{"a":' * 100_000, JSON),
            (b"\x91" * 100_000 + b"\x01", MSGPACK),
            (b"\x81\x01" * 100_000 + b"\x01", MSGPACK),
        ):
            with self.assertRaisesRegex(BadBody, "too deeply"):
                self.serializers.decode(Body(data, content_type))

    @given(PLAIN, st.sampled_from((None, JSON, MSGPACK)), st.sampled_from((None, True, False)))
    def test_what_was_encoded_comes_back(
        self, value: Any, content_type: str | None, compress: bool | None
    ) -> None:
        body = Serializers().encode(value, content_type=content_type, compress=compress)
        self.assertEqual(Serializers().decode(body), value)

    @given(st.binary(), TYPES | st.text(max_size=20), st.sampled_from((None, "", "gzip", "br")))
    @example(b"\x80\x04.", PICKLE, None)
    @example(gzip.compress(b"[1]"), JSON, "gzip")
    def test_any_bytes_give_a_value_or_one_error(
        self, data: bytes, content_type: str, encoding: str | None
    ) -> None:
        try:
            Serializers().decode(Body(data, content_type, encoding))
        except BadBody as error:
            self.assertTrue(str(error))


class PickleTests(SynchronousTestCase):
    """Pickle is for those who both say so."""

    def setUp(self) -> None:
        Unpicklable.made = 0

    def test_it_is_neither_made_nor_read_where_nobody_opted_in(self) -> None:
        with self.assertRaisesRegex(BadBody, "not opted in"):
            Serializers().encode(1, content_type=PICKLE)
        with self.assertRaisesRegex(BadBody, "not opted in"):
            Serializers().decode(Body(pickle.dumps(Unpicklable()), PICKLE))
        self.assertEqual(Unpicklable.made, 0)

    def test_it_passes_where_both_did(self) -> None:
        both = Serializers(pickle=True)
        value = {(1, 2): {3}, "a": datetime(2026, 1, 2)}
        self.assertEqual(both.decode(both.encode(value, content_type=PICKLE)), value)

    def test_it_is_never_chosen_by_itself(self) -> None:
        both = Serializers(pickle=True)
        self.assertEqual(both.encode([1]).content_type, JSON)
        self.assertRaises(BadBody, both.encode, object())

    def test_other_types_are_not_unpickled(self) -> None:
        both, data = Serializers(pickle=True), pickle.dumps(Unpicklable())
        for content_type in (JSON, MSGPACK, OCTETS, TEXT, "application/python-pickle"):
            try:
                both.decode(Body(data, content_type))
            except BadBody:
                continue
        self.assertEqual(Unpicklable.made, 0)

    def test_bytes_that_are_no_pickle_are_refused(self) -> None:
        both = Serializers(pickle=True)
        for data in (b"", b"\x80", b"cnowhere\nnothing\n.", b"\x80\x04N"):
            with self.assertRaisesRegex(BadBody, "not valid pickle"):
                both.decode(Body(data, PICKLE))


class CompressionTests(SynchronousTestCase):
    """Compressed when it is worth it, said when it is so, inflated up to a limit."""

    def setUp(self) -> None:
        self.serializers = Serializers()

    def test_a_body_of_32768_bytes_stays_and_one_byte_more_is_compressed(self) -> None:
        small = self.serializers.encode("a" * COMPRESSED_FROM)
        self.assertEqual((len(small.data), small.content_encoding), (32_768, None))
        large = self.serializers.encode("a" * (COMPRESSED_FROM + 1))
        self.assertEqual(large.content_encoding, "gzip")
        self.assertLess(len(large.data), 1_000)
        self.assertEqual(gzip.decompress(large.data), b"a" * 32_769)
        self.assertEqual(self.serializers.decode(large), "a" * 32_769)

    def test_what_gets_no_smaller_stays(self) -> None:
        noise = os.urandom(100_000)
        self.assertEqual(self.serializers.encode(noise), Body(noise, OCTETS))

    def test_it_can_be_asked_for_and_refused(self) -> None:
        self.assertEqual(self.serializers.encode("a", compress=True).content_encoding, "gzip")
        large = self.serializers.encode("a" * 100_000, compress=False)
        self.assertEqual((len(large.data), large.content_encoding), (100_000, None))

    def test_the_same_value_gives_the_same_bytes(self) -> None:
        one, two = (self.serializers.encode("a" * 50_000) for _ in range(2))
        self.assertEqual(one, two)

    @given(st.binary(max_size=200), st.sampled_from((None, True, False)))
    def test_the_content_encoding_is_the_truth(self, data: bytes, compress: bool | None) -> None:
        body = Serializers().encode(data, compress=compress)
        if body.content_encoding is None:
            self.assertEqual(body.data, data)
        else:
            self.assertEqual(body.content_encoding, "gzip")
            self.assertEqual(gzip.decompress(body.data), data)

    def test_up_to_the_limit_it_is_inflated_and_not_one_byte_past_it(self) -> None:
        self.assertEqual(inflate(packed(b"a" * 1000), 1000), Body(b"a" * 1000, OCTETS))
        with self.assertRaisesRegex(BadBody, "over 999 bytes"):
            inflate(packed(b"a" * 1000), 999)
        self.assertEqual(inflate(packed(b""), 0).data, b"")

    def test_a_bomb_takes_no_memory(self) -> None:
        bomb = packed(bytes(50_000_000))
        self.assertLess(len(bomb.data), 60_000)
        small = Serializers(max_inflated=100_000)
        tracemalloc.start()
        try:
            with self.assertRaisesRegex(BadBody, "over 100000 bytes"):
                small.decode(bomb)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 1_000_000)

    def test_what_is_not_compressed_is_given_back_itself(self) -> None:
        body = Body(b"a", OCTETS)
        self.assertIs(inflate(body), body)
        self.assertEqual(inflate(Body(b"a", OCTETS, "Identity")), body)

    def test_bodies_that_are_not_what_they_say_are_refused(self) -> None:
        whole = gzip.compress(b"hello")
        for data, encoding, sentence in (
            (b"hello", "gzip", "not the gzip"),
            (b"", "gzip", "ends too early"),
            (whole[:-1], "gzip", "ends too early"),
            (whole[:-8] + bytes(8), "gzip", "not the gzip"),
            (whole + b"x", "gzip", "more after"),
            (whole * 1000, "gzip", "more after"),
            (zlib.compress(b"hello"), "gzip", "not the gzip"),
            (whole, "br", "'br' is not known"),
            (whole, "gzip, gzip", "is not known"),
        ):
            with self.assertRaisesRegex(BadBody, sentence):
                inflate(Body(data, OCTETS, encoding))

    @given(st.binary(), st.integers(0, 50))
    def test_any_bytes_are_inflated_or_refused(self, data: bytes, most: int) -> None:
        for each in (data, gzip.compress(data), gzip.compress(data)[:-1] + data):
            try:
                found = inflate(Body(each, OCTETS, "gzip"), most)
            except BadBody:
                continue
            self.assertLessEqual(len(found.data), most)


def packed(data: bytes) -> Body:
    """A body that says that it is gzip, and is."""
    return Body(gzip.compress(data), OCTETS, "gzip")
