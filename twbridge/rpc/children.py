"""A child process of a worker: its states, and how it ends."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["LEAVE", "LINGER", "START_TIMEOUT", "ChildProcess", "State", "open_or"]

_log = Logger()

#: Seconds that a child has to import what it runs, where nobody says how many.
START_TIMEOUT: Final = 60.0
#: Seconds that a child has to end in order.
LEAVE: Final = 5.0
#: Seconds that a child may live on after it has closed its end of the pipe.
LINGER: Final = 1.0
#: What a terminal and a service manager send to children too; they leave it to the worker.
_OURS: Final = (signal.SIGINT, signal.SIGTERM)


class State(Enum):
    """What a child is good for.

    ``STARTING``: it imports what it runs. ``READY``: it takes work. ``RETIRED``: it takes none, and
    ends when what it has has ended. ``ENDING``: it has been told to end, or has, and what it wrote
    before counts. ``ENDED``: it is killed, or has ended.
    """

    STARTING = "starting"
    READY = "ready"
    RETIRED = "retired"
    ENDING = "ending"
    ENDED = "ended"


class ChildProcess(ProcessProtocol, ABC):
    """A child process, with the pipes that a subclass makes for it.

    Args:
        reactor: the reactor. It must run in the thread that starts children, and install its
            handlers of signals: else the end of a child is not noticed.
        start: seconds that it has to import what it runs.
    """

    def __init__(self, reactor: Any, start: float = START_TIMEOUT) -> None:
        self.state = State.STARTING
        #: Whether it was told to end.
        self.was_told = False
        #: Fires when the process is gone, for good.
        self.gone: Deferred[None] = Deferred()
        self.pid: int | None = None
        self._reactor = reactor
        self._start = start
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Start the process. What goes wrong is told to the owner, later."""
        # It is deaf to them from its first moment on, and says itself when it has handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        try:
            self.pid = self._spawn()
        except OSError as error:
            # Of files, processes or memory there may be enough again, the next time.
            self._close_pipes()
            self._reactor.callLater(0, self._failed, f"no process can be started: {error}")
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._begin_with()
        self._set_timer(self._start, f"it took more than {self._start:g} s to start")

    def leave(self, text: str) -> None:
        """End it in order: what its code has left for the end of the process (``atexit``) runs.

        It takes nothing more. Where it can't hear that, or has not ended after `LEAVE` seconds, it
        is killed.
        """
        if self.state in (State.ENDING, State.ENDED):
            return
        if self.state is State.STARTING or not self._tell_leave():
            self.kill(text)
            return
        self.was_told = True
        self.state = State.ENDING
        self._set_timer(LEAVE, text)

    def kill(self, text: str) -> None:
        """End it and what it has forked, at once. Its owner is told ``text`` of it."""
        if self.state is not State.ENDED:
            self._signal()
            self._end(text)

    # -- of a subclass

    @abstractmethod
    def _spawn(self) -> int:
        """Start the process; gives its id. Of what was opened, our ends of the pipes stay open."""

    @abstractmethod
    def _begin_with(self) -> None:
        """Tell it what to be."""

    @abstractmethod
    def _tell_leave(self) -> bool:
        """Tell it to end in order. Whether it hears that."""

    @abstractmethod
    def _drain_pipes(self, text: str) -> None:
        """It has ended by itself, ``text`` says how: read what it wrote before."""

    @abstractmethod
    def _close_pipes(self) -> None:
        """Close our ends."""

    @abstractmethod
    def _tell_end(self, text: str) -> None:
        """Tell the owner, once. ``text`` is one sentence."""

    # -- its end

    def closed(self) -> None:
        """It has closed a pipe: either it ends, or its code has closed what isn't its own."""
        if self.state is not State.ENDING:
            self._set_timer(LINGER, "it closed its pipe to the worker")

    def processExited(self, reason: Failure) -> None:
        text = _ending(reason)
        if self.state is not State.ENDED:
            self._set_timer(None)
            # What it wrote before its end counts; but it takes nothing more.
            self.state = State.ENDING
            self._drain_pipes(text)
        # What it has forked ends with it.
        self._signal()
        self._end(text)
        self.pid = None
        self.gone.callback(None)

    def _failed(self, text: str) -> None:
        self._end(text)
        self.gone.callback(None)

    def _signal(self) -> None:
        if self.pid is None:
            return
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # It leads no group yet, or is gone.
                continue

    def _end(self, text: str) -> None:
        if self.state is State.ENDED:
            return
        self._set_timer(None)
        self._close_pipes()
        _log.debug("Process {pid} has ended: {text}", pid=self.pid, text=text)
        self.state = State.ENDED
        self._tell_end(text)

    def _set_timer(self, seconds: float | None, text: str = "") -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds is not None and self.state is not State.ENDED:
            self._timer = self._reactor.callLater(seconds, self.kill, text)


def open_or(fd: int, null: int) -> int:
    """The descriptor where it is open, for a worker that was started without."""
    try:
        os.fstat(fd)
    except OSError:
        return null
    return fd


def _ending(reason: Failure) -> str:
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        try:
            name = signal.Signals(error.signal).name
        except ValueError:
            name = f"signal {error.signal}"
        return f"it was killed by {name}"
    return f"it exited with code {getattr(error, 'exitCode', 0) or 0}"
