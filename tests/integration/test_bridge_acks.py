"""Acknowledgements by clients, through the whole daemon: what is not done comes again."""

from __future__ import annotations

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import SubscriptionCase


class AckScenarios(SubscriptionCase):
    """A queue with ``ack: client``."""

    __test__ = False

    async def test_what_is_acknowledged_is_gone_and_the_rest_is_not(self) -> None:
        queue = await self.queue()
        await self.fill(queue, "abcd")
        client = await self.consumer(f"/queue/{queue}", ack="client")
        got = [await client.message() for _ in range(4)]
        self.assertEqual([each["body"] for each in got], list("abcd"))
        await self.done(client, got[2])
        await self.done(client, got[0])
        await client.socket.leave()
        await self.has(queue, (2, 0))
        self.assertEqual([body for _, body in await self.drain(queue)], [b"b", b"d"])

    async def test_nack_brings_it_again_redelivered_or_not_at_all(self) -> None:
        queue = await self.queue()
        await self.fill(queue, "ab")
        client = await self.consumer(f"/queue/{queue}", ack="client", prefetch=2)
        first, second = await client.message(), await client.message()
        self.assertNotIn("redelivered", first)
        await self.done(client, first, "nack")
        again = await client.message()
        self.assertEqual((again["body"], again["redelivered"]), ("a", True))
        self.assertNotEqual(again["delivery_tag"], first["delivery_tag"])
        await self.done(client, again, "nack", requeue=True)
        again = await client.message()
        self.assertEqual((again["body"], again["redelivered"]), ("a", True))
        await self.done(client, again, "nack", requeue=False)
        await self.done(client, second, "nack", requeue=False)
        await client.socket.leave()
        await self.has(queue, (0, 0))

    async def test_an_unknown_tag_is_not_found_and_the_session_lives(self) -> None:
        queue, other_queue = await self.queue(), await self.queue()
        await self.fill(queue, "ab")
        await self.fill(other_queue, "cdefg")
        client = await self.consumer(f"/queue/{queue}", ack="client")
        other = await self.consumer(f"/queue/{other_queue}", ack="client")
        mine = [await client.message() for _ in range(2)]
        theirs = [await other.message() for _ in range(5)]
        for op in ("ack", "nack"):
            for tag in (0, -1, 3, theirs[4]["delivery_tag"], 10**15):
                if tag in [each["delivery_tag"] for each in mine]:
                    continue
                answer = await client.ask(op, destination=f"/queue/{queue}", delivery_tag=tag)
                self.assertIn(answer["code"], ("not_found", "bad_frame"), (op, tag))
                self.assertEqual(answer["code"] == "bad_frame", tag < 1, (op, tag))
            fields = {"destination": f"/queue/{other_queue}", "delivery_tag": 1}
            await self.refused(client, op, "not_found", **fields)
        await self.done(client, mine[0])
        fields = {"destination": f"/queue/{queue}", "delivery_tag": mine[0]["delivery_tag"]}
        await self.refused(client, "ack", "not_found", **fields)
        await self.refused(client, "nack", "not_found", **fields)
        for each in theirs:
            await self.done(other, each)
        await self.done(client, mine[1])

    async def test_there_is_nothing_to_acknowledge_with_ack_auto(self) -> None:
        queue = await self.queue()
        await self.fill(queue, "a")
        client = await self.consumer(f"/queue/{queue}")
        await client.subscribe("/topic/no.acks")
        await client.message()
        for destination in (f"/queue/{queue}", "/topic/no.acks"):
            for op in ("ack", "nack"):
                await self.refused(client, op, "not_found", destination=destination, delivery_tag=1)

    async def test_what_a_vanished_client_held_comes_again_to_another(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(8))
        gone = await self.consumer(f"/queue/{queue}", ack="client", prefetch=5)
        got = [await gone.message() for _ in range(5)]
        await self.done(gone, got[0])
        gone.socket.abort()
        other = await self.consumer(f"/queue/{queue}", ack="client")
        again = [await other.message() for _ in range(7)]
        told = {each["body"]: each.get("redelivered", False) for each in again}
        self.assertEqual(told, {str(n): n < 6 for n in range(1, 8)})
        for each in again:
            await self.done(other, each)
        await other.socket.leave()
        await self.has(queue, (0, 0))

    async def test_two_clients_share_a_queue(self) -> None:
        queue = await self.queue()
        clients = [
            await self.consumer(f"/queue/{queue}", ack="client", prefetch=10) for _ in range(2)
        ]
        await self.fill(queue, range(20))
        got = [await client.bodies(10) for client in clients]
        self.assertEqual(sorted(map(int, got[0] + got[1])), list(range(20)))
        await self.has(queue, (0, 2))

    async def test_unsubscribe_gives_back_what_was_not_acknowledged(self) -> None:
        queue = await self.queue()
        await self.fill(queue, "abc")
        client = await self.consumer(f"/queue/{queue}", ack="client")
        got = [await client.message() for _ in range(3)]
        await self.done(client, got[0])
        answer = await client.ask("unsubscribe", destination=f"/queue/{queue}")
        self.assertEqual(answer["op"], "unsubscribed")
        self.assertNotIn("reason", answer)
        await self.has(queue, (2, 0))
        await self.refused(
            client,
            "ack",
            "not_found",
            destination=f"/queue/{queue}",
            delivery_tag=got[1]["delivery_tag"],
        )
        await client.subscribe(f"/queue/{queue}")
        again = [await client.message() for _ in range(2)]
        self.assertEqual(
            [(each["body"], each["redelivered"]) for each in again], [("b", True), ("c", True)]
        )

    async def test_the_end_of_a_queue_ends_its_subscription_alone(self) -> None:
        doomed, queue = await self.queue(), await self.queue()
        client = await self.consumer(f"/queue/{doomed}", ack="client")
        await client.subscribe(f"/queue/{queue}")
        await client.subscribe("/topic/goes.on")
        other = await self.consumer(f"/queue/{doomed}")
        await in_thread(witness.delete, self.node.url(), doomed)
        for each in (client, other):
            ended = await each.frame("unsubscribed", destination=f"/queue/{doomed}")
            self.assertNotIn("id", ended)
            self.assertTrue(ended["reason"].endswith("."), ended)
        await client.publish(f"/queue/{queue}", "queue")
        await client.publish("/topic/goes.on", "topic")
        self.assertEqual(sorted(await client.bodies(2)), ["queue", "topic"])
        self.assertEqual(client.frames.items, [])
        await client.subscribe(f"/queue/{doomed}")  # made anew
        await client.publish(f"/queue/{doomed}", "anew")
        self.assertEqual(await client.bodies(1), ["anew"])

    async def test_a_stream_read_as_a_queue_is_never_refused_its_messages(self) -> None:
        stream = await self.stream()
        client, other = await self.json(), await self.json(None, "/topic/unharmed")
        await client.subscribe(f"/queue/{stream}", ack="client")
        await self.fill(stream, "ab")
        got = [await client.message() for _ in range(2)]
        await self.done(client, got[0])
        await self.refused(
            client,
            "nack",
            "conflict",
            destination=f"/queue/{stream}",
            delivery_tag=got[1]["delivery_tag"],
        )
        await client.ask("unsubscribe", destination=f"/queue/{stream}")
        await other.publish("/topic/unharmed", "fine")
        self.assertEqual(await other.bodies(1), ["fine"])
        self.assertEqual(other.frames.items, [], "the connection to the broker was lost")


class AckTests(AckScenarios):
    """On RabbitMQ, with what only it has."""

    __test__ = True

    async def test_a_quorum_queue_is_a_queue_too(self) -> None:
        queue = await self.queue(arguments={"x-queue-type": "quorum"})
        await self.fill(queue, range(5))
        client = await self.consumer(f"/queue/{queue}", ack="client", prefetch=5)
        got = [await client.message() for _ in range(5)]
        for each in got[:3]:
            await self.done(client, each)
        client.socket.abort()
        other = await self.consumer(f"/queue/{queue}")
        again = [await other.message() for _ in range(2)]
        self.assertEqual(
            [(each["body"], each["redelivered"]) for each in again], [("3", True), ("4", True)]
        )

    async def test_what_is_refused_for_good_goes_to_the_dead_letters(self) -> None:
        dead = await self.queue()
        queue = await self.queue(
            arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        )
        await self.fill(queue, ["poison"])
        client = await self.consumer(f"/queue/{queue}", ack="client")
        letters = await self.consumer(f"/queue/{dead}")
        await self.done(client, await client.message(), "nack", requeue=False)
        letter = await letters.message()
        self.assertEqual(letter["body"], "poison")
        (death,) = letter["headers"]["x-death"]
        self.assertEqual((death["queue"], death["reason"]), (queue, "rejected"))


class EmbeddedAckTests(OnEmbedded, AckScenarios):
    """On the embedded broker."""

    __test__ = True
