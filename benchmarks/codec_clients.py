"""The AMQP clients whose codec is measured, behind one small interface.

Each is used the way its own documentation shows: txAMQP and pika hand deliveries over in a
DeferredQueue, twbridge's link calls back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from pika import BasicProperties, ConnectionParameters, URLParameters
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from txamqp.client import TwistedDelegate
from txamqp.content import Content
from txamqp.protocol import AMQClient
from txamqp.spec import Field

from twbridge.amqp import Link, Queue
from twbridge.link.spec import amqp_spec
from twbridge.link.uri import parse

EXCHANGE = "amq.topic"
KEY = "bench"
CONTENT_TYPE = "application/json"


class CodecClient(Protocol):
    """A connection to the broker that consumes one queue, or publishes to `EXCHANGE`.

    Attributes:
        confirms: Whether a publish waits for the broker's ack.
    """

    confirms: bool

    async def connect(self, reactor: Any, url: str) -> None:
        """Connect and log in."""

    async def consume(self, queue: str, callback: Callable[[object], None]) -> None:
        """Consume an existing queue without acks; the callback runs for every delivery."""

    def publish(self, body: bytes) -> Deferred[None]:
        """Publish one message; fires when the client says that it is done."""

    async def flush(self) -> None:
        """Wait until the broker has read everything."""


class StockTxAmqp:
    """txAMQP as it ships, with the specification that it leaves to its users."""

    confirms = False

    async def connect(self, reactor: Any, url: str) -> None:
        """Connect, log in, open channel 1."""
        where = parse(url)
        host, port = where.hosts[0]
        spec = amqp_spec()
        properties = spec.classes.byname["basic"].fields
        if not len(properties):
            for position, (name, kind) in enumerate(_PROPERTIES):
                properties.add(Field(name, position, kind, None))
        client: Any = AMQClient(TwistedDelegate(), where.vhost, spec)
        self._client = client
        await connectProtocol(HostnameEndpoint(reactor, host, port), client)
        client.transport.setTcpNoDelay(True)
        await client.authenticate(where.username, where.password, mechanism="PLAIN")
        self._channel = await client.channel(1)
        await self._channel.channel_open()

    async def consume(self, queue: str, callback: Callable[[object], None]) -> None:
        """Consume into its queue, and wait there for one delivery after the other."""
        await self._channel.basic_consume(queue=queue, no_ack=True, consumer_tag="bench")
        deliveries = await self._client.queue("bench")
        _forever(deliveries, callback)

    def publish(self, body: bytes) -> Deferred[None]:
        """Publish without a confirm, txAMQP has none."""
        content = Content(
            body.decode(), properties={"content-type": CONTENT_TYPE, "delivery-mode": 2}
        )
        return cast(
            "Deferred[None]",
            self._channel.basic_publish(exchange=EXCHANGE, routing_key=KEY, content=content),
        )

    async def flush(self) -> None:
        """An answer on the channel comes after everything before it was read."""
        await self._channel.exchange_declare(exchange=EXCHANGE, exchange_type="topic", passive=True)


_PROPERTIES = (
    ("content-type", "shortstr"),
    ("content-encoding", "shortstr"),
    ("headers", "table"),
    ("delivery-mode", "octet"),
    ("priority", "octet"),
    ("correlation-id", "shortstr"),
    ("reply-to", "shortstr"),
    ("expiration", "shortstr"),
    ("message-id", "shortstr"),
    ("timestamp", "timestamp"),
    ("type", "shortstr"),
    ("user-id", "shortstr"),
    ("app-id", "shortstr"),
    ("cluster-id", "shortstr"),
)


class PikaTwisted:
    """pika's Twisted adapter."""

    confirms = False
    _properties = BasicProperties(content_type=CONTENT_TYPE, delivery_mode=2)

    async def connect(self, reactor: Any, url: str) -> None:
        """Connect, log in, open a channel."""
        parameters: ConnectionParameters = URLParameters(url)
        protocol = TwistedProtocolConnection(parameters)
        endpoint = HostnameEndpoint(reactor, parameters.host, parameters.port)
        await connectProtocol(endpoint, protocol)
        cast(Any, protocol.transport).setTcpNoDelay(True)
        await cast("Deferred[Any]", protocol.ready)
        self._channel = await protocol.channel()

    async def consume(self, queue: str, callback: Callable[[object], None]) -> None:
        """Consume into its queue, and wait there for one delivery after the other."""
        deliveries, _ = await self._channel.basic_consume(queue=queue, auto_ack=True)
        _forever(deliveries, callback)

    def publish(self, body: bytes) -> Deferred[None]:
        """Publish without a confirm, as for txAMQP."""
        published = self._channel.basic_publish(EXCHANGE, KEY, body, self._properties)
        return cast("Deferred[None]", published)

    async def flush(self) -> None:
        """An answer on the channel comes after everything before it was read."""
        await self._channel.exchange_declare(EXCHANGE, passive=True)


class PikaTwistedConfirms(PikaTwisted):
    """The same in its mode with confirms."""

    confirms = True

    async def connect(self, reactor: Any, url: str) -> None:
        """Connect, log in, open a channel and put it in confirm mode."""
        await super().connect(reactor, url)
        await self._channel.confirm_delivery()


class OurLink:
    """twbridge's link: every publish is confirmed by the broker."""

    confirms = True

    async def connect(self, reactor: Any, url: str) -> None:
        """Start the link and wait until it is ready."""
        self._link = Link(reactor, parse(url))
        ready: Deferred[None] = Deferred()
        self._link.on_ready(lambda: ready.callback(None))
        self._link.start()
        await ready

    async def consume(self, queue: str, callback: Callable[[object], None]) -> None:
        """Consume with a callback."""
        existing = Queue(queue, exclusive=False, auto_delete=False, passive=True)
        await self._link.consume(existing, callback, no_ack=True)

    def publish(self, body: bytes) -> Deferred[None]:
        """Publish; fires on the broker's ack. The link adds message id, time and application."""
        return self._link.publish(EXCHANGE, KEY, body, {"content_type": CONTENT_TYPE})

    async def flush(self) -> None:
        """Nothing to wait for: what is confirmed has been read."""


CLIENTS: dict[str, Callable[[], CodecClient]] = {
    "twbridge": OurLink,
    "txAMQP": StockTxAmqp,
    "pika": PikaTwisted,
    "pika-confirms": PikaTwistedConfirms,
}


def _forever(deliveries: Any, callback: Callable[[object], None]) -> None:
    """Run a coroutine that takes from a DeferredQueue until the process ends."""

    async def take() -> None:
        while True:
            callback(await deliveries.get())

    Deferred.fromCoroutine(take()).addErrback(lambda failure: failure.trap(Exception) and None)
