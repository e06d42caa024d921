"""What the tests of consumers have in common."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.link.cases import LinkCase
from twbridge.amqp import Consumer, Link, Queue


class ConsumerCase(LinkCase):
    """A consumer on a link."""

    def setUp(self) -> None:
        super().setUp()
        self.bodies: list[bytes] = []
        self.deliveries: list[Any] = []
        self.ends: list[Any] = []

    def consumer(self, link: Link, queue: Queue | None = None, **more: Any) -> Consumer:
        done = link.consume(queue or Queue(), self.take, on_end=self.ends.append, **more)
        self.broker.pump()
        consumer = self.successResultOf(done)
        assert isinstance(consumer, Consumer)
        return consumer

    def take(self, delivery: Any) -> None:
        self.deliveries.append(delivery)
        self.bodies.append(delivery.body)

    def deliver(self, tag: int, body: bytes = b"x", nth: int = -1) -> int:
        """Deliver to the last consumer that was made; return its channel."""
        session = self.consuming
        consume = session.methods(commands.Basic.Consume)[nth]
        channel = session.channel_of(commands.Basic.Consume, consumer_tag=consume.consumer_tag)
        session.deliver(channel, consume.consumer_tag, tag, body)
        return channel

    def keys(self, kind: type = commands.Queue.Bind) -> list[tuple[str, str]]:
        self.broker.pump()
        return [(each.exchange, each.routing_key) for each in self.consuming.methods(kind)]

    def confirms(self) -> list[tuple[int, bool, bool, bool]]:
        """What was acknowledged: tag, multiple, ack or nack, requeue."""
        self.broker.pump()
        return [
            (each.delivery_tag, each.multiple, each.ack, each.requeue)
            for each in self.consuming.heard
            if hasattr(each, "requeue")
        ]

    def reconnect(self) -> None:
        """Lose the consuming connection; it comes back."""
        self.consuming.drop()
        self.pass_time(5)
