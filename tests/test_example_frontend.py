"""``examples/frontend``: how its workers end."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase


def load(name: str) -> ModuleType:
    """A module, which is no part of any package."""
    path = Path(__file__).parent.parent / "examples" / "frontend" / f"{name}.py"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Processes(Clock):
    """A reactor whose processes end when they are killed, and not before."""

    def __init__(self) -> None:
        super().__init__()
        self.signals: list[str] = []
        self.protocol: Any = None

    def spawnProcess(self, protocol: Any, *_: object, **__: object) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        if "KILL" in self.signals:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self) -> None:
        """It is gone."""
        self.protocol.processEnded(Failure(ProcessDone(0)))


class ChildTests(SynchronousTestCase):
    """A worker of the example."""

    def setUp(self) -> None:
        self.reactor = Processes()
        self.said: list[str] = []
        self.child: Any = load("children").Child("worker", on_end=self.said.append)

    def test_one_that_does_not_end_in_time_is_killed(self) -> None:
        self.child.start(self.reactor, "amqp://localhost")
        stopped = self.child.stop()
        self.reactor.advance(4.5)
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.signals, ["TERM", "KILL"])
        self.assertNoResult(stopped)
        self.child.kill()
        self.reactor.end()
        self.successResultOf(stopped)
        self.assertEqual(self.said, [])

    def test_one_that_ends_leaves_nothing_behind(self) -> None:
        self.child.start(self.reactor, "amqp://localhost")
        stopped = self.child.stop()
        self.reactor.end()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.child.kill()
        self.assertEqual(self.reactor.signals, ["TERM"])

    def test_one_that_was_killed_before_it_was_stopped_needs_no_stop(self) -> None:
        self.child.start(self.reactor, "amqp://localhost")
        self.child.kill()
        self.reactor.end()
        self.assertEqual(self.said, ["twbridge worker has ended"])
        self.successResultOf(self.child.stop())
