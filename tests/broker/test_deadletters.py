"""What a queue does not keep goes where its dead letters go, and says why."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire
from twbridge.broker.deadletters import is_cycle
from twbridge.broker.queues import Queue as ClassicQueue

Basic, Queue = commands.Basic, commands.Queue


class DeadLetterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.clock = self.client.clock
        self.clock.advance(1_700_000_000)

    def dying(self, **arguments: Any) -> None:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        way = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        self.client.queue("dead")
        self.client.queue("q", arguments={**way, **given})
        self.client.consume("dead", "d", no_ack=True)

    def headers(self) -> dict[str, Any]:
        """Of the one message that came last."""
        (event,) = self.client.last
        assert isinstance(event, wire.Delivery)
        return event.properties["headers"]

    def test_an_expired_one_tells_its_life(self) -> None:
        self.dying()
        self.client.publish("", "q", expiration="250", headers={"CC": ["more"]})
        self.clock.advance(0.249)
        self.assertEqual(self.client.seen(), [])
        self.clock.advance(0.001)
        self.assertEqual(self.client.seen(), ["deliver d 1 x"])
        headers = self.headers()
        (death,) = headers["x-death"]
        self.assertEqual(death.pop("time").timestamp(), 1_700_000_000)
        self.assertEqual(
            death,
            {
                "count": 1,
                "reason": "expired",
                "queue": "q",
                "exchange": "",
                "routing-keys": ["q", "more"],
                "original-expiration": "250",
            },
        )
        self.assertEqual(headers["x-first-death-reason"], "expired")

    def test_a_rejected_one_goes_and_a_requeued_one_stays(self) -> None:
        self.dying()
        self.client.publish("", "q")
        self.client.call(Basic.Get(queue="q"))
        self.client.nack(1)
        self.client.call(Basic.Get(queue="q"))
        self.assertEqual(self.client.nack(2, requeue=False), ["deliver d 3 x"])
        self.assertEqual(self.headers()["x-first-death-reason"], "rejected")

    def test_nothing_is_left_of_one_that_nobody_gets(self) -> None:
        for name, exchange in (("bound to nobody", "amq.direct"), ("missing", "no")):
            self.client.queue(name, arguments={"x-dead-letter-exchange": exchange})
            self.client.publish("", name, expiration="0")
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_the_count_is_of_the_width_that_clients_cast_it_to(self) -> None:
        self.dying(x_max_length=0)
        self.client.publish("", "q")
        self.assertIn(b"\x05countl\0\0\0\0\0\0\0\x01", self.client.raw)

    def test_a_life_that_a_publisher_made_up_keeps_no_letter_from_its_way(self) -> None:
        self.dying(x_max_length=0)
        most = 2**63 - 1
        own = {"queue": "q", "reason": "maxlen"}
        for entries, expected in (
            ([{**own, "count": most}], [most]),
            ([{**own, "count": -most}], [1 - most]),
            ([{"queue": "a", "reason": "rejected", "count": most}], [1, most]),
            ([], [1]),
        ):
            self.client.publish("", "q", headers={"x-death": entries})
            self.assertEqual([one["count"] for one in self.headers()["x-death"]], expected)
        for kind, field, count in (
            ("T", b"\1zT" + b"\xff" * 8, 1),
            ("T in place of the count", b"\5countT" + b"\xff" * 8, most),
            ("T in a table", b"\1zF\0\0\0\x0b\1aT" + b"\xff" * 8, 1),
            ("a name that grows", b"\xc8" + b"\xff" * 200 + b"V", 1),
        ):
            entry = b"\5queueS\0\0\0\1q\6reasonS\0\0\0\6maxlen" + field
            headers = b"\7x-deathA%bF%b" % (
                (len(entry) + 5).to_bytes(4, "big"),
                len(entry).to_bytes(4, "big") + entry,
            )
            raw = b"\x20\0" + len(headers).to_bytes(4, "big") + headers
            method = Basic.Publish(exchange="", routing_key="q")
            self.client.send(wire.content_frames(1, method, raw, b"x", 131072))
            self.assertEqual([one["count"] for one in self.headers()["x-death"]], [count], kind)
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_what_the_publisher_wrote_stays_as_it_was(self) -> None:
        self.dying(x_max_length=0)
        # The header a is 7 in 8 bits, the expiration 60, the type not UTF-8.
        raw = b"\x21\x20" + b"\0\0\0\x04\x01ab\x07" + b"\x0260" + b"\x02\xff\xfe"
        method = Basic.Publish(exchange="", routing_key="q")
        self.client.send(wire.content_frames(1, method, raw, b"x", 131072))
        self.assertIn(b"\x01ab\x07", self.client.raw)
        self.assertIn(b"\x02\xff\xfe", self.client.raw)
        self.assertNotIn("expiration", self.properties())

    def properties(self) -> wire.Properties:
        (event,) = self.client.last
        assert isinstance(event, wire.Delivery)
        return event.properties

    def test_a_long_way_of_queues_is_gone_to_its_end(self) -> None:
        length = 300
        for number in range(length):
            way = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"q{number + 1}"}
            self.client.queue(f"q{number}", arguments={"x-max-length": 0, **way})
        self.client.queue(f"q{length}")
        self.client.consume(f"q{length}", no_ack=True)
        self.assertEqual(self.client.publish("", "q0"), ["deliver c 1 x"])
        self.assertEqual(len(self.headers()["x-death"]), length)

    def test_a_circle_without_a_consumer_ends(self) -> None:
        way = {"x-dead-letter-exchange": "", "x-message-ttl": 5}
        self.client.queue("a", arguments={**way, "x-dead-letter-routing-key": "b"})
        self.client.queue("b", arguments={**way, "x-dead-letter-routing-key": "a"})
        self.client.publish("", "a")
        for _ in range(3):
            self.clock.advance(0.005)
        self.assertEqual(self.client.vhost.memory.used, 0)

    def test_a_rejection_in_between_is_no_cycle(self) -> None:
        expired = {"queue": "q", "reason": "expired"}
        rejected = {"queue": "r", "reason": "rejected"}
        self.assertTrue(is_cycle("q", [expired]))
        self.assertTrue(is_cycle("q", [expired, rejected]))
        self.assertFalse(is_cycle("q", [rejected, expired]))
        self.assertFalse(is_cycle("p", [expired]))
        self.assertFalse(is_cycle("q", ["a client's", expired]))

    def test_a_letter_to_a_queue_that_is_gone_is_dropped(self) -> None:
        self.dying()
        self.client.publish("", "q", expiration="5")
        self.client.call(Queue.Delete(queue="dead"))
        self.clock.advance(0.005)
        self.assertEqual(self.client.vhost.memory.used, 0)
        self.assertEqual(self.client.vhost.queues["q"].message_count, 0)


class LifetimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.clock = self.client.clock

    def waiting(self) -> str:
        queue = self.client.vhost.queues["q"]
        assert isinstance(queue, ClassicQueue)
        return b"".join(entry.message.body for entry in queue.ready).decode()

    def test_only_the_head_expires(self) -> None:
        self.client.queue()
        self.client.publish("", "q", b"a", expiration="600")
        self.client.publish("", "q", b"b", expiration="30")
        self.clock.advance(0.3)
        self.assertEqual(self.waiting(), "ab")
        self.clock.advance(0.3)
        self.assertEqual(self.waiting(), "")

    def test_a_higher_priority_that_expires_does_not_wait_for_others(self) -> None:
        self.client.queue(arguments={"x-max-priority": 5})
        self.client.publish("", "q", b"a", priority=1)
        self.client.publish("", "q", b"b", priority=2, expiration="10")
        self.clock.advance(0.01)
        self.assertEqual(self.waiting(), "a")

    def test_nothing_is_delivered_after_its_time_even_before_the_timer(self) -> None:
        self.client.queue()
        self.client.publish("", "q", b"a", expiration="10")
        self.clock.rightNow += 0.01  # a busy reactor
        self.assertEqual(self.client.call(Basic.Get(queue="q")), ["basic.getempty"])

    def test_what_a_consumer_holds_does_not_expire(self) -> None:
        self.client.queue(arguments={"x-message-ttl": 10})
        self.client.consume()
        self.client.publish("", "q", b"a")
        self.clock.advance(1)
        self.assertEqual(self.client.ack(1), [])

    def test_ten_years_are_waited_for_in_days(self) -> None:
        self.client.queue()
        self.client.publish("", "q", b"a", expiration="315360000000")
        (call,) = self.clock.getDelayedCalls()
        self.assertLessEqual(call.getTime(), 86400)
        self.clock.pump([86400] * 3649)
        self.assertEqual(self.waiting(), "a")
        self.clock.advance(86400)
        self.assertEqual(self.waiting(), "")

    def test_one_timer_serves_all_messages_and_goes_with_the_queue(self) -> None:
        self.client.queue()
        for number in range(20):
            self.client.publish("", "q", expiration=str(1000 - number))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.client.call(Queue.Delete(queue="q"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stopped_broker_leaves_nothing_to_the_clock(self) -> None:
        self.client.queue()
        self.client.publish("", "q", expiration="1000")
        self.client.vhost.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
