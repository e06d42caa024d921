"""Subscriptions to queues: what is declared, delivered and acknowledged."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.subscriptions.queue_case import MISSING, OTHERWISE, REFUSED, QueueCase
from twbridge.commands import Dropped
from twbridge.destinations import parse
from twbridge.errors import (
    ChannelClosed,
    Conflict,
    EncodeError,
    NotFound,
    NotReady,
)
from twbridge.link.topology import Queue
from twbridge.subscriptions.queue import candidates, private


class DeclareTests(QueueCase):
    """What the broker is asked for."""

    def declared(self) -> list[tuple[str, bool, bool]]:
        return [
            (each.asked.name, each.asked.passive, each.asked.durable)
            for each in self.link.consumers
        ]

    def test_a_queue_that_exists_is_used_as_it_is(self) -> None:
        self.start(prefetch=7).end()
        self.assertEqual(self.declared(), [("jobs", True, True)])
        self.assertEqual(self.answers, [None])
        options = self.consumer.options
        self.assertEqual((options["no_ack"], options["prefetch"]), (False, 7))

    def test_one_that_is_missing_is_made_durable(self) -> None:
        self.link.consume_errors = [MISSING]
        self.start().end()
        self.assertEqual(self.declared(), [("jobs", True, True), ("jobs", False, True)])
        queue = self.consumer.queue
        self.assertEqual((queue.exclusive, queue.auto_delete), (False, False))
        self.assertEqual(self.answers, [None])

    def test_when_somebody_else_was_quicker_theirs_is_used(self) -> None:
        self.link.consume_errors = [MISSING, OTHERWISE]
        self.start().end()
        self.assertEqual([passive for _, passive, _ in self.declared()], [True, False, True])
        self.assertEqual(self.answers, [None])

    def test_what_is_refused_is_told_in_the_end(self) -> None:
        for errors, code in (
            ([REFUSED], "forbidden"),
            ([MISSING, REFUSED], "forbidden"),
            ([MISSING, MISSING, MISSING], "not_found"),
            # What was wrong with it, not that there still is none.
            ([MISSING, OTHERWISE, MISSING], "conflict"),
            ([NotReady("away")], "not_ready"),
            ([EncodeError("too long")], "bad_frame"),
        ):
            self.answers.clear()
            self.link.consume_errors = list(errors)
            self.start().end()
            self.assertEqual(self.refusal().code, code)

    def test_an_amq_queue_is_never_declared(self) -> None:
        self.link.consume_errors = [MISSING]
        self.start("/amq/queue/jobs")
        self.assertEqual(self.declared(), [("jobs", True, True)])
        self.assertEqual(self.refusal().code, "not_found")

    def test_a_sessions_own_queue_expires_and_is_bound(self) -> None:
        self.link.held = True
        self.start("/topic/a.%23", acks=True)
        self.link.consuming[0].callback(self.consumer)
        self.assertEqual((self.consumer.bindings, self.answers), ([("amq.topic", "a.#")], []))
        self.link.release()
        self.assertEqual(self.answers, [None])
        queue = self.consumer.queue
        self.assertEqual((queue.name, queue.durable, queue.exclusive), ("own", True, False))
        self.assertEqual(dict(queue.arguments), {"x-expires": 60_000})

    def test_where_the_binding_is_refused_its_queue_is_deleted(self) -> None:
        self.link.refused["nope"] = ChannelClosed(404, "NOT_FOUND - no exchange 'nope'")
        self.start("/exchange/nope/a", acks=True)
        self.assertEqual(self.refusal().code, "not_found")
        self.assertTrue(self.consumer.deleted)

    def test_the_patient_try_again_until_the_broker_is_there(self) -> None:
        self.link.consume_errors = [NotReady("away"), NotReady("away")]
        self.start(patient=True)
        self.clock.advance(1)
        self.assertEqual(self.answers, [])
        self.clock.advance(1)
        self.assertEqual(self.answers, [None])

    def test_an_error_that_nobody_expected_is_told_as_it_is(self) -> None:
        self.link.consume_errors = [ZeroDivisionError()]  # type: ignore[list-item]
        self.start()
        self.assertIsInstance(self.refusal(), ZeroDivisionError)


class DeliverTests(QueueCase):
    """From the broker to the socket."""

    def test_the_messages_of_a_read_leave_together_and_are_acknowledged_at_once(self) -> None:
        self.start()
        self.deliver(1, 2, 3)
        self.deliver(4)
        self.assertEqual(
            self.outlet.frames,
            [b"/queue/jobs jobs 1/queue/jobs jobs 2/queue/jobs jobs 3", b"/queue/jobs jobs 4"],
        )
        self.assertEqual(self.consumer.answered, [("ack", 3, True), ("ack", 4, True)])

    def test_what_the_socket_does_not_take_stays_unacknowledged(self) -> None:
        subscription = self.start()
        self.outlet.room = 0
        self.deliver(1, 2)
        self.deliver(3)
        self.assertEqual((self.outlet.frames, self.consumer.answered), ([], []))
        self.outlet.room = 1
        subscription.writable()
        self.assertEqual(len(self.outlet.frames), 1)
        self.assertEqual(self.consumer.answered, [("ack", 3, True)])

    def test_with_close_a_client_that_lets_too_much_wait_is_ended_and_nothing_lost(self) -> None:
        for acks in (False, True):
            self.outlet.overflows = 0
            subscription = self.start(overflow="close", acks=acks)
            self.outlet.on_overflow = subscription.end
            self.outlet.room, self.outlet.budget.left = 0, 50
            self.deliver(1)
            self.deliver(2)
            self.assertEqual((self.outlet.overflows, self.consumer.answered), (0, []))
            self.deliver(3)
            self.assertEqual((self.outlet.overflows, self.outlet.frames), (1, []))
            self.assertEqual(self.consumer.answered, [("nack", 3, True, True)])

    def test_with_close_one_large_message_is_no_overflow(self) -> None:
        subscription = self.start(overflow="close")
        self.outlet.room, self.outlet.budget.left = 0, 5
        self.deliver(1)
        self.outlet.room = 1
        subscription.writable()
        self.assertEqual((self.outlet.overflows, len(self.outlet.frames)), (0, 1))

    def test_with_drop_oldest_the_queue_is_emptied_and_the_loss_told(self) -> None:
        subscription = self.start(overflow="drop-oldest")
        self.outlet.room = 0
        self.outlet.budget.left = 40
        self.deliver(1, 2, 3)
        self.assertEqual(self.consumer.answered, [("ack", 3, True)])
        self.outlet.room = 10
        subscription.writable()
        self.assertEqual(self.outlet.heard[0], Dropped(parse("/queue/jobs"), 1))
        self.assertEqual(self.bodies, [b"2", b"3"])

    def test_with_acks_it_is_the_client_that_acknowledges(self) -> None:
        subscription = self.start(acks=True)
        self.deliver(1, 2, 3, 4)
        self.assertEqual(self.outlet.frames[0][:20], b"/queue/jobs jobs #1 ")
        self.assertEqual(self.consumer.answered, [])
        subscription.ack(1, False)
        subscription.nack(2, True, False)
        subscription.ack(4, True)
        self.assertEqual(
            self.consumer.answered, [("ack", 1, False), ("nack", 2, True, False), ("ack", 4, True)]
        )
        for tag in (1, 2, 3, 4, 5, 0, -1):
            with self.assertRaises(NotFound) as caught:
                subscription.ack(tag, False)
        self.assertEqual(
            caught.exception.public,
            "There is no delivery -1 of /queue/jobs to acknowledge: it was never there, is done "
            "with, or went back to its queue with a lost connection.",
        )

    def test_without_acks_there_is_nothing_to_acknowledge(self) -> None:
        subscription = self.start()
        self.deliver(1)
        for answer in (subscription.ack, partial(subscription.nack, requeue=True)):
            with self.assertRaises(NotFound):
                answer(1, multiple=False)

    def test_what_can_not_be_shown_is_rejected_and_the_rest_comes(self) -> None:
        self.start()
        self.consumer.deliver(self.message(1), self.message(2, b"?"), self.message(3))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.consumer.answered, [("nack", 2, False, False), ("ack", 3, True)])
        self.consumer.deliver(self.message(4, b"?"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_stream_is_never_nacked(self) -> None:
        subscription = self.start(acks=True)
        mark: Any = {"headers": {"x-stream-offset": 7}}
        self.consumer.deliver(self.message(1, b"", **mark), self.message(2, b"?", **mark))
        self.flushLoggedErrors(ValueError)
        with self.assertRaises(Conflict) as caught:
            subscription.nack(1, True, False)
        self.assertEqual(
            caught.exception.public, "/queue/jobs is a stream: its messages can't be refused."
        )
        subscription.end()
        self.assertEqual(self.consumer.answered, [("ack", 2, False)])
        self.assertTrue(self.consumer.cancelled)


class CandidatesTests(SynchronousTestCase):
    """What is tried, in turn."""

    def test_a_queue_is_looked_for_then_made_then_looked_for_again(self) -> None:
        found = list(candidates(parse("/queue/a%20b")))
        self.assertEqual({each.name for each in found}, {"a b"})
        self.assertEqual([each.passive for each in found], [True, False, True])

    def test_an_amq_queue_is_looked_for(self) -> None:
        self.assertEqual([each.passive for each in candidates(parse("/amq/queue/a"))], [True])

    def test_a_private_one_is_made(self) -> None:
        [found] = private("n")
        self.assertIsInstance(found, Queue)
        self.assertEqual((found.passive, found.durable), (False, True))
