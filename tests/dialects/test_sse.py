"""Server-sent events, to the byte and through a reader."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.event_stream import EventReader
from tests.fakes import delivery
from twbridge import commands
from twbridge.commands import Subscribe
from twbridge.destinations import parse
from twbridge.dialects.interfaces import Close
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.sse import HEARTBEAT, EventCodec, read_subscribe
from twbridge.errors import BadDestination, BadFrame, NotFound, NotReady, TwbridgeError
from twbridge.starts import Start

TOPIC, STREAM = parse("/topic/a"), parse("/stream/log")
SUBSCRIBE = Subscribe(None, TOPIC)


def standing(retry: float = 2.0) -> EventCodec:
    """A codec whose subscription stands."""
    codec = EventCodec(SUBSCRIBE, retry)
    codec.encode(commands.Subscribed(None, TOPIC))
    return codec


class GoldenTests(SynchronousTestCase):
    """The bytes of everything that is told."""

    def told(self, event: commands.Event, codec: EventCodec | None = None) -> bytes:
        encoded = (codec or standing()).encode(event)
        assert encoded is not None
        payload, binary = encoded
        self.assertFalse(binary)
        return payload

    def test_the_beginning(self) -> None:
        self.assertEqual(
            self.told(commands.Subscribed(None, TOPIC), EventCodec(SUBSCRIBE, 2.5)),
            b"retry: 2500\n\n"
            b'event: subscribed\ndata: {"op":"subscribed","destination":"/topic/a"}\n\n',
        )

    def test_a_live_message_has_no_id(self) -> None:
        frame = standing().encoder.encode(TOPIC, delivery("a", b"hello", type="t"))
        self.assertEqual(
            frame,
            b'data: {"op":"message","destination":"/topic/a","routing_key":"a","headers":{},'
            b'"properties":{"type":"t"},"body":"hello"}\n\n',
        )

    def test_a_message_of_a_stream_has_its_offset_as_id(self) -> None:
        frame = standing().encoder.encode(STREAM, delivery("a", b"\xff"), offset=0)
        self.assertEqual(
            frame,
            b'id: 0\ndata: {"op":"message","destination":"/stream/log","routing_key":"a",'
            b'"headers":{},"properties":{},"base64":"/w==","offset":0}\n\n',
        )

    def test_what_else_happens_is_an_event_with_a_name(self) -> None:
        for event, expected in (
            (
                commands.Gap(STREAM, 3, 7),
                b'event: gap\ndata: {"op":"gap","destination":"/stream/log","from":3,"to":7}\n\n',
            ),
            (
                commands.Dropped(TOPIC, 4),
                b'event: dropped\ndata: {"op":"dropped","destination":"/topic/a","count":4}\n\n',
            ),
            (
                commands.LinkChanged(False),
                b'event: link\ndata: {"op":"link","state":"down"}\n\n',
            ),
            (
                commands.Unsubscribed(None, TOPIC, "It is gone."),
                b'event: unsubscribed\ndata: {"op":"unsubscribed","destination":"/topic/a",'
                b'"reason":"It is gone."}\n\n',
            ),
            (
                commands.Drain(1.25),
                b'retry: 1250\nevent: drain\ndata: {"op":"drain","reconnect_after":1.25}\n\n',
            ),
        ):
            self.assertEqual(self.told(event), expected)

    def test_a_heartbeat_is_a_comment(self) -> None:
        self.assertEqual(HEARTBEAT, b":\n\n")
        reader = EventReader()
        self.assertEqual(reader.receive(HEARTBEAT), [])
        self.assertEqual(reader.comments, 1)


class LifeTests(SynchronousTestCase):
    """When what is told."""

    def test_it_subscribes_by_itself(self) -> None:
        codec = EventCodec(SUBSCRIBE, 1.0)
        self.assertEqual(codec.opening(), (SUBSCRIBE,))
        with self.assertRaises(BadFrame):
            codec.decode(b"{}", False)

    def test_before_the_subscription_stands_nothing_is_an_event(self) -> None:
        codec = EventCodec(SUBSCRIBE, 1.0)
        for event in (
            commands.Welcome("s", "i", 25.0, None),
            commands.LinkChanged(False),
            commands.Drain(1.0),
        ):
            self.assertIsNone(codec.encode(event))
            self.assertIsNone(codec.closing(event))
        self.assertFalse(codec.standing)

    def test_a_refusal_is_kept_for_the_answer_and_ends_it(self) -> None:
        codec, error = EventCodec(SUBSCRIBE, 1.0), NotFound("There is none.")
        refused = commands.Refused(None, error, "subscribe")
        self.assertIsNone(codec.encode(refused))
        self.assertIs(codec.refusal, error)
        self.assertEqual(codec.closing(refused), Close(1008, "There is none."))

    def test_the_end_of_the_subscription_is_the_end(self) -> None:
        event = commands.Unsubscribed(None, TOPIC, NotReady().public)
        closing = standing().closing(event)
        assert closing is not None
        self.assertEqual(closing.code, 1013)
        self.assertIsNone(standing().closing(commands.Gap(TOPIC)))

    def test_all_streams_share_one_encoder(self) -> None:
        self.assertIs(standing().encoder, standing().encoder)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class ReaderTests(SynchronousTestCase):
    """Whatever is published is read as it was, by a reader that knows nothing of us."""

    def read(self, body: bytes, cut: int, **properties: Any) -> dict[str, Any]:
        frame = standing().encoder.encode(STREAM, delivery("k", body, **properties), offset=7)
        reader = EventReader()
        for at in range(0, len(frame), cut):
            reader.receive(frame[at : at + cut])
        (event,) = reader.events
        self.assertEqual((event.type, event.last_event_id), ("message", "7"))
        message: dict[str, Any] = event.json
        return message

    @given(st.text(), st.integers(1, 100))
    def test_text(self, body: str, cut: int) -> None:
        self.assertEqual(self.read(body.encode(), cut)["body"], body)

    @given(st.binary(), st.integers(1, 100))
    def test_bytes_are_what_the_json_dialect_makes_of_them(self, body: bytes, cut: int) -> None:
        message = delivery("k", body)
        websocket = JsonDialect().encoder.encode(STREAM, message, offset=7)
        expected = json.loads(websocket[websocket.index(b"{") :])
        self.assertEqual(self.read(body, cut), expected)

    @given(
        _JSON,
        st.sampled_from(["\n", "\r\n", "\r", " \r \n"]),
        st.booleans(),
        st.integers(1, 100),
    )
    def test_json_in_any_layout(self, body: Any, line: str, wide: bool, cut: int) -> None:
        text = json.dumps(body, ensure_ascii=wide, indent=1).replace("\n", line)
        read = self.read(text.encode(), cut, content_type="application/json")
        self.assertEqual(read["body"], body)

    @given(st.text(), st.text(max_size=50))
    def test_headers_and_keys(self, value: str, key: str) -> None:
        message = delivery("k", b"x", headers={"h": value})
        message.routing_key = key
        reader = EventReader()
        reader.receive(standing().encoder.encode(TOPIC, message))
        found = reader.events[0].json
        self.assertEqual((found["headers"]["h"], found["routing_key"]), (value, key))


class RequestTests(SynchronousTestCase):
    """What a URL asks for."""

    def test_a_destination_is_enough(self) -> None:
        self.assertEqual(read_subscribe({"destination": "/topic/a"}, None), SUBSCRIBE)

    def test_the_rest_is_as_in_the_json_dialect(self) -> None:
        parameters = {
            "destination": "/stream/log",
            "from": "timestamp=5",
            "overflow": "drop-oldest",
            "prefetch": "10",
            "ack": "auto",
            "client": "5f0b1f38-8a8e-4a6e-9d5e-0f1d2c3b4a59",
        }
        self.assertEqual(
            read_subscribe(parameters, None),
            Subscribe(
                None,
                STREAM,
                start=Start("timestamp", 5),
                overflow="drop-oldest",
                prefetch=10,
            ),
        )

    def test_the_last_event_id_wins_and_goes_on_behind_it(self) -> None:
        asked = {"destination": "/stream/log", "from": "first"}
        for last, start in (
            ("0", Start("offset", 1)),
            ("41", Start("offset", 42)),
            ("", Start("first")),
            (None, Start("first")),
        ):
            self.assertEqual(read_subscribe(asked, last).start, start)
        polyfill = asked | {"lastEventId": "6"}
        self.assertEqual(read_subscribe(polyfill, None).start, Start("offset", 7))
        self.assertEqual(read_subscribe(polyfill, "9").start, Start("offset", 10))

    def test_what_can_not_be_is_refused(self) -> None:
        good = {"destination": "/stream/log"}
        for parameters, last in (
            ({}, None),
            (good | {"form": "first"}, None),
            (good | {"from": "yesterday"}, None),
            (good | {"from": "offset=x"}, "5"),
            (good | {"overflow": "grow"}, None),
            (good | {"prefetch": "-1"}, None),
            (good | {"prefetch": "٣"}, None),
            (good | {"ack": "client"}, None),
            (good, "abc"),
            (good, "-1"),
            (good, "1" * 17),
            (good, str(2**53)),
        ):
            with self.assertRaises(BadFrame, msg=f"{parameters} {last}"):
                read_subscribe(parameters, last)
        with self.assertRaises(BadDestination):
            read_subscribe({"destination": "topic"}, None)

    @given(
        st.dictionaries(
            st.sampled_from(["destination", "from", "overflow", "prefetch", "lastEventId"]),
            st.text() | st.sampled_from(["/topic/a", "/stream/x", "first", "offset=1"]),
        ),
        st.none() | st.text(),
    )
    def test_nothing_raises_anything_else(
        self, parameters: dict[str, str], last: str | None
    ) -> None:
        try:
            read_subscribe(parameters, last)
        except TwbridgeError as error:
            self.assertIn(error.code, ("bad_frame", "bad_destination"))
