"""Publishing through the link to a real RabbitMQ: what is confirmed, and what is refused."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import Any

from tests.integration import witness
from tests.integration.cases import BrokerCase, outcomes, pause
from tests.integration.proxy import Way
from tests.integration.rabbitmq import in_thread
from tests.integration.witness import channel
from twbridge import wire
from twbridge.amqp import Exchange
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    EncodeError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    Unroutable,
)

BODIES = ("café héllo 🐇".encode(), b"\xff\xfe", b"", b"text" * 40_000 + b"\xff" * 140_000)


class ConfirmTests(BrokerCase):
    async def test_a_body_arrives_byte_for_byte_and_fires_on_the_ack(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        for body in BODIES:
            await link.publish("", queue, body, mandatory=True)
        self.assertEqual([body for _, body in await self.drain(queue)], list(BODIES))

    async def test_a_body_of_sixteen_megabytes(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        body = bytes(range(256)) * 65536
        await link.publish("", queue, body, mandatory=True)
        self.assertEqual([body for _, body in await self.drain(queue)], [body])

    async def test_the_default_properties_are_there_and_never_override(self) -> None:
        link = await self.ready(app_id="tests")
        queue = await self.queue()
        before = int(time.time())
        await link.publish("", queue, b"1")
        await link.publish("", queue, b"2")
        mine = {"delivery_mode": 1, "message_id": "m", "timestamp": 7, "app_id": "a"}
        await link.publish("", queue, b"3", mine)
        (one, _), (two, _), (three, _) = await self.drain(queue)
        self.assertEqual((one.app_id, one.delivery_mode), ("tests", 2))
        self.assertTrue(before <= one.timestamp <= time.time())
        self.assertNotEqual(one.message_id, two.message_id)
        self.assertEqual({name: getattr(three, name) for name in mine}, mine)

    async def test_thousands_at_once_are_confirmed_by_multiple_acks_too(self) -> None:
        proxy = await self.proxy()
        readers: dict[int, wire.FrameReader] = {}
        confirms: list[wire.Confirm] = []

        def tap(number: int, way: Way, data: bytes) -> None:
            if way is Way.DOWN:
                reader = readers.setdefault(number, wire.FrameReader())
                events = reader.receive(data)
                confirms.extend(each for each in events if isinstance(each, wire.Confirm))

        proxy.tap = tap
        link = await self.ready(self.url_of(proxy))
        queue = await self.queue()
        published = [link.publish("", queue, b"%d" % number) for number in range(3000)]
        self.assertEqual(Counter(await outcomes(published)), {None: 3000})
        self.assertTrue(any(each.multiple for each in confirms), "the broker sent single acks only")
        found = [int(body) for _, body in await self.drain(queue)]
        self.assertEqual(found, list(range(3000)))

    async def test_a_full_queue_that_rejects_is_a_nack_with_a_readable_text(self) -> None:
        link = await self.ready()
        queue = await self.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await link.publish("", queue, b"fits")
        error = await self.failure(link.publish("", queue, b"too many"), Nacked)
        self.assertEqual(error.code, "nacked")
        self.assertIn("refused", str(error))
        await link.publish("", await self.queue(), b"the others go on")

    async def test_without_confirmations_it_fires_when_written(self) -> None:
        link = await self.ready(confirmations=False)
        queue = await self.queue()
        await link.publish("", queue, b"x")
        await link.publish("", queue, b"y")
        found: list[bytes] = []
        while len(found) < 2:
            found += [body for _, body in await self.drain(queue)]
        self.assertEqual(found, [b"x", b"y"])


class ReturnTests(BrokerCase):
    async def test_unroutable_is_312_and_told_to_on_return_and_never_published(self) -> None:
        link = await self.ready()
        returned: list[wire.Content] = []
        link.on_return(returned.append)
        error = await self.failure(
            link.publish("amq.topic", "nobody", b"b\xff", {"message_id": "m"}, mandatory=True),
            Unroutable,
        )
        self.assertEqual((error.reply_code, error.reply_text), (312, "NO_ROUTE"))
        (content,) = returned
        self.assertEqual(content.body, b"b\xff")
        self.assertEqual(content.properties["message_id"], "m")
        self.assertEqual(content.method.routing_key, "nobody")
        await link.publish("amq.topic", "nobody", b"not mandatory: nobody needs to take it")
        self.assertEqual(len(returned), 1)

    async def test_each_return_meets_its_own_message_among_many_in_flight(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        keys = [queue if number % 3 else "nobody" for number in range(600)]
        same = {"message_id": "the same for all"}
        result = await outcomes([link.publish("", key, b"", same, mandatory=True) for key in keys])
        self.assertEqual(
            [type(each) for each in result],
            [type(None) if key == queue else Unroutable for key in keys],
        )
        self.assertEqual(len(await self.drain(queue)), 400)


class IsolationTests(BrokerCase):
    async def test_a_missing_exchange_fails_alone(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        good = [link.publish("", queue, b"before", mandatory=True) for _ in range(300)]
        bad = [link.publish("no.such.exchange", "k", b"") for _ in range(3)]
        good += [link.publish("", queue, b"after", mandatory=True) for _ in range(300)]
        self.assertEqual(Counter(await outcomes(good)), {None: 600})
        for error in await outcomes(bad):
            self.assertIsInstance(error, ChannelClosed)
            self.assertEqual((error.reply_code, error.code), (404, "not_found"))
            self.assertIn("no exchange 'no.such.exchange'", error.reply_text)
            self.assertNotIn("no.such.exchange", error.public)
        self.assertEqual(link.state, "ready")

    async def test_an_exchange_deleted_meanwhile_fails_alone_and_works_again_when_back(
        self,
    ) -> None:
        link = await self.ready()
        queue = await self.queue()
        name = f"test.{uuid.uuid4()}"

        def with_channel(what: str, **settings: Any) -> None:
            with channel(self.node.url()) as opened:
                getattr(opened, what)(name, **settings)

        await in_thread(with_channel, "exchange_declare", exchange_type="fanout")
        await link.publish(name, "", b"it is there")
        await in_thread(with_channel, "exchange_delete")
        good = [link.publish("", queue, b"", mandatory=True) for _ in range(100)]
        error = await self.failure(link.publish(name, "", b"it is gone"), ChannelClosed)
        self.assertEqual(error.reply_code, 404)
        self.assertEqual(Counter(await outcomes(good)), {None: 100})
        await in_thread(with_channel, "exchange_declare", exchange_type="fanout")
        await link.publish(name, "", b"it is back")
        await in_thread(with_channel, "exchange_delete")

    async def test_an_internal_exchange_is_refused_with_403_alone(self) -> None:
        link = await self.ready()
        name = f"test.{uuid.uuid4()}"
        await link.declare(Exchange(name, "fanout", durable=False, auto_delete=True, internal=True))
        self.addCleanup(lambda: in_thread(self.remove, name))
        error = await self.failure(link.publish(name, "", b""), ChannelClosed)
        self.assertEqual((error.reply_code, error.code), (403, "forbidden"))
        await link.publish("amq.topic", "k", b"")
        self.assertEqual(link.state, "ready")

    def remove(self, name: str) -> None:
        with channel(self.node.url()) as opened:
            opened.exchange_delete(name)

    async def test_more_exchanges_than_channels(self) -> None:
        link = await self.ready(channels=2)
        names = ["amq.topic", "amq.direct", "amq.fanout", "amq.headers", ""]
        for _ in range(3):
            published = [link.publish(name, "k", b"") for name in names]
            self.assertEqual(Counter(await outcomes(published)), {None: 5})

    async def test_what_can_not_be_encoded_is_told_and_harms_nothing(self) -> None:
        link = await self.ready()
        queue = await self.queue()
        good = [link.publish("", queue, b"", mandatory=True) for _ in range(50)]
        bad: list[tuple[str, dict[str, Any]]] = [
            (queue, {"headers": {"h": object()}}),
            (queue, {"headers": {"h": 2**64}}),
            (queue, {"headers": {"k" * 256: 1}}),
            (queue, {"headers": {"h": "x" * 200_000}}),
            (queue, {"message_id": "x" * 256}),
            (queue, {"delivery_mode": "two"}),
            (queue, {"timestamp": -1}),
            (queue, {"no_such_property": 1}),
            ("k" * 256, {}),
            ("é" * 128, {}),
            ("\ud800", {}),
        ]
        for key, properties in bad:
            await self.failure(link.publish("", key, b"", properties), EncodeError)
        self.assertEqual(Counter(await outcomes(good)), {None: 50})
        await link.publish("", queue, b"", mandatory=True)
        self.assertEqual(link.state, "ready")


class WaitingTests(BrokerCase):
    async def test_a_publish_while_down_waits_until_the_timeout_and_then_is_not_ready(
        self,
    ) -> None:
        proxy = await self.proxy()
        await proxy.refuse()
        link = self.link(self.url_of(proxy), timeout=0.6)
        before = time.monotonic()
        shorter = link.publish("", "q", b"", timeout=0.2)
        longer = link.publish("", "q", b"")
        await self.failure(shorter, NotReady)
        self.assertFalse(longer.called)
        self.assertGreaterEqual(time.monotonic() - before, 0.2)
        error = await self.failure(longer, NotReady)
        self.assertTrue(0.6 <= time.monotonic() - before < 5.0)
        self.assertEqual(error.code, "not_ready")
        self.assertEqual(proxy.carried[Way.UP], 0)

    async def test_a_publish_while_down_is_sent_when_the_link_comes_up_in_time(self) -> None:
        proxy = await self.proxy()
        await proxy.refuse()
        queue = await self.queue()
        link = self.link(self.url_of(proxy))
        waiting = link.publish("", queue, b"patience", mandatory=True)
        await pause(0.3)
        self.assertFalse(waiting.called)
        proxy.accept()
        await waiting
        self.assertEqual(len(await self.drain(queue)), 1)

    async def test_a_connection_lost_before_the_confirm_is_an_unknown_outcome(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        queue = await self.queue()
        await link.publish("", queue, b"opens the channel")
        proxy.stall(Way.DOWN)
        sent = [link.publish("", queue, b"?") for _ in range(10)]
        # A reset would take from the broker what it has not read yet.
        while await in_thread(witness.counts, self.node.url(), queue) != (11, 0):
            self.assertFalse(any(each.called for each in sent))
        proxy.reset()
        for error in await outcomes(sent):
            self.assertIs(type(error), OutcomeUnknown)
            self.assertEqual(error.code, "unknown")
        proxy.resume()
        await link.publish("", queue, b"again")
        self.assertEqual(len(await self.drain(queue)), 12, "they had been published after all")

    async def test_a_confirm_that_does_not_come_in_time_is_a_timeout_and_the_link_lives(
        self,
    ) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        queue = await self.queue()
        await link.publish("", queue, b"opens the channel")
        proxy.stall(Way.DOWN)
        before = time.monotonic()
        error = await self.failure(link.publish("", queue, b"", timeout=0.5), ConfirmTimeout)
        self.assertTrue(0.5 <= time.monotonic() - before < 5.0)
        self.assertEqual(error.code, "timeout")
        proxy.resume()
        await link.publish("", queue, b"later")
        self.assertEqual(proxy.accepted, 2, "no connection was lost for it")

    async def test_no_more_than_the_window_is_unconfirmed_and_pressure_is_told(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy), window=10)
        queue = await self.queue()
        pressure: list[bool] = []
        await link.publish("", queue, b"opens the channel")
        link.on_pressure(pressure.append)
        proxy.stall(Way.DOWN)
        before = proxy.carried[Way.UP]
        sent = [link.publish("", queue, b"x" * 1000) for _ in range(100)]
        self.assertTrue(link.pressed)
        await self.until(lambda: proxy.carried[Way.UP] - before >= 10_000)
        await pause(0.2)
        self.assertLess(proxy.carried[Way.UP] - before, 13_000, "eleven or more were sent")
        self.assertEqual(pressure, [True])
        proxy.resume()
        self.assertEqual(Counter(await outcomes(sent)), {None: 100})
        await self.until(lambda: not link.pressed)
        self.assertEqual(pressure, [True, False])
