"""What is missing in a stream is told, through the whole daemon, on both brokers."""

from __future__ import annotations

from typing import Any

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import MEGABYTE, Steady, StreamCase
from tests.integration.websocket import Client


class GapScenarios(StreamCase):
    """Streams that were truncated, made anew, deleted."""

    __test__ = False

    async def truncated(self) -> tuple[str, int]:
        """A stream whose first messages are gone, and how many there were."""
        stream = await self.stream(
            **{"x-max-length-bytes": 20_000, "x-stream-max-segment-size-bytes": 5_000}
        )
        # One by one, so that there is something left of the last segment.
        bodies = (b"%d %s" % (n, b"x" * 1000) for n in range(200))
        await in_thread(witness.publish, self.node.url(), "", stream, *bodies)
        return stream, 200

    async def test_what_retention_has_taken_is_a_gap(self) -> None:
        stream, total = await self.truncated()
        # RabbitMQ takes what is too much away some time after it was too much.
        begin = 0
        while begin <= 3:
            first = await self.reader(stream, "first")
            begin = (await first.message())["offset"]
            self.assertEqual(first.frames.items, [], "who wants all there is misses nothing")
        client = await self.reader(stream, "offset=3")
        gap = await client.frame("gap")
        begin = max(begin, gap["to"])
        self.assertEqual(
            gap, {"op": "gap", "destination": f"/stream/{stream}", "from": 3, "to": begin}
        )
        got = await self.up_to(client, total - 1)
        numbers = [int(each["body"].split()[0]) for each in got]
        self.assertEqual(numbers, list(range(numbers[0], total)))
        self.assertEqual(got[0]["offset"], begin)
        await client.publish(f"/stream/{stream}", f"{total}")
        self.assertEqual((await client.message())["body"], f"{total}")
        await self.nothing_more(client)

    async def up_to(self, client: Client, number: int) -> list[dict[str, Any]]:
        """The messages up to one, whose offsets only grow (RabbitMQ leaves holes)."""
        got = [await client.message()]
        while not got[-1]["body"].startswith(f"{number} "):
            got.append(await client.message())
        offsets = [each["offset"] for each in got]
        self.assertEqual(offsets, sorted(set(offsets)))
        return got

    async def test_what_retention_takes_from_a_reader_that_stalls_is_a_gap(self) -> None:
        arguments = {"x-max-length-bytes": MEGABYTE, "x-stream-max-segment-size-bytes": 250_000}
        stream = await self.stream(**arguments)
        slow, live = await self.reader(stream), await self.reader(stream)
        slow.socket.deaf()
        link, body = await self.ready(), "x" * 30_000
        for number in range(0, 400, 20):
            await self.fill(stream, (f"{n} {body}" for n in range(number, number + 20)), link=link)
            await self.up_to(live, number + 19)
        slow.socket.hear()
        got = await self.up_to(slow, 399)
        numbers = [int(each["body"].split()[0]) for each in got]
        (after,) = [n for n in range(1, len(got)) if numbers[n] != numbers[n - 1] + 1]
        gap = await slow.frame("gap")
        self.assertEqual(gap["to"], got[after]["offset"])
        self.assertEqual(gap["from"], got[after - 1]["offset"] + 1)
        self.assertEqual((numbers[0], numbers[-1]), (0, 399))
        for client in (slow, live):
            await self.nothing_more(client)

    async def test_a_stream_that_is_filled_just_then_has_no_gap(self) -> None:
        link = await self.ready()
        for start in ("first", "offset=0", "next", "last") * 5:
            stream, client = await self.stream(), await self.json()
            steady = Steady(link, stream)
            fields = {"from": start}
            subscribed = client.send("subscribe", destination=f"/stream/{stream}", **fields)
            # It is filled until there is something to read, wherever that begins.
            self.assertEqual((await client.answer(subscribed))["op"], "subscribed")
            got = [await client.message()]
            await self.until(lambda steady=steady: len(steady.confirmed) > 20)  # type: ignore[misc]
            await steady.stop()
            while got[-1]["offset"] < steady.confirmed[-1]:
                got.append(await client.message())
            begin = got[0]["offset"] if start in ("next", "last") else 0
            numbers = list(range(begin, len(steady.confirmed)))
            self.assertEqual([each["offset"] for each in got], numbers, start)
            self.assertEqual([int(each["body"]) for each in got], numbers, start)
            await self.nothing_more(client)
            await client.socket.leave()

    async def test_it_may_be_left_and_come_back_to_at_any_time(self) -> None:
        stream, client = await self.stream(), await self.json()
        steady = Steady(await self.ready(), stream)
        self.addCleanup(steady.stop)
        got: list[dict[str, Any]] = []
        client.on_message = got.append
        for turn in range(40):
            fields: dict[str, Any] = {"from": f"offset={got[-1]['offset'] + 1}" if got else "first"}
            if turn % 3 == 0:
                fields |= {"overflow": "drop-oldest", "prefetch": 2}
            await client.subscribe(f"/stream/{stream}", **fields)
            before = len(got)
            await self.until(lambda n=before + turn % 4: len(got) >= n)  # type: ignore[misc]
            await client.ask("unsubscribe", destination=f"/stream/{stream}")
        await client.subscribe(f"/stream/{stream}", **{"from": f"offset={got[-1]['offset'] + 1}"})
        await steady.stop()
        await self.until(lambda: len(got) >= len(steady.confirmed))
        self.assertEqual([each["offset"] for each in got], steady.confirmed)
        self.assertEqual(client.frames.items, [])

    async def remake(self, stream: str, *bodies: object) -> None:
        """Delete a stream and declare another with its name, as an operator might."""
        url = self.node.url()
        await in_thread(witness.delete, url, stream)
        await in_thread(witness.declare, url, stream, arguments={"x-queue-type": "stream"})
        if bodies:
            await self.fill(stream, bodies)

    async def test_a_stream_made_anew_while_it_is_read_is_a_gap_and_goes_on(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(10))
        clients = [
            await self.reader(stream, "first"),
            await self.reader(stream, "next"),
            await self.reader(stream, "next", overflow="drop-oldest"),
        ]
        await self.reads(clients[0], range(10))
        await self.remake(stream, *range(3))
        for client in clients:
            gap = await client.frame("gap")
            self.assertEqual((gap["from"], gap["to"]), (10, 0))
            await self.reads(client, range(3))
        await self.fill(stream, range(3, 5))
        for client in clients:
            await self.reads(client, range(3, 5))
            await self.nothing_more(client)

    async def test_a_stream_made_anew_and_empty_goes_on_too(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(10))
        client = await self.reader(stream, "last")
        await self.reads(client, range(9, 10))
        await self.remake(stream)
        gap = await client.frame("gap")
        self.assertEqual((gap["from"], gap["to"]), (10, 0))
        await self.fill(stream, range(2))
        await self.reads(client, range(2))
        await self.nothing_more(client)

    async def test_a_stream_made_anew_while_the_client_was_away_is_a_gap(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(10))
        client = await self.reader(stream, "first")
        await self.reads(client, range(10))
        await client.socket.leave()
        await self.remake(stream, *range(3))
        client = await self.reader(stream, "offset=10")
        gap = await client.frame("gap")
        self.assertEqual((gap["from"], gap["to"]), (10, 0))
        await self.reads(client, range(3))
        await self.fill(stream, range(3, 5))
        await self.reads(client, range(3, 5))
        await self.nothing_more(client)

    async def test_an_offset_far_past_the_end_is_a_gap_and_not_silence(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(3))
        client = await self.reader(stream, "offset=1000000")
        gap = await client.frame("gap")
        self.assertEqual((gap["from"], gap["to"]), (1_000_000, 0))
        await self.reads(client, range(3))
        await self.fill(stream, range(3, 5))
        await self.reads(client, range(3, 5))


class GapTests(GapScenarios):
    """On RabbitMQ."""

    __test__ = True

    async def test_a_stream_that_is_deleted_for_good_ends_its_subscriptions_alone(self) -> None:
        doomed, stream = await self.stream(), await self.stream()
        await self.fill(doomed, range(3))
        client = await self.reader(doomed, "first")
        await client.subscribe(f"/stream/{stream}")
        await self.reads(client, range(3))
        await in_thread(witness.delete, self.node.url(), doomed)
        ended = await client.frame("unsubscribed", 15.0, destination=f"/stream/{doomed}")
        self.assertTrue(ended["reason"].endswith("."), ended)
        self.assertNotIn("id", ended)
        await self.fill(stream, range(1))
        await self.reads(client, range(1))
        await self.nothing_more(client)


class EmbeddedGapTests(OnEmbedded, GapScenarios):
    """On the embedded broker."""

    __test__ = True
