"""Field tables: every type both ways, foreign types read, and nothing else let through."""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.amqp_values import exact, tables, texts
from twbridge.codec.tables import MAX_DEPTH, decode_table, encode_table
from twbridge.errors import EncodeError, FrameError


def wire_table(*fields: tuple[bytes, bytes]) -> bytes:
    """A table made by hand: pairs of a name and a value with its type byte."""
    body = b"".join(bytes((len(name),)) + name + value for name, value in fields)
    return struct.pack(">I", len(body)) + body


def read(value: bytes) -> Any:
    """What a value with its type byte is read as."""
    table, end = decode_table(wire_table((b"k", value)))
    assert end == len(wire_table((b"k", value)))
    return table["k"]


class RoundTripTests(SynchronousTestCase):
    """What is encoded arrives as it was."""

    @given(tables)
    def test_any_table_arrives_with_its_values_and_types(self, table: dict[str, Any]) -> None:
        data = encode_table(table)
        decoded, end = decode_table(data)
        self.assertEqual(end, len(data))
        self.assertEqual(exact(decoded), exact(table))

    @given(tables, st.binary(max_size=9), st.binary(max_size=9))
    def test_a_table_is_found_in_the_middle_of_other_bytes(
        self, table: dict[str, Any], before: bytes, after: bytes
    ) -> None:
        data = encode_table(table)
        decoded, end = decode_table(before + data + after, len(before))
        self.assertEqual(end, len(before) + len(data))
        self.assertEqual(exact(decoded), exact(table))

    def test_each_python_type_has_its_type_on_the_wire(self) -> None:
        rows: list[tuple[Any, bytes]] = [
            (True, b"t\x01"),
            (False, b"t\x00"),
            (0, b"I\x00\x00\x00\x00"),
            (-1, b"I\xff\xff\xff\xff"),
            (2**31 - 1, b"I\x7f\xff\xff\xff"),
            (-(2**31), b"I\x80\x00\x00\x00"),
            (2**31, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
            (-(2**31) - 1, b"l\xff\xff\xff\xff\x7f\xff\xff\xff"),
            (-(2**63), b"l\x80" + bytes(7)),
            (0.1, b"d" + struct.pack(">d", 0.1)),
            (Decimal("-1.50"), b"D\x02" + struct.pack(">i", -150)),
            ("é", b"S\x00\x00\x00\x02\xc3\xa9"),
            (b"\xff", b"x\x00\x00\x00\x01\xff"),
            (datetime(2001, 2, 3, tzinfo=UTC), b"T" + struct.pack(">Q", 981158400)),
            ({}, b"F\x00\x00\x00\x00"),
            ({"a": None}, b"F\x00\x00\x00\x03\x01aV"),
            ([True, None], b"A\x00\x00\x00\x03t\x01V"),
            (None, b"V"),
        ]
        for value, data in rows:
            self.assertEqual(encode_table({"k": value}), wire_table((b"k", data)), repr(value))

    def test_a_float_keeps_its_double_precision(self) -> None:
        for value in (0.1, 1e308, 5e-324, float("inf"), float("-inf")):
            self.assertEqual(decode_table(encode_table({"k": value}))[0]["k"], value)
        nan = decode_table(encode_table({"k": float("nan")}))[0]["k"]
        self.assertNotEqual(nan, nan)

    def test_a_name_of_255_bytes_is_not_cut(self) -> None:
        name = "é" * 127 + "x"
        self.assertEqual(decode_table(encode_table({name: 1}))[0], {name: 1})

    def test_mappings_tuples_and_buffers_are_taken_as_well(self) -> None:
        given_values = {
            "mapping": MappingProxyType({"a": OrderedDict(b=1)}),
            "tuple": (1, "x"),
            "bytearray": bytearray(b"ab"),
            "memoryview": memoryview(b"cd"),
        }
        self.assertEqual(
            exact(decode_table(encode_table(given_values))[0]),
            exact(
                {"mapping": {"a": {"b": 1}}, "tuple": [1, "x"], "bytearray": b"ab"}
                | {"memoryview": b"cd"}
            ),
        )

    def test_a_time_is_that_moment_in_whole_seconds(self) -> None:
        moment = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
        for value in (
            moment,
            moment.replace(microsecond=999_999),
            moment.replace(tzinfo=None),
            moment.astimezone(timezone(timedelta(hours=5))),
        ):
            self.assertEqual(decode_table(encode_table({"k": value}))[0]["k"], moment)

    def test_a_time_without_a_zone_is_utc_wherever_the_program_runs(self) -> None:
        self.addCleanup(time.tzset)
        self.addCleanup(os.unsetenv, "TZ")
        os.putenv("TZ", "Asia/Tokyo")
        time.tzset()
        decoded, _ = decode_table(encode_table({"k": datetime(2001, 2, 3)}))
        self.assertEqual(decoded["k"], datetime(2001, 2, 3, tzinfo=UTC))

    def test_a_decimal_with_a_positive_exponent_keeps_its_value(self) -> None:
        self.assertEqual(decode_table(encode_table({"k": Decimal("12E+3")}))[0]["k"], 12000)


class RefusedTests(SynchronousTestCase):
    """What AMQP can't carry is an EncodeError that names the header."""

    def test_a_value_that_does_not_fit_is_named(self) -> None:
        refused: list[Any] = [
            2**63,
            -(2**63) - 1,
            Decimal(2**31),
            Decimal("1E-256"),
            Decimal("NaN"),
            Decimal("Infinity"),
            datetime(1969, 12, 31, tzinfo=UTC),
            object(),
            {1, 2},
            1j,
            "\ud800",
        ]
        for value in refused:
            for table in ({"x-what": value}, {"x-what": [value]}, {"a": {"x-what": value}}):
                with self.assertRaises(EncodeError) as caught:
                    encode_table(table)
                self.assertIn("x-what", str(caught.exception), repr(value))

    def test_a_name_over_255_bytes_is_named(self) -> None:
        with self.assertRaises(EncodeError) as caught:
            encode_table({"é" * 128: 1})
        self.assertIn("éééé", str(caught.exception))
        self.assertIn("255", str(caught.exception))

    def test_a_name_must_be_valid_text(self) -> None:
        for name in (1, b"k", None, "\ud800"):
            with self.assertRaises(EncodeError):
                encode_table({name: 1})  # type: ignore[dict-item]

    def test_a_refusal_is_a_value_error_too(self) -> None:
        with self.assertRaises(ValueError):
            encode_table({"k": object()})

    def test_a_table_within_itself_is_refused(self) -> None:
        endless: dict[str, Any] = {}
        endless["again"] = endless
        with self.assertRaises(EncodeError):
            encode_table(endless)

    def test_the_depth_is_limited_both_ways_at_the_same_level(self) -> None:
        def nested(levels: int) -> dict[str, Any]:
            return {"k": nested(levels - 1)} if levels else {}

        deepest = nested(MAX_DEPTH)
        self.assertEqual(decode_table(encode_table(deepest))[0], deepest)
        with self.assertRaises(EncodeError):
            encode_table(nested(MAX_DEPTH + 1))
        too_deep = wire_table((b"k", b"F" + encode_table(deepest)))
        with self.assertRaises(FrameError):
            decode_table(too_deep)

    def test_the_depth_of_lists_is_limited_as_well(self) -> None:
        value: list[Any] = []
        data = b"A\x00\x00\x00\x00"
        for _ in range(5000):
            value = [value]
            data = b"A" + struct.pack(">I", len(data)) + data
        with self.assertRaises(EncodeError):
            encode_table({"k": value})
        with self.assertRaises(FrameError):
            read(data)


class ForeignTests(SynchronousTestCase):
    """What other clients and brokers write is read."""

    def test_every_foreign_type_is_read(self) -> None:
        rows: list[tuple[bytes, Any]] = [
            (b"b\x80", -128),
            (b"B\xff", 255),
            (b"s\x80\x00", -32768),
            (b"u\xff\xff", 65535),
            (b"I\x80\x00\x00\x00", -(2**31)),
            (b"i\xff\xff\xff\xff", 2**32 - 1),
            (b"l\x80" + bytes(7), -(2**63)),
            (b"L\x80" + bytes(7), -(2**63)),
            (b"f" + struct.pack(">f", 0.5), 0.5),
            (b"d" + struct.pack(">d", 0.1), 0.1),
            (b"t\x02", True),
            (b"D\x03" + struct.pack(">i", 1), Decimal("0.001")),
        ]
        for data, value in rows:
            self.assertEqual(exact(read(data)), exact(value), data)

    def test_text_that_is_not_utf8_arrives_as_bytes(self) -> None:
        self.assertEqual(read(b"S\x00\x00\x00\x02\xff\xfe"), b"\xff\xfe")
        self.assertEqual(read(b"S\x00\x00\x00\x02\xc3\xa9"), "é")

    def test_a_name_that_is_not_utf8_is_shown_escaped(self) -> None:
        table, _ = decode_table(wire_table((b"a\xff", b"V")))
        self.assertEqual(table, {"a\\xff": None})

    def test_a_time_in_milliseconds_arrives_as_a_number(self) -> None:
        self.assertEqual(read(b"T" + struct.pack(">Q", 1_700_000_000_000)), 1_700_000_000_000)
        self.assertEqual(read(b"T" + b"\xff" * 8), 2**64 - 1)

    def test_x_death_of_rabbitmq_is_readable(self) -> None:
        death = {
            "count": 3,
            "reason": "rejected",
            "queue": "tasks",
            "time": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
            "exchange": "",
            "routing-keys": ["tasks"],
        }
        body = wire_table(
            (b"count", b"l" + struct.pack(">q", 3)),
            (b"reason", b"S\x00\x00\x00\x08rejected"),
            (b"queue", b"S\x00\x00\x00\x05tasks"),
            (b"time", b"T" + struct.pack(">Q", 1704164645)),
            (b"exchange", b"S\x00\x00\x00\x00"),
            (b"routing-keys", b"A\x00\x00\x00\x0aS\x00\x00\x00\x05tasks"),
        )
        array = b"A" + struct.pack(">I", len(body) + 1) + b"F" + body
        self.assertEqual(read(array), [death])


class MalformedTests(SynchronousTestCase):
    """Any bytes give a table or FrameError 502, never another exception."""

    @given(st.binary(max_size=60))
    @example(b"")
    @example(b"\x00\x00\x00\x01")
    @example(b"\x00\x00\x00\x01\x05")
    @example(b"\x00\x00\x00\x03\x01kS")
    @example(b"\xff\xff\xff\xff")
    def test_any_bytes(self, data: bytes) -> None:
        try:
            table, end = decode_table(data)
        except FrameError as error:
            self.assertEqual(error.reply_code, 502)
        else:
            self.assertIsInstance(table, dict)
            self.assertLessEqual(end, len(data))

    @given(tables, st.data())
    def test_a_damaged_table(self, table: dict[str, Any], draw: st.DataObject) -> None:
        data = bytearray(encode_table(table))
        for _ in range(draw.draw(st.integers(1, 3))):
            data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        try:
            decode_table(bytes(data))
        except FrameError as error:
            self.assertEqual(error.reply_code, 502)

    @given(tables.filter(bool))
    def test_a_table_that_ends_too_early_is_refused(self, table: dict[str, Any]) -> None:
        data = encode_table(table)
        for length in range(len(data)):
            with self.assertRaises(FrameError):
                decode_table(data[:length])

    def test_an_unknown_type_is_refused(self) -> None:
        for kind in b"ZEz\x00":
            with self.assertRaises(FrameError):
                read(bytes((kind,)) + bytes(8))

    def test_a_value_longer_than_its_table_is_refused(self) -> None:
        inner = b"S\x00\x00\x00\x09abc"
        for data in (wire_table((b"k", inner)), wire_table((b"k", inner)) + b"behind it"):
            with self.assertRaises(FrameError):
                decode_table(data)

    @given(texts)
    def test_a_name_may_be_any_text(self, name: str) -> None:
        table = {name: name}
        self.assertEqual(decode_table(encode_table(table))[0], table)
