"""Looks at requests, again and again, while there are any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["IDLE", "SWEEP", "Sweeps"]

_log = Logger()

#: Seconds between looks.
SWEEP: Final = 0.015
#: Looks in vain, one after the other, before there are no more until the next request.
IDLE: Final = 60


class Sweeps:
    """One timer for all requests: one of each would cost more than the fast ones themselves.

    Args:
        clock: IReactorTime.
        look: looks at all; whether there were any.
    """

    def __init__(self, clock: Any, look: Callable[[], bool]) -> None:
        self._look = look
        self._calls = LoopingCall(self._sweep)
        self._calls.clock = clock
        self._in_vain = 0

    @property
    def running(self) -> bool:
        """Whether it looks."""
        return self._calls.running

    def wake(self) -> None:
        """There is a request: look from now on."""
        self._in_vain = 0
        if not self._calls.running:
            self._calls.start(SWEEP, now=False).addErrback(_broke)

    def stop(self) -> None:
        """Look no more."""
        if self._calls.running:
            self._calls.stop()

    def _sweep(self) -> None:
        self._in_vain = 0 if self._look() else self._in_vain + 1
        if self._in_vain >= IDLE:
            self._calls.stop()


def _broke(failure: Failure) -> None:
    _log.failure("Looking at the requests failed; the next one begins it again", failure)
