"""What becomes of a delivery, and what its caller hears."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import delivery
from twbridge.errors import ChannelClosed
from twbridge.link.topology import Queue
from twbridge.rpc.executors.outcomes import Broke, Died, Done, Outcome, TimedOut, WasCancelled
from twbridge.rpc.messages import Failed, Request, Result
from twbridge.rpc.serializers import JSON, Body
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.topology import dead_letters, queue_of, refused
from twbridge.rpc.verdicts import ATTEMPT, Fate, after, attempt_of, before, copy_properties
from twbridge.wire import Delivery, encode_properties

BODY = Body(b"1", JSON)
REQUEST = Request("c1", "t", "caller", BODY, "amq.gen-1")
ONCE = TaskOptions("t")
QUORUM = TaskOptions("t", guarantee="at-least-once", redelivery_limit=2)
CLASSIC = TaskOptions("t", guarantee="at-least-once", redelivery_limit=2, queue="classic")
ALL = (ONCE, QUORUM, CLASSIC)

RAISED = Broke("KeyError", "'a'", "Traceback...")
PUBLIC = Broke("PublicError", "No seats left.", public=True)
MISFIT = Broke("TypeError", "the body does not fit", final=True)
UNKNOWN = Broke("UnknownTask", "there is no task 't'", final=True)
DIED = Died("its process was killed (SIGSEGV)")

outcomes = st.sampled_from(
    (RAISED, PUBLIC, MISFIT, UNKNOWN, DIED, TimedOut(), WasCancelled(), Done(BODY, {}))
)


def request(headers: dict[str, Any] | None = None, *, redelivered: bool = False) -> Delivery:
    """A request as it comes from the broker."""
    raw = encode_properties({"headers": headers or {}})
    return Delivery(1, "t", 1, redelivered, "", "twbridge.task.t", raw, b"1")


class AttemptTests(SynchronousTestCase):
    """How often a request was delivered before."""

    def test_a_quorum_queue_counts_by_itself(self) -> None:
        self.assertEqual(attempt_of(QUORUM, request()), 0)
        self.assertEqual(attempt_of(QUORUM, request({"x-delivery-count": 2}, redelivered=True)), 2)
        self.assertEqual(attempt_of(QUORUM, request({ATTEMPT: 7})), 0)

    def test_of_a_classic_queue_copies_count_and_the_broker_says_whether_once_more(self) -> None:
        for task in (ONCE, CLASSIC):
            self.assertEqual(attempt_of(task, request()), 0)
            self.assertEqual(attempt_of(task, request(redelivered=True)), 1)
            self.assertEqual(attempt_of(task, request({ATTEMPT: 2})), 2)
            self.assertEqual(attempt_of(task, request({ATTEMPT: 2}, redelivered=True)), 3)

    def test_a_count_that_is_none_is_none(self) -> None:
        strange: tuple[Any, ...] = (-1, "2", None, 1.5, [], b"1")
        for value in strange:
            self.assertEqual(attempt_of(CLASSIC, request({ATTEMPT: value})), 0)
            self.assertEqual(attempt_of(QUORUM, request({"x-delivery-count": value})), 0)


class BeforeTests(SynchronousTestCase):
    """Requests that are not run, or not yet."""

    def test_what_is_delivered_for_the_first_time_is_run(self) -> None:
        for task in ALL:
            for attempt in range(4):
                self.assertIsNone(before(task, REQUEST, "w", attempt, False))

    def test_at_most_once_is_not_run_again(self) -> None:
        verdict = before(ONCE, REQUEST, "w", 1, True)
        assert verdict is not None
        assert isinstance(verdict.reply, Failed)
        self.assertEqual(verdict.fate, Fate.REJECT)
        self.assertEqual((verdict.reply.id, verdict.reply.kind), ("c1", "lost"))
        self.assertIn("may have run", verdict.reply.message)

    def test_a_quorum_queue_keeps_the_limit_itself(self) -> None:
        for attempt in range(5):
            self.assertIsNone(before(QUORUM, REQUEST, "w", attempt, True))

    def test_of_a_classic_queue_a_copy_counts_before_it_is_run(self) -> None:
        for attempt in (1, 2):
            verdict = before(CLASSIC, REQUEST, "w", attempt, True)
            self.assertEqual(verdict, (None, Fate.AGAIN))
        verdict = before(CLASSIC, REQUEST, "w", 3, True)
        assert verdict is not None
        assert isinstance(verdict.reply, Failed)
        self.assertEqual((verdict.fate, verdict.reply.kind), (Fate.REJECT, "lost"))


class AfterTests(SynchronousTestCase):
    """Requests that were run."""

    def kind(self, task: TaskOptions, outcome: Outcome, attempt: int = 0) -> tuple[Any, Fate]:
        reply, fate = after(task, REQUEST, "w", attempt, outcome)
        if reply is None:
            return None, fate
        self.assertEqual((reply.id, reply.worker), ("c1", "w"))
        return reply.kind if isinstance(reply, Failed) else "result", fate

    def test_a_result_is_told_and_done_with(self) -> None:
        for task in ALL:
            verdict = after(task, REQUEST, "w", 0, Done(BODY, {"h": 1}))
            self.assertEqual(verdict, (Result("c1", "w", BODY, {"h": 1}), Fate.ACK))

    def test_at_most_once_every_end_is_told_and_done_with(self) -> None:
        for outcome, kind in (
            (RAISED, "failed"),
            (PUBLIC, "failed"),
            (MISFIT, "bad_request"),
            (UNKNOWN, "failed"),
            (DIED, "lost"),
            (TimedOut(), "timeout"),
            (WasCancelled(), "cancelled"),
        ):
            self.assertEqual(self.kind(ONCE, outcome), (kind, Fate.ACK), outcome)

    def test_at_least_once_a_failure_is_tried_again_up_to_the_limit(self) -> None:
        for task, again in ((QUORUM, Fate.REQUEUE), (CLASSIC, Fate.AGAIN)):
            for outcome, kind in ((RAISED, "failed"), (DIED, "lost")):
                for attempt in (0, 1):
                    self.assertEqual(self.kind(task, outcome, attempt), (None, again))
                for attempt in (2, 3):
                    self.assertEqual(self.kind(task, outcome, attempt), (kind, Fate.REJECT))

    def test_at_least_once_what_would_fail_again_is_a_dead_letter_at_once(self) -> None:
        for task in (QUORUM, CLASSIC):
            for outcome, kind in (
                (PUBLIC, "failed"),
                (MISFIT, "bad_request"),
                (UNKNOWN, "failed"),
                (TimedOut(), "timeout"),
            ):
                self.assertEqual(self.kind(task, outcome), (kind, Fate.REJECT))

    def test_a_cancelled_call_is_no_dead_letter(self) -> None:
        for task in ALL:
            self.assertEqual(self.kind(task, WasCancelled()), ("cancelled", Fate.ACK))

    def test_a_limit_of_0_tries_once(self) -> None:
        for task in (replace(QUORUM, redelivery_limit=0), replace(CLASSIC, redelivery_limit=0)):
            self.assertEqual(self.kind(task, RAISED), ("failed", Fate.REJECT))

    def test_the_caller_reads_what_the_task_raised(self) -> None:
        self.assertEqual(
            after(ONCE, REQUEST, "w", 0, RAISED).reply,
            Failed("c1", "w", "failed", "KeyError", "'a'", "Traceback..."),
        )
        self.assertEqual(
            after(ONCE, REQUEST, "w", 0, PUBLIC).reply,
            Failed("c1", "w", "failed", "PublicError", "No seats left.", public=True),
        )

    @given(st.sampled_from(ALL), outcomes, st.integers(0, 5))
    def test_a_caller_hears_of_it_unless_it_is_tried_again(
        self, task: TaskOptions, outcome: Outcome, attempt: int
    ) -> None:
        reply, fate = after(task, REQUEST, "w", attempt, outcome)
        self.assertEqual(reply is None, fate in (Fate.REQUEUE, Fate.AGAIN))
        if fate in (Fate.REQUEUE, Fate.AGAIN):
            self.assertLess(attempt, task.redelivery_limit)


class CopyTests(SynchronousTestCase):
    """A copy that counts is the request in all else."""

    def test_a_copy_has_the_count_and_is_the_same_otherwise(self) -> None:
        properties = {
            "content_type": JSON,
            "correlation_id": "c1",
            "reply_to": "q",
            "priority": 7,
            "delivery_mode": 2,
            "expiration": "3000",
            "headers": {"h": 1, "twbridge-caller": "me", ATTEMPT: 1},
        }
        original = delivery("twbridge.task.t", b"1", "", user_id="guest", **properties)
        expected = {**properties, "headers": {"h": 1, "twbridge-caller": "me", ATTEMPT: 2}}
        self.assertEqual(copy_properties(original, 2), expected)
        self.assertEqual(original.headers[ATTEMPT], 1)

    def test_a_copy_has_the_time_that_is_left(self) -> None:
        headers = {"twbridge-timeout": 3000, "twbridge-replayed": True}
        original = delivery("twbridge.task.t", b"1", "", expiration="2500", headers=headers)
        for ran, timeout, expiration in ((0.0, 3000, "2500"), (1.2, 1800, "1300"), (9, 1, "1")):
            copied = copy_properties(original, 1, ran)
            self.assertEqual(copied["expiration"], expiration)
            self.assertEqual(copied["headers"]["twbridge-timeout"], timeout)
            self.assertIs(copied["headers"]["twbridge-replayed"], True)
        strange = delivery("twbridge.task.t", b"1", "", expiration="soon")
        copied = copy_properties(strange, 1, 1.0)
        self.assertEqual(copied, {"expiration": "soon", "headers": {ATTEMPT: 1}})


class TopologyTests(SynchronousTestCase):
    """What is declared for a task."""

    def queue(self, task: TaskOptions) -> Queue:
        queue = queue_of(task)
        self.assertEqual(queue.name, "twbridge.task.t")
        self.assertEqual((queue.durable, queue.exclusive, queue.auto_delete), (True, False, False))
        return queue

    def test_plain_tasks_and_classic_ones_have_priorities(self) -> None:
        for task in (ONCE, CLASSIC):
            self.assertEqual(
                self.queue(task).arguments,
                {"x-dead-letter-exchange": "twbridge.dlx", "x-max-priority": 10},
            )

    def test_at_least_once_is_a_quorum_queue_with_the_limit(self) -> None:
        self.assertEqual(
            self.queue(QUORUM).arguments,
            {
                "x-dead-letter-exchange": "twbridge.dlx",
                "x-queue-type": "quorum",
                "x-delivery-limit": 2,
            },
        )

    def test_dead_letters_are_kept_for_tasks_at_least_once(self) -> None:
        self.assertIsNone(dead_letters(ONCE))
        for task in (QUORUM, CLASSIC):
            found = dead_letters(task)
            assert found is not None
            queue, bindings = found
            self.assertEqual((queue.name, queue.durable), ("twbridge.dead.t", True))
            self.assertEqual(queue.arguments, {})
            self.assertEqual(
                bindings,
                tuple(
                    (
                        "twbridge.dlx",
                        "",
                        {
                            "x-match": "all-with-x",
                            "x-first-death-reason": reason,
                            "x-first-death-queue": "twbridge.task.t",
                        },
                    )
                    for reason in ("rejected", "delivery_limit")
                ),
            )

    def test_a_queue_that_is_another_names_the_option_behind_it(self) -> None:
        for argument, option in (
            ("x-delivery-limit", "redelivery_limit"),
            ("x-queue-type", "guarantee or queue"),
            ("x-max-priority", "guarantee or queue"),
            ("durable", "guarantee, queue or redelivery_limit"),
        ):
            text = f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue"
            said = refused(QUORUM, ChannelClosed(406, text))
            self.assertIn("the task 't' exists with other arguments", said)
            self.assertIn(f"(a change of {option}): stop all its workers", said)
            self.assertIn(f"inequivalent arg '{argument}'", said)
        said = refused(QUORUM, ChannelClosed(403, "ACCESS_REFUSED"))
        self.assertEqual(said, "the broker refuses what the task 't' needs: 403 ACCESS_REFUSED")
