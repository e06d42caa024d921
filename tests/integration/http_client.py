"""HTTP clients for tests: one that publishes, one that reads server-sent events.

::

    caller = Caller(bridge.port)                  # one connection, kept
    status, answer = await caller.publish({"destination": "/topic/a", "body": 1})

    stream = await EventSource.open(bridge.port, "/topic/a")
    event = await stream.event()                  # the first one says "subscribed"
"""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tests.event_stream import Event, EventReader
from tests.integration.rabbitmq import in_thread
from tests.integration.websocket import Inbox, Silence

SECONDS = 15.0


class Told(NamedTuple):
    """An answer to a publish."""

    status: int
    json: Any
    headers: dict[str, str]


class Caller:
    """Publishes over one connection.

    Args:
        port: the bridge's, on loopback.
        client: the UUID of ``?client=``.
    """

    def __init__(self, port: int, client: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._target = "/api/publish" + (f"?client={client}" if client else "")

    async def publish(self, fields: Any, **headers: str) -> Told:
        """One request; a string or bytes is sent as it is."""
        body = fields if isinstance(fields, str | bytes) else json.dumps(fields)
        return await in_thread(self._publish, body, headers)

    def _publish(self, body: str | bytes, headers: dict[str, str]) -> Told:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(
            "POST", self._target, body, {"Content-Type": "application/json"} | named
        )
        answer = self._connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Told(answer.status, json.loads(answer.read()), fields)

    @property
    def connected(self) -> bool:
        """Whether the connection is kept."""
        return self._connection.sock is not None

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class EventSource(Protocol):
    """One stream, on a socket of its own. Attributes are there when its head is."""

    status: int
    headers: dict[str, str]

    def __init__(self, request: bytes) -> None:
        self.inbox: Inbox[Event] = Inbox()
        self.events = EventReader()
        self.body = b""
        self.ended: Deferred[None] = Deferred()
        self._request = request
        self._head: Deferred[None] | None = Deferred()
        self._received = b""

    @classmethod
    async def open(
        cls,
        port: int,
        destination: str,
        *,
        last_event_id: str | None = None,
        headers: dict[str, str] | None = None,
        **parameters: str,
    ) -> EventSource:
        """Ask for a stream; returns when the head of the answer is there.

        Args:
            parameters: of the URL; an underscore at the end of a name is left out (``from_``).
        """
        named = {name.rstrip("_"): value for name, value in parameters.items()}
        query = urlencode({"destination": destination} | named)
        lines = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream"} | (headers or {})
        if last_event_id is not None:
            lines["Last-Event-ID"] = last_event_id
        head = [f"GET /events?{query} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in lines.items()]
        source = cls("\r\n".join([*head, "", ""]).encode())
        there = source._head
        endpoint = TCP4ClientEndpoint(cast(Any, reactor), "127.0.0.1", port)
        await connectProtocol(endpoint, source)
        assert there is not None
        await there.addTimeout(SECONDS, cast(Any, reactor))
        return source

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._head is not None:
            self._received += data
            head, found, data = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            first, *lines = head.decode().split("\r\n")
            self.status = int(first.split(" ")[1])
            pairs = (line.partition(": ") for line in lines)
            self.headers = {name.lower(): value for name, _, value in pairs}
            there, self._head = self._head, None
            there.callback(None)
        if self.status != 200:
            self.body += data
            return
        for event in self.events.receive(data):
            self.inbox.put(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.inbox.end(Silence("the stream has ended"))
        if self._head is not None:
            self._head.errback(Silence("there was no answer"))
        self.ended.callback(None)

    async def event(self, kind: str | None = None, seconds: float = SECONDS) -> Event:
        """The next event; of a type, where one is named."""
        return await self.inbox.take(lambda event: kind in (None, event.type), seconds)

    async def bodies(self, count: int) -> list[Any]:
        """The bodies of the next messages."""
        return [(await self.event("message")).json["body"] for _ in range(count)]

    async def end(self) -> None:
        """Wait until the server has ended it."""
        await self.ended.addTimeout(SECONDS, cast(Any, reactor))

    async def refusal(self) -> Any:
        """The JSON object of a refusal, when all of it is there."""
        await self.end()
        return json.loads(self.body)

    def leave(self) -> None:
        """Drop the connection, if there still is one."""
        if not self.ended.called:
            cast(Any, self.transport).abortConnection()

    def read(self, yes: bool) -> None:
        """Read no more, or again."""
        transport = cast(Any, self.transport)
        (transport.resumeProducing if yes else transport.pauseProducing)()
