"""Words to the log about what others say wrong: not one for each (sans-I/O)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

__all__ = ["Complaints"]

_log = Logger()

#: Seconds between two words.
_QUIET: Final = 60.0


class Complaints:
    """Writes the first of them, and then one in a minute that says how many there were.

    Args:
        seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._count = 0
        self._quiet_until = -math.inf

    def add(self, text: str) -> None:
        """One more."""
        self._count += 1
        now = self._seconds()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _QUIET
        count, self._count = self._count, 0
        _log.warn("WSGI workers: {count} complaints, the last: {text}", count=count, text=text)
