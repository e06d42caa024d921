"""What ``twistd twbridge`` runs: options, and the service that owns a bridge.

The only place that names the global reactor. Whatever is wrong at start is one line on stderr for
each mistake and exit code 1: no usage text, no traceback. SIGINT and SIGTERM end in order, with
exit code 0.
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from twbridge import plugins
from twbridge.broker import EmbeddedBroker
from twbridge.daemon import layers, listeners, loading, logs
from twbridge.daemon.bridge import Bridge
from twbridge.daemon.notify import Notifier
from twbridge.daemon.signals import Signals
from twbridge.errors import SettingsError
from twbridge.link.uri import parse
from twbridge.publishing import link_of
from twbridge.settings import Settings

RESERVE = 192
"""Open files that are not clients: logs, the broker, listeners, and the lobby of ``census.py``."""
NO_BROKER = (
    "there is no broker: name one with --amqp-url URL (or AMQP_URL), or try twbridge on this "
    "machine with --embedded"
)


def global_reactor() -> Any:
    """The reactor of the process."""
    from twisted.internet import reactor

    return reactor


class Options(usage.Options):
    """The flags of ``twistd twbridge``."""

    synopsis = "[options]"
    longdesc = "Carries messages between WebSocket clients and RabbitMQ; see docs/settings.md."

    optFlags: list[list[str | None]] = [
        [name, None, text]
        for name, (key, text) in layers.FLAGS.items()
        if key == ("embedded", "enabled")
    ]
    optParameters: list[list[str | None]] = [
        [name, None, None, text]
        for name, (key, text) in layers.FLAGS.items()
        if key != ("embedded", "enabled") and not layers.is_list(key[0])
    ] + [["config", None, None, layers.CONFIG_HELP]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        self["listen"].append(endpoint)

    opt_listen.__doc__ = layers.FLAGS["listen"][1]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line; a mistake in it ends the process."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            leave([f"{error} (twistd twbridge --help lists the options)"])

    def parseArgs(self, *args: str) -> None:
        """There are no arguments."""
        if args:
            raise usage.UsageError(f"{args[0]!r} is no option")


def makeService(options: Options) -> BridgeService:
    """Read the settings; a mistake in them ends the process."""
    try:
        settings = loading.load(layers.from_flags(options), os.environ, options["config"]).settings
    except loading.Mistakes as mistakes:
        leave(mistakes.lines)
    amqp = settings.amqp
    if amqp.url is None and amqp.url_file is None and not settings.embedded.enabled:
        leave([NO_BROKER])
    return BridgeService(global_reactor(), settings, options.parent or {})


class BridgeService(Service):
    """Owns a bridge for the time that twistd runs.

    Args:
        reactor: the global one.
        settings: the effective ones.
        twistd: twistd's own options.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, twistd: Mapping[str, Any]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._twistd = twistd
        self._bridge: Bridge | None = None
        self._broker: EmbeddedBroker | None = None
        self._opening: Deferred[None] | None = None
        self._observer: ILogObserver | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Joins the application, and gives it the log observer of the settings."""
        if isinstance(parent, Componentized):
            observer = logs.observer(self._settings.log, self._twistd)
            if observer is not None:
                parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Listens, before twistd gives up its rights. Where that can't be, the process ends."""
        opening = self._opening = Deferred.fromCoroutine(self._open())
        # Most endpoints listen at once; one of a plugin may take its time.
        failure = opening.result if opening.called else None
        if isinstance(failure, Failure):
            opening.addErrback(lambda _: None)
            self._leave_early(failure)

    async def _open(self) -> None:
        settings, reactor = self._settings, self._reactor
        if settings.embedded.enabled:
            parameters = parse(await self._open_broker())
        else:
            found = settings.amqp.parameters()
            assert found is not None, "makeService has checked it"
            parameters = found
        self._bridge = Bridge(
            reactor,
            settings,
            link_of(reactor, settings.amqp, parameters),
            broker=self._broker,
            connections=_affordable_connections(settings.limits.connections),
            notifier=Notifier(os.environ),
            plugins=plugins.find(),
            dialects=plugins.find_dialects(),
            on_end=self._end,
        )
        await self._bridge.listen()

    async def _open_broker(self) -> str:
        self._broker = broker = EmbeddedBroker(self._reactor)
        host, port = "127.0.0.1", None
        if self._settings.embedded.listen is not None:
            host, _, text = self._settings.embedded.listen.rpartition(":")
            host, port = host.strip("[]"), int(text)
        try:
            await broker.listen(host, port)
        except CannotListenError as error:
            raise SettingsError(
                f"embedded.listen: can't listen on {host}:{port}: {listeners.reason(error)}"
            ) from None
        return broker.url

    def startService(self) -> None:
        """Connects to the broker and runs."""
        super().startService()  # type: ignore[no-untyped-call]
        signals = Signals(self._reactor, self._stop, self._tell)
        self._reactor.callWhenRunning(signals.take)
        self._reactor.callWhenRunning(_spare_the_collector)
        if self._opening is not None:
            self._opening.addCallbacks(self._start, self._fail)

    def _start(self, _: None) -> None:
        bridge = self._bridge
        if bridge is not None and self.running:
            self._observer = logs.BusObserver(bridge.bus)
            globalLogPublisher.addObserver(self._observer)
            bridge.start()

    def _stop(self) -> None:
        # A second signal finds the end under way.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _tell(self, channel: str) -> bool:
        bridge = self._bridge
        if bridge is None or not bridge.bus.has(channel):
            return False
        bridge.bus.tell(channel)
        return True

    def stopService(self) -> Deferred[None]:
        """Ends in order: see ``Bridge.stop``. Never fails."""
        super().stopService()  # type: ignore[no-untyped-call]
        bridge = self._bridge
        stopped = bridge.stop() if bridge is not None else Deferred.fromCoroutine(_nothing())
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        if self._observer is not None:
            globalLogPublisher.removeObserver(self._observer)
            self._observer = None
        return result

    def _leave_early(self, failure: Failure) -> NoReturn:
        """End before the reactor runs, with one line.

        A daemon has no stderr any more: there, twistd tells its parent of the exception, and
        that prints it.
        """
        if failure.check(SettingsError) is None or not self._twistd.get("nodaemon"):
            self._log.critical("{error}", error=failure.getErrorMessage())
            failure.raiseException()
        pidfile = self._twistd.get("pidfile")
        if pidfile and os.path.exists(pidfile):
            os.remove(pidfile)
        leave([failure.getErrorMessage()])

    def _fail(self, failure: Failure) -> None:
        self._end(failure.getErrorMessage())

    def _end(self, reason: str) -> None:
        """End while the reactor runs, with exit code 1, so that a service manager starts anew."""
        self._log.critical("Ending: {reason}", reason=reason)
        atexit.register(_exit_with_failure)
        self._stop()


def leave(lines: Iterable[str]) -> NoReturn:
    """Say why on stderr, a line each, and end the process with exit code 1."""
    for line in lines:
        # twistd may have made sys.stderr a part of its log.
        print(f"twbridge: {line}", file=sys.__stderr__)
    raise SystemExit(1)


def _exit_with_failure() -> None:
    # twistd has no way to end with a code; by now all that it does is done.
    sys.stdout.flush()
    os._exit(1)


def _spare_the_collector() -> None:
    """Look for cycles less often: messages make none, but each counts as an allocation.

    It was a quarter of the processor's time under load.
    """
    gc.collect()
    gc.freeze()  # what is there now stays
    gc.set_threshold(20_000, 20, 50)


def _affordable_connections(wanted: int) -> int:
    """How many clients fit into the open files of this process, raised as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + RESERVE
    if soft != resource.RLIM_INFINITY and soft < need:
        raised = need if hard == resource.RLIM_INFINITY else min(need, hard)
        with suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= need:
        return wanted
    affordable = max(1, soft - RESERVE)
    Logger().info(
        "limits.connections is {now}: the process may open {files} files",
        now=affordable,
        files=soft,
    )
    return affordable


async def _nothing() -> None:
    pass
