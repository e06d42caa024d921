"""What the tests of the link have in common."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration import witness
from tests.integration.proxy import Proxy
from tests.integration.rabbitmq import Node, in_thread, shared, started
from twbridge.amqp import Link, LinkOptions, parse

clock: Any = IReactorTime(reactor)


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor run."""
    return deferLater(clock, seconds, lambda: None)


class BrokerCase(TestCase):
    """Tests on a node: the shared one, with names of their own."""

    timeout = 30
    node: Node

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = cls.own_node()

    @classmethod
    def own_node(cls) -> Node:
        """The class's choice."""
        return shared()

    def link(self, url: str | None = None, **options: Any) -> Link:
        """A link that has been started; it is stopped at the end."""
        settings = {"reconnect_cap": 0.5} | options
        link = Link(reactor, parse(url or self.node.url()), options=LinkOptions(**settings))
        link.start()
        self.addCleanup(link.stop)
        return link

    async def ready(self, url: str | None = None, **options: Any) -> Link:
        """A link, when it is ready."""
        link = self.link(url, **options)
        await self.state(link, "ready")
        return link

    async def state(self, link: Link, wanted: str, seconds: float = 15.0) -> float:
        """Wait for a state; gives the seconds that it took."""
        return await self.until(
            lambda: link.state == wanted,
            seconds,
            lambda: f"{link.state}, not {wanted}: {link.state_description}",
        )

    async def until(
        self,
        condition: Callable[[], object],
        seconds: float = 10.0,
        else_say: Callable[[], object] = lambda: "it did not come true in time",
    ) -> float:
        """Wait until ``condition`` holds; gives the seconds that it took."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                self.fail(else_say())
            await pause(0.01)
        return time.monotonic() - begin

    async def proxy(self, port: int | None = None) -> Proxy:
        """A proxy before the node, closed at the end."""
        proxy = await Proxy.listen(reactor, "127.0.0.1", port or self.node.port)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.close()))
        return proxy

    def url_of(self, *proxies: Proxy, query: str = "") -> str:
        """The URL of the node by way of proxies."""
        hosts = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
        return f"amqp://guest:guest@{hosts}/%2F" + (f"?{query}" if query else "")

    async def queue(self, **settings: Any) -> str:
        """A durable queue of this test's own, deleted at the end."""
        name = f"test.{uuid.uuid4()}"
        await in_thread(witness.declare, self.node.url(), name, **settings)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), name))
        return name

    def drain(self, queue: str) -> Deferred[list[tuple[Any, bytes]]]:
        """What the queue holds, taken out."""
        return in_thread(witness.drain, self.node.url(), queue)

    async def failure(self, awaitable: Awaitable[Any], *kinds: type[Exception]) -> Any:
        """The error that it fails with, which must be of one of ``kinds``."""
        with self.assertRaises(kinds) as caught:
            await awaitable
        return caught.exception


class OwnNode(BrokerCase):
    """Tests on a node of the class's own, which they may kill, freeze and block."""

    @classmethod
    def own_node(cls) -> Node:
        return started()

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()
        finally:
            cls.node.close()


def outcomes(deferreds: list[Deferred[None]]) -> Coroutine[Any, Any, list[Any]]:
    """Wait for all: None or the exception of each."""

    async def gather() -> list[Any]:
        results: Any = await DeferredList(deferreds, consumeErrors=True)
        return [None if ok else failure.value for ok, failure in results]

    return gather()
