"""Channels: ids, answers, and ends that stay their own."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred

from tests.link.connection_case import ConnectionCase
from twbridge.errors import ChannelClosed, ConnectionClosed, EncodeError


class ChannelTests(ConnectionCase):
    """Channels: ids, answers, and ends that stay their own."""

    def setUp(self) -> None:
        super().setUp()
        self.logged_in()

    def close(self, channel: Any) -> None:
        done = channel.close()
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))

    def test_ids_are_used_again_after_our_close_has_been_agreed(self) -> None:
        one, two = self.channel(), self.channel()
        self.assertEqual((one.id, two.id), (1, 2))
        closing = one.close()
        self.assertNoResult(closing)
        opening = Deferred.fromCoroutine(self.connection.open_channel())
        self.broker.pump()
        self.assertEqual(self.successResultOf(opening).id, 3)
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(self.channel().id, 1)

    def test_ids_are_used_again_after_the_brokers_close(self) -> None:
        one = self.channel()
        self.session.close_channel(1)
        again = self.channel()
        self.assertEqual(again.id, 1)
        self.assertIsNot(again, one)
        self.assertEqual(len(self.session.methods(commands.Channel.CloseOk)), 1)

    def test_thousands_of_channels_one_after_another_use_one_id(self) -> None:
        for _ in range(3000):
            channel = self.channel()
            self.assertEqual(channel.id, 1)
            self.close(channel)

    def test_too_many_channels_are_refused_without_harm(self) -> None:
        self.broker.tune = (2, 131072, 0)
        self.logged_in()
        one, _two = self.channel(), self.channel()
        third = Deferred.fromCoroutine(self.connection.open_channel())
        self.failed(third, ConnectionClosed)
        self.assertIsNone(self.connection.lost)
        self.close(one)
        self.assertEqual(self.channel().id, 1)

    def test_answers_come_to_their_calls_in_order(self) -> None:
        channel = self.channel()
        declared = [channel.queue_declare(queue=name) for name in ("a", "b", "c")]
        self.broker.pump()
        self.assertEqual([self.successResultOf(each).queue for each in declared], ["a", "b", "c"])

    def test_a_call_without_an_answer_is_done_at_once(self) -> None:
        channel = self.channel()
        for call in (
            channel.queue_declare(queue="q", nowait=True),
            channel.basic_ack(delivery_tag=1),
        ):
            self.assertIsNone(self.successResultOf(call))
        after = channel.queue_declare(queue="after")
        self.broker.pump()
        self.assertEqual(self.successResultOf(after).queue, "after")

    def test_the_brokers_close_is_told_with_its_code_to_all_that_wait_on_it(self) -> None:
        channel, other = self.channel(), self.channel()
        self.broker.silent = {commands.Queue.Declare}
        told: list[Any] = []
        channel.on_closed = told.append
        waiting = [channel.queue_declare(queue=name) for name in "ab"]
        elsewhere = other.queue_declare(queue="c")
        self.session.close_channel(channel.id, 405, "RESOURCE_LOCKED")
        for each in waiting:
            error = self.failed(each, ChannelClosed)
            self.assertEqual((error.reply_code, error.reply_text), (405, "RESOURCE_LOCKED"))
        self.assertEqual(told, [error])
        self.assertNoResult(elsewhere)
        elsewhere.addErrback(lambda _: None)
        self.assertEqual(self.failed(channel.queue_purge(queue="q"), ChannelClosed), error)

    def test_our_close_is_not_told_to_its_owner(self) -> None:
        channel = self.channel()
        told: list[Any] = []
        channel.on_closed = told.append
        self.close(channel)
        self.assertEqual(told, [])
        self.assertIsNone(self.successResultOf(channel.close()))

    def test_a_cancelled_call_closes_the_channel_and_its_answer_goes_to_nobody(self) -> None:
        channel = self.channel()
        self.broker.silent = {commands.Queue.Declare}
        call = channel.queue_declare(queue="slow")
        behind = channel.queue_declare(queue="behind")
        self.broker.pump()
        call.addErrback(lambda _: None)
        call.cancel()
        self.failed(behind, ChannelClosed)
        self.session.send(channel.id, commands.Queue.DeclareOk("slow", 0, 0))
        self.broker.silent = set()
        self.broker.pump()
        self.assertEqual(self.session.channel_of(commands.Channel.Close), channel.id)
        again = self.channel()
        self.assertEqual(again.id, channel.id)
        declared = again.queue_declare(queue="mine")
        self.broker.pump()
        self.assertEqual(self.successResultOf(declared).queue, "mine")
        self.assertIsNone(self.connection.lost)

    def test_a_call_that_times_out_is_the_same(self) -> None:
        channel = self.channel()
        self.broker.silent = {commands.Queue.Declare}
        call = channel.queue_declare(queue="slow").addTimeout(3, self.clock)
        call.addErrback(lambda _: None)
        self.pass_time(4)
        self.assertEqual(self.session.channel_of(commands.Channel.Close), channel.id)
        self.assertIsNone(self.connection.lost)

    def test_what_cannot_be_encoded_raises_to_its_caller_and_the_connection_lives(self) -> None:
        channel = self.channel()
        for arguments in (
            {"queue": "x" * 256},
            {"queue": "q", "arguments": {"x": object()}},
            {"queue": 7},
        ):
            with self.assertRaises(EncodeError):
                channel.queue_declare(**arguments)
        declared = channel.queue_declare(queue="q", arguments={"a": [1.5, None, b"x", {"é": -1}]})
        self.broker.pump()
        self.assertEqual(self.successResultOf(declared).queue, "q")
        self.assertEqual(len(self.session.methods(commands.Queue.Declare)), 1)

    def test_two_closes_that_cross_free_the_id_once_both_are_agreed(self) -> None:
        channel = self.channel()
        told: list[Any] = []
        channel.on_closed = told.append
        closing = channel.close()
        self.session.send(channel.id, commands.Channel.Close(406, "PRECONDITION_FAILED", 0, 0))
        self.assertNoResult(closing)
        self.assertEqual(self.channel().id, 2)
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(len(self.session.methods(commands.Channel.CloseOk)), 1)
        self.assertEqual(self.channel().id, 1)
        self.assertEqual(told, [])
        self.assertIsNone(self.connection.lost)

    def test_words_that_cross_our_close_are_ignored(self) -> None:
        channel = self.channel()
        heard: list[Any] = []
        channel.consumers["t"] = heard.append
        channel.on_confirm = channel.on_return = channel.on_cancel = heard.append
        closing = channel.close()
        self.session.deliver(channel.id, "t", 1, b"late")
        self.session.ack(channel.id, 1)
        self.session.send(
            channel.id, commands.Basic.Cancel("t", nowait=True), commands.Queue.BindOk()
        )
        self.assertEqual(heard, [])
        self.broker.pump()
        self.assertIsNone(self.successResultOf(closing))
        self.session.deliver(channel.id, "t", 2, b"later")
        self.session.ack(channel.id, 2)
        self.session.send(channel.id, commands.Queue.BindOk())
        self.assertEqual(heard, [])
        self.assertIsNone(self.connection.lost)

    def test_a_delivery_for_an_unknown_consumer_is_dropped(self) -> None:
        channel = self.channel()
        self.session.deliver(channel.id, "nobody", 1, b"x")
        self.assertIsNone(self.connection.lost)

    def test_cafe_arrives_as_its_bytes(self) -> None:
        channel = self.channel()
        heard: list[Any] = []
        channel.consumers["t"] = heard.append
        self.session.deliver(channel.id, "t", 1, "café".encode())
        self.session.deliver(channel.id, "t", 2, b"\xff\xfe")
        self.assertEqual([each.body for each in heard], ["café".encode(), b"\xff\xfe"])
