"""A child's end of the pipe, read and written by threads that may wait."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from threading import Lock

from twbridge.rpc.executors.inside import ties
from twbridge.rpc.executors.pipe import Frames, ToChild, read_to_child
from twbridge.rpc.pipes import READ

__all__ = ["Line"]


class Line:
    """The pipe. Only the process that made it can use it, not one that a task forks.

    Args:
        fd: its file descriptor.
    """

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.socket = socket.socket(fileno=fd)
        self.is_ours = True
        self._frames = Frames()
        self._lock = Lock()
        os.register_at_fork(after_in_child=self._forked)

    def send(self, data: bytes) -> None:
        """Write a frame, and wait until the worker takes it.

        Raises:
            RuntimeError: in a process that a task has forked.
        """
        if not self.is_ours:
            raise RuntimeError("a process that a task forks can't speak for it")
        with self._lock:
            try:
                self.socket.sendall(data)
            except OSError:
                # The worker is gone, or a task has closed what isn't its own.
                ties.end()

    def messages(self) -> Iterator[ToChild]:
        """What the worker sends. At its end this process ends."""
        while True:
            try:
                data = self.socket.recv(READ)
            except OSError:
                data = b""
            if not data:
                ties.end()
            for each in self._frames.feed(data):
                yield read_to_child(each)

    def leave_if_forked(self) -> None:
        """End here what a task has forked and let go on."""
        if not self.is_ours:
            os._exit(0)

    def _forked(self) -> None:
        self.is_ours = False
        self.socket.close()
        ties.hear()
