"""Plugins of other distributions: what one does wrong hurts no other."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer
from zope.interface.verify import verifyObject

import twisted.plugins
from twbridge import plugins
from twbridge.bus import AMQP2WS, WS2AMQP, Bus, listener
from twbridge.errors import BadDestination, NotReady, Unroutable
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


class Empty:
    """Has nothing that a plugin has."""


class Anonymous:
    """Has no name."""

    def start(self, bridge: Any) -> None:
        pass

    def stop(self) -> None:
        pass


def as_plugin(plugin: object) -> IBridgePlugin:
    """One that says that it is a plugin."""
    directlyProvides(plugin, IBridgePlugin)
    return cast(IBridgePlugin, plugin)


class UnnamedTests(SynchronousTestCase):
    """What other distributions bring without a name."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        globalLogPublisher.addObserver(cast(ILogObserver, self.log))
        self.addCleanup(globalLogPublisher.removeObserver, cast(ILogObserver, self.log))

    def log(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def install(self, source: str) -> None:
        """A distribution's module in ``twisted/plugins/``."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "third_party.py").write_text(dedent(source))
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(folder.resolve())])
        self.addCleanup(sys.modules.pop, "twisted.plugins.third_party", None)

    def test_a_plugin_is_found_and_called_by_the_path_of_its_class(self) -> None:
        self.install("""
            from zope.interface import implementer
            from twbridge.interfaces import IBridgePlugin, Plugin

            @implementer(IBridgePlugin)
            class Nameless:
                pass

            class Zoo(Plugin):
                pass

            zoo, nameless = Zoo(), Nameless()
        """)
        found = [plugins.name_of(each) for each in plugins.find()]
        self.assertEqual(found, ["twisted.plugins.third_party.Nameless", "zoo"])

    def test_a_dialect_is_left_out_and_the_log_says_whose(self) -> None:
        self.install("""
            from twisted.plugin import IPlugin
            from zope.interface import implementer
            from twbridge.dialects.interfaces import IDialect

            @implementer(IDialect, IPlugin)
            class Dialect:
                def __init__(self, **attributes):
                    vars(self).update(attributes)

            class Odd(Dialect):
                @property
                def subprotocol(self):
                    raise ValueError("none yet")

            odd = Odd()
            none, empty, late = Dialect(), Dialect(subprotocol=None), Dialect(subprotocol="z")
            early = Dialect(subprotocol="a")
        """)
        self.assertEqual([each.subprotocol for each in plugins.find_dialects()], ["a", "z"])
        for name, times in (("Odd", 1), ("Dialect", 2)):
            line = f"The dialect twisted.plugins.third_party.{name} has no subprotocol"
            self.assertEqual(sum(line in each for each in self.lines), times, self.lines)

    def test_one_that_runs_has_its_class_in_the_log(self) -> None:
        running = Plugins([as_plugin(Anonymous())])
        running.start(cast(Any, object()))
        self.assertIn(f"Plugin {__name__}.Anonymous runs", self.lines)
        self.successResultOf(running.stop())

    def test_one_without_anything_does_not_start_and_hurts_no_other(self) -> None:
        calls: list[str] = []
        running = Plugins([as_plugin(Empty()), FakePlugin("b", calls)])
        running.start(cast(Any, object()))
        self.successResultOf(running.stop())
        self.assertEqual(calls, ["start b", "stop b"])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertTrue(
            any(f"Plugin {__name__}.Empty did not start" in each for each in self.lines)
        )


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

    def test_what_fails_later_too_is_told_once_and_unhandled_nowhere(self) -> None:
        self.started()
        late: list[Deferred[None]] = []

        def publish(body: object) -> Deferred[None]:
            late.append(Deferred())
            return late[-1]

        def refuse(body: object) -> None:
            raise BadDestination("nowhere")

        self.bridge.bus.subscribe(WS2AMQP, publish, 1)
        self.bridge.bus.subscribe(WS2AMQP, refuse)
        self.bridge.bus.subscribe(WS2AMQP, lambda body: fail(Unroutable(312, "NO_ROUTE")))
        self.failureResultOf(self.greeter.send("1"), BadDestination)
        late.pop().errback(NotReady())
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
