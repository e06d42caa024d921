"""A queue of one's own goes on, whatever happens around it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeConsumer, FakeLink
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


class BindingTests(SynchronousTestCase):
    """What is wanted may change while it is bound."""

    def setUp(self) -> None:
        self.lost: list[None] = []
        self.link = FakeLink()
        self.link.held = True
        link: Any = self.link
        self.queue = OwnQueue(
            link, Clock(), EXCHANGE, lambda _: None, on_lost=lambda: self.lost.append(None)
        )
        self.started = self.queue.start()

    def begin(self, *keys: str) -> FakeConsumer:
        """The queue is there; the first binding was asked for, and is not answered."""
        for key in keys:
            self.queue.bind(key)
        self.link.declaring[0].callback(None)
        (consumer,) = self.link.consumers
        self.link.consuming[0].callback(consumer)
        self.assertEqual(consumer.binds, [("things", keys[0])])
        return consumer

    def end(self) -> None:
        """All is answered."""
        while not self.started.called:
            self.link.consumers[0].answers[-1].callback(None)
        self.successResultOf(self.started)

    def test_a_key_that_is_unbound_before_its_turn_is_not_bound(self) -> None:
        consumer = self.begin("a", "b")
        self.queue.unbind("b")
        self.end()
        self.assertEqual(consumer.binds, [("things", "a")])

    def test_one_that_is_unbound_in_its_turn_does_not_stay(self) -> None:
        consumer = self.begin("a", "b")
        self.queue.unbind("a")
        self.end()
        self.assertEqual(consumer.bindings, [("things", "b")])

    def test_one_that_was_bound_already_does_not_stay(self) -> None:
        consumer = self.begin("a", "b")
        consumer.answers[0].callback(None)
        self.queue.unbind("a")
        self.end()
        self.assertEqual(consumer.bindings, [("things", "b")])

    def test_one_that_is_wanted_again_is_bound_anew(self) -> None:
        consumer = self.begin("a")
        self.queue.unbind("a")
        self.queue.bind("a", {"x-match": "all"})
        self.end()
        self.assertEqual(consumer.binds, [("things", "a")] * 2)
        self.assertEqual(consumer.bindings, [("things", "a")])

    def test_more_may_be_wanted_meanwhile(self) -> None:
        consumer = self.begin("a")
        self.queue.bind("b")
        self.end()
        self.assertEqual(consumer.bindings, [("things", "a"), ("things", "b")])

    def test_a_link_that_is_lost_meanwhile_is_told(self) -> None:
        lost: Any = self.begin("a")
        lost.on_lost()
        self.assertEqual(len(self.lost), 1)
        self.end()

    def test_what_was_bound_is_forgotten_when_it_is_stopped(self) -> None:
        self.begin("a")
        self.end()
        self.queue.stop()
        self.link.held = False
        self.successResultOf(self.queue.start())
        self.assertEqual(self.link.consumers[-1].binds, [])
