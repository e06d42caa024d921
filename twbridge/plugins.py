"""Finds the plugins of other distributions, starts and stops them."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.failure import Failure

from twbridge.dialects.interfaces import IDialect
from twbridge.interfaces import Bridge, IBridgePlugin


def find() -> list[IBridgePlugin]:
    """All that are installed, in the order of their names.

    A module that can't be imported is logged by Twisted and left out.
    """
    return sorted(getPlugins(IBridgePlugin), key=lambda plugin: str(plugin.name))


def find_dialects() -> list[IDialect]:
    """The dialects that other distributions bring, in the order of their subprotocols."""
    return sorted(getPlugins(IDialect), key=lambda dialect: str(dialect.subprotocol))


class Plugins:
    """The plugins of one bridge. What one of them does wrong is logged and hurts no other.

    Args:
        plugins: those to run.
    """

    _log = Logger()

    def __init__(self, plugins: Iterable[IBridgePlugin]) -> None:
        self._found = tuple(plugins)
        self._running: list[IBridgePlugin] = []

    def start(self, bridge: Bridge) -> None:
        """Start each."""
        for plugin in self._found:
            begun = maybeDeferred(plugin.start, bridge)
            begun.addCallbacks(
                self._started, self._not_started, callbackArgs=(plugin,), errbackArgs=(plugin,)
            )

    def _started(self, _: object, plugin: IBridgePlugin) -> None:
        self._running.append(plugin)
        self._log.info("Plugin {name} runs", name=plugin.name)

    def _not_started(self, failure: Failure, plugin: IBridgePlugin) -> None:
        self._log.failure("Plugin {name} did not start", failure, name=plugin.name)

    def stop(self) -> Deferred[None]:
        """Stop those that run, the last one first. Fires when all have ended; never fails."""
        plugins, self._running = self._running[::-1], []
        ends = []
        for plugin in plugins:
            ends.append(maybeDeferred(plugin.stop).addErrback(self._not_stopped, plugin))
        return DeferredList(ends).addCallback(lambda _: None)

    def _not_stopped(self, failure: Failure, plugin: IBridgePlugin) -> None:
        self._log.failure("Plugin {name} did not stop cleanly", failure, name=plugin.name)
