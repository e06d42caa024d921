"""What the tests of calls through a bridge have in common: a worker, and a bridge before it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.integration.bridge_cases import BridgeCase
from tests.integration.chromium import Page
from tests.integration.rpc_cases import OnEmbedded, RpcCase, TaskCase
from tests.integration.websocket import Client


class RpcBridgeCase(RpcCase, BridgeCase):
    """A worker and a bridge of the class's own, before the shared node."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.start_bridge()

    @classmethod
    def start_bridge(cls) -> None:
        """Start the bridge; the worker serves."""
        super(TaskCase, cls).setUpClass()

    def begin(self, client: Client, task: str, /, body: Any = None, **fields: Any) -> str:
        """Call a task; gives the id of the call."""
        identity = f"call {uuid.uuid4()}"
        frame = {"op": "call", "id": identity, "task": self.name(task), "body": body} | fields
        client.socket.send(json.dumps(frame))
        return identity

    async def word(self, client: Client, identity: str) -> dict[str, Any]:
        """The next frame about a call."""
        return await client.frames.take(lambda frame: frame.get("id") == identity)

    async def call(self, client: Client, task: str, /, body: Any = None, **fields: Any) -> Any:
        """What a call comes to: its result, or the code of its error."""
        identity = self.begin(client, task, body, **fields)
        answer = await self.word(client, identity)
        while answer["op"] == "progress":
            answer = await self.word(client, identity)
        return answer["body"] if answer["op"] == "result" else answer["code"]

    async def channel(self) -> tuple[str, list[Any]]:
        """A channel for tasks, and what they say there."""
        caller = await self.caller()
        channel = self.name(f"channel.{uuid.uuid4()}")
        words: list[Any] = []
        await caller.subscribe(channel, lambda _channel, word: words.append(word))
        return channel, words


class OnOwnBroker(OnEmbedded):
    """The same tests on a bridge that is the broker of the worker: it comes before their class."""

    @classmethod
    def start_bridge(cls) -> None:
        """It serves: the worker is connected to it."""


async def console(page: Page, source: str) -> Any:
    """What a person would type into a browser's console, with ``await`` at the top."""
    answer = await page.send(
        "Runtime.evaluate",
        expression=source,
        replMode=True,
        awaitPromise=True,
        returnByValue=True,
    )
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")
