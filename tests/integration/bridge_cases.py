"""What the tests of the whole daemon have in common."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, cast

from twisted.internet.defer import Deferred

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.cases import BrokerCase, OwnNode
from tests.integration.rabbitmq import Node, in_thread
from tests.integration.websocket import Client, Socket

CHAT = "twbridge.chat"
CHAT_IN, CHAT_OUT = f"/exchange/{CHAT}/chat", f"/exchange/{CHAT}/#"
SECRET = "guest:guest"
MARKER = "marker "


class BridgeCase(BrokerCase):
    """Tests on one bridge of the class's own, before the shared node.

    When they are over it must end with exit code 0, and must not have logged a traceback, nor the
    password.
    """

    toml = ""
    interface = "127.0.0.1"
    bridge: Bridge

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.bridge = Bridge("--amqp-url", cls.amqp_url(), toml=cls.toml, interface=cls.interface)
        try:
            cls.bridge.start()
        except BaseException:
            cls.bridge.close()
            raise

    @classmethod
    def amqp_url(cls) -> str:
        return cls.node.url()

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            code = cls.bridge.stop() if cls.bridge.running else "killed"
            said = cls.bridge.log + cls.bridge.complaints
            assert code in (0, "killed"), said
            blameless(said)
        finally:
            cls.bridge.close()
            super().tearDownClass()

    async def another(self, *options: str, **settings: Any) -> Bridge:
        """One more bridge, ready; it is gone after the test.

        It gets the URL of the node, unless the test gives it options or an environment.
        """
        if not options and "environment" not in settings:
            options = ("--amqp-url", self.amqp_url())
        bridge = Bridge(*options, **settings)
        self.addCleanup(lambda: in_thread(bridge.close))
        await in_thread(bridge.start)
        return bridge

    async def raw(
        self, bridge: Bridge | None = None, path: str = "/ws", *, listening: bool = True
    ) -> Socket:
        """A raw client, when it gets what is published (if it is ``listening`` on the chat)."""
        socket = await Socket.connect((bridge or self.bridge).url(path))
        self.addCleanup(lambda: Deferred.fromCoroutine(socket.leave()))
        if listening:
            await self.hears(socket, bridge)
        return socket

    async def hears(
        self, socket: Socket, bridge: Bridge | None = None, destination: str = CHAT_IN
    ) -> None:
        """Wait until a raw client is subscribed, which nobody tells it."""
        client = await self.json(bridge)
        got: list[str | bytes] = []
        socket.on_message = got.append
        deadline = time.monotonic() + 10.0
        marker = f"{MARKER}{uuid.uuid4()}"
        while marker not in got and time.monotonic() < deadline:
            await client.publish(destination, marker)
        # The last of them may still be on the way.
        last = f"{MARKER}{uuid.uuid4()}"
        await client.publish(destination, last)
        await self.until(lambda: last in got)
        socket.on_message = socket.inbox.put
        await client.socket.leave()

    async def heard(self, socket: Socket, seconds: float = 10.0) -> str | bytes:
        """The next message of a raw client, but what another one's :meth:`hears` sent."""
        while True:
            message = await socket.take(seconds)
            if not str(message).startswith(MARKER):
                return message

    async def json(
        self, bridge: Bridge | None = None, *destinations: str, client_id: str | None = None
    ) -> Client:
        """A client of the JSON dialect, subscribed; ``client_id`` is its ``?client=``."""
        query = "" if client_id is None else f"?client={client_id}"
        client = await Client.connect((bridge or self.bridge).url(f"/ws{query}"))
        self.addCleanup(lambda: Deferred.fromCoroutine(client.socket.leave()))
        for destination in destinations:
            await client.subscribe(destination)
        return client

    async def witness(self, exchange: str = CHAT, key: str = "#", **settings: Any) -> str:
        """A durable queue that gets what an exchange gets, deleted at the end."""
        queue = await self.queue(**settings)
        await in_thread(bind, self.node, queue, exchange, key)
        return queue

    async def next_of(self, queue: str, seconds: float = 5.0) -> bytes:
        """The body of the next message in a queue; whatever is there is taken out."""
        deadline = time.monotonic() + seconds
        while not (found := await self.drain(queue)):
            self.assertLess(time.monotonic(), deadline, "nothing came into the queue")
        return found[0][1]

    async def exchange(self, kind: str = "topic", **settings: Any) -> str:
        """An exchange of the test's own, deleted at the end."""
        name = f"test.{uuid.uuid4()}"
        await in_thread(_declare_exchange, self.node, name, kind, settings)
        self.addCleanup(lambda: in_thread(_delete_exchange, self.node, name))
        return name


class OnEmbedded(BridgeCase):
    """The same tests with a bridge that has its own broker: it comes before their class."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.bridge = Bridge("--embedded", toml=cls.toml, interface=cls.interface)
        try:
            cls.bridge.start()
            cls.node = cast(Node, EmbeddedNode(cls.bridge))
        except BaseException:
            cls.bridge.close()
            raise


class EmbeddedNode:
    """The broker inside a bridge, for tests that need no more of a node than its URL."""

    def __init__(self, bridge: Bridge) -> None:
        printed = re.search(r"embedded broker on amqp://(\S+:\d+):", bridge.log)
        assert printed is not None, bridge.log
        self._address = printed[1]

    @property
    def port(self) -> int:
        """Where it speaks AMQP on 127.0.0.1."""
        return int(self._address.rpartition(":")[2])

    def url(self, vhost: str = "%2F", query: str = "", user: str = SECRET) -> str:
        """An AMQP URL of it."""
        suffix = f"?{query}" if query else ""
        return f"amqp://{user}@{self._address}/{vhost}{suffix}"


class BreakableCase(OwnNode, BridgeCase):
    """The same on a node of the class's own."""


def bind(node: Node, queue: str, exchange: str, key: str) -> None:
    """Bind a queue, as another client."""
    with witness.channel(node.url()) as channel:
        channel.queue_bind(queue, exchange, key)


def _declare_exchange(node: Node, name: str, kind: str, settings: dict[str, Any]) -> None:
    with witness.channel(node.url()) as channel:
        channel.exchange_declare(name, kind, **settings)


def _delete_exchange(node: Node, name: str) -> None:
    with witness.channel(node.url()) as channel:
        channel.exchange_delete(name)


def blameless(said: str) -> None:
    """Nothing went wrong inside a bridge that said this."""
    for word in ("Traceback", "Unhandled", SECRET):
        assert word not in said, said
