"""A client's core on a connector that a test plays."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.client import frames
from twbridge.client.core import Core
from twbridge.client.errors import NotConnected
from twbridge.client.messages import Message
from twbridge.client.ports import Attempt, Hooks, Limits, State
from twbridge.client.subscription import Options, Subscription, SubscriptionHooks


class Socket:
    """A connection, of which the test is the bridge."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.sent: list[dict[str, Any]] = []
        self.end: object = None

    def send(self, payload: bytes, /) -> None:
        self.sent.append(json.loads(payload))

    def close(self, code: int, /) -> None:
        self.end = code

    def abort(self) -> None:
        self.end = "aborted"

    def take(self) -> list[dict[str, Any]]:
        """What was sent since it was last asked for."""
        sent, self.sent = self.sent, []
        return sent

    def say(self, op: str, **fields: Any) -> None:
        """The bridge sends a frame."""
        names = {"first": "from", "resumed": "to"}
        frame = {"op": op} | {names.get(name, name): value for name, value in fields.items()}
        self.attempt.heard()
        self.attempt.received(json.dumps(frame).encode())

    def message(self, destination: str, body: Any = "x", **fields: Any) -> None:
        """The bridge sends a message."""
        fields = {"routing_key": "k", "headers": {}, "properties": {}} | fields
        self.say("message", destination=destination, body=body, **fields)

    def lose(self, closed: int = 0, reason: str = "gone") -> None:
        """The connection is lost."""
        self.attempt.lost(NotConnected(reason, closed=closed))


class Connector:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    def connect(self, attempt: Attempt, /) -> Socket:
        self.sockets.append(Socket(attempt))
        return self.sockets[-1]


class CoreCase(SynchronousTestCase):
    """Tests of a core; random delays are the longest that there may be."""

    limits = Limits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector = Connector()
        self.states: list[str] = []
        self.away: list[NotConnected] = []
        self.links: list[bool] = []
        self.errors: list[Any] = []
        self.ranges: list[tuple[float, float]] = []
        hooks = Hooks(self.states.append, self.away.append, self.links.append, self.errors.append)
        self.core = Core(self.clock, self.connector, self.uniform, hooks, self.limits)

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return high

    @property
    def socket(self) -> Socket:
        """The last one."""
        return self.connector.sockets[-1]

    def open(self, **welcome: Any) -> Socket:
        """Connect, if nothing is under way, and let the bridge greet."""
        self.core.start()
        if self.core.state is State.WAITING:
            self.clock.advance(30.0)
        self.socket.attempt.opened()
        self.socket.say("welcome", **{"session": "i.1", "heartbeat": 25} | welcome)
        self.assertEqual(self.core.state, State.OPEN)
        return self.socket

    def reopen(self) -> Socket:
        """Lose the connection and get another."""
        self.socket.lose()
        return self.open()

    def publish(
        self, identity: str = "p1", body: Any = "x", timeout: float | None = None
    ) -> Deferred[None]:
        """Publish to /topic/a."""
        frame = frames.publish(identity, "/topic/a", body, None, None, None)
        return self.core.publishes.add(identity, frame, timeout)

    def subscribe(
        self, destination: str = "/topic/a", **options: Any
    ) -> tuple[Subscription, list[Any], Deferred[Subscription]]:
        """Subscribe; gives the subscription, what it is told, and its Deferred."""
        told: list[Any] = []

        def message(message: Message) -> None:
            told.append(message)

        hooks = SubscriptionHooks(
            told.append,
            lambda number: told.append(("dropped", number)),
            lambda error: told.append(("ended", error)),
        )
        subscription = Subscription(
            self.core.subscriptions, destination, Options(**options), message, hooks
        )
        started = self.core.subscriptions.add(subscription)
        return subscription, told, started

    def subscribed(
        self, destination: str = "/topic/a", **options: Any
    ) -> tuple[Subscription, list[Any]]:
        """Subscribe, and let the bridge agree."""
        subscription, told, started = self.subscribe(destination, **options)
        self.agree()
        self.assertIs(self.successResultOf(started), subscription)
        self.assertTrue(subscription.active)
        return subscription, told

    def agree(self, **fields: Any) -> dict[str, Any]:
        """The bridge does what it was asked for last; gives the request."""
        asked = self.socket.take()[-1]
        answer = {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}[asked["op"]]
        self.socket.say(answer, id=asked["id"], destination=asked["destination"], **fields)
        return asked

    def refuse(self, code: str, message: str = "No.") -> dict[str, Any]:
        """The bridge refuses what it was asked for last; gives the request."""
        asked = self.socket.take()[-1]
        self.socket.say("error", id=asked["id"], code=code, message=message)
        return asked
