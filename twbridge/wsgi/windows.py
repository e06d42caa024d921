"""Bodies that travel in pieces, no faster than the other side allows (sans-I/O).

The ends that the bridge has of them.
"""

from __future__ import annotations

from typing import Final

from twbridge.wsgi.fields import checked, content_length, is_bodiless
from twbridge.wsgi.messages import PIECE, WINDOW, Fields, Start, Upload

__all__ = ["CREDIT", "AnswerBody", "RequestBody"]

#: Bytes that a client has taken of an answer, from which on its worker is told.
CREDIT: Final = 2 * PIECE


class RequestBody:
    """What follows the first piece of a request's body.

    Attributes:
        more: whether the client has not sent all of it.
    """

    __slots__ = ("_granted", "_number", "_rest", "more")

    def __init__(self) -> None:
        self.more = True
        self._number = 0
        self._granted = 0
        #: Of a piece, what the worker does not allow yet.
        self._rest = b""

    @property
    def wanted(self) -> bool:
        """Whether the next piece of it can be used."""
        return self.more and self._granted > 0 and not self._rest

    @property
    def begun(self) -> bool:
        """Whether the worker has been sent any of it: nobody knows whether that has arrived."""
        return self._number > 0

    def grant(self, size: int) -> Upload | None:
        """The worker allows so many bytes more; gives what is sent now.

        Raises:
            ValueError: that is over the window.
        """
        if not 0 <= size <= WINDOW - self._granted:
            raise ValueError(f"{size} bytes more are allowed, over the window of {WINDOW}")
        self._granted += size
        return self._next() if self._rest else None

    def add(self, data: bytes, more: bool) -> Upload | None:
        """A piece of it; gives what is sent now."""
        self.more = more
        self._rest = data
        return self._next() if data or not more else None

    def _next(self) -> Upload | None:
        data = self._rest
        if not self._granted and data:
            return None
        sent = data if len(data) <= self._granted else data[: self._granted]
        self._granted -= len(sent)
        self._rest = data[len(sent) :]
        self._number += 1
        return Upload(self._number, sent, self.more or bool(self._rest))


class AnswerBody:
    """The body of an answer.

    Args:
        window: bytes that may come before the client takes any.

    Attributes:
        expected: bytes that are still to come by its Content-Length; None: it has none.
        untaken: bytes that have come and that the client has not taken.
    """

    __slots__ = ("_credited", "_number", "_room", "_uncredited", "expected", "untaken")

    def __init__(self, window: int) -> None:
        self.expected: int | None = None
        self.untaken = 0
        self._number = 0
        self._room = window
        self._uncredited = 0
        #: What the worker was told last.
        self._credited = 0

    @property
    def unsure(self) -> bool:
        """Whether the worker may not know what it was told last: it has made no use of that."""
        return 0 < self._credited <= self._room

    def head(self, method: str, start: Start) -> tuple[Fields, bytes, bool]:
        """The head and the first piece; gives the fields and what of that goes to the client, and
        whether it is the last of what does.

        Raises:
            ValueError: it is none.
        """
        fields = checked(start.status, start.reason, start.fields)
        if is_bodiless(method, start.status):
            return fields, b"", True
        self.expected = content_length(fields)
        data = self.first(start.body)
        last = not start.more and len(data) == len(start.body)
        if last and self.expected:
            raise ValueError(f"the answer ends {self.expected} bytes too early")
        return fields, data, last

    def first(self, data: bytes) -> bytes:
        """The first piece; gives what of it goes to the client.

        Raises:
            ValueError: it is over the window.
        """
        size = len(data)
        if size > self._room:
            raise ValueError(f"{size} bytes of the answer, where {self._room} were allowed")
        self._room -= size
        if self.expected is not None:
            data = data[: self.expected]
            self.expected -= len(data)
        self.untaken += len(data)
        return data

    def next(self, number: int, data: bytes) -> bytes:
        """One more piece; gives what of it goes to the client.

        Raises:
            ValueError: it is not the next, or over the window.
        """
        self._number += 1
        if number != self._number:
            raise ValueError(f"piece {number} of the answer, where {self._number} was to come")
        return self.first(data)

    def taken(self, size: int) -> None:
        """The client has taken so many bytes."""
        size = min(size, self.untaken)
        self.untaken -= size
        self._uncredited += size

    def credit(self) -> int:
        """What the worker is to be told now of what the client has taken; 0: nothing."""
        if self._uncredited < CREDIT:
            return 0
        credit, self._uncredited = self._uncredited, 0
        self._credited = credit
        self._room += credit
        return credit

    def keep(self, credit: int) -> None:
        """The worker was not told: that is for later."""
        self._uncredited += credit
        self._room -= credit
