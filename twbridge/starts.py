"""Where the reading of a stream begins (pure).

The broker never sees what a client wrote: RabbitMQ closes the whole connection (541) over a word
that it does not know.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from twbridge.errors import BadFrame

__all__ = ["Start", "parse_start"]

Where: TypeAlias = Literal["first", "last", "next", "offset", "timestamp"]

_WORDS: dict[str, Where] = {word: word for word in get_args(Where)}
_NUMBERED = re.compile(r"(offset|timestamp)=([0-9]{1,16})", re.ASCII)

#: Whole numbers beyond it are not the same number in a browser.
MAX_OFFSET = 2**53
#: In seconds: the year 9999.
MAX_TIMESTAMP = 253_402_300_799


class Start(Struct, frozen=True):
    """The first message to read.

    ``first``: the oldest there is. ``last``: the newest there is. ``next``: the next one that is
    published. ``offset``: the one with the offset ``value``. ``timestamp``: the first that was
    published at ``value`` or later, in seconds since 1970.
    """

    where: Where
    value: int = 0

    def __str__(self) -> str:
        numbered = self.where in ("offset", "timestamp")
        return f"{self.where}={self.value}" if numbered else self.where


NEXT = Start("next")


def parse_start(text: str) -> Start:
    """Read ``first``, ``last``, ``next``, ``offset=N`` or ``timestamp=SECONDS``.

    Raises:
        BadFrame: it is none of them, or the number is too large.
    """
    if text in ("first", "last", "next"):
        return Start(_WORDS[text])
    found = _NUMBERED.fullmatch(text)
    if found is None:
        raise BadFrame(
            "A stream is read from first, last, next, offset=N or timestamp=SECONDS, "
            "in whole numbers."
        )
    where, value = _WORDS[found[1]], int(found[2])
    if value > (MAX_OFFSET if where == "offset" else MAX_TIMESTAMP):
        raise BadFrame(f"The {where} to read from is too large.")
    return Start(where, value)
