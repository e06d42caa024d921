"""WebSocket clients for tests, with a deadline on everything they wait for.

::

    raw = await Socket.connect(bridge.url())
    raw.send("héllo")
    assert await raw.take() == "héllo"            # str for a text frame, bytes for a binary one
    assert (await raw.closed()).code == 1001

    client = await Client.connect(bridge.url())   # v1.twbridge.json; has had its welcome
    await client.subscribe("/topic/chat.#")
    answer = await client.publish("/topic/chat.a", {"any": "JSON"})
    frame = await client.message()

Both speak through Autobahn's client; ``bare_socket.py`` has one without a library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.python.failure import Failure

from tests.fake_sockets import Closed

__all__ = ["Client", "Closed", "Inbox", "Silence", "Socket"]

SECONDS = 10.0
JSON = "v1.twbridge.json"

_T = TypeVar("_T")


class Silence(AssertionError):
    """What was waited for did not come."""


class Inbox(Generic[_T]):
    """What came, in order, and who waits for what."""

    def __init__(self) -> None:
        self.items: list[_T] = []
        self._waiting: list[tuple[Callable[[_T], bool], Deferred[_T]]] = []
        self._end: Exception | None = None

    def put(self, item: _T) -> None:
        """Something came."""
        for index, (wanted, waiting) in enumerate(self._waiting):
            if wanted(item):
                del self._waiting[index]
                waiting.callback(item)
                return
        self.items.append(item)

    def end(self, error: Exception) -> None:
        """Nothing will come any more."""
        self._end = error
        waiting, self._waiting = self._waiting, []
        for _, each in waiting:
            each.errback(error)

    async def take(
        self, wanted: Callable[[_T], bool] = lambda _: True, seconds: float = SECONDS
    ) -> _T:
        """Take the first that is wanted out.

        Raises:
            Silence: it did not come in time, or can't come any more.
        """
        for index, item in enumerate(self.items):
            if wanted(item):
                del self.items[index]
                return item
        if self._end is not None:
            raise self._end
        found: Deferred[_T] = Deferred()
        entry = (wanted, found)
        self._waiting.append(entry)
        try:
            return await found.addTimeout(seconds, cast(Any, reactor))
        except TimeoutError:
            self._waiting.remove(entry)
            raise Silence(f"not in {seconds} s; came: {_short(self.items)}") from None


def _short(items: Iterable[object]) -> str:
    return "; ".join(repr(item)[:200] for item in list(items)[-10:]) or "nothing"


class _Protocol(WebSocketClientProtocol):
    factory: Any

    def onOpen(self) -> None:
        self.factory.owner.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.owner.received(payload if isBinary else payload.decode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.owner.ended(Closed(code or 0, reason or ""))


class Socket:
    """One WebSocket. ``on_message`` may be replaced; by default what comes can be taken."""

    def __init__(self) -> None:
        self.inbox: Inbox[str | bytes] = Inbox()
        self.on_message: Callable[[str | bytes], None] = self.inbox.put
        self.on_close: Callable[[Exception], None] = self.inbox.end
        self.end: Closed | None = None
        self._protocol: Any = None
        self._open: Deferred[None] = Deferred()
        self._ends: list[Deferred[Closed]] = []

    @classmethod
    async def connect(
        cls, url: str, *, protocols: Iterable[str] = (), origin: str | None = None
    ) -> Socket:
        """Connect, and wait for the handshake.

        Raises:
            Silence: it was refused, or took too long; the text has the server's words.
        """
        self, parts = cls(), urlsplit(url)
        factory: Any = WebSocketClientFactory(url, origin=origin, protocols=list(protocols))
        factory.protocol, factory.owner, factory.noisy = _Protocol, self, False
        # Autobahn's timers outlive a connection that is cut; the test's own deadline bounds both.
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
        endpoint = HostnameEndpoint(reactor, parts.hostname or "", parts.port or 80)
        await endpoint.connect(factory)
        await self._open
        return self

    @property
    def is_open(self) -> bool:
        """Neither side has closed it."""
        return self.end is None and self._protocol.state == self._protocol.STATE_OPEN

    def send(self, message: str | bytes, fragment: int | None = None) -> None:
        """Send a text message for a str, a binary one for bytes, in fragments of a size."""
        data = message.encode() if isinstance(message, str) else message
        self._protocol.sendMessage(data, isinstance(message, bytes), fragment)

    async def take(self, seconds: float = SECONDS) -> str | bytes:
        """The next message."""
        return await self.inbox.take(seconds=seconds)

    async def takes(self, number: int, seconds: float = SECONDS) -> list[str | bytes]:
        """The next messages."""
        return [await self.take(seconds) for _ in range(number)]

    async def closed(self, seconds: float = SECONDS) -> Closed:
        """Wait until it is closed; gives the server's close frame, code 1006 without one."""
        if self.end is None:
            ending: Deferred[Closed] = Deferred()
            self._ends.append(ending)
            try:
                return await ending.addTimeout(seconds, cast(Any, reactor))
            except TimeoutError:
                self._ends.remove(ending)
                raise Silence(f"it is still open after {seconds} s") from None
        return self.end

    async def leave(self) -> None:
        """Close it (1000), if it is open, and wait for the end."""
        if self.end is None:
            self._protocol.sendClose(1000)
        await self.closed()

    def deaf(self) -> None:
        """Read no more, not even a close frame."""
        self._protocol.transport.pauseProducing()

    def hear(self) -> None:
        """Read again."""
        self._protocol.transport.resumeProducing()

    def abort(self) -> None:
        """Reset the connection, as if the machine was gone."""
        self._protocol.transport.abortConnection()

    # What its protocol tells.

    def opened(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.transport.setTcpNoDelay(True)
        self._open.callback(None)

    def received(self, message: str | bytes) -> None:
        self.on_message(message)

    def ended(self, closed: Closed) -> None:
        self.end = closed
        error = Silence(f"the server closed the connection: {closed}")
        if not self._open.called:
            self._open.errback(Failure(error))
        self.on_close(error)
        ends, self._ends = self._ends, []
        for each in ends:
            each.callback(closed)


class Client:
    """A client of the JSON dialect."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.messages: Inbox[dict[str, Any]] = Inbox()
        self.frames: Inbox[dict[str, Any]] = Inbox()
        #: What takes messages, and what takes frames that are no answers; may be replaced.
        self.on_message: Callable[[dict[str, Any]], None] = self.messages.put
        self.on_frame: Callable[[dict[str, Any]], None] = self.frames.put
        self._answers: Inbox[dict[str, Any]] = Inbox()
        self._asked: set[object] = set()
        self._numbers = count(1)
        socket.on_message = self._received
        socket.on_close = self._ended
        pending, socket.inbox.items = socket.inbox.items, []
        for message in pending:
            self._received(message)

    @classmethod
    async def connect(cls, url: str, *, origin: str | None = None) -> Client:
        """Connect, and take the welcome."""
        client = cls(await Socket.connect(url, protocols=[JSON], origin=origin))
        client.welcome = await client.frame("welcome")
        return client

    def send(self, op: str, **fields: Any) -> Any:
        """Send a request and give its id; :meth:`answer` waits for what comes back."""
        identity = fields.setdefault("id", f"r{next(self._numbers)}")
        self._asked.add(identity)
        self.socket.send(json.dumps({"op": op, **fields}, ensure_ascii=False))
        return identity

    async def answer(self, identity: object, seconds: float = SECONDS) -> dict[str, Any]:
        """The frame that repeats the id."""
        frame = await self._answers.take(lambda frame: frame["id"] == identity, seconds)
        self._asked.discard(identity)
        return frame

    @property
    def unread(self) -> int:
        """Answers that came and were not waited for."""
        return len(self._answers.items)

    async def ask(self, op: str, *, seconds: float = SECONDS, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return await self.answer(self.send(op, **fields), seconds)

    async def subscribe(self, destination: str, **fields: Any) -> None:
        """Subscribe, which must succeed."""
        answer = await self.ask("subscribe", destination=destination, **fields)
        assert answer["op"] == "subscribed", answer

    async def publish(
        self, destination: str, body: Any = None, *, seconds: float = SECONDS, **fields: Any
    ) -> dict[str, Any]:
        """Publish; gives the answer, whatever it is."""
        if "base64" not in fields:
            fields["body"] = body
        return await self.ask("publish", seconds=seconds, destination=destination, **fields)

    async def message(self, seconds: float = SECONDS) -> dict[str, Any]:
        """The next ``message``."""
        return await self.messages.take(seconds=seconds)

    async def bodies(self, number: int, seconds: float = SECONDS) -> list[Any]:
        """The bodies of the next messages."""
        return [(await self.message(seconds))["body"] for _ in range(number)]

    def acknowledge(self, message: dict[str, Any], op: str = "ack", **fields: Any) -> Any:
        """Send ``ack`` or ``nack`` for a message; gives the id of the request."""
        tag = message["delivery_tag"]
        return self.send(op, destination=message["destination"], delivery_tag=tag, **fields)

    async def frame(self, op: str, seconds: float = SECONDS, **fields: Any) -> dict[str, Any]:
        """The next frame that is neither a message nor an answer, with these fields."""
        wanted = {"op": op, **fields}
        return await self.frames.take(lambda frame: wanted.items() <= frame.items(), seconds)

    async def lives(self) -> None:
        """Make sure that the session answers."""
        answer = await self.ask("ping")
        assert answer["op"] == "pong", answer

    def _received(self, message: str | bytes) -> None:
        frame = json.loads(message)
        if frame.get("id") in self._asked:
            self._answers.put(frame)
        elif frame["op"] == "message":
            self.on_message(frame)
        else:
            self.on_frame(frame)

    def _ended(self, error: Exception) -> None:
        self.messages.end(error)
        self.frames.end(error)
        self._answers.end(error)
