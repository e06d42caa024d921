"""Replies are read fast, and no otherwise than slowly."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import BadReply
from twbridge.link.lanes import Stamp
from twbridge.rpc import replies
from twbridge.rpc.messages import (
    Accepted,
    Failed,
    Progress,
    Reply,
    Result,
    read_reply,
    reply_properties,
)
from twbridge.rpc.replies import ReplyReader
from twbridge.rpc.serializers import Body
from twbridge.wire import Delivery, encode_properties

_stamp = Stamp("twbridge")
_names = st.text(min_size=1, max_size=5)
_bodies = st.builds(
    Body,
    st.binary(max_size=5),
    st.sampled_from(["application/json", "text/plain", "x" * 200]),
    st.sampled_from([None, "gzip"]),
)
_replies = st.one_of(
    st.builds(
        Result, _names, _names, _bodies, st.dictionaries(_names, st.integers(0, 3), max_size=2)
    ),
    st.builds(Progress, _names, _names, st.integers(1, 9), _bodies),
    st.builds(Accepted, _names, _names, _names),
    st.builds(Failed, _names, _names, st.just("failed"), _names, _names),
)


def delivered(reply: Any, **more: Any) -> Delivery:
    properties, body = reply_properties(reply)
    raw = _stamp(properties | more)[1]
    return Delivery(1, "t", 1, False, "", "k", raw, body)


def read(reader: ReplyReader, delivery: Delivery) -> Reply | str:
    try:
        return reader.read(delivery)
    except BadReply as error:
        return str(error)


def read_slowly(delivery: Delivery) -> Reply | str:
    try:
        return read_reply(delivery)
    except BadReply as error:
        return str(error)


class ReplyReaderTests(SynchronousTestCase):
    """It learns what results look like."""

    @given(st.lists(_replies, max_size=8))
    def test_it_reads_what_is_read_slowly(self, sent: list[Any]) -> None:
        reader = ReplyReader()
        try:
            deliveries = [delivered(reply) for reply in sent]
        except ValueError:
            return  # a header of that name can't be sent
        for delivery in deliveries * 2:
            self.assertEqual(read(reader, delivery), read_slowly(delivery))

    @given(st.binary(max_size=40), st.integers(0, 80))
    def test_what_is_cut_or_changed_breaks_nothing(self, junk: bytes, at: int) -> None:
        reader = ReplyReader()
        good = delivered(Result("id", "w", Body(b"1", "application/json")))
        reader.read(good)
        for raw in (good.raw_properties[:at], good.raw_properties[:at] + junk, junk):
            delivery = Delivery(1, "t", 1, False, "", "k", raw, b"1")
            found = read(reader, delivery)
            self.assertIsInstance(found, str | Result)

    def test_of_a_form_that_it_knows_it_decodes_nothing(self) -> None:
        reader = ReplyReader()
        for number in range(3):
            reply = Result(f"id{number}", "w", Body(b"%d" % number, "application/json"))
            delivery = delivered(reply)
            self.assertEqual(reader.read(delivery), reply)
            self.assertEqual(delivery._properties is None, number > 0)

    def test_results_with_headers_of_their_own_keep_them(self) -> None:
        reader = ReplyReader()
        for headers in ({}, {"a": 1}, {}, {"a": 2}):
            reply = Result("id", "w", Body(b"1", "application/json"), dict(headers))
            self.assertEqual(reader.read(delivered(reply)), reply)

    def test_what_it_knows_is_bounded(self) -> None:
        reader = ReplyReader()
        for number in range(3 * replies.KNOWN_MAX):
            reply = Result("id", f"w{number}", Body(b"1", "application/json"))
            self.assertEqual(reader.read(delivered(reply)), reply)
        self.assertLessEqual(len(reader._known), replies.KNOWN_MAX)

    def test_an_empty_id_is_none(self) -> None:
        reader = ReplyReader()
        properties, body = reply_properties(Result("id", "w", Body(b"1", "text/plain")))
        reader.read(Delivery(1, "t", 1, False, "", "k", encode_properties(properties), body))
        raw = encode_properties(properties | {"correlation_id": ""})
        with self.assertRaises(BadReply):
            reader.read(Delivery(1, "t", 1, False, "", "k", raw, body))
