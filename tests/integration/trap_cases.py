"""A stock txAMQP client and our link on the same broker."""

from __future__ import annotations

import gc
import logging
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue

from tests.integration import stock, witness
from tests.integration.cases import BrokerCase
from tests.integration.rabbitmq import in_thread
from twbridge.amqp import Queue
from twbridge.wire import Delivery


class TrapCase(BrokerCase):
    """A stock client and our link on the same broker."""

    def setUp(self) -> None:
        self.clients: list[Any] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.forget()))
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    async def forget(self) -> None:
        """Abort the stock clients and what they let fall."""
        for client in self.clients:
            gone = client.disconnected.wait()
            client.transport.abortConnection()
            await gone
        self.clients.clear()
        gc.collect()
        self.flushLoggedErrors()

    async def stock(self, port: int | None = None, **settings: Any) -> Any:
        """A stock client."""
        client = await stock.connect(reactor, port or self.node.port, **settings)
        self.clients.append(client)
        return client

    async def stock_consumer(self, queue: str) -> tuple[Any, list[Any]]:
        """A stock client that consumes, and the messages that it got."""
        client = await self.stock()
        channel = await stock.channel(client)
        await channel.basic_consume(queue=queue, no_ack=True, consumer_tag="t")
        messages = await client.queue("t")
        got: list[Any] = []

        def take(message: Any) -> None:
            got.append(message.content)
            wait()

        def wait() -> None:
            messages.get().addCallbacks(take, lambda _: None)

        wait()
        return client, got

    async def our_consumer(self, queue: str) -> DeferredQueue[Delivery]:
        """The deliveries of our link from a queue."""
        link = await self.ready()
        got: DeferredQueue[Delivery] = DeferredQueue()
        await link.consume(Queue(queue, passive=True), got.put, no_ack=True)
        return got

    async def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """Publish as another client."""
        await in_thread(witness.publish, self.node.url(), "", queue, *bodies, properties=properties)
