"""Raw clients of queues and streams: routes, through the whole daemon, on both brokers."""

from __future__ import annotations

import uuid

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.subscription_cases import SubscriptionCase
from tests.integration.websocket import Socket

NAME = f"test.route.{uuid.uuid4()}"
BODY = "x" * 20_000


class RouteScenarios(SubscriptionCase):
    """Each route has a destination of another kind to subscribe to."""

    __test__ = False
    toml = f"""
        limits = {{ send_buffer = 262144 }}
        [[stream]]
        name = "{NAME}.stream"
        max_bytes = 100000000
        [[route]]
        [[route]]
        path = "/jobs"
        publish = "/queue/{NAME}.jobs"
        subscribe = "/queue/{NAME}.jobs"
        [[route]]
        path = "/log"
        publish = "/stream/{NAME}.stream"
        subscribe = "/stream/{NAME}.stream"
        [[route]]
        path = "/prices"
        publish = "/topic/{NAME}.prices"
        subscribe = "/topic/{NAME}.prices"
        overflow = "drop-oldest"
    """

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.bridge.running:
            for kind in ("jobs", "stream"):
                witness.delete(cls.node.url(), f"{NAME}.{kind}")
        super().tearDownClass()

    async def on(self, path: str, destination: str) -> Socket:
        """A raw client that hears what is published."""
        socket = await self.raw(path=path, listening=False)
        await self.hears(socket, destination=destination)
        return socket

    async def test_jobs_are_shared_and_wait_for_who_works(self) -> None:
        queue = f"{NAME}.jobs"
        worker = await self.raw(path="/jobs", listening=False)
        await self.has(queue, (0, 1))
        worker.send("done by whom?")
        self.assertEqual(await worker.take(), "done by whom?")
        await worker.leave()
        await self.has(queue, (0, 0))
        await self.fill(queue, range(30))
        workers = [await self.raw(path="/jobs", listening=False) for _ in range(2)]
        await self.until(lambda: sum(len(each.inbox.items) for each in workers) == 30)
        got = [int(item) for each in workers for item in each.inbox.items]
        self.assertEqual(sorted(got), list(range(30)))
        await self.has(queue, (0, 2))

    async def test_who_follows_a_log_gets_what_is_appended_from_now_on(self) -> None:
        stream = f"{NAME}.stream"
        await self.fill(stream, ["before"])
        watch = await self.json()
        await watch.subscribe(f"/stream/{stream}", **{"from": "last"})
        await watch.messages.take(lambda frame: frame["body"] == "before")
        one = await self.on("/log", f"/stream/{stream}")
        two = await self.on("/log", f"/stream/{stream}")
        one.send(b"\xff\xfe")
        self.assertEqual(await self.heard(two), b"\xff\xfe")
        self.assertEqual(await self.heard(one), b"\xff\xfe")

    async def test_a_log_is_read_at_the_pace_of_who_reads(self) -> None:
        stream = f"{NAME}.stream"
        slow = await self.on("/log", f"/stream/{stream}")
        slow.deaf()
        await self.fill(stream, (f"{n} {BODY}" for n in range(400)))
        slow.hear()
        got = [int(str(await self.heard(slow)).split()[0]) for _ in range(400)]
        self.assertEqual(got, list(range(400)))

    async def test_old_prices_are_dropped_for_who_is_slow(self) -> None:
        slow = await self.on("/prices", f"/topic/{NAME}.prices")
        watch = await self.json(None, f"/topic/{NAME}.prices")
        slow.deaf()
        bodies = [f"{n} {BODY}" for n in range(400)]
        for number in range(0, 400, 20):
            await self.fill(f"{NAME}.prices", bodies[number : number + 20], exchange="amq.topic")
            self.assertEqual(await watch.bodies(20), bodies[number : number + 20])
        slow.hear()
        last, got = f"399 {BODY}", [await self.heard(slow)]
        while got[-1] != last:
            got.append(await self.heard(slow))
        numbers = [int(str(each).split()[0]) for each in got]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertLess(len(numbers), 400)
        self.assertTrue(slow.is_open)


class RouteTests(RouteScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedRouteTests(OnEmbedded, RouteScenarios):
    """On the embedded broker."""

    __test__ = True
