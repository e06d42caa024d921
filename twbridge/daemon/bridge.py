"""One instance: its parts put together, started, and stopped in order.

The order of the end: say so on ``/readyz`` and stop listening, stop the plugins, send the clients
away (1001), settle what is unconfirmed, close the link, stop the embedded broker. Each step has a
deadline, so that the end comes whatever the network does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twbridge import bus as channels
from twbridge.amqp import Link
from twbridge.auth import checker
from twbridge.broker import EmbeddedBroker
from twbridge.bus import Bus, State
from twbridge.daemon import topology
from twbridge.daemon.calling import OnDemand
from twbridge.daemon.doors import Doors
from twbridge.daemon.notify import Notifier
from twbridge.daemon.taps import Taps
from twbridge.destinations import parse
from twbridge.dialects import all_dialects
from twbridge.dialects.interfaces import IDialect
from twbridge.hub import Hub
from twbridge.interfaces import IBridgePlugin
from twbridge.plugins import Plugins
from twbridge.policy import Policy
from twbridge.ports import Limits, Services
from twbridge.publishes import Declarer
from twbridge.resends import Resends
from twbridge.settings import Settings
from twbridge.subscriptions.opening import Subscriptions
from twbridge.web.readiness import GRACE, Readiness
from twbridge.wsgi.gateway import Gateway

_log = Logger()

MARGIN = 5.0
"""Seconds that a step of the end has, past what it promises itself; then the next one comes."""


class Bridge:
    """A running instance; plugins get it (``interfaces.Bridge``).

    Args:
        reactor: the clock, and what endpoints need.
        settings: the effective ones.
        link: the way to the broker; the bridge starts and stops it.
        broker: an embedded broker that listens already; the bridge stops it.
        connections: sockets that the process can have, where that is less than the settings say.
        notifier: tells the service manager.
        plugins: those to run.
        dialects: languages beside raw and JSON; two with one subprotocol are a SettingsError.
        on_end: called with the reason when the bridge can't go on.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        link: Link,
        *,
        broker: EmbeddedBroker | None = None,
        connections: int | None = None,
        notifier: Notifier | None = None,
        plugins: Iterable[IBridgePlugin] = (),
        dialects: Iterable[IDialect] = (),
        on_end: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.settings = settings
        self.link = link
        self.bus = Bus(self._first_listener)
        self.reactor = reactor
        self._broker = broker
        self._notifier = notifier or Notifier({})
        self._plugins = Plugins(plugins)
        self._on_end = on_end
        self._stopping = False
        self._waiting: Any = None
        # What is live reaches plugins too; a queue's or a stream's messages are its readers'.
        subscribed = [parse(route.subscribe) for route in settings.wired()]
        live = [destination for destination in subscribed if destination.live]
        self._taps = Taps(self.bus, link, reactor, live, parse(settings.route[0].publish))
        self._hub = Hub(
            link,
            reactor,
            exchange_types={each.name: each.type for each in settings.exchanges()},
            timeout=settings.amqp.timeout,
            on_delivery=self._taps.delivered,
        )
        self._instance = secrets.token_hex(4)
        self._subscriptions = Subscriptions(
            link,
            reactor,
            self._hub,
            instance=self._instance,
            redeclare=topology.Redeclaring(link, settings).redeclare,
        )
        self._declarer = Declarer(link)
        self._calls = OnDemand(link, reactor)
        self._gateway = Gateway(link, reactor)
        self._readiness = Readiness(link, reactor)
        services = self._services()
        self._gate = services.gate
        self._doors = Doors(
            reactor,
            settings,
            services,
            self._gateway,
            all_dialects(
                dialects,
                vhost=link.parameters.vhost,
                body=settings.limits.message,
                prefetch=settings.limits.prefetch,
            ),
            lambda: self._readiness.answer,
            min(settings.limits.connections, connections or settings.limits.connections),
        )
        self._signs_of_life = LoopingCall(self._notifier.alive)
        self._signs_of_life.clock = reactor

    @property
    def ports(self) -> tuple[Any, ...]:
        """The listening ports, in the order of the settings."""
        return self._doors.ports

    def _services(self) -> Services:
        settings = self.settings
        limits = settings.limits
        return Services(
            self._hub,
            self._subscriptions,
            Resends(self.reactor),
            self._declarer,
            self.link,
            Policy(settings.allow, settings.names()),
            instance=self._instance,
            limits=Limits(
                message=limits.message,
                frame=min(limits.frame, limits.message),
                subscriptions=limits.subscriptions,
                calls=limits.calls,
                prefetch=limits.prefetch,
            ),
            calls=self._calls,
            heartbeat=settings.websocket.ping_interval,
            checker=checker(settings, self.reactor, self.link.parameters),
        )

    # -- the beginning

    def listen(self) -> Deferred[None]:
        """Listen; fails with SettingsError where that can't be."""
        return Deferred.fromCoroutine(self._doors.open())

    def start(self) -> None:
        """Connect to the broker, and run the plugins."""
        _log.info("The broker is {broker}", broker=str(self.link.parameters))
        topology.declare(self.link, self.settings)
        self.link.on_ready(partial(self.bus.tell, channels.READY))
        self.link.on_unavailable(partial(self.bus.tell, channels.UNAVAILABLE))
        self.link.on_state(self._link_changed)
        self.bus.enter(State.STARTING)
        self._plugins.start(self)
        self.bus.enter(State.STARTED)
        # A manager that starts others after us wants a bridge that works, but a broker that is
        # away is no reason to kill and restart us, over and over: after a while we are as ready
        # as we get, and /readyz tells the rest.
        self._waiting = self.reactor.callLater(GRACE, self._tell_manager_ready)
        if self._notifier.watchdog is not None:
            self._signs_of_life.start(self._notifier.watchdog)
        self.link.start()

    # -- what happens meanwhile

    def _link_changed(self, state: str) -> None:
        self._doors.link_changed(state)
        if state == "ready":
            self._tell_manager_ready()
        self._notifier.status(f"{state}: {self.link.state_description}")
        if state == "closed" and not self._stopping:
            self._on_end(f"the link is closed: {self.link.state_description}")

    def _tell_manager_ready(self) -> None:
        if self._waiting is not None:
            if self._waiting.active():
                self._waiting.cancel()
            self._waiting = None
            self._notifier.ready(self._readiness.answer[1])

    def _first_listener(self, channel: str) -> None:
        if channel == channels.AMQP2WS:
            self._taps.open(self._hub)

    # -- the end

    def stop(self) -> Deferred[None]:
        """End, in order. Never fails, and fires within the deadlines of its steps."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self._waiting = None
        self._notifier.stopping()
        self._readiness.drain()
        self.bus.enter(State.STOPPING)
        await self._step("stopping to listen", self._doors.stop_listening())
        await self._step("stopping the plugins", self._plugins.stop())
        await self._step("closing the clients' connections", self._doors.close())
        await self._step("ending the calls", self._calls.stop())
        await self._step("ending the requests", self._gateway.stop())
        self._taps.stop()
        self._declarer.stop()
        self._subscriptions.stop()
        self._hub.stop()
        self._gate.stop()
        await self._step("closing the link", self.link.stop(), self.settings.amqp.timeout)
        self._readiness.stop()
        if self._broker is not None:
            await self._step("stopping the embedded broker", self._broker.stop())
        if self._signs_of_life.running:
            self._signs_of_life.stop()
        self.bus.enter(State.STOPPED)

    async def _step(self, name: str, done: Deferred[Any], seconds: float = 0.0) -> None:
        try:
            await done.addTimeout(seconds + MARGIN, self.reactor)
        except Exception:
            _log.failure("{name} went wrong; going on", name=name.capitalize())
