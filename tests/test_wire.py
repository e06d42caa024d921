"""Frames: any split gives the same events, any bytes give events or FrameError."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import body, commands, header, heartbeat
from pamqp import frame as pamqp_frame
from twisted.trial.unittest import SynchronousTestCase

from tests.amqp_values import exact, properties, short_texts
from twbridge import wire
from twbridge.errors import EncodeError, FrameError

NO_PROPERTIES = b"\x00\x00"
channels = st.integers(1, 65535)
tags = st.integers(0, 2**64 - 1)
#: pamqp leaves an empty property out; we send it, because it is not the same as none.
named = short_texts.filter(bool)
bodies = st.one_of(
    st.binary(max_size=100),
    st.text(max_size=30).map(str.encode),
    st.sampled_from([b"", b"x", b"\xce", b"caf\xc3\xa9", b"\xff" * 5000, "é".encode() * 5000]),
)


def seen(event: wire.Event) -> Any:
    """An event as a value that can be compared."""
    names = [name for kind in type(event).__mro__ for name in getattr(kind, "__slots__", ())]
    parts: dict[str, Any] = {name: getattr(event, name) for name in names if name[0] != "_"}
    if "method" in parts:
        parts["method"] = (parts["method"].name, dict(parts["method"]))
    return type(event).__name__, parts


def read(data: bytes, frame_max: int = 0) -> list[wire.Event]:
    return wire.FrameReader(frame_max).receive(data)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def deliver_frames(
    channel: int, body_: bytes, frame_max: int = 0, raw: bytes = NO_PROPERTIES
) -> bytes:
    method = commands.Basic.Deliver("tag", 7, True, "chat", "chat.a")
    return wire.content_frames(channel, method, raw, body_, frame_max)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """The frames of anything that a peer may send."""
    channel = draw(channels)
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return wire.HEARTBEAT
    if kind == 1:
        return wire.ack_frame(channel, draw(tags), draw(st.booleans()))
    if kind == 2:
        return wire.nack_frame(channel, draw(tags), draw(st.booleans()), draw(st.booleans()))
    if kind == 3:
        return wire.method_frame(channel, commands.Queue.DeclareOk("q", 1, 2))
    raw = wire.encode_properties(draw(properties))
    limit = draw(st.sampled_from([0, 9, 4096]))
    if kind == 4:
        return deliver_frames(channel, draw(bodies), limit, raw)
    if kind == 5:
        method = commands.Basic.Return(312, "NO_ROUTE", "e", "k")
        return wire.content_frames(channel, method, raw, draw(bodies), limit)
    exchange, key = draw(short_texts), draw(short_texts)
    return wire.publish_frames(channel, exchange, key, raw, draw(bodies), draw(st.booleans()), 0)


class SplitTests(SynchronousTestCase):
    """How the bytes come in does not matter."""

    @given(st.lists(messages(), max_size=4), st.data())
    def test_any_split_gives_the_same_events(self, parts: list[bytes], draw: st.DataObject) -> None:
        data = b"".join(parts)
        cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=10).map(sorted))
        whole = [seen(event) for event in read(data)]
        reader = wire.FrameReader()
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        split = [seen(event) for piece in pieces for event in reader.receive(piece)]
        self.assertEqual(split, whole)
        self.assertEqual(len(whole), len(parts))

    @given(st.lists(messages(), min_size=1, max_size=3))
    def test_byte_by_byte_each_event_comes_with_its_last_byte(self, parts: list[bytes]) -> None:
        reader = wire.FrameReader()
        for part in parts:
            early = [reader.receive(part[at : at + 1]) for at in range(len(part) - 1)]
            self.assertEqual([event for events in early for event in events], [])
            self.assertEqual(len(reader.receive(part[-1:])), 1)

    def test_frames_of_several_channels_may_be_mixed(self) -> None:
        bodies_of = {1: b"a" * 10, 2: "é".encode() * 10, 3: b""}
        split_frames = {
            channel: self._frames_of(deliver_frames(channel, content, 12))
            for channel, content in bodies_of.items()
        }
        mixed = b""
        while any(split_frames.values()):
            for waiting in split_frames.values():
                mixed += waiting.pop(0) if waiting else b""
        events: list[Any] = read(mixed + wire.ack_frame(4, 1))
        found = {event.channel: event.body for event in events[:-1]}
        self.assertEqual(found, bodies_of)
        self.assertIsInstance(events[-1], wire.Confirm)

    @staticmethod
    def _frames_of(data: bytes) -> list[bytes]:
        frames = []
        while data:
            size = 8 + int.from_bytes(data[3:7], "big")
            frames.append(data[:size])
            data = data[size:]
        return frames


class BodyTests(SynchronousTestCase):
    """Bodies are bytes, whatever they look like and however many frames they take."""

    def bodies_both_ways(self, content: bytes, frame_max: int) -> int:
        """Check deliver and publish; return how many body frames the latter took."""
        [delivery] = read(deliver_frames(1, content, frame_max), frame_max)
        assert isinstance(delivery, wire.Delivery)
        self.assertEqual(delivery.body, content)
        data = wire.publish_frames(1, "e", "k", NO_PROPERTIES, content, False, frame_max)
        [publish] = read(data, frame_max)
        assert isinstance(publish, wire.Content)
        self.assertEqual(publish.body, content)
        kinds = [each[0] for each in SplitTests._frames_of(data)]
        self.assertEqual(kinds[:2], [1, 2])
        self.assertLessEqual(set(kinds[2:]), {3})
        if frame_max:
            self.assertLessEqual(max(map(len, SplitTests._frames_of(data))), frame_max)
        return len(kinds) - 2

    def test_sizes_around_the_limit_of_a_frame(self) -> None:
        for frame_max in (4096, 8192, 131072):
            full = frame_max - 8
            for size, frames in (
                (0, 0),
                (1, 1),
                (full - 1, 1),
                (full, 1),
                (full + 1, 2),
                (2 * full, 2),
                (2 * full + 1, 3),
            ):
                self.assertEqual(self.bodies_both_ways(b"x" * size, frame_max), frames)

    def test_without_a_limit_a_body_is_one_frame(self) -> None:
        for size in (1, 131072, 1_000_000):
            self.assertEqual(self.bodies_both_ways(b"x" * size, 0), 1)

    def test_frames_that_mix_text_and_binary(self) -> None:
        content = b"a" * 4088 + b"\xff\xfe\x00" * 2000 + "é".encode() * 5000
        self.assertEqual(self.bodies_both_ways(content, 4096), 5)

    def test_a_character_cut_by_the_end_of_a_frame_arrives_whole(self) -> None:
        self.bodies_both_ways(b"a" * 4087 + "é".encode(), 4096)

    def test_16_megabytes(self) -> None:
        content = bytes(range(256)) * (16 * 4096)
        self.bodies_both_ways(content, 131072)
        data = deliver_frames(1, content, 131072)
        reader = wire.FrameReader(131072)
        events = [
            e for at in range(0, len(data), 65536) for e in reader.receive(data[at : at + 65536])
        ]
        [delivery] = events
        assert isinstance(delivery, wire.Delivery)
        self.assertEqual(delivery.body, content)

    @given(bodies, properties, short_texts, short_texts)
    def test_a_delivery_arrives_as_it_was(
        self, content: bytes, given_properties: dict[str, Any], exchange: str, key: str
    ) -> None:
        method = commands.Basic.Deliver.__new__(commands.Basic.Deliver)
        for name, value in (
            ("consumer_tag", key),
            ("delivery_tag", 2**63),
            ("redelivered", False),
            ("exchange", exchange),
            ("routing_key", key),
        ):
            setattr(method, name, value)
        raw = wire.encode_properties(given_properties)
        [event] = read(wire.content_frames(9, method, raw, content, 4096))
        assert isinstance(event, wire.Delivery)
        self.assertEqual(
            (event.channel, event.consumer_tag, event.delivery_tag, event.redelivered),
            (9, key, 2**63, False),
        )
        self.assertEqual((event.exchange, event.routing_key), (exchange, key))
        self.assertEqual(event.body, content)
        self.assertEqual(exact(dict(event.properties)), exact(given_properties))
        self.assertEqual(exact(event.headers), exact(given_properties.get("headers", {})))

    def test_a_routing_key_that_is_not_utf8_does_not_stop_a_delivery(self) -> None:
        method = b"\x00\x3c\x00\x3c\x01t" + bytes(7) + b"\x01\x00\x01e\x02\xff\xfe"
        content = frame(2, 1, b"\x00\x3c\x00\x00" + bytes(8) + NO_PROPERTIES)
        [event] = read(frame(1, 1, method) + content)
        assert isinstance(event, wire.Delivery)
        self.assertEqual(event.routing_key, "\\xff\\xfe")

    def test_malformed_properties_are_an_error_when_they_are_read_not_before(self) -> None:
        [event] = read(deliver_frames(1, b"body", raw=b"\x80\x00\x09ab"))
        assert isinstance(event, wire.Delivery)
        self.assertEqual(event.body, b"body")
        with self.assertRaises(FrameError):
            _ = event.properties


class ConfirmTests(SynchronousTestCase):
    """basic.ack and basic.nack."""

    @given(channels, tags, st.booleans(), st.booleans())
    def test_they_arrive_as_they_were(
        self, channel: int, tag: int, multiple: bool, requeue: bool
    ) -> None:
        events: list[Any] = read(
            wire.ack_frame(channel, tag, multiple)
            + wire.nack_frame(channel, tag, multiple, requeue)
        )
        self.assertEqual(
            [(e.channel, e.delivery_tag, e.multiple, e.ack) for e in events],
            [(channel, tag, multiple, True), (channel, tag, multiple, False)],
        )
        self.assertEqual(events[1].requeue, requeue)

    @given(channels, st.integers(0, 2**63 - 1), st.booleans(), st.booleans())
    def test_the_bytes_are_those_of_pamqp(
        self, channel: int, tag: int, multiple: bool, requeue: bool
    ) -> None:
        ack, nack = commands.Basic.Ack(tag, multiple), commands.Basic.Nack(tag, multiple, requeue)
        self.assertEqual(wire.ack_frame(channel, tag, multiple), pamqp_frame.marshal(ack, channel))
        self.assertEqual(
            wire.nack_frame(channel, tag, multiple, requeue), pamqp_frame.marshal(nack, channel)
        )


class PublishTests(SynchronousTestCase):
    """publish_frames writes what pamqp would."""

    @given(
        channels,
        st.from_regex(r"\A[a-zA-Z0-9._-]{0,127}\Z"),
        short_texts,
        st.fixed_dictionaries({}, optional={"app_id": named, "message_id": named}),
        bodies,
        st.booleans(),
        st.sampled_from([0, 4096, 8192]),
    )
    def test_the_bytes_are_those_of_pamqp(
        self,
        channel: int,
        exchange: str,
        key: str,
        given_properties: dict[str, Any],
        content: bytes,
        mandatory: bool,
        frame_max: int,
    ) -> None:
        limit = frame_max - 8 if frame_max else max(len(content), 1)
        parts: list[Any] = [
            commands.Basic.Publish(
                exchange=exchange, routing_key=key, mandatory=mandatory, immediate=False
            ),
            header.ContentHeader(0, len(content), commands.Basic.Properties(**given_properties)),
            *(
                body.ContentBody(content[start : start + limit])
                for start in range(0, len(content), limit)
            ),
        ]
        expected = b"".join(pamqp_frame.marshal(part, channel) for part in parts)
        raw = wire.encode_properties(given_properties)
        ours = wire.publish_frames(channel, exchange, key, raw, content, mandatory, frame_max)
        self.assertEqual(ours, expected)
        general = wire.content_frames(channel, parts[0], raw, content, frame_max)
        self.assertEqual(general, expected)

    @given(short_texts, short_texts)
    def test_names_may_be_any_text(self, exchange: str, key: str) -> None:
        data = wire.publish_frames(1, exchange, key, NO_PROPERTIES, b"", True, 0)
        [event] = read(data)
        assert isinstance(event, wire.Content)
        self.assertEqual((event.method.exchange, event.method.routing_key), (exchange, key))
        self.assertTrue(event.method.mandatory)

    def test_a_name_over_255_bytes_is_named(self) -> None:
        for exchange, key, name in (("é" * 128, "k", "exchange"), ("e", "é" * 128, "routing key")):
            with self.assertRaises(EncodeError) as caught:
                wire.publish_frames(1, exchange, key, NO_PROPERTIES, b"", False, 0)
            self.assertIn(name, str(caught.exception))

    def test_properties_that_do_not_fit_into_a_frame_are_refused(self) -> None:
        fits = 4096 - 8 - 12
        for size in (fits, fits + 1):
            raw = wire.encode_properties({"headers": {"k": "x" * (size - 13)}})
            self.assertEqual(len(raw), size)
            if size == fits:
                data = wire.publish_frames(1, "e", "k", raw, b"x", False, 4096)
                self.assertEqual(len(read(data, 4096)), 1)
            else:
                with self.assertRaises(EncodeError):
                    wire.publish_frames(1, "e", "k", raw, b"x", False, 4096)
            wire.publish_frames(1, "e", "k", raw, b"x", False, 0)


class MethodTests(SynchronousTestCase):
    """Everything else goes through pamqp's classes."""

    def test_a_method_arrives_as_it_was(self) -> None:
        declare = commands.Queue.Declare(queue="q", durable=True, arguments={"x": "y"})
        [event] = read(wire.method_frame(5, declare))
        assert isinstance(event, wire.Method)
        self.assertEqual((event.channel, dict(event.method)), (5, dict(declare)))
        self.assertEqual(wire.method_frame(5, declare), pamqp_frame.marshal(declare, 5))

    def test_a_heartbeat_is_one_event(self) -> None:
        self.assertEqual(wire.HEARTBEAT, pamqp_frame.marshal(heartbeat.Heartbeat(), 0))
        [event] = read(wire.HEARTBEAT)
        self.assertIsInstance(event, wire.Heartbeat)

    def test_what_cannot_be_encoded_is_refused(self) -> None:
        with self.assertRaises(EncodeError):
            wire.method_frame(1, commands.Queue.Declare(arguments={"x": object()}))  # type: ignore[dict-item]


class MalformedTests(SynchronousTestCase):
    """Any bytes give events or FrameError, never another exception."""

    @given(st.binary(max_size=200))
    @example(b"\x01\x00\x01\x00\x00\x00\x00\xce")
    @example(b"\x02\x00\x01\x00\x00\x00\x00\xce")
    @example(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    def test_any_bytes(self, data: bytes) -> None:
        self._read_all(data)

    @given(st.integers(0, 9), st.integers(0, 3), st.binary(max_size=60), st.binary(max_size=60))
    def test_any_payload(self, kind: int, channel: int, first: bytes, second: bytes) -> None:
        self._read_all(frame(kind, channel, first) + frame(kind, channel, second))

    @given(st.lists(messages(), min_size=1, max_size=3), st.data())
    def test_damaged_frames(self, parts: list[bytes], draw: st.DataObject) -> None:
        data = bytearray(b"".join(parts))
        for _ in range(draw.draw(st.integers(1, 4))):
            data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        self._read_all(bytes(data))

    def _read_all(self, data: bytes) -> None:
        try:
            events = read(data)
        except FrameError as error:
            self.assertIn(error.reply_code, (501, 502, 503, 505))
            return
        for event in events:
            if isinstance(event, wire.Delivery | wire.Content):
                try:
                    _ = event.headers
                except FrameError as error:
                    self.assertEqual(error.reply_code, 502)

    def refused(self, data: bytes, code: int, frame_max: int = 0) -> None:
        with self.assertRaises(FrameError) as caught:
            read(data, frame_max)
        self.assertEqual(caught.exception.reply_code, code)

    def test_each_rule_has_its_code(self) -> None:
        method = frame(1, 1, struct.pack(">I", 0x003C003C) + b"\x01t" + bytes(9) + b"\x00\x00")
        size_5 = frame(2, 1, b"\x00\x3c\x00\x00" + struct.pack(">Q", 5) + NO_PROPERTIES)
        self.refused(wire.HEARTBEAT[:-1] + b"\x00", 501)
        self.refused(frame(4, 0, b""), 501)
        self.refused(size_5, 505)
        self.refused(frame(3, 1, b"x"), 505)
        self.refused(method + frame(3, 1, b"x"), 505)
        self.refused(method + method, 505)
        self.refused(method + size_5 + size_5, 505)
        self.refused(method + size_5 + frame(3, 1, b"123456"), 501)
        self.refused(method + wire.ack_frame(1, 1), 505)
        self.refused(frame(1, 1, b"\x00\x63\x00\x63"), 503)

    def test_an_oversize_frame_is_refused_however_it_comes(self) -> None:
        fits = deliver_frames(1, b"x" * (4096 - 8))
        self.assertEqual(len(read(fits, 4096)), 1)
        over = deliver_frames(1, b"x" * (4096 - 7))
        self.refused(over, 501, 4096)
        self.refused(over[:-100], 501, 4096)
        self.assertEqual(len(read(over, 0)), 1)

    def test_an_oversize_frame_is_refused_before_it_has_come(self) -> None:
        self.refused(struct.pack(">BHI", 3, 1, 2**32 - 1) + b"x", 501, 4096)

    def test_an_oversize_body_is_refused_at_its_header(self) -> None:
        data = deliver_frames(1, b"x" * 11)
        only_header = data[: data.rindex(b"\x03\x00\x01")]
        with self.assertRaises(FrameError) as caught:
            wire.FrameReader(0, 10).receive(only_header)
        self.assertEqual(caught.exception.reply_code, 501)
        self.assertEqual(len(wire.FrameReader(0, 11).receive(data)), 1)

    def test_a_length_that_reaches_beyond_its_frame_is_refused_whatever_follows(self) -> None:
        short_deliver = struct.pack(">I", 0x003C003C) + b"\x20ta" + bytes(9)
        cases = {
            "a consumer tag": frame(1, 1, short_deliver),
            "a routing key": frame(
                1, 1, struct.pack(">I", 0x003C003C) + b"\x01t" + bytes(9) + b"\x00\x20k"
            ),
            "an ack": frame(1, 1, struct.pack(">IB", 0x003C0050, 0)),
            "a nack": frame(1, 1, struct.pack(">IB", 0x003C0078, 0)),
            "a method id": frame(1, 1, b"\x00\x3c"),
            "a header": deliver_frames(1, b"")[: -len(frame(2, 1, bytes(14)))]
            + frame(2, 1, b"\x00\x3c\x00\x00\x00\x00"),
        }
        for what, data in cases.items():
            for behind in (b"", wire.ack_frame(1, 1) * 5, b"\x00" * 50):
                try:
                    events = read(data + behind)
                except FrameError:
                    continue
                self.fail(f"{what} before {behind!r} was taken: {events}")

    def test_no_bytes_give_no_events_and_one_read_may_give_many(self) -> None:
        reader = wire.FrameReader()
        self.assertEqual(reader.receive(b""), [])
        self.assertEqual(len(reader.receive(wire.HEARTBEAT * 3)), 3)
