"""A worker against the embedded broker: what it declares, runs, answers, and how it ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import capturedLogs, formatEvent

from tests.rpc.worker_case import DONE, WorkerCase
from twbridge.amqp import Exchange, Link, Queue, parse
from twbridge.errors import (
    CallCancelled,
    CallLost,
    CallTimeout,
    LoadError,
    TaskError,
)
from twbridge.rpc.executors.outcomes import Broke, Died, TimedOut
from twbridge.rpc.lifetime import StartError
from twbridge.rpc.messages import PUBSUB, WORKERS, Inspect, control_properties, task_queue
from twbridge.rpc.running import ACK_AFTER
from twbridge.rpc.serializers import JSON, Body
from twbridge.rpc.tasks import TaskOptions

BROKE = Broke("ValueError", "no")
QUORUM = TaskOptions("safe", guarantee="at-least-once", redelivery_limit=2)
CLASSIC = TaskOptions("safe", guarantee="at-least-once", redelivery_limit=2, queue="classic")


class Refusing:
    """An endpoint where nobody listens."""

    def connect(self, _factory: object) -> Deferred[Any]:
        return fail(ConnectionRefusedError())


class AnsweringTests(WorkerCase):
    """Each call gets its answer."""

    def test_a_call_is_run_and_its_result_comes(self) -> None:
        _, executors = self.served()
        result = self.caller().call("add", [1, 2], headers={"a": 1})
        self.network.pump()
        [run] = executors.runs
        self.assertEqual(run.request.body.data, b"[1,2]")
        self.assertEqual((run.request.headers, run.redelivered), ({"a": 1}, False))
        run.end()
        self.assertEqual(self.result(result), "done")
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def test_failures_name_what_happened(self) -> None:
        _, executors = self.served(concurrency=9)
        caller = self.caller()
        for outcome, kind, text in (
            (BROKE, TaskError, "ValueError: no"),
            (TimedOut(), CallTimeout, "add"),
            (Died("it is gone"), CallLost, "it is gone"),
        ):
            call = caller.call("add")
            self.network.pump()
            executors.runs[-1].end(outcome)
            self.assertIn(text, str(self.error(call, kind)))
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def test_a_header_that_can_not_be_sent_is_a_failure_of_the_task(self) -> None:
        _, executors = self.served()
        call = self.caller().call("add")
        self.network.pump()
        executors.runs[-1].end(type(DONE)(DONE.body, {"x-mine": 1}))
        self.assertIn("x-mine", str(self.error(call, TaskError)))

    def test_progress_comes_in_order_and_before_the_result(self) -> None:
        _, executors = self.served()
        seen: list[Any] = []
        call = self.caller().call("add", on_progress=seen.append)
        self.network.pump()
        for number in range(3):
            executors.runs[0].on_progress(Body(str(number).encode(), JSON))
        executors.runs[0].end()
        self.assertEqual(self.result(call), "done")
        self.assertEqual(seen, [0, 1, 2])

    def test_a_call_that_is_over_at_once_is_not_accepted_first(self) -> None:
        _, executors = self.served(concurrency=2)
        replies = self.replies()
        self.request("a", replies)
        self.request("b", replies)
        executors.runs[0].end()
        self.pass_time(0.1)
        executors.runs[1].end()
        self.network.pump()
        self.assertEqual(self.kinds(replies), [("a", "result"), ("b", "accepted"), ("b", "result")])

    def test_what_is_no_request_is_rejected_and_its_sender_told(self) -> None:
        _, executors = self.served(QUORUM)
        replies = self.replies()
        self.request("a", replies, "safe", {"twbridge-timeout": "soon"})
        self.assertEqual(executors.runs, [])
        self.assertEqual(self.kinds(replies), [("a", "error")])
        self.assertEqual(len(self.letters("twbridge.dead.safe")), 1)

    def test_a_request_that_wants_no_answer_is_run_too(self) -> None:
        _, executors = self.served()
        self.request("a", None)
        executors.runs[0].end()
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def replies(self) -> tuple[str, list[Any]]:
        """A queue for answers, and what comes to it."""
        came: list[Any] = []
        consumer = self.result(self.link().consume(Queue(), came.append, no_ack=True))
        return consumer.queue_name, came

    def kinds(self, replies: tuple[str, list[Any]]) -> list[tuple[str, str]]:
        self.network.pump()
        return [
            (each.properties["correlation_id"], each.headers["twbridge-reply"])
            for each in replies[1]
        ]

    def request(
        self,
        id: str,
        replies: tuple[str, list[Any]] | None,
        name: str = "add",
        headers: dict[str, Any] | None = None,
    ) -> None:
        properties: dict[str, Any] = {"correlation_id": id, "headers": headers or {}}
        if replies is not None:
            properties["reply_to"] = replies[0]
        self.result(self.link().publish("", task_queue(name), b"null", properties, mandatory=True))
        self.network.pump()


class CancellingTests(WorkerCase):
    """``Caller.call(...).cancel()`` reaches the task."""

    def test_the_task_is_told(self) -> None:
        _, executors = self.served()
        call = self.caller().call("add")
        self.pass_time(0.1)
        call.cancel()
        self.failureResultOf(call, CallCancelled)
        self.network.pump()
        self.assertTrue(executors.runs[0].cancelled)
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def test_also_when_it_is_cancelled_before_it_was_accepted(self) -> None:
        _, executors = self.served()
        call = self.caller().call("add")
        self.network.pump()
        call.cancel()
        self.failureResultOf(call, CallCancelled)
        self.pass_time(0.1)
        self.assertTrue(executors.runs[0].cancelled)

    def test_also_when_its_control_queue_is_another_meanwhile(self) -> None:
        worker, executors = self.served(concurrency=2)
        caller = self.caller()
        first = caller.call("add")
        self.pass_time(0.1)
        name = worker._control.name
        vhost = self.network.broker.vhost
        vhost.delete_queue(vhost.queues[name])
        second = caller.call("add")
        self.pass_time(2)
        self.assertNotIn(worker._control.name, ("", name))
        for call, run in zip((first, second), executors.runs, strict=True):
            call.cancel()
            self.failureResultOf(call, CallCancelled)
            self.network.pump()
            self.assertTrue(run.cancelled)

    def test_nobody_else_can_cancel_it(self) -> None:
        _, executors = self.served()
        self.caller().call("add").addErrback(lambda _: None)
        self.network.pump()
        headers = {"twbridge-control": "cancel", "twbridge-caller": "somebody"}
        properties = {"correlation_id": executors.runs[0].request.id, "headers": headers}
        self.result(self.link().publish(WORKERS, "", b"", properties))
        self.network.pump()
        self.assertFalse(executors.runs[0].cancelled)


class AtLeastOnceTests(WorkerCase):
    """Failures are tried again, up to the limit; then the request is a dead letter."""

    def fails_until_the_limit(self, task: TaskOptions) -> None:
        _, executors = self.served(task)
        call = self.caller().call("safe", 7, headers={"a": 1})
        for attempt in range(3):
            self.network.pump()
            self.assertEqual(len(executors.runs), attempt + 1)
            self.assertEqual(executors.runs[-1].redelivered, attempt > 0)
            self.assertNoResult(call)
            executors.runs[-1].end(Broke("ValueError", f"no {attempt}"))
        self.assertIn("no 2", str(self.error(call, TaskError)))
        [letter] = self.letters("twbridge.dead.safe")
        self.assertEqual((letter.body, letter.headers["a"]), (b"7", 1))
        self.assertEqual(self.waiting("twbridge.task.safe"), 0)

    def test_a_quorum_queue_counts(self) -> None:
        self.fails_until_the_limit(QUORUM)

    def test_for_a_classic_queue_the_worker_counts(self) -> None:
        self.fails_until_the_limit(CLASSIC)

    def test_a_later_try_may_succeed(self) -> None:
        for task in (QUORUM, CLASSIC):
            name = f"safe{task.queue}"
            options = TaskOptions(
                name, guarantee="at-least-once", redelivery_limit=2, queue=task.queue
            )
            _, executors = self.served(options)
            call = self.caller().call(name)
            self.network.pump()
            executors.runs[0].end(Died("killed"))
            self.network.pump()
            executors.runs[1].end()
            self.assertEqual(self.result(call), "done")
            self.assertEqual(self.letters(f"twbridge.dead.{name}"), [])

    def test_what_would_fail_again_and_what_took_too_long_is_final(self) -> None:
        _, executors = self.served(QUORUM)
        caller = self.caller()
        for outcome, kind in (
            (Broke("PublicError", "no", public=True, final=True), TaskError),
            (Broke("TypeError", "no", final=True), TaskError),
            (TimedOut(), CallTimeout),
        ):
            call = caller.call("safe")
            self.network.pump()
            executors.runs[-1].end(outcome)
            self.error(call, kind)
        self.assertEqual(len(executors.runs), 3)
        self.assertEqual(len(self.letters("twbridge.dead.safe")), 3)

    def test_a_call_that_is_ended_at_its_callers_deadline_is_a_dead_letter(self) -> None:
        for task in (QUORUM, CLASSIC):
            name = f"late{task.queue}"
            self.served(TaskOptions(name, guarantee="at-least-once", queue=task.queue))
            call = self.caller().call(name, timeout=1.0)
            self.pass_time(1.2)
            self.failureResultOf(call, CallTimeout)
            self.assertEqual(len(self.letters(f"twbridge.dead.{name}")), 1)
            self.assertEqual(self.waiting(f"twbridge.task.{name}"), 0)

    def test_what_fails_when_its_time_is_over_is_not_tried_again(self) -> None:
        for task in (QUORUM, CLASSIC):
            name = f"late{task.queue}"
            _, executors = self.served(
                TaskOptions(name, guarantee="at-least-once", queue=task.queue)
            )
            properties = {"correlation_id": "1", "headers": {"twbridge-timeout": 1000}}
            link = self.link()
            self.result(link.publish("", task_queue(name), b"null", properties, mandatory=True))
            self.network.advance(2)
            executors.runs[0].end(BROKE)
            self.network.pump()
            self.assertEqual(len(executors.runs), 1)
            self.assertEqual(len(self.letters(f"twbridge.dead.{name}")), 1)

    def test_the_tries_of_a_classic_queue_have_one_time_together(self) -> None:
        _, executors = self.served(CLASSIC)
        call = self.caller().call("safe", timeout=10.0)
        self.network.advance(4)
        executors.runs[0].end(BROKE)
        self.network.advance(3)
        executors.runs[1].end(BROKE)
        self.network.pump()
        times = [run.request.timeout or 0.0 for run in executors.runs]
        for time, expected in zip(times, (10.0, 6.0, 3.0), strict=True):
            self.assertAlmostEqual(time, expected, delta=0.3)
        executors.runs[2].end()
        self.assertEqual(self.result(call), "done")

    def test_the_log_says_what_was_given_up_or_refused(self) -> None:
        _, executors = self.served(QUORUM)
        misfit = Broke("TypeError", "it takes no arguments\nnone", final=True)
        with capturedLogs() as events:
            for outcomes in ((BROKE, BROKE, BROKE), (misfit,)):
                self.caller().call("safe", "secret").addErrback(lambda _: None)
                for outcome in outcomes:
                    self.network.pump()
                    executors.runs[-1].end(outcome)
                self.network.pump()
        said = [formatEvent(each) for each in events if "A call of" in formatEvent(each)]
        self.assertEqual(len(said), 3, said)
        given_up = "A call of safe is given up (dead letter) after attempt"
        self.assertTrue(said[0].startswith(f"{given_up} 3: ValueError: no ("), said)
        self.assertTrue(said[1].startswith("A call of safe was refused: it takes no arguments ("))
        self.assertTrue(said[2].startswith(f"{given_up} 1: TypeError: it takes"), said)
        self.assertNotIn("secret", "".join(said))

    def test_what_is_replayed_may_have_run(self) -> None:
        _, executors = self.served(CLASSIC)
        for number, (value, expected) in enumerate(((True, True), ("true", False))):
            headers = {"twbridge-replayed": value, "a": 1}
            properties = {"correlation_id": f"{number}", "headers": headers}
            self.result(self.link().publish("", task_queue("safe"), b"null", properties))
            self.network.pump()
            run = executors.runs[-1]
            self.assertEqual((run.redelivered, run.request.headers), (expected, {"a": 1}))
            run.end()

    def test_a_cancelled_call_is_no_dead_letter(self) -> None:
        self.served(QUORUM)
        call = self.caller().call("safe")
        self.pass_time(0.1)
        call.cancel()
        self.failureResultOf(call, CallCancelled)
        self.network.pump()
        self.assertEqual(self.letters("twbridge.dead.safe"), [])
        self.assertEqual(self.waiting("twbridge.task.safe"), 0)

    def test_when_a_worker_dies_another_runs_it(self) -> None:
        for task in (QUORUM, CLASSIC):
            name = f"safe{task.queue}"
            options = TaskOptions(name, guarantee="at-least-once", queue=task.queue)
            first, executors = self.served(options)
            call = self.caller().call(name)
            self.network.pump()
            self.assertEqual(len(executors.runs), 1)
            self.die(first)
            _, executors = self.served(options)
            self.network.pump()
            [run] = executors.runs
            self.assertTrue(run.redelivered)
            run.end()
            self.assertEqual(self.result(call), "done")

    def test_what_kills_workers_does_not_do_so_for_ever(self) -> None:
        call = self.caller().call
        for task in (QUORUM, CLASSIC):
            name = f"poison{task.queue}"
            options = TaskOptions(
                name, guarantee="at-least-once", redelivery_limit=2, queue=task.queue
            )
            worker, executors = self.served(options)
            called = call(name)
            for _ in range(3):
                self.network.pump()
                self.assertEqual(len(executors.runs), 1)
                self.die(worker)
                worker, executors = self.served(options)
            self.assertEqual(executors.runs, [])
            self.pass_time(1.5)
            self.failureResultOf(called, CallLost)
            self.assertEqual(len(self.letters(f"twbridge.dead.{name}")), 1)


class AtMostOnceTests(WorkerCase):
    """Nothing is run twice, and its caller is told."""

    def test_what_its_worker_did_not_end_is_lost(self) -> None:
        first, executors = self.served()
        call = self.caller().call("add")
        self.network.pump()
        self.die(first)
        _, executors = self.served()
        self.network.pump()
        self.assertEqual(executors.runs, [])
        self.assertIn("may have run", str(self.error(call, CallLost)))
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def test_a_worker_that_loses_the_broker_goes_on_with_what_it_runs(self) -> None:
        _, executors = self.served()
        self.request("a")
        self.restart()
        self.pass_time(1)
        self.assertEqual(len(executors.runs), 1)
        executors.runs[0].end()
        self.pass_time(1)
        self.assertEqual(len(executors.runs), 1)
        self.assertEqual(self.waiting("twbridge.task.add"), 0)
        self.request("b")
        self.assertEqual([run.request.id for run in executors.runs], ["a", "b"])

    def test_a_call_that_runs_for_long_is_acknowledged_and_keeps_its_slot(self) -> None:
        _, executors = self.served(concurrency=2)
        for id in "abc":
            self.request(id)
        self.assertEqual(len(executors.runs), 2)
        self.network.advance(ACK_AFTER - 60)
        executors.runs[1].end()
        self.network.pump()
        self.assertEqual([run.request.id for run in executors.open], ["a", "c"])
        self.network.advance(100)
        self.restart()  # what is not acknowledged comes again
        self.request("d")
        self.assertEqual([run.request.id for run in executors.open], ["a", "c"])
        executors.runs[0].end()
        self.pass_time(1)
        self.assertEqual([run.request.id for run in executors.open], ["c", "d"])
        executors.runs[2].end()
        executors.runs[3].end()
        self.pass_time(1)
        self.assertEqual(len(executors.runs), 4)
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def request(self, id: str) -> None:
        properties = {"correlation_id": id, "headers": {"twbridge-caller": "me"}}
        sent = self.link().publish("", task_queue("add"), b"null", properties, mandatory=True)
        self.result(sent)
        self.network.pump()


class BalanceTests(WorkerCase):
    """A worker takes what it can run."""

    def test_two_workers_share(self) -> None:
        executors = [self.served()[1], self.served()[1]]
        caller = self.caller()
        calls = [caller.call("add") for _ in range(4)]
        self.network.pump()
        self.assertEqual([len(each.runs) for each in executors], [1, 1])
        for each in executors * 2:
            each.runs[-1].end()
            self.network.pump()
        self.assertEqual([self.result(call) for call in calls], ["done"] * 4)
        self.assertEqual([len(each.runs) for each in executors], [2, 2])

    def test_each_task_has_its_own_concurrency(self) -> None:
        _, executors = self.served(TaskOptions("a", concurrency=2), TaskOptions("b"))
        caller = self.caller()
        for name in "aaabb":
            caller.call(name).addErrback(lambda _: None)
        self.network.pump()
        self.assertEqual(sorted(run.task.name for run in executors.runs), ["a", "a", "b"])

    def test_higher_priorities_run_first(self) -> None:
        worker, _ = self.served()
        self.result(worker.stop())
        caller = self.caller()
        for priority in (0, 255, 100):
            caller.call("add", priority, priority=priority).addErrback(lambda _: None)
        self.network.pump()
        _, executors = self.served()
        for _ in range(3):
            executors.runs[-1].end()
            self.network.pump()
        self.assertEqual([run.request.body.data for run in executors.runs], [b"255", b"100", b"0"])


class StartingTests(WorkerCase):
    """A worker begins, or says in one line why not."""

    def test_a_module_that_can_not_be_loaded(self) -> None:
        worker, executors = self.served(serves=False)
        executors.starting = Deferred()
        started = worker.start()
        executors.starting.errback(LoadError("no module"))
        self.failureResultOf(started, LoadError)

    def test_a_module_without_a_task(self) -> None:
        worker, executors = self.served(serves=False)
        executors.tasks.clear()
        self.assertIn("no @task", str(self.error(worker.start(), StartError)))

    def test_a_queue_that_exists_with_other_arguments(self) -> None:
        queue = Queue("twbridge.task.add", durable=True, exclusive=False, auto_delete=False)
        self.result(self.link().declare(queue))
        worker, _ = self.served(serves=False)
        error = str(self.error(worker.start(), StartError))
        self.assertTrue(error.startswith("the queue of the task 'add' exists with other"), error)
        for words in ("stop all its workers", "docs/rpc.md", "406", "twbridge.task.add"):
            self.assertIn(words, error)
        self.assertNotIn("\n", error)

    def test_it_waits_for_the_broker(self) -> None:
        away = True

        def connect(*where: object) -> Any:
            return Refusing() if away else self.network.endpoint(*where)

        link = Link(self.clock, parse("amqp://guest:guest@x"), connect=connect)
        worker, executors = self.served(serves=False, link=link)
        started = worker.start()
        self.network.advance(60)
        self.assertNoResult(started)
        away = False
        self.network.advance(10)
        self.assertEqual(self.successResultOf(started), executors.tasks)

    def test_it_warns_of_what_the_broker_may_give_to_another(self) -> None:
        long = TaskOptions("long", guarantee="at-least-once", timeout=1501.0)
        plain = TaskOptions("plain", timeout=5000.0)
        with capturedLogs() as events:
            self.served(long, plain, QUORUM)
        said = [formatEvent(each) for each in events if "consumer_timeout" in formatEvent(each)]
        self.assertEqual(len(said), 1)
        self.assertTrue(said[0].startswith("long may run for 1501 s"), said)

    def test_answers_that_a_lost_broker_takes_along_are_one_line(self) -> None:
        away = False

        def connect(*where: object) -> Any:
            return Refusing() if away else self.network.endpoint(*where)

        link = Link(self.clock, parse("amqp://guest:guest@x"), connect=connect)
        _, executors = self.served(concurrency=5, link=link)
        for number in range(5):
            properties = {
                "correlation_id": str(number),
                "reply_to": "somebody",
                "headers": {"twbridge-timeout": 5000},
            }
            self.result(self.link().publish("", task_queue("add"), b"null", properties))
        self.network.pump()
        with capturedLogs() as events:
            away = True
            self.network.broker.close_connections("restart")
            self.network.advance(1)
            for run in executors.runs:
                run.end()
            self.network.advance(15)
        said = [formatEvent(each) for each in events if "answers" in formatEvent(each)]
        self.assertEqual(len(said), 1, said)
        self.assertTrue(said[0].startswith("5 answers to calls were lost"), said)

    def test_it_can_be_stopped_before_it_has_begun(self) -> None:
        worker, executors = self.served(serves=False)
        executors.starting = Deferred()
        started = worker.start()
        stopped = worker.stop()
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIsNone(
            self.successResultOf(started.addErrback(lambda f: f.trap(CancelledError) and None))
        )
        self.assertTrue(executors.stopped)

    def test_all_is_there_again_after_the_broker_has_forgotten_it(self) -> None:
        _, executors = self.served(QUORUM)
        vhost = self.network.broker.vhost
        self.network.broker.close_connections("restart")
        vhost.queues.clear()
        vhost.exchanges.pop("twbridge.dlx")
        self.network.advance(5)
        call = self.caller().call("safe")
        self.network.pump()
        executors.runs[-1].end(TimedOut())
        self.error(call, CallTimeout)
        self.assertEqual(len(self.letters("twbridge.dead.safe")), 1)

    def test_a_queue_that_is_deleted_is_made_again(self) -> None:
        _, executors = self.served()
        vhost = self.network.broker.vhost
        vhost.delete_queue(vhost.queues["twbridge.task.add"])
        self.pass_time(2)
        call = self.caller().call("add")
        self.network.pump()
        executors.runs[-1].end()
        self.assertEqual(self.result(call), "done")


class StoppingTests(WorkerCase):
    """SIGTERM: what runs may end."""

    def test_it_takes_no_more_and_waits_for_what_runs(self) -> None:
        worker, executors = self.served()
        caller = self.caller()
        running, waiting = caller.call("add"), caller.call("add")
        self.network.pump()
        stopped = worker.stop()
        self.network.advance(5)
        self.assertNoResult(stopped)
        executors.runs[0].end()
        self.assertEqual(self.result(running), "done")
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(len(executors.runs), 1)
        self.assertNoResult(waiting)
        _, executors = self.served()
        executors.runs[0].end()
        self.assertEqual(self.result(waiting), "done")

    def test_a_cancel_comes_through_while_it_drains(self) -> None:
        worker, _ = self.served()
        call = self.caller().call("add")
        self.pass_time(0.1)
        stopped = worker.stop()
        self.network.pump()
        call.cancel()
        self.failureResultOf(call, CallCancelled)
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))

    def test_what_does_not_end_in_time_is_told_or_goes_back(self) -> None:
        worker, executors = self.served(TaskOptions("add"), QUORUM, drain=3.0)
        caller = self.caller()
        plain, safe = caller.call("add"), caller.call("safe")
        self.network.pump()
        stopped = worker.stop()
        self.network.advance(2.5)
        self.assertNoResult(stopped)
        self.network.advance(2)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertTrue(executors.stopped)
        self.assertIn("stopped", str(self.error(plain, CallLost)))
        self.assertNoResult(safe)
        _, executors = self.served(QUORUM)
        self.assertTrue(executors.runs[0].redelivered)
        executors.runs[0].end()
        self.assertEqual(self.result(safe), "done")

    def test_a_second_word_ends_the_wait(self) -> None:
        worker, _ = self.served()
        call = self.caller().call("add")
        self.network.pump()
        stopped = worker.stop()
        self.network.advance(1)
        worker.hurry()
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        self.failureResultOf(call, CallLost)


class SpeakingTests(WorkerCase):
    """What a worker says of itself, and for its tasks."""

    def test_it_describes_itself(self) -> None:
        self.served(TaskOptions("add", run_in="thread", concurrency=3), QUORUM)
        came: list[Any] = []
        consumer = self.result(self.link().consume(Queue(), came.append, no_ack=True))
        self.caller().call("add").addErrback(lambda _: None)
        self.network.pump()
        properties = control_properties(Inspect("i1", consumer.queue_name))
        self.result(self.link().publish(WORKERS, "", b"", properties))
        self.network.pump()
        [answer] = came
        said = json.loads(answer.body)
        self.assertEqual(answer.properties["correlation_id"], "i1")
        self.assertEqual((said["worker"], said["started"]), ("w1", 1000.0))
        self.assertEqual(
            said["tasks"],
            [
                {
                    "name": "add",
                    "kind": "thread",
                    "guarantee": "at-most-once",
                    "queue": "twbridge.task.add",
                    "dead_letters": None,
                    "concurrency": 3,
                    "running": 1,
                },
                {
                    "name": "safe",
                    "kind": "process",
                    "guarantee": "at-least-once",
                    "queue": "twbridge.task.safe",
                    "dead_letters": "twbridge.dead.safe",
                    "concurrency": 1,
                    "running": 0,
                },
            ],
        )

    def test_what_is_no_word_to_it_changes_nothing(self) -> None:
        _, executors = self.served()
        self.result(self.link().publish(WORKERS, "", b"", {"correlation_id": "x"}))
        call = self.caller().call("add")
        self.network.pump()
        executors.runs[0].end()
        self.assertEqual(self.result(call), "done")

    def test_tasks_publish_to_channels(self) -> None:
        _, executors = self.served()
        heard: list[Any] = []
        caller = self.caller()
        self.result(
            caller.subscribe("news.#", lambda channel, value: heard.append((channel, value)))
        )
        self.result(executors.on_publish("news.a", Body(b"[1]", JSON)))
        self.network.pump()
        self.assertEqual(heard, [("news.a", [1])])

    def test_its_exchanges_are_there_for_all(self) -> None:
        self.served()
        link = self.link()
        for name, type in (("twbridge.dlx", "headers"), (WORKERS, "fanout"), (PUBSUB, "topic")):
            self.result(link.declare(Exchange(name, type)))
