"""A connection that comes back: connect, log in, prepare, wait for its end, and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twbridge.errors import ConnectionClosed
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.uri import Parameters

_log = Logger()

#: Seconds of the first back-off; it doubles from there.
FIRST_DELAY = 0.2
#: How much longer the wait is when the broker refused us: nothing changes there in seconds.
REFUSED_FACTOR = 4
_REFUSALS = (403, 530)  # a wrong password or a missing permission, no such virtual host


class Owner(Protocol):
    """Who keeps the line, and is told about it."""

    async def prepare(self, line: Line, connection: Connection) -> None:
        """Make a new connection ready, before ``line_up``."""

    def line_up(self, line: Line, connection: Connection) -> None:
        """The line is usable."""

    def line_down(self, line: Line, error: Exception) -> None:
        """The line was lost, or an attempt failed; it tries again."""

    def line_given_up(self, line: Line, error: Exception) -> None:
        """``connection_attempts`` failed in a row; nothing more is tried."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How to come back.

    Args:
        cap: the longest wait in seconds; a wait is a random part of it (full jitter).
        attempts: failures in a row after which to give up; 0: never.
    """

    cap: float = 4.0
    attempts: int = 0


class Line:
    """One reconnecting connection.

    Args:
        clock: IReactorTime.
        parameters: the hosts are tried in turn, in the URL's order.
        connect: makes the endpoint of (parameters, host, port).
        random: gives a number from 0 to 1.
        name: what the broker's management shows.
    """

    def __init__(
        self,
        clock: Any,
        parameters: Parameters,
        connect: Callable[[Parameters, str, int], IStreamClientEndpoint],
        retry: Retry,
        random: Callable[[], float],
        name: str,
        owner: Owner,
    ) -> None:
        self.name = name
        self.connection: Connection | None = None
        self._clock = clock
        self._parameters = parameters
        self._endpoint = connect
        self._retry = retry
        self._random = random
        self._owner = owner
        self._turn = 0
        self._stopped = True
        self._loop: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to connect. What happens is told to the owner."""
        self._stopped = False
        self._loop = Deferred.fromCoroutine(self._keep())
        self._loop.addErrback(self._ended)

    async def stop(self) -> None:
        """Close the connection in order, or give up the attempt under way."""
        # The flag for a loop that runs now, up the stack; the cancel for one that waits.
        self._stopped = True
        connection, self.connection = self.connection, None
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
        if connection is not None:
            await connection.shutdown()

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            _log.failure("The {name} line broke", failure, name=self.name)
            self._owner.line_given_up(self, failure.value)

    async def _keep(self) -> None:
        failures = 0
        while not self._stopped:
            try:
                connection, lost = await self._connect()
            except CancelledError:
                raise
            except Exception as error:
                if self._stopped:
                    return  # an endpoint may make another error of a cancellation
                problem = error
                failures += 1
                self._turn += 1
                if self._retry.attempts and failures >= self._retry.attempts:
                    self._owner.line_given_up(self, error)
                    return
            else:
                if self._stopped:
                    await connection.shutdown()
                    return
                since = self._clock.seconds()
                self.connection = connection
                self._owner.line_up(self, connection)
                if self._stopped:
                    return
                problem = await lost
                self.connection = None
                stable = self._clock.seconds() - since > self._retry.cap
                failures = 0 if stable else failures + 1
            self._owner.line_down(self, problem)
            if self._stopped:
                return
            await deferLater(self._clock, self._delay(failures, problem))

    async def _connect(self) -> tuple[Connection, Deferred[ConnectionClosed]]:
        host, port = self._parameters.hosts[self._turn % len(self._parameters.hosts)]
        endpoint = self._endpoint(self._parameters, host, port)
        factory = ConnectionFactory(self._clock, self._parameters, self.name)
        connection: Any = await endpoint.connect(factory)
        lost: Deferred[ConnectionClosed] = Deferred()
        connection.on_lost = lost.callback
        try:
            await connection.login()
            await self._owner.prepare(self, connection)
            if connection.lost is not None:
                raise connection.lost
        except Exception as error:
            connection.fail(
                ConnectionClosed(0, str(error)), abort=isinstance(error, CancelledError)
            )
            raise
        return connection, lost

    def _delay(self, failures: int, problem: Exception) -> float:
        """Full jitter: none after the loss of a good connection, then up to the cap."""
        if isinstance(problem, ConnectionClosed) and problem.reply_code in _REFUSALS:
            return self._retry.cap * REFUSED_FACTOR * (0.5 + self._random() / 2)
        if not failures:
            return 0.0
        return self._random() * min(self._retry.cap, FIRST_DELAY * 2.0 ** min(failures, 32))
