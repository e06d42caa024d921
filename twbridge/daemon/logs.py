"""Where log events go, and how they look: lines of text, or one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from twbridge.bus import LOG, Bus, BusError
from twbridge.settings import Log


def observer(
    log: Log,
    twistd: Mapping[str, Any],
    open_file: Callable[[str], IO[Any]] = LogFile.fromFullPath,
) -> ILogObserver | None:
    """The observer for ``[log]`` and twistd's own options.

    Args:
        log: the settings.
        twistd: the options ``logfile``, ``nodaemon``, ``syslog`` and ``logger``.
        open_file: opens ``logfile``; by default, one that is rotated as twistd does.

    Returns:
        None where twistd was told of another one: ``--syslog`` and ``--logger`` come first.
    """
    if twistd.get("syslog") or twistd.get("logger"):
        return None
    name = twistd.get("logfile")
    if name == "-" or (not name and twistd.get("nodaemon")):
        file: IO[Any] = sys.stdout
    else:
        file = open_file(name or "twistd.log")
    make = json_observer if log.format == "json" else textFileLogObserver
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(log.level))
    return FilteringLogObserver(make(file), [predicate])


def json_observer(file: IO[Any]) -> FileLogObserver:
    """Writes one object a line: time, level, namespace, message, and the traceback if any."""
    return FileLogObserver(file, json_line)


def json_line(event: LogEvent) -> str:
    """An event as one line of JSON. Nothing in it can break the line or the encoding."""
    line = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


# No attribute: a listener that is a coroutine takes it along over what it awaits.
_publishing: ContextVar[bool] = ContextVar("twbridge.log", default=False)


@implementer(ILogObserver)
class BusObserver:
    """Publishes every event on the bus, for plugins; costs nothing while none listens.

    Args:
        bus: where to.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __call__(self, event: LogEvent) -> None:
        # What a listener logs, and what Twisted logs of a failing one, does not come back.
        if _publishing.get() or not self._bus.has(LOG):
            return
        token = _publishing.set(True)
        try:
            results: Iterable[Any] = self._bus.publish(LOG, event)
        except BusError as error:
            results = error.results
            for each in error.failures:
                _complain(Failure(each, type(each), each.__traceback__))
        finally:
            _publishing.reset(token)
        for result in results:
            if isinstance(result, Deferred):
                result.addErrback(_complain)


def _complain(failure: Failure) -> None:
    """Say on stderr what can't be logged: it would be told to the listener that failed."""
    print(f"twbridge: a listener on log failed: {failure.getTraceback()}", file=sys.__stderr__)
