"""What the tests of queues, streams and overflow policies have in common."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import BridgeCase
from tests.integration.cases import outcomes, pause
from tests.integration.rabbitmq import in_thread
from tests.integration.websocket import Client, Silence
from twbridge.amqp import Link
from twbridge.errors import TwbridgeError

MEGABYTE = 1024 * 1024
AT_ONCE = 500
TEXT = {"content_type": "text/plain"}


class SubscriptionCase(BridgeCase):
    """Queues and streams of the test's own, and who fills them."""

    _link: Link | None = None

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
        """Publish texts, each of them confirmed, with one link of the test's own."""
        if link is None:
            if self._link is None:
                self._link = await self.ready()
            link = self._link
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
        # A sentence, or one that names what was asked for.
        self.assertRegex(answer["message"], r"(\.|: /\S+)$")
        await client.lives()
        return answer

    async def done(
        self, client: Client, message: dict[str, Any], op: str = "ack", **fields: Any
    ) -> None:
        """Acknowledge (or ``nack``), which nothing answers."""
        client.acknowledge(message, op, **fields)
        await client.lives()
        self.assertEqual(client.unread, 0, "an ack was answered")


class StreamCase(SubscriptionCase):
    """Readers of streams."""

    async def reader(self, stream: str, start: str | None = None, **fields: Any) -> Client:
        """A client that reads from somewhere."""
        if start is not None:
            fields["from"] = start
        return await self.consumer(f"/stream/{stream}", **fields)

    async def reads(self, client: Client, numbers: range) -> None:
        """The next messages are those numbers, each its own offset."""
        got = [await client.message() for _ in numbers]
        wanted = [(number, str(number)) for number in numbers]
        self.assertEqual([(each["offset"], each["body"]) for each in got], wanted)

    async def nothing_more(self, client: Client) -> None:
        """No message has come, nor anything else that was not asked for."""
        await client.lives()
        self.assertEqual(client.messages.items + client.frames.items, [])


class Steady:
    """Publishes numbers to a queue or stream, one after the other, and knows which were confirmed.

    What failed is not repeated: each number is published once.
    """

    def __init__(self, link: Link, queue: str) -> None:
        self.confirmed: list[int] = []
        self.unsettled: list[int] = []
        self._link = link
        self._queue = queue
        self._running = True
        self._over = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        for number in count():
            if not self._running:
                return
            try:
                await self._link.publish("", self._queue, b"%d" % number, TEXT, mandatory=True)
                self.confirmed.append(number)
            except TwbridgeError:
                self.unsettled.append(number)
            await pause(0.002)

    def stop(self) -> Deferred[None]:
        """Fires when the last one has its answer."""
        self._running = False
        return self._over


class Returning:
    """A client with one subscription that comes back whenever it is cut off.

    Args:
        url: of the bridge.
        destination: to subscribe to.
        fields: of ``subscribe``.
    """

    def __init__(self, url: str, destination: str, **fields: Any) -> None:
        self.got: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.sessions = 0
        self.client: Client | None = None
        self._url = url
        self._destination = destination
        self._fields = fields
        self._running = True
        self._over = Deferred.fromCoroutine(self._run())

    def begin(self) -> dict[str, Any]:
        """The fields of its next subscription."""
        return self._fields

    def message(self, frame: dict[str, Any]) -> None:
        """A message came."""
        self.got.append(frame)

    @property
    def numbers(self) -> list[int]:
        """What came, if it is of a :class:`Steady`."""
        return [int(frame["body"]) for frame in self.got]

    def stop(self) -> Deferred[None]:
        """Go away for good."""
        self._running = False
        if self.client is not None:
            self.client.socket.abort()
        return self._over

    async def _run(self) -> None:
        while self._running:
            try:
                await self._session()
            except (ConnectError, Silence):
                await pause(0.02)
            self.client = None

    async def _session(self) -> None:
        client = self.client = await Client.connect(self._url)
        client.on_message, client.on_frame = self.message, self.told.append
        answer = await client.ask("subscribe", destination=self._destination, **self.begin())
        if answer["op"] == "subscribed" and self._running:
            self.sessions += 1
            await client.socket.closed(1000.0)
        else:
            client.socket.abort()
            await client.socket.closed()


class Resuming(Returning):
    """Reads a stream, and goes on where it was."""

    def begin(self) -> dict[str, Any]:
        start = f"offset={self.got[-1]['offset'] + 1}" if self.got else "first"
        return {"from": start, **self._fields}


class Insisting:
    """Publishes numbers as one client, each again with the same id until it is published.

    ``over`` fires when all of them are. ``codes`` counts the errors that it was told.
    """

    AT_ONCE = 20

    def __init__(self, url: str, destination: str, total: int) -> None:
        self.client_id = str(uuid.uuid4())
        self.left = list(range(total))
        self.codes: Counter[str] = Counter()
        self.sessions = 0
        self.client: Client | None = None
        self._url = f"{url}?client={self.client_id}"
        self._destination = destination
        self.over = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        while self.left:
            try:
                await self._session()
            except (ConnectError, Silence):
                await pause(0.02)

    async def _session(self) -> None:
        client = self.client = await Client.connect(self._url)
        self.sessions += 1
        while self.left:
            now = self.left[: self.AT_ONCE]
            for number in now:
                client.send("publish", id=number, destination=self._destination, body=str(number))
            for number in now:
                answer = await client.answer(number)
                if answer["op"] == "published":
                    self.left.remove(number)
                else:
                    self.codes[answer["code"]] += 1
        client.socket.abort()
        await client.socket.closed()
