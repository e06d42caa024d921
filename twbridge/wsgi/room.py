"""How many requests a worker fetches (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["AGAIN", "AHEAD", "FAST", "Room", "Sizes"]

#: Seconds that requests take on average, below which more of them are fetched than can run.
FAST: Final = 0.025
#: So many requests are fetched for each lane then.
AHEAD: Final = 2
#: Of how many requests the average is, more or less.
SAMPLES: Final = 8
#: Seconds after some were given back before more are fetched again.
AGAIN: Final = 1.0


class Sizes(Protocol):
    """What fetches them: ``rpc.slots.Slots``."""

    room: int

    def resize(self, room: int) -> None: ...


class Room:
    """Fetches `AHEAD` requests for each lane while the application is fast, else one.

    Args:
        lanes: how many lanes take requests now, and how many requests run on others.
    """

    def __init__(self, lanes: Callable[[], tuple[int, int]]) -> None:
        self.is_eager = False
        #: To be set when it fetches.
        self.slots: Sizes | None = None
        self._lanes = lanes
        self._mean = 2 * FAST
        self._eager_from = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A request has run for so long."""
        self._mean += (seconds - self._mean) / SAMPLES
        if not self.is_eager and self._mean < FAST and now >= self._eager_from:
            self.is_eager = True
            self.grow()

    def grow(self) -> None:
        """There may be more lanes than before."""
        able, others = self._lanes()
        wanted = able * (AHEAD if self.is_eager else 1) + others
        if self.slots is not None and wanted > self.slots.room:
            self.slots.resize(wanted)

    def shrink(self, now: float) -> None:
        """One has waited for too long: fetch no more than can run."""
        self.is_eager = False
        self._eager_from = now + AGAIN
        exact = sum(self._lanes())
        if self.slots is not None and self.slots.room > exact:
            self.slots.resize(exact)
