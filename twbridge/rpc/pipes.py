"""How what goes through the pipes of child processes is cut into frames and read (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct as Layout
from typing import Final, TypeVar

import msgspec

from twbridge.errors import TwbridgeError

__all__ = ["READ", "BadPipe", "Cutter", "read"]

_T = TypeVar("_T")

#: Bytes that are read at once.
READ: Final = 256 * 1024

_length = Layout(">I").unpack_from


class BadPipe(TwbridgeError):
    """Bytes that are no frames: what runs in a child has written to what it doesn't own."""


def read(decode: Callable[[bytes], _T], payload: bytes) -> _T:
    """What a decoder of msgspec makes of the payload of a frame.

    Raises:
        BadPipe: nothing.
    """
    try:
        return decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPipe(f"a frame that can't be read: {error}") from None


class Cutter:
    """Finds the frames in what is read.

    Args:
        head: bytes before the payload of each; the first four are its length, the highest first.
        most: bytes that one payload may have; None: any number.
    """

    def __init__(self, head: int, most: int | None) -> None:
        self._head = head
        self._most = most
        self._held: list[bytes] = []
        self._size = 0
        self._wanted = head

    def cut(self, data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Where the payloads of the frames that end in ``data`` begin and end, in the bytes given.

        Raises:
            BadPipe: a frame has more bytes than it may have.
        """
        if self._held:
            self._held.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return b"", []
            data = b"".join(self._held)
            self._held.clear()
        found: list[tuple[int, int]] = []
        begin, end, head = 0, len(data), self._head
        while True:
            self._wanted = head
            if end - begin < head:
                break
            (size,) = _length(data, begin)
            if self._most is not None and size > self._most:
                raise BadPipe(f"a frame of {size} bytes; it may have {self._most}")
            self._wanted = head + size
            stop = begin + head + size
            if stop > end:
                break
            found.append((begin + head, stop))
            begin = stop
        if begin < end:
            self._held.append(data[begin:] if begin else data)
            self._size = end - begin
        return data, found
