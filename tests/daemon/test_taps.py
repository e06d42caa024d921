"""The bus and the messages: plugins see what arrives and send what they like."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakeSubscriber, delivery
from twbridge.bus import AMQP2WS, WS2AMQP, Bus, BusError
from twbridge.daemon.taps import AGAIN, Taps
from twbridge.destinations import parse
from twbridge.errors import BadDestination, ChannelClosed
from twbridge.hub import Hub
from twbridge.wire import Delivery


class TapsTests(SynchronousTestCase):
    """A bus, a hub and a link, joined."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.bus = Bus(lambda channel: self.taps.open(self.hub) if channel == AMQP2WS else None)
        self.taps = Taps(
            self.bus,
            self.link,
            self.clock,
            [parse("/topic/chat.#"), parse("/topic/chat.#"), parse("/exchange/other/k")],
            parse("/topic/chat.out"),
        )
        self.hub = Hub(self.link, self.clock, on_delivery=self.taps.delivered)
        self.seen: list[bytes] = []

    def see(self, delivery: Delivery) -> None:
        self.seen.append(delivery.body)

    def published(self) -> list[tuple[str, str, bytes, Any, bool]]:
        return [
            (each.exchange, each.routing_key, each.body, each.properties, each.mandatory)
            for each in self.link.published
        ]

    def test_without_a_listener_nothing_is_subscribed(self) -> None:
        self.assertEqual(self.link.consumers, [])

    def test_a_listener_sees_every_body_though_no_client_is_there(self) -> None:
        self.bus.subscribe(AMQP2WS, self.see)
        topic, other = self.link.consumers
        self.assertEqual(topic.bindings, [("amq.topic", "chat.#")])
        topic.deliver(delivery("chat.a", b"\xff1"), delivery("chat.b", b""))
        other.deliver(delivery("k", b"2", "other"))
        self.assertEqual(self.seen, [b"\xff1", b"", b"2"])

    def test_it_sees_each_message_once_however_many_clients_there_are(self) -> None:
        self.bus.subscribe(AMQP2WS, self.see)
        for _ in range(3):
            self.hub.subscribe(parse("/topic/chat.a"), FakeSubscriber())
        self.link.consumers[0].deliver(delivery("chat.a", b"1"))
        self.assertEqual(self.seen, [b"1"])

    def test_one_that_fails_is_logged_and_keeps_nothing_from_anybody(self) -> None:
        def fail(delivery: Delivery) -> None:
            raise ValueError("broken")

        client = FakeSubscriber()
        self.hub.subscribe(parse("/topic/chat.a"), client)
        self.bus.subscribe(AMQP2WS, fail, 1)
        self.bus.subscribe(AMQP2WS, self.see)
        self.link.consumers[0].deliver(delivery("chat.a", b"1"))
        self.link.read()
        self.assertEqual(self.seen, [b"1"])
        self.assertEqual(len(client.frames), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_subscription_that_the_broker_refuses_is_asked_for_again(self) -> None:
        self.link.refused["other"] = ChannelClosed(404, "NOT_FOUND")
        self.bus.subscribe(AMQP2WS, self.see)
        del self.link.refused["other"]
        before = len(self.link.consumers)
        self.clock.advance(AGAIN)
        self.assertEqual(len(self.link.consumers), before + 1)
        self.link.consumers[-1].deliver(delivery("k", b"1", "other"))
        self.assertEqual(self.seen, [b"1"])

    def test_the_end_leaves_no_timer(self) -> None:
        self.link.refused["other"] = ChannelClosed(404, "NOT_FOUND")
        self.bus.subscribe(AMQP2WS, self.see)
        self.hub.stop()
        self.taps.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ws2amqp_publishes_to_the_first_route_or_where_it_is_told(self) -> None:
        self.bus.publish(WS2AMQP, b"\xff")
        self.bus.publish(WS2AMQP, "é", "/exchange/x/k")
        self.bus.publish(WS2AMQP, b"", parse("/queue/q"))
        text = {"content_type": "text/plain; charset=utf-8"}
        self.assertEqual(
            self.published(),
            [
                ("amq.topic", "chat.out", b"\xff", None, False),
                ("x", "k", "é".encode(), text, False),
                ("", "q", b"", None, True),
            ],
        )

    def test_ws2amqp_answers_with_the_brokers_confirm(self) -> None:
        (done,) = self.bus.publish(WS2AMQP, b"1")
        self.assertNoResult(done)
        self.link.published[0].answer.callback(None)
        self.successResultOf(done)

    def test_ws2amqp_to_nowhere_fails(self) -> None:
        error = self.assertRaises(BusError, self.bus.publish, WS2AMQP, b"1", "nowhere")
        self.assertIsInstance(error.failures[0], BadDestination)
