"""What the tests of one connection have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.scripted import ScriptedBroker, Session, advance
from twbridge.errors import ConnectionClosed
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.uri import Parameters


class ConnectionCase(SynchronousTestCase):
    """A connection to a scripted broker."""

    parameters = Parameters(heartbeat=20, connection_timeout=10.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        self.lost: list[ConnectionClosed] = []

    def connect(self, **changes: Any) -> Deferred[None]:
        """Connect; the Deferred is that of the login."""
        parameters = replace(self.parameters, **changes)
        factory = ConnectionFactory(self.clock, parameters, "the name")
        made: Any = self.successResultOf(
            self.broker.endpoint(parameters, "one", 5672).connect(factory)
        )
        self.connection: Connection = made
        self.connection.on_lost = self.lost.append
        self.session: Session = self.broker.sessions[-1]
        login = Deferred.fromCoroutine(self.connection.login())
        self.broker.pump()
        return login

    def logged_in(self, **changes: Any) -> Connection:
        self.assertIsNone(self.successResultOf(self.connect(**changes)))
        return self.connection

    def channel(self) -> Any:
        """An open channel."""
        opened = Deferred.fromCoroutine(self.connection.open_channel())
        self.broker.pump()
        return self.successResultOf(opened)

    def pass_time(self, seconds: float) -> None:
        advance(self.clock, self.broker, seconds)

    def failed(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        error = self.failureResultOf(deferred, kind).value
        self.assertIs(type(error), kind)
        return error

    def assert_over(self) -> None:
        """It is gone: told once, nothing left on the clock."""
        self.assertEqual(len(self.lost), 1)
        self.assertTrue(self.session.gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])
