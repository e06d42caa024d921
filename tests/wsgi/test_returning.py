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
from twbridge.wsgi.messages import encode
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
