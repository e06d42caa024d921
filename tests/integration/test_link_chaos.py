"""Cuts, stalls and resets in a random order, from a seed: every promise holds nevertheless."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred

from tests.integration.cases import BrokerCase, outcomes, pause
from tests.integration.proxy import Proxy, Way
from twbridge.amqp import Queue
from twbridge.errors import ConfirmTimeout, NotReady, OutcomeUnknown
from twbridge.wire import Delivery


class ChaosTests(BrokerCase):
    timeout = 90

    async def misbehave(self, proxy: Proxy, seed: int, faults: int) -> None:
        """``faults`` accidents, some of them while the link is still getting up again."""
        dice = random.Random(seed)
        for _ in range(faults):
            kind = dice.choice(["cut", "cut", "cut", "reset", "stall", "forsake", "refuse"])
            if kind == "cut":
                proxy.cut_after(dice.randrange(1, 20_000), dice.choice(list(Way)))
            elif kind == "reset":
                proxy.reset()
            elif kind == "stall":
                proxy.stall(*dice.choice([(Way.UP,), (Way.DOWN,), ()]))
                await pause(dice.uniform(0, 0.1))
                if dice.random() < 0.5:
                    proxy.reset()
                proxy.resume()
            elif kind == "forsake":
                proxy.forsake()
            else:
                await proxy.refuse()
                proxy.reset()
                await pause(dice.uniform(0, 0.1))
                proxy.accept()
            proxy.latency = dice.choice([0.0, 0.0, 0.002])
            await pause(dice.uniform(0, 0.15))
        proxy.latency = 0.0
        proxy.limits.clear()
        proxy.reset()  # half-open connections held deliveries back, rightly

    async def test_nothing_confirmed_is_lost_and_everything_is_told(self) -> None:
        for seed in (1, 2, 3):
            await self.round(seed)

    async def round(self, seed: int) -> None:
        proxy = await self.proxy()
        url = self.url_of(proxy, query="connection_timeout=1000")
        link = await self.ready(url, reconnect_cap=0.1, timeout=5.0, window=50)
        queue = await self.queue()
        received: Counter[int] = Counter()
        live: list[bytes] = []

        def take(delivery: Delivery) -> None:
            if len(delivery.body) != 500 or not delivery.body.endswith(b"." * 100):
                received[-1] += 1
            received[int(delivery.body.partition(b".")[0])] += 1
            consumer.ack(delivery.delivery_tag)

        consumer = await link.consume(Queue(queue, passive=True), take, prefetch=10)
        listener = await link.consume(Queue(), lambda each: live.append(each.body), no_ack=True)
        await listener.bind("amq.topic", f"chaos.{seed}.#")
        results: dict[int, Any] = {}
        going = True

        async def publish_on(offset: int) -> None:
            number = offset
            while going:
                body = (b"%d" % number).ljust(500, b".")
                (results[number],) = await outcomes([link.publish("", queue, body, mandatory=True)])
                number += 8

        publishers = [Deferred.fromCoroutine(publish_on(offset)) for offset in range(8)]
        await self.misbehave(proxy, seed, 40)
        going = False
        for each in publishers:
            await each
        await self.state(link, "ready")
        self.assertLessEqual(
            {type(each) for each in results.values()},
            {type(None), OutcomeUnknown, ConfirmTimeout, NotReady},
        )
        confirmed = {number for number, each in results.items() if each is None}
        unsent = {number for number, each in results.items() if isinstance(each, NotReady)}
        self.assertGreater(len(confirmed), 50)
        await self.until(lambda: confirmed <= set(received), 20)
        self.assertEqual(received[-1], 0, "a body was damaged")
        self.assertEqual(unsent & set(received), set(), "NotReady, and yet it was published")
        live.clear()
        await link.publish("amq.topic", f"chaos.{seed}.x", b"the binding is there")
        await self.until(lambda: live == [b"the binding is there"])
        self.assertFalse(link.pressed)
        await link.stop()
