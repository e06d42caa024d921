"""Consumers: from the request to the acknowledgement."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.link.consumer_case import ConsumerCase
from twbridge.amqp import Consumer, Queue
from twbridge.errors import ChannelClosed, EncodeError, NotReady


class ConsumeTests(ConsumerCase):
    """From the request to the first delivery."""

    def test_it_is_there_when_the_broker_consumes(self) -> None:
        link = self.link()
        self.broker.silent = {commands.Basic.ConsumeOk}
        done = link.consume(Queue(), self.take)
        self.broker.pump()
        self.assertNoResult(done)
        [consume] = self.consuming.methods(commands.Basic.Consume)
        answer = commands.Basic.ConsumeOk(consume.consumer_tag)
        self.consuming.send(self.consuming.channel_of(commands.Basic.Consume), answer)
        self.assertIsInstance(self.successResultOf(done), Consumer)

    def test_the_queue_is_declared_as_it_was_asked_for(self) -> None:
        arguments = {"x-max-length": 10}
        queue = Queue("q", durable=True, exclusive=False, auto_delete=False, arguments=arguments)
        consumer = self.consumer(self.link(), queue, prefetch=7)
        [declare] = self.consuming.methods(commands.Queue.Declare)
        self.assertEqual(
            (declare.queue, declare.durable, declare.exclusive, declare.auto_delete),
            ("q", True, False, False),
        )
        self.assertEqual((declare.passive, declare.arguments), (False, arguments))
        [qos] = self.consuming.methods(commands.Basic.Qos)
        self.assertEqual((qos.prefetch_count, qos.global_), (7, False))
        [consume] = self.consuming.methods(commands.Basic.Consume)
        self.assertEqual((consume.queue, consume.no_ack), ("q", False))
        self.assertEqual(consumer.queue_name, "q")

    def test_a_queue_without_a_name_is_named_by_the_broker(self) -> None:
        consumer = self.consumer(self.link())
        self.assertTrue(consumer.queue_name.startswith("amq.gen-"))
        [consume] = self.consuming.methods(commands.Basic.Consume)
        self.assertEqual(consume.queue, consumer.queue_name)

    def test_without_acks_there_is_no_prefetch(self) -> None:
        self.consumer(self.link(), no_ack=True)
        self.assertEqual(self.consuming.methods(commands.Basic.Qos), [])
        self.assertTrue(self.consuming.methods(commands.Basic.Consume)[0].no_ack)

    def test_deliveries_go_to_their_own_consumer(self) -> None:
        link = self.link()
        other: list[bytes] = []
        self.consumer(link)
        done = link.consume(Queue(), lambda delivery: other.append(delivery.body))
        self.broker.pump()
        self.successResultOf(done)
        self.deliver(1, b"first", nth=0)
        self.deliver(1, b"second", nth=1)
        self.assertEqual((self.bodies, other), ([b"first"], [b"second"]))

    def test_a_callback_that_fails_is_logged_and_the_next_delivery_comes(self) -> None:
        link = self.link()
        done = link.consume(Queue(), lambda delivery: self.take(delivery) or 1 // 0)  # type: ignore[func-returns-value]
        self.broker.pump()
        self.successResultOf(done)
        self.deliver(1, b"1")
        self.deliver(2, b"2")
        self.assertEqual(self.bodies, [b"1", b"2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(link.state, "ready")

    def test_a_refused_queue_fails_with_its_code_and_harms_no_other(self) -> None:
        self.broker.missing = {"nope"}
        link = self.link()
        self.consumer(link)
        done = link.consume(Queue("nope", passive=True), self.take, on_end=self.ends.append)
        self.broker.pump()
        self.assertEqual(self.failed(done, ChannelClosed).reply_code, 404)
        self.assertEqual(self.ends, [])
        self.deliver(1, b"still here", nth=0)
        self.assertEqual(self.bodies, [b"still here"])
        self.reconnect()
        self.assertEqual(len(self.consuming.methods(commands.Queue.Declare)), 1)

    def test_asked_for_while_the_link_is_down_it_is_there_with_the_link(self) -> None:
        link = self.link(start=False)
        done = link.consume(Queue(), self.take)
        self.assertNoResult(done)
        link.start()
        self.broker.pump()
        consumer = self.successResultOf(done)
        self.assertTrue(consumer.queue_name)

    def test_asked_for_while_the_link_is_prepared_it_is_there_with_the_link(self) -> None:
        link = self.link(start=False)
        first = link.consume(Queue(), self.take)
        self.broker.silent = {commands.Basic.ConsumeOk}
        link.start()
        self.broker.pump()
        second = link.consume(Queue(), self.take)
        self.broker.silent = set()
        [consume] = self.consuming.methods(commands.Basic.Consume)
        answer = commands.Basic.ConsumeOk(consume.consumer_tag)
        self.consuming.send(self.consuming.channel_of(commands.Basic.Consume), answer)
        self.broker.pump()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(self.consuming.methods(commands.Basic.Consume)), 2)

    def test_a_link_that_stays_down_is_not_ready_and_the_consumer_is_forgotten(self) -> None:
        self.broker.unreachable = {"broker"}
        link = self.link(timeout=3)
        done = link.consume(Queue(), self.take)
        self.pass_time(2.75)
        self.assertNoResult(done)
        self.pass_time(0.5)
        self.failed(done, NotReady)
        self.broker.unreachable = set()
        self.pass_time(10)
        self.assertEqual(link.state, "ready")
        self.assertEqual(self.consuming.methods(commands.Basic.Consume), [])

    def test_a_queue_that_cannot_be_encoded_fails_its_caller_only(self) -> None:
        link = self.link()
        for queue in (Queue("x" * 256), Queue(arguments={"x": object()})):
            done = link.consume(queue, self.take)
            self.broker.pump()
            self.failed(done, EncodeError)
        self.assertEqual(link.state, "ready")
        self.consumer(link)

    def test_a_queue_that_cannot_be_encoded_does_not_keep_the_link_down(self) -> None:
        link = self.link(start=False)
        done = link.consume(Queue("x" * 256), self.take)
        link.start()
        self.broker.pump()
        self.failed(done, EncodeError)
        self.pass_time(1)
        self.assertEqual(link.state, "ready")


class BindTests(ConsumerCase):
    """Bindings."""

    def test_it_fires_when_the_broker_has_bound(self) -> None:
        consumer = self.consumer(self.link())
        done = consumer.bind("e", "a.#", {"x": 1})
        self.assertNoResult(done)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        [bind] = self.consuming.methods(commands.Queue.Bind)
        self.assertEqual(
            (bind.queue, bind.exchange, bind.routing_key, bind.arguments),
            (consumer.queue_name, "e", "a.#", {"x": 1}),
        )

    def test_the_same_binding_twice_is_asked_for_once(self) -> None:
        consumer = self.consumer(self.link())
        one, two = consumer.bind("e", "k"), consumer.bind("e", "k")
        self.broker.pump()
        three = consumer.bind("e", "k")
        for done in (one, two, three):
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.keys(), [("e", "k")])

    def test_after_a_reconnect_it_is_there_when_the_broker_says_so_again(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "k")
        self.broker.pump()
        self.broker.silent = {commands.Queue.BindOk}
        self.reconnect()
        done = consumer.bind("e", "k")
        self.assertNoResult(done)
        channel = self.consuming.channel_of(commands.Queue.Bind)
        self.consuming.send(channel, commands.Queue.BindOk())
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.keys(), [("e", "k")])

    def test_one_that_is_refused_after_a_reconnect_fails_who_waits_for_it(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "k")
        self.broker.pump()
        self.consuming.drop()
        done = consumer.bind("e", "k")
        self.broker.missing = {"e"}
        self.pass_time(5)
        self.assertEqual(self.failed(done, ChannelClosed).reply_code, 404)
        self.assertEqual(len(self.ends), 1)

    def test_bindings_that_differ_in_arguments_are_two(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "k", {"a": 1})
        consumer.bind("e", "k", {"a": 2})
        self.assertEqual(len(self.keys()), 2)

    def test_a_refused_binding_fails_alone_and_is_forgotten(self) -> None:
        self.broker.missing = {"nope"}
        consumer = self.consumer(self.link())
        bad, good = consumer.bind("nope", "k"), consumer.bind("e", "k")
        self.broker.pump()
        self.assertEqual(self.failed(bad, ChannelClosed).reply_code, 404)
        self.assertIsNone(self.successResultOf(good))
        self.assertEqual(self.ends, [])
        self.reconnect()
        self.assertEqual(self.keys(), [("e", "k")])

    def test_a_binding_that_cannot_be_encoded_fails_at_once_and_alone(self) -> None:
        consumer = self.consumer(self.link())
        self.successResultOf(self.pumped(consumer.bind("e", "first")))
        for key, arguments in (("x" * 256, None), ("k", {"x": object()})):
            self.failed(self.pumped(consumer.bind("e", key, arguments)), EncodeError)
        self.successResultOf(self.pumped(consumer.bind("e", "last")))
        self.reconnect()
        self.assertEqual(self.keys(), [("e", "first"), ("e", "last")])

    def pumped(self, deferred: Any) -> Any:
        self.broker.pump()
        return deferred

    def test_asked_for_while_down_it_is_made_when_the_link_is_back(self) -> None:
        consumer = self.consumer(self.link())
        self.consuming.drop()
        done = consumer.bind("e", "k")
        self.assertNoResult(done)
        self.pass_time(5)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.keys(), [("e", "k")])

    def test_a_link_that_stays_down_is_not_ready_and_the_binding_is_forgotten(self) -> None:
        consumer = self.consumer(self.link(timeout=3))
        self.broker.unreachable = {"broker"}
        self.consuming.drop()
        done = consumer.bind("e", "k")
        self.pass_time(3.5)
        self.failed(done, NotReady)
        self.broker.unreachable = set()
        self.pass_time(10)
        self.assertEqual(self.keys(), [])

    def test_unbound_it_is_taken_back_and_not_made_again(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "a")
        consumer.bind("e", "b")
        self.broker.pump()
        done = consumer.unbind("e", "a")
        self.assertNoResult(done)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.keys(commands.Queue.Unbind), [("e", "a")])
        self.reconnect()
        self.assertEqual(self.keys(), [("e", "b")])

    def test_unbound_while_down_it_is_not_made_again(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "a")
        self.broker.pump()
        self.consuming.drop()
        self.assertIsNone(self.successResultOf(consumer.unbind("e", "a")))
        self.pass_time(5)
        self.assertEqual(self.keys(), [])

    def test_unbinding_what_was_not_bound_asks_nothing(self) -> None:
        consumer = self.consumer(self.link())
        self.assertIsNone(self.successResultOf(consumer.unbind("e", "a")))
        self.assertEqual(self.keys(commands.Queue.Unbind), [])


class AcknowledgeTests(ConsumerCase):
    """Acks go to the delivery that they are for."""

    def test_acks_and_nacks_are_sent_as_asked(self) -> None:
        consumer = self.consumer(self.link())
        for tag in range(1, 6):
            self.deliver(tag)
        for sent in (
            consumer.ack(1),
            consumer.ack(3, multiple=True),
            consumer.nack(4),
            consumer.nack(5, requeue=False),
        ):
            self.assertTrue(sent)
        self.assertEqual(
            self.confirms(),
            [
                (1, False, True, False),
                (3, True, True, False),
                (4, False, False, True),
                (5, False, False, False),
            ],
        )

    def test_an_ack_from_before_a_reconnect_is_not_sent(self) -> None:
        consumer = self.consumer(self.link())
        self.deliver(1)
        self.deliver(2)
        old = [delivery.delivery_tag for delivery in self.deliveries]
        self.reconnect()
        self.deliver(1)
        new = self.deliveries[-1].delivery_tag
        self.assertNotIn(new, old)
        for tag in old:
            self.assertFalse(consumer.ack(tag))
            self.assertFalse(consumer.nack(tag))
        self.assertEqual(self.confirms(), [])
        self.assertTrue(consumer.ack(new))
        self.assertEqual(self.confirms(), [(1, False, True, False)])

    def test_tags_stay_apart_over_many_reconnects(self) -> None:
        consumer = self.consumer(self.link())
        for _ in range(4):
            self.deliver(1)
            self.deliver(2)
            self.reconnect()
        self.deliver(1)
        tags = [delivery.delivery_tag for delivery in self.deliveries]
        self.assertEqual(len(set(tags)), 9)
        self.assertEqual([consumer.ack(tag) for tag in tags], [False] * 8 + [True])
        self.assertEqual(self.confirms(), [(1, False, True, False)])

    def test_an_ack_while_down_is_not_sent(self) -> None:
        consumer = self.consumer(self.link())
        self.deliver(1)
        self.consuming.drop()
        self.assertFalse(consumer.ack(self.deliveries[0].delivery_tag))
