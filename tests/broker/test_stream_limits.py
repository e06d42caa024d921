"""What streams keep, what they can not be, and what can not be done with them."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.broker.client import Client
from tests.broker.stream_case import StreamTestCase
from twbridge.broker.messages import OVERHEAD

Basic, Queue = commands.Basic, commands.Queue


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
