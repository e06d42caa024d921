"""Each trap of txAMQP 0.8.2: the stock client falls in, our link on top of it does not.

 1. a received body that looks like text is measured in characters
 2. a body whose frames are text and binary by turns loses a part, or breaks
 3. what is published in other letters than ASCII has a wrong length on the wire
 4. field tables know four of the types: a dead letter ends the connection
 5. a header of another type stops the writer for ever, in silence
 6. a method that the delegate does not know (ack, nack, cancel, ...) ends the connection
 7. after a channel error consumers wait for ever, and the channel's id is lost
 8. the Deferred of a publish says nothing about its fate
 9. a call with no-wait never returns
10. after a cancelled call each answer goes to the wrong one
11. URLs: no decoding, no port beside a password, no TLS, no second host
12. a broker that does not read fills the memory
13. frame_max 0 sends no bodies
14. heartbeats are off
15. nothing is told about us: no cancel-notify, no reason for a refused login
16. queues run on the global reactor, whatever the clock
17. two exceptions named Closed have nothing in common
18. a message is three writes

One list, one file.
"""

from __future__ import annotations

import gc
import uuid
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from txamqp import client as txamqp_client
from txamqp import queue as txamqp_queue
from txamqp.client import TwistedDelegate
from txamqp.content import Content
from txamqp.endpoint import AMQEndpoint
from txamqp.protocol import AMQClient

from tests.integration import stock, witness
from tests.integration.cases import clock, outcomes, pause
from tests.integration.proxy import Way
from tests.integration.rabbitmq import in_thread
from tests.integration.test_link_faults import MEGABYTE, resident
from tests.integration.trap_cases import TrapCase
from twbridge.amqp import Queue, parse
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    ConnectionClosed,
    EncodeError,
    LinkError,
    NotReady,
    OutcomeUnknown,
)
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.endpoints import endpoint
from twbridge.link.uri import Parameters

SOON = 0.4
"""Seconds in which a healthy client would long have had what does not come."""


class BodyTests(TrapCase):
    """Traps 1 to 3: bodies taken for text and measured in characters."""

    async def test_the_stock_client_works_on_what_is_plain(self) -> None:
        queue = await self.queue()
        client, got = await self.stock_consumer(queue)
        channel = await client.channel(1)
        await channel.basic_publish(exchange="", routing_key=queue, content=Content("plain"))
        await self.publish(queue, b"text")
        await self.publish(queue, b"\xff" * 300_000)
        await self.until(lambda: len(got) == 3)
        self.assertEqual([each.body for each in got], ["plain", "text", b"\xff" * 300_000])
        self.assertFalse(client.closed)

    async def test_trap_01_a_received_body_that_is_not_ascii(self) -> None:
        queue = await self.queue()
        client, got = await self.stock_consumer(queue)
        await self.publish(queue, "café".encode())
        await pause(SOON)
        self.assertEqual((got, client.closed), ([], False), "stock: it never completes")
        await self.publish(queue, b"next")
        await self.until(lambda: client.closed)
        self.assertEqual(got, [], "stock: and the next one ends the connection")

        ours = await self.our_consumer(queue)
        await self.publish(queue, "café".encode(), b"next")
        self.assertEqual((await ours.get()).body, "café".encode())
        self.assertEqual((await ours.get()).body, b"next")

    async def test_trap_02_a_body_of_text_frames_and_binary_frames(self) -> None:
        text, binary = b"t" * (131072 - 8), b"\xff" * 100
        queue = await self.queue()
        _, got = await self.stock_consumer(queue)
        await self.publish(queue, text + binary)
        await self.until(lambda: got)
        self.assertEqual(got[0].body, binary, "stock: the first part is lost in silence")

        other = await self.queue()
        client, got = await self.stock_consumer(other)
        await self.publish(other, binary + b"\xff" * (131072 - 108) + b"text")
        await self.until(lambda: client.closed)
        self.assertEqual(got, [], "stock: and the other way round is a TypeError")

        mine = await self.queue()
        received = await self.our_consumer(mine)
        for body in (text + binary, binary + b"\xff" * (131072 - 108) + b"text"):
            await self.publish(mine, body)
            self.assertTrue((await received.get()).body == body)

    async def test_trap_03_publishing_text_that_is_not_ascii(self) -> None:
        queue = await self.queue()
        for content, key in (
            (Content("café"), queue),
            (Content(b"x", properties={"headers": {"h": "café"}}), queue),
            (Content(b"x"), "café"),
        ):
            client = await self.stock()
            channel = await stock.channel(client)
            await channel.basic_publish(exchange="", routing_key=key, content=content)
            took = await self.until(lambda client=client: client.closed)  # type: ignore[misc]
            self.assertLess(took, 5, "stock: a wrong length on the wire, FRAME_ERROR")
        self.assertEqual(await self.drain(queue), [])

        link = await self.ready()
        properties = {"headers": {"h": "café"}, "message_id": "café"}
        await link.publish("", queue, "café".encode(), properties, mandatory=True)
        await link.publish("amq.topic", "café", b"x")
        ((seen, body),) = await self.drain(queue)
        self.assertEqual((seen.headers, seen.message_id), ({"h": "café"}, "café"))
        self.assertEqual(body, "café".encode())


class HeaderTests(TrapCase):
    """Traps 4 and 5: field tables."""

    async def test_trap_04_the_headers_of_a_dead_letter(self) -> None:
        dead = await self.queue()
        arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": ""}
        queue = await self.queue(arguments=arguments | {"x-dead-letter-routing-key": dead})
        client, got = await self.stock_consumer(dead)
        await self.publish(queue, b"x")
        await self.until(lambda: client.closed)
        self.assertEqual(got, [], "stock: x-death drops the connection")

        ours = await self.our_consumer(dead)
        await self.publish(queue, b"x")
        self.assertEqual((await ours.get()).headers["x-death"][0]["reason"], "expired")

    async def test_trap_05_a_header_that_the_codec_does_not_know(self) -> None:
        queue = await self.queue()
        for value in (1.5, None, {"a": 1}, [1], b"b", -1, 2**32):
            client = await self.stock()
            channel = await stock.channel(client)
            bad = Content(b"bad", properties={"headers": {"h": value}})
            await channel.basic_publish(exchange="", routing_key=queue, content=bad)
            await channel.basic_publish(exchange="", routing_key=queue, content=Content(b"good"))
            await pause(0.05)
            self.assertFalse(client.closed, "stock: nothing is raised, nobody is told")
        await pause(SOON)
        self.assertEqual(await self.drain(queue), [], "stock: and nothing is sent any more")

        link = await self.ready()
        ours = await self.our_consumer(queue)
        for value in (1.5, None, {"a": 1}, [1], b"b", -1, 2**32):
            await link.publish("", queue, b"", {"headers": {"h": value}}, mandatory=True)
            self.assertEqual((await ours.get()).headers["h"], value)
        await self.failure(link.publish("", queue, b"", {"headers": {"h": object()}}), EncodeError)
        await link.publish("", queue, b"good", mandatory=True)


class MethodTests(TrapCase):
    """Traps 6 to 10: methods, channels and their answers."""

    async def test_trap_06_an_ack_from_the_broker(self) -> None:
        client = await self.stock()
        channel = await stock.channel(client)
        await channel.confirm_select()
        await channel.basic_publish(exchange="amq.topic", content=Content(b"x"))
        await self.until(lambda: client.closed)

        link = await self.ready()
        await link.publish("amq.topic", "", b"x")
        self.assertEqual(link.state, "ready")

    async def test_trap_07_a_channel_error_under_a_waiting_consumer(self) -> None:
        queue = await self.queue()
        client, _ = await self.stock_consumer(queue)
        channel = await client.channel(1)
        await channel.basic_consume(queue=queue, consumer_tag="waiting")
        told = (await client.queue("waiting")).get()
        await self.failure(
            channel.queue_declare(queue="no.such.queue", passive=True), txamqp_client.Closed
        )
        await pause(SOON)
        self.assertFalse(told.called, "stock: who waits for messages is never told")
        again = await client.channel(1)
        self.assertTrue(again is channel and again.closed, "stock: and the id is dead for ever")
        told.addErrback(lambda _: None)

        link = await self.ready()
        ends: list[Exception] = []
        await link.consume(Queue(queue, passive=True), lambda _: None, on_end=ends.append)
        for _ in range(3):
            await self.failure(
                link.consume(Queue("no.such.queue", passive=True), lambda _: None), ChannelClosed
            )
        await in_thread(witness.delete, self.node.url(), queue)
        await self.until(lambda: ends)
        self.assertEqual(link.state, "ready")

    async def test_trap_08_a_publish_that_goes_nowhere(self) -> None:
        client = await self.stock()
        channel = await stock.channel(client)
        published = channel.basic_publish(exchange="no.such.exchange", content=Content(b"x"))
        self.assertIsNone(self.successResultOf(published), "stock: it fires at once")

        link = await self.ready()
        await self.failure(link.publish("no.such.exchange", "", b"x"), ChannelClosed)

    async def test_trap_09_a_call_without_an_answer(self) -> None:
        client = await self.stock()
        channel = await stock.channel(client)
        name = f"test.{uuid.uuid4()}"
        declared = channel.queue_declare(queue=name, no_wait=True, exclusive=True)
        await pause(SOON)
        self.assertNoResult(declared)
        self.assertIn(name, [row["name"] for row in await self.queues()], "stock: it hangs")

        connection = await self.connection()
        ours = await connection.open_channel()
        name = f"test.{uuid.uuid4()}"
        await ours.queue_declare(queue=name, nowait=True, exclusive=True)
        await ours.basic_qos(prefetch_count=1)
        self.assertIn(name, [row["name"] for row in await self.queues()])

    async def queues(self) -> list[dict[str, Any]]:
        return await in_thread(self.node.list, "queues", "name")

    async def connection(self) -> Connection:
        """One of our connections, without the link around it."""
        parameters = parse(self.node.url())
        factory = ConnectionFactory(clock, parameters, "test")
        where = endpoint(reactor, parameters, "127.0.0.1", self.node.port)
        connection: Any = await where.connect(factory)
        await connection.login()
        self.addCleanup(connection.shutdown)
        assert isinstance(connection, Connection)
        return connection

    async def test_trap_10_a_call_that_was_cancelled(self) -> None:
        client = await self.stock()
        channel = await stock.channel(client)
        one, two = f"one.{uuid.uuid4()}", f"two.{uuid.uuid4()}"
        first = channel.queue_declare(queue=one, exclusive=True)
        second = channel.queue_declare(queue=two, exclusive=True)
        first.addErrback(lambda _: None)
        first.cancel()
        self.assertEqual((await second).queue, one, "stock: the answer of another call")

        connection = await self.connection()
        ours = await connection.open_channel()
        first = ours.queue_declare(queue=f"a{one}", exclusive=True)
        second = ours.queue_declare(queue=f"a{two}", exclusive=True)
        first.addErrback(lambda _: None)
        first.cancel()
        await self.failure(second, ChannelClosed)
        again = await connection.open_channel()
        answer = await again.queue_declare(queue=f"b{two}", exclusive=True)
        self.assertEqual(answer.queue, f"b{two}")


class ConnectionTests(TrapCase):
    """Traps 11 to 15: addresses, limits, heartbeats and what the broker is told."""

    def test_trap_11_urls(self) -> None:
        def stock_reads(url: str) -> Any:
            return AMQEndpoint.from_uri(reactor, url)

        self.assertEqual(stock_reads("amqp://h/a%2Fb")._vhost, "a%2Fb", "stock: no decoding")
        self.assertEqual(stock_reads("amqp://u%40:p@h/v")._username, "u%40")
        self.assertEqual(stock_reads("amqps://h/")._port, 5672, "stock: amqps is not known")
        self.assertEqual(stock_reads("amqp://u:p@h:1234/v")._host, "h:1234")
        self.assertEqual(stock_reads("amqp://h1,h2/v")._host, "h1,h2")
        self.assertEqual(
            parse("amqp://u%40:p%3A@h:1234/a%2Fb"),
            Parameters((("h", 1234),), "u@", "p:", "a/b"),
        )
        self.assertEqual(parse("amqp://h1,h2/v").hosts, (("h1", 5672), ("h2", 5672)))
        self.assertIsNotNone(parse("amqps://h").tls)
        self.assertEqual(parse("amqps://h").hosts, (("h", 5671),))

    async def test_trap_12_a_broker_that_does_not_read(self) -> None:
        proxy = await self.proxy()
        client = await self.stock(proxy.port)
        channel = await stock.channel(client)
        proxy.stall(Way.UP)
        for number in range(60):
            body = Content(bytes([number]) * MEGABYTE)
            await channel.basic_publish(exchange="amq.topic", content=body)
        self.assertGreater(_held(client.transport), 50 * MEGABYTE, "stock: all of it in memory")
        proxy.resume()
        proxy.reset()

        other = await self.proxy()
        link = await self.ready(self.url_of(other), timeout=1.0)
        await link.publish("amq.topic", "k", b"opens the channel")
        other.stall(Way.UP)
        gc.collect()
        before = resident()
        sent = [link.publish("amq.topic", "k", bytes([n]) * MEGABYTE) for n in range(200)]
        self.assertTrue(link.pressed)
        connection = link._publishing.connection
        assert connection is not None
        self.assertLess(_held(connection.transport), 2 * MEGABYTE)
        self.assertLess(resident() - before, 64 * MEGABYTE)
        result = await outcomes(sent)
        self.assertLessEqual({type(each) for each in result} - {NotReady}, {ConfirmTimeout})
        other.resume()

    async def test_trap_13_a_broker_without_a_limit_for_frames(self) -> None:
        set_to = "application:set_env(rabbit, frame_max, {})."
        await in_thread(self.node.ctl, "eval", set_to.format(0))
        self.addCleanup(lambda: in_thread(self.node.ctl, "eval", set_to.format(131072)))
        queue = await self.queue()
        client = await self.stock()
        channel = await stock.channel(client)
        await channel.basic_publish(exchange="", routing_key=queue, content=Content(b"x" * 9))
        await pause(SOON)
        self.assertEqual(await self.drain(queue), [], "stock: a negative chunk, no body")

        link = await self.ready()
        await link.publish("", queue, b"x" * 200_000, mandatory=True)
        ((_, body),) = await self.drain(queue)
        self.assertEqual(len(body), 200_000)

    async def test_trap_14_heartbeats(self) -> None:
        await self.stock()
        self.assertIn(0, await self.timeouts(), "stock: off, whatever the broker proposes")
        for client in self.clients:
            client.transport.abortConnection()
            await client.disconnected.wait()
        self.clients.clear()
        await self.ready()
        await self.until_timeouts({20})

    async def timeouts(self) -> list[int]:
        return [row["timeout"] for row in await in_thread(self.node.list, "connections", "timeout")]

    async def until_timeouts(self, wanted: set[int]) -> None:
        for _ in range(10):
            found = set(await self.timeouts())
            if found == wanted:
                return
        self.assertEqual(found, wanted)

    async def test_trap_15_capabilities(self) -> None:
        queue = await self.queue()
        client, _ = await self.stock_consumer(queue)
        waits = (await client.queue("t")).get()
        await in_thread(witness.delete, self.node.url(), queue)
        await pause(SOON)
        self.assertFalse(waits.called, "stock: nobody hears that the queue is gone")
        waits.addErrback(lambda _: None)
        error = await self.failure(self.stock(login=("guest", "wrong")), Exception)
        self.assertNotIn("ACCESS_REFUSED", str(error), "stock: nor why the login failed")

        ours, ends = await self.queue(), list[Exception]()
        link = await self.ready()
        await link.consume(Queue(ours, passive=True), lambda _: None, on_end=ends.append)
        await in_thread(witness.delete, self.node.url(), ours)
        await self.until(lambda: ends)
        refused = self.link(self.node.url(user="guest:wrong"))
        await self.until(lambda: "ACCESS_REFUSED" in refused.state_description)


def _held(transport: Any) -> int:
    """The bytes that a socket has yet to take."""
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


class ShapeTests(TrapCase):
    """Traps 16 to 18: clocks, exceptions and writes."""

    def test_trap_16_the_global_reactor(self) -> None:
        client = AMQClient(TwistedDelegate(), "/", stock.specification(), clock=Clock())
        channel = client.channelFactory(1, None, client)
        self.assertIs(channel.incoming.clock, reactor, "stock: whatever clock it was given")

        connection = Connection(Clock(), Parameters(), "test")
        ours = connection.channelFactory(1, None, connection)
        for owner in (connection, ours):
            clocks = [
                name for name, value in vars(owner).items() if getattr(value, "clock", 0) is reactor
            ]
            self.assertEqual(clocks, ["basic_return_queue"] if owner is connection else [])

    def test_trap_17_two_exceptions_of_one_name(self) -> None:
        self.assertFalse(issubclass(txamqp_queue.Closed, txamqp_client.Closed))
        self.assertFalse(issubclass(txamqp_client.Closed, txamqp_queue.Closed))
        for ours in (ChannelClosed, ConnectionClosed, NotReady, OutcomeUnknown):
            self.assertTrue(issubclass(ours, LinkError))

    async def test_trap_18_writes(self) -> None:
        client = await self.stock()
        channel = await stock.channel(client)
        writes = self.writes(client.transport)
        for _ in range(10):
            await channel.basic_publish(exchange="amq.topic", content=Content(b"x"))
        self.assertEqual(len(writes), 30, "stock: method, header and body, one by one")

        link = await self.ready()
        await link.publish("amq.topic", "k", b"opens the channel")
        connection = link._publishing.connection
        assert connection is not None
        writes = self.writes(connection.transport)
        await outcomes([link.publish("amq.topic", "k", b"x") for _ in range(10)])
        self.assertLessEqual(len(writes), 10)

    def writes(self, transport: Any) -> list[int]:
        """The sizes of what is written from now on."""
        sizes: list[int] = []
        write = transport.write

        def count(data: bytes) -> None:
            sizes.append(len(data))
            write(data)

        self.patch(transport, "write", count)
        return sizes
