"""What the process does on signals: SIGINT and SIGTERM end it, others go to the bus."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from twbridge.bus import SIGHUP, SIGUSR1, SIGUSR2

ENDING = ("SIGINT", "SIGTERM")
TOLD = (SIGHUP, SIGUSR1, SIGUSR2)

_log = Logger()


class Signals:
    """The process's signals, once `take` has been called.

    A signal of ``TOLD`` that nobody listens for ends nothing and is logged; but SIGHUP ends a
    bridge that runs in the foreground of a terminal: its window was closed.

    Args:
        reactor: calls happen in its thread.
        end: ends the process in order.
        tell: tells the listeners of a channel; False where there are none.
        terminal: whether stdin is one, at the start.
    """

    def __init__(
        self,
        reactor: Any,
        end: Callable[[], object],
        tell: Callable[[str], bool],
        terminal: Callable[[], bool] = lambda: os.isatty(0),
    ) -> None:
        self._reactor = reactor
        self._end = end
        self._tell = tell
        self._terminal = terminal
        self._ends_on_hangup = False

    def take(self) -> None:
        """From now on. The reactor's own way with SIGINT and SIGTERM ends by the signal."""
        # Under nohup it is ignored.
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._ends_on_hangup = self._terminal() and not ignored
        for name in (*ENDING, *TOLD):
            signal.signal(getattr(signal, name), self._signalled)

    def came(self, name: str) -> None:
        """A signal came; in the reactor's thread."""
        if name in ENDING:
            self._end()
        elif self._tell(name):
            _log.info("{signal}: the listeners on the bus were called", signal=name)
        elif name == SIGHUP and self._ends_on_hangup:
            self._end()
        else:
            _log.info("{signal}: nobody listens for it", signal=name)

    def _signalled(self, number: int, _frame: object) -> None:
        # Between two instructions of whatever runs: nothing else may be done here.
        self._reactor.callFromThread(self.came, signal.Signals(number).name)
