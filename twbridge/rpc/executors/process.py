"""One child, as the worker sees it: a process that runs tasks, and the pipe to it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twbridge.rpc.children import START_TIMEOUT, ChildProcess, State, open_or
from twbridge.rpc.executors.channel import Channel
from twbridge.rpc.executors.pipe import (
    MAX_FRAME,
    Begin,
    Frames,
    FromChild,
    Leave,
    frame,
    read_from_child,
)
from twbridge.rpc.executors.run import Run
from twbridge.rpc.pipes import BadPipe

__all__ = ["MAX_OWED", "Child", "Owner"]

_log = Logger()

#: Bytes of progress and publishes that may be on their way to the broker before a child's pipe is
#: not read any more.
MAX_OWED: Final = 1024 * 1024
#: The number of the pipe in the child.
PIPE_FD: Final = 3


class Owner(Protocol):
    """Who hears of a child."""

    def received(self, child: Child, message: FromChild) -> None:
        """It says something."""

    def ended(self, child: Child, text: str) -> None:
        """It has ended, or was killed; called once. ``text`` is one sentence."""


class Child(ChildProcess):
    """A process that runs tasks.

    Args:
        reactor: see `ChildProcess`.
        owner: hears of it.
        arguments: the command line after the name of the package.
        begin: the first frame.
        is_single: whether it runs one call at a time.
        start: see `ChildProcess`.
    """

    def __init__(
        self,
        reactor: Any,
        owner: Owner,
        arguments: Sequence[str],
        begin: Begin,
        *,
        is_single: bool,
        start: float = START_TIMEOUT,
    ) -> None:
        super().__init__(reactor, start)
        #: By their numbers in the pipe.
        self.calls: dict[int, Run] = {}
        #: Whether it has said hello.
        self.has_started = False
        #: Whether it was given a call.
        self.served = False
        #: Whether its pipe is not read: what it sent waits for the broker.
        self.is_paused = False
        self._owner = owner
        self._arguments = arguments
        self._begin = begin
        self._is_single = is_single
        self._frames = Frames(MAX_FRAME)
        self._channel: Channel | None = None
        self._owed = 0

    def _spawn(self) -> int:
        arguments = [sys.executable, "-P", "-m", __package__, *self._arguments]
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._channel = Channel(self._reactor, ours, self._take, self.closed)
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

    def _begin_with(self) -> None:
        self.send(frame(self._begin))

    def _tell_leave(self) -> bool:
        if not self.calls:
            self.send(frame(Leave()))
        return not self.calls

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

    # -- its end

    def _drain_pipes(self, text: str) -> None:
        if not self.was_told:
            _log.warn("A task process has ended: {pid}, {text}", pid=self.pid, text=text)
        if self._channel is not None:
            self._channel.drain()

    def _close_pipes(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _tell_end(self, text: str) -> None:
        self._owner.ended(self, text)
