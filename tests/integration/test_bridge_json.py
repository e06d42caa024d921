"""The core of the JSON dialect, spoken with the whole daemon, and who may do what in it."""

from __future__ import annotations

from typing import Any

from tests.integration import witness
from tests.integration.bridge import in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BridgeCase
from tests.integration.websocket import JSON, Client, Silence, Socket
from twbridge import __version__


class JsonTests(BridgeCase):
    """What a client says and what it is told."""

    async def test_welcome_is_the_first_frame(self) -> None:
        one, two = await self.json(), await self.json()
        welcome = one.welcome
        self.assertEqual(
            welcome,
            {
                "op": "welcome",
                "session": welcome["session"],
                "instance": welcome["instance"],
                "server": f"twbridge/{__version__}",
                "heartbeat": 25,
                "user": None,
                "limit": 1_048_576,
            },
        )
        self.assertEqual(two.welcome["instance"], welcome["instance"])
        self.assertNotEqual(two.welcome["session"], welcome["session"])

    async def test_subscribed_repeats_id_and_destination_and_then_messages_come(self) -> None:
        client = await self.json()
        answer = await client.ask("subscribe", id="my id", destination="/topic/json.#")
        self.assertEqual(
            answer, {"op": "subscribed", "id": "my id", "destination": "/topic/json.#"}
        )
        published = await client.publish("/topic/json.a", {"n": 1}, headers={"h": [1, "x"]})
        self.assertEqual(published, {"op": "published", "id": published["id"]})
        frame = await client.message()
        properties = frame.pop("properties")
        self.assertEqual(
            frame,
            {
                "op": "message",
                "destination": "/topic/json.#",
                "routing_key": "json.a",
                "headers": {"h": [1, "x"]},
                "body": {"n": 1},
            },
        )
        self.assertEqual(properties["content_type"], "application/json")
        self.assertEqual(properties["app_id"], "twbridge")

    async def test_overlapping_destinations_each_deliver_and_a_second_is_a_conflict(self) -> None:
        client = await self.json(None, "/topic/over.#", "/topic/over.*")
        again = await client.ask("subscribe", destination="/topic/over.#")
        self.assertEqual((again["op"], again["code"]), ("error", "conflict"))
        await client.publish("/topic/over.x", "twice")
        got = [(await client.message())["destination"] for _ in range(2)]
        self.assertEqual(sorted(got), ["/topic/over.#", "/topic/over.*"])

    async def test_every_kind_of_built_in_exchange_routes_by_its_own_rules(self) -> None:
        client = await self.json(
            None, "/exchange/amq.direct/a.b", "/exchange/amq.fanout", "/exchange/amq.topic/*.b"
        )
        for exchange in ("direct", "fanout", "topic"):
            for key in ("a.b", "x.y"):
                name = f"amq.{exchange}/{key}"
                answer = await client.publish(f"/exchange/{name}", name)
                self.assertEqual(answer["op"], "published")
        got = [(await client.message())["body"] for _ in range(4)]
        self.assertEqual(
            sorted(got),
            ["amq.direct/a.b", "amq.fanout/a.b", "amq.fanout/x.y", "amq.topic/a.b"],
        )
        await client.lives()
        self.assertEqual(client.messages.items, [])

    async def test_unroutable_is_told_when_mandatory_and_to_queues_always(self) -> None:
        client = await self.json()
        for destination, fields in (
            ("/topic/nobody.listens", {"mandatory": True}),
            ("/queue/there.is.none", {}),
            ("/amq/queue/there.is.none", {}),
        ):
            answer = await client.publish(destination, "x", **fields)
            self.assertEqual((answer["op"], answer["code"]), ("error", "unroutable"), destination)
        answer = await client.publish("/topic/nobody.listens", "x")
        self.assertEqual(answer["op"], "published")

    async def test_a_publish_to_a_queue_is_in_the_queue(self) -> None:
        queue, client = await self.queue(), await self.json()
        answer = await client.publish(f"/queue/{queue}", "in the queue")
        self.assertEqual(answer["op"], "published")
        self.assertEqual([body for _, body in await self.drain(queue)], [b"in the queue"])

    async def test_a_full_queue_is_nacked(self) -> None:
        queue = await self.queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        client = await self.json()
        answers = [await client.publish(f"/queue/{queue}", "x") for _ in range(2)]
        self.assertEqual(answers[0]["op"], "published")
        self.assertEqual((answers[1]["op"], answers[1]["code"]), ("error", "nacked"))

    async def test_a_missing_exchange_is_not_found_and_the_session_lives_on(self) -> None:
        client, other = await self.json(), await self.json(None, CHAT_OUT)
        flying = [other.send("publish", destination=CHAT_IN, body=n) for n in range(50)]
        for op in ("publish", "subscribe"):
            fields: dict[str, Any] = {"body": "x"} if op == "publish" else {}
            answer = await client.ask(op, destination="/exchange/there.is.none/k", **fields)
            self.assertEqual((answer["op"], answer["code"]), ("error", "not_found"), op)
        for identity in flying:
            self.assertEqual((await other.answer(identity))["op"], "published")
        self.assertEqual([(await other.message())["body"] for _ in range(50)], list(range(50)))
        await client.lives()

    async def test_names_that_begin_with_twbridge_are_reserved(self) -> None:
        client = await self.json()
        for destination in (
            "/exchange/twbridge.dlx/k",
            "/exchange/twbridge%2Edlx/k",
            "/queue/twbridge.task.add",
            "/amq/queue/twbridge.task.add",
        ):
            answer = await client.publish(destination, "x")
            self.assertEqual((answer["op"], answer["code"]), ("error", "forbidden"), destination)
        answer = await client.ask("subscribe", destination="/exchange/twbridge.dlx/#")
        self.assertEqual((answer["op"], answer["code"]), ("error", "forbidden"))

    async def test_ping_is_answered_and_nonsense_is_an_error_with_the_id(self) -> None:
        client = await self.json()
        self.assertEqual(await client.ask("ping", id="p"), {"op": "pong", "id": "p"})
        for op, fields, code in (
            ("dance", {}, "unknown_op"),
            ("publish", {"destination": "/topic/a"}, "bad_frame"),
            ("publish", {"destination": "/nowhere/a", "body": 1}, "bad_destination"),
            ("subscribe", {"destination": "/topic/%zz"}, "bad_destination"),
            ("subscribe", {"destination": "/topic/a", "colour": "red"}, "bad_frame"),
        ):
            answer = await client.ask(op, **fields)
            self.assertEqual((answer["op"], answer["code"]), ("error", code), (op, fields))
            self.assertTrue(answer["message"].endswith("."), answer)
        client.socket.send("not JSON")
        self.assertEqual((await client.frame("error"))["code"], "bad_frame")
        await client.lives()

    async def test_an_unknown_subprotocol_and_an_unknown_path_are_refused(self) -> None:
        for url, protocols, status in (
            (self.bridge.url(), ["v9.nobody"], "400"),
            (self.bridge.url("/nowhere"), [JSON], "404"),
        ):
            with self.assertRaisesRegex(Silence, status):
                await Socket.connect(url, protocols=protocols)
        socket = await Socket.connect(self.bridge.url(), protocols=["v9.nobody", JSON])
        self.assertIn("welcome", str(await socket.take()))
        await socket.leave()

    async def test_a_page_of_another_origin_is_refused(self) -> None:
        for origin in ("https://evil.example", f"http://localhost:{self.bridge.port}", "null"):
            with self.assertRaisesRegex(Silence, "403"):
                await Socket.connect(self.bridge.url(), origin=origin)
        client = await Client.connect(self.bridge.url(), origin=self.bridge.page().rstrip("/"))
        await client.socket.leave()


class DenyTests(BridgeCase):
    """Off loopback without rules."""

    interface = "0.0.0.0"

    async def test_off_loopback_without_rules_everything_is_forbidden(self) -> None:
        client = await self.json()
        for destination in (CHAT_IN, "/topic/a", "/queue/a"):
            answer = await client.publish(destination, "x")
            self.assertEqual((answer["op"], answer["code"]), ("error", "forbidden"), destination)
        answer = await client.ask("subscribe", destination=CHAT_OUT)
        self.assertEqual((answer["op"], answer["code"]), ("error", "forbidden"))
        await client.lives()

    async def test_a_raw_client_off_loopback_is_sent_away_for_good(self) -> None:
        raw = await Socket.connect(self.bridge.url())
        self.assertEqual((await raw.closed()).code, 4503)

    async def test_the_log_says_so(self) -> None:
        self.assertRegex(self.bridge.log, r"nothing is allowed on 0\.0\.0\.0:\d+")


class AllowTests(BridgeCase):
    """The rules decide, on every listener."""

    interface = "0.0.0.0"
    toml = """
        [[route]]
        path = "/inbox"
        publish = "/exchange/twbridge.chat/inbox"
        subscribe = "/exchange/twbridge.chat/news"
        [[allow]]
        operation = "publish"
        destination = "/exchange/twbridge.chat/inbox"
        [[allow]]
        operation = "subscribe"
        destination = "/topic/public.#"
    """

    async def test_what_a_rule_allows_works_and_nothing_else(self) -> None:
        queue = await self.witness(key="inbox")
        client = await Client.connect(self.bridge.url("/inbox"))
        self.addCleanup(client.socket.abort)
        for op, destination, allowed in (
            ("publish", f"/exchange/{CHAT}/inbox", True),
            ("publish", f"/exchange/{CHAT}/other", False),
            ("publish", "/topic/public.a", False),
            ("publish", "/queue/inbox", False),
            ("subscribe", "/topic/public.a.#", True),
            ("subscribe", "/topic/public.*", True),
            ("subscribe", "/exchange/amq.topic/public.#", True),
            ("subscribe", "/topic/#", False),
            ("subscribe", "/topic/publicity", False),
            ("subscribe", CHAT_OUT, False),
            ("subscribe", "/exchange/amq.rabbitmq.trace/#", False),
        ):
            fields: dict[str, Any] = {"body": "x"} if op == "publish" else {}
            answer = await client.ask(op, destination=destination, **fields)
            wanted = "published" if op == "publish" else "subscribed"
            if allowed:
                self.assertEqual(answer["op"], wanted, destination)
            else:
                self.assertEqual(answer.get("code"), "forbidden", destination)
        self.assertEqual([body for _, body in await self.drain(queue)], [b"x"])
        await in_thread(self.publish_topic, "public.x", b"heard")
        got = [(await client.message())["body"] for _ in range(2)]
        self.assertEqual(got, ["heard", "heard"])
        await client.socket.leave()

    def publish_topic(self, key: str, body: bytes) -> None:
        witness.publish(self.node.url(), "amq.topic", key, body)

    async def test_a_raw_client_needs_the_rules_of_its_route(self) -> None:
        raw = await Socket.connect(self.bridge.url("/inbox"))
        # It may publish there, but not subscribe, which it does by itself.
        self.assertEqual((await raw.closed()).code, 4503)
