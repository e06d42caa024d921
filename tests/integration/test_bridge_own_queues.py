"""A live destination with acks is a queue of the session's own, through the whole daemon."""

from __future__ import annotations

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import SubscriptionCase


class OwnQueueScenarios(SubscriptionCase):
    """What a client of ``/topic`` or ``/exchange`` with ``ack: client`` may rely on."""

    __test__ = False

    async def bound(self, exchange: str) -> bool:
        """Whether any queue is bound to an exchange of the test's own."""
        client = await self.json()
        answer = await client.publish(f"/exchange/{exchange}/probe", "probe", mandatory=True)
        await client.socket.leave()
        return bool(answer["op"] == "published")

    async def until_unbound(self, exchange: str) -> None:
        for _ in range(1000):
            if not await self.bound(exchange):
                return
        self.fail(f"{exchange} still has a queue")

    async def test_a_live_destination_with_acks_is_a_queue_of_the_session_s_own(self) -> None:
        exchange = await self.exchange()
        destination = f"/exchange/{exchange}/own.#"
        one = await self.consumer(destination, ack="client", prefetch=2)
        two = await self.consumer(destination, ack="client")
        live = await self.consumer(destination)
        await self.fill("own.key", range(4), exchange=exchange)
        self.assertEqual(await two.bodies(4), list("0123"))
        self.assertEqual(await live.bodies(4), list("0123"))
        got = [await one.message() for _ in range(2)]
        self.assertEqual(
            [(each["destination"], each["routing_key"], each["body"]) for each in got],
            [(destination, "own.key", "0"), (destination, "own.key", "1")],
        )
        await one.lives()
        self.assertEqual(one.messages.items, [])
        await self.done(one, got[0], "nack")
        again = await one.message()
        self.assertEqual((again["body"], again["redelivered"]), ("0", True))
        await self.done(one, again)
        self.assertEqual(await one.bodies(1), ["2"])

    async def test_and_is_deleted_when_it_leaves(self) -> None:
        exchange = await self.exchange("fanout")
        client = await self.consumer(f"/exchange/{exchange}", ack="client")
        self.assertTrue(await self.bound(exchange))
        await client.ask("unsubscribe", destination=f"/exchange/{exchange}")
        await self.until_unbound(exchange)
        await client.subscribe(f"/exchange/{exchange}", ack="client")
        self.assertTrue(await self.bound(exchange))
        client.socket.abort()
        await self.until_unbound(exchange)

    async def test_a_missing_exchange_is_not_found_with_acks_too(self) -> None:
        client = await self.json()
        await self.refused(
            client, "subscribe", "not_found", destination="/exchange/there.is.none/k", ack="client"
        )


class OwnQueueTests(OwnQueueScenarios):
    """On RabbitMQ."""

    __test__ = True

    async def test_a_session_s_own_queue_keeps_for_a_while_what_the_bridge_can_t(self) -> None:
        exchange, bridge = await self.exchange(), await self.another()
        await self.consumer(f"/exchange/{exchange}/#", bridge=bridge, ack="client")
        await in_thread(bridge.kill)
        (queue,) = await self.bound_to(exchange)
        (row,) = [
            row
            for row in await in_thread(self.node.list, "queues", "name", "durable", "arguments")
            if row["name"] == queue
        ]
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), queue))
        self.assertTrue(row["durable"])
        self.assertRegex(str(row["arguments"]), "x-expires.*60000")

    async def bound_to(self, exchange: str) -> list[str]:
        rows = await in_thread(
            self.node.list, "bindings", "source_name", "destination_name", "routing_key"
        )
        return [row["destination_name"] for row in rows if row["source_name"] == exchange]


class EmbeddedOwnQueueTests(OnEmbedded, OwnQueueScenarios):
    """On the embedded broker."""

    __test__ = True
