"""Streams read by way of the whole daemon: from anywhere, without loss, on both brokers."""

from __future__ import annotations

import time
import uuid

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import Resuming, Steady, StreamCase
from tests.integration.websocket import Client


class StreamScenarios(StreamCase):
    """What a reader of a stream may rely on."""

    __test__ = False

    # -- where it begins

    async def test_first_last_next_and_an_offset(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(10))
        clients = []
        for start, begin in (
            ("first", 0),
            ("last", 9),
            ("next", 10),
            (None, 10),
            ("offset=0", 0),
            ("offset=4", 4),
            ("offset=9", 9),
            ("offset=10", 10),
        ):
            client = await self.reader(stream, start)
            await self.reads(client, range(begin, 10))
            clients.append(client)
        await self.fill(stream, range(10, 15))
        for client in clients:
            await self.reads(client, range(10, 15))
            await self.nothing_more(client)

    async def test_a_timestamp(self) -> None:
        stream = await self.stream()
        publisher = await self.json()
        for number in range(5):
            await publisher.publish(f"/stream/{stream}", str(number))
        later = int(time.time()) + 1
        await self.until(lambda: time.time() > later)
        for number in range(5, 10):
            await publisher.publish(f"/stream/{stream}", str(number))
        client = await self.reader(stream, f"timestamp={later}")
        await self.reads(client, range(5, 10))
        everything = await self.reader(stream, "timestamp=0")
        await self.reads(everything, range(10))
        await publisher.publish(f"/stream/{stream}", "10")
        for each in (client, everything):
            await self.reads(each, range(10, 11))
            await self.nothing_more(each)

    async def test_an_empty_stream_is_read_from_anywhere(self) -> None:
        stream = await self.stream()
        starts = ("first", "last", "next", "offset=0", "timestamp=1000000000")
        clients = [await self.reader(stream, start) for start in starts]
        await self.fill(stream, range(3))
        for client in clients:
            await self.reads(client, range(3))
            await self.nothing_more(client)

    async def test_a_start_that_makes_no_sense_is_refused_and_disturbs_nobody(self) -> None:
        stream, queue = await self.stream(), await self.queue()
        other = await self.reader(stream)
        client = await self.json()
        starts: list[object] = [
            *("", "second", "FIRST", "first ", "offset", "offset=", "offset=-1", "offset=1.5"),
            *("offset=x", "offset=99999999999999999", "timestamp=", "timestamp=-1"),
            *("timestamp=soon", "timestamp=9999999999999", "next\n", 5, ["first"], {}, True),
        ]
        for start in starts:
            await self.refused(
                client, "subscribe", "bad_frame", destination=f"/stream/{stream}", **{"from": start}
            )
        for destination in (f"/queue/{queue}", "/topic/a"):
            await self.refused(
                client, "subscribe", "bad_frame", destination=destination, **{"from": "first"}
            )
        for fields in ({"ack": "client"}, {"prefetch": 0}, {"prefetch": 1001}):
            await self.refused(
                client, "subscribe", "bad_frame", destination=f"/stream/{stream}", **fields
            )
        await self.fill(stream, range(1))
        await self.reads(other, range(1))
        self.assertEqual(other.frames.items, [], "the connection to the broker was lost")

    async def test_a_stream_that_does_not_exist_is_not_found_and_not_made(self) -> None:
        client = await self.json()
        destination = "/stream/there.is.none"
        for start in ("first", "last", "next", "offset=5", "timestamp=5"):
            await self.refused(
                client, "subscribe", "not_found", destination=destination, **{"from": start}
            )
        self.assertIsNone(await self.counts("there.is.none"))
        await self.refused(client, "publish", "unroutable", destination=destination, body="x")

    async def test_a_queue_is_not_a_stream(self) -> None:
        queue = await self.queue()
        await self.fill(queue, ["kept"])
        client = await self.json()
        fields = {"destination": f"/stream/{queue}", "from": "first"}
        await self.refused(client, "subscribe", "conflict", **fields)
        await self.has(queue, (1, 0))

    # -- what comes

    async def test_a_publish_is_appended_and_confirmed_and_has_an_offset_but_no_such_header(
        self,
    ) -> None:
        stream = await self.stream()
        client = await self.reader(stream)
        answer = await client.publish(f"/stream/{stream}", {"n": 1}, headers={"h": "x"})
        self.assertEqual(answer["op"], "published")
        message = await client.message()
        properties = message.pop("properties")
        self.assertEqual(
            message,
            {
                "op": "message",
                "destination": f"/stream/{stream}",
                "routing_key": stream,
                "headers": {"h": "x"},
                "body": {"n": 1},
                "offset": 0,
            },
        )
        self.assertEqual(properties["content_type"], "application/json")

    async def test_every_instance_reads_the_same(self) -> None:
        stream, bridge = await self.stream(), await self.another()
        await self.fill(stream, range(20))
        here = await self.reader(stream, "first")
        there = await self.reader(stream, "offset=10", bridge=bridge)
        await self.reads(here, range(20))
        await self.reads(there, range(10, 20))
        await there.publish(f"/stream/{stream}", "20")
        for client in (here, there):
            await self.reads(client, range(20, 21))
        # What was read here is resumed there.
        await here.socket.leave()
        await self.fill(stream, range(21, 30))
        again = await self.reader(stream, "offset=21", bridge=bridge)
        await self.reads(again, range(21, 30))
        await in_thread(bridge.close)

    async def test_a_page_that_is_reloaded_goes_on_where_it_was(self) -> None:
        stream = await self.stream()
        steady = Steady(await self.ready(), stream)
        self.addCleanup(steady.stop)
        pages = [Resuming(self.bridge.url(), f"/stream/{stream}") for _ in range(3)]
        for page in pages:
            self.addCleanup(page.stop)
        for reload in range(1, 8):
            for page in pages:
                await self.has_got(page, len(page.got) + 5)
                self.assertEqual(page.sessions, reload)
                assert page.client is not None
                page.client.socket.abort()
                await self.has_begun(page, reload + 1)
        await steady.stop()
        for page in pages:
            await self.has_got(page, len(steady.confirmed))
            await page.stop()
            self.assertEqual(page.numbers, steady.confirmed)
            self.assertEqual([each["offset"] for each in page.got], steady.confirmed)
            self.assertEqual(page.told, [])

    async def has_got(self, page: Resuming, number: int) -> None:
        await self.until(lambda: len(page.got) >= number)

    async def has_begun(self, page: Resuming, sessions: int) -> None:
        await self.until(lambda: page.sessions >= sessions)

    async def test_unsubscribed_and_subscribed_again(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(5))
        client = await self.reader(stream, "first")
        await self.reads(client, range(5))
        answer = await client.ask("unsubscribe", destination=f"/stream/{stream}")
        self.assertEqual(answer["op"], "unsubscribed")
        await self.fill(stream, range(5, 8))
        await self.nothing_more(client)
        await client.subscribe(f"/stream/{stream}", **{"from": "offset=5"})
        await self.reads(client, range(5, 8))
        for op in ("ack", "nack"):
            await self.refused(
                client, op, "not_found", destination=f"/stream/{stream}", delivery_tag=1
            )


class StreamTests(StreamScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedStreamTests(OnEmbedded, StreamScenarios):
    """On the embedded broker."""

    __test__ = True


class KeptCase(StreamCase):
    """A stream of the settings, which keeps what is published to exchanges."""

    __test__ = False
    name = f"test.kept.{uuid.uuid4()}"
    toml = f"""
        [[stream]]
        name = "{name}"
        max_age = "1h"
        bindings = ["/topic/kept.#", "/exchange/amq.direct/kept"]
    """

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.bridge.running:
            witness.delete(cls.node.url(), cls.name)
        super().tearDownClass()

    async def test_what_its_bindings_match_is_kept_for_who_comes_later(self) -> None:
        live = await self.json(None, "/topic/kept.a.#")
        for destination, body in (
            ("/topic/kept.a.b", "one"),
            ("/topic/lost", "lost"),
            ("/exchange/amq.direct/kept", "two"),
            (f"/stream/{self.name}", "three"),
        ):
            self.assertEqual((await live.publish(destination, body))["op"], "published")
        self.assertEqual((await live.message())["body"], "one")
        late = await self.reader(self.name, "first")
        got = [await late.message() for _ in range(3)]
        self.assertEqual(
            [(each["offset"], each["routing_key"], each["body"]) for each in got],
            [(0, "kept.a.b", "one"), (1, "kept", "two"), (2, self.name, "three")],
        )
        # Deleted by somebody, it is made again with its bindings.
        await in_thread(witness.delete, self.node.url(), self.name)
        gap = await late.frame("gap")
        self.assertEqual((gap["from"], gap["to"]), (3, 0))
        await self.until_kept(late)

    async def until_kept(self, late: Client) -> None:
        other, topic = await self.json(), "/topic/kept.again"
        while (await other.publish(topic, "again", mandatory=True))["op"] != "published":
            pass
        message = await late.message()
        self.assertEqual((message["offset"], message["body"]), (0, "again"))
        await self.nothing_more(late)


class KeptTests(KeptCase):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedKeptTests(OnEmbedded, KeptCase):
    """On the embedded broker."""

    __test__ = True
