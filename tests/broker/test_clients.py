"""pika and aio-pika, unchanged, as clients of the embedded broker over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pika
import pika.exceptions
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from twbridge.broker import EmbeddedBroker, Limits

Properties = pika.BasicProperties
STREAM = {"x-queue-type": "stream", "x-max-age": "7D", "x-max-length-bytes": 1_000_000}


class BrokerTestCase(TestCase):
    timeout = 30
    limits = Limits()

    async def setUp(self) -> None:  # type: ignore[override]
        self.broker = EmbeddedBroker(reactor, limits=self.limits)
        await self.broker.listen(port=0)
        self.addCleanup(self.broker.stop)


class PikaTests(BrokerTestCase):
    async def run_pika(
        self, body: Callable[[pika.adapters.blocking_connection.BlockingChannel], Any]
    ) -> Any:
        """Run ``body`` with a channel of a connection of its own, in a thread."""

        def run() -> Any:
            connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
            try:
                return body(connection.channel())
            finally:
                if connection.is_open:
                    connection.close()

        return await deferToThread(run)

    async def test_publish_confirmed_and_get(self) -> None:
        def body(channel: Any) -> None:
            channel.confirm_delivery()
            channel.exchange_declare("x", "topic", durable=True)
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, "x", "chat.#")
            sent = Properties(
                content_type="text/plain", headers={"n": 1, "t": {"x": [None, True, 15]}}
            )
            channel.basic_publish("x", "chat.a.b", b"hello", sent, mandatory=True)
            method, properties, content = channel.basic_get(queue, auto_ack=True)
            self.assertEqual((method.exchange, method.routing_key), ("x", "chat.a.b"))
            self.assertEqual(properties.headers, sent.headers)
            self.assertEqual((properties.content_type, content), ("text/plain", b"hello"))
            self.assertEqual(channel.basic_get(queue), (None, None, None))

        await self.run_pika(body)

    async def test_an_unroutable_and_a_refused_publish_raise(self) -> None:
        def body(channel: Any) -> None:
            channel.confirm_delivery()
            with self.assertRaises(pika.exceptions.UnroutableError) as caught:
                channel.basic_publish("amq.topic", "nobody", b"x", mandatory=True)
            self.assertEqual(caught.exception.messages[0].method.reply_code, 312)
            full = {"x-max-length": 0, "x-overflow": "reject-publish"}
            channel.queue_declare("full", exclusive=True, arguments=full)
            with self.assertRaises(pika.exceptions.NackError):
                channel.basic_publish("", "full", b"x")
            channel.basic_publish("", "nobody", b"x")

        await self.run_pika(body)

    async def test_consume_with_prefetch_ack_nack_and_cancel(self) -> None:
        def body(channel: Any) -> None:
            channel.queue_declare("q")
            for number in range(5):
                channel.basic_publish("", "q", str(number).encode())
            channel.basic_qos(prefetch_count=2)
            seen: list[tuple[bytes, bool]] = []
            for method, _, content in channel.consume("q", inactivity_timeout=5):
                seen.append((content, method.redelivered))
                if content == b"1" and not method.redelivered:
                    channel.basic_nack(method.delivery_tag, requeue=True)
                elif content == b"3":
                    channel.basic_reject(method.delivery_tag, requeue=False)
                else:
                    channel.basic_ack(method.delivery_tag)
                if len(seen) == 6:
                    break
            self.assertEqual(channel.cancel(), 0)
            self.assertEqual(
                sorted(seen),
                sorted([(b"1", True), *((str(n).encode(), False) for n in range(5))]),
            )
            self.assertEqual(channel.queue_delete("q").method.message_count, 0)

        await self.run_pika(body)

    async def test_read_a_stream_again_and_again(self) -> None:
        def body(channel: Any) -> None:
            channel.confirm_delivery()
            channel.queue_declare("s", durable=True, arguments=STREAM)
            for number in range(20):
                channel.basic_publish("", "s", b"%d" % number, mandatory=True)
            channel.basic_qos(prefetch_count=3)
            for start in (0, 7, 17):
                seen = []
                for method, properties, content in channel.consume(
                    "s", arguments={"x-stream-offset": start}, inactivity_timeout=5
                ):
                    seen.append((properties.headers["x-stream-offset"], content))
                    channel.basic_ack(method.delivery_tag)
                    if len(seen) == 20 - start:
                        break
                self.assertEqual(channel.cancel(), 0)
                self.assertEqual(seen, [(n, b"%d" % n) for n in range(start, 20)])
            self.assertEqual(channel.queue_delete("s").method.message_count, 0)

        await self.run_pika(body)

    async def test_a_deleted_queue_cancels_its_consumer(self) -> None:
        def body(channel: Any) -> None:
            channel.queue_declare("q")
            cancelled: list[str] = []
            channel.add_on_cancel_callback(
                lambda frame: cancelled.append(frame.method.consumer_tag)
            )
            tag = channel.basic_consume("q", lambda *_: None)
            other = channel.connection.channel()
            other.queue_delete("q")
            channel.connection.process_data_events(0)
            self.assertEqual(cancelled, [tag])

        await self.run_pika(body)

    async def test_errors_carry_their_code_and_text(self) -> None:
        def body(channel: Any) -> None:
            with self.assertRaises(pika.exceptions.ChannelClosedByBroker) as caught:
                channel.queue_declare("missing", passive=True)
            self.assertEqual(
                (caught.exception.reply_code, caught.exception.reply_text),
                (404, "NOT_FOUND - no queue 'missing' in vhost '/'"),
            )
            self.assertTrue(channel.connection.channel().is_open)

        await self.run_pika(body)

    async def test_a_wrong_password_is_told(self) -> None:
        def run() -> None:
            url = self.broker.url.replace("guest:guest", "guest:wrong")
            with self.assertRaises(pika.exceptions.ProbableAuthenticationError) as caught:
                pika.BlockingConnection(pika.URLParameters(url))
            self.assertIn("ACCESS_REFUSED", str(caught.exception))

        await deferToThread(run)

    async def test_stopping_closes_the_clients(self) -> None:
        def run() -> tuple[Any, Any]:
            connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
            return connection, connection.channel()

        connection, channel = await deferToThread(run)
        stopped = self.broker.stop()

        def wait() -> None:
            with self.assertRaises(pika.exceptions.ConnectionClosedByBroker) as caught:
                while True:
                    connection.process_data_events(5)
            self.assertEqual(caught.exception.reply_code, 320)
            self.assertTrue(channel.is_closed)

        await deferToThread(wait)
        await stopped
        self.assertEqual(self.broker.clients, set())


class SmallFrameTests(PikaTests):
    """All of it again with the smallest frames."""

    limits = Limits(frame_max=4096)

    async def test_a_large_body_is_split_and_put_together(self) -> None:
        body_sent = bytes(range(256)) * 5000

        def body(channel: Any) -> None:
            channel.queue_declare("q", exclusive=True)
            channel.confirm_delivery()
            channel.basic_publish("", "q", body_sent)
            channel.basic_publish("", "q", b"")
            self.assertEqual(channel.basic_get("q")[2], body_sent)
            self.assertEqual(channel.basic_get("q")[2], b"")

        await self.run_pika(body)


class AioPikaTests(BrokerTestCase):
    async def run_aio(self, body: Callable[[Any], Awaitable[None]]) -> None:
        async def connected() -> None:
            connection = await aio_pika.connect(self.broker.url)
            async with connection:
                await body(connection)

        await deferToThread(asyncio.run, connected())

    async def test_work_queue_with_confirms(self) -> None:
        async def body(connection: Any) -> None:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=2)
            queue = await channel.declare_queue("work", durable=True)
            exchange = await channel.declare_exchange("jobs", aio_pika.ExchangeType.DIRECT)
            await queue.bind(exchange, "go")
            for number in range(10):
                await exchange.publish(
                    aio_pika.Message(str(number).encode(), message_id=f"m{number}"), "go"
                )
            seen = []
            async with queue.iterator(timeout=5) as messages:
                async for message in messages:
                    async with message.process():
                        seen.append((message.body, message.message_id))
                    if len(seen) == 10:
                        break
            self.assertEqual(seen, [(str(n).encode(), f"m{n}") for n in range(10)])
            await queue.unbind(exchange, "go")
            await queue.delete()

        await self.run_aio(body)

    async def test_the_history_of_a_stream_and_what_follows(self) -> None:
        async def body(connection: Any) -> None:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=5)
            stream = await channel.declare_queue("s", durable=True, arguments=STREAM)
            exchange = await channel.get_exchange("amq.topic")
            await stream.bind(exchange, "chat.#")
            seen = []
            for number in range(10):
                await exchange.publish(aio_pika.Message(b"%d" % number), "chat.a")
            arguments = {"x-stream-offset": "first"}
            async with stream.iterator(arguments=arguments, timeout=5) as messages:
                async for message in messages:
                    seen.append((message.headers["x-stream-offset"], message.body))
                    await message.ack()
                    if len(seen) == 10:
                        await exchange.publish(aio_pika.Message(b"10"), "chat.b")
                    elif len(seen) == 11:
                        break
            self.assertEqual(seen, [(n, b"%d" % n) for n in range(11)])

        await self.run_aio(body)

    async def test_a_returned_message_raises(self) -> None:
        async def body(connection: Any) -> None:
            channel = await connection.channel(on_return_raises=True)
            with self.assertRaises(aio_pika.exceptions.DeliveryError):
                await channel.default_exchange.publish(
                    aio_pika.Message(b"x"), "nobody", mandatory=True
                )

        await self.run_aio(body)

    async def test_the_four_types_of_exchange(self) -> None:
        async def body(connection: Any) -> None:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            for kind, key, arguments in [
                ("direct", "k", None),
                ("fanout", "", None),
                ("topic", "*.#", None),
                ("headers", "", {"x-match": "any", "h": "v"}),
            ]:
                exchange = await channel.get_exchange(f"amq.{kind}")
                await queue.bind(exchange, key, arguments=arguments)
                message = aio_pika.Message(kind.encode(), headers={"h": "v"})
                await exchange.publish(message, "k")
                received = await queue.get(timeout=5)
                await received.ack()
                self.assertEqual(received.body, kind.encode())

        await self.run_aio(body)
