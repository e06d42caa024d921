"""The table of calls: each ends once, in time, and with what became of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import (
    BadArguments,
    BadBody,
    CallCancelled,
    CallLost,
    CallTimeout,
    ExpirationError,
    NotReady,
    TaskError,
)
from twbridge.rpc.calls import GRACE, LEFT_MAX, WAITING_MAX, Calls
from twbridge.rpc.messages import Accepted, DeadLetter, Failed, Progress, Result
from twbridge.rpc.pending import Call
from twbridge.rpc.serializers import Body, Serializers

BODY = Body(b"7", "application/json")


class CallsCase(SynchronousTestCase):
    """Calls that a test makes, with a clock of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.calls = Calls(
            self.clock.seconds,
            tell=lambda *each: self.told.append(each),
            why=lambda: "nobody is there",
        )
        self.made: dict[str, Call] = {}

    def call(
        self, id: str = "a", timeout: float | None = 3.0, sent: bool = True, **more: Any
    ) -> Deferred[Any]:
        more.setdefault("decode", Serializers().decode)
        call = Call(id, "add", BODY, self.clock.seconds(), timeout, headers={}, **more)
        self.made[id] = call
        deferred = self.calls.add(call)
        if sent:
            self.sent(call)
        else:
            self.calls.wait(call)
        return deferred

    def sent(self, call: Call) -> None:
        call.confirm = Deferred()
        self.calls.pending[call.id] = call

    def confirm(self, id: str = "a") -> None:
        confirm = self.made[id].confirm
        assert confirm is not None
        confirm.callback(None)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.calls.expire()

    def result(self, id: str = "a", data: bytes = b"7") -> None:
        self.calls.take(Result(id, "w", Body(data, "application/json")))

    def error(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        return self.failureResultOf(deferred, kind).value


class ResultsTests(CallsCase):
    """What a worker answers."""

    def test_a_result_ends_the_call_with_its_value(self) -> None:
        called = self.call()
        self.assertNoResult(called)
        self.result()
        self.assertEqual(self.successResultOf(called), 7)
        self.assertEqual(len(self.calls), 0)

    def test_without_a_decoder_the_result_comes_whole(self) -> None:
        called = self.call(decode=None)
        self.result()
        result = self.successResultOf(called)
        self.assertEqual((result.worker, result.body), ("w", BODY))

    def test_a_result_that_comes_twice_late_or_for_nobody_changes_nothing(self) -> None:
        called = self.call()
        self.result()
        self.result(data=b"8")
        self.result("never heard of")
        late = self.call("b")
        self.pass_time(3)
        self.result("b")
        self.assertEqual(self.successResultOf(called), 7)
        self.error(late, ExpirationError)
        self.assertEqual(self.calls.strays, 3)
        self.assertEqual(self.told, [])

    def test_a_result_before_the_confirm_is_a_result(self) -> None:
        called = self.call()
        self.result()
        self.confirm()
        self.assertEqual(self.successResultOf(called), 7)

    def test_a_body_that_can_not_be_read_fails_its_call_alone(self) -> None:
        one, other = self.call("a"), self.call("b")
        self.result("a", b"{")
        self.result("b")
        self.error(one, BadBody)
        self.assertEqual(self.successResultOf(other), 7)

    def test_each_error_of_a_worker_is_one_of_ours(self) -> None:
        for kind, expected in (
            ("failed", TaskError),
            ("bad_request", BadArguments),
            ("timeout", CallTimeout),
            ("cancelled", CallCancelled),
            ("lost", CallLost),
        ):
            called = self.call()
            self.clock.advance(1)
            self.calls.take(Failed("a", "w", kind, "KeyError", "'x'", "Traceback", True))  # type: ignore[arg-type]
            error = self.error(called, expected)
            self.assertEqual((error.task, type(error)), ("add", expected))
            if isinstance(error, TaskError):
                self.assertEqual(
                    (error.type, error.message, error.traceback, error.is_public),
                    ("KeyError", "'x'", "Traceback", True),
                )

    def test_a_tasks_own_timeout_is_told_from_the_calls(self) -> None:
        for timeout, after, seconds, by_worker in (
            (3.0, 1.0, 1.0, True),
            (None, 5.0, 5.0, True),
            (3.0, 2.96, 3.0, False),
        ):
            called = self.call(timeout=timeout)
            self.clock.advance(after)
            self.calls.take(Failed("a", "w", "timeout", "TimeoutError", "stopped"))
            error = self.error(called, CallTimeout)
            self.assertEqual(error.timeout, seconds)
            self.assertEqual("at its own timeout" in str(error), by_worker)


class ProgressTests(CallsCase):
    """What a task tells on its way."""

    def progress(self, number: int, value: bytes | None = None, id: str = "a") -> None:
        data = b"%d" % number if value is None else value
        self.calls.take(Progress(id, "w", number, Body(data, "application/json")))

    def test_it_comes_in_order_and_none_twice(self) -> None:
        heard: list[int] = []
        called = self.call(on_progress=heard.append)
        for number in (1, 2, 2, 1 + 1, 3):
            self.progress(number)
        self.result()
        self.progress(4)
        self.assertEqual(heard, [1, 2, 3])
        self.assertEqual(self.successResultOf(called), 7)

    def test_a_task_that_is_tried_again_counts_from_one_again(self) -> None:
        heard: list[int] = []
        self.call(on_progress=heard.append)
        for number in (1, 2, 1, 2, 3):
            self.progress(number)
        self.assertEqual(heard, [1, 2, 1, 2, 3])

    def test_a_callback_that_fails_ends_nothing(self) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError

        called = self.call(on_progress=broken)
        self.progress(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.progress(2, b"{")
        self.assertEqual(len(self.flushLoggedErrors(BadBody)), 1)
        self.result()
        self.assertEqual(self.successResultOf(called), 7)

    def test_nobody_has_to_listen(self) -> None:
        called = self.call()
        self.progress(1)
        self.assertNoResult(called)

    def test_a_task_that_tells_something_has_been_taken(self) -> None:
        called = self.call()
        self.progress(1)
        self.pass_time(3)
        self.error(called, CallTimeout)


class DeadlineTests(CallsCase):
    """When time is up."""

    def test_a_call_that_nobody_took_expires(self) -> None:
        called = self.call(timeout=3.0)
        self.confirm()
        self.pass_time(2.99)
        self.assertNoResult(called)
        self.pass_time(0.02)
        error = self.error(called, ExpirationError)
        self.assertEqual((error.reason, error.expiration), ("nobody took it", 3.0))
        self.assertAlmostEqual(error.time, 3.01)
        self.assertEqual(len(self.calls), 0)

    def test_a_call_that_the_broker_did_not_confirm_says_so(self) -> None:
        called = self.call()
        self.pass_time(3)
        error = self.error(called, ExpirationError)
        self.assertEqual(error.reason, "the broker did not confirm the request")

    def test_a_call_that_was_not_sent_says_why(self) -> None:
        called = self.call(sent=False)
        self.pass_time(3)
        self.assertIn("nobody is there", str(self.error(called, NotReady)))

    def test_an_accepted_call_is_late_and_its_worker_is_told(self) -> None:
        called = self.call()
        self.calls.take(Accepted("a", "w", "control"))
        self.pass_time(3)
        self.assertEqual(self.error(called, CallTimeout).timeout, 3.0)
        self.assertEqual(self.told, [("control", "a", "deadline")])

    def test_a_worker_that_takes_one_too_late_is_told(self) -> None:
        called = self.call()
        self.confirm()
        self.pass_time(3)
        self.error(called, ExpirationError)
        self.calls.take(Accepted("a", "w", "control"))
        self.assertEqual(self.told, [("control", "a", "deadline")])

    def test_each_has_its_own(self) -> None:
        called = {seconds: self.call(f"{seconds}", float(seconds)) for seconds in (3, 1, 2)}
        self.assertEqual(self.calls.due(), 1.0)
        self.pass_time(1)
        self.error(called[1], ExpirationError)
        self.assertEqual(self.calls.due(), 2.0)
        self.result("2")
        self.assertEqual(self.calls.due(), 3.0)
        self.assertNoResult(called[3])
        self.result("3")
        self.assertIsNone(self.calls.due())

    def test_one_without_a_deadline_waits(self) -> None:
        called = self.call(timeout=None)
        self.assertIsNone(self.calls.due())
        self.pass_time(1e9)
        self.result()
        self.assertEqual(self.successResultOf(called), 7)

    def test_who_is_told_may_call_again(self) -> None:
        again: list[Deferred[Any]] = []
        called = self.call()
        called.addErrback(lambda _: again.append(self.call("b", timeout=1e-9)))
        self.pass_time(3)
        self.assertEqual(len(again), 1)
        self.pass_time(1)
        self.error(again[0], ExpirationError)

    def test_calls_that_have_ended_leave_nothing_behind(self) -> None:
        self.call("long", 1e6)
        for number in range(10_000):
            self.call(f"{number}", 30.0)
            self.result(f"{number}")
        self.assertEqual(len(self.calls), 1)
        self.assertLess(len(self.calls._heap), 200)
        self.assertEqual(self.calls.due(), 1e6)


class DeadLetterTests(CallsCase):
    """The request itself comes back."""

    def test_an_expired_one_ends_the_call_at_once(self) -> None:
        called = self.call(timeout=30.0)
        self.clock.advance(2)
        self.calls.take(DeadLetter("a", "expired"))
        error = self.error(called, ExpirationError)
        self.assertEqual((error.time, error.expiration), (2.0, 30.0))
        self.assertIn("it expired in its queue", str(error))

    def test_one_that_was_accepted_before_it_expired_is_late(self) -> None:
        called = self.call()
        self.calls.take(Accepted("a", "w", "control"))
        self.calls.take(DeadLetter("a", "expired"))
        self.error(called, CallTimeout)

    def test_the_error_of_a_rejected_one_may_come_behind(self) -> None:
        for reason in ("rejected", "delivery_limit"):
            called = self.call()
            self.calls.take(DeadLetter("a", reason))
            self.assertNoResult(called)
            self.assertEqual(self.calls.due(), self.clock.seconds() + GRACE)
            self.calls.take(Failed("a", "w", "failed", "ValueError", "no"))
            self.assertEqual(self.error(called, TaskError).type, "ValueError")

    def test_a_rejected_one_without_an_error_is_lost(self) -> None:
        called = self.call(timeout=None)
        self.calls.take(DeadLetter("a", "rejected"))
        self.pass_time(GRACE)
        self.assertIn("a worker rejected it", str(self.error(called, CallLost)))

    def test_a_rejected_one_is_lost_at_its_deadline(self) -> None:
        called = self.call(timeout=0.5)
        self.calls.take(DeadLetter("a", "rejected"))
        self.pass_time(0.5)
        self.error(called, CallLost)

    def test_one_that_a_full_queue_dropped_is_lost_at_once(self) -> None:
        called = self.call()
        self.calls.take(DeadLetter("a", "maxlen"))
        self.assertIn("maxlen", str(self.error(called, CallLost)))

    def test_that_of_a_call_that_has_ended_changes_nothing(self) -> None:
        called = self.call()
        self.result()
        self.calls.take(DeadLetter("a", "expired"))
        self.assertEqual(self.successResultOf(called), 7)


class CancelTests(CallsCase):
    """Who called does not want it any more."""

    def test_before_it_is_sent_nothing_is_left_of_it(self) -> None:
        called = self.call(sent=False)
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual((len(self.calls), self.told), (0, []))

    def test_before_a_worker_took_it_that_worker_is_told_when_it_takes_it(self) -> None:
        called = self.call()
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual(self.told, [])
        self.calls.take(Accepted("a", "w", "control"))
        self.assertEqual(self.told, [("control", "a", "cancelled")])
        self.result()

    def test_after_that_the_worker_is_told_at_once(self) -> None:
        called = self.call()
        self.calls.take(Accepted("a", "w", "control"))
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual(self.told, [("control", "a", "cancelled")])
        self.calls.take(Failed("a", "w", "cancelled", "Cancelled", ""))

    def test_after_its_end_nothing_happens(self) -> None:
        called = self.call()
        self.calls.take(Accepted("a", "w", "control"))
        self.result()
        called.cancel()
        self.assertEqual(self.successResultOf(called), 7)
        self.assertEqual(self.told, [])

    def test_from_its_own_progress(self) -> None:
        called: Deferred[Any] = self.call(on_progress=lambda _: called.cancel())
        self.calls.take(Accepted("a", "w", "control"))
        self.calls.take(Progress("a", "w", 1, BODY))
        self.error(called, CallCancelled)
        self.assertEqual(self.told, [("control", "a", "cancelled")])


class StrayTests(CallsCase):
    """What comes for calls that are not pending."""

    def accept(self, id: str = "a", control: str = "control") -> None:
        self.calls.take(Accepted(id, "w", control))

    def test_what_this_caller_did_not_give_up_is_not_ended(self) -> None:
        done, failed = self.call("done"), self.call("failed")
        self.result("done")
        self.calls.take(Failed("failed", "w", "failed", "ValueError", "no"))
        self.successResultOf(done)
        self.error(failed, TaskError)
        for id in ("done", "failed", "never heard of"):
            self.accept(id)
        self.assertEqual((self.told, self.calls.strays), ([], 3))

    def test_a_worker_with_another_control_queue_is_told_again(self) -> None:
        called = self.call()
        self.accept()
        called.cancel()
        self.error(called, CallCancelled)
        self.accept(control="another")
        self.assertEqual([each[0] for each in self.told], ["control", "another"])

    def test_after_a_loss_nobody_is_told_of_what_was_before(self) -> None:
        called = self.call()
        called.cancel()
        self.error(called, CallCancelled)
        self.calls.lose("gone")
        self.accept()
        self.assertEqual(self.told, [])

    def test_so_many_are_remembered(self) -> None:
        for number in range(LEFT_MAX + 1):
            called = self.call(f"{number}")
            called.cancel()
            self.error(called, CallCancelled)
        self.accept("0")
        self.assertEqual(self.told, [])
        for id in ("1", f"{LEFT_MAX}"):
            self.accept(id)
        self.assertEqual([each[1] for each in self.told], ["1", f"{LEFT_MAX}"])


class SettledTests(CallsCase):
    """Who counts calls hears when the broker has no more of one."""

    def setUp(self) -> None:
        super().setUp()
        self.settled: list[str] = []

    def begin(self, id: str = "a", **more: Any) -> Deferred[Any]:
        return self.call(id, on_settled=lambda: self.settled.append(id), **more)

    def cancelled(self, id: str = "a", **more: Any) -> None:
        called = self.begin(id, **more)
        called.cancel()
        self.error(called, CallCancelled)

    def test_at_its_end_before_its_result_is_told(self) -> None:
        called = self.begin()
        called.addCallback(lambda _: self.settled.append("told"))
        self.result()
        self.assertEqual(self.settled, ["a", "told"])
        late = self.begin()
        self.pass_time(3)
        self.error(late, ExpirationError)
        self.assertEqual(self.settled[2:], ["a"])

    def test_one_that_is_cancelled_when_a_worker_takes_it(self) -> None:
        self.cancelled()
        self.calls.take(Progress("a", "w", 1, BODY))
        self.assertEqual(self.settled, [])
        self.calls.take(Accepted("a", "w", "control"))
        self.assertEqual((self.settled, len(self.told)), (["a"], 1))

    def test_one_that_is_cancelled_when_it_is_answered_or_dies(self) -> None:
        for reply in (
            Result("a", "w", BODY),
            Failed("a", "w", "lost", "WorkerLost", ""),
            DeadLetter("a", "maxlen"),
        ):
            self.cancelled()
            self.assertEqual(self.settled, [])
            self.calls.take(reply)
            self.calls.take(reply)
            self.assertEqual(self.settled, ["a"])
            self.settled.clear()

    def test_one_that_is_cancelled_at_its_deadline(self) -> None:
        self.cancelled()
        self.assertEqual(self.calls.due(), 3.0)
        self.pass_time(2)
        self.assertEqual(self.settled, [])
        self.pass_time(1)
        self.assertEqual((self.settled, self.calls.due()), (["a"], None))

    def test_one_that_is_cancelled_when_the_broker_refuses_it(self) -> None:
        self.cancelled()
        self.calls.refuse(self.made["a"], NotReady("no"))
        self.assertEqual(self.settled, ["a"])

    def test_one_that_is_cancelled_after_a_worker_took_it_or_before_it_was_sent_at_once(
        self,
    ) -> None:
        called = self.begin()
        self.calls.take(Accepted("a", "w", "control"))
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual(self.settled, ["a"])
        self.cancelled("b", sent=False)
        self.assertEqual(self.settled, ["a", "b"])

    def test_all_when_the_broker_is_lost_or_the_caller_stops(self) -> None:
        for end in (self.calls.lose, self.calls.end):
            self.cancelled("a")
            self.cancelled("b", timeout=None)
            end("gone")
            self.assertEqual(self.settled, ["a", "b"])
            self.settled.clear()


class LossTests(CallsCase):
    """The queue of the replies is gone, or the caller stops."""

    def test_what_was_sent_is_lost_and_what_waits_is_not(self) -> None:
        sent, waiting = self.call("a"), self.call("b", sent=False)
        elsewhere = self.call("c", reply_to="another queue")
        self.calls.lose("gone")
        self.assertIn("gone", str(self.error(sent, CallLost)))
        self.assertNoResult(waiting)
        self.assertNoResult(elsewhere)
        self.assertEqual(len(self.calls), 2)

    def test_who_is_told_may_call_again(self) -> None:
        called = self.call()
        called.addErrback(lambda _: self.call("b", sent=False))
        self.calls.lose("gone")
        self.assertEqual(list(self.calls.waiting), ["b"])

    def test_at_the_end_all_are_lost_and_the_workers_told(self) -> None:
        sent, waiting = self.call("a"), self.call("b", sent=False)
        self.calls.take(Accepted("a", "w", "control"))
        self.calls.end("stopped")
        for each in (sent, waiting):
            self.error(each, CallLost)
        self.assertEqual((len(self.calls), self.told), (0, [("control", "a", "cancelled")]))


class WaitingTests(CallsCase):
    """Calls that can't be sent yet."""

    def test_they_are_sent_in_order(self) -> None:
        for id in "abc":
            self.call(id, sent=False)
        self.made["b"].deferred.addErrback(lambda _: None)  # type: ignore[union-attr]
        self.calls.cancel(self.made["b"])
        self.assertEqual([self.calls.next().id for _ in range(2)], ["a", "c"])

    def test_no_more_than_so_many_bytes_wait(self) -> None:
        big = Body(bytes(WAITING_MAX // 2), "application/octet-stream")

        def wait(id: str) -> Deferred[Any]:
            call = Call(id, "add", big, 0.0, 3.0, headers={})
            deferred = self.calls.add(call)
            self.calls.wait(call)
            return deferred

        first = wait("a")
        wait("b")
        with self.assertRaises(NotReady):
            wait("c")
        first.cancel()
        self.error(first, CallCancelled)
        wait("d")
        self.calls.next()
        wait("e")
        self.assertEqual(list(self.calls.waiting), ["d", "e"])
