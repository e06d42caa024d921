"""What is sent by the thousand reads as what was published."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge import wire
from twbridge.broker.deliveries import deliver_frames, with_offset
from twbridge.broker.messages import Message

names = st.text(max_size=60)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": names,
        "content_encoding": names,
        "headers": st.dictionaries(st.text(max_size=9), st.one_of(st.integers(0, 9), names)),
        "delivery_mode": st.integers(1, 2),
        "message_id": names,
        "timestamp": st.integers(0, 2**33),
        "cluster_id": names,
    },
)


class DeliverFramesTests(SynchronousTestCase):
    @given(
        st.integers(1, 65535),
        names,
        st.integers(1, 2**63),
        st.booleans(),
        names,
        names,
        st.one_of(st.binary(max_size=40), st.just(b"x" * 9000)),
        st.sampled_from([0, 4096]),
    )
    def test_they_say_what_they_are_given(
        self,
        channel: int,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        key: str,
        body: bytes,
        frame_max: int,
    ) -> None:
        message = Message(exchange, key, body=body)
        raw = wire.encode_properties({"content_type": "text/plain"})
        data = deliver_frames(
            channel, consumer_tag, delivery_tag, redelivered, message, raw, frame_max
        )
        (event,) = wire.FrameReader(frame_max).receive(data)
        assert isinstance(event, wire.Delivery)
        self.assertEqual(
            (event.channel, event.consumer_tag, event.delivery_tag, event.redelivered),
            (channel, consumer_tag, delivery_tag, redelivered),
        )
        self.assertEqual(
            (event.exchange, event.routing_key, event.raw_properties, event.body),
            (exchange, key, raw, body),
        )


class OffsetTests(SynchronousTestCase):
    @given(properties, st.integers(0, 2**63 - 1))
    def test_it_is_added_to_whatever_headers_there_are(
        self, given_properties: dict[str, Any], offset: int
    ) -> None:
        raw = with_offset(wire.encode_properties(given_properties), offset)
        expected = dict(given_properties)
        expected["headers"] = {**given_properties.get("headers", {}), "x-stream-offset": offset}
        self.assertEqual(wire.decode_properties(raw), expected)

    def test_it_is_a_signed_number_of_64_bits_as_rabbitmq_sends_it(self) -> None:
        self.assertEqual(
            with_offset(b"\x00\x00", 3),
            b"\x20\x00\x00\x00\x00\x19\x0fx-stream-offsetl\x00\x00\x00\x00\x00\x00\x00\x03",
        )
