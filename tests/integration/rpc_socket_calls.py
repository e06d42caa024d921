"""Calls over WebSocket: of the JSON dialect, and of the client for Python."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor

from tests.integration.rpc_bridge import RpcBridgeCase
from twbridge.client import Client as PythonClient
from twbridge.errors import CallCancelled, CallLost, TaskError, UnknownTask

SECRET = "postgres://user:secret@db"


class SocketCalls(RpcBridgeCase):
    """What a client of WebSocket may rely on."""

    async def test_any_json_text_and_bytes_go_there_and_back(self) -> None:
        client = await self.json()
        for body in (None, True, 0.1, 9007199254740993, "é 👋 \n", "", [1, {"a": [None]}], {"": 0}):
            self.assertEqual(await self.call(client, "echo", body), body)
        client.socket.send(
            json.dumps({"op": "call", "id": "b", "task": self.name("echo"), "base64": "AP8="})
        )
        self.assertEqual(
            await self.word(client, "b"), {"op": "result", "id": "b", "base64": "AP8="}
        )
        large = "x" * 300_000  # compressed on its way
        self.assertEqual(await self.call(client, "echo", large), large)

    async def test_progress_comes_in_order_and_headers_both_ways(self) -> None:
        client = await self.json()
        identity = self.begin(client, "pages", 3)
        heard = [await self.word(client, identity) for _ in range(4)]
        self.assertEqual([frame["op"] for frame in heard], ["progress"] * 3 + ["result"])
        self.assertEqual([frame["body"] for frame in heard[:3]], [{"page": n} for n in range(3)])
        identity = self.begin(client, "context", headers={"yours": "é"}, timeout=5)
        answer = await self.word(client, identity)
        self.assertEqual(answer["headers"], {"mine": ["é", 1]})
        self.assertLessEqual(answer["body"]["remaining"], 5)

    async def test_calls_of_many_clients_at_once_get_their_own_answers(self) -> None:
        clients = [await self.json() for _ in range(4)]
        asked = [
            (client, self.begin(client, "add", [number, index]), number + index)
            for index, client in enumerate(clients)
            for number in range(10)
        ]
        for client, identity, wanted in asked:
            self.assertEqual((await self.word(client, identity))["body"], wanted)

    async def test_a_deadline_is_expired_without_a_worker_and_a_timeout_with_one(self) -> None:
        client, idle = await self.json(), await self.idle()
        self.begin(client, "spins", 60, id="spins", timeout=1.5)
        self.begin(client, "", task=idle, id="idle", timeout=0.5)
        self.assertEqual((await self.word(client, "spins"))["code"], "timeout")
        self.assertEqual((await self.word(client, "idle"))["code"], "call_expired")
        self.assertEqual(await self.call(client, "nobody"), "not_found")

    async def test_a_call_is_cancelled_at_its_worker_by_its_client_and_by_its_end(self) -> None:
        channel, words = await self.channel()
        client = await self.json()
        identity = self.begin(client, "endless", channel)
        self.assertEqual((await self.word(client, identity))["body"], "begun")
        frame = {"op": "call", "id": identity, "task": self.name("add"), "body": [1, 2]}
        client.socket.send(json.dumps(frame))
        self.assertEqual((await self.word(client, identity))["code"], "conflict")
        client.socket.send(json.dumps({"op": "cancel", "id": identity}))
        self.assertEqual((await self.word(client, identity))["code"], "cancelled")
        client.socket.send(json.dumps({"op": "cancel", "id": identity}))
        self.assertEqual((await self.word(client, identity))["code"], "not_found")
        await self.until(lambda: words == ["told"])
        for leave in ("abort", "close"):
            gone = await self.json()
            identity = self.begin(gone, "endless.async", channel)
            self.assertEqual((await self.word(gone, identity))["body"], "begun")
            words.clear()
            if leave == "abort":
                gone.socket.abort()
            else:
                await gone.socket.leave()
            await self.until(lambda: words == ["told"])

    async def test_what_a_task_raises_stays_inside_unless_it_is_meant_for_all(self) -> None:
        client = await self.json()
        for task, message in (
            ("fails", "The task failed."),
            ("fails.loudly", "The task failed."),
            ("dies", None),
        ):
            answer = await self.word(client, self.begin(client, task, SECRET))
            self.assertEqual(answer["op"], "error")
            self.assertNotIn("secret", json.dumps(answer))
            self.assertNotIn("Traceback", json.dumps(answer))
            if message is not None:
                self.assertEqual((answer["code"], answer["message"]), ("worker_error", message))
        answer = await self.word(client, self.begin(client, "fails.publicly"))
        self.assertEqual(
            (answer["code"], answer["message"]), ("worker_error", "An order has an id.")
        )
        # A misfit tells how the function is called, which is the worker's own business.
        answer = await self.word(client, self.begin(client, "add", {"zzz": SECRET}))
        self.assertEqual(answer["code"], "worker_error")
        self.assertNotIn("secret", answer["message"])

    async def test_headers_that_steer_brokers_and_workers_are_refused(self) -> None:
        client = await self.json()
        for name in ("twbridge-caller", "twbridge-timeout", "Twbridge-X", "x-death", "X-a", "CC"):
            answer = await self.call(client, "echo", 1, headers={name: "me"})
            self.assertEqual(answer, "forbidden", name)
        # There is no way to say where the answer goes.
        for field in ("reply_to", "properties", "destination", "priority", "exchange"):
            answer = await self.call(client, "echo", 1, **{field: "/queue/mine"})
            self.assertEqual(answer, "bad_frame", field)
        self.assertEqual(await self.call(client, "echo", 1), 1)

    async def test_with_rules_only_what_a_call_rule_names_is_called(self) -> None:
        rules = f"""
            [[allow]]
            operation = "publish"
            destination = "/queue/*"

            [[allow]]
            operation = "call"
            destination = "/task/{self.prefix}ad*"
        """
        bridge = await self.another("--amqp-url", self.node.url(), toml=rules)
        client = await self.json(bridge)
        self.assertEqual(await self.call(client, "add", [1, 2]), 3)
        self.assertEqual(await self.call(client, "echo", 1), "forbidden")
        self.assertEqual(await self.call(client, "", task="twbridge.task.add"), "forbidden")

    async def test_the_python_client_calls_too(self) -> None:
        client = PythonClient(reactor, self.bridge.url())
        self.addCleanup(client.close)
        seen: list[Any] = []
        self.assertEqual(await client.call(self.name("add"), [1, 2], timeout=10.0), 3)
        self.assertEqual(await client.call(self.name("echo"), b"\x00\xff"), b"\x00\xff")
        self.assertEqual(await client.call(self.name("pages"), 2, on_progress=seen.append), 2)
        self.assertEqual(seen, [{"page": 0}, {"page": 1}])
        error = await self.failure(client.call(self.name("fails"), SECRET), TaskError)
        self.assertEqual(error.public, "The task failed.")
        await self.failure(client.call(self.name("nobody")), UnknownTask)
        channel, words = await self.channel()
        calls = [client.call(self.name("endless"), channel, on_progress=seen.append)]
        await self.until(lambda: seen[2:] == ["begun"])
        calls[0].cancel()
        await self.failure(calls[0], CallCancelled)
        await self.until(lambda: words == ["told"])
        pending = client.call(self.name("endless"), channel, on_progress=seen.append)
        await self.until(lambda: len(seen) == 4)
        await client.close()
        await self.failure(pending, CallLost)
        await self.until(lambda: words == ["told"] * 2)
