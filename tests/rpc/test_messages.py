"""Requests, replies and control messages, to AMQP's properties and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import delivery
from twbridge.errors import BadMessage, BadReply, BadRequest, BadTask, EncodeError
from twbridge.rpc.messages import (
    DLX,
    MAX_TIMEOUT,
    PUBSUB,
    WORKERS,
    Accepted,
    Cancel,
    Control,
    DeadLetter,
    Failed,
    Inspect,
    Progress,
    Reply,
    Request,
    Result,
    check_channel,
    check_headers,
    check_task_name,
    check_timeout,
    control_properties,
    dead_queue,
    read_control,
    read_reply,
    read_request,
    reply_properties,
    request_properties,
    task_name,
    task_queue,
)
from twbridge.rpc.serializers import JSON, OCTETS, Body
from twbridge.wire import Delivery, encode_properties

BODY = Body(b"[1,2]", JSON)
REQUEST = Request("c1", "add", "caller", BODY, "amq.gen-1")
BAD_HEADERS = ("x-death", "X-Delay", "twbridge-caller", "TWBRIDGE-", "x-", "CC", "BCC")

words = st.text(min_size=1, max_size=50)
values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary()
names = st.text(max_size=20).filter(
    lambda name: not name.lower().startswith(("x-", "twbridge-")) and name not in ("CC", "BCC")
)
own_headers = st.dictionaries(names, values, max_size=3)
bodies = st.builds(Body, st.binary(), words, st.none() | st.just("gzip"))
requests = st.builds(
    Request,
    id=words,
    task=words,
    caller=words,
    body=bodies,
    reply_to=st.none() | words,
    headers=own_headers,
    priority=st.integers(0, 255),
    timeout=st.none() | st.floats(0.001, MAX_TIMEOUT),
    persistent=st.booleans(),
    elsewhere=st.booleans(),
)
texts = st.text(max_size=50)
replies = st.one_of(
    st.builds(Accepted, id=words, worker=texts, control=words),
    st.builds(Progress, id=words, worker=texts, number=st.integers(1, 2**40), body=bodies),
    st.builds(Result, id=words, worker=texts, body=bodies, headers=own_headers),
    st.builds(
        Failed,
        id=words,
        worker=texts,
        kind=st.sampled_from(("failed", "timeout", "cancelled", "lost", "bad_request")),
        type=texts,
        message=texts,
        traceback=st.none() | texts,
        public=st.booleans(),
    ),
)
ours = st.dictionaries(
    st.sampled_from(
        (
            "twbridge-reply",
            "twbridge-control",
            "twbridge-caller",
            "twbridge-timeout",
            "twbridge-number",
            "twbridge-error",
            "twbridge-worker",
            "x-first-death-reason",
            "x-death",
        )
    ),
    values
    | st.sampled_from(("accepted", "progress", "result", "error", "cancel", "inspect", "failed"))
    | st.lists(values, max_size=2)
    | st.dictionaries(texts, values, max_size=2),
)
strange = st.fixed_dictionaries(
    {},
    optional={
        "headers": ours,
        "correlation_id": words,
        "reply_to": words,
        "content_type": texts,
        "content_encoding": texts,
        "priority": st.integers(0, 255),
        "delivery_mode": st.integers(0, 255),
        "message_id": words,
        "expiration": texts,
    },
)


def sent(key: str, properties: dict[str, Any], body: bytes = b"") -> Delivery:
    """A message as it arrives."""
    return delivery(key, body, "", **properties)


def over_the_wire(request: Request) -> Request:
    """A request, sent and read."""
    properties = request_properties(request)
    return read_request(sent(task_queue(request.task), properties, request.body.data))


def answered(reply: Accepted | Progress | Result | Failed) -> Reply:
    """A reply, sent and read."""
    return read_reply(sent("amq.gen-1", *reply_properties(reply)))


class NamesTests(SynchronousTestCase):
    """Names that tasks, channels and headers may have."""

    def test_the_names_at_the_broker(self) -> None:
        self.assertEqual(task_queue("add"), "twbridge.task.add")
        self.assertEqual(dead_queue("add"), "twbridge.dead.add")
        self.assertEqual(
            (DLX, WORKERS, PUBSUB), ("twbridge.dlx", "twbridge.workers", "twbridge.pubsub")
        )

    def test_the_task_of_a_queue(self) -> None:
        for name in ("add", "twbridge.task.add", "a.b/c"):
            self.assertEqual(task_name(task_queue(name)), name)
        for queue in ("add", "twbridge.dead.add", "twbridge.task.", ""):
            self.assertIsNone(task_name(queue))

    def test_a_task_has_a_name_of_1_to_200_bytes_without_control_characters(self) -> None:
        for name in ("a", "a" * 200, "å" * 100, "a b", "/", "日本", "a\u00a0b", "😀"):
            self.assertEqual(check_task_name(name), name)
            request_properties(replace(REQUEST, task=name))
        bad: tuple[Any, ...] = ("", "a" * 201, "å" * 101, "a\n", "\x00", "\x7f", "\x85", "\ud800")
        for name in (*bad, None, b"add", 1):
            self.assertRaises(BadTask, check_task_name, name)

    def test_a_channel_has_a_name_of_1_to_255_bytes(self) -> None:
        for name in ("a", "a" * 255, "news.#"):
            self.assertEqual(check_channel(name), name)
        for name in ("", "a" * 256, "a\n", "\ud800"):
            self.assertRaises(EncodeError, check_channel, name)
        self.assertRaises(EncodeError, check_channel, 1)

    def test_headers_that_are_the_brokers_or_ours_are_refused(self) -> None:
        for name in BAD_HEADERS:
            with self.assertRaisesRegex(ValueError, "is not yours"):
                check_headers({"fine": 1, name: 1})
            request = replace(REQUEST, headers={name: 1})
            self.assertRaises(EncodeError, request_properties, request)
            result = Result("c1", "w", BODY, {name: 1})
            self.assertRaises(EncodeError, reply_properties, result)
        check_headers({"xylophone": 1, "twbridge": 1, "traceparent": "00-", "cc": 1})
        self.assertRaises(EncodeError, check_headers, {1: 2})

    def test_a_timeout_is_over_0_and_no_more_than_the_broker_can_count(self) -> None:
        for good in (0.001, 1, MAX_TIMEOUT):
            check_timeout(good)
        bad: tuple[Any, ...] = (0, -1, MAX_TIMEOUT + 1, math.inf, math.nan, "3", True, None)
        for each in bad:
            self.assertRaises(EncodeError, check_timeout, each)


class RequestTests(SynchronousTestCase):
    """A call on its way to a worker."""

    def test_what_the_broker_is_given(self) -> None:
        request = Request(
            "c1", "add", "caller", Body(b"..", JSON, "gzip"), "q", {"h": 1}, 255, 2.5, True
        )
        self.assertEqual(
            request_properties(request),
            {
                "content_type": JSON,
                "content_encoding": "gzip",
                "correlation_id": "c1",
                "reply_to": "q",
                "priority": 10,
                "expiration": "2500",
                "delivery_mode": 2,
                "headers": {"h": 1, "twbridge-caller": "caller", "twbridge-timeout": 2500},
            },
        )
        self.assertEqual(
            request_properties(Request("c1", "add", "caller", BODY)),
            {
                "content_type": JSON,
                "correlation_id": "c1",
                "priority": 0,
                "delivery_mode": 1,
                "headers": {"twbridge-caller": "caller"},
            },
        )

    def test_priorities_of_0_to_255_are_levels_of_0_to_10_in_their_order(self) -> None:
        levels = [
            request_properties(replace(REQUEST, priority=each))["priority"] for each in range(256)
        ]
        self.assertEqual(levels, sorted(levels))
        self.assertEqual(set(levels), set(range(11)))
        self.assertEqual([levels[each] for each in (0, 100, 255)], [0, 4, 10])

    def test_a_priority_that_is_none_is_refused(self) -> None:
        bad: tuple[Any, ...] = (-1, 256, 1.0, "1", None)
        for each in bad:
            with self.assertRaisesRegex(ValueError, "priority"):
                request_properties(replace(REQUEST, priority=each))

    def test_a_timeout_is_whole_milliseconds_and_never_none_at_all(self) -> None:
        for seconds, left in ((0.0001, 1), (0.0011, 2), (1, 1000), (MAX_TIMEOUT, 4_294_967_000)):
            properties = request_properties(replace(REQUEST, timeout=seconds))
            self.assertEqual(properties["expiration"], str(left))
            self.assertEqual(properties["headers"]["twbridge-timeout"], left)
        self.assertRaises(EncodeError, request_properties, replace(REQUEST, timeout=0))

    def test_the_headers_that_were_given_are_not_touched(self) -> None:
        headers = {"h": 1}
        request_properties(replace(REQUEST, headers=headers, timeout=1.0))
        self.assertEqual(headers, {"h": 1})

    @given(requests)
    def test_what_was_sent_is_read(self, request: Request) -> None:
        found = over_the_wire(request)
        expected = replace(request, priority=found.priority, timeout=found.timeout)
        self.assertEqual(found, expected)
        self.assertLessEqual(abs(found.priority - request.priority), 13)
        if request.timeout is None:
            self.assertIsNone(found.timeout)
        else:
            assert found.timeout is not None
            self.assertLessEqual(abs(found.timeout - request.timeout), 0.0011)
        # Sent again it has the same level at the broker, and the same time.
        self.assertEqual(over_the_wire(found), found)

    def test_what_any_amqp_client_sends_is_a_request(self) -> None:
        found = read_request(sent("twbridge.task.add", {"message_id": "m1"}, b"x"))
        self.assertEqual(found, Request("m1", "add", "", Body(b"x", OCTETS)))

    def test_the_users_headers_are_all_that_the_task_sees(self) -> None:
        headers = {"x-death": [{"count": 1}], "twbridge-attempt": 2, "traceparent": "00-"}
        found = read_request(
            sent("twbridge.task.add", {"correlation_id": "c1", "headers": headers})
        )
        self.assertEqual(found.headers, {"traceparent": "00-"})

    def test_what_is_no_request_is_refused_with_a_sentence(self) -> None:
        good: dict[str, Any] = {"correlation_id": "c1"}
        times: tuple[Any, ...] = (-1, 1.5, "3", True, 2**33, b"3", [])
        refused: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("twbridge.task.add", {}, "needs a correlation_id"),
            ("twbridge.task.add", {"correlation_id": ""}, "needs a correlation_id"),
            ("add", good, "goes to the queue of a task"),
            ("twbridge.task.", good, "goes to the queue of a task"),
            ("twbridge.task.add", {**good, "headers": {"twbridge-caller": 1}}, "is a string"),
            *(
                ("twbridge.task.add", {**good, "headers": {"twbridge-timeout": each}}, "whole")
                for each in times
            ),
        )
        for key, properties, sentence in refused:
            with self.assertRaisesRegex(BadRequest, sentence):
                read_request(sent(key, properties))

    def test_an_id_or_queue_that_could_not_be_written_again_is_as_absent(self) -> None:
        # 255 bytes that are no UTF-8 read as \xff and so on, which is longer.
        raw = encode_properties({"correlation_id": "c" * 255, "reply_to": "r" * 255})
        strange = Delivery(
            1, "t", 1, False, "", "twbridge.task.add", raw.replace(b"r" * 255, b"\xff" * 255)
        )
        self.assertIsNone(read_request(strange).reply_to)
        strange = Delivery(
            1, "t", 1, False, "", "twbridge.task.add", raw.replace(b"c" * 255, b"\xff" * 255)
        )
        self.assertRaises(BadRequest, read_request, strange)


class ReplyTests(SynchronousTestCase):
    """What workers answer."""

    @given(replies)
    def test_what_was_answered_is_read(self, reply: Any) -> None:
        self.assertEqual(answered(reply), reply)

    def test_what_the_broker_is_given(self) -> None:
        def properties(headers: dict[str, Any], **more: Any) -> dict[str, Any]:
            headers = {"twbridge-worker": "w1", **headers}
            return {"correlation_id": "c1", "delivery_mode": 1, "headers": headers, **more}

        for reply, expected in (
            (
                Accepted("c1", "w1", "amq.gen-2"),
                (properties({"twbridge-reply": "accepted"}, reply_to="amq.gen-2"), b""),
            ),
            (
                Progress("c1", "w1", 3, BODY),
                (
                    properties(
                        {"twbridge-reply": "progress", "twbridge-number": 3}, content_type=JSON
                    ),
                    b"[1,2]",
                ),
            ),
            (
                Result("c1", "w1", Body(b"z", JSON, "gzip"), {"h": 1}),
                (
                    properties(
                        {"h": 1, "twbridge-reply": "result"},
                        content_type=JSON,
                        content_encoding="gzip",
                    ),
                    b"z",
                ),
            ),
            (
                Failed("c1", "w1", "failed", "ValueError", "no"),
                (
                    properties(
                        {"twbridge-reply": "error", "twbridge-error": "failed"}, content_type=JSON
                    ),
                    b'{"type":"ValueError","message":"no"}',
                ),
            ),
        ):
            self.assertEqual(reply_properties(reply), expected)

    def test_a_failure_tells_what_there_is_to_tell(self) -> None:
        _, body = reply_properties(Failed("c1", "w", "failed", "E", "m", "tb", True))
        self.assertEqual(
            json.loads(body), {"type": "E", "message": "m", "traceback": "tb", "public": True}
        )

    def test_a_failure_of_any_text_and_length_can_be_told(self) -> None:
        failed = Failed("c1", "w", "failed", "E", "\ud800" + "m" * 10**6, "tb" * 10**6 + "end")
        found = answered(failed)
        assert isinstance(found, Failed)
        assert found.traceback is not None
        self.assertTrue(found.message.startswith("\\ud800mmm"))
        self.assertTrue(found.traceback.endswith("tbend"))
        self.assertLess(len(found.message) + len(found.traceback), 140_000)

    def test_a_dead_letter_is_known_by_why_it_died(self) -> None:
        properties = request_properties(replace(REQUEST, timeout=1.0))
        for reason in ("expired", "rejected", "delivery_limit", "maxlen"):
            properties["headers"]["x-first-death-reason"] = reason
            self.assertEqual(
                read_reply(sent(task_queue("add"), properties, b"[1,2]")), DeadLetter("c1", reason)
            )

    def test_what_is_no_answer_is_refused_with_a_sentence(self) -> None:
        def error(data: bytes, kind: Any = "failed") -> tuple[dict[str, Any], bytes]:
            return {"twbridge-reply": "error", "twbridge-error": kind}, data

        for (headers, data), sentence in (
            (({}, b""), "twbridge-reply is"),
            (({"twbridge-reply": "done"}, b""), "twbridge-reply is"),
            (({"twbridge-reply": []}, b""), "twbridge-reply is"),
            (({"twbridge-reply": "accepted"}, b""), "needs a reply_to"),
            (({"twbridge-reply": "result", "twbridge-worker": 1}, b""), "is a string"),
            (({"x-first-death-reason": 1}, b""), "is a string"),
            *(
                (({"twbridge-reply": "progress", "twbridge-number": each}, b""), "whole number")
                for each in (0, -1, None, "1", True, 1.0)
            ),
            (error(b"{}", "burnt"), "twbridge-error is"),
            (error(b"{}", []), "twbridge-error is"),
            (error(b""), "JSON object"),
            (error(b"{}"), "JSON object"),
            (error(b"[]"), "JSON object"),
            (error(b'{"type":1,"message":"m"}'), "JSON object"),
            (error(b'{"type":"t","message":"\xff"}'), "JSON object"),
            (error(b'{"a":' * 100_000), "JSON object"),
        ):
            with self.assertRaisesRegex(BadReply, sentence):
                read_reply(sent("q", {"correlation_id": "c1", "headers": headers}, data))
        with self.assertRaisesRegex(BadReply, "correlation_id"):
            read_reply(sent("q", {"headers": {"twbridge-reply": "result"}}))


class KeyTests(SynchronousTestCase):
    """Whose queue a request came to."""

    def test_the_key_counts_only_where_nobody_says_it(self) -> None:
        for key in ("any", "", "twbridge.task.other", "twbridge.task.add"):
            self.assertEqual(read_request(sent(key, {"correlation_id": "c1"}), "add").task, "add")
        with self.assertRaisesRegex(BadRequest, "queue of a task"):
            read_request(sent("any", {"correlation_id": "c1"}))


class ControlTests(SynchronousTestCase):
    """Words to a worker."""

    def test_what_was_said_is_read(self) -> None:
        said: tuple[Control, ...] = (
            Cancel("c1", "caller"),
            Cancel("c1", "caller", "deadline"),
            Inspect("i1", "amq.gen-1"),
        )
        for control in said:
            self.assertEqual(read_control(sent("q", control_properties(control))), control)

    def test_what_the_broker_is_given(self) -> None:
        self.assertEqual(
            control_properties(Cancel("c1", "caller")),
            {
                "correlation_id": "c1",
                "delivery_mode": 1,
                "headers": {
                    "twbridge-control": "cancel",
                    "twbridge-caller": "caller",
                    "twbridge-reason": "cancelled",
                },
            },
        )
        self.assertEqual(
            control_properties(Inspect("i1", "q")),
            {
                "correlation_id": "i1",
                "reply_to": "q",
                "delivery_mode": 1,
                "headers": {"twbridge-control": "inspect"},
            },
        )

    def test_nobody_cancels_without_saying_whose_call_it_is(self) -> None:
        for headers in ({}, {"twbridge-caller": ""}):
            properties = {
                "correlation_id": "c1",
                "headers": {"twbridge-control": "cancel", **headers},
            }
            with self.assertRaisesRegex(BadRequest, "whose call"):
                read_control(sent("q", properties))

    def test_a_cancel_of_another_client_may_give_no_reason_but_no_other(self) -> None:
        headers: dict[str, Any] = {"twbridge-control": "cancel", "twbridge-caller": "a"}
        read = read_control(sent("q", {"correlation_id": "c1", "headers": headers}))
        self.assertEqual(read, Cancel("c1", "a", "cancelled"))
        for reason in ("", "bored", 1, None):
            headers["twbridge-reason"] = reason
            with self.assertRaisesRegex(BadRequest, "cancelled or deadline"):
                read_control(sent("q", {"correlation_id": "c1", "headers": headers}))

    def test_what_is_no_word_is_refused_with_a_sentence(self) -> None:
        for properties, sentence in (
            ({}, "correlation_id"),
            ({"correlation_id": "c1"}, "cancel or inspect"),
            ({"correlation_id": "c1", "headers": {"twbridge-control": 1}}, "cancel or inspect"),
            ({"correlation_id": "c1", "headers": {"twbridge-control": "inspect"}}, "reply_to"),
        ):
            with self.assertRaisesRegex(BadRequest, sentence):
                read_control(sent("q", properties))


class AnythingTests(SynchronousTestCase):
    """Whatever comes from outside is a message or one clear error."""

    READERS: tuple[tuple[Callable[[Delivery], object], type[BadMessage]], ...] = (
        (read_request, BadRequest),
        (read_reply, BadReply),
        (read_control, BadRequest),
    )

    def read(self, message: Callable[[], Delivery]) -> None:
        for read, refusal in self.READERS:
            try:
                read(message())
            except refusal as error:
                self.assertTrue(str(error))
                self.assertNotIn("\n", str(error))

    @given(strange, st.binary(max_size=50), st.sampled_from(("twbridge.task.a", "", "q")))
    def test_any_properties(self, properties: dict[str, Any], body: bytes, key: str) -> None:
        self.read(lambda: sent(key, properties, body))

    @given(st.binary(max_size=100))
    def test_any_bytes_for_properties(self, raw: bytes) -> None:
        self.read(lambda: Delivery(1, "t", 1, False, "", "twbridge.task.a", raw, b""))

    @given(strange, st.data())
    def test_properties_with_a_byte_that_is_wrong(
        self, properties: dict[str, Any], data: st.DataObject
    ) -> None:
        raw = bytearray(encode_properties(properties))
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        self.read(lambda: Delivery(1, "t", 1, False, "", "twbridge.task.a", bytes(raw), b""))

    @given(strange)
    def test_what_was_read_can_be_answered(self, properties: dict[str, Any]) -> None:
        try:
            request = read_request(sent("twbridge.task.a", properties))
        except BadRequest:
            return
        headers, _ = reply_properties(Result(request.id, "w", BODY))
        encode_properties(headers)
        encode_properties({"reply_to": request.reply_to or ""})
