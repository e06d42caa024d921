"""A queue of one's own goes on, whatever happens around it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail

from tests.rpc.cases import CallerCase
from twbridge.amqp import Exchange
from twbridge.rpc.ownqueue import RETRY, OwnQueue

EXCHANGE = Exchange("things", "topic")


class OwnQueueTests(CallerCase):
    """What nobody expects is logged, and the queue is made all the same."""

    def own(self, link: Any, **owner: Any) -> OwnQueue:
        queue = OwnQueue(link, self.clock, EXCHANGE, lambda _: None, **owner)
        self.addCleanup(lambda: self.result(queue.stop()))
        return queue

    def test_an_error_that_nobody_expects_ends_one_attempt_only(self) -> None:
        link = self.link()
        self.patch(link, "declare", lambda _: fail(ZeroDivisionError()))
        queue = self.own(link)
        self.error(queue.start(), ZeroDivisionError)
        del link.declare
        self.assertEqual(queue.name, "")
        self.network.advance(RETRY)
        self.assertTrue(queue.name)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_owner_that_breaks_ends_nothing(self) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        queue = self.own(self.link(), on_up=broken, on_lost=broken)
        self.assertIsNone(self.result(queue.start()))
        self.restart()
        self.assertTrue(queue.name)
        vhost = self.network.broker.vhost
        vhost.delete_queue(vhost.queues[queue.name])
        self.network.pump()
        self.assertTrue(queue.name)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_it_needs_no_exchange(self) -> None:
        link = self.link()
        heard: list[bytes] = []
        queue = OwnQueue(link, self.clock, None, lambda each: heard.append(each.body))
        self.addCleanup(lambda: self.result(queue.stop()))
        self.assertIsNone(self.result(queue.start()))
        self.result(link.publish("", queue.name, b"hello"))
        self.assertEqual(heard, [b"hello"])
