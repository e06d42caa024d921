"""What the tests of queue subscriptions have in common."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeConsumer, FakeLink, FakeOutlet, PlainEncoder, delivery
from twbridge.commands import Overflow
from twbridge.destinations import Destination, parse
from twbridge.errors import (
    ChannelClosed,
)
from twbridge.flow import Drops
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.queue import QueueSubscription, candidates, private
from twbridge.subscriptions.reads import Reads
from twbridge.wire import Delivery

MISSING = ChannelClosed(404, "NOT_FOUND - no queue 'jobs' in vhost '/'")
OTHERWISE = ChannelClosed(406, "PRECONDITION_FAILED - inequivalent arg 'durable'")
REFUSED = ChannelClosed(403, "ACCESS_REFUSED")


class Broken(PlainEncoder):
    """Can't show bodies that begin with a question mark."""

    def encode(self, destination: Destination, delivery: Delivery, **more: Any) -> bytes:
        if delivery.body.startswith(b"?"):
            raise ValueError("it can't be shown")
        return super().encode(destination, delivery, **more)


class QueueCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.reads = Reads(self.link)
        self.outlet = FakeOutlet(Broken())
        self.answers: list[Any] = []

    def tearDown(self) -> None:
        self.reads.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left")

    def make(
        self,
        text: str = "/queue/jobs",
        *,
        acks: bool = False,
        overflow: Overflow = "block",
        **more: Any,
    ) -> QueueSubscription:
        destination = parse(text)
        valve = None
        if overflow in ("drop-oldest", "latest"):
            drops = Drops(Clock())
            valve = Valve(self.outlet, destination, overflow == "latest", drops)
        attempts = partial(candidates, destination)
        if destination.live:
            attempts = partial(private, "own")
            more["binding"] = (destination.exchange, destination.key)
            more.setdefault("private", True)
        return QueueSubscription(
            self.link,
            self.clock,
            self.reads,
            self.outlet,
            destination,
            attempts,
            client_acks=acks,
            waits=overflow == "block",
            valve=valve,
            **more,
        )

    def start(self, *args: Any, **more: Any) -> QueueSubscription:
        subscription = self.make(*args, **more)
        subscription.start().addBoth(self.answers.append)
        return subscription

    @property
    def consumer(self) -> FakeConsumer:
        return self.link.consumers[-1]

    def message(self, tag: int, body: bytes = b"", **properties: Any) -> Delivery:
        found = delivery("jobs", body or str(tag).encode(), "", **properties)
        found.delivery_tag = tag
        return found

    def deliver(self, *tags: int) -> None:
        """One read with these."""
        self.consumer.deliver(*map(self.message, tags))

    @property
    def bodies(self) -> list[bytes]:
        return [frame.rsplit(b" ", 1)[1] for frame in self.outlet.frames]

    def refusal(self) -> Any:
        [failure] = self.answers
        return failure.value
