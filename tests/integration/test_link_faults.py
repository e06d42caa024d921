"""The broker killed, frozen, out of memory or of another build: a node of its own to break."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from tests.integration import witness
from tests.integration.cases import BrokerCase, outcomes, pause
from tests.integration.rabbitmq import Node, in_thread
from twbridge.amqp import Link, Queue
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    ConnectionClosed,
    NotReady,
    OutcomeUnknown,
)
from twbridge.wire import Delivery

MEGABYTE = 1024 * 1024


def resident() -> int:
    """Resident memory of the test process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class FaultCase(BrokerCase):
    """Tests on a node of the class's own."""

    #: Some of them start it again.
    timeout = 90

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = Node(advanced="[{rabbit, [{channel_tick_interval, 500}]}].")
        cls.node.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.close()

    async def queue(self, **settings: Any) -> str:
        """A durable queue that is on the disk: declare-ok comes before that."""
        name = await super().queue(**settings)
        await in_thread(self.node.ctl, "eval", "mnesia:sync_log().")
        return name


class AlarmTests(FaultCase):
    async def blocked(self, link: Link) -> float:
        """Seconds from publishes under an alarm until the link says that it is blocked."""

        def publish() -> None:
            link.publish("amq.topic", "k", b"", timeout=60).addErrback(lambda _: None)

        # The broker blocks who publishes: a single one may come before its own word of the alarm.
        publishes = LoopingCall(publish)
        publishes.start(0.1)
        try:
            return await self.state(link, "blocked")
        finally:
            publishes.stop()

    async def test_memory_and_disk_alarms_are_blocked_and_their_end_is_ready(self) -> None:
        for alarm, clear, words in (
            (self.node.block, self.node.unblock, "memory"),
            (self.disk_full, self.disk_free, "disk"),
        ):
            link = await self.ready()
            events: list[object] = []
            link.on_unavailable(events.append)
            link.on_ready(lambda events=events: events.append("ready"))  # type: ignore[misc]
            await link.publish("amq.topic", "k", b"")
            await in_thread(alarm)
            try:
                await self.blocked(link)
                self.assertIn(words, link.state_description)
                self.assertTrue(link.closable)
            finally:
                await in_thread(clear)
            await self.state(link, "ready")
            await link.publish("amq.topic", "k", b"")
            self.assertEqual([type(each) for each in events], [NotReady, str])
            await link.stop()

    def disk_full(self) -> None:
        self.node.ctl("set_disk_free_limit", "1000GB")

    def disk_free(self) -> None:
        self.node.ctl("set_disk_free_limit", "50MB")

    async def test_blocked_publishes_wait_within_bounds_and_none_is_lost(self) -> None:
        queue = await self.queue()
        link = await self.ready()
        got: list[Delivery] = []
        consumer = await link.consume(Queue(queue, passive=True), got.append, prefetch=1)
        await link.publish("", queue, b"one")
        await link.publish("", queue, b"two")
        await self.until(lambda: len(got) == 1)
        pressure: list[bool] = []
        link.on_pressure(pressure.append)
        await in_thread(self.node.block)
        try:
            await self.blocked(link)
            begin = time.monotonic()
            error = await self.failure(link.publish("", queue, b"late", timeout=0.5), NotReady)
            self.assertEqual(error.code, "not_ready")
            self.assertTrue(0.5 <= time.monotonic() - begin < 5.0)
            consumer.ack(got[0].delivery_tag)
            await self.until(lambda: len(got) == 2)  # its own connection is not blocked
            before = resident()
            sent = [
                link.publish("", queue, b"%03d" % number + b"x" * MEGABYTE, timeout=30)
                for number in range(200)
            ]
            await self.until(lambda: any(each.called for each in sent))
            self.assertLess(resident() - before, 64 * MEGABYTE)
            self.assertTrue(link.pressed)
            self.assertEqual(pressure[-1:], [True])
        finally:
            await in_thread(self.node.unblock)
        result = await outcomes(sent)
        self.assertEqual(set(map(type, result)), {type(None), NotReady})
        accepted = [b"%03d" % number for number, each in enumerate(result) if each is None]
        self.assertGreater(len(accepted), 10)
        await self.until(lambda: not link.pressed)
        await consumer.cancel()
        found = [body[:3] for _, body in await self.drain(queue)]
        self.assertEqual([body for body in found if body != b"two"], accepted)

    async def test_a_delivery_that_is_not_acked_in_time_ends_its_consumer_alone(self) -> None:
        set_to = "application:set_env(rabbit, consumer_timeout, {})."
        await in_thread(self.node.ctl, "eval", set_to.format(1500))
        self.addCleanup(lambda: in_thread(self.node.ctl, "eval", set_to.format(1_800_000)))
        link = await self.ready()
        slow, quick = await self.queue(), await self.queue()
        ends: list[ChannelClosed] = []
        got: list[bytes] = []
        await link.consume(Queue(slow, passive=True), lambda _: None, on_end=ends.append)  # type: ignore[arg-type]
        await link.consume(
            Queue(quick, passive=True), lambda each: got.append(each.body), no_ack=True
        )
        await link.publish("", slow, b"x", mandatory=True)
        await self.until(lambda: ends)
        self.assertEqual(ends[0].reply_code, 406)
        self.assertIn("timeout", ends[0].reply_text)
        await link.publish("", quick, b"y", mandatory=True)
        await self.until(lambda: got == [b"y"])
        self.assertEqual((len(ends), link.state), (1, "ready"))

    async def test_a_link_that_is_stopped_while_blocked_ends(self) -> None:
        link = await self.ready(timeout=1.0)
        await in_thread(self.node.block)
        try:
            await self.blocked(link)
            waiting = link.publish("amq.topic", "k", b"")
            stopped, outcome = await outcomes([link.stop(), waiting])
            self.assertIsNone(stopped)
            self.assertIsInstance(outcome, NotReady)
            self.assertEqual(link.state, "closed")
        finally:
            await in_thread(self.node.unblock)


class KillTests(FaultCase):
    async def test_a_killed_broker_loses_nothing_that_was_confirmed(self) -> None:
        queue = await self.queue()
        link = await self.ready(timeout=20.0)
        live: list[bytes] = []
        consumer = await link.consume(
            Queue(), lambda delivery: live.append(delivery.body), no_ack=True
        )
        await consumer.bind("amq.topic", "live.#")
        reasons: list[Exception] = []
        link.on_unavailable(reasons.append)
        results: dict[int, Any] = {}
        running = True

        async def publish_on() -> None:
            number = 0
            while running:
                batch = range(number, number + 20)
                number += 20
                done = await outcomes(
                    [link.publish("", queue, b"%d" % each, mandatory=True) for each in batch]
                )
                results.update(zip(batch, done, strict=True))

        publishing = Deferred.fromCoroutine(publish_on())
        await self.until(lambda: len(results) > 500)
        await in_thread(self.node.sync)
        await in_thread(self.node.kill)
        await self.until(lambda: reasons)
        self.assertIsInstance(reasons[0], ConnectionClosed)
        self.assertEqual(link.state, "connecting")
        await in_thread(self.node.start)
        # It greets before it is able to do anything, longer so on a busy machine.
        await in_thread(witness.counts, self.node.url(), queue)
        before = len(results)
        self.assertLess(await self.state(link, "ready"), 3.0 + link.options.reconnect_cap)
        await self.until(lambda: len(results) > before + 500)
        running = False
        await publishing
        kinds = Counter(type(each) for each in results.values())
        self.assertLessEqual(set(kinds), {type(None), OutcomeUnknown})
        self.assertLessEqual(kinds[OutcomeUnknown], 20)
        found = Counter(int(body) for _, body in await self.drain(queue))
        confirmed = {number for number, each in results.items() if each is None}
        self.assertEqual(confirmed - set(found), set(), "confirmed and lost")
        self.assertEqual([number for number, count in found.items() if count > 1], [])
        await link.publish("amq.topic", "live.x", b"the binding is there again", mandatory=True)
        await self.until(lambda: live)

    async def test_a_publish_while_the_broker_is_away_is_confirmed_after_its_return(
        self,
    ) -> None:
        queue = await self.queue()
        link = await self.ready(timeout=30.0)
        await in_thread(self.node.sync)
        await in_thread(self.node.kill)
        await self.until(lambda: link.state == "connecting")
        patient = [link.publish("", queue, b"%d" % number) for number in range(50)]
        hasty = link.publish("", queue, b"no", timeout=0.5)
        await self.failure(hasty, NotReady)
        await in_thread(self.node.start)
        self.assertEqual(set(await outcomes(patient)), {None})
        found = [int(body) for _, body in await self.drain(queue)]
        self.assertEqual(found, list(range(50)))

    async def test_a_node_under_maintenance_is_320_and_then_refused_until_it_is_revived(
        self,
    ) -> None:
        link = await self.ready(timeout=30.0)
        reasons: list[Any] = []
        link.on_unavailable(reasons.append)
        await in_thread(self.node.run, "rabbitmq-upgrade", "drain")
        try:
            await self.until(lambda: reasons)
            self.assertEqual(reasons[0].reply_code, 320)
            self.assertIn("maintenance", reasons[0].reply_text)
            patient = link.publish("amq.topic", "k", b"")
            await self.until(lambda: "refused" in link.state_description)
            self.assertEqual(link.state, "connecting")
        finally:
            await in_thread(self.node.run, "rabbitmq-upgrade", "revive")
        await patient
        await self.state(link, "ready")

    async def test_a_frozen_broker_is_noticed_within_two_heartbeats(self) -> None:
        link = await self.ready(self.node.url(query="heartbeat=2&connection_timeout=500"))
        await link.publish("amq.topic", "k", b"")
        reasons: list[Exception] = []
        link.on_unavailable(reasons.append)
        self.node.freeze()
        try:
            lost = link.publish("amq.topic", "k", b"", timeout=1.0)
            await self.failure(lost, ConfirmTimeout)
            took = 1.0 + await self.until(lambda: reasons)
        finally:
            self.node.thaw()
        self.assertLess(took, 6.0, "three heartbeats")
        self.assertIn("heartbeat", str(reasons[0]))
        await self.state(link, "ready")
        await link.publish("amq.topic", "k", b"")

    async def test_an_idle_link_keeps_its_connection(self) -> None:
        link = await self.ready(self.node.url(query="heartbeat=2"))
        reasons: list[Exception] = []
        link.on_unavailable(reasons.append)
        # Longer than the two heartbeats after which each side would end it, were there none.
        await pause(5.0)
        self.assertEqual((link.state, reasons), ("ready", []))

    async def test_frames_of_any_size_and_of_8192(self) -> None:
        for frame_max in (0, 8192):
            await in_thread(
                self.node.ctl, "eval", f"application:set_env(rabbit, frame_max, {frame_max})."
            )
            queue = await self.queue()
            link = await self.ready()
            rows = await in_thread(self.node.list, "connections", "frame_max", "state")
            self.assertIn(frame_max, [row["frame_max"] for row in rows])
            got: list[Delivery] = []
            await link.consume(Queue(queue, passive=True), got.append, no_ack=True)
            bodies = [b"x" * size for size in (0, 1, 8183, 8184, 8185, 100_000, 3_000_000)]
            for body in bodies:
                await link.publish("", queue, body, mandatory=True)
            await self.until(lambda got=got: len(got) == 7)  # type: ignore[misc]
            self.assertTrue([each.body for each in got] == bodies)
            self.assertEqual(link.state, "ready")
            await link.stop()
