"""Whether this instance should be given clients: the truth behind ``/readyz``.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

GRACE: Final = 15.0

# A blocked link still delivers, and publishers are told: better than no instance at all.
_CONNECTED: Final = ("ready", "blocked")


class ILinkState(Protocol):
    """What readiness needs to know of the link."""

    @property
    def state(self) -> str:
        """One of idle, connecting, ready, blocked, closing, closed."""

    @property
    def state_description(self) -> str:
        """Why, in words that may be shown."""

    def on_state(self, callback: Callable[[str], None], /) -> Callable[[], None]:
        """Calls back with each new state; returns what ends that."""


class Readiness:
    """Follows the link, and the draining.

    Ready means: the link has been up once, it is up or has been away for no longer than the
    grace period, and nobody drains the instance. A broker that restarts hence does not empty
    every load balancer at once.

    Args:
        link: the link to follow.
        clock: tells how long it has been away.
        grace: seconds.
    """

    def __init__(self, link: ILinkState, clock: IReactorTime, grace: float = GRACE) -> None:
        self._link = link
        self._clock = clock
        self._grace = grace
        self._was_ready = False
        self._away_since: float | None = None
        self._draining = False
        self._follow(link.state)
        self.stop = link.on_state(self._follow)

    def _follow(self, state: str) -> None:
        if state in _CONNECTED:
            self._was_ready = True
            self._away_since = None
        elif self._was_ready and self._away_since is None:
            self._away_since = self._clock.seconds()

    def drain(self) -> None:
        """From now on the instance is not ready: it lets its clients go and takes no new ones."""
        self._draining = True

    @property
    def answer(self) -> tuple[bool, str]:
        """Ready or not, and why, in one line that may be shown."""
        if self._draining:
            return False, "draining"
        if self._link.state == "ready":
            return True, "ready"
        why = " ".join(self._link.state_description.split())
        if self._link.state in _CONNECTED:
            return True, f"ready, but {why}"
        if self._away_since is None:
            return False, f"waiting for the broker: {why}"
        away = self._clock.seconds() - self._away_since
        if away <= self._grace:
            return True, f"ready, but the broker is away: {why}"
        return False, f"the broker has been away for {away:.0f} s: {why}"
