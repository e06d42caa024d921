"""Message properties: round trips, and refusals that name the property."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands, header
from twisted.trial.unittest import SynchronousTestCase

from tests.amqp_values import exact, properties, short_texts
from twbridge.codec.properties import decode_properties, encode_properties, short, text
from twbridge.errors import EncodeError, FrameError

EVERY: dict[str, Any] = {
    "content_type": "text/plain; charset=utf-8",
    "content_encoding": "gzip",
    "headers": {"a": True, "é": "ü"},
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 1_700_000_000,
    "type": "t",
    "user_id": "guest",
    "app_id": "twbridge",
    "cluster_id": "x",
}


class RoundTripTests(SynchronousTestCase):
    """What is encoded arrives as it was."""

    @given(properties)
    @example({})
    @example(EVERY)
    def test_any_properties_arrive_as_they_were(self, given_properties: dict[str, Any]) -> None:
        decoded = decode_properties(encode_properties(given_properties))
        self.assertEqual(exact(dict(decoded)), exact(given_properties))

    def test_each_property_stands_alone(self) -> None:
        for name, value in EVERY.items():
            self.assertEqual(decode_properties(encode_properties({name: value})), {name: value})

    def test_none_is_absent(self) -> None:
        for name in EVERY:
            self.assertEqual(encode_properties({name: None}), b"\x00\x00")

    def test_the_order_in_which_they_are_given_does_not_matter(self) -> None:
        backwards = dict(reversed(EVERY.items()))
        self.assertEqual(encode_properties(backwards), encode_properties(EVERY))

    def test_the_bytes_are_those_of_pamqp(self) -> None:
        values = {name: value for name, value in EVERY.items() if name != "cluster_id"}
        values["message_type"] = values.pop("type")
        values["timestamp"] = datetime.fromtimestamp(values["timestamp"], UTC)
        theirs = commands.Basic.Properties(**values)  # without cluster_id, which pamqp refuses
        # After class, weight and body size.
        expected = header.ContentHeader(0, 0, theirs).marshal()[12:]
        ours = encode_properties(
            {name: value for name, value in EVERY.items() if name != "cluster_id"}
        )
        self.assertEqual(ours, expected)


class RefusedTests(SynchronousTestCase):
    """What can't be a property is an EncodeError that names it."""

    def refused(self, name: str, value: object) -> str:
        with self.assertRaises(EncodeError) as caught:
            encode_properties({"app_id": "a", name: value})
        return str(caught.exception)

    def test_an_unknown_property_is_named(self) -> None:
        for name in ("persistent", "Content_Type", "content-type", "", "flags"):
            self.assertIn(repr(name), self.refused(name, 1))

    def test_an_unknown_property_is_named_even_if_its_value_is_none(self) -> None:
        self.assertIn("'persistent'", self.refused("persistent", None))

    def test_a_value_of_the_wrong_type_is_named(self) -> None:
        texts = {name for name, value in EVERY.items() if isinstance(value, str)}
        wrong: dict[str, list[Any]] = {name: [1, b"bytes", ["x"], object()] for name in texts}
        wrong["delivery_mode"] = wrong["priority"] = [256, -1, "x", 1.5, [1]]
        wrong["timestamp"] = [-1, 2**64, "soon", datetime(2020, 1, 1, tzinfo=UTC), float("inf")]
        wrong["headers"] = ["x", 1, [("a", 1)]]
        for name, values in wrong.items():
            for value in values:
                self.assertIn(name, self.refused(name, value))

    def test_a_text_over_255_bytes_is_named(self) -> None:
        for name, value in EVERY.items():
            if isinstance(value, str):
                encode_properties({name: "é" * 127})
                sentence = self.refused(name, "é" * 128)
                self.assertIn(name, sentence)
                self.assertIn("255", sentence)

    def test_a_header_that_cannot_be_sent_is_named(self) -> None:
        self.assertIn("x-when", self.refused("headers", {"x-when": object()}))

    def test_text_without_an_encoding_is_named(self) -> None:
        self.assertIn("message_id", self.refused("message_id", "\ud800"))

    @given(
        st.dictionaries(
            st.sampled_from(list(EVERY)),
            st.one_of(
                st.integers(),
                st.text(max_size=300),
                st.binary(),
                st.floats(),
                st.none(),
                st.dictionaries(st.one_of(st.text(), st.integers()), st.complex_numbers()),
            ),
        )
    )
    def test_any_values_are_encoded_or_refused_with_encode_error(
        self, given_properties: dict[str, Any]
    ) -> None:
        try:
            data = encode_properties(given_properties)
        except EncodeError:
            return
        decode_properties(data)


class MalformedTests(SynchronousTestCase):
    """Any bytes give properties or FrameError 502, never another exception."""

    @given(st.binary(max_size=60))
    @example(b"")
    @example(b"\x80")
    @example(b"\xff\xff")
    @example(b"\x20\x00\xff\xff\xff\xff")
    def test_any_bytes(self, data: bytes) -> None:
        try:
            found = decode_properties(data)
        except FrameError as error:
            self.assertEqual(error.reply_code, 502)
        else:
            self.assertLessEqual(set(found), set(EVERY))

    @given(properties.filter(bool))
    def test_properties_that_end_too_early_are_refused(
        self, given_properties: dict[str, Any]
    ) -> None:
        data = encode_properties(given_properties)
        for length in range(2, len(data)):
            with self.assertRaises(FrameError):
                decode_properties(data[:length])


class ShortStringTests(SynchronousTestCase):
    """Names and keys."""

    @given(short_texts)
    def test_any_text_up_to_255_bytes(self, value: str) -> None:
        data = short(value, "name")
        self.assertEqual(data[0], len(data) - 1)
        self.assertEqual(text(data[1:]), value)

    @given(st.binary(max_size=255))
    def test_any_bytes_are_shown_as_text(self, data: bytes) -> None:
        shown = text(data)
        self.assertEqual(shown.encode("utf-8"), shown.encode())
        try:
            self.assertEqual(shown, data.decode())
        except UnicodeDecodeError:
            self.assertIn("\\x", shown)

    def test_the_refusal_names_what_it_is(self) -> None:
        for value in ("x" * 256, "é" * 128, "\udcff"):
            with self.assertRaises(EncodeError) as caught:
                short(value, "routing key")
            self.assertIn("routing key", str(caught.exception))
