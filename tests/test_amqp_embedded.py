"""The link and the embedded broker, end to end."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.embedded import Network
from twbridge.amqp import Exchange, Link, LinkOptions, Queue, parse
from twbridge.errors import (
    ChannelClosed,
    NotReady,
    Unroutable,
)


class EmbeddedTests(SynchronousTestCase):
    """The link and the embedded broker, end to end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.link = Link(
            self.clock,
            parse("amqp://guest:guest@localhost"),
            options=LinkOptions(),
            connect=self.network.endpoint,
            random=lambda: 0.5,
        )
        self.link.start()
        self.network.pump()
        self.assertEqual(self.link.state, "ready")
        self.addCleanup(self._end)

    def _end(self) -> None:
        stopped = self.link.stop()
        self.network.advance(15)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def result(self, deferred: Any) -> Any:
        self.network.pump()
        return self.successResultOf(deferred)

    def error(self, deferred: Any, kind: type[Exception]) -> Any:
        self.network.pump()
        return self.failureResultOf(deferred, kind).value

    def test_a_message_goes_round(self) -> None:
        deliveries: list[Any] = []
        self.result(self.link.declare(Exchange("chat")))
        consumer = self.result(self.link.consume(Queue(), deliveries.append))
        self.result(consumer.bind("chat", "room.*"))
        headers = {"é": [1, -1, 0.1, None, True, b"\xff", {"n": 2**40}]}
        for body in (b"", b"caf\xc3\xa9", b"\xff\xfe\x00", b"x" * 300_000):
            self.result(
                self.link.publish("chat", "room.a", body, {"headers": headers}, mandatory=True)
            )
            delivery = deliveries.pop()
            self.assertEqual(delivery.body, body)
            self.assertEqual(delivery.headers, headers)
            self.assertEqual((delivery.exchange, delivery.routing_key), ("chat", "room.a"))
            self.assertEqual(delivery.properties["app_id"], "twbridge")
            self.assertTrue(consumer.ack(delivery.delivery_tag))
        self.assertEqual(deliveries, [])

    def test_a_binding_refused_after_a_reconnect_leaves_no_queue_behind(self) -> None:
        """Without its consumer it would fill for ever."""
        self.result(self.link.declare(Exchange("gone", durable=False)))
        ends: list[Any] = []
        consumer = self.result(self.link.consume(Queue(), print, on_end=ends.append))
        self.result(consumer.bind("amq.topic", "#"))
        self.result(consumer.bind("gone", "#"))
        self.link._declared.clear()  # somebody else's exchange
        self.network.broker.vhost.delete_exchange("gone")
        self.network.broker.close_connections("restart")
        self.network.advance(10)
        self.assertEqual(self.link.state, "ready")
        self.assertEqual([error.reply_code for error in ends], [404])
        self.assertEqual(list(self.network.broker.vhost.queues), [])

    def test_what_nobody_takes_is_unroutable_when_mandatory(self) -> None:
        returned: list[Any] = []
        self.link.on_return(returned.append)
        self.result(self.link.publish("amq.topic", "k", b"x"))
        error = self.error(self.link.publish("amq.topic", "k", b"y", mandatory=True), Unroutable)
        self.assertEqual(error.reply_code, 312)
        self.assertEqual([each.body for each in returned], [b"y"])

    def test_a_missing_exchange_is_a_404_and_the_rest_goes_on(self) -> None:
        bad = self.link.publish("nope", "k", b"x")
        good = self.link.publish("amq.topic", "k", b"x")
        self.assertEqual(self.error(bad, ChannelClosed).code, "not_found")
        self.result(good)
        self.assertEqual(self.link.state, "ready")

    def test_a_missing_exchange_with_a_long_name_is_no_more_than_that(self) -> None:
        for name in ("é" * 127, "x" + "é" * 127):
            error = self.error(self.link.publish(name, "k", b"x"), ChannelClosed)
            self.assertEqual(error.reply_code, 404)
        self.assertEqual(self.link.state, "ready")

    def test_it_comes_back_when_the_broker_closes_everything(self) -> None:
        deliveries: list[Any] = []
        consumer = self.result(self.link.consume(Queue(), deliveries.append, no_ack=True))
        self.result(consumer.bind("amq.topic", "#"))
        reasons: list[Exception] = []
        self.link.on_unavailable(reasons.append)
        self.network.broker.close_connections("maintenance")
        self.network.pump()
        self.assertEqual(self.link.state, "connecting")
        self.assertEqual([getattr(each, "reply_code", None) for each in reasons], [320])
        self.network.advance(5)
        self.assertEqual(self.link.state, "ready")
        self.result(self.link.publish("amq.topic", "k", b"again"))
        self.assertEqual([each.body for each in deliveries], [b"again"])

    def test_unacknowledged_deliveries_come_again_after_a_reconnect(self) -> None:
        deliveries: list[Any] = []
        queue = Queue("kept", exclusive=False, auto_delete=False)
        consumer = self.result(self.link.consume(queue, deliveries.append, prefetch=2))
        for number in range(3):
            self.result(self.link.publish("", "kept", b"%d" % number))
        self.assertEqual([each.body for each in deliveries], [b"0", b"1"])
        consumer.ack(deliveries[0].delivery_tag)
        self.network.pump()
        self.network.broker.close_connections("test")
        self.network.advance(5)
        self.assertEqual([each.body for each in deliveries[3:]], [b"1", b"2"])
        self.assertTrue(deliveries[3].redelivered)
        self.assertFalse(consumer.ack(deliveries[1].delivery_tag))
        self.assertTrue(consumer.ack(deliveries[3].delivery_tag))

    def test_a_queue_that_is_in_use_is_a_conflict(self) -> None:
        self.result(self.link.consume(Queue("q", exclusive=False, durable=True), lambda _: None))
        again = self.link.consume(Queue("q", exclusive=False), lambda _: None)
        self.assertEqual(self.error(again, ChannelClosed).code, "conflict")

    def test_a_queue_says_how_many_wait_and_consume(self) -> None:
        self.result(self.link.declare(Queue("q", durable=True, exclusive=False, auto_delete=False)))
        self.assertEqual(self.result(self.link.count("q")), (0, 0))
        for _ in range(3):
            self.result(self.link.publish("", "q", b"x"))
        self.assertEqual(self.result(self.link.count("q")), (3, 0))
        self.result(self.link.consume(Queue("q", passive=True), lambda _: None, prefetch=1))
        self.assertEqual(self.result(self.link.count("q")), (2, 1))

    def test_counting_a_queue_that_is_not_there_is_a_404_and_harms_no_other(self) -> None:
        self.result(self.link.declare(Queue("q", durable=True, exclusive=False, auto_delete=False)))
        missing, there = self.link.count("nope"), self.link.count("q")
        self.assertEqual(self.error(missing, ChannelClosed).reply_code, 404)
        self.assertEqual(self.result(there), (0, 0))

    def test_counting_while_the_link_is_down_fails_at_once(self) -> None:
        self.network.broker.close_connections("maintenance")
        self.network.pump()
        error = self.error(self.link.count("q"), NotReady)
        self.assertIn("the link is not up: ", str(error))
