"""Plugins of other distributions: what one does wrong hurts no other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twbridge import plugins
from twbridge.bus import AMQP2WS, WS2AMQP, Bus, listener
from twbridge.errors import BadDestination, Unroutable
from twbridge.interfaces import IBridgePlugin, Plugin
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


class Greeter(Plugin):
    """A plugin as the documentation begins them."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @listener(AMQP2WS)
    def see(self, delivery: object) -> None:
        self.seen.append(delivery)


class Slow(Greeter):
    """One that takes its time."""

    name = "another name"

    async def start(self, bridge: Any) -> None:
        await bridge.gate
        super().start(bridge)


class FakeBridge:
    """A bridge with a bus; ``gate`` is what slow ones wait for."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.gate: Deferred[None] = Deferred()


class PluginTests(SynchronousTestCase):
    """``Plugin``: a class to begin with."""

    def setUp(self) -> None:
        self.bridge: Any = FakeBridge()
        self.greeter = Greeter()

    def started(self) -> Plugins:
        running = Plugins([self.greeter])
        running.start(self.bridge)
        return running

    def test_it_is_one_that_is_found_and_has_the_name_of_its_class(self) -> None:
        verifyObject(IBridgePlugin, self.greeter)
        self.assertTrue(IPlugin.providedBy(self.greeter))
        self.assertEqual((self.greeter.name, Slow().name), ("greeter", "another name"))

    def test_its_marked_methods_listen_from_its_start_to_its_stop(self) -> None:
        running = self.started()
        self.bridge.bus.publish(AMQP2WS, 1)
        self.successResultOf(running.stop())
        self.bridge.bus.publish(AMQP2WS, 2)
        self.assertEqual(self.greeter.seen, [1])

    def test_it_may_start_in_a_coroutine(self) -> None:
        self.greeter = Slow()
        running = self.started()
        self.assertFalse(self.bridge.bus.has(AMQP2WS))
        self.bridge.gate.callback(None)
        self.assertTrue(self.bridge.bus.has(AMQP2WS))
        self.successResultOf(running.stop())

    def test_what_it_sends_is_published_and_fires_when_the_broker_has_it(self) -> None:
        self.started()
        sent: list[tuple[object, ...]] = []
        confirm: Deferred[None] = Deferred()

        def publish(*args: object) -> Deferred[None]:
            sent.append(args)
            return confirm

        self.bridge.bus.subscribe(WS2AMQP, lambda *args: None, 1)
        self.bridge.bus.subscribe(WS2AMQP, publish)
        done = self.greeter.send("text")
        self.assertNoResult(done)
        confirm.callback(None)
        self.assertIsNone(self.successResultOf(done))
        confirm = succeed(None)
        self.successResultOf(self.greeter.send(b"bytes", "/topic/a"))
        self.assertEqual(sent, [("text",), (b"bytes", "/topic/a")])

    def test_what_can_not_be_sent_fails(self) -> None:
        self.started()
        end = self.bridge.bus.subscribe(WS2AMQP, lambda body: fail(Unroutable(312, "NO_ROUTE")))
        self.failureResultOf(self.greeter.send("1"), Unroutable)
        end()

        def refuse(body: object) -> None:
            raise BadDestination("nowhere")

        self.bridge.bus.subscribe(WS2AMQP, refuse)
        self.failureResultOf(self.greeter.send("1"), BadDestination)
