"""Quorum queues count what comes back, and keep the others' promises."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire
from twbridge.broker.quorum import PREFETCH

Basic, Queue = commands.Basic, commands.Queue


class QuorumTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)

    def quorum(self, letters: bytes = b"", **arguments: Any) -> None:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.client.queue("q", durable=True, arguments={"x-queue-type": "quorum", **given})
        for letter in letters:
            self.client.publish("", "q", bytes([letter]))

    def count(self) -> Any:
        """``x-delivery-count`` of the one message that came last."""
        (event,) = self.client.last
        assert isinstance(event, wire.Delivery)
        return event.properties.get("headers", {}).get("x-delivery-count")

    def test_basic_get_tells_even_that_it_never_came_back(self) -> None:
        self.quorum(b"a")
        self.client.call(Basic.Get(queue="q"))
        (event,) = self.client.last
        assert isinstance(event, wire.Content)
        self.assertEqual(event.properties["headers"], {"x-delivery-count": 0})

    def test_it_tells_how_often_a_message_came_back(self) -> None:
        self.quorum(b"a")
        self.client.consume()
        counts = []
        for tag in range(1, 4):
            self.client.nack(tag)
            counts.append(self.count())
        self.assertEqual(counts, [1, 2, 3])

    def test_past_the_limit_it_is_dropped_and_costs_nothing(self) -> None:
        self.quorum(b"a", x_delivery_limit=2)
        self.client.consume()
        self.assertEqual(self.client.nack(1), ["deliver c 2 a again"])
        self.assertEqual(self.client.nack(2), ["deliver c 3 a again"])
        self.assertEqual(self.client.nack(3), [])
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_a_lost_connection_counts(self) -> None:
        self.quorum(b"ab", x_delivery_limit=0)
        other = Client(self.client.vhost)
        other.call(Basic.Qos(prefetch_count=1))
        other.consume()
        other.connection.lost()
        self.assertEqual(self.client.consume(), ["basic.consumeok c", "deliver c 1 b"])

    def test_its_dead_letters_are_without_the_count(self) -> None:
        self.client.queue("dead")
        self.client.consume("dead", "d", no_ack=True)
        way = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
        self.quorum(b"a", x_delivery_limit=0, **way)
        self.client.consume()
        self.client.nack(1)
        self.assertIsNone(self.count())

    def test_a_consumer_without_a_prefetch_has_one(self) -> None:
        self.quorum()
        self.client.consume()
        for _ in range(PREFETCH + 1):
            self.client.publish("", "q")
        self.assertEqual(self.client.vhost.queues["q"].message_count, 1)

    def test_full_it_refuses_until_it_is_clearly_below(self) -> None:
        self.quorum(x_max_length=5, x_overflow="reject-publish")
        self.client.call(commands.Confirm.Select())
        answers = [self.client.publish("", "q") for _ in range(7)]
        self.assertEqual(answers[5:], [["ack 6"], ["nack 7"]])
        self.client.call(Basic.Get(queue="q", no_ack=True))
        self.assertEqual(self.client.publish("", "q"), ["nack 8"])
        self.client.call(Basic.Get(queue="q", no_ack=True))
        self.assertEqual(self.client.publish("", "q"), ["ack 9"])

    def test_deleted_with_messages_held_it_costs_nothing(self) -> None:
        self.quorum(b"ab")
        self.client.consume()
        self.client.call(Queue.Delete(queue="q"))
        self.client.nack(0, multiple=True)
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_a_limit_that_is_no_number_is_refused(self) -> None:
        for limit in (-1, "3", None):
            self.client.call(
                Queue.Declare(
                    queue="q",
                    durable=True,
                    arguments={"x-queue-type": "quorum", "x-delivery-limit": limit},
                )
            )
            self.client.call(commands.Channel.CloseOk())
            self.client.call(commands.Channel.Open())
        self.assertNotIn("q", self.client.vhost.queues)
