"""When the messages of a queue expire (sans-I/O).

Source: https://www.rabbitmq.com/ttl.html. Only the head of a queue is ever looked at, so a message
stays, and is counted, as long as one before it does.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.broker.messages import Entry, Message

__all__ = ["Lifetimes"]

#: Seconds after which the clock is looked at again at the latest.
_LONGEST_WAIT = 86400.0


class Lifetimes:
    """Tells when messages expire, and calls back when the head of the queue does.

    Args:
        ttl: ``x-message-ttl`` of the queue in milliseconds, or None.
        on_due: called when the head that is watched has expired.
    """

    def __init__(self, clock: IReactorTime, ttl: int | None, on_due: Callable[[], object]) -> None:
        self._clock = clock
        self._ttl = ttl
        self._on_due = on_due
        self._call: IDelayedCall | None = None

    def end_of(self, message: Message, at_least: int = 0) -> float | None:
        """When a message that comes now expires: its own time or the queue's, the shorter one.

        Args:
            at_least: milliseconds.
        """
        given = [ttl for ttl in (self._ttl, message.ttl) if ttl is not None]
        if not given:
            return None
        return self._clock.seconds() + max(at_least, min(given)) / 1000

    def is_over(self, entry: Entry) -> bool:
        """Whether it has expired."""
        return entry.expires is not None and entry.expires <= self._clock.seconds()

    def watch(self, head: Entry) -> None:
        """Call back when this one has expired, or earlier."""
        if head.expires is None:
            return
        wait = min(max(0.0, head.expires - self._clock.seconds()), _LONGEST_WAIT)
        if self._call is not None:
            if self._call.getTime() <= self._clock.seconds() + wait:
                return
            self._call.cancel()
        self._call = self._clock.callLater(wait, self._due)

    def stop(self) -> None:
        """Leave nothing to the clock."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _due(self) -> None:
        self._call = None
        self._on_due()
