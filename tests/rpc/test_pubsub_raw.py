"""Subscriptions with bodies as they travel: they are told when messages may be missing."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeConsumer, FakeLink, delivery
from tests.rpc.cases import CallerCase
from twbridge.errors import ChannelClosed, QueueDeleted, Unroutable
from twbridge.rpc.messages import PUBSUB
from twbridge.rpc.pubsub import PubSub
from twbridge.rpc.serializers import Body, Serializers
from twbridge.wire import Delivery


class RawCase(SynchronousTestCase):
    """Before a link that a test drives."""

    def setUp(self) -> None:
        self.link = FakeLink()
        link: Any = self.link
        self.pubsub = PubSub(link, Clock(), Serializers())
        self.told: list[tuple[str, Any]] = []

    def subscribe(self, channel: str) -> Any:
        """All that is told of it is in ``told``, with its name."""
        hooks = [partial(self.told.append, (channel, each)) for each in ("gap", "up", "end")]
        return self.pubsub.subscribe_raw(channel, self.hear, *hooks)

    def hear(self, channel: str, body: Body) -> None:
        self.told.append((channel, body.data))

    @property
    def consumer(self) -> FakeConsumer:
        return self.link.consumers[-1]

    def take(self) -> list[tuple[str, Any]]:
        """What was told since the last look."""
        told = self.told[:]
        self.told.clear()
        return told


class GapTests(RawCase):
    """From a gap on messages may be missing, until it is up."""

    def lose(self) -> None:
        lost: Any = self.consumer
        lost.on_lost()

    def test_a_link_that_is_lost_is_told_and_that_it_is_back(self) -> None:
        self.successResultOf(self.subscribe("a"))
        self.assertEqual(self.take(), [])
        self.lose()
        self.assertEqual(self.take(), [("a", "gap")])
        self.consumer.established()
        self.assertEqual(self.take(), [("a", "up")])
        self.consumer.established()
        self.assertEqual(self.take(), [])

    def test_a_subscription_that_never_stood_is_told_by_its_deferred_alone(self) -> None:
        self.successResultOf(self.subscribe("a"))
        self.link.held = True
        subscribing = self.subscribe("b")
        self.lose()
        self.consumer.established()
        self.assertEqual(self.take(), [("a", "gap"), ("a", "up")])
        self.assertNoResult(subscribing)
        self.link.release()
        self.successResultOf(subscribing)
        self.assertEqual(self.take(), [])

    def test_what_came_before_it_is_up_does_not_end_the_gap(self) -> None:
        for channel in ("a", "b"):
            self.successResultOf(self.subscribe(channel))
        self.link.held = True
        self.consumer.end(QueueDeleted())
        self.take()
        self.link.declaring[-1].callback(None)
        self.link.consuming[-1].callback(self.consumer)
        self.consumer.answers[0].callback(None)
        self.consumer.deliver(delivery("a", b"1"))
        self.assertEqual(self.take(), [("a", b"1")])
        self.lose()  # while b is bound
        self.assertEqual(self.take(), [("a", "gap"), ("b", "gap")])
        self.link.release()
        self.assertEqual(self.take(), [("a", "up"), ("b", "up")])

    def test_a_message_whose_properties_can_not_be_read_is_a_gap(self) -> None:
        for channel in ("a", "b"):
            self.successResultOf(self.subscribe(channel))
        self.consumer.deliver(Delivery(1, "ctag", 1, False, PUBSUB, "a", b"\x80\x00\xff", b"1"))
        self.assertEqual(self.take(), [("a", "gap"), ("a", "up")])
        self.consumer.deliver(delivery("a", b"2"))
        self.assertEqual(self.take(), [("a", b"2")])

    def test_one_that_breaks_when_it_is_told_harms_no_other(self) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        self.successResultOf(self.pubsub.subscribe_raw("a", self.hear, broken, broken, broken))
        self.successResultOf(self.subscribe("b"))
        self.lose()
        self.consumer.established()
        self.successResultOf(self.pubsub.stop())
        self.assertEqual(self.take(), [("b", "gap"), ("b", "up"), ("b", "end")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)


class EndTests(RawCase):
    """Stop ends all subscriptions."""

    def test_those_that_stood_are_told(self) -> None:
        self.successResultOf(self.subscribe("a"))
        self.link.held = True
        pending = self.subscribe("b")
        self.pubsub.stop()
        self.link.release()
        self.assertEqual(self.take(), [("a", "end")])
        pending.addErrback(lambda failure: failure.trap(ChannelClosed))

    def test_who_subscribes_then_begins_anew(self) -> None:
        def again() -> None:
            self.successResultOf(self.subscribe("b"))

        self.successResultOf(self.pubsub.subscribe_raw("a", self.hear, on_end=again))
        self.successResultOf(self.pubsub.stop())
        self.consumer.deliver(delivery("a", b"1"), delivery("b", b"2"))
        self.assertEqual(self.take(), [("b", b"2")])


class StoppedTests(CallerCase):
    """A caller that was stopped and starts again."""

    def test_it_is_bound_to_nothing_that_it_was_subscribed_to(self) -> None:
        caller = self.caller()
        self.result(caller.subscribe("old", print))
        self.result(caller.stop())
        self.result(caller.start())
        self.result(caller.subscribe("new", print))
        self.error(caller.link.publish(PUBSUB, "old", b"", mandatory=True), Unroutable)
