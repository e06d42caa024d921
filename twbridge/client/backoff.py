"""How long to wait before the next attempt (pure)."""

from __future__ import annotations

from collections.abc import Callable

from twbridge.client.ports import Limits

__all__ = ["Backoff"]


class Backoff:
    """Full jitter: anything between the floor and a bound that doubles with each failure.

    Args:
        uniform: a random number between two.
        limits: the floor, the cap, and what makes a connection a stable one.
    """

    def __init__(self, uniform: Callable[[float, float], float], limits: Limits) -> None:
        self._uniform = uniform
        self._limits = limits
        self._tries = 0
        self._opened_at: float | None = None
        self._drained: float | None = None

    def delay(self, tries: int) -> float:
        """The seconds to wait after so many failures in a row."""
        floor, cap = self._limits.retry_floor, self._limits.retry_cap
        return self._uniform(floor, min(cap, floor * 2.0 ** min(tries, 30)))

    def opened(self, now: float) -> None:
        """There is a connection."""
        self._opened_at, self._drained = now, None

    def drain(self, seconds: float) -> None:
        """The bridge says when to come back, should this connection end."""
        self._drained = min(max(seconds, 0.0), self._limits.drain_cap)

    def lost(self, now: float) -> float:
        """The connection is gone, or there was none; the seconds to wait."""
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is not None and now - opened_at >= self._limits.stable_seconds:
            self._tries = 0
        self._tries += 1
        drained, self._drained = self._drained, None
        return self.delay(self._tries) if drained is None else drained
