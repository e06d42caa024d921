"""Channels: to all that are subscribed, in order, and to nobody else."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import globalLogPublisher

from tests.rpc.cases import CallerCase
from twbridge.amqp import Queue
from twbridge.errors import BadBody, ChannelClosed, EncodeError, NotReady, Unroutable
from twbridge.rpc.caller import Caller
from twbridge.rpc.consuming import RETRY
from twbridge.rpc.messages import PUBSUB


class PubSubTests(CallerCase):
    """Callers publish and subscribe."""

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[tuple[str, Any]] = []

    def hear(self, channel: str, value: Any) -> None:
        self.heard.append((channel, value))

    def subscribed(self, channel: str, caller: Caller | None = None) -> Caller:
        caller = caller or self.caller()
        self.result(caller.subscribe(channel, self.hear))
        return caller

    def delete_own_queues(self) -> None:
        vhost = self.network.broker.vhost
        for queue in [each for each in vhost.queues.values() if not each.name.startswith("twb")]:
            vhost.delete_queue(queue)
        self.network.pump()

    def test_a_message_reaches_all_that_are_subscribed(self) -> None:
        callers = [self.subscribed("news") for _ in range(3)]
        for value in (None, "text", [1], b"\x00", "x" * 50_000):
            self.result(callers[0].publish("news", value))
            self.assertEqual(self.heard, [("news", value)] * 3)
            self.heard.clear()

    def test_before_any_subscriber_exists_it_reaches_nobody_and_fails_nobody(self) -> None:
        caller = self.caller()
        self.assertIsNone(self.result(caller.publish("news", 1)))
        self.assertIsNone(self.result(caller.publish("news", 2)))
        self.subscribed("news")
        self.result(caller.publish("news", 3))
        self.assertEqual(self.heard, [("news", 3)])

    def test_patterns_match_as_topics_do_and_a_message_comes_once_for_each(self) -> None:
        caller = self.caller()
        for channel in ("a.*", "a.#", "b"):
            self.subscribed(channel, caller)
        for channel in ("a.b", "a", "a.b.c", "b", "c"):
            self.result(caller.publish(channel, 1))
        self.assertEqual([each for each, _ in self.heard], ["a.b", "a.b", "a", "a.b.c", "b"])

    def test_who_has_unsubscribed_hears_nothing_more(self) -> None:
        caller = self.subscribed("news")
        self.result(caller.unsubscribe("news", self.hear))
        self.result(caller.publish("news", 1))
        self.assertEqual(self.heard, [])
        self.assertIsNone(self.result(caller.unsubscribe("news")))
        self.assertIsNone(self.result(caller.unsubscribe("never", print)))
        self.error(caller.link.publish(PUBSUB, "news", b"", mandatory=True), Unroutable)

    def test_one_callback_less_is_not_all(self) -> None:
        caller = self.subscribed("news")
        others: list[Any] = []
        other = lambda channel, value: others.append(value)  # noqa: E731
        self.result(caller.subscribe("news", other))
        self.result(caller.unsubscribe("news", other))
        self.result(caller.publish("news", 1))
        self.assertEqual((self.heard, others), ([("news", 1)], []))
        self.result(caller.subscribe("news", other))
        self.result(caller.unsubscribe("news"))
        self.result(caller.publish("news", 2))
        self.assertEqual((self.heard, others), ([("news", 1)], []))

    def test_a_subscription_outlives_the_connection_and_its_queue(self) -> None:
        caller, other = self.subscribed("news"), self.caller()
        self.restart()
        self.result(other.publish("news", 1))
        self.delete_own_queues()
        self.result(other.publish("news", 2))
        self.assertEqual(self.heard, [("news", 1), ("news", 2)])
        self.assertEqual(len(caller), 0)

    def test_what_can_not_be_read_is_passed_over(self) -> None:
        caller = self.subscribed("news")
        properties = {"content_type": "application/json"}
        self.result(caller.link.publish(PUBSUB, "news", b"{", properties))
        self.result(caller.link.publish(PUBSUB, "news", b"\xff"))
        self.assertEqual(self.heard, [("news", b"\xff")])

    def test_a_subscriber_that_fails_harms_no_other(self) -> None:
        caller = self.caller()

        def broken(_channel: str, _value: Any) -> None:
            raise ZeroDivisionError

        async def broken_later(_channel: str, _value: Any) -> None:
            raise ZeroDivisionError

        for callback in (broken, broken_later):
            self.result(caller.subscribe("news", callback))
        self.subscribed("news", caller)
        self.result(caller.publish("news", 1))
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.heard, [("news", 1)])

    def test_what_makes_no_sense_is_refused(self) -> None:
        caller = self.caller()
        for kind, done in (
            (EncodeError, caller.publish("", 1)),
            (EncodeError, caller.publish("x" * 256, 1)),
            (EncodeError, caller.subscribe("", print)),
            (BadBody, caller.publish("news", object())),
        ):
            self.error(done, kind)

    def test_a_subscription_that_is_not_up_in_time_is_none(self) -> None:
        link = self.link(started=False, timeout=5.0)
        caller = self.caller(link, started=False)
        caller.start().addErrback(lambda _: None)
        subscribing = caller.subscribe("news", self.hear)
        self.network.advance(6)
        self.error(subscribing, NotReady)
        link.start()
        self.network.pump()
        self.result(caller.publish("news", 1))
        self.assertEqual(self.heard, [])
        self.subscribed("news", caller)
        self.result(caller.publish("news", 2))
        self.assertEqual(self.heard, [("news", 2)])

    def test_one_that_was_not_up_in_time_takes_no_other_with_it(self) -> None:
        link, others = self.link(timeout=5.0), list[Any]()
        caller = self.subscribed("news", self.caller(link))
        self.result(link.stop())
        late = caller.subscribe("news", lambda channel, value: others.append(value))
        self.network.advance(6)
        self.error(late, NotReady)
        link.start()
        self.network.advance(5)
        self.delete_own_queues()
        self.result(caller.publish("news", 1))
        self.assertEqual((self.heard, others), ([("news", 1)], []))

    def test_one_that_alone_is_left_and_then_refused_is_taken_back(self) -> None:
        link = self.link(timeout=5.0)
        caller = self.subscribed("news", self.caller(link))
        self.result(link.stop())
        late = caller.subscribe("news", print)
        self.result(caller.unsubscribe("news", self.hear))
        self.network.advance(6)
        self.error(late, NotReady)
        link.start()
        self.network.advance(5)
        self.error(link.publish(PUBSUB, "news", b"", mandatory=True), Unroutable)

    def test_what_can_not_be_declared_fails_the_publish_and_not_the_next(self) -> None:
        caller = self.caller()
        self.patch(caller.link, "declare", lambda _: fail(NotReady("no")))
        self.error(caller.publish("news", 1), NotReady)
        del caller.link.declare
        self.assertIsNone(self.result(caller.publish("news", 1)))

    def test_stop_ends_all_subscriptions(self) -> None:
        caller, other = self.subscribed("news"), self.caller()
        self.result(caller.stop())
        self.result(other.publish("news", 1))
        self.result(caller.start())
        self.result(other.publish("news", 2))
        self.assertEqual(self.heard, [])


class ConsumeTests(CallerCase):
    """Any queue goes to a callback."""

    def setUp(self) -> None:
        super().setUp()
        self.bodies: list[Any] = []
        self.publisher = self.link()
        self.complaints: list[Any] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: Any) -> None:
        if event["log_namespace"] == "twbridge.rpc.consuming" and "log_failure" not in event:
            self.complaints.append(event)

    def queue(self, name: str, *bodies: bytes) -> None:
        self.result(self.publisher.declare(Queue(name, True, False, False)))
        for body in bodies:
            self.result(self.publisher.publish("", name, body))

    def counts(self, name: str) -> Any:
        return self.result(self.publisher.count(name))

    def test_each_message_is_acknowledged_when_it_is_done(self) -> None:
        self.queue("q", b"1", b"2", b"3")
        later: list[Deferred[None]] = []

        def take(delivery: Any) -> Deferred[None]:
            self.bodies.append(caller.decode(delivery))
            later.append(Deferred())
            return later[-1]

        caller = self.caller()
        self.result(caller.consume("q", take, prefetch=2))
        self.assertEqual(self.bodies, [b"1", b"2"])
        later[0].callback(None)
        self.network.pump()
        self.assertEqual(self.bodies, [b"1", b"2", b"3"])
        self.result(caller.stop())
        self.assertEqual(self.counts("q"), (2, 0))
        for each in later[1:]:
            each.callback(None)

    def test_callbacks_may_be_plain_or_coroutines(self) -> None:
        async def take(delivery: Any) -> None:
            self.bodies.append(delivery.body)

        self.queue("q", b"1")
        self.queue("r", b"2")
        caller = self.caller()
        self.result(caller.consume("q", take))
        self.result(caller.consume("r", lambda delivery: self.bodies.append(delivery.body)))
        self.network.pump()
        self.assertEqual(self.bodies, [b"1", b"2"])
        self.result(caller.stop())
        self.assertEqual((self.counts("q"), self.counts("r")), ((0, 0), (0, 0)))

    def test_one_that_fails_is_given_back_once_and_then_rejected(self) -> None:
        self.queue("q", b"1", b"2")

        def take(delivery: Any) -> None:
            self.bodies.append((delivery.body, delivery.redelivered))
            if delivery.body == b"1":
                raise ZeroDivisionError

        caller = self.caller()
        self.result(caller.consume("q", take, prefetch=1))
        self.network.pump()
        self.assertEqual(self.bodies, [(b"1", False), (b"1", True), (b"2", False)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.result(caller.stop())
        self.assertEqual(self.counts("q"), (0, 0))

    def test_a_queue_that_is_not_there_is_a_404(self) -> None:
        error = self.error(self.caller().consume("nope", print), ChannelClosed)
        self.assertEqual(error.reply_code, 404)

    def test_a_queue_that_is_deleted_is_consumed_again_when_it_is_there_again(self) -> None:
        caller = self.caller()
        vhost = self.network.broker.vhost
        self.queue("q")
        self.result(caller.consume("q", lambda each: self.bodies.append(each.body)))
        for body in (b"1", b"2"):
            vhost.delete_queue(vhost.queues["q"])
            self.network.advance(2.5)
            self.publisher._declared.clear()
            self.queue("q", body)
            self.network.advance(RETRY)
            self.assertEqual(self.bodies[-1:], [body])
            self.assertEqual(self.counts("q"), (0, 1))
        self.assertEqual(len(self.complaints), 4)  # deleted, not found: each said once

    def test_ended_while_its_queue_is_away_it_is_not_tried_again(self) -> None:
        caller = self.caller()
        vhost = self.network.broker.vhost
        self.queue("q")
        consuming = self.result(caller.consume("q", print))
        vhost.delete_queue(vhost.queues["q"])
        self.network.pump()
        self.assertIsNone(self.result(consuming.cancel()))
        self.publisher._declared.clear()
        self.queue("q")
        self.network.advance(2 * RETRY)
        self.assertEqual(self.counts("q"), (0, 0))

    def test_what_it_fires_with_ends_it(self) -> None:
        self.queue("q")
        consumer = self.result(self.caller().consume("q", print))
        self.result(consumer.cancel())
        self.assertEqual(self.counts("q"), (0, 0))
