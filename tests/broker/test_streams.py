"""Streams are read by many, from anywhere, and keep to their retention."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire
from twbridge.broker.messages import OVERHEAD
from twbridge.broker.streams import Stream

Basic, Queue = commands.Basic, commands.Queue


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.vhost = self.client.vhost
        self.clock = self.client.clock
        self.client.call(Basic.Qos(prefetch_count=100))

    def declare(self, name: str = "s", **arguments: Any) -> Stream:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.client.queue(name, durable=True, arguments={"x-queue-type": "stream", **given})
        stream = self.vhost.queues[name]
        assert isinstance(stream, Stream)
        return stream

    def fill(self, letters: str, every: float = 0.0) -> None:
        """Publish each letter, ``every`` so many seconds."""
        for letter in letters:
            Client(self.vhost).publish("", "s", letter.encode())
            self.clock.advance(every)

    def read(self, start: Any = "first", tag: str = "c", client: Client | None = None) -> str:
        """Consume; return the bodies of what comes at once."""
        client = client or self.client
        client.consume("s", tag, arguments={"x-stream-offset": start} if start is not None else {})
        return self.bodies(client)

    def bodies(self, client: Client | None = None) -> str:
        """Those of the deliveries that came last."""
        events = (client or self.client).last
        return "".join(event.body.decode() for event in events if isinstance(event, wire.Delivery))

    def offsets(self) -> list[int]:
        return [
            event.properties["headers"]["x-stream-offset"]
            for event in self.client.last
            if isinstance(event, wire.Delivery)
        ]


class ReadTests(StreamTestCase):
    def test_reading_begins_where_it_is_told(self) -> None:
        self.declare()
        self.fill("abcd")
        for number, (start, expected) in enumerate(
            [
                ("first", "abcd"),
                ("last", "d"),
                ("next", ""),
                (None, ""),
                (0, "abcd"),
                (2, "cd"),
                (4, ""),
                (-7, "abcd"),
            ]
        ):
            self.assertEqual(self.read(start, f"c{number}"), expected, start)

    def test_a_timestamp_begins_with_the_first_message_from_then_on(self) -> None:
        self.declare()
        self.clock.advance(1_000_000)
        self.fill("abcd", every=60)
        for seconds, expected in [(0, "abcd"), (60, "bcd"), (61, "cd"), (180, "d"), (181, "")]:
            start = datetime.fromtimestamp(1_000_000 + seconds, UTC)
            self.assertEqual(self.read(start, f"c{seconds}"), expected)
        self.assertEqual(self.read("2m", "minutes"), "cd")
        self.assertEqual(self.read("1D", "day"), "abcd")

    def test_every_delivery_says_its_offset(self) -> None:
        self.declare()
        self.fill("abc")
        self.read(1)
        self.assertEqual(self.offsets(), [1, 2])

    def test_the_offset_of_another_stream_is_replaced(self) -> None:
        self.declare()
        self.client.publish("", "s", headers={"a": 1, "x-stream-offset": 99}, type="t")
        self.read()
        (_, delivery) = self.client.last
        assert isinstance(delivery, wire.Delivery)
        self.assertEqual(
            delivery.properties, {"headers": {"a": 1, "x-stream-offset": 0}, "type": "t"}
        )

    def test_what_comes_later_follows(self) -> None:
        self.declare()
        self.fill("ab")
        self.assertEqual(self.read("next"), "")
        self.fill("cd")
        self.client.seen()
        self.assertEqual((self.bodies(), self.offsets()), ("cd", [2, 3]))

    def test_an_offset_that_is_not_there_yet_is_waited_for(self) -> None:
        self.declare()
        self.fill("ab")
        self.assertEqual(self.read(4), "")
        self.fill("cdef")
        self.client.seen()
        self.assertEqual((self.bodies(), self.offsets()), ("ef", [4, 5]))

    def test_last_of_an_empty_one_is_next(self) -> None:
        self.declare()
        self.assertEqual(self.read("last"), "")
        self.fill("a")
        self.client.seen()
        self.assertEqual(self.bodies(), "a")

    def test_reading_takes_nothing_away(self) -> None:
        stream = self.declare()
        self.fill("abc")
        other = Client(self.vhost)
        other.call(Basic.Qos(prefetch_count=9))
        self.assertEqual(self.read(), "abc")
        self.client.ack(0, multiple=True)
        self.assertEqual(self.read(client=other), "abc")
        other.connection.lost()
        self.assertEqual(self.read(tag="d"), "abc")
        self.assertEqual(len(stream.log), 3)

    def test_what_was_held_is_read_again_after_the_connection_was_lost(self) -> None:
        self.declare()
        self.fill("ab")
        other = Client(self.vhost)
        other.call(Basic.Qos(prefetch_count=9))
        self.read(client=other)
        other.connection.lost()
        self.assertEqual(self.read(), "ab")
        self.assertNotIn("again", str(self.client.seen()))

    def test_the_copy_in_a_classic_queue_has_no_offset(self) -> None:
        self.declare()
        self.client.queue("q")
        for name in ("q", "s"):
            self.client.call(Queue.Bind(queue=name, exchange="amq.fanout"))
        self.client.publish("amq.fanout", mandatory=True, headers={"a": 1})
        self.read()
        self.client.call(Basic.Get(queue="q"))
        (got,) = self.client.last
        assert isinstance(got, wire.Content)
        self.assertEqual(got.properties, {"headers": {"a": 1}})

    def test_declared_again_it_begins_at_zero(self) -> None:
        self.declare()
        self.fill("ab")
        self.client.call(Queue.Delete(queue="s"))
        self.declare()
        self.fill("c")
        self.read()
        self.assertEqual((self.bodies(), self.offsets()), ("c", [0]))

    def test_a_deleted_one_tells_its_consumers(self) -> None:
        self.declare()
        self.fill("a")
        self.read()
        lines = self.client.call(Queue.Delete(queue="s", if_unused=True, if_empty=True))
        self.assertEqual(lines, ["queue.deleteok 0", "basic.cancel c True"])
        self.assertEqual(self.client.ack(1), [])
        self.assertEqual(self.vhost.memory.used, 0)


class CreditTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.declare()
        self.client.call(Basic.Qos(prefetch_count=2))

    def test_no_more_than_the_prefetch_is_held(self) -> None:
        self.fill("abcdef")
        self.assertEqual(self.read(), "ab")
        self.assertEqual(self.client.ack(2), ["deliver c 3 c"])
        self.assertEqual(self.client.ack(3, multiple=True), ["deliver c 4 d", "deliver c 5 e"])
        self.assertEqual(
            self.client.ack(0, multiple=True),
            ["deliver c 6 f"],
        )
        self.fill("gh")
        self.assertEqual(self.client.seen(), ["deliver c 7 g"])

    def test_each_consumer_has_its_own(self) -> None:
        self.fill("abc")
        self.assertEqual((self.read(), self.read(tag="d")), ("ab", "ab"))
        self.assertEqual(self.client.ack(3), ["deliver d 5 c"])
        self.assertEqual(self.client.ack(2, multiple=True), ["deliver c 6 c"])

    def test_a_cancelled_one_gets_nothing_for_its_acknowledgements(self) -> None:
        self.fill("abc")
        self.read()
        self.client.call(Basic.Cancel(consumer_tag="c"))
        self.assertEqual(self.client.ack(2, multiple=True), [])

    def test_streams_do_not_count_for_the_shared_prefetch(self) -> None:
        self.client.queue("q")
        self.client.publish("", "q", b"1")
        self.fill("ab")
        self.read()
        self.client.call(Basic.Qos(prefetch_count=1, global_=True))
        self.assertEqual(self.client.consume("q", "d"), ["basic.consumeok d", "deliver d 3 1"])

    def test_nothing_goes_to_a_full_socket(self) -> None:
        self.client.connection.pause_deliveries()
        self.fill("abc")
        self.assertEqual(self.read(), "")
        self.client.connection.resume_deliveries()
        self.client.seen()
        self.assertEqual(self.bodies(), "ab")

    def test_all_there_is_precedes_the_answer_to_qos_even_then(self) -> None:
        self.fill("abc")
        self.client.connection.pause_deliveries()
        self.read()
        self.assertEqual(
            self.client.call(Basic.Qos(prefetch_count=9)),
            ["deliver c 1 a", "deliver c 2 b", "basic.qosok"],
        )

    def test_a_message_of_a_stream_is_not_given_back(self) -> None:
        lines = [
            "connection.close 540 NOT_IMPLEMENTED - basic.nack and basic.reject not supported by "
            "stream queues queue 's' in vhost '/'"
        ]
        self.fill("a")
        for refuse in (
            wire.nack_frame(1, 2, True, True),
            wire.nack_frame(1, 2, False, False),
            wire.method_frame(1, Basic.Reject(delivery_tag=2, requeue=True)),
        ):
            client = Client(self.vhost)
            client.queue("q")
            client.publish("", "q", b"classic")
            client.call(Basic.Get(queue="q"))
            client.call(Basic.Qos(prefetch_count=2))
            self.read(client=client)
            self.assertEqual(client.send(refuse), lines)
            self.assertEqual(self.vhost.queues["q"].message_count, 1)
            self.client.call(Queue.Delete(queue="q"))

    def test_recovering_one_is_more_than_rabbitmq_takes(self) -> None:
        self.fill("a")
        self.read()
        self.assertEqual(
            self.client.call(Basic.Recover(requeue=True)), ["connection.close 541 INTERNAL_ERROR"]
        )


class RetentionTests(StreamTestCase):
    def test_too_many_bytes_go_from_the_head(self) -> None:
        stream = self.declare(x_max_length_bytes=4 * 3)  # a letter and two bytes of properties
        self.fill("abcdef")
        self.assertEqual((self.read(), self.offsets()), ("cdef", [2, 3, 4, 5]))
        self.assertEqual(self.vhost.memory.used, 4 * (OVERHEAD + 3))
        self.assertEqual(stream.log.first, 2)

    def test_the_newest_always_stays(self) -> None:
        self.declare(x_max_length_bytes=0, x_max_age="1s")
        self.fill("abc", every=50)
        self.assertEqual((self.read(), self.offsets()), ("c", [2]))

    def test_too_old_ones_go_within_a_second(self) -> None:
        stream = self.declare(x_max_age="1m")
        self.fill("abcde", every=10)
        self.clock.advance(9.9)
        self.assertEqual(stream.log.first, 0)
        self.clock.advance(0.1)
        self.assertEqual(stream.log.first, 1)
        self.clock.pump([1] * 20)
        self.assertEqual(stream.log.first, 3)
        self.assertEqual(self.vhost.memory.used, 2 * (OVERHEAD + 3))
        self.clock.pump([1] * 200)
        self.assertEqual(len(stream.log), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reader_that_retention_has_passed_goes_on_with_the_first(self) -> None:
        self.declare(x_max_length_bytes=2 * 3)
        self.client.call(Basic.Qos(prefetch_count=1))
        self.fill("a")
        self.read()
        self.fill("bcdef")
        self.client.ack(1)
        self.assertEqual((self.bodies(), self.offsets()), ("e", [4]))

    def test_an_offset_before_the_first_begins_with_the_first(self) -> None:
        self.declare(x_max_length_bytes=2 * 3)
        self.fill("abcdef")
        self.assertEqual(self.read(1), "ef")

    def test_a_deleted_one_leaves_nothing_to_the_clock(self) -> None:
        self.declare(x_max_age="1m")
        self.fill("ab")
        self.client.call(Queue.Delete(queue="s"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_host_stops_without_a_timer_left(self) -> None:
        self.declare(x_max_age="1m")
        self.fill("ab")
        self.vhost.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_length_of_time_is_taken(self) -> None:
        for number, age in enumerate(("1Y", "2M", "9" * 5000 + "h")):
            stream = self.declare(f"s{number}", x_max_age=age)
            for _ in range(2):
                self.client.publish("", stream.name)
            self.clock.advance(86400)
            self.assertEqual(len(stream.log), 2)


class MemoryTests(StreamTestCase):
    def test_what_a_stream_keeps_blocks_publishers_until_retention(self) -> None:
        self.vhost.memory.limit = 2 * (OVERHEAD + 1002)
        self.declare(x_max_age="10s")
        for _ in range(2):
            self.client.publish("", "s", b"x" * 1000)
        self.assertTrue(self.client.reading)
        self.assertEqual(
            self.client.publish("", "s", b"x" * 1000), ["connection.blocked low on memory"]
        )
        self.assertFalse(self.client.reading)
        self.clock.advance(10)
        self.assertFalse(self.vhost.memory.alarmed)
        self.assertEqual(self.vhost.memory.used, OVERHEAD + 1002)


class ArgumentTests(StreamTestCase):
    def refused(self, arguments: dict[str, Any], **properties: Any) -> str:
        client = Client(self.vhost)
        properties = {"queue": "s", "durable": True, **properties}
        given = {"x-queue-type": "stream", **arguments}
        (line,) = client.call(Queue.Declare(arguments=given, **properties))
        return line

    def test_what_streams_can_not_be(self) -> None:
        prefix = "channel.close 406 PRECONDITION_FAILED - "
        cases: list[tuple[dict[str, Any], str]] = [
            ({"durable": False}, "invalid property 'non-durable' for queue 's' in vhost '/'"),
            ({"auto_delete": True}, "invalid property 'auto-delete' for queue 's' in vhost '/'"),
            ({"exclusive": True}, "invalid property 'exclusive-owner' for queue 's' in vhost '/'"),
            ({"queue": ""}, "Cannot declare a server-named queue for type rabbit_stream_queue"),
        ]
        for properties, text in cases:
            self.assertEqual(self.refused({}, **properties), prefix + text)
        self.assertNotIn("s", self.vhost.queues)

    def test_what_streams_can_not_have(self) -> None:
        for key, value in {
            "x-max-length": 3,
            "x-overflow": "drop-head",
            "x-expires": 1000,
            "x-message-ttl": 1000,
            "x-max-priority": 3,
            "x-dead-letter-exchange": "",
            "x-delivery-limit": 1,
        }.items():
            self.assertEqual(
                self.refused({key: value}),
                f"channel.close 406 PRECONDITION_FAILED - invalid arg '{key}' for queue 's' in "
                "vhost '/' of queue type rabbit_stream_queue",
            )

    def test_a_length_of_time_is_a_number_and_its_unit(self) -> None:
        for age in ("7", "7d", "0s", "1h30m"):
            self.assertIn("invalid_max_age", self.refused({"x-max-age": age}))
        for age in ("x", "", "-1D", " 7D"):
            self.assertEqual(
                self.refused({"x-max-age": age}), "connection.close 541 INTERNAL_ERROR"
            )

    def test_an_offset_that_is_none_closes_the_connection(self) -> None:
        self.declare()
        for start in ("x", "", "first ", True, 1.5, [1]):
            client = Client(self.vhost)
            client.call(Basic.Qos(prefetch_count=2))
            line = client.consume("s", arguments={"x-stream-offset": start})
            self.assertEqual(line, ["connection.close 541 INTERNAL_ERROR"])

    def test_consuming_needs_a_prefetch_of_its_own_and_acknowledgements(self) -> None:
        self.declare()
        client = Client(self.vhost)
        self.assertEqual(
            client.consume("s"),
            [
                "channel.close 406 PRECONDITION_FAILED - consumer prefetch count is not set for "
                "'queue 's' in vhost '/''"
            ],
        )
        self.assertEqual(
            self.client.consume("s", no_ack=True),
            [
                "connection.close 540 NOT_IMPLEMENTED - automatic acknowledgement not supported "
                "by stream queues queue 's' in vhost '/'"
            ],
        )

    def test_get_and_purge_are_not_for_streams(self) -> None:
        self.declare()
        for method, name in [
            (Basic.Get(queue="s"), "basic.get"),
            (Queue.Purge(queue="s"), "queue.purge"),
        ]:
            self.assertEqual(
                Client(self.vhost).call(method),
                [
                    f"connection.close 540 NOT_IMPLEMENTED - {name} not supported by stream "
                    "queues queue 's' in vhost '/'"
                ],
            )

    def test_its_declaration_answers_with_zeros(self) -> None:
        self.declare()
        self.fill("abc")
        self.read()
        self.assertEqual(
            self.client.call(Queue.Declare(queue="s", passive=True)), ["queue.declareok s 0 0"]
        )
