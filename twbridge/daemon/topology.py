"""What the settings have the broker hold: declared at start, and again after each reconnect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.link.topology import Exchange, Queue
from twbridge.settings import Settings, Stream

__all__ = ["declare", "redeclare"]

_log = Logger()


class _Link(Protocol):
    def declare(
        self, what: Exchange | Queue, bindings: Iterable[tuple[str, str]] = ()
    ) -> Deferred[None]: ...


def declare(link: _Link, settings: Settings) -> None:
    """Declare exchanges and streams. What the broker refuses is logged, and hurts nothing else.

    Exchanges come first: streams are bound to them.
    """
    wanted = [
        Exchange(each.name, each.type, each.durable, arguments=each.arguments)
        for each in settings.exchanges()
    ]
    # Of these the type isn't known: where they are there already, the refusal is harmless.
    wanted += [Exchange(name) for name in settings.unlisted_exchanges()]
    for exchange in wanted:
        link.declare(exchange).addErrback(_refused, f"exchange {exchange.name}")
    for stream in settings.stream:
        _declare_stream(link, stream)


def redeclare(link: _Link, settings: Settings, name: str) -> None:
    """Declare a stream again that somebody has deleted, if it is one of the settings."""
    for stream in settings.stream:
        if stream.name == name:
            _declare_stream(link, stream)


def _declare_stream(link: _Link, stream: Stream) -> None:
    declared = link.declare(_queue(stream), stream.bound_to())
    declared.addErrback(_refused, f"stream {stream.name}")


def _queue(stream: Stream) -> Queue:
    return Queue(
        stream.name, durable=True, exclusive=False, auto_delete=False, arguments=stream.arguments
    )


def _refused(failure: Failure, what: str) -> None:
    _log.error("The broker refused the {what}: {error}", what=what, error=str(failure.value))
