"""One instance, in memory: the order of its beginning and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.fakes import FakeLink
from twbridge import bus as channels
from twbridge.daemon.bridge import MARGIN, Bridge
from twbridge.daemon.notify import Notifier
from twbridge.errors import ConnectionClosed, SettingsError
from twbridge.interfaces import IBridgePlugin
from twbridge.link import topology
from twbridge.link.uri import parse
from twbridge.settings import Allow, Exchange, Listen, Route, Settings
from twbridge.web.readiness import GRACE


class BridgeLink(FakeLink):
    """A link that is started and stopped, and says what happens in a diary."""

    def __init__(self, diary: list[str]) -> None:
        super().__init__("idle")
        self.parameters = parse("amqp://user:sekret@broker")
        self.state_description = "as the test says"
        self.stopped: Deferred[None] = Deferred()
        self.ready: list[Callable[[], object]] = []
        self.unavailable: list[Callable[[Exception], object]] = []
        self._diary = diary

    def on_ready(self, callback: Callable[[], object]) -> Callable[[], None]:
        self.ready.append(callback)
        return lambda: None

    def on_unavailable(self, callback: Callable[[Exception], object]) -> Callable[[], None]:
        self.unavailable.append(callback)
        return lambda: None

    def on_publishing_lost(self, callback: Callable[[], object]) -> Callable[[], None]:
        return lambda: None

    def start(self) -> None:
        self._diary.append("link started")

    def stop(self) -> Deferred[None]:
        self._diary.append("link stopping")
        return self.stopped


class Manager(Notifier):
    """A service manager that writes a diary."""

    def __init__(self, diary: list[str]) -> None:
        super().__init__({})
        self._diary = diary

    def send(self, *assignments: str) -> None:
        self._diary.append(assignments[0])


@implementer(IBridgePlugin)
class DiaryPlugin:
    """A plugin that writes a diary."""

    name = "diary"

    def __init__(self, diary: list[str]) -> None:
        self._diary = diary

    def start(self, bridge: Any) -> None:
        for channel in ("started", "ready", "unavailable", "stopping", "stopped"):
            bridge.bus.subscribe(channel, lambda *_, name=channel: self._diary.append(name))
        self._diary.append("plugin started")

    def stop(self) -> None:
        self._diary.append("plugin stopped")


class BridgeTestCase(SynchronousTestCase):
    """A bridge over a memory reactor and a fake link."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.diary: list[str] = []
        self.ends: list[str] = []
        self.link = BridgeLink(self.diary)

    def bridge(self, settings: Settings | None = None, **options: Any) -> Bridge:
        link: Any = self.link
        return Bridge(
            self.reactor,
            settings or Settings(),
            link,
            notifier=Manager(self.diary),
            plugins=[DiaryPlugin(self.diary)],
            on_end=self.ends.append,
            **options,
        )

    def started(self, settings: Settings | None = None) -> Bridge:
        bridge = self.bridge(settings)
        self.successResultOf(bridge.listen())
        bridge.start()
        return bridge

    def stop(self, bridge: Bridge) -> None:
        stopped = bridge.stop()
        self.link.stopped.callback(None)
        self.successResultOf(stopped)


class BeginningTests(BridgeTestCase):
    """From nothing to ready."""

    def test_it_listens_where_the_settings_say(self) -> None:
        settings = Settings(
            listen=(Listen(endpoint="tcp:1:interface=127.0.0.1"), Listen(endpoint="unix:/tmp/x"))
        )
        bridge = self.bridge(settings)
        self.successResultOf(bridge.listen())
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [1])
        self.assertEqual([server[0] for server in self.reactor.unixServers], ["/tmp/x"])
        self.assertEqual(len(bridge.ports), 2)

    def test_a_listener_that_can_not_be_is_named(self) -> None:
        bridge = self.bridge(Settings(listen=(Listen(), Listen(endpoint="tpc:1"))))
        error = self.failureResultOf(bridge.listen(), SettingsError).value
        self.assertRegex(str(error), r"^listen\[1\].endpoint: 'tpc:1' is not an endpoint")

    def test_the_exchanges_are_declared_those_of_the_broker_never(self) -> None:
        settings = Settings(
            route=(
                Route(publish="/exchange/X/", subscribe="/topic/a"),
                Route(path="/y", publish="/exchange/Y/k", subscribe="/exchange/amq.fanout"),
            ),
            exchange=(Exchange(name="Y", type="fanout", durable=False, arguments={"a": 1}),),
        )
        self.started(settings)
        self.assertEqual(
            self.link.declared,
            [topology.Exchange("Y", "fanout", False, arguments={"a": 1}), topology.Exchange("X")],
        )

    def test_plugins_start_before_the_link_and_hear_of_everything(self) -> None:
        self.started()
        for ready in self.link.ready:
            ready()
        for unavailable in self.link.unavailable:
            unavailable(ConnectionClosed(320, "why"))
        self.assertEqual(
            self.diary, ["plugin started", "started", "link started", "ready", "unavailable"]
        )

    def test_the_manager_hears_ready_when_the_link_is(self) -> None:
        self.started()
        self.link.become("connecting")
        self.assertNotIn("READY=1", self.diary)
        self.link.become("ready")
        self.link.become("ready")
        self.assertEqual(self.diary.count("READY=1"), 1)

    def test_a_broker_that_is_away_does_not_keep_the_manager_waiting_for_ever(self) -> None:
        self.started()
        self.reactor.advance(GRACE - 0.1)
        self.assertNotIn("READY=1", self.diary)
        self.reactor.advance(0.2)
        self.assertEqual(self.diary.count("READY=1"), 1)

    def test_a_listener_on_the_bus_that_fails_is_logged(self) -> None:
        bridge = self.started()
        bridge.bus.subscribe(channels.READY, lambda: 1 / 0)
        for ready in self.link.ready:
            ready()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_deferred_of_a_listener_that_fails_is_logged(self) -> None:
        bridge = self.bridge()
        bridge.bus.subscribe(channels.STARTED, lambda: fail(ValueError("late")))
        self.successResultOf(bridge.listen())
        bridge.start()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_the_bus_knows_where_the_bridge_is(self) -> None:
        bridge = self.bridge()
        states = [str(bridge.bus.state)]
        for channel in ("starting", "started", "stopping", "stopped"):
            bridge.bus.subscribe(channel, lambda: states.append(str(bridge.bus.state)))
        self.successResultOf(bridge.listen())
        bridge.start()
        self.stop(bridge)
        self.assertEqual(states, ["idle", "starting", "started", "stopping", "stopped"])

    def test_a_link_that_has_given_up_ends_the_bridge(self) -> None:
        self.started()
        self.link.become("closed")
        self.assertEqual(self.ends, ["the link is closed: as the test says"])

    def test_rules_make_the_warning_unnecessary(self) -> None:
        self.started(Settings(allow=(Allow(operation="publish", destination="/topic/#"),)))


class EndTests(BridgeTestCase):
    """From ready to nothing."""

    def test_everything_ends_in_order(self) -> None:
        bridge = self.started()
        self.link.become("ready")
        del self.diary[:]
        stopped = bridge.stop()
        self.assertNoResult(stopped)
        self.link.become("closed")
        self.link.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(
            [entry for entry in self.diary if not entry.startswith("STATUS")],
            ["STOPPING=1", "stopping", "plugin stopped", "link stopping", "stopped"],
        )
        self.assertEqual(self.ends, [])

    def test_it_leaves_no_timer(self) -> None:
        bridge = self.started()
        self.stop(bridge)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_step_that_hangs_does_not_keep_the_others(self) -> None:
        bridge = self.started()
        stopped = bridge.stop()
        self.reactor.advance(10 + MARGIN - 0.1)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(self.diary[-1], "stopped")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_it_can_end_before_it_began(self) -> None:
        bridge = self.bridge()
        self.stop(bridge)
