"""A caller, a worker of a few lines and the embedded broker, all in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.embedded import Network
from tests.rpc.fake_worker import FakeWorker
from twbridge.amqp import Link, LinkOptions, parse
from twbridge.rpc.caller import Caller

__all__ = ["CallerCase"]


class CallerCase(SynchronousTestCase):
    """Tests without a socket or a sleep; everything is stopped at the end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self._links: list[Link] = []
        self._callers: list[Caller] = []
        self.addCleanup(self._end)

    def _end(self) -> None:
        stopped: list[Deferred[None]] = [each.stop() for each in self._callers]
        self.network.pump()
        stopped += [link.stop() for link in self._links]
        self.network.advance(15)
        for each in stopped:
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual([each for each in self.clock.getDelayedCalls() if not _brokers(each)], [])
        self.assertEqual(
            [name for name in self.network.broker.vhost.queues if name.startswith("amq.")], []
        )

    def link(self, started: bool = True, **options: Any) -> Link:
        link = Link(
            self.clock,
            parse("amqp://guest:guest@localhost"),
            options=LinkOptions(**options),
            connect=self.network.endpoint,
            random=lambda: 0.5,
        )
        self._links.append(link)
        if started:
            link.start()
            self.network.pump()
        return link

    def caller(self, link: Link | None = None, started: bool = True, **options: Any) -> Caller:
        caller = Caller(link or self.link(), reactor=self.clock, **options)
        self._callers.append(caller)
        if started:
            self.result(caller.start())
        return caller

    def worker(self, *names: str, listen: bool = True) -> FakeWorker:
        """One that serves nothing yet; the queues of ``names`` are there."""
        worker = FakeWorker(self.link())
        if listen:
            self.do(worker.listen())
        self.do(worker.declare(*names))
        return worker

    def do(self, coroutine: Any) -> Any:
        return self.result(ensureDeferred(coroutine))

    def result(self, deferred: Deferred[Any]) -> Any:
        self.network.pump()
        return self.successResultOf(deferred)

    def error(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        self.network.pump()
        return self.failureResultOf(deferred, kind).value

    def restart(self, seconds: float = 5.0) -> None:
        """The broker closes all connections; they come back."""
        self.network.broker.close_connections("restart")
        self.network.advance(seconds)


def _brokers(delayed: Any) -> bool:
    """Whether it is the broker that waits: it has messages that expire."""
    return "twbridge.broker" in type(getattr(delayed.func, "__self__", None)).__module__
