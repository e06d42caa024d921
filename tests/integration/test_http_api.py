"""HTTP by way of the whole daemon: publishing with the confirm as answer, server-sent events."""

from __future__ import annotations

import uuid
from typing import Any

from tests.integration import witness
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.http_client import Caller, EventSource, Told
from tests.integration.subscription_cases import SubscriptionCase

BODY = "x" * 30_000
#: Far more than what the kernel holds for a socket on loopback, 3 MB or so.
MANY = 400
#: Looks at a queue that must find the same before nothing moves any more.
QUIET = 20


class HttpCase(SubscriptionCase):
    """Callers and streams that are gone after the test."""

    def caller(self, client: str | None = None, bridge: Bridge | None = None) -> Caller:
        caller = Caller((bridge or self.bridge).port, client)
        self.addCleanup(caller.close)
        return caller

    async def source(
        self, destination: str, *, bridge: Bridge | None = None, **parameters: Any
    ) -> EventSource:
        """A stream, whatever it is answered."""
        port = (bridge or self.bridge).port
        source = await EventSource.open(port, destination, **parameters)
        self.addCleanup(source.leave)
        return source

    async def stands(self, destination: str, **parameters: Any) -> EventSource:
        """A stream whose subscription stands."""
        source = await self.source(destination, **parameters)
        self.assertEqual(source.status, 200, source.body)
        self.assertEqual((await source.event()).type, "subscribed")
        return source

    async def published(self, caller: Caller, destination: str, body: Any, **fields: Any) -> Told:
        """A publish that must be confirmed."""
        told = await caller.publish({"destination": destination, "body": body} | fields)
        self.assertEqual((told.status, told.json["op"]), (200, "published"), told)
        return told


class HttpScenarios(HttpCase):
    """What HTTP clients may rely on."""

    __test__ = False

    # -- publishing

    async def test_a_publish_is_in_its_queue_when_it_is_answered(self) -> None:
        queue, caller = await self.queue(), self.caller()
        fields = {"id": "p1", "headers": {"h": [1, None]}, "properties": {"type": "t"}}
        told = await self.published(caller, f"/queue/{queue}", {"any": "JSÖN"}, **fields)
        self.assertEqual(told.json["id"], "p1")
        ((properties, body),) = await self.drain(queue)
        self.assertEqual(body.decode(), '{"any": "JS\\u00d6N"}')
        self.assertEqual((properties.content_type, properties.type), ("application/json", "t"))
        self.assertEqual(properties.headers, {"h": [1, None]})
        self.assertEqual((properties.delivery_mode, properties.app_id), (2, "twbridge"))

    async def test_one_connection_carries_many(self) -> None:
        queue, caller = await self.queue(), self.caller()
        for number in range(100):
            await self.published(caller, f"/queue/{queue}", str(number))
            self.assertTrue(caller.connected)
        bodies = [body.decode() for _, body in await self.drain(queue)]
        self.assertEqual(bodies, [str(number) for number in range(100)])

    async def test_a_message_that_nobody_takes_is_404(self) -> None:
        caller = self.caller()
        for destination, code in (
            (f"/queue/none.{uuid.uuid4()}", "unroutable"),
            (f"/exchange/none.{uuid.uuid4()}/a", "not_found"),
        ):
            told = await caller.publish({"destination": destination, "body": 1, "id": 7})
            self.assertEqual((told.status, told.json["code"]), (404, code))
            self.assertEqual(told.json["id"], 7)
        await self.published(caller, f"/topic/nobody.{uuid.uuid4()}", "x")

    async def test_a_full_queue_is_503(self) -> None:
        queue = await self.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        caller = self.caller()
        await self.published(caller, f"/queue/{queue}", "x")
        told = await caller.publish({"destination": f"/queue/{queue}", "body": "y"})
        self.assertEqual((told.status, told.json["code"]), (503, "nacked"))
        self.assertIn("retry-after", told.headers)

    async def test_what_makes_no_sense_is_told(self) -> None:
        caller = self.caller()
        for body, status, code in (
            ("{", 400, "bad_frame"),
            ({"destination": "nowhere", "body": 1}, 422, "bad_destination"),
            ({"destination": "/topic/a"}, 422, "bad_frame"),
            ({"destination": "/topic/a", "base64": "AA=="}, 200, None),
            ({"destination": "/topic/a", "body": "x" * 2_000_000}, 413, "too_large"),
        ):
            told = await caller.publish(body)
            self.assertEqual((told.status, told.json.get("code")), (status, code))
        told = await self.caller().publish("{}", Content_Type="text/plain")
        self.assertEqual(told.status, 415)
        told = await self.caller().publish("{}", Origin="https://evil.example")
        self.assertEqual((told.status, told.json["code"]), (403, "forbidden"))

    async def test_the_same_id_of_a_client_is_applied_once(self) -> None:
        queue, client = await self.queue(), str(uuid.uuid4())
        for caller in (self.caller(client), self.caller(client)):
            await self.published(caller, f"/queue/{queue}", "once", id="p1")
        await self.published(self.caller(client), f"/queue/{queue}", "twice", id="p2")
        await self.published(self.caller(str(uuid.uuid4())), f"/queue/{queue}", "other", id="p1")
        found = await self.drain(queue)
        self.assertEqual([body for _, body in found], [b"once", b"twice", b"other"])
        self.assertEqual(found[0][0].message_id, f"{client}/p1")

    # -- events

    async def test_what_is_published_is_an_event_for_each_reader(self) -> None:
        topic, caller = f"/topic/test.{uuid.uuid4()}", self.caller()
        one, two = await self.stands(f"{topic}.#"), await self.stands(f"{topic}.*")
        websocket = await self.json(None, f"{topic}.#")
        body = {"text": "line\nbreak, \u2028 and 👋"}
        await self.published(caller, f"{topic}.a", body)
        event, expected = await one.event(), await websocket.message()
        self.assertEqual((event.type, event.last_event_id), ("message", ""))
        self.assertEqual(event.json, expected)
        self.assertEqual(event.json["body"], body)
        self.assertEqual(await two.bodies(1), [body])

    async def test_a_stream_is_resumed_without_loss_and_without_doubles(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(20))
        source = await self.stands(f"/stream/{stream}", from_="first")
        self.assertEqual(await source.bodies(20), [str(number) for number in range(20)])
        self.assertEqual(source.events.last_event_id, "19")
        source.leave()
        await self.fill(stream, range(20, 40))
        source = await self.stands(
            f"/stream/{stream}", from_="first", last_event_id=source.events.last_event_id
        )
        self.assertEqual(await source.bodies(20), [str(number) for number in range(20, 40)])
        await self.fill(stream, ["live"])
        self.assertEqual(await source.bodies(1), ["live"])
        self.assertEqual(source.events.last_event_id, "40")

    async def test_a_stream_may_begin_in_the_midst(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(20))
        source = await self.stands(f"/stream/{stream}", from_="offset=15")
        event = await source.event()
        self.assertEqual((event.last_event_id, event.json["offset"]), ("15", 15))
        self.assertNotIn("x-stream-offset", event.json["headers"])

    async def test_what_is_gone_from_a_stream_is_a_gap(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(3))
        source = await self.stands(f"/stream/{stream}", last_event_id="1000")
        await self.fill(stream, ["new"])
        gap = await source.event("gap", 30.0)
        self.assertEqual((gap.json["from"], gap.json["op"]), (1001, "gap"))

    async def test_messages_of_a_queue_are_done_with_when_they_are_sent(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(50))
        source = await self.stands(f"/queue/{queue}")
        self.assertEqual(await source.bodies(50), [str(number) for number in range(50)])
        source.leave()
        await self.has(queue, (0, 0))

    async def test_what_a_reader_of_a_queue_does_not_take_stays_there(self) -> None:
        queue = await self.queue()
        await self.fill(queue, [BODY] * MANY)
        source = await self.source(f"/queue/{queue}", prefetch="5")
        source.read(False)
        # Until it stays as it is: each look takes the broker longer where the machine is busy.
        looks: list[int] = []
        while len(looks) < QUIET or len(set(looks[-QUIET:])) > 1:
            ready, _ = await self.counts(queue) or (0, 0)
            looks.append(ready)
        before = looks[-1]
        self.assertGreater(before, 0)
        source.leave()
        await self.has(queue, (before + 5, 0), 20.0)

    async def test_a_reader_that_goes_away_leaves_nothing(self) -> None:
        queue = await self.queue()
        for _ in range(5):
            source = await self.stands(f"/queue/{queue}")
            await self.has(queue, (0, 1))
            source.leave()
            await self.has(queue, (0, 0))

    async def test_what_is_not_there_is_404(self) -> None:
        for destination in (f"/amq/queue/none.{uuid.uuid4()}", f"/stream/none.{uuid.uuid4()}"):
            source = await self.source(destination)
            self.assertEqual(source.status, 404)
            self.assertEqual((await source.refusal())["code"], "not_found")

    async def test_a_subscription_that_makes_no_sense_is_422(self) -> None:
        refused: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/topic/a", {"from_": "first"}),
            ("/queue/q", {"ack": "client"}),
            ("/stream/s", {"from_": "yesterday"}),
            ("nowhere", {}),
        )
        for destination, parameters in refused:
            source = await self.source(destination, **parameters)
            self.assertEqual(source.status, 422)
            self.assertEqual((await source.refusal())["op"], "error")

    async def test_a_queue_that_is_deleted_ends_its_readers(self) -> None:
        queue = await self.queue()
        source = await self.stands(f"/amq/queue/{queue}")
        await in_thread(witness.delete, self.node.url(), queue)
        self.assertIn("reason", (await source.event("unsubscribed")).json)
        await source.end()

    # -- slow readers

    async def test_a_slow_reader_is_closed_and_others_do_not_notice(self) -> None:
        topic, caller = f"/topic/test.{uuid.uuid4()}", self.caller()
        slow, quick = await self.stands(topic), await self.stands(topic)
        slow.read(False)
        for _ in range(MANY):
            await self.published(caller, topic, BODY)
        self.assertEqual(len(await quick.bodies(MANY)), MANY)
        slow.read(True)
        await slow.end()

    async def test_a_slow_reader_may_lose_the_oldest_and_is_told(self) -> None:
        topic, caller = f"/topic/test.{uuid.uuid4()}", self.caller()
        slow = await self.stands(topic, overflow="drop-oldest")
        slow.read(False)
        for number in range(MANY):
            await self.published(caller, topic, f"{number} {BODY}")
        slow.read(True)
        seen = dropped = 0
        while seen + dropped < MANY:
            event = await slow.event()
            if event.type == "dropped":
                dropped += event.json["count"]
            else:
                seen += 1
                last = event.json["body"]
        self.assertGreater(dropped, 0)
        self.assertTrue(last.startswith(f"{MANY - 1} "))

    # -- the end

    async def test_when_the_bridge_stops_readers_are_told_when_to_come_back(self) -> None:
        options = ("--embedded",) if "--embedded" in self.bridge.log else ()
        bridge = await self.another(*options)
        source = await self.source("/topic/a", bridge=bridge)
        code = in_thread(bridge.stop)
        drain = await source.event("drain")
        seconds = drain.json["reconnect_after"]
        self.assertTrue(0.5 <= seconds <= 5.0, seconds)
        self.assertEqual(source.events.retry, round(seconds * 1000))
        await source.end()
        self.assertEqual(await code, 0)


class HttpTests(HttpScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedHttpTests(OnEmbedded, HttpScenarios):
    """On the embedded broker."""

    __test__ = True
