"""What tests of streams begin with."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire
from twbridge.broker.streams import Stream

Basic, Queue = commands.Basic, commands.Queue


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.vhost = self.client.vhost
        self.clock = self.client.clock
        self.client.call(Basic.Qos(prefetch_count=100))

    def declare(self, name: str = "s", **arguments: Any) -> Stream:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.client.queue(name, durable=True, arguments={"x-queue-type": "stream", **given})
        stream = self.vhost.queues[name]
        assert isinstance(stream, Stream)
        return stream

    def fill(self, letters: str, every: float = 0.0) -> None:
        """Publish each letter, ``every`` so many seconds."""
        for letter in letters:
            Client(self.vhost).publish("", "s", letter.encode())
            self.clock.advance(every)

    def read(self, start: Any = "first", tag: str = "c", client: Client | None = None) -> str:
        """Consume; return the bodies of what comes at once."""
        client = client or self.client
        client.consume("s", tag, arguments={"x-stream-offset": start} if start is not None else {})
        return self.bodies(client)

    def bodies(self, client: Client | None = None) -> str:
        """Those of the deliveries that came last."""
        events = (client or self.client).last
        return "".join(event.body.decode() for event in events if isinstance(event, wire.Delivery))

    def offsets(self) -> list[int]:
        return [
            event.properties["headers"]["x-stream-offset"]
            for event in self.client.last
            if isinstance(event, wire.Delivery)
        ]
