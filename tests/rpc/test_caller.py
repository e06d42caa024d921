"""A caller and a broker: results, errors, deadlines, losses."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, ensureDeferred

from tests.rpc.cases import CallerCase
from twbridge.amqp import Exchange, Queue
from twbridge.errors import (
    BadBody,
    BadTask,
    CallCancelled,
    CallLost,
    CallTimeout,
    ChannelClosed,
    ConnectionClosed,
    EncodeError,
    ExpirationError,
    NotReady,
    TaskError,
    UnknownTask,
)
from twbridge.rpc.caller import Caller, gather
from twbridge.rpc.messages import Cancel, Progress
from twbridge.rpc.serializers import Body


class CallTests(CallerCase):
    """What comes back of a call."""

    def test_the_result_comes_back(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))
        for value in (None, 7, "text", b"\xff", [1, {"a": None}], "x" * 100_000):
            self.assertEqual(self.result(caller.call("echo", value)), value)

    def test_it_can_be_awaited(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))

        async def twice() -> list[Any]:
            return [await caller.call("echo", 1), await caller.call("echo", 2)]

        self.assertEqual(self.do(twice()), [1, 2])

    def test_a_request_says_all_that_was_asked_for(self) -> None:
        worker, caller = self.worker(), self.caller(id="me")
        self.do(worker.serve("t"))
        caller.call(
            "t", [1], priority=255, timeout=2.5, persistent=True, headers={"a": 1}, compress=True
        ).addErrback(lambda _: None)
        self.network.pump()
        [request] = worker.requests
        self.assertEqual(
            (request.task, request.caller, request.priority, request.timeout, request.persistent),
            ("t", "me", 255, 2.5, True),
        )
        self.assertEqual((request.headers, request.body.content_encoding), ({"a": 1}, "gzip"))

    def test_without_a_timeout_a_call_has_the_callers_and_with_none_it_waits(self) -> None:
        worker, caller = self.worker(), self.caller(timeout=7)
        self.do(worker.serve("t"))
        first, second = caller.call("t"), caller.call("t", timeout=None)
        self.network.pump()
        self.assertEqual([each.timeout for each in worker.requests], [7, None])
        self.network.advance(7)
        self.error(first, ExpirationError)
        self.network.advance(1000)
        worker.result(worker.requests[1], 1)
        self.assertEqual(self.result(second), 1)

    def test_pickle_and_msgpack_are_asked_for_by_name(self) -> None:
        worker, caller = self.worker(), self.caller(pickle=True)
        self.do(worker.serve("echo", worker.echo))
        for kind in ("application/msgpack", "application/x-python-pickle"):
            self.assertEqual(self.result(caller.call("echo", [1], content_type=kind)), [1])
        wary = self.caller()
        self.error(wary.call("echo", 1, content_type="application/x-python-pickle"), BadBody)
        self.do(worker.serve("p", lambda request: worker.send(request, _pickled(request, worker))))

    def test_raw_bodies_travel_as_they_are(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t"))
        progress: list[Body] = []
        body = Body(b"{", "application/x-own")
        called = caller.call_raw("t", body, on_progress=progress.append, headers={"h": 1})
        self.network.pump()
        [request] = worker.requests
        self.assertEqual((request.body, request.headers), (body, {"h": 1}))
        worker.progress(request, 1, 50)
        worker.result(request, b"\x00", cost=3)
        result = self.result(called)
        self.assertEqual(result.body, Body(b"\x00", "application/octet-stream"))
        self.assertEqual((result.headers, result.worker), ({"cost": 3}, "w1"))
        self.assertEqual(progress, [Body(b"50", "application/json")])

    def test_the_error_of_the_task_comes_back(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t", lambda r: worker.failed(r, "failed", "KeyError", "'x'")))
        error = self.error(caller.call("t"), TaskError)
        self.assertEqual((error.task, error.type, error.message), ("t", "KeyError", "'x'"))

    def test_an_unknown_task_fails_at_once(self) -> None:
        caller = self.caller()
        error = self.error(caller.call("nope"), UnknownTask)
        self.assertEqual((error.task, error.code), ("nope", "not_found"))

    def test_many_calls_each_get_their_own_result(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo"))
        called = [caller.call("echo", number) for number in range(100)]
        self.network.pump()
        for request in reversed(worker.requests):
            worker.echo(request)
        self.network.pump()
        self.assertEqual([self.successResultOf(each) for each in called], [*range(100)])

    def test_priorities_are_kept(self) -> None:
        worker, caller = self.worker("t"), self.caller()
        for priority in (0, 255, 100):
            caller.call("t", priority, priority=priority).addErrback(lambda _: None)
        self.network.pump()
        self.do(worker.serve("t", prefetch=1, answer=worker.echo))
        self.network.pump()
        self.assertEqual([each.priority for each in worker.requests], [255, 102, 0])

    def test_an_answer_can_go_elsewhere(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))
        answers: list[Any] = []
        consuming = worker.link.consume(Queue(), answers.append, no_ack=True)
        elsewhere = self.result(consuming).queue_name
        self.assertIsNone(self.result(caller.call("echo", 5, reply_to=elsewhere)))
        self.assertEqual([each.body for each in answers], [b"5"])
        self.error(caller.call("nope", reply_to=elsewhere), UnknownTask)


def _pickled(request: Any, worker: Any) -> Any:
    body = worker.serializers.encode(1, content_type="application/x-python-pickle")
    return Progress(request.id, "w1", 1, body)


class RefusalTests(CallerCase):
    """What can't be called is said at once, by the Deferred."""

    def test_what_makes_no_sense_is_refused(self) -> None:
        caller = self.caller()
        for kind, called in (
            (BadTask, caller.call("")),
            (BadTask, caller.call("x" * 201)),
            (EncodeError, caller.call("t", timeout=0)),
            (EncodeError, caller.call("t", timeout=-1)),
            (EncodeError, caller.call("t", timeout=float("nan"))),
            (EncodeError, caller.call("t", timeout=1e9)),
            (EncodeError, caller.call("t", priority=256)),
            (EncodeError, caller.call("t", priority=cast(int, "high"))),
            (EncodeError, caller.call("t", headers={"twbridge-caller": "x"})),
            (EncodeError, caller.call("t", headers={"x-death": []})),
            (EncodeError, caller.call("t", headers={"ok": object()})),
            (BadBody, caller.call("t", object())),
            (BadBody, caller.call("t", 1, content_type="application/x-unknown")),
            (EncodeError, caller.call_raw("t", Body(b"", "x"), timeout=0)),
        ):
            self.assertIsInstance(self.error(called, kind), ValueError)
        self.assertEqual(len(caller), 0)

    def test_a_caller_that_is_not_started_calls_nothing(self) -> None:
        caller = self.caller(started=False)
        for each in (
            caller.call("t"),
            caller.publish("c", 1),
            caller.subscribe("c", print),
            caller.consume("q", print),
        ):
            self.assertIn("`await caller.start()`", str(self.error(each, NotReady)))

    def test_ids_and_timeouts_of_a_caller_are_checked(self) -> None:
        for wrong in ({"id": ""}, {"id": "x" * 256}, {"timeout": 0}, {"timeout": -1.0}):
            with self.assertRaises(ValueError):
                Caller(self.link(), reactor=self.clock, **wrong)


class DeadlineTests(CallerCase):
    """The caller's timer decides."""

    def test_a_call_that_nobody_takes_expires(self) -> None:
        self.worker("t")
        called = self.caller().call("t", timeout=3)
        self.network.advance(2.75)
        self.assertNoResult(called)
        self.network.advance(0.25)
        error = self.error(called, ExpirationError)
        self.assertEqual((error.task, error.expiration, error.code), ("t", 3, "call_expired"))
        self.assertAlmostEqual(error.time, 3, delta=0.1)

    def test_a_call_that_a_worker_has_is_late_and_ended_there(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t", worker.accept))
        called = caller.call("t", timeout=3)
        self.network.advance(3)
        error = self.error(called, CallTimeout)
        self.assertIsInstance(error, TimeoutError)
        [request], [cancel] = worker.requests, worker.cancels
        self.assertEqual(cancel, Cancel(request.id, caller.id, "deadline"))
        worker.result(request, "late")
        self.network.pump()
        self.assertEqual(len(caller), 0)

    def test_a_lost_reply_leaks_nothing(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t", worker.ack))
        called = [caller.call("t", timeout=1 + number / 100) for number in range(50)]
        self.network.advance(2)
        for each in called:
            self.error(each, ExpirationError)
        delayed = " ".join(map(str, self.clock.getDelayedCalls()))
        self.assertEqual((len(caller), "Requests" in delayed), (0, False))

    def test_a_rejected_request_is_lost_and_its_error_may_come_behind(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t"))
        first, second = caller.call("t"), caller.call("t")
        self.network.pump()
        for request in list(worker.requests):
            worker.reject(request)
        self.network.pump()
        worker.failed(worker.requests[1], "failed", "ValueError", "no")
        self.error(second, TaskError)
        self.assertNoResult(first)
        self.network.advance(1.25)
        self.assertIn("a worker rejected it", str(self.error(first, CallLost)))

    def test_dead_letters_come_to_their_own_caller_only(self) -> None:
        worker = self.worker()
        self.do(worker.serve("t"))
        callers = [self.caller() for _ in range(3)]
        called = [each.call("t") for each in callers]
        self.network.pump()
        worker.reject(worker.requests[1])
        self.network.advance(1.25)
        self.error(called[1], CallLost)
        self.assertEqual([each.strays for each in callers], [0, 0, 0])
        for number in (2, 0):
            self.assertNoResult(called[number])
            worker.result(worker.requests[number], number)
            self.assertEqual(self.result(called[number]), number)


class CancelTests(CallerCase):
    """Who called does not want it any more."""

    def test_a_cancelled_call_is_ended_at_its_worker(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t"))
        called = caller.call("t")
        self.network.pump()
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual(worker.cancels, [])
        worker.accept(worker.requests[0])
        self.network.pump()
        self.assertEqual(worker.cancels, [Cancel(worker.requests[0].id, caller.id, "cancelled")])

    def test_who_counts_calls_hears_when_a_cancelled_one_waits_no_more(self) -> None:
        worker, caller = self.worker("idle"), self.caller()
        self.do(worker.serve("t"))
        settled: list[str] = []

        def cancelled(name: str, error: type[Exception] = CallCancelled) -> None:
            def note() -> None:
                settled.append(name)

            called = caller.call_raw(name, Body(b"", "text/plain"), timeout=3, on_settled=note)
            called.cancel()
            self.error(called, error)

        for name in ("t", "idle", "nope"):
            cancelled(name)
        self.assertEqual(settled, ["nope"])
        worker.accept(worker.requests[0])
        self.network.pump()
        self.assertEqual(settled, ["nope", "t"])
        self.network.advance(3)
        self.assertEqual(settled, ["nope", "t", "idle"])
        cancelled("idle")
        self.restart()
        self.assertEqual(settled[3:], ["idle"])
        cancelled("\n", BadTask)
        self.result(caller.stop())
        cancelled("idle", NotReady)
        self.assertEqual(settled[4:], ["\n", "idle"])

    def test_a_call_that_is_cancelled_before_it_is_sent_is_never_sent(self) -> None:
        worker = self.worker()
        self.do(worker.serve("t"))
        caller = self.caller(self.link(started=False), started=False)
        caller.start().addErrback(lambda _: None)
        called, other = caller.call("t"), caller.call("t")
        called.cancel()
        self.error(called, CallCancelled)
        caller.link.start()
        self.network.pump()
        self.assertEqual(len(worker.requests), 1)
        worker.result(worker.requests[0], 1)
        self.assertEqual(self.result(other), 1)

    def test_a_call_that_is_cancelled_before_its_confirm_takes_no_other_with_it(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))
        called, other = caller.call("echo", 1), caller.call("echo", 2)
        called.cancel()
        self.error(called, CallCancelled)
        self.assertEqual(self.result(other), 2)

    def test_an_awaiting_coroutine_that_is_cancelled_cancels_the_call(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t", worker.accept))

        async def calling() -> None:
            await caller.call("t")

        task = ensureDeferred(calling())
        self.network.pump()
        task.cancel()
        self.error(task, CallCancelled)
        self.assertEqual(len(worker.cancels), 1)


class GatherTests(CallerCase):
    """Calls that run at the same time."""

    def test_results_come_in_order_and_errors_as_values(self) -> None:
        worker, caller = self.worker("idle"), self.caller()
        self.do(worker.serve("echo"))
        gathered = gather(
            caller.call("echo", 1),
            caller.call("nope"),
            caller.call("idle", timeout=2),
            caller.call("echo", 2),
        )
        self.network.pump()
        for request in reversed(worker.requests):
            worker.echo(request)
        self.network.advance(2)
        first, unknown, expired, last = self.result(gathered)
        self.assertEqual((first, last), (1, 2))
        self.assertIsInstance(unknown, UnknownTask)
        self.assertIsInstance(expired, ExpirationError)

    def test_of_nothing_it_is_nothing(self) -> None:
        self.assertEqual(self.successResultOf(gather()), [])

    def test_to_cancel_it_cancels_all(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("t", worker.accept))
        gathered = gather(caller.call("t"), caller.call("t"))
        self.network.pump()
        gathered.cancel()
        for each in self.result(gathered):
            self.assertIsInstance(each, CallCancelled)
        self.assertEqual(len(worker.cancels), 2)


class LifeTests(CallerCase):
    """Before the start, through reconnects, to the stop."""

    def test_calls_made_before_the_start_is_done_wait_for_it(self) -> None:
        worker = self.worker()
        self.do(worker.serve("echo", worker.echo))
        caller = self.caller(started=False)
        started = caller.start()
        called = [caller.call("echo", number) for number in range(3)]
        self.assertNoResult(started)
        self.network.pump()
        self.assertEqual([self.successResultOf(each) for each in called], [0, 1, 2])
        self.assertIsNone(self.successResultOf(started))

    def test_while_the_broker_is_away_calls_wait_up_to_their_timeout(self) -> None:
        caller = self.caller(self.link(started=False, timeout=5.0), started=False)
        started = caller.start()
        short, long = caller.call("t", timeout=2), caller.call("t", timeout=None)
        self.network.advance(2)
        self.assertIn("was not sent in time", str(self.error(short, NotReady)))
        self.assertNoResult(long)
        self.network.advance(3.25)
        self.error(long, NotReady)
        self.error(started, NotReady)

    def test_it_goes_on_trying_after_a_start_that_failed(self) -> None:
        worker = self.worker()
        self.do(worker.serve("echo", worker.echo))
        caller = self.caller(self.link(started=False, timeout=5.0), started=False)
        started = caller.start()
        self.network.advance(6)
        self.error(started, NotReady)
        called = caller.call("echo", 1)
        caller.link.start()
        self.assertEqual(self.result(called), 1)

    def test_a_request_that_waited_has_what_is_left_of_its_time(self) -> None:
        worker = self.worker()
        self.do(worker.serve("t"))
        caller = self.caller(self.link(started=False), started=False)
        caller.start()
        called = caller.call("t", timeout=3)
        self.network.advance(2)
        caller.link.start()
        self.network.pump()
        self.assertEqual(worker.requests[0].timeout, 1)
        self.network.advance(1)
        self.error(called, ExpirationError)

    def test_a_lost_connection_fails_what_is_pending_and_new_calls_work(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo"))
        pending = caller.call("echo", 1)
        self.network.pump()
        self.network.broker.close_connections("restart")
        self.network.pump()
        self.assertIn("was lost", str(self.error(pending, CallLost)))
        waiting = caller.call("echo", 2)
        self.assertNoResult(waiting)
        self.network.advance(5)
        for request in worker.requests:
            worker.echo(request)
        self.assertEqual(self.result(waiting), 2)

    def test_of_a_lost_publishing_connection_only_what_it_had_not_confirmed_is_lost(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo"))
        confirmed = caller.call("echo", 1)
        self.network.pump()
        unconfirmed = caller.call("echo", 2)
        connection = caller.link._publishing.connection
        assert connection is not None
        connection.fail(ConnectionClosed(0, "cut"), abort=True)
        self.assertIn("cut", str(self.error(unconfirmed, CallLost)))
        waiting = caller.call("echo", 3)
        self.network.advance(5)
        for request in worker.requests:
            worker.echo(request)
        self.assertEqual((self.result(confirmed), self.result(waiting)), (1, 3))

    def test_a_reply_queue_that_somebody_deletes_is_made_again(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", lambda r: None if r.body.data == b"1" else worker.echo(r)))
        pending = caller.call("echo", 1)
        self.network.pump()
        [name] = {each.reply_to for each in worker.requests}
        vhost = self.network.broker.vhost
        vhost.delete_queue(vhost.queues[str(name)])
        self.error(pending, CallLost)
        self.assertEqual(self.result(caller.call("echo", 2)), 2)

    def test_stop_loses_what_is_pending_and_tells_the_workers(self) -> None:
        worker, caller = self.worker("idle"), self.caller()
        self.do(worker.serve("t", worker.accept))
        called = [caller.call("t"), caller.call("idle")]
        self.network.pump()
        stopped = caller.stop()
        for each in called:
            self.assertIn("the caller was stopped", str(self.error(each, CallLost)))
        self.assertIsNone(self.result(stopped))
        self.assertEqual(len(worker.cancels), 1)
        self.assertEqual(caller.link.state, "ready")
        self.error(caller.call("t"), NotReady)
        self.assertIsNone(self.result(caller.stop()))

    def test_a_stopped_caller_starts_again(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))
        self.result(caller.stop())
        self.result(caller.start())
        self.assertEqual(self.result(caller.call("echo", 1)), 1)

    def test_stop_while_it_starts_ends_the_start(self) -> None:
        caller = self.caller(started=False)
        started, called = caller.start(), caller.call("t")
        stopped = caller.stop()
        self.error(started, NotReady)
        self.error(called, CallLost)
        self.assertIsNone(self.result(stopped))

    def test_a_link_that_is_closed_refuses_what_waits(self) -> None:
        link = self.link(started=False)
        caller = self.caller(link, started=False)
        caller.start().addErrback(lambda _: None)
        called = caller.call("t", timeout=None)
        link.start()
        link.stop()
        self.network.pump()
        for each in (called, caller.call("t")):
            self.assertIn("the link is closed", str(self.error(each, NotReady)))

    def test_with_a_refusal_it_goes_on_trying(self) -> None:
        link = self.link()
        self.result(link.declare(Exchange("twbridge.dlx", "fanout")))
        caller = self.caller(self.link(), started=False)
        self.assertEqual(self.error(caller.start(), ChannelClosed).reply_code, 406)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        link._declared.clear()
        self.network.broker.vhost.delete_exchange("twbridge.dlx")
        called = caller.call("nope")
        self.network.advance(1)
        self.error(called, UnknownTask)


class RepliesTests(CallerCase):
    """What comes to the queue of the replies."""

    def test_what_makes_no_sense_is_passed_over(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo"))
        called = caller.call("echo", 1)
        self.network.pump()
        [request] = worker.requests
        assert request.reply_to is not None
        for properties in (
            {},
            {"correlation_id": request.id},
            {"correlation_id": request.id, "headers": {"twbridge-reply": "nonsense"}},
            {"correlation_id": request.id, "headers": {"twbridge-reply": 7}},
            {"correlation_id": request.id, "headers": {"twbridge-reply": "accepted"}},
            {"correlation_id": request.id, "headers": {"twbridge-reply": "error"}},
            {
                "correlation_id": request.id,
                "headers": {"twbridge-reply": "progress", "twbridge-number": "x"},
            },
            {"correlation_id": request.id, "headers": {"x-first-death-reason": 3}},
            {"correlation_id": "unknown", "headers": {"twbridge-reply": "result"}},
        ):
            self.result(worker.link.publish("", request.reply_to, b"{", properties))
        self.assertNoResult(called)
        worker.echo(request)
        self.assertEqual(self.result(called), 1)
        self.assertEqual(caller.strays, 1)


class PressureTests(CallerCase):
    """More calls than the link takes at once."""

    def test_calls_wait_until_the_link_takes_more(self) -> None:
        worker, caller = self.worker(), self.caller(self.link(window=10))
        self.do(worker.serve("echo", worker.echo))
        called = [caller.call("echo", number) for number in range(100)]
        self.assertTrue(caller.link.pressed)
        self.network.pump()
        self.assertEqual([self.successResultOf(each) for each in called], [*range(100)])

    def test_while_the_broker_takes_no_messages_calls_wait(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", worker.echo))
        self._block("memory")
        called, short = caller.call("echo", 1), caller.call("echo", 2, timeout=1)
        self.network.advance(1)
        self.assertNoResult(called)
        self.assertIn("memory", str(self.error(short, NotReady)))
        self._block(None)
        self.assertEqual(self.result(called), 1)
        self.assertEqual(len(worker.requests), 1)

    def _block(self, reason: str | None) -> None:
        """As if the broker said so to all that publish."""
        for link in self._links:
            connection = link._publishing.connection
            assert connection is not None
            connection.on_blocked(reason)


class ManyTests(CallerCase):
    """Ten thousand calls at once."""

    def test_all_are_outstanding_and_each_is_answered(self) -> None:
        worker, caller = self.worker(), self.caller()
        self.do(worker.serve("echo", prefetch=0))
        called: list[Deferred[Any]] = [caller.call("echo", number) for number in range(10_000)]
        self.network.pump()
        self.assertEqual((len(caller), len(worker.requests)), (10_000, 10_000))
        for request in worker.requests:
            worker.echo(request)
        self.network.pump()
        self.assertEqual([self.successResultOf(each) for each in called], [*range(10_000)])
        self.assertEqual(len(caller), 0)
