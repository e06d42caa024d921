"""Requests that go back to their queue: one that may not run twice does not."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink
from tests.wsgi.worker_case import request
from twbridge.amqp import Link
from twbridge.errors import ConfirmTimeout, NotReady, OutcomeUnknown, TwbridgeError
from twbridge.wsgi.lanes import Work
from twbridge.wsgi.messages import ATTEMPT, UNTIL, encode
from twbridge.wsgi.returning import Returning


class FakeDelivery:
    def __init__(self, body: bytes) -> None:
        self.body = body


class FakeLease:
    """Remembers how it was answered."""

    void = False

    def __init__(self, method: str) -> None:
        self.delivery = FakeDelivery(encode(request(method=method)))
        self.answers: list[str] = []

    def ack(self) -> None:
        self.answers.append("ack")

    def nack(self, requeue: bool) -> None:
        self.answers.append("requeue" if requeue else "reject")


class ReturningTests(SynchronousTestCase):
    """What is given back."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.returning = Returning(
            cast(Link, self.link), "twbridge.wsgi.app", Clock().seconds, lambda: None
        )

    def give_back(self, method: str, error: TwbridgeError | None) -> tuple[Work, list[str]]:
        lease: Any = FakeLease(method)
        work = Work("1", "replies", lease, {"expiration": "30000"}, 0.0)
        self.returning.give_back(work)
        (sent,) = self.link.published
        self.assertEqual(lease.answers, [])
        if error is None:
            sent.answer.callback(None)
        else:
            sent.answer.errback(error)
        self.assertEqual(self.returning.count, 0)
        return work, lease.answers

    def test_it_is_done_with_when_the_broker_has_it_again(self) -> None:
        self.assertEqual(self.give_back("POST", None)[1], ["ack"])

    def test_what_was_not_sent_stays_as_it_is_and_may_run(self) -> None:
        work, answers = self.give_back("POST", NotReady("away"))
        self.assertEqual(answers, ["requeue"])
        self.assertTrue(self.returning.is_fresh(work))

    def test_what_may_be_there_already_is_not_put_there_twice(self) -> None:
        for error in (OutcomeUnknown("lost"), ConfirmTimeout("late")):
            del self.link.published[:]
            work, answers = self.give_back("POST", error)
            self.assertEqual(answers, ["ack"])
            self.assertFalse(self.returning.is_fresh(work))

    def test_but_what_only_reads_may_be(self) -> None:
        self.assertEqual(self.give_back("GET", OutcomeUnknown("lost"))[1], ["requeue"])


class UntilTests(SynchronousTestCase):
    """What has waited in the queue before counts."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.unix = 1_000_000.0
        self.returning = Returning(
            cast(Link, self.link),
            "twbridge.wsgi.app",
            self.clock.seconds,
            lambda: None,
            lambda: self.unix + self.clock.seconds(),
        )

    def work(self, **headers: Any) -> Work:
        """One that comes now, with 30 s."""
        lease: Any = FakeLease("GET")
        properties: Any = {"expiration": "30000", "headers": headers}
        return Work("1", "replies", lease, properties, self.clock.seconds())

    def given_back(self, until: Any, here: float = 2.0) -> str | None:
        """How long it has still, in milliseconds; None: it is dropped."""
        work = self.work(**{UNTIL: until})
        self.clock.advance(here)
        self.returning.give_back(work)
        self.clock.advance(-here)
        if not self.link.published:
            self.assertEqual(cast(Any, work.lease).answers, ["ack"])
            return None
        properties = self.link.published.pop().properties
        self.assertEqual(properties["headers"], {UNTIL: until})
        return str(properties["expiration"])

    def at(self, seconds: float) -> int:
        """So many seconds from its coming, by the clock of the bridge."""
        return round((self.unix + seconds) * 1000)

    def test_one_that_is_given_back_leaves_the_queue_when_it_would_have(self) -> None:
        self.assertEqual(self.given_back(self.at(10)), "8000")
        self.assertEqual(self.given_back(self.at(30)), "28000")
        self.assertIsNone(self.given_back(self.at(2)))

    def test_a_clock_that_is_a_little_off_gives_it_no_more_time(self) -> None:
        self.assertEqual(self.given_back(self.at(31)), "28000")
        self.assertIsNone(self.given_back(self.at(-1)))

    def test_one_that_is_wrong_says_nothing(self) -> None:
        for until in (self.at(-3), self.at(33), self.at(-1e6), self.at(1e6), "soon", None):
            self.assertEqual(self.given_back(until), "28000", until)

    def test_the_time_of_one_that_runs_again_began_with_its_run(self) -> None:
        work = self.work(**{UNTIL: self.at(10)})
        self.clock.advance(8)
        work.begun = self.clock.seconds()
        self.clock.advance(5)
        self.assertTrue(self.returning.repeat(work))
        properties = self.link.published.pop().properties
        self.assertEqual(properties["expiration"], "25000")
        self.assertEqual(properties["headers"], {ATTEMPT: 1, UNTIL: self.at(13 + 25)})

    def test_one_whose_time_is_over_does_not_run_again(self) -> None:
        work = self.work()
        self.clock.advance(30)
        self.assertFalse(self.returning.repeat(work))
        self.assertEqual(self.link.published, [])
