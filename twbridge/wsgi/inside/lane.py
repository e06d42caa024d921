"""A child's end of a lane, and the request that runs on it."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from typing import Final

from twbridge.errors import TwbridgeError
from twbridge.rpc.executors.inside import ties
from twbridge.wsgi.messages import (
    PIECE,
    BadMessage,
    Cancel,
    Credit,
    Request,
    ToBridge,
    Upload,
    encode,
    read_to_worker,
)
from twbridge.wsgi.pipe import LAST, Frames, frame

__all__ = ["READ", "Exchange", "Gone", "Lane"]

#: Bytes that are read at once: a piece of a body with what is around it. Python makes room for so
#: many before it reads, and from 128 KiB on that costs more than the reading.
READ: Final = PIECE + 8192


class Gone(TwbridgeError, ConnectionAbortedError):
    """Nobody waits for the answer any more. Raised in the application by what needs the client."""


class Lane:
    """The pipe. Only the process that made it can use it, not one that the application forks.

    Where the worker's end is closed, this process ends.

    Args:
        fd: its file descriptor.
    """

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(True)
        self._frames = Frames()
        self._payloads: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        os.register_at_fork(after_in_child=self._forked)

    def read(self) -> bytes:
        """The payload of the next frame; waits for it."""
        while not self._payloads:
            try:
                data = self.socket.recv(READ)
            except OSError:
                data = b""
            if not data:
                ties.end()
            self._payloads += [payload for _, payload in self._frames.feed(data)]
        return self._payloads.popleft()

    def has_more(self) -> bool:
        """Whether there is something to read."""
        return bool(self._payloads) or bool(self._poll.poll(0))

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Write a frame, and wait until the worker takes it."""
        self.write(frame(kind, payload))

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        try:
            self.socket.sendall(data)
        except OSError:
            # The worker is gone, or the application has closed what isn't its own, or forked.
            ties.end()

    def _forked(self) -> None:
        self.socket.close()
        ties.hear()


class Exchange:
    """A request that runs: what the bridge says meanwhile, and what it is told.

    Attributes:
        credit: bytes of the answer's body that may be sent.
        uploads: pieces of the request's body that have come and wait.
        is_gone: nobody waits for the answer; or it has ended.
        is_free: the worker was told that the lane is free.
    """

    __slots__ = ("_lane", "credit", "is_free", "is_gone", "uploads")

    def __init__(self, lane: Lane, window: int) -> None:
        self._lane = lane
        self.credit = window
        self.uploads: deque[Upload] = deque()
        self.is_gone = False
        self.is_free = False

    def send(self, kind: int, message: ToBridge) -> None:
        """Say something to the bridge."""
        if kind == LAST:
            self.is_free = True
        self._lane.write(frame(kind, encode(message)))

    def wait(self) -> None:
        """Wait until the bridge says something.

        Raises:
            Gone: nobody waits for the answer.
        """
        self.check()
        self._take(self._lane.read())
        self.check()

    def look(self) -> None:
        """Hear what the bridge has said by now.

        Raises:
            Gone: nobody waits for the answer.
        """
        self.check()
        while self._lane.has_more():
            self._take(self._lane.read())
            self.check()

    def check(self) -> None:
        """Go on only if somebody waits for the answer.

        Raises:
            Gone: nobody does.
        """
        if self.is_gone:
            raise Gone("nobody waits for the answer any more")

    def _take(self, payload: bytes) -> None:
        try:
            message = read_to_worker(payload)
        except BadMessage:
            message = Cancel("gone")
        if isinstance(message, Credit):
            self.credit += message.size
        elif isinstance(message, Upload):
            self.uploads.append(message)
        elif isinstance(message, Cancel | Request):
            # A request where none can be: whoever sends it has lost count.
            self.is_gone = True
