"""MESSAGE frames, byte for byte, and who shares an encoder."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dialects.stomp.speaking import Talk, dialect
from tests.fakes import delivery
from twbridge import commands
from twbridge.destinations import parse
from twbridge.dialects.stomp.frames import VERSIONS, Frame, FrameLimits, FrameParser, Version
from twbridge.dialects.stomp.messages import (
    SHARED,
    Encoders,
    MessageEncoder,
    Tail,
    parse_message_id,
    subscription_id,
)
from twbridge.frames import split_frame

TOPIC = parse("/topic/chat.#")
TEXT, BINARY = 0x81, 0x82


def encoder_of(name: str, version: Version, acks: bool = False) -> MessageEncoder:
    return MessageEncoder(name, version, "t", acks, Tail())


def payload(frame: bytes) -> tuple[int, bytes]:
    parts = split_frame(frame)
    assert parts is not None
    return parts


class MessageTests(SynchronousTestCase):
    """One delivery, one frame."""

    def encode(
        self, name: str = "T_1", version: Version = "1.2", acks: bool = False, **properties: Any
    ) -> bytes:
        encoder = encoder_of(name, version, acks)
        message = delivery("chat.a", b"hello", **properties)
        first, data = payload(encoder.encode(TOPIC, message, delivery_tag=7 if acks else None))
        self.assertEqual(first, TEXT)
        return data

    def test_of_an_automatic_subscription(self) -> None:
        for version in VERSIONS:
            self.assertEqual(
                self.encode(version=version, content_type="text/plain"),
                b"MESSAGE\nsubscription:1\ndestination:/topic/chat.a\nmessage-id:T_1@@t@@1\n"
                b"redelivered:false\ncontent-type:text/plain\ncontent-length:5\n\nhello\0",
            )

    def test_of_a_subscription_without_an_id(self) -> None:
        self.assertEqual(
            self.encode("Q_/topic/chat.#", "1.0"),
            b"MESSAGE\ndestination:/topic/chat.a\nmessage-id:Q_/topic/chat.#@@t@@1\n"
            b"redelivered:false\ncontent-length:5\n\nhello\0",
        )

    def test_of_one_with_acks(self) -> None:
        head = b"MESSAGE\nsubscription:1\ndestination:/topic/chat.a\nmessage-id:T_1@@t@@7\n"
        tail = b"content-length:5\n\nhello\0"
        for version in ("1.0", "1.1"):
            told = self.encode(version=version, acks=True)
            self.assertEqual(told, head + b"redelivered:false\n" + tail)
        self.assertEqual(
            self.encode(acks=True), head + b"redelivered:false\nack:T_1@@t@@7\n" + tail
        )

    def test_one_that_comes_again_says_so(self) -> None:
        message = delivery("a", exchange="")
        message.redelivered = True
        _, data = payload(encoder_of("T_1", "1.2").encode(TOPIC, message))
        self.assertEqual(
            data,
            b"MESSAGE\nsubscription:1\ndestination:/queue/a\nmessage-id:T_1@@t@@1\n"
            b"redelivered:true\n\n\0",
        )

    def test_every_message_has_another_id(self) -> None:
        encoder = encoder_of("T_1", "1.2")
        frames = {encoder.encode(TOPIC, delivery("a")) for _ in range(5)}
        self.assertEqual(len(frames), 5)

    def test_ids_are_escaped_as_the_version_says(self) -> None:
        for version in VERSIONS:
            told = b"a:\\b" if version == "1.0" else b"a\\c\\\\b"
            data = self.encode("T_a:\\b", version, acks=True)
            self.assertIn(b"\nsubscription:%b\n" % told, data)
            self.assertIn(b"\nmessage-id:T_%b@@t@@7\n" % told, data)
            self.assertEqual(b"\nack:T_%b@@t@@7\n" % told in data, version == "1.2")

    def test_a_destination_is_escaped_too(self) -> None:
        _, data = payload(encoder_of("T_1", "1.2").encode(TOPIC, delivery("a:b\\c\n")))
        self.assertIn(b"\ndestination:/topic/a\\cb\\\\c%0A\n", data)
        _, data = payload(encoder_of("T_1", "1.0").encode(TOPIC, delivery("a:b\\c\n")))
        self.assertIn(b"\ndestination:/topic/a:b\\c%0A\n", data)

    def test_text_and_binary_are_told_apart_by_the_body(self) -> None:
        encoder = encoder_of("T_1", "1.2")
        for body, first in (
            (b"", TEXT),
            (b"a\0b", TEXT),
            ("ö".encode(), TEXT),
            (b"\xff", BINARY),
            (b"\xc3", BINARY),
        ):
            self.assertEqual(payload(encoder.encode(TOPIC, delivery("a", body)))[0], first)

    def test_a_streams_message_has_its_offset(self) -> None:
        message = delivery("log", b"", exchange="", headers={"x-stream-offset": 42})
        encoder = encoder_of("T_1", "1.2", True)
        _, data = payload(encoder.encode(parse("/stream/log"), message, offset=42))
        self.assertIn(b"\nack:T_1@@t@@1\nx-stream-offset:42\n", data)

    @given(
        st.text(max_size=8),
        st.binary(max_size=30),
        st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.integers(0, 9), max_size=3),
        st.sampled_from(VERSIONS),
    )
    @settings(deadline=None)
    def test_every_message_is_one_frame(
        self, key: str, body: bytes, headers: dict[str, Any], version: Version
    ) -> None:
        encoder = encoder_of("T_1", version, True)
        message = delivery(key, body, headers=headers)
        first, data = payload(encoder.encode(TOPIC, message, delivery_tag=9))
        if first == TEXT:
            data.decode()
        parser = FrameParser(FrameLimits(), version)
        parser.feed(data)
        frame = parser.next()
        assert isinstance(frame, Frame)
        self.assertIsNone(parser.next())
        self.assertEqual(parser.waiting, 0)
        self.assertEqual(frame.body, body)
        self.assertEqual(frame.headers["message-id"], "T_1@@t@@9")
        self.assertEqual(frame.headers["subscription"], "1")


class MessageIdTests(SynchronousTestCase):
    """What an ACK names."""

    def test_it_is_read_from_its_end(self) -> None:
        for text, told in (
            ("T_1@@t@@7", ("T_1", "t", 7)),
            ("T_a@@b@@t@@7", ("T_a@@b", "t", 7)),
            ("Q_/topic/a@@t@@0", ("Q_/topic/a", "t", 0)),
            ("T_1@@7", None),
            ("7", None),
            ("", None),
            ("T_1@@t@@-7", None),
            ("T_1@@t@@", None),
            ("T_1@@t@@٧", None),
            ("T_1@@t@@" + "1" * 5000, None),
        ):
            self.assertEqual(parse_message_id(text), told)

    def test_a_name_tells_the_id(self) -> None:
        self.assertEqual(subscription_id("T_1"), "1")
        self.assertEqual(subscription_id("T_"), "")
        self.assertIsNone(subscription_id("Q_/topic/T_1"))


class SharingTests(SynchronousTestCase):
    """A message is encoded once for all who get the same bytes."""

    def encoder(self, talk: Talk, **headers: str) -> Any:
        (command,) = talk.say("SUBSCRIBE", **headers)
        assert isinstance(command, commands.Subscribe)
        return command.encoder

    def test_sessions_with_the_same_id_share_their_encoder(self) -> None:
        shared = dialect()
        one, two = Talk("1.2", shared), Talk("1.2", shared)
        first = self.encoder(one, id="sub-0", destination="/topic/a")
        self.assertIs(self.encoder(two, id="sub-0", destination="/topic/b"), first)
        self.assertIsNot(self.encoder(two, id="sub-1", destination="/topic/b"), first)
        self.assertIsNot(
            self.encoder(Talk("1.1", shared), id="sub-0", destination="/topic/a"), first
        )

    def test_subscriptions_with_acks_have_their_own(self) -> None:
        shared = dialect()
        one, two = Talk("1.2", shared), Talk("1.2", shared)
        headers = {"id": "1", "destination": "/queue/a", "ack": "client"}
        self.assertIsNot(self.encoder(one, **headers), self.encoder(two, **headers))

    def test_one_message_may_go_to_many_encoders_and_versions(self) -> None:
        encoders = Encoders(lambda: "t")
        messages = [delivery("a", body, type="x:y") for body in (b"one", b"\xff", b"")]
        for message in [*messages, *messages]:
            for version in VERSIONS:
                for name in ("T_1", "T_2"):
                    frame = encoders.shared(name, version).encode(TOPIC, message)
                    fresh = encoder_of(name, version).encode(TOPIC, message)
                    self.assertEqual(
                        frame.split(b"\nredelivered")[1:], fresh.split(b"\nredelivered")[1:]
                    )
                    self.assertEqual(frame[0], fresh[0])

    def test_what_is_shared_is_bounded(self) -> None:
        words = count()
        encoders = Encoders(lambda: f"t{next(words)}")
        first = encoders.shared("T_0", "1.2")
        for number in range(SHARED + 1):
            encoders.shared(f"T_{number}", "1.2")
        self.assertIsNot(encoders.shared("T_0", "1.2"), first)

    def test_the_next_encoder_of_a_name_gives_other_ids(self) -> None:
        words = count()
        encoders = Encoders(lambda: f"t{next(words)}")
        frames = {
            encoders._make("T_1", "1.2").encode(TOPIC, delivery("a")),
            encoders._make("T_1", "1.2").encode(TOPIC, delivery("a")),
        }
        self.assertEqual(len(frames), 2)
