"""Answers of a worker: where the broker takes none for a while, and when it took calls back."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.rpc.worker_case import DONE, WorkerCase
from twbridge.amqp import Queue
from twbridge.errors import (
    CallLost,
    ChannelClosed,
    Nacked,
    NotReady,
    OutcomeUnknown,
)
from twbridge.rpc import answers
from twbridge.rpc.answers import Answers
from twbridge.rpc.executors.outcomes import Broke
from twbridge.rpc.messages import Failed, Request, Result, task_queue
from twbridge.rpc.serializers import JSON, Body
from twbridge.rpc.settling import KEPT_FOR, KEPT_MAX, Ends
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.verdicts import Fate
from twbridge.rpc.worker import Worker

PLAIN = TaskOptions("add")
QUORUM = TaskOptions("add", guarantee="at-least-once", redelivery_limit=2)
CLASSIC = TaskOptions("add", guarantee="at-least-once", redelivery_limit=2, queue="classic")


class BlockedTests(WorkerCase):
    """An alarm at the broker: it takes no messages, for as long as it likes."""

    def block(self, worker: Worker, reason: str | None = "low on memory") -> None:
        worker._link._blocked(reason)

    def test_a_result_waits_for_the_broker_as_long_as_its_caller_waits_for_it(self) -> None:
        for task in (PLAIN, QUORUM, CLASSIC):
            options = TaskOptions(
                f"t{task.guarantee}{task.queue}", guarantee=task.guarantee, queue=task.queue
            )
            worker, executors = self.served(options)
            for timeout in (60.0, None):
                call = self.caller().call(options.name, timeout=timeout)
                self.network.pump()
                self.block(worker)
                executors.runs[-1].end()
                self.network.advance(40)
                self.assertNoResult(call)
                self.block(worker, None)
                self.network.advance(1)
                self.assertEqual(self.result(call), "done")
            self.assertEqual(len(executors.runs), 2)

    def test_while_results_wait_no_more_calls_are_run(self) -> None:
        worker, executors = self.served(PLAIN)
        caller = self.caller()
        calls = [caller.call("add", timeout=100.0) for _ in range(3)]
        self.network.pump()
        self.block(worker)
        executors.runs[0].end()
        self.network.advance(20)
        self.assertEqual(len(executors.runs), 1)
        self.block(worker, None)
        for call, number in zip(calls, range(3), strict=True):
            self.network.pump()
            if number:
                executors.runs[number].end()
            self.assertEqual(self.result(call), "done")

    def test_what_was_not_answered_is_another_workers_when_this_one_dies(self) -> None:
        for task in (QUORUM, CLASSIC):
            options = TaskOptions(f"t{task.queue}", guarantee="at-least-once", queue=task.queue)
            first, executors = self.served(options)
            call = self.caller().call(options.name, timeout=100.0)
            self.network.pump()
            self.block(first)
            executors.runs[0].end()
            self.network.advance(15)
            self.die_blocked(first)
            _, executors = self.served(options)
            self.network.pump()
            executors.runs[0].end()
            self.assertEqual(self.result(call), "done")

    def test_a_worker_that_stops_with_results_leaves_their_requests(self) -> None:
        for task, runs in ((PLAIN, 0), (QUORUM, 1)):
            options = TaskOptions(f"t{task.guarantee}", guarantee=task.guarantee)
            worker, executors = self.served(options, drain=5.0)
            call = self.caller().call(options.name, timeout=200.0)
            self.network.pump()
            self.block(worker)
            executors.runs[0].end()
            stopped = worker.stop()
            self.network.advance(30)
            self.assertIsNone(self.successResultOf(stopped))
            self.assertNoResult(call)
            _, executors = self.served(options)
            self.network.pump()
            self.assertEqual(len(executors.runs), runs)
            if runs:
                executors.runs[0].end()
                self.assertEqual(self.result(call), "done")
            else:
                self.error(call, CallLost)

    def test_results_are_sent_while_it_drains(self) -> None:
        worker, executors = self.served(PLAIN)
        call = self.caller().call("add", timeout=200.0)
        self.network.pump()
        self.block(worker)
        executors.runs[0].end()
        stopped = worker.stop()
        self.network.advance(15)
        self.assertNoResult(stopped)
        self.block(worker, None)
        self.assertEqual(self.result(call), "done")
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.waiting("twbridge.task.add"), 0)

    def die_blocked(self, worker: Worker) -> None:
        stopped = worker._link.stop()
        self.network.advance(12)
        self.assertIsNone(self.successResultOf(stopped))


class TakenBackTests(WorkerCase):
    """The broker was lost under calls that ended meanwhile, and delivers them again."""

    def lose(self, task: TaskOptions) -> tuple[Worker, Any, Deferred[Any]]:
        worker, executors = self.served(task)
        call = self.caller().call("add", timeout=100.0)
        self.network.pump()
        for line in worker._link._consuming:
            assert line.connection is not None
            line.connection.transport.loseConnection()
        self.network.pump()
        return worker, executors, call

    def test_what_was_answered_is_not_run_again(self) -> None:
        for task in (PLAIN, QUORUM, CLASSIC):
            with self.subTest(task=task):
                worker, executors, call = self.lose(task)
                executors.runs[0].end()
                self.assertEqual(self.result(call), "done")
                self.network.advance(5)
                self.assertEqual(len(executors.runs), 1)
                self.assertEqual(self.waiting("twbridge.task.add"), 0)
                self.forget(worker)

    def test_what_has_to_be_tried_again_is(self) -> None:
        for task in (QUORUM, CLASSIC):
            with self.subTest(task=task):
                worker, executors, call = self.lose(task)
                executors.runs[0].end(Broke("ValueError", "no"))
                self.network.advance(5)
                self.assertEqual(len(executors.runs), 2)
                executors.runs[1].end()
                self.assertEqual(self.result(call), "done")
                self.forget(worker)

    def test_one_whose_answer_waits_is_not_run_again(self) -> None:
        for task in (PLAIN, QUORUM, CLASSIC):
            with self.subTest(task=task):
                worker, executors, call = self.lose(task)
                worker._link._publisher.block(True)
                executors.runs[0].end()
                self.network.advance(5)
                self.assertEqual(len(executors.runs), 1)
                worker._link._publisher.block(False)
                self.assertEqual(self.result(call), "done")
                self.network.advance(1)
                self.assertEqual(self.waiting("twbridge.task.add"), 0)
                self.forget(worker)

    def forget(self, worker: Worker) -> None:
        """For the next task of the same name."""
        stopped = worker.stop()
        self.network.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        vhost = self.network.broker.vhost
        for name in ("twbridge.task.add", "twbridge.dead.add"):
            if name in vhost.queues:
                vhost.delete_queue(vhost.queues[name])


class FakeLink:
    """Keeps what is published, for the test to settle."""

    state = "ready"
    pressed = False

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, dict[str, Any], float, Deferred[None]]] = []

    def publish(
        self, _exchange: str, _key: str, body: bytes, properties: dict[str, Any], *, timeout: float
    ) -> Deferred[None]:
        sent: Deferred[None] = Deferred()
        self.sent.append((body, properties, timeout, sent))
        return sent

    def fail(self, error: Exception) -> None:
        """The broker's word of the last."""
        self.sent[-1][3].errback(Failure(error))


class LastAnswerTests(SynchronousTestCase):
    """The last answer of a call is kept until the broker has it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.answers = Answers(self.link, "w1", self.clock)  # type: ignore[arg-type]

    def last(self, left: float | None = 60.0, size: int = 1) -> Deferred[bool]:
        request = Request("c1", "add", "me", Body(b"", JSON), "replies")
        return self.answers.last(request, Result("c1", "w1", Body(b"1" * size, JSON)), left)

    def kind(self) -> tuple[str, str]:
        """Of the last that was sent."""
        headers = self.link.sent[-1][1]["headers"]
        return headers["twbridge-reply"], headers.get("twbridge-error", "")

    def test_it_may_wait_as_long_as_its_caller_does(self) -> None:
        for left, expected in (
            (60.0, 60.0),
            (0.5, answers.SHORTEST),
            (-3.0, answers.SHORTEST),
            (None, answers.LONGEST),
        ):
            self.last(left)
            self.assertEqual(self.link.sent[-1][2], expected)

    def test_what_the_link_did_not_take_is_sent_again(self) -> None:
        done = self.last()
        for number in range(30):
            self.assertEqual(len(self.link.sent), number + 1)
            self.link.fail(NotReady("full"))
            self.assertNoResult(done)
            self.clock.advance(answers.AGAIN)
        self.assertEqual(self.link.sent[-1][2], 30.0)
        self.link.sent[-1][3].callback(None)
        self.assertIs(self.successResultOf(done), True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_but_not_when_nobody_waits_any_more(self) -> None:
        done = self.last(10.5)
        for _ in range(11):
            self.link.fail(NotReady("full"))
            self.clock.advance(answers.AGAIN)
        self.assertEqual(len(self.link.sent), 11)
        self.assertIs(self.successResultOf(done), False)

    def test_what_may_be_lost_is_sent_again_but_not_for_ever(self) -> None:
        done = self.last()
        for _ in range(answers.RESENDS):
            self.link.fail(OutcomeUnknown("lost"))
            self.clock.advance(answers.AGAIN)
            self.assertNoResult(done)
        self.link.fail(OutcomeUnknown("lost"))
        self.assertIs(self.successResultOf(done), False)

    def test_results_past_the_room_are_told_as_lost(self) -> None:
        self.patch(answers, "HELD_MAX", 1000)
        first = self.last(size=600)
        self.link.fail(NotReady("full"))
        second = self.last(size=600)
        self.link.fail(NotReady("full"))
        self.assertEqual(self.kind(), ("error", "lost"))
        self.link.fail(NotReady("full"))
        self.clock.advance(answers.AGAIN)
        for sent in self.link.sent[-2:]:
            sent[3].callback(None)
        self.assertIs(self.successResultOf(first), True)
        self.assertIs(self.successResultOf(second), True)
        self.assertEqual(self.link.sent[-2][0], b"1" * 600)
        self.assertEqual(self.kind(), ("error", "lost"))

    def test_a_result_that_the_broker_refuses_is_a_failure(self) -> None:
        done = self.last()
        self.link.fail(ChannelClosed(406, "message size is larger than the limit"))
        self.assertEqual(self.kind(), ("error", "failed"))
        self.assertIn(b"larger", self.link.sent[-1][0])
        self.link.fail(ChannelClosed(406, "that, too"))
        self.assertIs(self.successResultOf(done), False)

    def test_what_can_not_be_sent_in_another_way_is_lost_and_logged(self) -> None:
        done = self.last()
        with capturedLogs() as events:
            self.link.fail(Nacked("a full queue"))
            self.clock.advance(answers.GATHER)
        self.assertIs(self.successResultOf(done), False)
        self.assertIn("1 answers to calls were lost", formatEvent(events[-1]))

    def test_a_stop_ends_the_waiting(self) -> None:
        held = self.last()
        self.link.fail(NotReady("full"))
        under_way = self.last()
        self.answers.stop()
        self.assertIs(self.successResultOf(held), False)
        self.link.fail(NotReady("closed"))
        self.assertIs(self.successResultOf(under_way), False)
        self.clock.advance(answers.GATHER)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_where_nobody_wants_it_nothing_is_sent(self) -> None:
        request = Request("c1", "add", "me", Body(b"", JSON))
        done = self.answers.last(request, Failed("c1", "w1", "lost", "X", "y"), None)
        self.assertIs(self.successResultOf(done), True)
        self.assertEqual(self.link.sent, [])


class EndsTests(SynchronousTestCase):
    """What is kept of calls that have ended is little, and not for long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ends = Ends(self.clock.seconds)

    def test_each_is_taken_once(self) -> None:
        self.ends.keep(("me", "1"), Fate.ACK)
        self.ends.keep(("me", "2"), Fate.REJECT)
        self.assertEqual(self.ends.take(("me", "2")), Fate.REJECT)
        self.assertIsNone(self.ends.take(("me", "2")))
        self.assertEqual(self.ends.take(("me", "1")), Fate.ACK)

    def test_for_two_minutes(self) -> None:
        self.ends.keep(("me", "1"), Fate.ACK)
        self.clock.advance(KEPT_FOR - 1)
        self.ends.keep(("me", "2"), Fate.ACK)
        self.clock.advance(2)
        self.assertIsNone(self.ends.take(("me", "1")))
        self.assertEqual(len(self.ends), 1)
        self.assertEqual(self.ends.take(("me", "2")), Fate.ACK)

    def test_a_bounded_number_of_bytes(self) -> None:
        caller = "c" * (KEPT_MAX // 10)
        for number in range(30):
            self.ends.keep((caller, str(number)), Fate.ACK)
        self.assertEqual(len(self.ends), 9)
        self.assertIsNone(self.ends.take((caller, "20")))
        for number in range(21, 30):
            self.assertEqual(self.ends.take((caller, str(number))), Fate.ACK)
        self.ends.keep(("c" * KEPT_MAX, "1"), Fate.ACK)
        self.assertEqual(len(self.ends), 0)
        self.assertEqual(self.ends._bytes, 0)


class OwnNameTests(WorkerCase):
    """A request is for the task whose queue it came to."""

    def test_whatever_its_routing_key_says(self) -> None:
        for task in (PLAIN, TaskOptions("safe", guarantee="at-least-once", queue="classic")):
            _, executors = self.served(task)
            link = self.link()
            queue = Queue(task_queue(task.name), True, False, False, passive=True)
            consumer = self.result(link.consume(queue, lambda _: None, no_ack=True))
            keys = f"twbridge.task.other-{task.name}", f"any.{task.name}"
            for key in keys:
                self.result(consumer.bind("amq.topic", key))
            self.result(consumer.cancel())
            for key in keys:
                sent = link.publish("amq.topic", key, b"1", {"correlation_id": key}, mandatory=True)
                self.result(sent)
                self.network.pump()
                tries = 1 + (task.guarantee == "at-least-once")
                for number in range(tries):
                    run = executors.runs[-1]
                    self.assertEqual((run.request.id, run.request.task), (key, task.name))
                    run.end(DONE if number else Broke("ValueError", "no"))
                    self.network.pump()
                self.assertEqual(executors.open, [])
            self.assertEqual(len(executors.runs), 2 * tries)
