"""A publish that a client repeats is answered and not applied again, through the whole daemon."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.proxy import Proxy, Way
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import Insisting, SubscriptionCase
from tests.integration.websocket import JSON, Client, Silence, Socket

WINDOW = 1000


class ResendScenarios(SubscriptionCase):
    """What a client that keeps its ``?client=`` may rely on."""

    __test__ = False
    toml = "amqp = { timeout = 15.0, reconnect_cap = 0.2 }"
    #: Of a bridge that soon says that it is not ready.
    hasty = toml.replace("15.0", "1.5")

    def setUp(self) -> None:
        self.client_id = str(uuid.uuid4())

    async def repeat(self, client: Client, identity: object, **fields: Any) -> dict[str, Any]:
        """Publish with an id, which may have been used before."""
        return await client.ask("publish", **{"body": "x", **fields, "id": identity})

    async def ids(self, queue: str) -> list[str | None]:
        """The message ids in a queue, taken out."""
        return [properties.message_id for properties, _ in await self.drain(queue)]

    async def to_the_bridge(self) -> tuple[Proxy, Client]:
        """A client whose connection can be harmed."""
        proxy = await Proxy.listen(reactor, "127.0.0.1", self.bridge.port)
        client = await Client.connect(f"ws://127.0.0.1:{proxy.port}/ws?client={self.client_id}")
        return proxy, client

    async def test_cut_off_before_the_answer_it_is_there_once_and_answered(self) -> None:
        queue = await self.queue()
        proxy, client = await self.to_the_bridge()
        fields = {"destination": f"/queue/{queue}", "body": {"n": 1}}
        proxy.stall(Way.DOWN)
        client.send("publish", id="p1", **fields)
        await self.has(queue, (1, 0))
        await proxy.close()
        await client.socket.closed()
        again = await self.json(client_id=self.client_id)
        for _ in range(3):
            answer = await self.repeat(again, "p1", **fields)
            self.assertEqual(answer, {"op": "published", "id": "p1"})
        self.assertEqual((await self.repeat(again, "p2", **fields))["op"], "published")
        wanted = [f"{self.client_id}/p1", f"{self.client_id}/p2"]
        self.assertEqual(await self.ids(queue), wanted)

    async def test_of_a_publisher_that_is_cut_off_all_the_time_each_message_is_there_once(
        self,
    ) -> None:
        queue, total = await self.queue(), 900
        publisher = Insisting(self.bridge.url(), f"/queue/{queue}", total)
        for left in range(total - 50, 0, -50):
            await self.until(lambda left=left: len(publisher.left) <= left)  # type: ignore[misc]
            if publisher.client is not None:
                publisher.client.socket.abort()
        await publisher.over
        self.assertGreater(publisher.sessions, 10)
        self.assertEqual(publisher.codes, {})
        wanted = {f"{publisher.client_id}/{n}" for n in range(total)}
        ids = await self.ids(queue)
        self.assertEqual((len(ids), set(ids)), (total, wanted))

    async def test_the_answer_that_is_outstanding_goes_to_who_asks_again(self) -> None:
        queue, proxy = await self.queue(), await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.toml)
        one = await self.json(bridge, client_id=self.client_id)
        fields = {"destination": f"/queue/{queue}", "body": "x"}
        await self.repeat(one, "before", **fields)
        proxy.stall(Way.DOWN)
        one.send("publish", id=7, **fields)
        await self.has(queue, (2, 0))
        one.socket.abort()
        others = [await self.json(bridge, client_id=self.client_id) for _ in range(2)]
        for other in others:
            other.send("publish", id=7, **fields)
            await other.lives()
            self.assertEqual(other.unread, 0)
        proxy.resume()
        for other in others:
            self.assertEqual(await other.answer(7), {"op": "published", "id": 7})
        self.assertEqual(await self.ids(queue), [f"{self.client_id}/before", f"{self.client_id}/7"])
        await in_thread(bridge.close)

    async def test_after_unknown_it_is_published_again_with_the_same_message_id(self) -> None:
        queue, proxy = await self.queue(), await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.toml)
        client = await self.json(bridge, client_id=self.client_id)
        fields = {"destination": f"/queue/{queue}"}
        await self.repeat(client, "before", **fields)
        proxy.stall(Way.DOWN)
        asked = client.send("publish", id="u", body="x", **fields)
        await self.has(queue, (2, 0))
        proxy.reset()
        answer = await client.answer(asked)
        self.assertEqual((answer["op"], answer["code"]), ("error", "unknown"))
        proxy.resume()
        self.assertEqual((await self.repeat(client, "u", **fields))["op"], "published")
        self.assertEqual((await self.repeat(client, "u", **fields))["op"], "published")
        wanted = [f"{self.client_id}/before", *[f"{self.client_id}/u"] * 2]
        self.assertEqual(await self.ids(queue), wanted)
        await in_thread(bridge.close)

    async def test_after_not_ready_it_is_published_again(self) -> None:
        queue, proxy = await self.queue(), await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.hasty)
        client = await self.json(bridge, client_id=self.client_id)
        await proxy.refuse()
        proxy.reset()
        await client.frame("link", state="down")
        fields = {"destination": f"/queue/{queue}"}
        answer = await self.repeat(client, "n", **fields)
        self.assertEqual(answer.get("code"), "not_ready")
        proxy.accept()
        await client.frame("link", state="up")
        self.assertEqual((await self.repeat(client, "n", **fields))["op"], "published")
        self.assertEqual(await self.ids(queue), [f"{self.client_id}/n"])
        await in_thread(bridge.close)

    async def test_a_refusal_of_the_broker_is_repeated_too(self) -> None:
        name = f"test.{uuid.uuid4()}"
        full = await self.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await self.fill(full, ["full"])
        client = await self.json(client_id=self.client_id)
        for identity, destination, code in (
            ("u", f"/queue/{name}", "unroutable"),
            ("e", f"/exchange/{name}/k", "not_found"),
            ("f", f"/queue/{full}", "nacked"),
        ):
            answer = await self.repeat(client, identity, destination=destination)
            self.assertEqual(answer.get("code"), code)
        # Now there would be room, but the answer has been given.
        await in_thread(witness.declare, self.node.url(), name)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), name))
        await self.drain(full)
        for identity, destination, code in (
            ("u", f"/queue/{name}", "unroutable"),
            ("f", f"/queue/{full}", "nacked"),
        ):
            answer = await self.repeat(client, identity, destination=destination)
            self.assertEqual(answer.get("code"), code)
            await self.has(destination.rpartition("/")[2], (0, 0))
            answer = await self.repeat(client, identity + "2", destination=destination)
            self.assertEqual(answer["op"], "published")
            self.assertEqual(
                await self.ids(destination.rpartition("/")[2]), [f"{self.client_id}/{identity}2"]
            )

    async def test_what_made_no_sense_is_not_remembered(self) -> None:
        queue = await self.queue()
        client = await self.json(client_id=self.client_id)
        answer = await self.repeat(
            client, "b", destination=f"/queue/{queue}", properties={"expiration": "soon"}
        )
        self.assertEqual(answer["op"], "error")
        answer = await self.repeat(client, "b", destination=f"/queue/{queue}")
        self.assertEqual(answer["op"], "published")
        await self.has(queue, (1, 0))

    async def test_each_client_has_ids_of_its_own_and_who_has_none_is_not_remembered(self) -> None:
        queue = await self.queue()
        other_id = str(uuid.uuid4())
        clients = [
            await self.json(client_id=self.client_id),
            await self.json(client_id=other_id),
            await self.json(client_id=self.client_id.upper()),
            await self.json(),
            await self.json(),
        ]
        for client in clients:
            answer = await self.repeat(client, "same", destination=f"/queue/{queue}")
            self.assertEqual(answer["op"], "published")
        ids = await self.ids(queue)
        self.assertEqual(ids[:2], [f"{self.client_id}/same", f"{other_id}/same"])
        self.assertEqual(len(ids), 4)
        for identity in ids[2:]:
            self.assertNotIn(self.client_id, str(identity))

    async def test_a_message_id_of_the_client_s_own_is_kept(self) -> None:
        queue = await self.queue()
        client = await self.json(client_id=self.client_id)
        for _ in range(2):
            answer = await self.repeat(
                client, "own", destination=f"/queue/{queue}", properties={"message_id": "mine"}
            )
            self.assertEqual(answer["op"], "published")
        self.assertEqual(await self.ids(queue), ["mine"])

    async def test_an_id_that_a_message_can_t_carry_is_too_large(self) -> None:
        client = await self.json(client_id=self.client_id)
        await self.refused(
            client, "publish", "too_large", id="x" * 255, destination="/topic/a", body="x"
        )
        answer = await self.repeat(client, "x" * 218, destination="/topic/a")
        self.assertEqual(answer["op"], "published")

    async def test_the_window_holds_so_many_ids(self) -> None:
        queue = await self.queue()
        client = await self.json(client_id=self.client_id)
        fields = {"destination": f"/queue/{queue}", "body": "x"}
        asked = [client.send("publish", id=f"w{n}", **fields) for n in range(WINDOW)]
        for identity in asked:
            self.assertEqual((await client.answer(identity))["op"], "published")
        for n in (0, WINDOW - 1):
            self.assertEqual((await self.repeat(client, f"w{n}", **fields))["op"], "published")
        await self.has(queue, (WINDOW, 0))
        await self.repeat(client, "one more", **fields)
        # The oldest was forgotten for it, and is published as if it were new.
        await self.repeat(client, "w0", **fields)
        await self.has(queue, (WINDOW + 2, 0))
        await self.repeat(client, f"w{WINDOW - 1}", **fields)
        await self.has(queue, (WINDOW + 2, 0))

    async def test_on_another_instance_it_is_told_by_its_message_id(self) -> None:
        queue, bridge = await self.queue(), await self.another()
        for where in (None, bridge):
            client = await self.json(where, client_id=self.client_id)
            await self.repeat(client, 1, destination=f"/queue/{queue}")
        self.assertEqual(await self.ids(queue), [f"{self.client_id}/1"] * 2)
        await in_thread(bridge.close)

    async def test_a_client_that_is_no_uuid_is_refused_with_400(self) -> None:
        for query in ("client=", "client=me", f"client={'x' * 36}", "client=%00", "client=1-2-3-4"):
            with self.assertRaisesRegex(Silence, "400", msg=query):
                await Socket.connect(self.bridge.url(f"/ws?{query}"), protocols=[JSON])
        answer = await in_thread(self.bridge.get, "/readyz")
        self.assertEqual(answer.status, 200)


class ResendTests(ResendScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedResendTests(OnEmbedded, ResendScenarios):
    """On the embedded broker."""

    __test__ = True
