"""Publishing: one answer for each, whatever becomes of the connection."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from tests.client.scripted import CoreCase
from twbridge.client.errors import Refused
from twbridge.client.ports import Limits
from twbridge.errors import (
    ConfirmTimeout,
    Conflict,
    Forbidden,
    NotReady,
    OutcomeUnknown,
    TooLarge,
    TooMany,
    Unroutable,
)

FRAME = {"op": "publish", "id": "p1", "destination": "/topic/a", "body": "x"}


class AnswerTests(CoreCase):
    """What the bridge answers."""

    def test_it_is_done_when_the_bridge_says_published(self) -> None:
        self.open()
        done = self.publish()
        self.assertEqual(self.socket.take(), [FRAME])
        self.assertNoResult(done)
        self.socket.say("published", id="p1")
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.core.publishes), 0)

    def test_a_refusal_is_the_error_with_its_code(self) -> None:
        self.open()
        for code, kind in (
            ("unroutable", Unroutable),
            ("forbidden", Forbidden),
            ("unknown", OutcomeUnknown),
            ("timeout", ConfirmTimeout),
            ("rate_limited", Refused),
            ("internal", Refused),
        ):
            done = self.publish()
            self.socket.say("error", id="p1", code=code, message="No.")
            error = self.failureResultOf(done, kind).value
            self.assertEqual(error.code, code)
            self.assertIn("No.", str(error))

    def test_answers_come_in_any_order(self) -> None:
        self.open()
        first, second = self.publish("p1"), self.publish("p2")
        self.socket.say("published", id="p2")
        self.assertNoResult(first)
        self.successResultOf(second)
        self.socket.say("published", id="p1")
        self.successResultOf(first)
        self.socket.say("published", id="p1")
        self.socket.say("published", id="p9")
        self.socket.say("published", id=1)

    def test_the_id_of_one_that_waits_is_taken(self) -> None:
        self.open()
        done = self.publish()
        self.assertRaises(Conflict, self.publish)
        self.socket.say("published", id="p1")
        self.successResultOf(done)
        self.publish()

    def test_one_may_be_given_up(self) -> None:
        self.open()
        done = self.publish()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.socket.say("published", id="p1")
        self.reopen()
        self.assertEqual(self.socket.take(), [])


class ResendingTests(CoreCase):
    """Over connections."""

    def test_what_is_published_while_away_is_sent_in_order_when_it_is_open(self) -> None:
        for identity in ("p1", "p2", "p3"):
            self.publish(identity)
        self.core.start()
        self.socket.attempt.opened()
        self.assertEqual(self.socket.take(), [])
        self.socket.say("welcome")
        self.assertEqual([frame["id"] for frame in self.socket.take()], ["p1", "p2", "p3"])

    def test_what_has_no_answer_is_sent_again_with_its_id(self) -> None:
        self.open()
        first, second = self.publish("p1"), self.publish("p2")
        self.socket.say("published", id="p1")
        self.successResultOf(first)
        self.reopen()
        self.assertEqual(self.socket.take(), [FRAME | {"id": "p2"}])
        self.socket.say("published", id="p2")
        self.successResultOf(second)
        self.reopen()
        self.assertEqual(self.socket.take(), [])

    def test_one_that_the_state_hook_publishes_is_sent_once(self) -> None:
        def publish(state: str) -> None:
            if state == "open":
                self.publish("hook")

        self.core._hooks = type(self.core._hooks)(on_state=publish)
        self.open()
        self.assertEqual([frame["id"] for frame in self.socket.take()], ["hook"])

    def test_subscriptions_come_before_what_is_sent_again(self) -> None:
        self.publish()
        self.subscribe()
        self.open()
        self.assertEqual([frame["op"] for frame in self.socket.take()], ["subscribe", "publish"])

    def test_the_longest_of_those_that_close_the_connection_by_their_size_is_refused(self) -> None:
        self.publish("small", "x")
        self.open()
        large, small = self.publish("large", "x" * 100), self.publish("after", "x")
        self.socket.lose(1009, "The frame is too large.")
        waiting = self.publish("waiting", "x" * 200)
        error = self.failureResultOf(large, TooLarge).value
        self.assertEqual(str(error), "The frame is too large.")
        self.open()
        self.assertEqual([each["id"] for each in self.socket.take()], ["small", "after", "waiting"])
        self.assertNoResult(small)
        self.assertNoResult(waiting)

    def test_nothing_is_refused_for_a_size_where_nothing_was_sent(self) -> None:
        self.open().lose(1009)
        self.assertEqual(self.core.state, "waiting")


class TimeoutTests(CoreCase):
    """For want of an answer in time."""

    def test_what_was_never_sent_was_not_published(self) -> None:
        done = self.publish(timeout=2.0)
        self.clock.advance(2.0)
        self.assertEqual(
            str(self.failureResultOf(done, NotReady).value), "There was no connection in 2 s."
        )
        self.open()
        self.assertEqual(self.socket.take(), [])

    def test_what_was_sent_may_have_been(self) -> None:
        self.open()
        done = self.publish(timeout=2.0)
        self.socket.lose()
        self.clock.advance(2.0)
        self.assertEqual(self.failureResultOf(done, ConfirmTimeout).value.code, "timeout")

    def test_it_may_be_published_again_with_its_id(self) -> None:
        self.open()
        self.failureResultOf(self.late(), ConfirmTimeout)
        again = self.publish()
        self.assertEqual([frame["id"] for frame in self.socket.take()], ["p1", "p1"])
        self.socket.say("published", id="p1")
        self.successResultOf(again)

    def late(self) -> Deferred[None]:
        done = self.publish(timeout=2.0)
        self.clock.advance(2.0)
        return done

    def test_an_answer_in_time_ends_the_wait(self) -> None:
        self.open()
        done = self.publish(timeout=2.0)
        self.socket.say("published", id="p1")
        self.successResultOf(done)
        self.clock.advance(2.0)


class LimitTests(CoreCase):
    """What may wait."""

    limits = Limits(publishes=3, publish_bytes=1_000, send=500)

    def test_so_many_may_wait(self) -> None:
        kept = [self.publish(f"p{number}") for number in range(3)]
        with self.assertRaises(TooMany) as caught:
            self.publish("p3")
        self.assertEqual(str(caught.exception), "3 publishes wait for their answers already.")
        self.open()
        self.socket.say("published", id="p1")
        self.publish("p3")
        self.assertNoResult(kept[0])

    def test_so_many_bytes_may_wait(self) -> None:
        self.open()
        first = self.publish("p1", "x" * 400)
        self.publish("p2", "x" * 400)
        self.assertRaises(TooMany, self.publish, "p3", "x" * 400)
        self.socket.say("published", id="p1")
        self.successResultOf(first)
        self.publish("p3", "x" * 400)

    def test_one_that_the_bridge_would_not_take_is_refused_at_once(self) -> None:
        with self.assertRaises(TooLarge) as caught:
            self.publish("p1", "x" * 500)
        self.assertRegex(str(caught.exception), r"^The message takes 5\d\d bytes as JSON, 500 are")

    def test_what_the_bridge_says_that_it_takes_is_the_limit(self) -> None:
        early = self.publish("early", "x" * 300)
        self.open(limit=200)
        self.failureResultOf(early, TooLarge)
        with self.assertRaises(TooLarge) as caught:
            self.publish("p1", "\0" * 100)
        self.assertRegex(str(caught.exception), r" takes 6\d\d bytes as JSON, 200 are the limit\.$")
        self.publish("p2", "x" * 100)
        self.assertEqual([frame["id"] for frame in self.socket.take()], ["p2"])
        self.assertEqual(len(self.core.publishes), 1)

    def test_nobody_knows_of_one_that_the_next_bridge_does_not_take(self) -> None:
        self.open(limit=400)
        sent = self.publish("sent", "x" * 300)
        self.socket.lose()
        self.open(limit=200)
        self.failureResultOf(sent, OutcomeUnknown)

    def test_a_bridge_that_takes_more_changes_nothing(self) -> None:
        self.open(limit=5_000)
        self.assertRaises(TooLarge, self.publish, "p1", "x" * 500)


class EndTests(CoreCase):
    """When the client ends."""

    def test_what_was_sent_may_have_been_published_and_the_rest_was_not(self) -> None:
        self.open()
        sent = self.publish("p1")
        self.socket.lose()
        waiting = self.publish("p2")
        self.core.close()
        self.failureResultOf(sent, OutcomeUnknown)
        self.failureResultOf(waiting, NotReady)

    def test_they_learn_why_the_bridge_does_not_want_the_client(self) -> None:
        self.open()
        sent = self.publish("p1")
        self.socket.lose(4503, "You may not.")
        self.assertEqual(str(self.failureResultOf(sent, OutcomeUnknown).value), "You may not.")
