"""How an answer is written: its head, and what tells where its body ends (sans-I/O).

RFC 9112, sections 6 and 7; RFC 9110, sections 6.4.1, 6.6.1 and 8.6.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from twbridge.sockets.heads import Head

__all__ = ["End", "Framing", "http_date"]

_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII).fullmatch
_LAST: Final = b"0\r\n\r\n"


class End(enum.Enum):
    """What ends a body."""

    HEAD = enum.auto()
    """There is none."""
    LENGTH = enum.auto()
    """Its ``Content-Length``."""
    CHUNK = enum.auto()
    """The last chunk."""
    CLOSE = enum.auto()
    """The connection's end: all that clients of HTTP/1.0 know."""


@lru_cache(maxsize=2)
def http_date(now: int) -> str:
    """A time as the field ``Date`` has it; seconds since 1970."""
    return formatdate(now, usegmt=True)


class Framing:
    """The answer to one request.

    Args:
        head: the request's.
        status: 200 to 599.
        reason: ``OK``; nothing that HTTP does not allow there, nor in the fields.
        fields: ``Content-Length`` counts where it is there once, and a number. ``Date`` is added.
        size: bytes of the first piece of the body.
        more: it is not the last one.
        now: seconds since 1970.

    Attributes:
        end: what ends the body.
        fault: why the connection has to end, once the application has broken its word.
    """

    __slots__ = ("_left", "_lines", "end", "fault")

    def __init__(
        self,
        head: Head,
        status: int,
        reason: str,
        fields: Iterable[tuple[str, str]],
        size: int,
        more: bool,
        now: float,
    ) -> None:
        self.fault: str | None = None
        self._left = 0
        self._lines = lines = [f"HTTP/1.1 {status} {reason}"]
        lengths, dated = [], False
        for name, value in fields:
            small = name.lower()
            if small == "content-length":
                lengths.append(value)
                continue
            dated = dated or small == "date"
            lines.append(f"{name}: {value}")
        if not dated:
            lines.append(f"Date: {http_date(int(now))}")
        length = int(lengths[0]) if len(lengths) == 1 and _LENGTH(lengths[0]) else None
        if status == 204:
            self.end = End.HEAD
        elif head.method == "HEAD" or status == 304:
            self.end = End.HEAD
            if length is not None:
                lines.append(f"Content-Length: {length}")
        elif length is not None or not more:
            self.end = End.LENGTH
            self._left = size if length is None else length
            lines.append(f"Content-Length: {self._left}")
        elif head.version >= (1, 1):
            self.end = End.CHUNK
            lines.append("Transfer-Encoding: chunked")
        else:
            self.end = End.CLOSE

    def head(self, field: tuple[str, str]) -> bytes:
        """The head, with one more field.

        Raises:
            UnicodeEncodeError: a character is no byte.
        """
        return "\r\n".join([*self._lines, ": ".join(field), "", ""]).encode("latin-1")

    def piece(self, data: bytes, more: bool) -> bytes:
        """A piece of the body, as it is sent; without ``more``, with what ends it.

        It is cut where the body is longer than it was said to be; see `fault`.
        """
        if self.end is End.LENGTH:
            left = self._left = self._left - len(data)
            if left < 0:
                self.fault = "longer"
                self._left = 0
                return data[:left]
            if left and not more:
                self.fault = "shorter"
            return data
        if self.end is End.CHUNK:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            return chunk if more else chunk + _LAST
        return data if self.end is End.CLOSE else b""
