"""The broker and the bridge killed, and their connection cut, under clients that must lose nothing.

Confirmed messages are published all the while, by a link that has nothing to do with the bridge.
"""

from __future__ import annotations

from typing import Any

from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import BreakableCase, OnEmbedded
from tests.integration.cases import clock
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import (
    Insisting,
    Resuming,
    Returning,
    Steady,
    SubscriptionCase,
)

TOML = "amqp = { timeout = 3.0, reconnect_cap = 0.5 }"
AGAIN = 60
"""Messages that must be confirmed after the last fault."""


class Acknowledging(Returning):
    """Consumes a queue and acknowledges each message when some more have come."""

    HELD = 5

    def __init__(self, url: str, destination: str, **fields: Any) -> None:
        self._held: list[dict[str, Any]] = []
        super().__init__(url, destination, ack="client", **fields)

    def begin(self) -> dict[str, Any]:
        self._held = []
        return super().begin()

    def message(self, frame: dict[str, Any]) -> None:
        super().message(frame)
        self._held.append(frame)
        if len(self._held) > self.HELD and self.client is not None:
            # Those of a lost connection to the broker are refused, which harms nobody.
            self.client.acknowledge(self._held.pop(0))


class Crowd:
    """Who reads and consumes, and what is published for them."""

    def __init__(self, stream: Steady, queue: Steady) -> None:
        self.stream, self.queue = stream, queue
        self.readers: list[Resuming] = []
        self.workers: list[Acknowledging] = []

    @property
    def worked(self) -> list[dict[str, Any]]:
        """Every message that a worker got."""
        return [frame for worker in self.workers for frame in worker.got]


class FaultScenarios(SubscriptionCase):
    """What holds after each fault."""

    __test__ = False

    async def crowd(self, bridge: Bridge | None = None) -> Crowd:
        """Two readers of a stream and two workers on a queue, while both are filled."""
        stream, queue = await self.stream(), await self.queue()
        url = (bridge or self.bridge).url()
        crowd = Crowd(Steady(await self.ready(), stream), Steady(await self.ready(), queue))
        crowd.readers = [Resuming(url, f"/stream/{stream}") for _ in range(2)]
        crowd.workers = [
            Acknowledging(url, f"/queue/{queue}"),
            Acknowledging(url, f"/queue/{queue}", prefetch=200),
        ]
        for steady in (crowd.stream, crowd.queue):
            self.addCleanup(steady.stop)
        for client in (*crowd.readers, *crowd.workers):
            self.addCleanup(client.stop)
        await self.flowing(crowd)
        return crowd

    async def flowing(self, crowd: Crowd, number: int = 25, seconds: float = 20.0) -> None:
        """Wait until so many more messages have reached everybody."""
        for each in (*crowd.readers, *crowd.workers):
            goal = len(each.got) + number
            await self.until(
                lambda each=each, goal=goal: len(each.got) >= goal,  # type: ignore[misc]
                seconds,
                lambda each=each: f"{type(each).__name__}: {each.sessions} {each.told}",  # type: ignore[misc]
            )

    async def nothing_is_lost(self, crowd: Crowd) -> None:
        """All that was confirmed came: once from the stream, marked when again from the queue."""
        await self.flowing(crowd, AGAIN)
        await crowd.stream.stop()
        await crowd.queue.stop()
        for reader in crowd.readers:
            await self.until(
                lambda reader=reader: set(crowd.stream.confirmed) <= set(reader.numbers),  # type: ignore[misc]
                10.0,
                lambda reader=reader: (  # type: ignore[misc]
                    sorted(set(crowd.stream.confirmed) - set(reader.numbers)),
                    reader.told,
                ),
            )
            told = [frame for frame in reader.told if frame["op"] != "link"]
            self.assertEqual(told, [])
            offsets = [frame["offset"] for frame in reader.got]
            self.assertEqual(offsets, sorted(set(offsets)))
            self.assertEqual(reader.numbers, sorted(set(reader.numbers)), "came twice")
        await self.until(
            lambda: set(crowd.queue.confirmed) <= {int(frame["body"]) for frame in crowd.worked},
            10.0,
            lambda: sorted(
                set(crowd.queue.confirmed) - {int(frame["body"]) for frame in crowd.worked}
            ),
        )
        first: dict[str, int] = {}
        for frame in crowd.worked:
            if not frame.get("redelivered"):
                first[frame["body"]] = first.get(frame["body"], 0) + 1
        self.assertEqual([body for body, times in first.items() if times > 1], [])
        for worker in crowd.workers:
            told = [frame for frame in worker.told if frame["op"] != "link"]
            self.assertEqual(told, [])


class CutScenarios(FaultScenarios):
    """The connection between the bridge and the broker is cut, again and again."""

    __test__ = False

    async def test_nothing_is_lost_when_the_link_is_cut_again_and_again(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=TOML)
        crowd = await self.crowd(bridge)
        for _ in range(3):
            proxy.reset()
            await self.flowing(crowd)
        await self.nothing_is_lost(crowd)
        for each in (*crowd.readers, *crowd.workers):
            self.assertEqual(each.sessions, 1)
        await in_thread(bridge.close)

    async def test_a_tag_from_before_a_cut_is_not_found_and_its_message_comes_again(self) -> None:
        proxy, queue = await self.proxy(), await self.queue()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=TOML)
        await self.fill(queue, "abc")
        client = await self.consumer(f"/queue/{queue}", bridge=bridge, ack="client")
        before = [await client.message() for _ in range(3)]
        await self.done(client, before[0])
        await self.has(queue, (0, 1))
        proxy.reset()
        await client.frame("link", state="up")
        after = [await client.message() for _ in range(3 - 1)]
        self.assertEqual(
            [(each["body"], each["redelivered"]) for each in after], [("b", True), ("c", True)]
        )
        self.assertGreater(after[0]["delivery_tag"], before[-1]["delivery_tag"])
        tag = before[1]["delivery_tag"]
        fields = {"destination": f"/queue/{queue}", "delivery_tag": tag}
        await self.refused(client, "ack", "not_found", **fields)
        await self.refused(client, "nack", "not_found", **fields)
        for each in after:
            await self.done(client, each)
        await client.socket.leave()
        await self.has(queue, (0, 0))
        await in_thread(bridge.close)

    async def test_a_stalled_client_gets_nothing_twice_unmarked_after_a_cut(self) -> None:
        proxy, queue, stream = await self.proxy(), await self.queue(), await self.stream()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=TOML)
        body = "x" * 30_000
        clients = [
            await self.consumer(f"/queue/{queue}", bridge=bridge),
            await self.consumer(f"/stream/{stream}", bridge=bridge),
        ]
        for client in clients:
            client.socket.deaf()
        for name in (queue, stream):
            await self.fill(name, (f"{n} {body}" for n in range(300)))
        proxy.reset()
        watch = await self.json(bridge)
        await self.until(lambda: proxy.accepted >= 4)
        await self.fill(queue, ["300 "])
        await self.fill(stream, ["300 "])
        await watch.publish("/topic/after", "the cut")
        for client in clients:
            client.socket.hear()
            got: list[dict[str, Any]] = []
            while not got or not got[-1]["body"].startswith("300 "):
                got.append(await client.message())
            numbers = [int(each["body"].split()[0]) for each in got]
            self.assertEqual(set(numbers), set(range(301)))
            fresh = [n for n, each in zip(numbers, got, strict=True) if "redelivered" not in each]
            self.assertEqual(fresh, sorted(set(fresh)))
            if "offset" in got[0]:
                self.assertEqual([each["offset"] for each in got], list(range(301)))
        await in_thread(bridge.close)


class CutTests(CutScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedCutTests(OnEmbedded, CutScenarios):
    """On the embedded broker."""

    __test__ = True


class KillTests(FaultScenarios, BreakableCase):
    """The broker and the bridge are killed (RabbitMQ: the embedded broker keeps nothing)."""

    __test__ = True
    timeout = 90
    toml = TOML

    async def impatient(self) -> None:
        """What subscribes from now on has three seconds for its acks; RabbitMQ looks once a second.

        Only the tests that are about that ask for it: others may be kept waiting by the machine.
        """
        set_to = "application:set_env(rabbit, {}, {})."
        for name, value, usual in (
            ("channel_tick_interval", 1000, 60_000),
            ("consumer_timeout", 3000, 1_800_000),
        ):
            await in_thread(self.node.ctl, "eval", set_to.format(name, value))
            self.addCleanup(in_thread, self.node.ctl, "eval", set_to.format(name, usual))

    async def test_the_broker_is_killed(self) -> None:
        crowd = await self.crowd()
        # A queue of the session's own is durable, and outlives the broker too.
        own = await self.consumer("/topic/own.#", ack="client", prefetch=1000)
        await self.fill("own.before", range(100), exchange="amq.topic")
        await in_thread(self.node.sync)
        await self.flowing(crowd)
        await in_thread(self.node.kill)
        await own.frame("link", state="down")
        await in_thread(self.node.start)
        await own.frame("link", 20.0, state="up")
        await self.fill("own.after", range(100, 110), exchange="amq.topic")
        got: list[dict[str, Any]] = []
        while len({int(each["body"]) for each in got}) < 110:
            got.append(await own.message())
        fresh = [each["body"] for each in got if "redelivered" not in each]
        self.assertEqual(len(fresh), len(set(fresh)))
        await own.socket.leave()
        await self.nothing_is_lost(crowd)
        for each in (*crowd.readers, *crowd.workers):
            self.assertEqual(each.sessions, 1)

    async def test_the_bridge_is_killed(self) -> None:
        crowd = await self.crowd()
        for _ in range(2):
            await in_thread(self.bridge.kill)
            await in_thread(self.bridge.start)
            await self.flowing(crowd)
        await self.nothing_is_lost(crowd)
        for each in (*crowd.readers, *crowd.workers):
            self.assertGreaterEqual(each.sessions, 3)

    async def test_what_is_published_again_has_the_same_message_id(self) -> None:
        queue, total = await self.queue(), 1500
        await in_thread(self.node.sync)
        publisher = Insisting(self.bridge.url(), f"/queue/{queue}", total)
        await self.until(lambda: len(publisher.left) < total - 300)
        await in_thread(self.bridge.kill)
        await in_thread(self.bridge.start)
        await self.until(lambda: len(publisher.left) < total - 600, 20.0)
        await in_thread(self.node.kill)
        await in_thread(self.node.start)
        await publisher.over.addTimeout(30.0, clock)
        found = await self.drain(queue)
        wanted = {f"{publisher.client_id}/{n}": b"%d" % n for n in range(total)}
        self.assertEqual({properties.message_id: body for properties, body in found}, wanted)
        twice = len(found) - total
        self.assertLessEqual(twice, 2 * publisher.AT_ONCE, "more than what was outstanding")
        self.assertEqual(set(publisher.codes) - {"unknown", "not_ready", "timeout"}, set())

    async def test_who_acknowledges_too_late_loses_that_subscription_alone(self) -> None:
        late, queue = await self.queue(), await self.queue()
        await self.impatient()
        client = await self.consumer(f"/queue/{late}", ack="client")
        await client.subscribe(f"/queue/{queue}", ack="client")
        other = await self.consumer(f"/queue/{queue}", ack="client")
        await self.fill(late, ["late"])
        message = await client.message()
        ended = await client.frame("unsubscribed", 15.0)
        self.assertEqual(ended["destination"], f"/queue/{late}")
        self.assertRegex(ended["reason"], "acknowledge.*\\.")
        await self.refused(
            client,
            "ack",
            "not_found",
            destination=f"/queue/{late}",
            delivery_tag=message["delivery_tag"],
        )
        await self.fill(queue, range(20))
        await self.until(lambda: len(client.messages.items) + len(other.messages.items) == 20)
        self.assertGreater(len(client.messages.items), 0)
        for each in (client, other):
            for item in each.messages.items:
                await self.done(each, item)
        self.assertEqual(client.frames.items + other.frames.items, [])
        await client.subscribe(f"/queue/{late}")
        again = await client.messages.take(lambda frame: frame["body"] == "late")
        self.assertTrue(again["redelivered"])

    async def test_a_stream_whose_reader_stalls_too_long_misses_nothing(self) -> None:
        stream = await self.stream()
        await self.fill(stream, (f"{n} {'x' * 30_000}" for n in range(300)))
        await self.impatient()
        slow = await self.json()
        await slow.subscribe(f"/stream/{stream}", **{"from": "first"})
        slow.socket.deaf()
        late = await self.queue()
        clock = await self.consumer(f"/queue/{late}", ack="client")
        await self.fill(late, ["late"])
        await clock.frame("unsubscribed", 15.0)
        slow.socket.hear()
        got: list[int] = []
        while len(got) < 300:
            await self.until(
                lambda: slow.messages.items, 10.0, lambda: f"{len(got)}, then {slow.frames.items}"
            )
            got.append((await slow.message())["offset"])
        self.assertEqual(got, list(range(300)))
        await slow.lives()
        self.assertEqual(slow.frames.items, [])
