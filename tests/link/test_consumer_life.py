"""Consumers: they outlive connections, and end when the broker says so."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.link.consumer_case import ConsumerCase
from twbridge.amqp import Link, Queue
from twbridge.errors import ChannelClosed, NotReady, QueueDeleted


class ReplayTests(ConsumerCase):
    """After a reconnect all is as before."""

    def test_queue_bindings_and_consumer_are_made_again(self) -> None:
        consumer = self.consumer(self.link(), prefetch=3)
        first = consumer.queue_name
        consumer.bind("e", "a")
        consumer.bind("e", "b")
        self.broker.pump()
        self.consuming.drop()
        self.assertEqual(consumer.queue_name, "")
        self.pass_time(5)
        self.assertNotIn(consumer.queue_name, ("", first))
        self.assertEqual(self.keys(), [("e", "a"), ("e", "b")])
        for bind in self.consuming.methods(commands.Queue.Bind):
            self.assertEqual(bind.queue, consumer.queue_name)
        self.assertEqual(self.consuming.methods(commands.Basic.Qos)[0].prefetch_count, 3)
        self.deliver(1, b"again")
        self.assertEqual(self.bodies, [b"again"])
        self.assertEqual(self.ends, [])

    def test_it_is_bound_before_it_is_consumed(self) -> None:
        consumer = self.consumer(self.link())
        consumer.bind("e", "a")
        self.broker.pump()
        self.reconnect()
        kinds = [
            type(event.method)
            for event in self.consuming.heard
            if isinstance(
                getattr(event, "method", None), commands.Queue.Bind | commands.Basic.Consume
            )
        ]
        self.assertEqual(kinds, [commands.Queue.Bind, commands.Basic.Consume])

    def test_many_bindings_are_pipelined(self) -> None:
        consumer = self.consumer(self.link())
        for number in range(300):
            consumer.bind("e", str(number))
        self.broker.pump()
        self.broker.silent = {commands.Queue.Bind}
        self.reconnect()
        self.assertEqual(len(self.keys()), 300)
        self.broker.silent = set()

    def test_a_queue_that_is_refused_after_a_reconnect_ends_it(self) -> None:
        link = self.link()
        self.consumer(link, Queue("mine", passive=True))
        self.broker.missing = {"mine"}
        self.reconnect()
        [error] = self.ends
        self.assertIsInstance(error, ChannelClosed)
        self.assertEqual(error.reply_code, 404)
        self.assertEqual(link.state, "ready")

    def test_an_exchange_that_is_gone_after_a_reconnect_ends_it(self) -> None:
        link = self.link()
        consumer = self.consumer(link)
        consumer.bind("e", "a")
        self.broker.pump()
        self.broker.missing = {"e"}
        self.reconnect()
        self.assertEqual([error.reply_code for error in self.ends], [404])
        self.assertEqual(link.state, "ready")

    def test_who_wants_to_know_hears_of_each_loss_and_each_return(self) -> None:
        consumer = self.consumer(self.link())
        heard: list[tuple[str, bool]] = []
        consumer.on_lost = lambda: heard.append(("lost", bool(consumer.queue_name)))
        consumer.on_established = lambda: heard.append(("back", bool(consumer.queue_name)))
        self.reconnect()
        self.assertEqual(heard, [("lost", False), ("back", True)])
        consumer.cancel()
        self.reconnect()
        self.assertEqual(len(heard), 2)


class EndTests(ConsumerCase):
    """How it ends."""

    def test_cancelled_it_closes_its_channel_and_is_not_made_again(self) -> None:
        link = self.link()
        consumer = self.consumer(link)
        channel = self.consuming.channel_of(commands.Basic.Consume)
        done = consumer.cancel()
        self.assertNoResult(done)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.consuming.channel_of(commands.Channel.Close), channel)
        self.reconnect()
        self.assertEqual(self.consuming.methods(commands.Channel.Open), [])
        self.assertEqual(self.ends, [])

    def test_cancelled_it_gets_no_more_deliveries(self) -> None:
        consumer = self.consumer(self.link())
        consumer.cancel()
        self.deliver(1, b"late")
        self.broker.pump()
        self.deliver(2, b"later")
        self.assertEqual(self.bodies, [])

    def test_cancelled_while_it_is_made_it_leaves_nothing_behind(self) -> None:
        for kind in (
            commands.Channel.OpenOk,
            commands.Basic.QosOk,
            commands.Queue.DeclareOk,
            commands.Basic.ConsumeOk,
        ):
            link = self.link(name=kind.__name__)
            session = self.broker.named(f"{kind.__name__} consume")
            self.broker.silent = {kind}
            done = link.consume(Queue(), self.take)
            self.broker.pump()
            self.pass_time(11)
            self.failed(done, NotReady)
            self.broker.silent = set()
            if kind is commands.Channel.OpenOk:
                session.send(1, commands.Channel.OpenOk())
            self.pass_time(1)
            opened = len(session.methods(commands.Channel.Open))
            self.assertEqual(opened, len(session.methods(commands.Channel.Close)), kind)
            self.assertEqual(link.state, "ready")

    def test_a_deleted_queue_ends_it_once(self) -> None:
        self.consumer(self.link())
        [consume] = self.consuming.methods(commands.Basic.Consume)
        channel = self.consuming.channel_of(commands.Basic.Consume)
        self.consuming.send(channel, commands.Basic.Cancel(consume.consumer_tag, nowait=True))
        self.broker.pump()
        [error] = self.ends
        self.assertEqual((type(error), error.reply_code), (QueueDeleted, 404))
        self.reconnect()
        self.assertEqual(self.consuming.methods(commands.Basic.Consume), [])
        self.assertEqual(len(self.ends), 1)

    def test_a_closed_channel_ends_it_with_its_code_and_no_other(self) -> None:
        link = self.link()
        self.consumer(link)
        others: list[Any] = []
        done = link.consume(Queue(), self.take, on_end=others.append)
        self.broker.pump()
        self.successResultOf(done)
        channel = self.deliver(1, b"first", nth=0)
        self.consuming.close_channel(channel, 406, "PRECONDITION_FAILED - ack timed out")
        self.assertEqual(
            [(error.reply_code, error.code) for error in self.ends], [(406, "conflict")]
        )
        self.assertEqual(others, [])
        self.deliver(1, b"other", nth=1)
        self.assertEqual(self.bodies, [b"first", b"other"])

    def test_an_ended_one_binds_no_more_and_cancels_at_once(self) -> None:
        consumer = self.consumer(self.link())
        waiting = consumer.bind("e", "k")
        consumer.cancel()
        self.broker.pump()
        self.failed(waiting, ChannelClosed)
        self.failed(consumer.bind("e", "k"), ChannelClosed)
        self.assertIsNone(self.successResultOf(consumer.cancel()))
        self.assertFalse(consumer.ack(1))


class BlameTests(ConsumerCase):
    """A broker that closes the connection over what it is asked."""

    def close(self, code: int = 541) -> None:
        """The connection, with that code; it is back some seconds later."""
        self.consuming.send(0, commands.Connection.Close(code, "INTERNAL_ERROR", 0, 0))
        self.pass_time(5)

    def making(self, link: Link) -> Any:
        """One that is declared without an answer."""
        self.broker.silent = {commands.Queue.Declare}
        done = link.consume(Queue("poison"), self.take, on_end=self.ends.append)
        self.broker.pump()
        return done

    def test_the_second_time_it_is_not_asked_any_more(self) -> None:
        link = self.link()
        done = self.making(link)
        self.close()
        self.assertNoResult(done)
        self.assertEqual(len(self.consuming.methods(commands.Queue.Declare)), 1)
        self.close()
        error = self.failed(done, NotReady)
        self.assertIn("541", str(error))
        self.assertEqual(self.consuming.methods(commands.Queue.Declare), [])
        self.assertEqual(link.state, "ready")
        self.assertEqual(self.ends, [])

    def test_a_broker_that_ends_connections_for_its_own_reasons_is_waited_for(self) -> None:
        done = self.making(self.link(timeout=60.0))
        for _ in range(2):
            self.close(320)
            self.reconnect()
        self.assertNoResult(done)
        self.broker.silent = set()
        self.reconnect()
        self.successResultOf(done)

    def test_one_that_has_consumed_goes_on(self) -> None:
        link = self.link()
        consumer = self.consumer(link, Queue("fine"))
        self.broker.silent = {commands.Queue.Declare}
        for _ in range(4):
            self.close()
        self.broker.silent = set()
        self.reconnect()
        self.assertEqual((consumer.queue_name, consumer.ended, self.ends), ("fine", None, []))


class LeavingTests(ConsumerCase):
    """``leave``: no more messages, but those that came can be answered."""

    def test_what_was_delivered_can_still_be_acknowledged(self) -> None:
        consumer = self.consumer(self.link())
        self.deliver(1)
        left = consumer.leave()
        self.assertNoResult(left)
        self.deliver(2, b"before the broker has heard of it")
        self.broker.pump()
        self.assertIsNone(self.successResultOf(left))
        self.assertEqual(len(self.bodies), 2)
        self.assertTrue(consumer.ack(1))
        self.assertTrue(consumer.nack(2))
        self.assertEqual(self.confirms(), [(1, False, True, False), (2, False, False, True)])
        self.successResultOf(self.pumped(consumer.cancel()))
        self.assertEqual(self.ends, [])

    def test_it_is_not_resumed_after_a_reconnect(self) -> None:
        consumer = self.consumer(self.link())
        self.deliver(1)
        consumer.leave()
        self.broker.pump()
        self.reconnect()
        self.assertEqual(self.consuming.methods(commands.Basic.Consume), [])
        self.assertFalse(consumer.ack(1))
        self.assertEqual(self.ends, [])

    def test_a_connection_lost_meanwhile_is_the_end_of_it_too(self) -> None:
        consumer = self.consumer(self.link())
        self.broker.silent = {commands.Basic.Cancel}
        left = consumer.leave()
        self.reconnect()
        self.assertIsNone(self.successResultOf(left))

    def test_without_a_connection_there_is_nothing_to_leave(self) -> None:
        consumer = self.consumer(self.link())
        self.consuming.drop()
        self.assertIsNone(self.successResultOf(consumer.leave()))
        self.pass_time(5)
        self.assertEqual(self.consuming.methods(commands.Basic.Consume), [])

    def pumped(self, deferred: Any) -> Any:
        self.broker.pump()
        return deferred
