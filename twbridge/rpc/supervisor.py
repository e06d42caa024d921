"""Several workers as one: started, replaced when they end, and drained together.

The first is started alone: what is wrong with the module or the settings ends the whole, and is
said once. Each worker holds the other end of a pipe, and drains by itself when that is closed, so
that none is left when the supervisor is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.rpc.lifetime import StartError

__all__ = ["SERVES", "SUPERVISED", "Supervisor", "tether_says"]

_log = Logger()

#: The variable that makes a worker a supervised one; it holds its settings, as JSON.
SUPERVISED: Final = "_TWBRIDGE_SUPERVISED"
#: The file descriptor on which a worker says that it serves.
SERVES: Final = 3
#: A worker that has lived for so many seconds is replaced at once when it ends.
STEADY: Final = 5.0
#: Seconds before one is replaced that ended at once twice, and the most that they grow to.
PAUSE: Final = 0.5
PAUSE_MAX: Final = 10.0
#: Seconds past the drain time after which what has not ended is killed.
KILL: Final = 10.0

_STOP, _HURRY = b"s", b"h"


def tether_says(stop: Callable[[], object], hurry: Callable[[], object]) -> Callable[[bytes], None]:
    """What a worker does with what comes from its supervisor; no bytes: it is gone."""

    def said(data: bytes) -> None:
        if _HURRY in data:
            hurry()
        if not data or _STOP in data:
            stop()

    return said


class _Fork:
    """A place for a worker, and how often one ended there at once."""

    def __init__(self) -> None:
        self.process: _Process | None = None
        self.later: IDelayedCall | None = None
        self.quick = 0


class _Process(ProcessProtocol):
    """One worker."""

    def __init__(self, supervisor: Supervisor, fork: _Fork, begun: float) -> None:
        self.begun = begun
        self.serves = False
        #: Fires when it has ended.
        self.gone: Deferred[None] = Deferred()
        self._supervisor = supervisor
        self._fork = fork

    def say(self, word: bytes) -> None:
        """Tell it something; nothing where it has ended."""
        if self.transport is not None and not self.gone.called:
            self.transport.writeToChild(0, word)

    def kill(self) -> None:
        """End it at once."""
        if self.transport is not None and not self.gone.called:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.serves = True
        self._supervisor.serves()

    def childConnectionLost(self, childFD: int) -> None:
        """It closes what it does not need any more."""

    def processEnded(self, reason: Failure) -> None:
        self.gone.callback(None)
        self._supervisor.ended(self._fork, self, reason)


class Supervisor:
    """Keeps workers running.

    Args:
        reactor: IReactorTime and IReactorProcess.
        command: the command line of a worker.
        environment: its environment.
        forks: how many there are.
        drain: seconds that each has to drain.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        environment: Mapping[str, str],
        forks: int,
        drain: float,
    ) -> None:
        self._reactor = reactor
        self._command = list(command)
        self._environment = dict(environment)
        self._drain = drain
        self._forks = [_Fork() for _ in range(forks)]
        self._started: Deferred[None] = Deferred()
        self._stopping = False

    def start(self) -> Deferred[None]:
        """Start the first worker, and when it serves the others.

        Fires when the first serves; fails with StartError when it says that it can't.
        """
        self._start(self._forks[0])
        return self._started

    def stop(self) -> Deferred[None]:
        """Have all drain; fires when they have ended. Never fails."""
        self._stopping = True
        processes = [each.process for each in self._forks if each.process is not None]
        for fork in self._forks:
            if fork.later is not None:
                fork.later.cancel()
                fork.later = None
        for process in processes:
            process.say(_STOP)
        gone = DeferredList([each.gone for each in processes])

        def kill_all() -> None:
            for process in processes:
                process.kill()

        kill = self._reactor.callLater(self._drain + KILL, kill_all)

        def over(_: object) -> None:
            if kill.active():
                kill.cancel()

        return gone.addCallback(over)

    def hurry(self) -> None:
        """Have all end without waiting for what runs."""
        for fork in self._forks:
            if fork.process is not None:
                fork.process.say(_HURRY)

    # -- told by the processes --------------------------------------------------------------

    def serves(self) -> None:
        """A worker serves."""
        if self._started.called:
            return
        self._started.callback(None)
        for fork in self._forks[1:]:
            if not self._stopping:
                self._start(fork)

    def ended(self, fork: _Fork, process: _Process, reason: Failure) -> None:
        """A worker has ended: another takes its place."""
        fork.process = None
        if self._stopping:
            return
        how: Any = reason.value
        if not self._started.called and how.exitCode == 1:
            self._started.errback(StartError("the worker could not start"))
            return
        if process.serves and self._reactor.seconds() - process.begun >= STEADY:
            fork.quick = 0
        self._again(fork, f"A worker process ended ({_words(how)})")

    def _again(self, fork: _Fork, why: str) -> None:
        """Start one in this place, the later the more often it was in vain."""
        pause = min(PAUSE_MAX, PAUSE * 2 ** (fork.quick - 1)) if fork.quick else 0.0
        fork.quick += 1
        _log.error("{why}; another takes its place in {pause:g} s", why=why, pause=pause)
        fork.later = self._reactor.callLater(pause, self._start, fork)

    def _start(self, fork: _Fork) -> None:
        fork.later = None
        fork.process = _Process(self, fork, self._reactor.seconds())
        try:
            self._reactor.spawnProcess(
                fork.process,
                self._command[0],
                self._command,
                env=self._environment,
                childFDs={0: "w", 1: 1, 2: 2, SERVES: "r"},
            )
        except OSError as error:
            # Of processes, memory or files there may be enough again, later.
            fork.process = None
            self._again(fork, f"A worker process could not be started ({error})")


def _words(how: Any) -> str:
    if how.signal is not None:
        return f"signal {how.signal}"
    return f"exit code {how.exitCode}"
