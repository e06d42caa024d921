"""When a queue has not been used for too long: ``x-expires`` (sans-I/O).

Source: https://www.rabbitmq.com/ttl.html#queue-ttl. Used is a queue that has consumers, or that is
declared (passively too) or got from.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Expiry"]

#: Seconds after which the clock is looked at again at the latest.
_LONGEST_WAIT = 86400.0


class Expiry:
    """Calls back once when nothing was used for so long. Begins with the first :meth:`touch`.

    Args:
        after: in seconds.
        in_use: while True it does not expire; :meth:`touch` it when that ends.
        expire: called when it does.
    """

    def __init__(
        self,
        clock: IReactorTime,
        after: float,
        in_use: Callable[[], bool],
        expire: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._after = after
        self._in_use = in_use
        self._expire = expire
        self._until = 0.0
        self._call: IDelayedCall | None = None

    def touch(self) -> None:
        """It was used: the time begins again."""
        self._until = self._clock.seconds() + self._after
        if self._call is None:
            self._wait()

    def stop(self) -> None:
        """Leave nothing to the clock."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wait(self) -> None:
        left = max(0.0, self._until - self._clock.seconds())
        self._call = self._clock.callLater(min(left, _LONGEST_WAIT), self._look)

    def _look(self) -> None:
        self._call = None
        if self._in_use():
            return
        if self._clock.seconds() < self._until:
            self._wait()
        else:
            self._expire()
