"""Clients that read too slowly: the overflow policies, through the whole daemon."""

from __future__ import annotations

from typing import Any

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import MEGABYTE, StreamCase
from tests.integration.websocket import Client

BODY = "x" * 20_000
#: Eight megabytes, against three or so that the kernel holds and a quarter that the bridge may.
TOTAL = 400
LIMIT = 262_144


class OverflowScenarios(StreamCase):
    """Each policy on each kind of subscription that has it."""

    __test__ = False
    toml = f"limits = {{ send_buffer = {LIMIT} }}"

    async def places(self) -> dict[str, tuple[str, str]]:
        """Where a message goes for a subscription of each kind: destination, exchange."""
        return {
            "live": ("/topic/overflow", "amq.topic"),
            "queue": (f"/queue/{await self.queue()}", ""),
            "stream": (f"/stream/{await self.stream()}", ""),
        }

    async def flood(
        self, place: tuple[str, str], total: int = TOTAL, watch: Client | None = None
    ) -> int:
        """Publish so many; give how many bytes the bridge has grown meanwhile at most.

        Who watches must get each of them in time. (All can watch but a queue.)
        """
        destination, exchange = place
        if watch is None and not destination.startswith("/queue/"):
            watch = await self.consumer(destination)
        name, link = destination.rpartition("/")[2], await self.ready()
        before, most = self.bridge.resident, 0
        for number in range(0, total, 20):
            bodies = [f"{n} {BODY}" for n in range(number, number + 20)]
            await self.fill(name, bodies, exchange=exchange, link=link)
            if watch is not None:
                self.assertEqual(await watch.bodies(20), bodies)
            most = max(most, self.bridge.resident - before)
        await link.stop()
        return most

    async def rest(self, client: Client, place: tuple[str, str]) -> tuple[list[int], int]:
        """Read on up to a last message: the numbers of all that came, and how many were dropped."""
        destination, exchange = place
        await self.fill(destination.rpartition("/")[2], ["last"], exchange=exchange)
        numbers: list[int] = []
        while (message := await client.message())["body"] != "last":
            numbers.append(int(message["body"].split()[0]))
        await client.lives()
        self.assertEqual({frame["op"] for frame in client.frames.items} - {"dropped"}, set())
        told = list(client.frames.items)
        self.assertEqual({frame["destination"] for frame in told} - {destination}, set())
        return numbers, sum(frame["count"] for frame in told)

    def bounded(self, grown: int) -> None:
        """The bridge has not grown by what waits for a client."""
        self.assertLess(grown, 4 * MEGABYTE)

    async def test_close_closes_with_1013_and_nobody_else(self) -> None:
        for kind, place in (await self.places()).items():
            slow = await self.consumer(place[0], overflow="close")
            other = await self.json(None, "/topic/other")
            slow.socket.deaf()
            self.bounded(await self.flood(place))
            await other.publish("/topic/other", kind)
            self.assertEqual(await other.bodies(1), [kind])
            slow.socket.hear()
            closed = await slow.socket.closed()
            self.assertEqual(closed.code, 1013, (kind, closed))
            self.assertTrue(closed.reason.endswith("."), closed)
            if kind == "queue":
                # What the socket had not taken is still there.
                got = len(slow.messages.items)
                await self.has(place[0].rpartition("/")[2], (TOTAL - got, 0))

    async def test_close_is_what_live_does_by_default(self) -> None:
        slow = await self.consumer("/topic/overflow")
        slow.socket.deaf()
        self.bounded(await self.flood(("/topic/overflow", "amq.topic")))
        slow.socket.hear()
        self.assertEqual((await slow.socket.closed()).code, 1013)

    async def test_drop_oldest_tells_how_many_exactly(self) -> None:
        for kind, place in (await self.places()).items():
            slow = await self.consumer(place[0], overflow="drop-oldest")
            slow.socket.deaf()
            self.bounded(await self.flood(place))
            if kind == "queue":
                await self.has(place[0].rpartition("/")[2], (0, 1))
            slow.socket.hear()
            numbers, dropped = await self.rest(slow, place)
            self.assertEqual(len(numbers) + dropped, TOTAL, kind)
            self.assertGreater(dropped, TOTAL // 4, kind)
            self.assertEqual(numbers, sorted(set(numbers)), kind)
            # The newest are those that are left.
            newest = LIMIT // (len(BODY) + 500)
            self.assertEqual(numbers[-newest:], list(range(TOTAL - newest, TOTAL)), kind)
            # And once it reads again nothing is dropped.
            self.assertEqual(await self.rest(slow, place), ([], dropped))

    async def test_latest_keeps_the_newest_of_each_key(self) -> None:
        keys, exchange = [f"latest.{n}" for n in range(5)], await self.exchange()
        stream = await self.stream()
        await self.bind(stream, exchange)
        link = await self.ready()
        for destination in (f"/exchange/{exchange}/#", f"/stream/{stream}"):
            slow = await self.consumer(destination, overflow="latest")
            watch = await self.consumer(destination)
            slow.socket.deaf()
            for number in range(TOTAL):
                key = keys[number % 5]
                await self.fill(key, [f"{number} {BODY}"], exchange=exchange, link=link)
                await watch.message()
            slow.socket.hear()
            await self.fill("end", ["last"], exchange=exchange, link=link)
            got: list[dict[str, Any]] = []
            while (message := await slow.message())["body"] != "last":
                got.append(message)
            newest = {each["routing_key"]: int(each["body"].split()[0]) for each in got}
            wanted = {key: TOTAL - 5 + n for n, key in enumerate(keys)}
            self.assertEqual(newest, wanted)
            dropped = sum(frame["count"] for frame in slow.frames.items)
            self.assertEqual(len(got) + dropped, TOTAL)
            self.assertGreater(dropped, TOTAL // 4)
            self.assertEqual({each["op"] for each in slow.frames.items}, {"dropped"})
            await slow.socket.leave()

    async def bind(self, queue: str, exchange: str) -> None:
        def bound() -> None:
            with witness.channel(self.node.url()) as channel:
                channel.queue_bind(queue, exchange, "#")

        await in_thread(bound)

    async def test_latest_of_a_queue_is_its_newest_and_the_queue_is_empty(self) -> None:
        queue = await self.queue()
        place = (f"/queue/{queue}", "")
        slow = await self.consumer(place[0], overflow="latest")
        slow.socket.deaf()
        self.bounded(await self.flood(place))
        await self.has(queue, (0, 1))
        slow.socket.hear()
        came = slow.messages.items
        newest = f"{TOTAL - 1} "
        await self.until(lambda: came and came[-1]["body"].startswith(newest))
        numbers, dropped = await self.rest(slow, place)
        self.assertEqual(len(numbers) + dropped, TOTAL)

    async def test_policies_of_one_session_share_its_limit_and_each_counts_its_own(self) -> None:
        place, other = ("/topic/overflow.a", "amq.topic"), ("/topic/overflow.*", "amq.topic")
        slow = await self.consumer(place[0], overflow="drop-oldest")
        await slow.subscribe(other[0], overflow="latest")
        slow.socket.deaf()
        self.bounded(await self.flood(place))
        slow.socket.hear()
        await self.fill("overflow.b", ["last"], exchange="amq.topic")
        await slow.messages.take(lambda frame: frame["body"] == "last")

        def counted() -> dict[str, list[int]]:
            """Of each destination: how many came, and how many were dropped."""
            found = {place[0]: [0, 0], other[0]: [0, 0]}
            for frame in slow.messages.items:
                found[frame["destination"]][0] += 1
            for frame in slow.frames.items:
                found[frame["destination"]][1] += frame["count"]
            return found

        # What waits in the other lane may come after the last one.
        await self.until(lambda: sum(map(sum, counted().values())) >= 2 * TOTAL, else_say=counted)
        self.assertEqual(list(map(sum, counted().values())), [TOTAL, TOTAL])
        for destination in counted():
            items = [each for each in slow.messages.items if each["destination"] == destination]
            numbers = [int(each["body"].split()[0]) for each in items]
            self.assertEqual(numbers, sorted(set(numbers)))

    async def test_a_message_larger_than_all_the_room_comes_too(self) -> None:
        bodies = [f"{n} {'x' * 3 * LIMIT}" for n in range(6)]
        for kind, place in (await self.places()).items():
            name = place[0].rpartition("/")[2]
            if kind != "live":
                blocking = await self.consumer(place[0], overflow="block", prefetch=2)
                await self.fill(name, bodies, exchange=place[1])
                self.assertTrue(await blocking.bodies(6) == bodies, kind)
                await blocking.lives()
                await blocking.socket.leave()
            dropping = await self.consumer(place[0], overflow="drop-oldest")
            await self.fill(name, bodies, exchange=place[1])
            numbers, dropped = await self.rest(dropping, place)
            self.assertEqual(len(numbers) + dropped, 6, kind)
            self.assertEqual(numbers[:1], [0], kind)

    async def test_one_that_stalls_among_many_delays_nobody(self) -> None:
        for kind, place in (await self.places()).items():
            if kind == "queue":
                continue  # a queue is not for all
            slow = [
                await self.consumer(place[0], overflow=overflow)
                for overflow in ("drop-oldest", "latest")
            ]
            if kind == "stream":
                slow.append(await self.consumer(place[0], overflow="block"))
            quick = [await self.consumer(place[0]) for _ in range(5)]
            for each in slow:
                each.socket.deaf()
            # Each piece of it is waited for.
            self.bounded(await self.flood(place, watch=quick[0]))
            for each in quick[1:]:
                bodies = await each.bodies(TOTAL)
                self.assertEqual([int(body.split()[0]) for body in bodies], list(range(TOTAL)))
            for each in slow:
                each.socket.hear()
                await each.messages.take(lambda frame: frame["body"].startswith(f"{TOTAL - 1} "))

    async def test_50_mb_go_by_and_leave_nothing(self) -> None:
        place = ("/topic/overflow", "amq.topic")
        slow = [
            await self.consumer(place[0], overflow=overflow)
            for overflow in ("drop-oldest", "latest", "drop-oldest", "latest")
        ]
        watch = await self.consumer(place[0])
        for each in slow:
            each.socket.deaf()
        self.bounded(await self.flood(place, 2500, watch))
        for each in slow:
            each.socket.hear()
        for each in slow:
            numbers, dropped = await self.rest(each, place)
            self.assertEqual(len(numbers) + dropped, 2500)


class OverflowTests(OverflowScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedOverflowTests(OnEmbedded, OverflowScenarios):
    """On the embedded broker, whose own memory is that of the bridge."""

    __test__ = True

    def bounded(self, grown: int) -> None:
        self.assertLess(grown, 16 * MEGABYTE)
