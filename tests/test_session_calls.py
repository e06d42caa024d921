"""What a session does with calls of tasks."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred

from tests.session_case import Allow, SessionCase
from twbridge import commands
from twbridge.calls import DEFAULT_TIMEOUT
from twbridge.commands import Event
from twbridge.destinations import parse
from twbridge.errors import CallCancelled, NotReady, TaskError, TwbridgeError, UnknownTask
from twbridge.policy import Policy
from twbridge.ports import Limits
from twbridge.rpc.serializers import Body
from twbridge.session import Session

ADD = parse("/task/add")


@dataclass
class Answer:
    body: Body
    headers: Mapping[str, Any] = field(default_factory=dict)


class Asked:
    """A call that reached the caller; the test answers it."""

    def __init__(
        self,
        name: str,
        body: Body,
        timeout: float | None,
        headers: Mapping[str, Any] | None,
        on_progress: Callable[[Body], None] | None,
        on_settled: Callable[[], object] | None,
    ) -> None:
        self.name, self.body, self.timeout, self.headers = name, body, timeout, headers
        assert on_progress is not None
        assert on_settled is not None
        self.progress, self.settled = on_progress, on_settled
        self.cancelled = False
        self.answer: Deferred[Answer] = Deferred(self._cancel)

    def succeed(self, answer: Answer) -> None:
        self.settled()
        self.answer.callback(answer)

    def fail(self, error: Exception) -> None:
        self.settled()
        self.answer.errback(error)

    def _cancel(self, answer: Deferred[Answer]) -> None:
        self.cancelled = True
        answer.errback(CallCancelled(self.name))


class FakeCaller:
    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def call_raw(
        self,
        name: str,
        body: Body,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None,
        on_progress: Callable[[Body], None] | None,
        on_settled: Callable[[], object] | None,
    ) -> Deferred[Answer]:
        self.asked.append(Asked(name, body, timeout, headers, on_progress, on_settled))
        return self.asked[-1].answer


class CallTests(SessionCase):
    rules = (Allow("call", "/task/add"), Allow("call", "/task/math.*"))
    limits = Limits(message=1000, headers=200, calls=2, nonsense=3)

    def setUp(self) -> None:
        super().setUp()
        self.caller = FakeCaller()
        self.services.gate.stop()
        self.services = replace(self.services, calls=self.caller)
        self.session = self.scripted()

    def call(self, identity: str = "c1", **fields: Any) -> list[Event]:
        values: dict[str, Any] = {"body": b"[1, 2]", "content_type": "application/json"}
        command = commands.Call(identity, ADD, **values | fields)
        return self.ask(self.session, command)

    def refusal(self, events: list[Event]) -> tuple[object, str, str]:
        (refused,) = events
        assert isinstance(refused, commands.Refused)
        return refused.id, refused.operation, refused.error.code

    def test_a_call_reaches_the_caller_and_its_result_the_client(self) -> None:
        self.assertEqual(self.call(timeout=3.0, headers={"tenant": "a"}), [])
        (asked,) = self.caller.asked
        self.assertEqual((asked.name, asked.timeout, asked.headers), ("add", 3.0, {"tenant": "a"}))
        self.assertEqual(asked.body, Body(b"[1, 2]", "application/json"))
        asked.succeed(Answer(Body(b"3", "application/json"), {"took": 1}))
        result = commands.Result("c1", b"3", "application/json", {"took": 1})
        self.assertEqual(self.codec.told(), [result])

    def test_a_call_without_a_timeout_has_the_default_one(self) -> None:
        self.call()
        self.assertEqual(self.caller.asked[0].timeout, DEFAULT_TIMEOUT)

    def test_progress_comes_in_order_before_the_result(self) -> None:
        self.call()
        (asked,) = self.caller.asked
        for number in (b"1", b"2"):
            asked.progress(Body(number, "application/json"))
        asked.succeed(Answer(Body(b"3", "application/json")))
        told = self.codec.told()
        self.assertEqual([type(each).__name__ for each in told], ["Progress", "Progress", "Result"])
        bodies = [getattr(each, "body", None) for each in told]
        self.assertEqual(bodies, [b"1", b"2", b"3"])

    def test_a_compressed_answer_comes_as_it_was(self) -> None:
        self.call()
        packed = Body(gzip.compress(b"x" * 99), "text/plain", "gzip")
        self.caller.asked[0].progress(packed)
        self.caller.asked[0].succeed(Answer(packed))
        progress, result = self.codec.told()
        assert isinstance(progress, commands.Progress)
        assert isinstance(result, commands.Result)
        self.assertEqual((progress.body, result.body), (b"x" * 99, b"x" * 99))

    def test_an_answer_that_can_not_be_unpacked_is_an_error(self) -> None:
        self.call()
        self.caller.asked[0].succeed(Answer(Body(b"junk", "text/plain", "gzip")))
        self.assertEqual(self.refusal(self.codec.told()), ("c1", "call", "worker_error"))

    def test_each_failure_is_told_by_its_code(self) -> None:
        failures: list[tuple[TwbridgeError, str]] = [
            (UnknownTask("add"), "not_found"),
            (TaskError("add", "KeyError", "'x'"), "worker_error"),
            (NotReady("down"), "not_ready"),
        ]
        for error, code in failures:
            self.call()
            self.caller.asked[-1].fail(error)
            self.assertEqual(self.refusal(self.codec.told()), ("c1", "call", code))

    def test_cancelling_reaches_the_caller_and_answers_the_call(self) -> None:
        self.call()
        events = self.ask(self.session, commands.Cancel("c1"))
        self.assertEqual(self.refusal(events), ("c1", "call", "cancelled"))
        self.assertTrue(self.caller.asked[0].cancelled)

    def test_cancelling_what_is_not_under_way_is_refused(self) -> None:
        events = self.ask(self.session, commands.Cancel("c1"))
        self.assertEqual(self.refusal(events), ("c1", "cancel", "not_found"))
        self.call()
        self.caller.asked[0].succeed(Answer(Body(b"3", "application/json")))
        self.codec.told()
        events = self.ask(self.session, commands.Cancel("c1"))
        self.assertEqual(self.refusal(events), ("c1", "cancel", "not_found"))

    def test_an_id_is_of_one_call_at_a_time(self) -> None:
        self.call()
        self.assertEqual(self.refusal(self.call()), ("c1", "call", "conflict"))
        self.caller.asked[0].succeed(Answer(Body(b"3", "application/json")))
        self.codec.told()
        self.assertEqual(self.call(), [])
        self.assertEqual(len(self.caller.asked), 2)

    def test_calls_under_way_are_bounded(self) -> None:
        self.call("c1")
        self.call("c2")
        self.assertEqual(self.refusal(self.call("c3")), ("c3", "call", "too_many"))
        self.caller.asked[0].succeed(Answer(Body(b"3", "application/json")))
        self.codec.told()
        self.assertEqual(self.call("c3"), [])

    def test_one_that_is_cancelled_counts_until_its_request_waits_no_more(self) -> None:
        for identity in ("c1", "c2"):
            self.call(identity)
            self.assertEqual(
                self.refusal(self.ask(self.session, commands.Cancel(identity)))[2], "cancelled"
            )
        self.assertEqual(self.refusal(self.call("c1")), ("c1", "call", "too_many"))
        self.caller.asked[0].settled()
        self.assertEqual(self.call("c1"), [])

    def test_who_calls_is_not_read_on_while_the_link_is_full(self) -> None:
        self.link.pressed = True
        self.call()
        self.assertFalse(self.transport.reading)
        self.link.press(False)
        self.assertTrue(self.transport.reading)

    def test_only_what_a_rule_names_is_called(self) -> None:
        for name, allowed in (("add", 1), ("math.add", 1), ("mul", 0), ("twbridge.x", 0)):
            before = len(self.caller.asked)
            command = commands.Call("c1", parse(f"/task/{name}"), b"", "text/plain")
            events = self.ask(self.session, command)
            self.assertEqual(len(self.caller.asked) - before, allowed, name)
            if allowed:
                self.ask(self.session, commands.Cancel("c1"))
                self.caller.asked[-1].settled()
            else:
                self.assertEqual(self.refusal(events), ("c1", "call", "forbidden"))

    def test_what_is_too_large_is_refused_before_the_broker_sees_it(self) -> None:
        self.assertEqual(self.refusal(self.call(body=b"x" * 1001))[2], "too_large")
        self.assertEqual(self.refusal(self.call(headers={"a": "x" * 200}))[2], "too_large")
        self.assertEqual(self.caller.asked, [])

    def test_pickle_is_not_for_clients(self) -> None:
        for content_type in ("application/x-python-pickle", "Application/X-Python-Pickle; a=b"):
            self.assertEqual(self.refusal(self.call(content_type=content_type))[2], "forbidden")
        self.assertEqual(self.caller.asked, [])

    def test_headers_that_steer_brokers_and_workers_are_refused(self) -> None:
        for name in ("twbridge-caller", "Twbridge-Timeout", "x-match", "X-Death", "CC", "BCC"):
            self.assertEqual(self.refusal(self.call(headers={name: "1"}))[2], "forbidden", name)
        self.assertEqual(self.caller.asked, [])

    def test_who_goes_cancels_what_it_called(self) -> None:
        for leave in (Session.lost, lambda session: session.close(1000, "bye")):
            self.session = self.scripted()
            self.call()
            leave(self.session)
            self.assertTrue(self.caller.asked[-1].cancelled)
            self.assertEqual(self.codec.told(), [])


class RulelessCallTests(SessionCase):
    def test_without_a_rule_only_loopback_calls(self) -> None:
        caller = FakeCaller()
        self.services.gate.stop()
        self.services = replace(self.services, calls=caller)
        self.ask(self.scripted(), commands.Call("c1", ADD, b"", "text/plain"))
        self.assertEqual(len(caller.asked), 1)
        session = self.scripted(loopback=False)
        (refused,) = self.ask(session, commands.Call("c1", ADD, b"", "text/plain"))
        assert isinstance(refused, commands.Refused)
        self.assertEqual(refused.error.code, "forbidden")
        self.assertEqual(len(caller.asked), 1)

    def test_a_bridge_without_a_caller_calls_nothing(self) -> None:
        self.services.gate.stop()
        self.services = replace(self.services, policy=Policy([Allow("call", "/task/*")]))
        session = self.scripted()
        (refused,) = self.ask(session, commands.Call("c1", ADD, b"", "text/plain"))
        assert isinstance(refused, commands.Refused)
        self.assertEqual(refused.error.code, "forbidden")
