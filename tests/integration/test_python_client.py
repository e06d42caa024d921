"""The Python client with the whole daemon: every way to it, and everything that is killed."""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from tests.certificates import Authority
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import BreakableCase, OnEmbedded
from tests.integration.cases import outcomes, pause
from tests.integration.proxy import Proxy, Way
from tests.integration.rabbitmq import free_ports
from tests.integration.subscription_cases import StreamCase
from twbridge.client import Client, Gap, Limits, Message, NotConnected, Subscription
from twbridge.errors import BadFrame, NotFound, TooLarge, TwbridgeError, Unroutable

QUICK = Limits(retry_floor=0.05, retry_cap=0.3)


class ClientCase(StreamCase):
    """Clients that are gone after the test."""

    timeout = 90

    def program(self, url: str | None = None, **settings: Any) -> Client:
        """A client of the bridge, or of a URL."""
        settings = {"limits": QUICK} | settings
        client = Client(reactor, url or self.bridge.url(), **settings)
        self.addCleanup(client.close)
        return client

    async def before(self, bridge: Bridge) -> Proxy:
        """A proxy between clients and a bridge."""
        proxy = await Proxy.listen(reactor, "127.0.0.1", bridge.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.close()))
        return proxy

    def topic(self) -> str:
        """A destination of the test's own."""
        return f"/topic/test.{uuid.uuid4()}"


class TalkScenarios(ClientCase):
    """What a program does, on both brokers."""

    __test__ = False

    async def test_what_is_published_comes_as_it_was(self) -> None:
        client, topic = self.program(), self.topic()
        got: list[Message] = []
        await client.subscribe(topic, got.append)
        bodies: list[Any] = [{"a": [1, 2.5, None]}, "héllo", b"\xff\x00", None, 7, "", b""]
        for body in bodies:
            await client.publish(topic, body, headers={"h": [1]}, properties={"priority": 3})
        await self.until(lambda: len(got) == len(bodies))
        self.assertEqual([message.body for message in got], bodies)
        for message in got:
            self.assertEqual((message.headers, message.properties["priority"]), ({"h": [1]}, 3))
            self.assertTrue(message.properties["message_id"].startswith(f"{client.id}/"))

    async def test_refusals_are_errors_with_their_codes(self) -> None:
        client = self.program()
        await self.failure(client.publish(f"/queue/{uuid.uuid4()}", 1), Unroutable)
        await self.failure(client.publish(self.topic(), 1, mandatory=True), Unroutable)
        await self.failure(client.publish(f"/exchange/{uuid.uuid4()}/k", 1), NotFound)
        await self.failure(client.publish(self.topic(), 1, properties={"nonsense": 1}), BadFrame)
        await self.failure(client.publish(self.topic(), "x" * 2_000_000), TooLarge)
        await self.failure(client.subscribe(f"/amq/queue/{uuid.uuid4()}", print), NotFound)
        await self.failure(client.subscribe("/stream/none", print, start="second"), BadFrame)
        self.assertEqual(client.state, "open")

    async def test_a_queue_is_worked_off_one_at_a_time(self) -> None:
        client, queue = self.program(), await self.queue()
        await self.fill(queue, range(50))
        got = []
        async with client.messages(f"/queue/{queue}", prefetch=5) as messages:
            async for message in messages:
                got.append(message.body)
                if len(got) == 50:
                    break
        self.assertEqual(got, [str(number) for number in range(50)])
        await self.has(queue, (0, 0))

    async def test_what_was_not_acknowledged_goes_back(self) -> None:
        client, queue = self.program(), await self.queue()
        await self.fill(queue, range(3))
        async for message in client.messages(f"/queue/{queue}"):
            first = message
            break
        await self.has(queue, (3, 0))
        async for message in client.messages(f"/queue/{queue}"):
            self.assertEqual((message.body, message.redelivered), (first.body, True))
            message.nack(requeue=False)
            break
        await self.has(queue, (2, 0))

    async def test_a_stream_is_read_from_where_it_is_told(self) -> None:
        client, stream = self.program(), await self.stream()
        await self.fill(stream, range(10))
        for start, first in (("first", 0), ("offset=4", 4)):
            offsets = []
            async for message in client.messages(f"/stream/{stream}", start=start):
                offsets.append(message.offset)
                if message.offset == 9:
                    break
            self.assertEqual(offsets, list(range(first, 10)))

    async def test_a_long_stream_is_read_by_a_slow_loop_in_bounded_memory(self) -> None:
        client, stream = self.program(), await self.stream()
        await self.fill(stream, range(3_500))
        bodies = []
        messages = client.messages(f"/stream/{stream}", start="first")
        async for message in messages:
            bodies.append(int(message.body))
            self.assertLessEqual(len(messages._inbox.messages), 1_000)
            if len(bodies) % 500 == 0:
                await pause(0.05)
            if len(bodies) == 3_500:
                break
        self.assertEqual(bodies, list(range(3_500)))

    async def test_leaving_a_loop_leaves_nothing_at_the_bridge(self) -> None:
        client, topic = self.program(), self.topic()
        for _ in range(3):
            found = Deferred.fromCoroutine(self.first_of(client, topic))
            while not found.called:
                await client.publish(topic, "x")
                await pause(0.01)
            self.assertEqual((await found).body, "x")

    async def first_of(self, client: Client, topic: str) -> Message:
        async for message in client.messages(topic):
            return message
        raise AssertionError("it ended")


class TalkTests(TalkScenarios):
    """On RabbitMQ."""

    __test__ = True


class TalkOnEmbeddedTests(OnEmbedded, TalkScenarios):
    """On the embedded broker."""

    __test__ = True


class WayTests(ClientCase):
    """Each way to the bridge."""

    async def test_tls_and_a_unix_socket(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="twb-")
        self.addCleanup(folder.cleanup)
        authority = Authority(Path(folder.name))
        certificate, key = authority.issue("server")
        tcp, tls = free_ports(2)
        path = f"{folder.name}/b.sock"
        await self.another(
            "--amqp-url",
            self.amqp_url(),
            "--listen",
            f"tcp:{tcp}:interface=127.0.0.1",
            "--listen",
            f"ssl:{tls}:privateKey={key}:certKey={certificate}:interface=127.0.0.1",
            "--listen",
            f"unix:{path}",
            port=tcp,
        )
        root = trustRootFromCertificates([Certificate.loadPEM(authority.ca.read_bytes())])
        verified = optionsForClientTLS("localhost", root)
        topic = self.topic()
        for url, settings in (
            (f"wss://localhost:{tls}/ws", {"tls": verified}),
            (f"ws+unix://{path}:/ws", {}),
            (f"ws://localhost:{tcp}/ws", {"compress": True}),
        ):
            client = self.program(url, **settings)
            got: list[Message] = []
            await client.subscribe(topic, got.append)
            await client.publish(topic, url)
            await self.until(got.copy)
            self.assertEqual(got[0].body, url)
        untrusted = self.program(f"wss://localhost:{tls}/ws")
        await self.failure(untrusted.publish(topic, 1, timeout=1.0), TwbridgeError)
        self.assertIn("certificate", str(untrusted._core.reason))

    async def test_a_bridge_that_compresses_is_understood(self) -> None:
        toml = "[websocket]\ndeflate = true"
        bridge = await self.another("--amqp-url", self.amqp_url(), toml=toml)
        client, topic = self.program(bridge.url(), compress=True), self.topic()
        got: list[Message] = []
        await client.subscribe(topic, got.append)
        bodies = ["x" * size for size in (1, 100, 10_000, 500_000)]
        for body in bodies:
            await client.publish(topic, body)
        await self.until(lambda: len(got) == len(bodies))
        self.assertEqual([message.body for message in got], bodies)

    async def test_another_path_is_refused_and_says_why(self) -> None:
        reasons: list[NotConnected] = []
        client = self.program(self.bridge.url("/nowhere"), on_away=reasons.append)
        client.connect().addErrback(lambda _: None)
        await self.until(lambda: reasons)
        self.assertEqual(reasons[0].status, 404)


class LossTests(ClientCase):
    """Connections that are lost, again and again."""

    async def test_publishes_are_applied_once_however_often_the_connection_is_cut(self) -> None:
        queue = await self.queue()
        proxy = await self.before(self.bridge)
        client = self.program(f"ws://127.0.0.1:{proxy.port}/ws")
        await client.connect()
        sent = []
        for number in range(600):
            sent.append(client.publish(f"/queue/{queue}", number))
            if number % 100 == 50:
                proxy.cut_after(20, Way.DOWN)
                await self.until(lambda: not proxy.limits)
        self.assertEqual(set(await outcomes(sent)), {None})
        found = [int(body) for _, body in await self.drain(queue)]
        self.assertEqual(sorted(found), list(range(600)))
        self.assertGreater(proxy.accepted, 6)

    async def test_a_reader_of_a_stream_misses_nothing_and_gets_nothing_twice(self) -> None:
        stream = await self.stream()
        proxy = await self.before(self.bridge)
        reader = self.program(f"ws://127.0.0.1:{proxy.port}/ws")
        got: list[Message] = []
        gaps: list[Gap] = []
        await reader.subscribe(f"/stream/{stream}", got.append, start="first", on_gap=gaps.append)
        for _ in range(5):
            await self.fill(stream, range(100))
            proxy.reset()
            await self.fill(stream, range(100))
            await self.until(lambda: reader.state == "open")
        await self.until(lambda: len(got) == 1_000)
        self.assertEqual([message.offset for message in got], list(range(1_000)))
        self.assertEqual(gaps, [])

    async def test_a_silent_connection_is_noticed(self) -> None:
        proxy = await self.before(self.bridge)
        limits = Limits(retry_floor=0.05, retry_cap=0.3, pong_seconds=1.5)
        reasons: list[NotConnected] = []
        client = self.program(
            f"ws://127.0.0.1:{proxy.port}/ws", limits=limits, on_away=reasons.append
        )
        await client.connect()
        client._core._heartbeat = 0.5
        client._core._wait(0.5)
        await pause(2.5)
        self.assertEqual((client.state, reasons), ("open", []))
        proxy.stall()
        await self.until(lambda: reasons)
        self.assertEqual(str(reasons[0]), "The bridge gave no sign of life.")
        proxy.resume()
        await client.publish(self.topic(), 1)


class BridgeRestartTests(ClientCase):
    """The bridge is killed, or stops."""

    async def test_a_killed_bridge_costs_no_message_of_a_stream_and_no_publish(self) -> None:
        stream = await self.stream()
        bridge = await self.another()
        client = self.program(bridge.url())
        got: list[Message] = []
        await client.subscribe(f"/stream/{stream}", got.append, start="first")
        writer = self.program(bridge.url())
        sent = []
        for number in range(400):
            sent.append(writer.publish(f"/stream/{stream}", number))
            if number in (120, 280):
                await pause(0.05)
                await in_thread(bridge.kill)
                await in_thread(bridge.start)
            await pause(0.001)
        results = await outcomes(sent)
        self.assertEqual(set(results), {None})
        await writer.publish(f"/stream/{stream}", "last")
        await self.until(lambda: got and got[-1].body == "last")
        self.assertEqual([message.offset for message in got], list(range(len(got))))
        # The new process knows nothing of what the old one had applied: that is for consumers.
        ids = Counter(message.properties["message_id"] for message in got)
        self.assertEqual(len(ids), 401)
        self.assertEqual({message.body for message in got}, {*range(400), "last"})

    async def test_a_bridge_that_stops_is_come_back_to(self) -> None:
        bridge, topic = await self.another(), self.topic()
        proxy = await self.before(bridge)
        reasons: list[NotConnected] = []
        client = self.program(f"ws://127.0.0.1:{proxy.port}/ws", on_away=reasons.append)
        gaps: list[Gap] = []
        got: list[Message] = []
        subscription = await client.subscribe(topic, got.append, on_gap=gaps.append)
        # Who came back before the broker is there would hear of that too.
        await proxy.refuse()
        self.assertEqual(await in_thread(bridge.stop), 0)
        await self.until(lambda: reasons)
        self.assertEqual(reasons[0].closed, 1001)
        waiting = client.publish(topic, "while away", timeout=30.0)
        await in_thread(bridge.start)
        proxy.accept()
        await waiting
        await self.until(lambda: subscription.active)
        self.assertEqual(gaps, [Gap()])
        await client.publish(topic, "back")
        await self.until(lambda: "back" in [message.body for message in got])


class BrokerRestartTests(BreakableCase, ClientCase):
    """The broker is restarted."""

    async def test_a_queue_is_worked_off_whatever_the_broker_does(self) -> None:
        queue = await self.queue()
        await in_thread(self.node.sync)
        await self.fill(queue, range(200), delivery_mode=2)
        links: list[bool] = []
        client = self.program(on_link=links.append)
        done: list[tuple[int, bool]] = []
        restarted: list[Deferred[None]] = []
        async with client.messages(f"/queue/{queue}", prefetch=10) as messages:
            async for message in messages:
                done.append((int(message.body), message.redelivered))
                if len(done) == 100:
                    restarted.append(in_thread(self.restart))
                    await self.until(lambda: links)
                if len({number for number, _ in done}) == 200:
                    break
                await pause(0.002)
        await restarted[0]
        await self.until(lambda: links == [False, True])
        numbers = Counter(number for number, _ in done)
        self.assertEqual(set(numbers), set(range(200)))
        twice = {number for number, times in numbers.items() if times > 1}
        self.assertLessEqual(len(twice), 20)
        self.assertLessEqual(twice, {number for number, again in done if again})
        await self.has(queue, (0, 0))

    def restart(self) -> None:
        self.node.stop()
        self.node.start()

    async def test_live_subscribers_are_told_that_messages_may_be_missing(self) -> None:
        client, topic = self.program(), self.topic()
        gaps: list[Gap] = []
        got: list[Message] = []
        subscription = await client.subscribe(topic, got.append, on_gap=gaps.append)
        await in_thread(self.restart)
        await self.until(lambda: gaps, 30.0)
        self.assertIsInstance(subscription, Subscription)
        await client.publish(topic, "again", timeout=20.0)
        await self.until(lambda: got)
