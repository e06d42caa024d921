"""Pings and deadlines of many connections with one coarse timer (sans-I/O).

A timer for each connection costs memory and, at thousands of connections, time. All waits of a
kind are of the same length here, so a dict in order of insertion is in order of time too: a
sweep a second looks at those that are due and at no others.

::

    quiet --- silent for the interval: ping ---> asked --- still silent ---> dropped
      '-- heard: quiet                             '-- heard: rested, the interval's rest
    rested --- as quiet
    closing --- not gone at the deadline ---> dropped
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

RESOLUTION: Final = 1.0
"""Seconds between two sweeps: how late a ping or a drop may be."""


class Kept(Protocol):
    """A connection, as seen from here.

    Attributes:
        heard: the connection sets it whenever its peer gives a sign of life.
        deaf: it does not read at the moment, so that there is nothing to be heard.
    """

    heard: bool

    @property
    def deaf(self) -> bool: ...

    def ping(self) -> None:
        """Ask for a sign of life."""

    def drop(self, why: str) -> None:
        """End the connection at once, without a closing handshake."""


class Keepalive:
    """Notices peers that are gone, and those that do not let go.

    Args:
        clock: the time.
        interval: seconds of silence after which a peer is pinged.
        timeout: seconds it has to answer.
        close_timeout: seconds for a connection to end once it was told to.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, *, interval: float, timeout: float, close_timeout: float
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._timeout = timeout
        self._close_timeout = close_timeout
        # What is left of the interval when the answer to a ping is looked for.
        self._rest = max(interval - timeout, 0.0)
        # Each maps a connection to the time at which it is due.
        self._quiet: dict[Kept, float] = {}
        self._asked: dict[Kept, float] = {}
        self._rested: dict[Kept, float] = {}
        self._closing: dict[Kept, float] = {}
        self._call: IDelayedCall | None = None

    def add(self, connection: Kept) -> None:
        """Watches an open connection."""
        self._quiet[connection] = self._clock.seconds() + self._interval
        self._run()

    def closing(self, connection: Kept) -> None:
        """The connection was told to close: no pings any more, but a deadline."""
        if connection not in self._closing:
            self._forget(connection)
            self._closing[connection] = self._clock.seconds() + self._close_timeout
            self._run()

    def remove(self, connection: Kept) -> None:
        """The connection is gone."""
        self._forget(connection)
        self._closing.pop(connection, None)
        if self._call is not None and not self._busy:
            self._call.cancel()
            self._call = None

    def _forget(self, connection: Kept) -> None:
        for waiting in (self._quiet, self._asked, self._rested):
            waiting.pop(connection, None)

    @property
    def _busy(self) -> bool:
        return bool(self._quiet or self._asked or self._rested or self._closing)

    def _run(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(RESOLUTION, self._sweep)

    def _sweep(self) -> None:
        self._call = None
        now = self._clock.seconds()
        try:
            for connection in _due(self._closing, now):
                connection.drop("it did not close in time")
            for connection in _due(self._asked, now):
                self._answered(connection, now)
            for waiting in (self._rested, self._quiet):
                for connection in _due(waiting, now):
                    self._ask(connection, now)
        except Exception:
            self._log.failure("A sweep over the connections failed")
        if self._busy:
            self._run()

    def _answered(self, connection: Kept, now: float) -> None:
        if connection.heard or connection.deaf:
            connection.heard = False
            self._rested[connection] = now + self._rest
        else:
            connection.drop("it did not answer a ping in time")

    def _ask(self, connection: Kept, now: float) -> None:
        if connection.heard:
            connection.heard = False
            self._quiet[connection] = now + self._interval
            return
        # To a deaf one too: writing is how a socket that is not read learns of its end.
        connection.ping()
        self._asked[connection] = now + self._timeout


def _due(waiting: dict[Kept, float], now: float) -> Iterator[Kept]:
    """Takes out those that are due; others may come and go meanwhile."""
    while waiting:
        connection, due = next(iter(waiting.items()))
        if due > now:
            return
        del waiting[connection]
        yield connection
