"""Many readers of one stream, and slow ones, through the whole daemon, on both brokers."""

from __future__ import annotations

import time

from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import MEGABYTE, StreamCase

BODY = "x" * 20_000


class ReaderScenarios(StreamCase):
    """Nobody disturbs another."""

    __test__ = False

    async def test_readers_of_the_past_do_not_disturb_the_live_end(self) -> None:
        stream = await self.stream()
        await self.fill(stream, (f"{n} {BODY}" for n in range(400)))
        live, link = await self.reader(stream), await self.ready()
        slow = [await self.json() for _ in range(4)]
        for client in slow:
            await client.subscribe(f"/stream/{stream}", **{"from": "first"})
            client.socket.deaf()
        # They have eight megabytes each to read, and do not.
        for number in range(400, 450):
            await self.fill(stream, [number], link=link)
            self.assertEqual((await live.message())["offset"], number)
        for client in slow:
            client.socket.hear()
        for client in slow:
            got = [await client.message() for _ in range(450)]
            self.assertEqual([each["offset"] for each in got], list(range(450)))
            self.assertEqual([int(each["body"].split()[0]) for each in got], list(range(450)))
        await self.fill(stream, [450])
        for client in (live, *slow):
            self.assertEqual((await client.message())["offset"], 450)
            await self.nothing_more(client)

    async def test_a_reader_that_stalls_at_the_live_end_costs_little_and_misses_nothing(
        self,
    ) -> None:
        stream, body = await self.stream(), "x" * 30_000
        slow, live = await self.reader(stream), await self.reader(stream)
        slow.socket.deaf()
        link = await self.ready()
        before = self.bridge.resident
        for number in range(0, 500, 20):
            numbers = range(number, number + 20)
            await self.fill(stream, (f"{n} {body}" for n in numbers), link=link)
            got = [(await live.message())["offset"] for _ in numbers]
            self.assertEqual(got, list(numbers))
        self.bounded(self.bridge.resident - before)
        slow.socket.hear()
        got = [(await slow.message())["offset"] for _ in range(500)]
        self.assertEqual(got, list(range(500)))
        await self.fill(stream, ["500"], link=link)
        self.assertEqual((await slow.message())["offset"], 500)
        await self.nothing_more(slow)

    def bounded(self, grown: int) -> None:
        """Of 15 MB, the bridge keeps as much as is read ahead."""


class ReaderTests(ReaderScenarios):
    """On RabbitMQ."""

    __test__ = True

    def bounded(self, grown: int) -> None:
        self.assertLess(grown, 6 * MEGABYTE)


class ConsumerTests(StreamCase):
    """What RabbitMQ sees of it."""

    __test__ = True

    async def consumers(self, wanted: int) -> None:
        """Wait until the bridge has so many consumers."""
        deadline = time.monotonic() + 12.0
        while True:
            # list_consumers knows none of streams.
            rows = await in_thread(self.node.list, "channels", "consumer_count")
            found = sum(row["consumer_count"] for row in rows)
            if found == wanted:
                return
            self.assertLess(time.monotonic(), deadline, f"{found} consumers")

    async def test_many_readers_are_one_consumer(self) -> None:
        stream = await self.stream()
        await self.fill(stream, (f"{n} {BODY}" for n in range(300)))
        clients = [await self.reader(stream, "first") for _ in range(10)]
        slow = await self.reader(stream, "first")
        slow.socket.deaf()
        for client in clients:
            await client.bodies(300)
        await self.consumers(2)
        slow.socket.hear()
        await slow.bodies(300)
        await self.consumers(1)


class EmbeddedReaderTests(OnEmbedded, ReaderScenarios):
    """On the embedded broker."""

    __test__ = True
