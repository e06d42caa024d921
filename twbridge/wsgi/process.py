"""One child process, as the worker sees it: it runs the application, in one thread or more."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from typing import Any, Final, Protocol

from twbridge.rpc.children import START_TIMEOUT, ChildProcess, State, open_or
from twbridge.wsgi.lanes import Lane, Listener
from twbridge.wsgi.pipe import END, TELL, Begin, Hello, frame, pack_begin, read_hello

__all__ = ["Child", "Owner"]

#: Seconds in which a child that is to be killed writes where it is.
TELLING: Final = 0.1
#: The number of the first lane in the child; the others follow.
FIRST_FD: Final = 3


class Owner(Protocol):
    """Who hears of a child."""

    def hello(self, child: Child, hello: Hello) -> None:
        """The application is imported, or can't be."""

    def freed(self, lane: Lane) -> None:
        """A request has ended; the lane is free."""

    def ended(self, child: Child, text: str) -> None:
        """It has ended, or was killed; called once. ``text`` is one sentence."""


class Child(ChildProcess):
    """A process that runs the application.

    Args:
        reactor: see `ChildProcess`.
        owner: hears of it.
        listener: hears of the requests.
        begin: the first frame.
        start: see `ChildProcess`.
    """

    def __init__(
        self,
        reactor: Any,
        owner: Owner,
        listener: Listener,
        begin: Begin,
        start: float = START_TIMEOUT,
    ) -> None:
        super().__init__(reactor, start)
        self.lanes: list[Lane] = []
        #: When it has said hello, by the clock; None before.
        self.since: float | None = None
        self._owner = owner
        self._listener = listener
        self._begin = begin

    def _spawn(self) -> int:
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
            # The application is named for whoever lists the processes.
            command = [sys.executable, "-P", "-m", "twbridge.wsgi.inside", self._begin.app, *lanes]
            process = self._reactor.spawnProcess(
                self, sys.executable, command, env=None, childFDs=fds
            )
        pid: int = process.pid
        return pid

    def _begin_with(self) -> None:
        self.lanes[0].send(pack_begin(self._begin))

    def _tell_leave(self) -> bool:
        # It ends in its main thread, which is that of the first lane.
        first = self.lanes[0]
        if first.work is None:
            first.send(frame(END))
        return first.work is None

    def tell_where(self) -> None:
        """Have it write to stderr where each of its threads is."""
        if self.pid is not None:
            os.kill(self.pid, TELL)

    def kill_soon(self, text: str) -> None:
        """Kill it when it has had the time for that."""
        self._set_timer(TELLING, text)

    @property
    def busy(self) -> int:
        """How many requests run that somebody waits for."""
        return sum(each.work is not None and not each.work.over for each in self.lanes)

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

    # -- its end

    def _drain_pipes(self, text: str) -> None:
        for lane in self.lanes:
            lane.drain()

    def _close_pipes(self) -> None:
        for lane in self.lanes:
            lane.close()

    def _tell_end(self, text: str) -> None:
        self._owner.ended(self, text)
