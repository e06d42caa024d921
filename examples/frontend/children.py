"""Commands of twbridge as processes that end with this one, however it ends (Linux)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

# PR_SET_PDEATHSIG of prctl(2) has the kernel end it with its parent. In a session of its own it
# is not reached by Ctrl-C, which a terminal sends to all: its parent tells it to end.
_TIED = """
import ctypes, os, signal, sys
os.setsid()
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, "-m", "twbridge", *sys.argv[2:]])
"""


#: Seconds in which one has to end, which is more than its --drain. Then it is killed.
GRACE = 5.0


class Child(ProcessProtocol):
    """A worker.

    Args:
        arguments: of ``twbridge``: ``worker tasks.py``.
        on_end: called with why, when it ends and nobody has stopped it.

    Attributes:
        serves: fires when it says so.
    """

    def __init__(self, *arguments: str, on_end: Callable[[str], None]) -> None:
        self.serves: Deferred[None] = Deferred()
        self._arguments = arguments
        self._on_end = on_end
        self._stopped: Deferred[None] | None = None
        self._said = b""
        self._reactor: Any = None
        self._timer: IDelayedCall | None = None

    def start(self, reactor: Any, amqp_url: str) -> None:
        """Run it. The URL may hold a password: it is in no command line."""
        self._reactor = reactor
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-c", _TIED, str(os.getpid()), *self._arguments],
            env={**os.environ, "TWBRIDGE_AMQP_URL": amqp_url, "TWBRIDGE_LOG_LEVEL": "warn"},
            childFDs={0: 0, 1: "r", 2: 2},
        )

    def stop(self) -> Deferred[None]:
        """SIGTERM; fires when it has ended, at once where it does not run."""
        self._stopped = Deferred()
        if self.transport is None:
            self._stopped.callback(None)
        else:
            self._signal("TERM")
            self._timer = self._reactor.callLater(GRACE, self.kill)
        return self._stopped

    def kill(self) -> None:
        """SIGKILL, where it runs."""
        if self.transport is not None:
            self._signal("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass on what it says."""
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            print(line.decode(errors="replace"), flush=True)
            if b": serves " in line and not self.serves.called:
                self.serves.callback(None)

    def processEnded(self, reason: Failure) -> None:
        """Tell whoever waits."""
        self.transport = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._stopped is None:
            self._on_end(f"twbridge {self._arguments[0]} has ended")
        elif not self._stopped.called:
            self._stopped.callback(None)

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)
