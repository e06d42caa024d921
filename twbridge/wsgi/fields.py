"""Which header fields go to the application, and which of its fields go to the client (sans-I/O).

Names and values are text in which each character is a byte (latin-1). Fields that say something
about one connection go neither way (RFC 9110 section 7.6.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from twbridge.wsgi.messages import Fields

__all__ = ["HEAD_MAX", "checked", "content_length", "forwarded", "is_bodiless"]

#: Of the connection, besides ``proxy-...`` and those that ``Connection`` names.
_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: What ``Connection`` says as a rule.
_USUAL: Final = frozenset({"keep-alive", "Keep-Alive", "close"})
#: What ``Connection`` may say without naming a field; and fields that are never the connection's,
#: so that no client hides from the application what a proxy in front has looked at.
_OPTIONS: Final = frozenset(
    {
        "",
        "authorization",
        "close",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "forwarded",
        "host",
        "keep-alive",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
#: RFC 9110 section 5.5, and RFC 9112 section 4 for the reason: tabs, but no other controls.
_TEXT: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
#: 18 digits are over any length and within 64 bits.
_LENGTH: Final = re.compile(r"[0-9]{1,18}").fullmatch
#: Characters of the head of an answer. Clients and proxies take less as a rule.
HEAD_MAX: Final = 65_536
#: Answers that have no body, whatever their fields say (RFC 9110 section 6.4.1).
_BODILESS: Final = frozenset({204, 304})


def forwarded(fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields of a request that go to the application, in their order, names in small letters.

    Those of the connection are left out; so are ``Proxy``, which CGI would read as a setting of the
    server (httpoxy), and names with an underscore, which the application could not tell from those
    with a hyphen.

    Args:
        fields: as read; none of them can hold a control character.
    """
    kept: Fields = []
    named: set[str] = set()
    for name, value in fields:
        small = _request_name(name)
        if small:
            kept.append((small, value))
        elif value not in _USUAL and name.lower() == "connection":
            named |= _named(value)
    return [each for each in kept if each[0] not in named] if named else kept


def checked(status: int, reason: str, fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields of an answer that go to the client, in their order, as the application wrote them.

    Those of the connection are left out. ``Content-Length`` stays where it is one valid number
    (said more than once it may be), and the answer can have one.

    Raises:
        ValueError: there can't be such an answer; the text says why.
        TypeError: a name or a value is no text.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"the status {status} is not within 200 and 599")
    if _TEXT(reason) is None:
        raise ValueError("the reason has a character that HTTP does not allow there")
    kept: Fields = []
    named: set[str] = set()
    lengths: set[str] = set()
    size = len(reason)
    for name, value in fields:
        kind = _kind(name)
        if kind is _Kind.NONE:
            raise ValueError(f"{name[:100]!r} is not the name of a header field")
        if not (str.isprintable(value) and value.isascii()) and _TEXT(value) is None:
            raise ValueError(f"the value of {name[:100]} has a character that HTTP does not allow")
        if kind is _Kind.OTHER:
            kept.append((name, value.strip(" \t")))
        elif kind is _Kind.LENGTH:
            lengths.add(value.strip(" \t"))
        elif kind is _Kind.CONNECTION:
            named |= _named(value)
        size += len(name) + len(value)
    if size > HEAD_MAX:
        raise ValueError(f"the head has {size} characters, {HEAD_MAX} are allowed")
    if named:
        kept = [each for each in kept if each[0].lower() not in named]
    if len(lengths) == 1 and status != 204:
        (length,) = lengths
        if _LENGTH(length) is not None:
            kept.append(("Content-Length", length))
    return kept


def content_length(fields: Fields) -> int | None:
    """What :func:`checked` fields say about the length of the body, in bytes; None: nothing."""
    if fields and fields[-1][0] == "Content-Length":
        return int(fields[-1][1])
    return None


def is_bodiless(method: str, status: int) -> bool:
    """Whether the answer has no body, whatever its fields say."""
    return method == "HEAD" or status in _BODILESS


class _Kind(Enum):
    """What becomes of a field of an answer."""

    NONE = auto()
    CONNECTION = auto()
    HOP = auto()
    LENGTH = auto()
    OTHER = auto()


# Names repeat; but they come from others, so not any number of them is known.
@lru_cache(maxsize=256)
def _kind(name: str) -> _Kind:
    if _NAME(name) is None:
        return _Kind.NONE
    small = name.lower()
    if small == "connection":
        return _Kind.CONNECTION
    if small == "content-length":
        return _Kind.LENGTH
    return _Kind.HOP if small in _HOP or small.startswith("proxy-") else _Kind.OTHER


@lru_cache(maxsize=256)
def _request_name(name: str) -> str:
    """The name in small letters; empty for one that does not go to the application."""
    small = name.lower()
    if small in _HOP or small == "proxy" or small.startswith("proxy-") or "_" in small:
        return ""
    return small


def _named(value: str) -> set[str]:
    """The fields that a value of ``Connection`` names, in small letters."""
    return {each.strip(" \t").lower() for each in value.split(",")} - _OPTIONS
