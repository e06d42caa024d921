"""Plugins of other distributions: what one does wrong hurts no other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twbridge import plugins
from twbridge.interfaces import IBridgePlugin
from twbridge.plugins import Plugins


@implementer(IBridgePlugin)
class FakePlugin:
    """Notes what happens to it; raises or returns what it is told."""

    def __init__(self, name: str, calls: list[str], start: Any = None, stop: Any = None) -> None:
        self.name = name
        self._calls = calls
        self._results = {"start": start, "stop": stop}

    def _do(self, what: str) -> object:
        self._calls.append(f"{what} {self.name}")
        result = self._results[what]
        if isinstance(result, Exception):
            raise result
        return result

    def start(self, bridge: Any) -> object:
        return self._do("start")

    def stop(self) -> object:
        return self._do("stop")


class PluginsTests(SynchronousTestCase):
    """Starting and stopping them."""

    def setUp(self) -> None:
        self.calls: list[str] = []
        self.bridge: Any = object()

    def test_they_stop_in_the_opposite_order(self) -> None:
        running = Plugins([FakePlugin("a", self.calls), FakePlugin("b", self.calls)])
        running.start(self.bridge)
        self.successResultOf(running.stop())
        self.assertEqual(self.calls, ["start a", "start b", "stop b", "stop a"])

    def test_one_that_does_not_start_is_logged_and_not_stopped(self) -> None:
        broken = FakePlugin("a", self.calls, start=ValueError("broken"))
        running = Plugins([broken, FakePlugin("b", self.calls)])
        running.start(self.bridge)
        self.successResultOf(running.stop())
        self.assertEqual(self.calls, ["start a", "start b", "stop b"])
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(str(failure.value), "broken")

    def test_one_that_does_not_stop_cleanly_is_logged_and_stops_no_other(self) -> None:
        broken = FakePlugin("b", self.calls, stop=ValueError("broken"))
        running = Plugins([FakePlugin("a", self.calls), broken])
        running.start(self.bridge)
        self.successResultOf(running.stop())
        self.assertEqual(self.calls[2:], ["stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_the_end_waits_for_one_that_takes_its_time(self) -> None:
        end: Deferred[None] = Deferred()
        running = Plugins([FakePlugin("a", self.calls, stop=end)])
        running.start(self.bridge)
        stopped = running.stop()
        self.assertNoResult(stopped)
        end.callback(None)
        self.successResultOf(stopped)

    def test_without_any_there_is_nothing_to_find(self) -> None:
        self.assertEqual((plugins.find(), plugins.find_dialects()), ([], []))
