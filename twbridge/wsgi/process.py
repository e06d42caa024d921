"""One child process, as the worker sees it: it runs the application, in one thread or more."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack
from enum import Enum
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.rpc.executors.process import LINGER, ending, open_or
from twbridge.wsgi.lanes import Lane, Listener
from twbridge.wsgi.pipe import Begin, Hello, pack_begin, read_hello

__all__ = ["Child", "Owner", "State"]

_log = Logger()

#: Seconds that a child has to import the application.
START_TIMEOUT: Final = 60.0
#: The number of the first lane in the child; the others follow.
FIRST_FD: Final = 3


class State(Enum):
    """What a child is good for.

    ``STARTING``: it imports the application. ``READY``: it takes requests. ``RETIRED``: it takes
    none, and is killed when those that it has have ended. ``ENDED``: it is killed, or has ended.
    """

    STARTING = "starting"
    READY = "ready"
    RETIRED = "retired"
    ENDED = "ended"


class Owner(Protocol):
    """Who hears of a child."""

    def hello(self, child: Child, hello: Hello) -> None:
        """The application is imported, or can't be."""

    def freed(self, lane: Lane) -> None:
        """A request has ended; the lane is free."""

    def ended(self, child: Child, text: str) -> None:
        """It has ended, or was killed; called once. ``text`` is one sentence."""


class Child(ProcessProtocol):
    """A process that runs the application.

    Args:
        reactor: the reactor. It must run in the thread that starts children, and install its
            handlers of signals: else the end of a child is not noticed.
        owner: hears of it.
        listener: hears of the requests.
        begin: the first frame.
    """

    def __init__(self, reactor: Any, owner: Owner, listener: Listener, begin: Begin) -> None:
        self.state = State.STARTING
        self.lanes: list[Lane] = []
        #: When it has said hello, by the clock; None before.
        self.since: float | None = None
        #: Fires when the process is gone, for good.
        self.gone: Deferred[None] = Deferred()
        self.pid: int | None = None
        self._reactor = reactor
        self._owner = owner
        self._listener = listener
        self._begin = begin
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Start the process. What goes wrong is told to the owner, later."""
        try:
            self.pid = self._spawn()
        except OSError as error:
            # Of files, processes or memory there may be enough again, the next time.
            self._reactor.callLater(0, self._failed, f"no process can be started: {error}")
            return
        self.lanes[0].send(pack_begin(self._begin))
        self._set_timer(START_TIMEOUT, f"it took more than {START_TIMEOUT:g} s to start")

    def _spawn(self) -> int:
        """The id of a new process; our ends of its lanes stay open."""
        with ExitStack() as opened:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, null)
            fds = {0: null, 1: open_or(1, null), 2: open_or(2, null)}
            for number in range(FIRST_FD, FIRST_FD + self._begin.threads):
                ours, theirs = socket.socketpair()
                opened.enter_context(theirs)
                self.lanes.append(Lane(self._reactor, ours, self, self._listener))
                fds[number] = theirs.fileno()
            lanes = [str(each) for each in fds if each >= FIRST_FD]
            command = [sys.executable, "-P", "-m", "twbridge.wsgi.inside", *lanes]
            process = self._reactor.spawnProcess(
                self, sys.executable, command, env=None, childFDs=fds
            )
        pid: int = process.pid
        return pid

    @property
    def busy(self) -> int:
        """How many requests run that somebody waits for."""
        return sum(each.work is not None and not each.work.over for each in self.lanes)

    def kill(self, text: str) -> None:
        """End it and what it has forked, at once. Its owner is told ``text`` of it."""
        if self.state is not State.ENDED:
            self._signal()
            self._end(text)

    # -- its lanes

    def hello(self, payload: bytes) -> None:
        """It has imported the application, or has not."""
        if self.state is State.STARTING:
            self._set_timer(None)
            self._owner.hello(self, read_hello(payload))

    def ready(self) -> None:
        """It takes requests from now on."""
        self.state = State.READY
        self.since = self._reactor.seconds()

    def freed(self, lane: Lane) -> None:
        """A request has ended."""
        self._owner.freed(lane)

    def closed(self) -> None:
        """Either it ends, or the application has closed what isn't its own."""
        self._set_timer(LINGER, "it closed its pipe to the worker")

    # -- the process

    def processExited(self, reason: Failure) -> None:
        text = ending(reason)
        if self.state is not State.ENDED:
            # What it wrote before its end counts.
            self._set_timer(None)
            for lane in self.lanes:
                lane.drain()
        # What the application has forked ends with it.
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
        for lane in self.lanes:
            lane.close()
        _log.debug("Process {pid} has ended: {text}", pid=self.pid, text=text)
        self.state = State.ENDED
        self._owner.ended(self, text)

    def _set_timer(self, seconds: float | None, text: str = "") -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if seconds is not None and self.state is not State.ENDED:
            self._timer = self._reactor.callLater(seconds, self.kill, text)
