"""What is to be done at the end of a read from the broker (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from twbridge.ports import ConsumingLink

__all__ = ["Reads"]

_log = Logger()


class Reads:
    """Calls back when a read from the broker has been dealt with.

    What one read brought for a client leaves in one piece. Only those who got something are
    called, however many subscriptions there are.

    Args:
        link: what reads.
    """

    def __init__(self, link: ConsumingLink) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._stop = link.on_read(self._done)

    def then(self, callback: Callable[[], None]) -> None:
        """Call once, at the end of the read that is being dealt with."""
        self._waiting.append(callback)

    def stop(self) -> None:
        """Let the link go."""
        self._stop()

    def _done(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                try:
                    callback()
                except Exception:
                    _log.failure("a subscription broke")
