"""Delivering and acknowledging."""

from __future__ import annotations

import warnings

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire

Basic = commands.Basic


def refused(text: str, code: int = 406) -> list[str]:
    return [f"channel.close {code} {text}"]


class ConsumeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.client.queue("q")

    def fill(self, letters: str) -> None:
        for letter in letters:
            Client(self.client.vhost).publish("", "q", letter.encode())

    def test_what_waits_follows_the_answer(self) -> None:
        self.fill("ab")
        self.assertEqual(
            self.client.consume("q", "c"),
            ["basic.consumeok c", "deliver c 1 a", "deliver c 2 b"],
        )

    def test_without_a_tag_the_broker_makes_one(self) -> None:
        (line,) = self.client.call(Basic.Consume(queue="q"))
        self.assertRegex(line, r"^basic\.consumeok amq\.ctag-[\w-]{22}$")

    def test_no_wait_is_not_answered(self) -> None:
        self.assertEqual(self.client.consume("q", "c", nowait=True), [])
        self.fill("a")
        self.assertEqual(self.client.seen(), ["deliver c 1 a"])
        self.assertEqual(self.client.call(Basic.Cancel(consumer_tag="c", nowait=True)), [])
        self.fill("b")
        self.assertEqual(self.client.seen(), [])

    def test_no_ack_needs_no_acknowledgement_and_knows_no_prefetch(self) -> None:
        self.client.call(Basic.Qos(prefetch_count=1))
        self.client.consume("q", "c", no_ack=True)
        self.fill("ab")
        self.assertEqual(self.client.seen(), ["deliver c 1 a", "deliver c 2 b"])
        self.assertEqual(self.client.vhost.memory.used, 0)
        self.assertEqual(
            self.client.ack(1), refused("PRECONDITION_FAILED - unknown delivery tag 1")
        )

    def test_a_tag_is_used_once_on_a_channel(self) -> None:
        self.client.consume("q", "c")
        other = Basic.Consume(queue="q", consumer_tag="c")
        self.assertEqual(self.client.call(other, 2), ["basic.consumeok c"])
        self.assertEqual(
            self.client.consume("q", "c"),
            ["connection.close 530 NOT_ALLOWED - attempt to reuse consumer tag 'c'"],
        )

    def test_exclusive_is_for_one_alone(self) -> None:
        in_use = refused("ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", 403)
        other = Client(self.client.vhost)
        self.client.consume("q", "c", exclusive=True)
        self.assertEqual(other.consume("q", "c"), in_use)
        self.client.call(Basic.Cancel(consumer_tag="c"))
        other = Client(self.client.vhost)
        other.consume("q", "c")
        self.assertEqual(self.client.consume("q", "c", exclusive=True), in_use)

    def test_a_priority_is_refused_and_not_ignored(self) -> None:
        self.assertEqual(
            self.client.consume("q", "c", arguments={"x-priority": 1}),
            refused(
                "PRECONDITION_FAILED - the embedded broker does not support the consumer argument "
                "'x-priority'"
            ),
        )

    def test_a_cancelled_consumer_keeps_what_it_holds(self) -> None:
        self.fill("a")
        self.client.consume("q", "c")
        self.assertEqual(self.client.call(Basic.Cancel(consumer_tag="c")), ["basic.cancelok c"])
        self.assertEqual(self.client.call(Basic.Cancel(consumer_tag="c")), ["basic.cancelok c"])
        self.fill("b")
        self.assertEqual(self.client.ack(1), [])
        self.assertEqual(self.client.vhost.queues["q"].message_count, 1)

    def test_missing_queues_are_not_found(self) -> None:
        missing = refused("NOT_FOUND - no queue 'no' in vhost '/'", 404)
        self.assertEqual(self.client.consume("no"), missing)
        self.assertEqual(self.client.call(Basic.Get(queue="no"), 2), missing)

    def test_get_counts_what_is_left(self) -> None:
        self.assertEqual(self.client.call(Basic.Get(queue="q")), ["basic.getempty"])
        self.fill("ab")
        self.assertEqual(self.client.call(Basic.Get(queue="q")), ["basic.getok q a"])
        (content,) = self.client.last
        assert isinstance(content, wire.Content)
        self.assertEqual((content.method.delivery_tag, content.method.message_count), (1, 1))


class PrefetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.client.queue("q")
        for letter in "abcdef":
            self.client.publish("", "q", letter.encode())

    def test_it_limits_each_new_consumer(self) -> None:
        self.assertEqual(self.client.call(Basic.Qos(prefetch_count=1)), ["basic.qosok"])
        self.client.consume("q", "1")
        self.client.call(Basic.Qos(prefetch_count=2))
        self.assertEqual(
            self.client.consume("q", "2"),
            ["basic.consumeok 2", "deliver 2 2 b", "deliver 2 3 c"],
        )
        self.assertEqual(self.client.ack(1), ["deliver 1 4 d"])
        self.assertEqual(self.client.ack(3, multiple=True), ["deliver 2 5 e", "deliver 2 6 f"])

    def test_global_limits_the_channel_and_can_be_raised(self) -> None:
        self.client.call(Basic.Qos(prefetch_count=2, global_=True))
        self.client.consume("q", "1")
        self.assertEqual(self.client.consume("q", "2"), ["basic.consumeok 2"])
        self.assertEqual(self.client.nack(1, requeue=False), ["deliver 1 3 c"])
        self.assertEqual(
            self.client.call(Basic.Qos(prefetch_count=3, global_=True)),
            ["basic.qosok", "deliver 2 4 d"],
        )

    def test_get_does_not_count(self) -> None:
        self.client.call(Basic.Qos(prefetch_count=1, global_=True))
        self.client.call(Basic.Get(queue="q"))
        self.assertEqual(self.client.consume("q", "c"), ["basic.consumeok c", "deliver c 2 b"])

    def test_a_size_is_not_implemented(self) -> None:
        self.assertEqual(
            self.client.call(Basic.Qos(prefetch_size=3)),
            ["connection.close 540 NOT_IMPLEMENTED - prefetch_size!=0 (3)"],
        )


class AcknowledgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.client.queue("q")
        for letter in "abcd":
            self.client.publish("", "q", letter.encode())
        self.client.call(Basic.Qos(prefetch_count=3))
        self.client.consume("q", "c")

    def get_all(self) -> list[str]:
        """What another client gets, in order."""
        other = Client(self.client.vhost)
        lines = []
        while (line := other.call(Basic.Get(queue="q", no_ack=True))[0]) != "basic.getempty":
            (content,) = other.last
            assert isinstance(content, wire.Content)
            lines.append(line.split()[-1] + ("+" if content.method.redelivered else ""))
        return lines

    def test_multiple_settles_up_to_the_tag_and_zero_means_all(self) -> None:
        self.assertEqual(self.client.ack(2, multiple=True), ["deliver c 4 d"])
        self.assertEqual(self.client.ack(0, multiple=True), [])
        self.assertEqual(self.client.ack(0, multiple=True), [])
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_an_unknown_tag_closes_the_channel(self) -> None:
        for settle in (
            lambda client: client.ack(9),
            lambda client: client.ack(0),
            lambda client: client.ack(9, multiple=True),
            lambda client: client.nack(9),
            lambda client: client.call(Basic.Reject(delivery_tag=9)),
        ):
            tag = 0 if settle(Client())[0].endswith(" 0") else 9
            self.assertEqual(
                settle(Client()), refused(f"PRECONDITION_FAILED - unknown delivery tag {tag}")
            )

    def test_a_tag_is_settled_once(self) -> None:
        self.client.ack(1)
        self.assertEqual(
            self.client.ack(1), refused("PRECONDITION_FAILED - unknown delivery tag 1")
        )

    def test_nack_and_reject_drop_or_requeue(self) -> None:
        self.client.call(Basic.Cancel(consumer_tag="c"))
        self.client.nack(1, requeue=False)
        self.client.call(Basic.Reject(delivery_tag=3, requeue=True))
        self.client.nack(2)
        self.assertEqual(self.get_all(), ["b+", "c+", "d"])

    def test_nack_multiple_requeues_in_order(self) -> None:
        self.client.call(Basic.Cancel(consumer_tag="c"))
        self.client.nack(3, multiple=True)
        self.assertEqual(self.get_all(), ["a+", "b+", "c+", "d"])

    def test_a_requeued_message_comes_again_marked(self) -> None:
        self.assertEqual(self.client.nack(1), ["deliver c 4 a again"])

    def test_recover_requeues_everything(self) -> None:
        self.assertEqual(
            self.client.call(Basic.Recover(requeue=True)),
            [
                "basic.recoverok",
                "deliver c 4 a again",
                "deliver c 5 b again",
                "deliver c 6 c again",
            ],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pamqp's, of recover-async
            lines = self.client.call(Basic.RecoverAsync(requeue=True))
        self.assertEqual(lines[0], "deliver c 7 a again")
        self.assertEqual(
            self.client.call(Basic.Recover(requeue=False)),
            ["connection.close 540 NOT_IMPLEMENTED - requeue=false"],
        )

    def test_the_end_of_the_channel_requeues(self) -> None:
        self.client.call(commands.Channel.Close(200, "", 0, 0))
        self.assertEqual(self.get_all(), ["a+", "b+", "c+", "d"])

    def test_an_error_on_the_channel_requeues(self) -> None:
        self.client.publish("no", "")
        self.assertEqual(self.get_all(), ["a+", "b+", "c+", "d"])

    def test_the_end_of_the_connection_requeues_and_redelivers_to_nobody_of_it(self) -> None:
        other = Client(self.client.vhost)
        self.client.call(Basic.Consume(queue="q", consumer_tag="e"), 2)
        other.consume("q", "o")
        self.assertEqual(other.seen(), [])
        self.assertEqual(
            self.client.call(commands.Connection.Close(200, "", 0, 0), 0), ["connection.closeok"]
        )
        self.assertEqual(
            other.seen(),
            [f"deliver o {tag} {body} again" for tag, body in enumerate("abcd", 1)],
        )
