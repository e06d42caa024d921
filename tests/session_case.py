"""What the tests of sessions have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.fakes import FakeLink, FakeTransport, PlainEncoder
from twbridge.commands import Command, Event, Overflow
from twbridge.dialects.interfaces import Close, Codec, ICodec
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.hub import Hub
from twbridge.policy import Peer, Policy
from twbridge.ports import Limits, Services
from twbridge.publishes import Declarer
from twbridge.resends import Resends
from twbridge.session import Session
from twbridge.subscriptions.opening import Subscriptions


class Route(NamedTuple):
    publish: str = "/exchange/x/in"
    subscribe: str = "/exchange/x/#"
    on_error: str = "close"
    dialect: str = "raw"
    overflow: Overflow | None = None


class Allow(NamedTuple):
    operation: str
    destination: str


@implementer(ICodec)
class ScriptedCodec(Codec):
    """Reads what the test says, and keeps what is told."""

    def __init__(self) -> None:
        self.encoder: Any = PlainEncoder()
        self.reads: list[Command] = []
        self.events: list[Event] = []
        #: The end that an event is.
        self.ends: Callable[[Event], Close | None] = lambda event: None

    def opening(self) -> Sequence[Command]:
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        found, self.reads = self.reads, []
        return found

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        self.events.append(event)
        return None

    def closing(self, event: Event) -> Close | None:
        return self.ends(event)

    def told(self) -> list[Event]:
        """What it was told since the last look."""
        found, self.events = self.events, []
        return found


class FakeChecker:
    """Asked who clients are; the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None, bool]] = []
        self.answers: list[Deferred[str]] = []
        self.cancelled = 0

    def check(
        self, user: str | None, password: str | None, *, local: bool = False
    ) -> Deferred[str]:
        def cancel(_answer: Deferred[str]) -> None:
            self.cancelled += 1

        self.asked.append((user, password, local))
        answer: Deferred[str] = Deferred(cancel)
        self.answers.append(answer)
        return answer


class SessionCase(SynchronousTestCase):
    rules: Sequence[Allow] = ()
    limits = Limits(message=1000, frame=900, subscriptions=3, publishes=4, nonsense=3)

    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock)
        self.subscriptions = Subscriptions(self.link, self.clock, self.hub, instance="node")
        self.declarer = Declarer(self.link)
        self.services = Services(
            self.hub,
            self.subscriptions,
            Resends(self.clock),
            self.declarer,
            self.link,
            Policy(self.rules),
            instance="node",
            limits=self.limits,
        )
        self.transport = FakeTransport()

    def tearDown(self) -> None:
        self.declarer.stop()
        self.subscriptions.stop()
        self.hub.stop()
        self.services.gate.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def json(self, transport: FakeTransport | None = None, client: str | None = None) -> Session:
        codec = JsonDialect().codec(Route())
        transport = transport or self.transport
        peer = Peer(None, True, "127.0.0.1", client=client)
        session = Session(self.services, peer, codec, transport)
        session.opened()
        return session

    def scripted(self, checker: FakeChecker | None = None, loopback: bool = True) -> Session:
        """One that obeys whatever the test has its codec, ``self.codec``, read."""
        self.codec = ScriptedCodec()
        services = replace(self.services, checker=checker)
        self.addCleanup(services.gate.stop)
        self.gate = services.gate
        peer = Peer(None, loopback, "127.0.0.1")
        session = Session(services, peer, self.codec, self.transport)
        session.opened()
        self.codec.told()
        return session

    def ask(self, session: Session, *wanted: Command) -> list[Event]:
        """Have it read these; gives what it is told at once."""
        self.codec.reads += wanted
        session.received(b"", False)
        return self.codec.told()

    def raw(self, on_error: str = "close") -> Session:
        codec = RawDialect().codec(Route(on_error=on_error))
        session = Session(self.services, Peer(None, True, "127.0.0.1"), codec, self.transport)
        session.opened()
        return session

    def say(self, session: Session, operation: str, **fields: Any) -> None:
        session.received(json.dumps({"op": operation} | fields).encode(), False)

    def told(self) -> list[dict[str, Any]]:
        """What it was told since the last look."""
        found = [json.loads(payload) for payload, _ in self.transport.sent]
        self.transport.sent.clear()
        return found

    def publish(self, session: Session, identity: str, **fields: Any) -> Deferred[None]:
        body = {"destination": "/topic/a", "body": 1} | fields
        self.say(session, "publish", id=identity, **body)
        return self.link.published[-1].answer
