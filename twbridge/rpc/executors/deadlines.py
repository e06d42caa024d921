"""What is to happen at a time, cheap for thousands that mostly never come (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

__all__ = ["STEP", "Deadlines"]

_log = Logger()

#: Seconds that a deadline may be late: those within one step share one timer.
STEP: Final = 0.05

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Hands over what is due, never early and at most `STEP` late.

    Args:
        clock: an ``IReactorTime``.
        due: called with each. What it raises is logged, and keeps nothing else from its time.
    """

    def __init__(self, clock: Any, due: Callable[[T], object]) -> None:
        self._clock = clock
        self._due = due
        self._steps: dict[int, set[T]] = {}
        self._order: list[int] = []
        self._timer: IDelayedCall | None = None
        self._at = 0

    def add(self, item: T, when: float) -> int:
        """Hand over ``item`` when the clock is at ``when``. The number is for `drop`."""
        step = int(when / STEP) + 1
        items = self._steps.get(step)
        if items is None:
            self._steps[step] = {item}
            heappush(self._order, step)
            self._set_timer()
        else:
            items.add(item)
        return step

    def drop(self, item: T, step: int) -> None:
        """Forget it."""
        items = self._steps.get(step)
        if items is not None:
            items.discard(item)

    def stop(self) -> None:
        """Forget all."""
        self._steps.clear()
        self._order.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        first = self._order[0] if self._order else 0
        if self._timer is not None:
            if self._at == first:
                return
            self._timer.cancel()
            self._timer = None
        if self._order:
            self._at = first
            wait = max(0.0, first * STEP - self._clock.seconds())
            self._timer = self._clock.callLater(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.seconds() + 1e-6
        try:
            while self._order and self._order[0] * STEP <= now:
                for item in self._steps.pop(heappop(self._order)):
                    self._hand_over(item)
        finally:
            self._set_timer()

    def _hand_over(self, item: T) -> None:
        try:
            self._due(item)
        except Exception:
            _log.failure("What is due could not be carried out")
