"""STOMP headers and AMQP properties, both ways."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.dialects.stomp.frames import VERSIONS, Frame, FrameLimits, FrameParser, Version
from twbridge.dialects.stomp.headers import (
    boolean,
    message_destination,
    message_lines,
    properties_of,
    whole_number,
)
from twbridge.errors import BadFrame, FrameError
from twbridge.wire import decode_properties, encode_properties

#: What the bridge fills in for other senders than those of STOMP.
UNFILLED = {"timestamp": None, "app_id": None}


def send(**headers: str) -> dict[str, Any]:
    """The properties of a SEND with these headers (``_`` stands for ``-``)."""
    return properties_of(
        Frame("SEND", {name.replace("_", "-"): value for name, value in headers.items()})
    )


def lines(version: Version = "1.2", /, **properties: Any) -> list[str]:
    """The header lines of a message with these properties."""
    written = message_lines(encode_properties(properties), version)
    assert not written or written.endswith(b"\n")
    return written.decode().split("\n")[:-1]


class FromAClientTests(SynchronousTestCase):
    """A SEND becomes a publish."""

    def test_every_property_has_its_header(self) -> None:
        properties = send(
            content_type="text/plain",
            content_encoding="gzip",
            persistent="true",
            priority=" 5 ",
            correlation_id="c",
            reply_to="/queue/back",
            expiration="1000",
            amqp_message_id="m",
            timestamp="1700000000",
            type="t",
            user_id="u",
            app_id="a",
        )
        self.assertEqual(
            properties,
            {
                "content_type": "text/plain",
                "content_encoding": "gzip",
                "delivery_mode": 2,
                "priority": 5,
                "correlation_id": "c",
                "reply_to": "/queue/back",
                "expiration": "1000",
                "message_id": "m",
                "timestamp": 1700000000,
                "type": "t",
                "user_id": "u",
                "app_id": "a",
            },
        )

    def test_any_other_header_is_an_entry_of_the_table(self) -> None:
        properties = send(
            destination="/queue/a", content_length="3", receipt="r", foo="b", cluster_id="c"
        )
        table = {"receipt": "r", "foo": "b", "cluster-id": "c"}
        self.assertEqual(properties, {"delivery_mode": 1, "headers": table} | UNFILLED)

    def test_without_persistent_a_message_is_transient(self) -> None:
        self.assertEqual(send(), {"delivery_mode": 1} | UNFILLED)
        for word in ("False", "yes", "1", "TRUE"):
            self.assertEqual(send(persistent=word), {"delivery_mode": 1} | UNFILLED)
        self.assertEqual(send(persistent="True"), {"delivery_mode": 2} | UNFILLED)

    def test_a_wrong_value_is_refused(self) -> None:
        for name, value, told in (
            ("priority", "high", "The header priority is a whole number from 0 to 255."),
            ("priority", "256", "The header priority is a whole number from 0 to 255."),
            ("priority", "-1", "The header priority is a whole number from 0 to 255."),
            ("timestamp", "1.5", f"The header timestamp is a whole number from 0 to {2**63 - 1}."),
        ):
            with self.assertRaises(BadFrame) as caught:
                send(**{name: value})
            self.assertEqual(str(caught.exception), told)

    def test_numbers_and_booleans_are_read_alone(self) -> None:
        self.assertEqual(whole_number({"n": "07"}, "n", 7), 7)
        self.assertRaises(BadFrame, whole_number, {"n": "8"}, "n", 7)
        self.assertRaises(BadFrame, whole_number, {"n": "1" * 5000}, "n", 7)
        self.assertRaises(BadFrame, whole_number, {"n": "٣"}, "n", 7)
        self.assertIsNone(boolean({}, "b"))


class ToAClientTests(SynchronousTestCase):
    """A delivery becomes header lines."""

    def test_every_property_has_its_header_in_rabbitmqs_order(self) -> None:
        self.assertEqual(
            lines(
                content_type="text/plain",
                content_encoding="gzip",
                headers={"b": "1", "a": 2},
                delivery_mode=2,
                priority=0,
                correlation_id="c",
                reply_to="/queue/back",
                expiration="1000",
                message_id="m",
                timestamp=0,
                type="t",
                user_id="u",
                app_id="p",
                cluster_id="never",
            ),
            [
                "b:1",
                "a:2",
                "app-id:p",
                "user-id:u",
                "type:t",
                "timestamp:0",
                "amqp-message-id:m",
                "expiration:1000",
                "reply-to:/queue/back",
                "correlation-id:c",
                "priority:0",
                "persistent:true",
                "content-encoding:gzip",
                "content-type:text/plain",
            ],
        )

    def test_without_properties_there_are_none(self) -> None:
        self.assertEqual(lines(), [])

    def test_of_a_transient_message_nothing_is_said(self) -> None:
        self.assertEqual(lines(delivery_mode=1), [])

    def test_a_name_to_reply_to_becomes_an_address(self) -> None:
        for reply_to, told in (
            ("amq.gen-x", "/reply-queue/amq.gen-x"),
            ("/temp-queue/x", "/reply-queue//temp-queue/x"),
            ("/reply-queue/x", "/reply-queue/x"),
            ("/topic/x", "/topic/x"),
            ("/exchange/x", "/exchange/x"),
            ("/queue/x", "/queue/x"),
            ("/amq/queue/x", "/amq/queue/x"),
        ):
            self.assertEqual(lines(reply_to=reply_to), [f"reply-to:{told}"])

    def test_values_without_a_form_are_left_out(self) -> None:
        table = {
            "bool": True,
            "none": None,
            "float": 1.5,
            "bytes": b"x",
            "list": [1],
            "table": {"a": 1},
            "time": datetime(2020, 1, 1, tzinfo=UTC),
            "decimal": Decimal("1.5"),
            "big": 2**40,
            "negative": -1,
        }
        self.assertEqual(lines(headers=table), ["big:1099511627776", "negative:-1"])
        self.assertEqual(lines(headers={"none": None}), [])

    def test_nobody_writes_stomps_own_headers(self) -> None:
        names = ("subscription", "destination", "message-id", "redelivered", "ack")
        table = dict.fromkeys((*names, "content-length", ""), "forged")
        self.assertEqual(lines(headers={**table, "subscription2": "x"}), ["subscription2:x"])

    def test_a_property_goes_before_an_entry_with_its_name(self) -> None:
        table = {"content-type": "x", "type": "y", "cluster-id": "z"}
        self.assertEqual(
            lines(headers=table, content_type="text/plain"),
            ["type:y", "cluster-id:z", "content-type:text/plain"],
        )

    def test_each_version_escapes_in_its_way(self) -> None:
        told: dict[Version, list[str]] = {
            "1.0": ["a b:c:\\d e\rf", "type:x:\\y z"],
            "1.1": ["a\\cb:c\\c\\\\d\\ne\rf", "type:x\\c\\\\y\\nz"],
            "1.2": ["a\\cb:c\\c\\\\d\\ne\\rf", "type:x\\c\\\\y\\nz"],
        }
        for version in VERSIONS:
            found = lines(version, headers={"a:b": "c:\\d\ne\rf"}, type="x:\\y\nz")
            self.assertEqual(found, told[version])

    def test_bytes_that_are_not_utf8_stay_readable(self) -> None:
        raw = b"\x80\x00\x02\xff\xfe"
        self.assertEqual(message_lines(raw, "1.2"), b"content-type:\\\\xff\\\\xfe\n")

    def test_malformed_properties_are_named(self) -> None:
        for raw in (b"", b"\x80", b"\x80\x00", b"\x80\x00\x05ab", b"\x20\x00\x00\x00\x00\x05a"):
            self.assertRaises(FrameError, message_lines, raw, "1.2")


class DestinationTests(SynchronousTestCase):
    """Where a message was published to."""

    def test_an_exchange_and_a_key_become_an_address(self) -> None:
        for exchange, key, told in (
            ("", "jobs", "/queue/jobs"),
            ("amq.topic", "a.b", "/topic/a.b"),
            ("amq.fanout", "", "/exchange/amq.fanout"),
            ("my/ex é", "a.%~\x7f\x01 b", "/exchange/my%2Fex %C3%A9/a.%25~\x7f%01 b"),
        ):
            self.assertEqual(message_destination(exchange, key), told)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXT,
        "content_encoding": TEXT,
        "headers": st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63 - 1), max_size=4),
        "delivery_mode": st.just(2),
        "priority": st.integers(0, 255),
        "correlation_id": TEXT,
        "expiration": TEXT,
        "message_id": TEXT,
        "timestamp": st.integers(0, 2**63 - 1),
        "type": TEXT,
        "app_id": TEXT,
    },
)


class BothWaysTests(SynchronousTestCase):
    """What a client gets and sends again is the same message."""

    @given(PROPERTIES)
    @settings(deadline=None)
    def test_what_comes_can_be_sent_again(self, properties: dict[str, Any]) -> None:
        raw = encode_properties(properties)
        parser = FrameParser(FrameLimits(), "1.2")
        parser.feed(b"SEND\n" + message_lines(raw, "1.2") + b"\n\0")
        frame = parser.next()
        assert frame is not None
        table = {name: str(value) for name, value in properties.pop("headers", {}).items()}
        again = properties_of(frame)
        self.assertEqual(again.pop("delivery_mode"), properties.pop("delivery_mode", 1))
        self.assertLessEqual(set(again.pop("headers", {})), set(table))
        self.assertEqual(again, UNFILLED | properties)

    @given(
        st.dictionaries(
            st.sampled_from(["a", "b-c", "x:y", "type", "ack", "", "é"]),
            st.sampled_from(["", "text", "a:b", "x" * 300, "é\n", 7, True, b"x"]),
        ),
        st.sampled_from(VERSIONS),
    )
    @settings(deadline=None)
    def test_a_table_has_the_same_lines_whatever_else_is_in_it(
        self, table: dict[str, Any], version: Version
    ) -> None:
        whole = lines(version, headers=table, type="t")
        single = [lines(version, headers={name: value}) for name, value in table.items()]
        told = [line for each in single for line in each if not line.startswith("type:")]
        self.assertEqual(whole, [*told, "type:t"])

    @given(st.binary(max_size=60), st.sampled_from(VERSIONS))
    @settings(deadline=None)
    def test_any_bytes_are_lines_or_the_error_that_decoding_gives(
        self, raw: bytes, version: Version
    ) -> None:
        try:
            decode_properties(raw)
        except FrameError:
            decodes = False
        else:
            decodes = True
        try:
            message_lines(raw, version).decode()
        except FrameError:
            self.assertFalse(decodes and len(raw) >= 2)
