"""What the settings have the broker hold: declared at start, and again after each reconnect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.link.topology import Exchange, Queue
from twbridge.settings import Settings, Stream

__all__ = ["Redeclaring", "declare"]

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
        _declare_stream(link, stream).addErrback(_refused, f"stream {stream.name}")


class Redeclaring:
    """Declares streams of the settings again that somebody has deleted.

    All readers of a stream look for it again and again, at the same time: it is declared once for
    all of them, and a refusal is logged once, until the broker says something else.

    Args:
        link: the way to the broker.
        settings: those with the streams.
    """

    def __init__(self, link: _Link, settings: Settings) -> None:
        self._link = link
        self._streams = {stream.name: stream for stream in settings.stream}
        self._under_way: set[str] = set()
        self._complaints: dict[str, str] = {}

    def redeclare(self, name: str) -> None:
        """Declare a stream, if it is one of the settings and is not being declared just now."""
        stream = self._streams.get(name)
        if stream is None or name in self._under_way:
            return
        self._under_way.add(name)
        declared = _declare_stream(self._link, stream)
        declared.addCallbacks(self._declared, self._refused, (name,), errbackArgs=(name,))

    def _declared(self, _: None, name: str) -> None:
        self._under_way.discard(name)
        self._complaints.pop(name, None)

    def _refused(self, failure: Failure, name: str) -> None:
        self._under_way.discard(name)
        why = str(failure.value)
        if self._complaints.get(name) != why:
            self._complaints[name] = why
            _refused(failure, f"stream {name}")


def _declare_stream(link: _Link, stream: Stream) -> Deferred[None]:
    return link.declare(_queue(stream), stream.bound_to())


def _queue(stream: Stream) -> Queue:
    return Queue(
        stream.name, durable=True, exclusive=False, auto_delete=False, arguments=stream.arguments
    )


def _refused(failure: Failure, what: str) -> None:
    _log.error("The broker refused the {what}: {error}", what=what, error=str(failure.value))
