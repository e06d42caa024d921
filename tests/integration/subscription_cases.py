"""What the tests of queues, streams and overflow policies have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import BridgeCase
from tests.integration.cases import outcomes
from tests.integration.rabbitmq import in_thread
from tests.integration.websocket import Client
from twbridge.amqp import Link

MEGABYTE = 1024 * 1024
AT_ONCE = 500


class SubscriptionCase(BridgeCase):
    """Queues and streams of the test's own, and who fills them."""

    async def stream(self, **arguments: Any) -> str:
        """A stream of this test's own, deleted at the end."""
        return await self.queue(arguments={"x-queue-type": "stream", **arguments})

    async def counts(self, queue: str) -> tuple[int, int] | None:
        """(messages that are ready, consumers) of a queue; None: there is no such queue."""
        return await in_thread(witness.counts, self.node.url(), queue)

    async def has(self, queue: str, wanted: tuple[int, int] | None, seconds: float = 10.0) -> None:
        """Wait until a queue has so many (messages that are ready, consumers)."""
        deadline = time.monotonic() + seconds
        while (counts := await self.counts(queue)) != wanted:
            if time.monotonic() > deadline:
                self.fail(f"{queue} has {counts}, not {wanted}")

    async def fill(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        exchange: str = "",
        link: Link | None = None,
        mandatory: bool = True,
        **properties: Any,
    ) -> None:
        """Publish texts, each of them confirmed, with a link of the test's own."""
        link = link or await self.ready()
        left = [body if isinstance(body, bytes) else str(body).encode() for body in bodies]
        properties = {"content_type": "text/plain", **properties}
        while left:
            now, left = left[:AT_ONCE], left[AT_ONCE:]
            sent = [
                link.publish(exchange, queue, body, properties, mandatory=mandatory) for body in now
            ]
            self.assertEqual(await outcomes(sent), [None] * len(now))

    async def consumer(
        self, destination: str, *, bridge: Bridge | None = None, **fields: Any
    ) -> Client:
        """A client with one subscription."""
        client = await self.json(bridge)
        await client.subscribe(destination, **fields)
        return client

    async def refused(self, client: Client, op: str, code: str, **fields: Any) -> dict[str, Any]:
        """Ask for something that is refused with a code; the session lives on."""
        answer = await client.ask(op, **fields)
        self.assertEqual((answer["op"], answer.get("code")), ("error", code), (op, fields, answer))
        self.assertTrue(answer["message"].endswith("."), answer)
        await client.lives()
        return answer

    async def done(
        self, client: Client, message: dict[str, Any], op: str = "ack", **fields: Any
    ) -> None:
        """Acknowledge (or ``nack``), which nothing answers."""
        client.acknowledge(message, op, **fields)
        await client.lives()
        self.assertEqual(client.unread, 0, "an ack was answered")
