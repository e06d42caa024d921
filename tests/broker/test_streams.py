"""Streams are read by many, from anywhere, each as far as it acknowledges."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from tests.broker.client import Client
from tests.broker.stream_case import StreamTestCase
from twbridge import wire

Basic, Queue = commands.Basic, commands.Queue


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
        self.assertEqual(delivery.raw_properties.count(b"x-stream-offset"), 1)

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

    @given(
        st.integers(1, 4),
        st.lists(
            st.one_of(
                st.sampled_from(["publish", "full", "free", "qos"]),
                st.tuples(st.integers(1, 5), st.booleans()),
            ),
            max_size=50,
        ),
    )
    def test_a_reader_misses_nothing_and_holds_no_more_than_its_prefetch(
        self, prefetch: int, steps: list[str | tuple[int, bool]]
    ) -> None:
        self.setUp()
        client, offsets, held = self.client, list[int](), list[int]()

        def take() -> None:
            for event in client.last:
                if isinstance(event, wire.Delivery):
                    offsets.append(event.properties["headers"]["x-stream-offset"])
                    held.append(event.delivery_tag)

        client.call(Basic.Qos(prefetch_count=prefetch))
        self.read()
        published, full = 0, False
        for step in steps:
            if step == "publish":
                self.fill("x")
                published += 1
            elif step == "full":
                client.connection.pause_deliveries()
                full = True
            elif step == "free":
                client.connection.resume_deliveries()
                full = False
            elif isinstance(step, tuple) and held:
                place = min(step[0], len(held)) - 1
                client.ack(held[place], multiple=step[1])
                take()
                held[:] = held[place + 1 :] if step[1] else held[:place] + held[place + 1 :]
                continue
            if step == "qos":
                client.call(Basic.Qos(prefetch_count=9))
            else:
                client.seen()
            take()
            self.assertEqual(offsets, list(range(len(offsets))))
            self.assertLessEqual(len(held), prefetch)
            if step == "qos" or not full:
                self.assertTrue(len(held) == prefetch or len(offsets) == published)
