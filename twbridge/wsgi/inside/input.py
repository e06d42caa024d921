"""``wsgi.input``: the body of a request, read as it arrives."""

from __future__ import annotations

from collections.abc import Iterator

from twbridge.errors import TwbridgeError
from twbridge.wsgi.inside.lane import Exchange
from twbridge.wsgi.messages import PIECE, WINDOW, Grant, Request
from twbridge.wsgi.pipe import MESSAGE

__all__ = ["BrokenBody", "Input"]


class BrokenBody(TwbridgeError, OSError):
    """A piece of the body has got lost on its way. Raised in the application, where it reads."""


class Input:
    """A binary file, as PEP 3333 wants it; it ends where the body ends.

    The first piece came with the request. The others are asked for when the application reads
    beyond it, `WINDOW` bytes ahead of it at most; then reads wait for them. So no more than that,
    one piece, and what one read returns are in memory.

    All methods raise `Gone` (a ``ConnectionAbortedError``) when they would wait and the client has
    left, and `BrokenBody` (an ``OSError``).
    """

    __slots__ = ("_at", "_data", "_exchange", "_granted", "_is_broken", "_more", "_number", "_owed")

    def __init__(self, exchange: Exchange, request: Request) -> None:
        self._exchange = exchange
        self._data = request.body
        self._at = 0
        self._more = request.more
        self._number = 0
        self._is_broken = False
        #: Bytes that may come, and have not been read.
        self._granted = 0
        #: Bytes that no grant was given for yet; None: nobody knows.
        self._owed = None if request.length is None else request.length - len(request.body)

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end; negative or None: all that is left."""
        if size is None or size < 0:
            while self._more:
                self._gather()
            size = len(self._data)
        else:
            while self._more and len(self._data) - self._at < size:
                self._gather(size)
        data, begin = self._data, self._at
        end = begin + size
        if end < len(data):
            self._at = end
            return data[begin:end]
        self._data, self._at = b"", 0
        return data[begin:] if begin else data

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end, or ``size`` bytes of it; without an end only at the very end."""
        room = -1 if size is None or size < 0 else size
        parts: list[bytes] = []
        while room:
            data, begin = self._data, self._at
            end = data.find(b"\n", begin) + 1 or len(data)
            if 0 <= room < end - begin:
                end = begin + room
            part = data[begin:end]
            self._at = end
            parts.append(part)
            room -= len(part) if room > 0 else 0
            if not room or part.endswith(b"\n") or not self._more:
                break
            try:
                self._data = self._next()
            except OSError:
                self._data = b"".join(parts)
                self._at = 0
                raise
            self._at = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All lines; with a hint, no more of them once they have so many bytes."""
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _gather(self, size: int = -1) -> None:
        """Add pieces to what is held: up to so many bytes, or all."""
        parts = [self._data[self._at :]]
        held = len(parts[0])
        self._data, self._at = b"", 0
        try:
            while self._more and (size < 0 or held < size):
                parts.append(self._next())
                held += len(parts[-1])
        finally:
            self._data = b"".join(parts)

    def _next(self) -> bytes:
        """The next piece; waits for it."""
        exchange = self._exchange
        if self._is_broken:
            raise BrokenBody("a piece of the body is missing")
        exchange.check()
        self._grant()
        exchange.wait(lambda: exchange.uploads)
        upload = exchange.uploads.popleft()
        self._number += 1
        if upload.number != self._number:
            self._is_broken = True
            raise BrokenBody("a piece of the body is missing")
        self._granted -= len(upload.data)
        self._more = upload.more
        return upload.data

    def _grant(self) -> None:
        """Ask for more: seldom, but so early that some is always on its way."""
        size = WINDOW - self._granted
        if size < 2 * PIECE:
            return
        if self._owed is not None:
            size = min(size, self._owed)
            self._owed -= size
        if size > 0:
            self._granted += size
            self._exchange.send(MESSAGE, Grant(size))
