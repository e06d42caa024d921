"""Finds the plugins of other distributions, starts and stops them."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.failure import Failure

from twbridge.dialects.interfaces import IDialect
from twbridge.interfaces import Bridge, IBridgePlugin

_log = Logger()


def find() -> list[IBridgePlugin]:
    """All that are installed, in the order of their names.

    A module that can't be imported is logged by Twisted and left out.
    """
    return sorted(getPlugins(IBridgePlugin), key=name_of)


def find_dialects() -> list[IDialect]:
    """The dialects that other distributions bring, in the order of their subprotocols.

    One that has none is logged with the path of its class, and left out.
    """
    return sorted(filter(_is_named, getPlugins(IDialect)), key=lambda each: str(each.subprotocol))


def name_of(plugin: IBridgePlugin) -> str:
    """What the log calls a plugin: its name, or the path of its class, ``module.Class``."""
    return _text(plugin, "name") or _path(plugin)


def _is_named(dialect: IDialect) -> bool:
    named = bool(_text(dialect, "subprotocol"))
    if not named:
        _log.error("The dialect {path} has no subprotocol: nobody speaks it", path=_path(dialect))
    return named


def _text(found: object, attribute: str) -> str:
    """An attribute of an object of somebody else; empty where it has none that is a text."""
    try:
        value = getattr(found, attribute, None)
    except Exception:
        return ""
    return value if isinstance(value, str) else ""


def _path(found: object) -> str:
    """Which module of a distribution an object is of."""
    kind = found if isinstance(found, type) else type(found)
    return f"{kind.__module__}.{kind.__qualname__}"


class Plugins:
    """The plugins of one bridge. What one of them does wrong is logged and hurts no other.

    Args:
        plugins: those to run.
    """

    def __init__(self, plugins: Iterable[IBridgePlugin]) -> None:
        self._found = tuple(plugins)
        self._running: list[IBridgePlugin] = []

    def start(self, bridge: Bridge) -> None:
        """Start each."""
        for plugin in self._found:
            begun = maybeDeferred(_start, plugin, bridge)
            begun.addCallbacks(
                self._started, self._not_started, callbackArgs=(plugin,), errbackArgs=(plugin,)
            )

    def _started(self, _: object, plugin: IBridgePlugin) -> None:
        self._running.append(plugin)
        _log.info("Plugin {name} runs", name=name_of(plugin))

    def _not_started(self, failure: Failure, plugin: IBridgePlugin) -> None:
        _log.failure("Plugin {name} did not start", failure, name=name_of(plugin))

    def stop(self) -> Deferred[None]:
        """Stop those that run, the last one first. Fires when all have ended; never fails."""
        plugins, self._running = self._running[::-1], []
        ends = []
        for plugin in plugins:
            ends.append(maybeDeferred(_stop, plugin).addErrback(self._not_stopped, plugin))
        return DeferredList(ends).addCallback(lambda _: None)

    def _not_stopped(self, failure: Failure, plugin: IBridgePlugin) -> None:
        _log.failure("Plugin {name} did not stop cleanly", failure, name=name_of(plugin))


# Functions: an object may lack these methods, and that is its own failure too.
def _start(plugin: IBridgePlugin, bridge: Bridge) -> object:
    return plugin.start(bridge)


def _stop(plugin: IBridgePlugin) -> object:
    return plugin.stop()
