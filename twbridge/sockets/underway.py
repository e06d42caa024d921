"""The relayed requests that are under way, and their end (sans-I/O)."""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["CLOSE_SECONDS", "UnderWay"]

CLOSE_SECONDS: Final = 3.0
"""What they have for their answers when the bridge stops."""


class _Leaving(Protocol):
    def send_away(self) -> None:
        """There will be no better answer."""


class UnderWay:
    """All of one listener.

    Args:
        clock: the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._all: set[_Leaving] = set()
        self._closing: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, relay: _Leaving) -> None:
        """One more."""
        self._all.add(relay)

    def discard(self, relay: _Leaving) -> None:
        """One less, where it was among them."""
        self._all.discard(relay)
        if self._closing is not None and not self._all and not self._closing.called:
            self._closing.callback(None)

    def close_all(self) -> Deferred[None]:
        """Waits for their answers.

        Returns:
            Fires after ``CLOSE_SECONDS`` at the latest: the rest is sent away.
        """
        done: Deferred[None] = Deferred()
        self._closing = done
        if not self._all:
            done.callback(None)
            return done
        give_up = self._clock.callLater(CLOSE_SECONDS, self._give_up)
        return done.addBoth(lambda _: give_up.cancel() if give_up.active() else None)

    def _give_up(self) -> None:
        for relay in list(self._all):
            relay.send_away()
