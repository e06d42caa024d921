"""Requests that wait in queues, and nobody for them: they can't be taken back (sans-I/O)."""

from __future__ import annotations

from collections import Counter
from typing import Final

__all__ = ["MOST", "Abandoned"]

#: Of one queue, how many there may be before it gets no more: they take room at the broker, and
#: workers run them in vain.
MOST: Final = 256


class Abandoned:
    """Those whose clients have left before a worker was known to have them."""

    def __init__(self) -> None:
        #: id -> its queue, and when it leaves that by itself, by the clock.
        self._ids: dict[str, tuple[str, float]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, id: str, queue: str, until: float) -> None:
        """One more."""
        self._ids[id] = queue, until
        self._counts[queue] += 1

    def remove(self, id: str) -> None:
        """A worker has it, or no queue; or it was none of these."""
        queue, _ = self._ids.pop(id, ("", 0.0))
        if queue:
            self._counts[queue] -= 1
            if not self._counts[queue]:
                del self._counts[queue]

    def is_full(self, queue: str, now: float) -> bool:
        """Whether a queue gets no more."""
        if self._counts.get(queue, 0) < MOST:
            return False
        self.expire(now)
        return self._counts.get(queue, 0) >= MOST

    def expire(self, now: float) -> None:
        """Forget those that have left their queues."""
        for id in [id for id, (_, until) in self._ids.items() if until <= now]:
            self.remove(id)
