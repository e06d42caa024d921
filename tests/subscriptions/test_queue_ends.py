"""Subscriptions to queues: how they end, and what goes back."""

from __future__ import annotations

from twisted.internet.defer import fail

from tests.subscriptions.queue_case import MISSING, REFUSED, QueueCase
from twbridge.commands import Gap
from twbridge.destinations import parse
from twbridge.errors import (
    AckTimeout,
    ChannelClosed,
    Conflict,
    NotFound,
    NotReady,
    QueueDeleted,
    TwbridgeError,
)


class EndTests(QueueCase):
    """Its own end."""

    def test_what_is_unacknowledged_goes_back(self) -> None:
        subscription = self.start(acks=True)
        self.deliver(1, 2)
        subscription.ack(1, False)
        subscription.end()
        subscription.end()
        self.assertEqual(self.consumer.answered[1:], [("nack", 2, True, True)])
        self.assertEqual((self.consumer.cancelled, self.consumer.deleted), (True, False))

    def test_so_does_what_the_socket_has_not_taken(self) -> None:
        subscription = self.start()
        self.outlet.room = 0
        self.deliver(1, 2)
        subscription.end()
        self.assertEqual(self.consumer.answered, [("nack", 2, True, True)])
        self.outlet.room = 1
        self.deliver(3)
        subscription.writable()
        self.assertEqual(self.outlet.heard, [])

    def test_nothing_goes_back_where_there_is_nothing(self) -> None:
        subscription = self.start()
        self.deliver(1)
        subscription.end()
        self.assertEqual(self.consumer.answered, [("ack", 1, True)])

    def test_a_sessions_own_queue_goes_with_it(self) -> None:
        self.start("/topic/a", acks=True).end()
        self.assertTrue(self.consumer.deleted)

    def test_it_may_end_before_the_broker_has_answered(self) -> None:
        self.link.held = True
        for text, bound in (("/queue/jobs", False), ("/topic/a", False), ("/topic/a", True)):
            self.answers.clear()
            subscription = self.start(text)
            if bound:
                self.link.consuming[-1].callback(self.consumer)
            subscription.end()
            self.assertEqual(
                str(self.refusal()), "It was unsubscribed before the broker had answered."
            )
            if bound:
                self.consumer.answers[0].errback(MISSING)
            else:
                self.link.consuming[-1].callback(self.consumer)
            self.assertTrue(self.consumer.cancelled)
        refused = self.start()
        refused.end()
        self.link.consuming[-1].errback(MISSING)
        self.assertEqual(len(self.link.consumers), 4)

    def test_or_while_it_waits_to_try_again(self) -> None:
        self.link.consume_errors = [NotReady("away")]
        self.start(patient=True).end()
        self.assertIsInstance(self.refusal(), Conflict)

    def test_a_sending_that_is_its_end_is_not_acknowledged(self) -> None:
        subscription = self.start()
        self.outlet.on_send = subscription.end
        self.deliver(1)
        self.assertEqual(self.consumer.answered, [])
        self.assertTrue(self.consumer.cancelled)

    def test_an_answer_that_is_its_end_sends_nothing(self) -> None:
        subscription = self.make()
        subscription.start().addCallback(lambda _: subscription.end())
        self.deliver(1)
        self.assertEqual(self.outlet.heard, [])


class LossTests(QueueCase):
    """The link, the broker or the queue go away."""

    def test_tags_of_a_lost_connection_are_not_found_and_what_waits_is_not_sent(self) -> None:
        subscription = self.start(acks=True)
        self.deliver(1, 2)
        self.outlet.room = 0
        self.deliver(3)
        self.consumer.voided = 3
        self.outlet.room = 10
        subscription.writable()
        self.assertEqual(len(self.outlet.frames), 1)
        for tag in (1, 2, 3):
            with self.assertRaises(NotFound):
                subscription.nack(tag, True, False)
        self.deliver(4, 5)
        subscription.ack(5, True)
        self.assertEqual(self.consumer.answered, [("ack", 5, True)])
        subscription.end()

    def test_nothing_goes_back_that_the_broker_has_taken_back(self) -> None:
        subscription = self.start(acks=True)
        self.deliver(1)
        self.consumer.voided = 1
        subscription.end()
        self.assertEqual(self.consumer.answered, [])

    def test_after_a_reconnect_it_is_not_declared_but_looked_for(self) -> None:
        self.link.consume_errors = [MISSING]
        self.start()
        self.assertTrue(self.consumer.queue.passive)

    def test_a_queue_that_the_broker_lost_is_made_again_and_a_gap_told(self) -> None:
        for text, acks in (("/queue/jobs", False), ("/topic/a", True)):
            self.outlet.heard.clear()
            subscription = self.start(text, acks=acks)
            self.deliver(1, 2)
            self.outlet.heard.clear()
            self.consumer.end(MISSING)
            self.clock.advance(1)
            self.assertEqual(self.outlet.heard, [Gap(parse(text))])
            self.deliver(1)
            if acks:
                # The tags go on.
                self.assertIn(b" #3 ", self.outlet.frames[0])
                with self.assertRaises(NotFound):
                    subscription.ack(2, False)
                subscription.ack(3, False)
            self.assertEqual(self.consumer.answered, [("ack", 1, not acks)])
            subscription.end()

    def test_made_again_it_waits_for_the_broker_or_is_told_its_refusal(self) -> None:
        self.start()
        self.consumer.end(MISSING)
        self.link.consume_errors = [NotReady("away"), REFUSED]
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.outlet.over, [(parse("/queue/jobs"), REFUSED)])
        self.assertEqual(self.answers, [None])

    def test_an_error_that_nobody_expected_ends_it_as_internal(self) -> None:
        self.start()
        self.consumer.end(MISSING)
        self.link.consume_errors = [ZeroDivisionError()]  # type: ignore[list-item]
        self.clock.advance(1)
        [(_, error)] = self.outlet.over
        self.assertEqual((type(error), error.code), (TwbridgeError, "internal"))

    def test_one_that_somebody_deleted_ends_it(self) -> None:
        for text in ("/queue/jobs", "/amq/queue/jobs"):
            self.outlet.over.clear()
            subscription = self.start(text)
            self.outlet.room = 0
            self.deliver(1)
            self.consumer.end(QueueDeleted())
            [(destination, error)] = self.outlet.over
            self.assertEqual((destination, error.code), (parse(text), "not_found"))
            self.outlet.room = 1
            subscription.writable()
            subscription.end()
            self.assertEqual((self.outlet.heard, self.consumer.cancelled), ([], False))

    def test_an_amq_queue_that_is_missing_after_a_reconnect_ends_it(self) -> None:
        self.start("/amq/queue/jobs")
        self.consumer.end(MISSING)
        self.assertEqual(self.outlet.over, [(parse("/amq/queue/jobs"), MISSING)])

    def test_an_ack_that_did_not_come_in_time_is_told_as_that(self) -> None:
        self.start(acks=True)
        words = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"
        self.consumer.end(ChannelClosed(406, words))
        [(_, error)] = self.outlet.over
        self.assertIsInstance(error, AckTimeout)

    def test_an_end_before_the_answer_is_the_answer(self) -> None:
        self.link.held = True
        self.start("/topic/a", acks=True)
        self.link.consuming[0].callback(self.consumer)
        self.consumer._on_end(REFUSED)
        self.assertIs(self.refusal(), REFUSED)
        self.link.release()
        self.assertEqual(self.outlet.over, [])

    def test_the_end_of_one_that_is_over_is_nobodys_concern(self) -> None:
        self.start().end()
        self.consumer.end(MISSING)
        self.assertEqual(self.outlet.over, [])

    def test_a_consumer_that_can_not_be_cancelled_is_left_to_the_broker(self) -> None:
        subscription = self.start()
        self.consumer.cancel = lambda delete=False: fail(REFUSED)  # type: ignore[method-assign]
        subscription.end()


class NodeTests(QueueCase):
    """A queue whose node is down is there: nobody makes another, and nothing is lost."""

    down = ChannelClosed(404, "home node 'a' of durable queue 'jobs' is down or inaccessible")

    def test_it_is_tried_again_without_a_gap(self) -> None:
        for text in ("/queue/jobs", "/amq/queue/jobs"):
            subscription = self.start(text)
            self.consumer.end(self.down)
            self.link.consume_errors = [self.down, self.down]
            for _ in range(3):
                self.clock.advance(1)
            self.deliver(1)
            self.assertEqual((len(self.outlet.heard), self.outlet.over), (1, []))
            self.assertTrue(self.consumer.asked.passive)
            self.outlet.heard.clear()
            subscription.end()

    def test_whoever_comes_then_is_told_that_it_is_not_ready_or_waits(self) -> None:
        self.link.consume_errors = [self.down]
        self.start()
        self.assertEqual(self.refusal().code, "not_ready")
        self.answers.clear()
        self.link.consume_errors = [self.down]
        self.start(patient=True)
        self.clock.advance(1)
        self.assertEqual(self.answers, [None])
