"""What the tests of sessions have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakeTransport
from twbridge.commands import Overflow
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.hub import Hub
from twbridge.policy import Peer, Policy
from twbridge.ports import Limits, Services
from twbridge.resends import Resends
from twbridge.session import Session
from twbridge.subscriptions.opening import Subscriptions


class Route(NamedTuple):
    publish: str = "/exchange/x/in"
    subscribe: str = "/exchange/x/#"
    on_error: str = "close"
    overflow: Overflow | None = None


class Allow(NamedTuple):
    operation: str
    destination: str


class SessionCase(SynchronousTestCase):
    rules: Sequence[Allow] = ()
    limits = Limits(message=1000, frame=900, subscriptions=3, publishes=4, nonsense=3)

    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock)
        self.subscriptions = Subscriptions(self.link, self.clock, self.hub, instance="node")
        self.services = Services(
            self.hub,
            self.subscriptions,
            Resends(self.clock),
            self.link,
            Policy(self.rules),
            instance="node",
            limits=self.limits,
        )
        self.transport = FakeTransport()

    def tearDown(self) -> None:
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
