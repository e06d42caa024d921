"""A child's end of a lane, and the request that runs on it."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock
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
from twbridge.wsgi.pipe import DONE, LAST, Frames, frame

__all__ = ["READ", "Exchange", "Gone", "Lane"]

#: Bytes that are read at once: a piece of a body with what is around it. Python makes room for so
#: many before it reads, and from 128 KiB on that costs more than the reading.
READ: Final = PIECE + 8192


class Gone(TwbridgeError, ConnectionAbortedError):
    """Nobody waits for the answer any more. Raised in the application by what needs the client."""


class Lane:
    """The pipe. Only the process that made it can use it, not one that the application forks.

    Where the worker's end is closed, this process ends. An application may read its input in one
    thread and answer in another, and leave threads behind: one at a time reads the pipe, for all.

    Args:
        fd: its file descriptor.

    Attributes:
        turn: held by whoever looks at what was read; notified when there is more.
        payloads: of the frames that were read, and that nobody has taken yet.
        writing: held by whoever writes, where others might.
    """

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._begin()
        os.register_at_fork(after_in_child=self._forked)

    def _begin(self) -> None:
        self.turn = Condition()
        self.writing = Lock()
        self.payloads: deque[bytes] = deque()
        self._frames = Frames()
        self._is_reading = False

    def read(self) -> bytes:
        """The payload of the next frame; waits for it."""
        with self.turn:
            while not self.payloads:
                self.fill()
            return self.payloads.popleft()

    def fill(self) -> None:
        """Wait until there is more to take; `turn` is held, and let go meanwhile."""
        if self._is_reading:
            self.turn.wait()
            return
        self._is_reading = True
        self.turn.release()
        try:
            data = self._receive()
        finally:
            self.turn.acquire()
            self._is_reading = False
            self.turn.notify_all()
        self.payloads += [payload for _, payload in self._frames.feed(data)]

    def has_more(self) -> bool:
        """Whether `fill` would not wait; `turn` is held."""
        return not self._is_reading and self._is_readable()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Write a frame, and wait until the worker takes it."""
        self.write(frame(kind, payload))

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        try:
            self._socket.sendall(data)
        except OSError:
            # The worker is gone, or the application has closed what isn't its own, or forked.
            ties.end()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(READ)
        except OSError:
            data = b""
        if not data:
            ties.end()
        return data

    def _is_readable(self) -> bool:
        return bool(self._poll.poll(0))

    def _forked(self) -> None:
        self._socket.close()
        self._begin()  # another thread may have held what is held
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
        """Say something to the bridge.

        Raises:
            Gone: the lane is another request's.
        """
        data = frame(kind, encode(message))
        with self._lane.writing:
            if self.is_free:
                raise Gone("the request has ended")
            if kind == LAST:
                self.is_free = self.is_gone = True
            self._lane.write(data)

    def end(self) -> None:
        """Say that the lane is free, unless that was said."""
        self.is_gone = True
        with self._lane.writing:
            if not self.is_free:
                self.is_free = True
                self._lane.send(DONE)

    def spend(self, size: int) -> None:
        """Take from the credit."""
        with self._lane.turn:
            self.credit -= size

    def wait(self, has_come: Callable[[], object]) -> None:
        """Wait until the bridge has said what is waited for.

        Raises:
            Gone: nobody waits for the answer.
        """
        with self._lane.turn:
            self._hear()
            while not has_come():
                self._lane.fill()
                self._hear()

    def look(self) -> None:
        """Hear what the bridge has said by now.

        Raises:
            Gone: nobody waits for the answer.
        """
        with self._lane.turn:
            self._hear()
            while self._lane.has_more():
                self._lane.fill()
                self._hear()

    def check(self) -> None:
        """Go on only if somebody waits for the answer.

        Raises:
            Gone: nobody does.
        """
        if self.is_gone:
            raise Gone("nobody waits for the answer any more")

    def _hear(self) -> None:
        """Take what is for this request: nothing that comes after its end."""
        payloads = self._lane.payloads
        while payloads and not self.is_gone:
            self._take(payloads.popleft())
        self.check()

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
