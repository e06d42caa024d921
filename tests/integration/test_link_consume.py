"""Consuming through the link from a real RabbitMQ: fidelity, acks, bindings, and their ends."""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
from typing import Any

from pamqp import commands
from twisted.internet.defer import DeferredQueue

from tests.integration import witness
from tests.integration.cases import BrokerCase, pause
from tests.integration.rabbitmq import in_thread
from tests.integration.test_link_publish import BODIES
from twbridge.amqp import Exchange, Queue
from twbridge.errors import ChannelClosed, ProtocolClosed
from twbridge.wire import Delivery

HEADERS: dict[str, Any] = {
    "text": "café 🐇",
    "empty": "",
    "bytes": b"\xff\xfe\x00",
    "true": True,
    "false": False,
    "none": None,
    "zero": 0,
    "byte": -100,
    "short": -30_000,
    "long": 2**31 - 1,
    "past long": 2**31,
    "longlong": -(2**63),
    "longest": 2**63 - 1,
    "float": 1.5,
    "list": [1, "two", None, [3.25], {"four": 5}],
    "table": {"deep": {"deeper": [True, b"\xff"]}},
    "nothing": {},
    "none of it": [],
    "decimal": decimal.Decimal("-3.14159"),
    "time": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "é": "a key that is not ASCII",
}
PROPERTIES: dict[str, Any] = {
    "content_type": "text/plain; charset=utf-8",
    "content_encoding": "identity",
    "delivery_mode": 1,
    "priority": 9,
    "correlation_id": "c-é",
    "reply_to": "r",
    "expiration": "600000",
    "message_id": "m",
    "timestamp": 1_700_000_000,
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
    "cluster_id": "x",
}


class DeliveryTests(BrokerCase):
    async def test_bodies_from_another_client_arrive_byte_for_byte(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        got: DeferredQueue[Delivery] = DeferredQueue()
        await link.consume(Queue(queue, passive=True), got.put, no_ack=True)
        bodies = [*BODIES, bytes(range(256)) * 65536]
        await in_thread(witness.publish, self.node.url(), "", queue, *bodies)
        for body in bodies:
            delivery = await got.get()
            self.assertTrue(delivery.body == body, f"{len(body)} bytes differ")
            self.assertEqual((delivery.exchange, delivery.routing_key), ("", queue))
            self.assertFalse(delivery.redelivered)

    async def test_every_property_and_field_type_survives_both_ways(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        got: DeferredQueue[Delivery] = DeferredQueue()
        consumer = await link.consume(Queue(queue, passive=True), got.put, no_ack=True)
        sent = PROPERTIES | {"headers": HEADERS}
        await link.publish("", queue, b"", sent)
        delivery = await got.get()
        received = delivery.properties
        self.assertEqual(dict(received) | {"headers": None}, PROPERTIES | {"headers": None})
        for name, value in HEADERS.items():
            self.assertEqual(received["headers"][name], value, name)
        seen = commands.Basic.Properties()  # another codec reads the same bytes
        (flags,) = struct.unpack_from(">H", delivery.raw_properties)
        seen.unmarshal(flags, delivery.raw_properties[2:])
        for name in HEADERS:
            if name != "bytes":  # pamqp takes every long string for text
                self.assertEqual((seen.headers or {})[name], HEADERS[name], name)
        await consumer.cancel()
        await link.publish("", queue, b"", PROPERTIES)
        ((read, _),) = await self.drain(queue)  # and so does another client
        for name, value in PROPERTIES.items():
            self.assertEqual(getattr(read, name), value, name)

    async def test_what_another_client_puts_into_headers_is_readable(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        got: DeferredQueue[Delivery] = DeferredQueue()
        await link.consume(Queue(queue, passive=True), got.put, no_ack=True)
        headers = {name: HEADERS[name] for name in ("text", "true", "none", "table", "longest")}
        headers |= {"naive": datetime.datetime(2026, 1, 2), "list": [1, "two", {"three": []}]}
        await in_thread(
            witness.publish, self.node.url(), "", queue, b"", properties={"headers": headers}
        )
        received = (await got.get()).headers
        utc = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        self.assertEqual(received, headers | {"naive": utc})

    async def test_the_history_of_a_dead_letter_is_readable(self) -> None:
        link = await self.ready()
        dead = await self.queue()
        queue = await self.queue(
            arguments={
                "x-message-ttl": 1,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead,
            }
        )
        got: DeferredQueue[Delivery] = DeferredQueue()
        await link.consume(Queue(dead, passive=True), got.put, no_ack=True)
        await link.publish("", queue, b"perishable")
        delivery = await got.get()
        self.assertEqual(delivery.body, b"perishable")
        (death,) = delivery.headers["x-death"]
        self.assertEqual((death["queue"], death["reason"], death["count"]), (queue, "expired", 1))
        self.assertEqual(death["routing-keys"], [queue])
        self.assertIsInstance(death["time"], datetime.datetime)
        self.assertEqual(link.state, "ready")

    async def test_a_callback_that_fails_stops_nothing(self) -> None:
        link = await self.ready()
        got: list[bytes] = []

        def fails_once(delivery: Delivery) -> None:
            got.append(delivery.body)
            if len(got) == 1:
                raise ZeroDivisionError

        consumer = await link.consume(Queue(), fails_once, no_ack=True)
        await link.publish("", consumer.queue_name, b"1", mandatory=True)
        await link.publish("", consumer.queue_name, b"2", mandatory=True)
        await self.until(lambda: len(got) == 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class AckTests(BrokerCase):
    async def test_no_more_than_prefetch_is_delivered_and_acks_let_more_through(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        got: list[Delivery] = []
        consumer = await link.consume(Queue(queue, passive=True), got.append, prefetch=2)
        for number in range(6):
            await link.publish("", queue, b"%d" % number)
        await self.until(lambda: len(got) == 2)
        await pause(0.1)
        self.assertEqual(len(got), 2)
        self.assertTrue(consumer.ack(got[1].delivery_tag, multiple=True))
        await self.until(lambda: len(got) == 4)
        self.assertTrue(consumer.nack(got[2].delivery_tag, requeue=True))
        await self.until(lambda: len(got) == 5)
        self.assertTrue(got[4].redelivered)
        self.assertEqual(got[4].body, b"2")
        self.assertTrue(consumer.nack(got[3].delivery_tag, requeue=False))
        await self.until(lambda: len(got) == 6)
        await consumer.cancel()
        bodies = [body for _, body in await self.drain(queue)]
        self.assertEqual(bodies, [b"2", b"4", b"5"], "what was not acked went back, in order")

    async def test_an_ack_for_what_an_earlier_connection_delivered_hits_nothing(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        queue = await self.queue()
        got: list[Delivery] = []
        consumer = await link.consume(Queue(queue, passive=True), got.append, prefetch=1)
        await link.publish("", queue, b"one")
        await self.until(lambda: len(got) == 1)
        proxy.reset()
        await self.until(lambda: len(got) == 2)
        self.assertTrue(got[1].redelivered)
        await self.state(link, "ready")
        lost: list[object] = []
        link.on_unavailable(lambda *reason: lost.append(reason))
        self.assertFalse(consumer.ack(got[0].delivery_tag))
        self.assertTrue(consumer.ack(got[1].delivery_tag))
        await consumer.cancel()
        self.assertEqual(lost, [], "the broker was not told of a tag that it never gave")
        self.assertEqual(await self.drain(queue), [])


class BindingTests(BrokerCase):
    async def test_bind_fires_when_messages_arrive_and_unbind_when_they_do_not(self) -> None:
        link = await self.ready()
        got: list[str] = []
        consumer = await link.consume(
            Queue(), lambda delivery: got.append(delivery.routing_key), no_ack=True
        )
        await consumer.bind("amq.topic", "a.#")
        await consumer.bind("amq.topic", "b.*")
        for key in ("a.1", "b.1", "c.1"):
            await link.publish("amq.topic", key, b"")
        await self.until(lambda: got == ["a.1", "b.1"])
        await consumer.unbind("amq.topic", "a.#")
        for key in ("a.2", "b.2"):
            await link.publish("amq.topic", key, b"")
        await self.until(lambda: got == ["a.1", "b.1", "b.2"])

    async def test_a_binding_to_a_missing_exchange_fails_alone(self) -> None:
        link = await self.ready()
        got: list[str] = []
        consumer = await link.consume(
            Queue(), lambda delivery: got.append(delivery.routing_key), no_ack=True
        )
        good = [consumer.bind("amq.topic", f"k{number}") for number in range(50)]
        bad = consumer.bind("no.such.exchange", "k")
        good += [consumer.bind("amq.topic", f"k{number}") for number in range(50, 100)]
        error = await self.failure(bad, ChannelClosed)
        self.assertEqual((error.reply_code, error.code), (404, "not_found"))
        for each in good:
            await each
        for key in ("k0", "k99"):
            await link.publish("amq.topic", key, b"", mandatory=True)
        await self.until(lambda: got == ["k0", "k99"])

    async def test_an_exchange_with_other_properties_is_a_conflict(self) -> None:
        link = await self.ready()
        name = f"test.{uuid.uuid4()}"
        await link.declare(Exchange(name, "fanout", durable=False))
        self.addCleanup(lambda: in_thread(self.remove, name))
        other = await self.ready()
        error = await self.failure(other.declare(Exchange(name, "topic")), ChannelClosed)
        self.assertEqual((error.reply_code, error.code), (406, "conflict"))
        await other.publish(name, "", b"it is usable nevertheless")

    def remove(self, name: str) -> None:
        with witness.channel(self.node.url()) as opened:
            opened.exchange_delete(name)


class EndTests(BrokerCase):
    async def test_a_deleted_queue_ends_its_consumer_at_once_and_no_other(self) -> None:
        link = await self.ready()
        queue, other = await self.queue(), await self.queue()
        ends: list[ProtocolClosed] = []
        others: list[ProtocolClosed] = []
        got: list[bytes] = []
        await link.consume(Queue(queue, passive=True), lambda _: None, on_end=ends.append)
        await link.consume(
            Queue(other, passive=True),
            lambda delivery: got.append(delivery.body),
            no_ack=True,
            on_end=others.append,
        )
        await in_thread(witness.delete, self.node.url(), queue)
        # There is no other way to hear of it: nothing is sent to it, and nothing is asked.
        await self.until(lambda: ends)
        self.assertEqual([(end.reply_code, end.code) for end in ends], [(404, "not_found")])
        await link.publish("", other, b"x", mandatory=True)
        await self.until(lambda: got == [b"x"])
        await pause(0.1)
        self.assertEqual((len(ends), others, link.state), (1, [], "ready"))

    async def test_a_queue_that_is_not_there_is_refused(self) -> None:
        link = await self.ready()
        name = f"test.{uuid.uuid4()}"
        error = await self.failure(
            link.consume(Queue(name, passive=True), lambda _: None), ChannelClosed
        )
        self.assertEqual(error.reply_code, 404)
        self.assertEqual(link.state, "ready")

    async def test_another_connections_exclusive_queue_is_refused(self) -> None:
        link, other = await self.ready(), await self.ready()
        consumer = await link.consume(Queue(), lambda _: None)
        error = await self.failure(
            other.consume(Queue(consumer.queue_name, passive=True), lambda _: None), ChannelClosed
        )
        self.assertEqual((error.reply_code, error.code), (405, "conflict"))

    async def test_a_cancelled_consumer_leaves_nothing_behind(self) -> None:
        link = await self.ready()
        ends: list[ProtocolClosed] = []
        consumer = await link.consume(Queue(), lambda _: None, on_end=ends.append)
        name = consumer.queue_name
        self.assertIn(name, await self.names("queues"))
        await consumer.cancel()
        self.assertNotIn(name, await self.names("queues"))
        self.assertEqual(ends, [], "we asked for it")

    async def test_a_stopped_link_leaves_nothing_behind(self) -> None:
        link = await self.ready(name=f"link-{uuid.uuid4()}")
        consumer = await link.consume(Queue(), lambda _: None)
        await consumer.bind("amq.topic", "x")
        mine = [name for name in await self.clients() if name.startswith(link.options.name)]
        self.assertEqual(
            sorted(mine), [f"{link.options.name} consume", f"{link.options.name} publish"]
        )
        unsettled = link.publish("amq.topic", "x", b"settles before the end")
        await link.stop()
        self.assertTrue(unsettled.called)
        await unsettled
        self.assertEqual((link.state, link.closable), ("closed", False))
        self.assertNotIn(consumer.queue_name, await self.names("queues"))
        mine = [name for name in await self.clients() if name.startswith(link.options.name)]
        self.assertEqual(mine, [])

    async def names(self, what: str) -> list[str]:
        return [row["name"] for row in await in_thread(self.node.list, what, "name")]

    async def clients(self) -> list[str]:
        """The connection names that the broker shows."""
        rows = await in_thread(self.node.list, "connections", "client_properties")
        found = []
        for row in rows:
            for name, _kind, value in row["client_properties"]:
                if name == "connection_name":
                    found.append(value)
        return found
