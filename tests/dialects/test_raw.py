"""The raw dialect."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import delivery
from twbridge.commands import (
    Drain,
    Dropped,
    Gap,
    Overflow,
    Publish,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from twbridge.destinations import parse
from twbridge.dialects import ICodec, IDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import BadDestination, Forbidden, Nacked, NotReady, TooLarge
from twbridge.frames import binary_frame, text_frame


class Route(NamedTuple):
    publish: str = "/exchange/x/in"
    subscribe: str = "/exchange/x/#"
    on_error: str = "close"
    dialect: str = "raw"
    overflow: Overflow | None = None


class RawTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dialect = RawDialect()
        self.codec = self.dialect.codec(Route())

    def test_it_provides_its_interfaces(self) -> None:
        verifyObject(IDialect, self.dialect)
        verifyObject(ICodec, self.codec)
        self.assertIsNone(self.dialect.subprotocol)

    def test_it_subscribes_to_its_route_by_itself_and_patiently(self) -> None:
        (command,) = self.codec.opening()
        self.assertEqual(command, Subscribe(None, parse("/exchange/x/#"), patient=True))

    def test_its_route_says_what_becomes_of_slow_readers(self) -> None:
        (command,) = self.dialect.codec(Route(overflow="latest")).opening()
        assert isinstance(command, Subscribe)
        self.assertEqual(command.overflow, "latest")

    def test_a_route_may_be_a_queue_or_a_stream(self) -> None:
        for text in ("/queue/q", "/stream/s"):
            codec = self.dialect.codec(Route(text, text))
            (command,) = codec.opening()
            self.assertEqual(command, Subscribe(None, parse(text), patient=True))
            (command,) = codec.decode(b"a", False)
            assert isinstance(command, Publish)
            self.assertEqual(command.destination, parse(text))

    def test_sessions_of_a_route_share_one_codec_and_one_encoder(self) -> None:
        self.assertIs(self.dialect.codec(Route()), self.codec)
        other = self.dialect.codec(Route(on_error="ignore"))
        self.assertIsNot(other, self.codec)
        self.assertIs(other.encoder, self.codec.encoder)

    def test_a_route_that_cannot_be_read_is_refused(self) -> None:
        self.assertRaises(BadDestination, self.dialect.codec, Route(publish="x"))

    @given(st.binary(), st.booleans())
    def test_any_frame_is_published_as_it_is(self, payload: bytes, binary: bool) -> None:
        (command,) = self.codec.decode(payload, binary)
        assert isinstance(command, Publish)
        self.assertEqual(command.body, payload)
        self.assertEqual(command.destination, parse("/exchange/x/in"))
        kind = "application/octet-stream" if binary else "text/plain; charset=utf-8"
        self.assertEqual(command.properties, {"content_type": kind})

    @given(st.binary(), st.booleans())
    def test_the_frame_type_comes_back(self, payload: bytes, binary: bool) -> None:
        (command,) = self.codec.decode(payload, binary)
        assert isinstance(command, Publish)
        message = delivery("in", command.body, **command.properties)
        frame = self.codec.encoder.encode(parse("/exchange/x/#"), message)
        try:
            payload.decode()
        except UnicodeDecodeError:
            binary = True
        self.assertEqual(frame, (binary_frame if binary else text_frame)(payload))

    def test_a_message_from_elsewhere_is_text_where_it_is_utf8(self) -> None:
        encode = self.codec.encoder.encode
        there = parse("/exchange/x/#")
        for body, made in (
            ("héllo 🐇".encode(), text_frame),
            (b"", text_frame),
            (b"\xff\xfe", binary_frame),
        ):
            self.assertEqual(encode(there, delivery("k", body)), made(body))
            self.assertEqual(encode(there, delivery("k", body, type="x")), made(body))
        # The same bytes in another property are no content type.
        other = delivery("k", b"a", content_encoding="application/octet-stream")
        self.assertEqual(encode(there, other), text_frame(b"a"))

    def test_nothing_is_told_but_by_closing(self) -> None:
        there = parse("/exchange/x/#")
        for event in (Subscribed(None, there), Gap(there), Dropped(there, 3), Drain(2.0)):
            self.assertIsNone(self.codec.encode(event))
            self.assertIsNone(self.codec.closing(event))

    def test_a_failed_publish_closes(self) -> None:
        for error, code in ((Nacked(), 1013), (TooLarge("x"), 1009), (Forbidden("x"), 4503)):
            close = self.codec.closing(Refused(None, error, "publish"))
            assert close is not None
            self.assertEqual(close, (code, error.public))

    def test_a_failed_publish_is_counted_where_the_route_says_so(self) -> None:
        codec = RawDialect().codec(Route(on_error="ignore"))
        self.assertIsNone(codec.closing(Refused(None, Nacked(), "publish")))
        self.assertEqual(codec.ignored, 1)  # type: ignore[attr-defined]
        self.assertIsNotNone(codec.closing(Refused(None, NotReady(), "subscribe")))

    def test_the_end_of_its_subscription_closes(self) -> None:
        end = Unsubscribed(None, parse("/exchange/x/#"), "There is no such exchange.")
        self.assertEqual(self.codec.closing(end), (1013, "There is no such exchange."))
