"""What the tests of the link have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.scripted import ScriptedBroker, Session, advance
from twbridge.amqp import Link, LinkOptions
from twbridge.link.uri import Parameters

__all__ = ["LinkCase"]


class LinkCase(SynchronousTestCase):
    """A link to a scripted broker."""

    parameters = Parameters(hosts=(("broker", 5672),))

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        self.heard: list[Any] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def link(self, *, start: bool = True, hosts: tuple[str, ...] = (), **options: Any) -> Link:
        """A link that is ready, unless ``start`` is False or the broker does not let it."""
        parameters = self.parameters
        if hosts:
            parameters = replace(parameters, hosts=tuple((host, 5672) for host in hosts))
        link = Link(
            self.clock,
            parameters,
            options=LinkOptions(**options),
            connect=self.broker.endpoint,
            random=lambda: 1.0,
        )
        link.on_state(lambda state: self.heard.append(("state", state)))
        link.on_ready(lambda: self.heard.append("ready"))
        link.on_unavailable(lambda reason: self.heard.append(("unavailable", reason)))
        self.addCleanup(self._end, link)
        if start:
            link.start()
            self.broker.pump()
        return link

    def _end(self, link: Link) -> None:
        """Stop it: whatever the test did, that ends, and nothing is left on the clock."""
        stopped = link.stop()
        self.pass_time(60)
        self.assertIsNone(self.successResultOf(stopped))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with bytes moving."""
        advance(self.clock, self.broker, seconds)

    @property
    def publishing(self) -> Session:
        """The connection that publishes."""
        return self.broker.named("publish")

    @property
    def consuming(self) -> Session:
        """The connection that consumes."""
        return self.broker.named("consume")

    def failed(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        """The error of a Deferred that has failed with exactly this kind."""
        error = self.failureResultOf(deferred, kind).value
        self.assertIs(type(error), kind)
        return error

    def outcome_of(self, deferred: Deferred[Any]) -> list[Any]:
        """A list that gets the Deferred's result, however it ends."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        return results

    def calls(self, into: list[Any]) -> Callable[..., None]:
        """A callback that keeps its arguments."""
        return lambda *args: into.append(args)
