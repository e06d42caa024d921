"""One child, as the worker sees it: a process, and the pipe to it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.rpc.executors.channel import Channel
from twbridge.rpc.executors.pipe import (
    MAX_FRAME,
    BadPipe,
    Begin,
    Frames,
    FromChild,
    frame,
    read_from_child,
)
from twbridge.rpc.executors.run import Run

__all__ = [
    "LINGER",
    "MAX_OWED",
    "START_TIMEOUT",
    "Child",
    "Owner",
    "State",
    "ending",
    "open_or",
]

_log = Logger()

#: Seconds that a child has to import its module.
START_TIMEOUT: Final = 60.0
#: Seconds that a child may live on after it has closed its end of the pipe.
LINGER: Final = 1.0
#: Bytes of progress and publishes that may be on their way to the broker before a child's pipe is
#: not read any more.
MAX_OWED: Final = 1024 * 1024
#: The number of the pipe in the child.
PIPE_FD: Final = 3


class State(Enum):
    """What a child is good for.

    ``STARTING``: it imports its module. ``READY``: it takes calls. ``RETIRED``: it takes none, and
    is killed when those that it has have ended. ``ENDED``: it is killed, or has ended by itself.
    """

    STARTING = "starting"
    READY = "ready"
    RETIRED = "retired"
    ENDED = "ended"


class Owner(Protocol):
    """Who hears of a child."""

    def received(self, child: Child, message: FromChild) -> None:
        """It says something."""

    def ended(self, child: Child, text: str) -> None:
        """It has ended, or was killed; called once. ``text`` is one sentence."""


class Child(ProcessProtocol):
    """A process that runs tasks.

    Args:
        reactor: the reactor. It must run in the thread that starts children, and install its
            handlers of signals: else the end of a child is not noticed.
        owner: hears of it.
        arguments: the command line after the name of the package.
        begin: the first frame.
        is_single: whether it runs one call at a time.
    """

    def __init__(
        self,
        reactor: Any,
        owner: Owner,
        arguments: Sequence[str],
        begin: Begin,
        *,
        is_single: bool,
    ) -> None:
        self.state = State.STARTING
        #: By their numbers in the pipe.
        self.calls: dict[int, Run] = {}
        #: Whether it has said hello.
        self.has_started = False
        #: Whether it was given a call.
        self.served = False
        #: Whether its pipe is not read: what it sent waits for the broker.
        self.is_paused = False
        #: Fires when the process is gone, for good.
        self.gone: Deferred[None] = Deferred()
        self.pid: int | None = None
        self._reactor = reactor
        self._owner = owner
        self._arguments = arguments
        self._begin = begin
        self._is_single = is_single
        self._frames = Frames(MAX_FRAME)
        self._channel: Channel | None = None
        self._timer: IDelayedCall | None = None
        self._owed = 0

    def start(self) -> None:
        """Start the process. What goes wrong is told to the owner, later."""
        try:
            self.pid = self._spawn()
        except OSError as error:
            # Of files, processes or memory there may be enough again, the next time.
            if self._channel is not None:
                self._channel.close()
            self._reactor.callLater(0, self._failed, f"no process can be started: {error}")
            return
        self.send(frame(self._begin))
        self._set_timer(START_TIMEOUT, f"it took more than {START_TIMEOUT:g} s to start")

    def _spawn(self) -> int:
        """The id of a new process; of what was opened for it, our end of the pipe stays open."""
        arguments = [sys.executable, "-P", "-m", __package__, *self._arguments]
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._channel = Channel(self._reactor, ours, self._take, self._closed)
            except OSError:
                ours.close()
                raise
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            fds = {0: null, 1: open_or(1, null), 2: open_or(2, null), PIPE_FD: theirs.fileno()}
            try:
                process = self._reactor.spawnProcess(
                    self, sys.executable, arguments, env=None, childFDs=fds
                )
            finally:
                os.close(null)
        pid: int = process.pid
        return pid

    def send(self, data: bytes) -> None:
        """Write a frame."""
        assert self._channel is not None
        if self._is_single:
            self._channel.send_now(data)
        else:
            self._channel.send(data)

    def hello(self) -> None:
        """It has started."""
        self.state = State.READY
        self.has_started = True
        self._set_timer(None)

    def kill(self, text: str) -> None:
        """End it and what it has forked, at once. Its owner is told ``text`` of it."""
        if self.state is not State.ENDED:
            self._signal()
            self._end(text)

    # -- what is on its way to the broker

    def owe(self, size: int, sent: Deferred[Any]) -> None:
        """Some bytes that it sent wait for ``sent``; past `MAX_OWED`, it waits for them too."""
        self._owed += size
        if self._owed > MAX_OWED and not self.is_paused and self._channel is not None:
            self.is_paused = True
            self._channel.pause()
        sent.addBoth(self._paid, size)

    def _paid(self, _result: object, size: int) -> None:
        self._owed -= size
        if self.is_paused and self._owed <= MAX_OWED // 2:
            self.is_paused = False
            if self._channel is not None:
                self._channel.resume()

    # -- the pipe

    def _take(self, data: bytes) -> None:
        try:
            for each in self._frames.feed(data):
                self._owner.received(self, read_from_child(each))
                if self.state is State.ENDED:
                    return
        except BadPipe as error:
            _log.error("Task process {pid} was killed: {error}", pid=self.pid, error=error)
            self.kill(f"it was killed, because a task wrote to the worker's pipe: {error}")

    def _closed(self) -> None:
        """Either it ends, or a task has closed what isn't its own."""
        self._set_timer(LINGER, "it closed its pipe to the worker")

    # -- the process

    def processExited(self, reason: Failure) -> None:
        if self.state is not State.ENDED:
            _log.warn("A task process has ended: {pid}, {text}", pid=self.pid, text=ending(reason))
            # What it wrote before its end counts.
            self._set_timer(None)
            if self._channel is not None:
                self._channel.drain()
        # What a task has forked ends with it.
        self._signal()
        self.pid = None
        self._end(ending(reason))
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
        if self._channel is not None:
            self._channel.close()
        _log.debug("Task process {pid} has ended: {text}", pid=self.pid, text=text)
        self.state = State.ENDED
        self._owner.ended(self, text)

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


def ending(reason: Failure) -> str:
    """How a process has ended, in words."""
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        try:
            name = signal.Signals(error.signal).name
        except ValueError:
            name = f"signal {error.signal}"
        return f"it was killed by {name}"
    return f"it exited with code {getattr(error, 'exitCode', 0) or 0}"
