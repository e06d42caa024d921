"""What the tests of streams have in common."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeOutlet
from tests.subscriptions.brokers import StreamLink
from twbridge.commands import Overflow
from twbridge.destinations import Destination, parse
from twbridge.flow import Drops
from twbridge.starts import Start, parse_start
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.reads import Reads
from twbridge.subscriptions.stream import StreamSubscription
from twbridge.subscriptions.streams import Streams
from twbridge.wire import Delivery

LOG = parse("/stream/log")
#: Fields of an event that say which subscription it is about.
_WHOSE = ("destination", "name")


class OffsetEncoder:
    """Shows offset and body, in words that can be joined; refuses the offsets of ``bad``."""

    def __init__(self) -> None:
        self.bad: set[int | None] = set()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        if offset in self.bad:
            raise ValueError("it can't be shown")
        return f"{offset}:{delivery.body.decode()} ".encode()


class Subscriber:
    """A subscription that was started."""

    def __init__(self, outlet: FakeOutlet, subscription: StreamSubscription) -> None:
        self.outlet = outlet
        self.subscription = subscription
        self.answer: Deferred[None] = subscription.start()
        #: What it was told, before its messages, or instead of them.
        self.answer.addCallback(lambda _: outlet.heard.append("subscribed"))

    @property
    def heard(self) -> list[Any]:
        """In order: the word subscribed, offsets, and events as tuples of what they count."""
        found: list[Any] = []
        for each in self.outlet.heard:
            if isinstance(each, bytes):
                found += [int(word.split(b":")[0]) for word in each.split()]
            elif isinstance(each, str):
                found.append(each)
            else:
                fields = [name for name in each.__struct_fields__ if name not in _WHOSE]
                found.append(tuple(getattr(each, name) for name in fields))
        return found

    @property
    def got(self) -> list[Any]:
        """The same without its "subscribed"."""
        return [each for each in self.heard if each != "subscribed"]

    @property
    def state(self) -> str:
        return self.subscription.state.name

    def stall(self) -> None:
        """The socket takes no more."""
        self.outlet.room = 0

    def drain(self, room: int = 1 << 30) -> None:
        """The socket takes data again."""
        self.outlet.room = room
        self.subscription.writable()


class StreamCase(SynchronousTestCase):
    """A broker with the stream ``log``, and one instance."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = StreamLink()
        self.link.make("log")
        self.reads = Reads(self.link)
        self.declared: list[str] = []
        self.streams = Streams(self.link, self.clock, self.reads, redeclare=self.declared.append)
        self.drops = Drops(Clock())
        self.encoder = OffsetEncoder()
        self.subscribers: list[Subscriber] = []

    def tearDown(self) -> None:
        for each in self.subscribers:
            each.subscription.end()
            if not each.answer.called:
                continue
            each.answer.addErrback(lambda _: None)
        self.streams.stop()
        self.reads.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left")
        self.link.settle()
        self.assertEqual(self.link.consumers, [], "a consumer was left")

    def start(
        self,
        start: str = "next",
        *,
        name: str = "log",
        prefetch: int = 100,
        overflow: Overflow = "block",
        patient: bool = False,
    ) -> Subscriber:
        """A subscription that was asked for; nothing has happened yet."""
        outlet = FakeOutlet(self.encoder)
        destination = parse(f"/stream/{name}")
        valve = None
        if overflow in ("drop-oldest", "latest"):
            valve = Valve(outlet, destination, overflow == "latest", self.drops)
        where = parse_start(start)
        assert isinstance(where, Start)
        found = Subscriber(
            outlet,
            self.streams.subscription(
                outlet,
                destination,
                where,
                prefetch=prefetch,
                overflow=overflow,
                valve=valve,
                patient=patient,
            ),
        )
        self.subscribers.append(found)
        return found

    def subscribe(self, start: str = "next", **more: Any) -> Subscriber:
        """One that stands, and has what there is."""
        found = self.start(start, **more)
        self.clock.advance(0)
        self.link.settle()
        self.assertIn("subscribed", found.heard)
        return found

    def publish(self, count: int = 1, **more: Any) -> None:
        """A chunk that comes at once."""
        self.link.publish("log", count, **more)
        self.link.settle()

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, with the link at work."""
        self.link.settle()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.link.settle()

    def reconnect(self) -> None:
        """The link is lost and comes back."""
        self.link.lose()
        self.link.reconnect()
        self.link.settle()
