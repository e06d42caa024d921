"""Queues with ``x-expires`` go when they are not used, and not before."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client

Basic, Queue = commands.Basic, commands.Queue


class ExpiryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.clock = self.client.clock
        self.vhost = self.client.vhost

    def declare(self, milliseconds: int = 1000, **properties: Any) -> None:
        self.client.queue("q", arguments={"x-expires": milliseconds}, **properties)

    def there(self) -> bool:
        return "q" in self.vhost.queues

    def test_an_unused_one_goes_with_its_bindings_and_messages(self) -> None:
        self.declare()
        self.client.call(Queue.Bind(queue="q", exchange="amq.topic", routing_key="#"))
        self.client.publish("", "q")
        self.clock.advance(0.999)
        self.assertTrue(self.there())
        self.clock.advance(0.001)
        self.assertFalse(self.there())
        self.assertEqual(self.vhost.exchanges["amq.topic"].bindings, {})
        self.assertEqual(self.vhost.memory.used, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_publishing_and_binding_are_no_use_of_it(self) -> None:
        self.declare()
        self.clock.advance(0.9)
        self.client.publish("", "q")
        self.client.call(Queue.Bind(queue="q", exchange="amq.topic", routing_key="#"))
        self.client.call(Queue.Purge(queue="q"))
        self.clock.advance(0.1)
        self.assertFalse(self.there())

    def test_declaring_and_getting_are(self) -> None:
        for use in (
            Queue.Declare(queue="q", arguments={"x-expires": 1000}),
            Queue.Declare(queue="q", passive=True),
            Basic.Get(queue="q"),
        ):
            self.declare()
            self.clock.advance(0.9)
            self.client.call(use)
            self.clock.advance(0.9)
            self.assertTrue(self.there(), use)
            self.clock.advance(0.2)
            self.assertFalse(self.there(), use)

    def test_it_stays_while_it_has_consumers(self) -> None:
        self.declare()
        self.client.consume("q", "c")
        self.client.consume("q", "d")
        self.clock.advance(100)
        self.client.call(Basic.Cancel(consumer_tag="c"))
        self.clock.advance(100)
        self.assertTrue(self.there())
        self.client.call(Basic.Cancel(consumer_tag="d"))
        self.clock.advance(0.9)
        self.assertTrue(self.there())
        self.clock.advance(0.2)
        self.assertFalse(self.there())

    def test_a_client_that_is_lost_begins_the_time(self) -> None:
        self.declare()
        other = Client(self.vhost)
        other.consume("q", "c")
        self.clock.advance(100)
        other.connection.lost()
        self.clock.advance(0.9)
        self.assertTrue(self.there())
        self.clock.advance(0.2)
        self.assertFalse(self.there())

    def test_deleting_it_leaves_nothing_to_the_clock(self) -> None:
        self.declare()
        self.client.call(Queue.Delete(queue="q"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.client.queue("q")
        self.clock.advance(100)
        self.assertTrue(self.there())

    def test_an_auto_delete_queue_goes_with_its_last_consumer(self) -> None:
        self.declare(auto_delete=True)
        self.client.consume("q", "c")
        self.client.call(Basic.Cancel(consumer_tag="c"))
        self.assertFalse(self.there())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ten_years_is_the_longest(self) -> None:
        self.declare(315_360_000_000)
        self.clock.pump([86400.0] * 3649)
        self.assertTrue(self.there())
        self.clock.pump([86400.0])
        self.assertFalse(self.there())

    def test_the_host_stops_without_a_timer_left(self) -> None:
        self.declare()
        self.vhost.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
