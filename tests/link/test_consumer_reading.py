"""Consumers: what subscriptions to queues and streams need of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pamqp import commands

from tests.link.consumer_case import ConsumerCase
from twbridge.amqp import Queue
from twbridge.errors import ChannelClosed, ConnectionClosed, EncodeError, QueueDeleted

JOBS = Queue("jobs", durable=True, exclusive=False, auto_delete=False)


class ArgumentsTests(ConsumerCase):
    """Those of basic.consume."""

    def test_they_are_asked_for_each_time(self) -> None:
        asked: list[int] = []

        def arguments() -> Mapping[str, Any]:
            asked.append(len(asked))
            return {"x-stream-offset": len(asked)}

        self.consumer(self.link(), JOBS, arguments=arguments)
        [consume] = self.consuming.methods(commands.Basic.Consume)
        self.assertEqual(consume.arguments, {"x-stream-offset": 1})
        self.reconnect()
        [consume] = self.consuming.methods(commands.Basic.Consume)
        self.assertEqual((consume.arguments, asked), ({"x-stream-offset": 2}, [0, 1]))

    def test_without_any_there_are_none(self) -> None:
        self.consumer(self.link(), JOBS)
        self.assertEqual(self.consuming.methods(commands.Basic.Consume)[0].arguments, {})

    def test_one_that_can_not_be_encoded_fails_its_caller_only(self) -> None:
        link = self.link()
        done = link.consume(JOBS, self.take, arguments=lambda: {"x": object()})
        self.broker.pump()
        self.failed(done, EncodeError)
        self.assertEqual(link.state, "ready")

    def test_on_established_is_called_after_each_reconnect_and_not_before(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        times: list[int] = []
        consumer.on_established = lambda: times.append(len(self.bodies))
        self.reconnect()
        self.deliver(1)
        self.reconnect()
        self.assertEqual(times, [0, 1])


class SyncTests(ConsumerCase):
    """``sync``: everything has come that there was."""

    def test_it_is_an_answer_that_comes_behind_the_deliveries(self) -> None:
        consumer = self.consumer(self.link(), JOBS, prefetch=7)
        self.broker.silent = {commands.Basic.QosOk}
        done = consumer.sync()
        self.broker.pump()
        self.assertNoResult(done)
        channel = self.deliver(1)
        self.assertEqual(self.consuming.methods(commands.Basic.Qos)[-1].prefetch_count, 7)
        self.consuming.send(channel, commands.Basic.QosOk())
        self.assertIsNone(self.successResultOf(done))

    def test_it_fails_while_nothing_is_consumed(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        self.broker.silent = {commands.Basic.QosOk}
        asked = consumer.sync()
        self.consuming.drop()
        self.failed(asked, ConnectionClosed)
        self.failed(consumer.sync(), ConnectionClosed)
        self.broker.silent = {commands.Queue.DeclareOk}
        self.pass_time(5)
        # There is a channel again, and no consumer on it yet.
        self.assertTrue(self.consuming.methods(commands.Queue.Declare))
        self.failed(consumer.sync(), ConnectionClosed)
        self.broker.silent = set()

    def test_it_fails_with_what_ended_it(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        channel = self.deliver(1)
        self.consuming.close_channel(channel, 406, "PRECONDITION_FAILED")
        self.assertEqual(self.failed(consumer.sync(), ChannelClosed).reply_code, 406)


class VoidedTests(ConsumerCase):
    """Which deliveries the broker has taken back."""

    def test_it_is_the_last_of_a_lost_connection(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        self.assertEqual(consumer.voided, 0)
        self.deliver(1)
        self.deliver(2)
        self.assertEqual(consumer.voided, 0)
        self.consuming.drop()
        self.assertEqual(consumer.voided, 2)
        self.pass_time(5)
        self.assertEqual(consumer.voided, 2)
        self.deliver(1)
        self.assertEqual((consumer.voided, self.deliveries[-1].delivery_tag), (2, 3))

    def test_an_ack_while_it_is_made_again_meets_no_other_channel(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        self.deliver(1)
        self.deliver(2)
        self.consuming.drop()
        self.broker.silent = {commands.Queue.DeclareOk}
        self.pass_time(5)
        self.assertEqual(consumer.voided, 2)
        self.assertFalse(consumer.ack(2))
        self.assertFalse(consumer.nack(1))
        self.assertEqual(self.confirms(), [])
        self.broker.silent = set()


class DeleteTests(ConsumerCase):
    """The end of a queue."""

    def test_cancelled_it_may_take_its_queue_with_it(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        channel = self.consuming.channel_of(commands.Basic.Consume)
        done = consumer.cancel(delete=True)
        self.broker.pump()
        self.successResultOf(done)
        [delete] = self.consuming.methods(commands.Queue.Delete)
        self.assertEqual((delete.queue, delete.nowait), ("jobs", True))
        self.assertEqual(self.consuming.channel_of(commands.Queue.Delete), channel)
        self.assertEqual(self.ends, [])

    def test_it_leaves_the_queue_where_nobody_said_so_or_the_link_is_down(self) -> None:
        link = self.link()
        self.consumer(link, JOBS).cancel()
        consumer = self.consumer(link, JOBS)
        self.consuming.drop()
        self.assertIsNone(self.successResultOf(consumer.cancel(delete=True)))
        self.pass_time(5)
        for session in self.broker.sessions:
            self.assertEqual(session.methods(commands.Queue.Delete), [])

    def test_a_queue_that_somebody_deleted_is_told_from_one_that_was_never_there(self) -> None:
        self.consumer(self.link(), JOBS)
        [consume] = self.consuming.methods(commands.Basic.Consume)
        channel = self.consuming.channel_of(commands.Basic.Consume)
        self.consuming.send(channel, commands.Basic.Cancel(consume.consumer_tag, nowait=True))
        [error] = self.ends
        self.assertIsInstance(error, QueueDeleted)
        self.assertEqual((error.reply_code, error.code), (404, "not_found"))

    def test_one_that_is_missing_after_a_reconnect_is_not(self) -> None:
        consumer = self.consumer(self.link(), JOBS)
        consumer.queue = Queue("jobs", passive=True)
        self.broker.missing = {"jobs"}
        self.reconnect()
        [error] = self.ends
        self.assertEqual((type(error), error.reply_code), (ChannelClosed, 404))
