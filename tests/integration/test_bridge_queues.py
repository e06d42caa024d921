"""Queues subscribed to by way of the whole daemon: at least once, acknowledged, on both brokers."""

from __future__ import annotations

import uuid
from typing import Any

import pika.exceptions

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import Steady, SubscriptionCase
from tests.integration.websocket import Client

BODY = "x" * 30_000
#: Far more than what the kernel holds for a socket on loopback, 3 MB or so.
MANY = 400


def overhear(client: Client) -> list[str]:
    """The texts of the frames that come, as they come."""
    frames: list[str] = []
    received = client.socket.on_message

    def hear(text: str | bytes) -> None:
        frames.append(str(text))
        received(text)

    client.socket.on_message = hear
    return frames


class QueueScenarios(SubscriptionCase):
    """What a client of a queue may rely on."""

    __test__ = False

    def forget(self, queue: str) -> None:
        """Delete it after the test."""
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), queue))

    # -- which queue

    async def test_a_queue_is_declared_durable_where_there_is_none(self) -> None:
        name = f"test.{uuid.uuid4()}"
        self.forget(name)
        client = await self.consumer(f"/queue/{name}")
        with self.assertRaises(pika.exceptions.ChannelClosedByBroker):
            await in_thread(witness.declare, self.node.url(), name, durable=False)
        await in_thread(witness.declare, self.node.url(), name, durable=True)
        await client.publish(f"/queue/{name}", "taken")
        self.assertEqual(await client.bodies(1), ["taken"])

    async def test_a_queue_that_exists_is_used_as_it_is(self) -> None:
        for settings in (
            {"arguments": {"x-max-length": 5, "x-overflow": "reject-publish"}},
            {"durable": False},
        ):
            queue = await self.queue(**settings)
            client = await self.consumer(f"/queue/{queue}")
            await client.publish(f"/queue/{queue}", str(settings))
            self.assertEqual(await client.bodies(1), [str(settings)])
            await in_thread(witness.declare, self.node.url(), queue, **settings)

    async def test_amq_queue_never_declares(self) -> None:
        client, name = await self.json(), f"test.{uuid.uuid4()}"
        await self.refused(client, "subscribe", "not_found", destination=f"/amq/queue/{name}")
        self.assertIsNone(await self.counts(name))
        queue = await self.queue()
        await client.subscribe(f"/amq/queue/{queue}")
        await client.publish(f"/queue/{queue}", "here")
        message = await client.message()
        self.assertEqual((message["destination"], message["body"]), (f"/amq/queue/{queue}", "here"))

    async def test_a_second_subscription_to_it_is_a_conflict_and_two_names_for_it_are_not(
        self,
    ) -> None:
        queue = await self.queue()
        client = await self.consumer(f"/queue/{queue}")
        await self.refused(client, "subscribe", "conflict", destination=f"/queue/{queue}")
        await client.subscribe(f"/amq/queue/{queue}")
        await self.has(queue, (0, 2))

    async def test_options_that_a_kind_does_not_have_are_refused(self) -> None:
        client, queue = await self.json(), await self.queue()
        for destination, fields in (
            ("/topic/a", {"overflow": "block"}),
            ("/topic/a", {"prefetch": 5}),
            ("/topic/a", {"from": "first"}),
            ("/topic/a", {"ack": "client", "overflow": "latest"}),
            ("/topic/a", {"ack": "perhaps"}),
            (f"/queue/{queue}", {"from": "first"}),
            (f"/queue/{queue}", {"ack": "client", "overflow": "drop-oldest"}),
            (f"/queue/{queue}", {"ack": "client", "overflow": "latest"}),
            (f"/queue/{queue}", {"overflow": "sometimes"}),
            (f"/queue/{queue}", {"prefetch": 0}),
            (f"/queue/{queue}", {"prefetch": 1001}),
            (f"/queue/{queue}", {"prefetch": "5"}),
        ):
            await self.refused(client, "subscribe", "bad_frame", destination=destination, **fields)
        await self.has(queue, (0, 0))

    # -- what comes

    async def test_a_message_comes_as_it_was_published(self) -> None:
        queue = await self.queue()
        client = await self.consumer(f"/queue/{queue}", ack="client")
        await client.publish(
            f"/queue/{queue}",
            {"any": ["JSON", 1.50]},
            headers={"h": 1},
            properties={"correlation_id": "c", "type": "t"},
        )
        message = await client.message()
        properties = message.pop("properties")
        self.assertEqual(
            message,
            {
                "op": "message",
                "destination": f"/queue/{queue}",
                "routing_key": queue,
                "headers": {"h": 1},
                "body": {"any": ["JSON", 1.50]},
                "delivery_tag": message["delivery_tag"],
            },
        )
        self.assertEqual((properties["correlation_id"], properties["type"]), ("c", "t"))
        await client.publish(f"/queue/{queue}", base64="//4=")
        self.assertEqual((await client.message())["base64"], "//4=")

    async def test_no_message_comes_before_subscribed(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(50))
        client = await self.json()
        frames = overhear(client)
        await client.subscribe(f"/queue/{queue}")
        self.assertEqual(await client.bodies(50), [str(n) for n in range(50)])
        self.assertIn('"subscribed"', frames[0])

    async def test_prefetch_is_honoured_exactly(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(50))
        for prefetch in (3, 20):
            fields: dict[str, Any] = {} if prefetch == 20 else {"prefetch": prefetch}
            client = await self.consumer(f"/queue/{queue}", ack="client", **fields)
            got = [await client.message() for _ in range(prefetch)]
            await self.has(queue, (50 - prefetch, 1))
            await client.lives()
            self.assertEqual(client.messages.items, [])
            await self.done(client, got[1])
            last = await client.message()
            self.assertEqual(last["body"], str(prefetch if prefetch == 3 else 21))
            await self.done(client, got[0], "nack", requeue=True)
            again = await client.message()
            self.assertEqual((again["body"], again["redelivered"]), (got[0]["body"], True))
            await client.lives()
            self.assertEqual(client.messages.items, [])
            await client.socket.leave()
            await self.has(queue, (49, 0))
            await self.fill(queue, ["one more"])

    # -- ack: auto

    async def test_auto_acknowledges_what_the_socket_has_taken(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(300))
        client = await self.consumer(f"/queue/{queue}")
        got = [await client.message() for _ in range(300)]
        self.assertEqual([each["body"] for each in got], [str(n) for n in range(300)])
        self.assertNotIn("delivery_tag", got[0])
        self.assertNotIn("redelivered", got[0])
        await client.lives()
        client.socket.abort()
        await self.has(queue, (0, 0))

    async def test_nothing_is_lost_nor_comes_twice_between_two_subscriptions(self) -> None:
        queue, client = await self.queue(), await self.json()
        steady = Steady(await self.ready(), queue)
        self.addCleanup(steady.stop)
        got: list[dict[str, Any]] = []
        client.on_message = got.append
        for prefetch in range(1, 31):
            before = len(got)
            await client.subscribe(f"/queue/{queue}", prefetch=prefetch)
            await self.until(lambda before=before: len(got) > before)  # type: ignore[misc]
            answer = await client.ask("unsubscribe", destination=f"/queue/{queue}")
            self.assertEqual(answer["op"], "unsubscribed")
        await client.subscribe(f"/queue/{queue}")
        await steady.stop()
        await self.until(lambda: len(got) >= len(steady.confirmed))
        await client.lives()
        self.assertEqual(sorted(int(each["body"]) for each in got), steady.confirmed)
        await client.socket.leave()
        await self.has(queue, (0, 0))

    async def test_a_stalled_reader_leaves_messages_at_the_broker_and_gets_them_later(self) -> None:
        queue, other = await self.queue(), await self.json(None, "/topic/meanwhile")
        client = await self.consumer(f"/queue/{queue}", prefetch=5)
        client.socket.deaf()
        before = self.bridge.resident
        await self.fill(queue, (f"{n} {BODY}" for n in range(MANY)))
        for n in range(20):
            await other.publish("/topic/meanwhile", n)
            self.assertEqual(await other.bodies(1), [n])
        ready, _ = await self.counts(queue) or (0, 0)
        self.assertGreater(ready, MANY // 2)
        if not isinstance(self, OnEmbedded):
            self.assertLess(self.bridge.resident - before, 8 * 1024 * 1024)
        client.socket.hear()
        got = [int(body.split()[0]) for body in await client.bodies(MANY, 3)]
        self.assertEqual(got, list(range(MANY)))
        await client.lives()
        await self.has(queue, (0, 1))


class QueueTests(QueueScenarios):
    """On RabbitMQ."""

    __test__ = True

    async def test_nothing_is_left_unacknowledged_by_ack_auto(self) -> None:
        queue = await self.queue()
        client: Client = await self.consumer(f"/queue/{queue}")
        await self.fill(queue, range(100))
        await client.bodies(100)
        await client.lives()
        for _ in range(20):
            rows = await in_thread(
                self.node.list, "queues", "name", "messages", "messages_unacknowledged"
            )
            (row,) = [row for row in rows if row["name"] == queue]
            if row["messages"] == 0:
                break
        self.assertEqual((row["messages"], row["messages_unacknowledged"]), (0, 0))


class EmbeddedQueueTests(OnEmbedded, QueueScenarios):
    """On the embedded broker."""

    __test__ = True
