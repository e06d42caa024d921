"""The address grammar: ``/exchange/<exchange>[/<key>]``, ``/topic/<key>``, ``/queue/<name>``.

Pure: no I/O, no state but a bounded cache.

It is the grammar of RabbitMQ's STOMP adapter. Segments are percent-encoded UTF-8; a missing key of
``/exchange`` is the empty key. Names and keys take 255 bytes at most, AMQP's limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args
from urllib.parse import quote, unquote_to_bytes

from twbridge.errors import BadDestination
from twbridge.topics import compile_pattern, covers

__all__ = ["Destination", "Kind", "compile_pattern", "covers", "parse", "unquote"]

Kind = Literal[
    "exchange", "topic", "queue", "amq-queue", "stream", "temp-queue", "reply-queue", "task"
]

#: AMQP's short string.
MAX_BYTES = 255
#: Two segments of 255 bytes, each byte percent-encoded, and the kind.
MAX_LENGTH = 2 * 3 * MAX_BYTES + 20

#: The kinds that the grammar has and no client may use.
UNSERVED: tuple[Kind, ...] = ("temp-queue", "task")

_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind) if kind != "amq-queue"}
_GRAMMAR = ", ".join(
    ["/exchange/<exchange>[/<key>]", "/topic/<key>", "/amq/queue/<name>"]
    + [f"/{kind}/<name>" for kind in _KINDS if kind not in ("exchange", "topic", *UNSERVED)]
)
_BAD_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What a segment may show as it is; the rest is percent-encoded in the canonical form.
_SAFE = "!$&'()*+,;=:@#"


@dataclass(frozen=True, slots=True)
class Destination:
    """An address. Two are equal when they mean the same, however they were written.

    ``str()`` gives it back as it was written (a client finds its messages by what it wrote), or
    in the canonical form where it was not parsed.
    """

    kind: Kind
    #: The exchange of kind ``exchange``, the queue, stream or task of the others, else empty.
    name: str = ""
    #: The routing key, or the binding key of a subscription; kinds ``exchange`` and ``topic``.
    key: str = ""
    written: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return self.written or self.canonical

    @property
    def canonical(self) -> str:
        """The one spelling that all equal destinations share."""
        if self.kind == "topic":
            return f"/topic/{quote(self.key, _SAFE)}"
        name = quote(self.name, _SAFE)
        if self.kind == "amq-queue":
            return f"/amq/queue/{name}"
        if self.kind == "exchange" and self.key:
            return f"/exchange/{name}/{quote(self.key, _SAFE)}"
        return f"/{self.kind}/{name}"

    @property
    def live(self) -> bool:
        """Whether a subscription to it is a binding: at most once, shared queues."""
        return self.kind in ("exchange", "topic")

    @property
    def exchange(self) -> str:
        """The exchange to publish to or to bind to; empty is the default exchange."""
        if self.kind == "topic":
            return "amq.topic"
        return self.name if self.kind == "exchange" else ""

    @property
    def routing_key(self) -> str:
        """The key to publish with or to bind with; the queue's name on the default exchange."""
        if self.live:
            return self.key
        return f"twbridge.task.{self.name}" if self.kind == "task" else self.name


def parse(text: str) -> Destination:
    """Read an address.

    Raises:
        BadDestination: it is outside the grammar; the text says where.
    """
    if len(text) > MAX_LENGTH:
        raise BadDestination(f"A destination has at most {MAX_LENGTH} characters.")
    return _parse(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Destination:
    kind, segments = split(text)
    decoded = [unquote(segment) for segment in segments]
    if kind == "topic":
        return Destination(kind, "", decoded[0], text)
    if not decoded[0]:
        raise BadDestination(f"The name in {shown(text)} is empty.")
    return Destination(kind, decoded[0], decoded[1] if len(decoded) == 2 else "", text)


def split(text: str) -> tuple[Kind, list[str]]:
    """The kind of an address and its one or two segments, still percent-encoded.

    Raises:
        BadDestination: there is no such kind, or too few or too many segments.
    """
    if _BAD_CHARACTER.search(text):
        raise BadDestination("A control character in a destination must be percent-encoded.")
    first, *segments = text.removeprefix("/").split("/") if text.startswith("/") else [""]
    kind = _KINDS.get(first)
    if first == "amq" and segments[:1] == ["queue"]:
        kind, segments = "amq-queue", segments[1:]
    if kind is None or not 1 <= len(segments) <= (2 if kind == "exchange" else 1):
        raise BadDestination(f"{shown(text)} is not a destination: {_GRAMMAR}.")
    return kind, segments


def unquote(segment: str) -> str:
    """Decode one segment.

    Raises:
        BadDestination: a malformed escape, not UTF-8, or over 255 bytes.
    """
    if _BAD_ESCAPE.search(segment):
        raise BadDestination(f"{shown(segment)} has a % without two hexadecimal digits.")
    try:
        data = unquote_to_bytes(segment)
        decoded = data.decode()
    except UnicodeError:
        raise BadDestination(f"{shown(segment)} is not UTF-8.") from None
    if len(data) > MAX_BYTES:
        raise BadDestination(f"A name or a key has at most {MAX_BYTES} bytes.")
    return decoded


def shown(text: str) -> str:
    """The text as it may stand in a sentence: quoted, escaped and not too long."""
    return ascii(text if len(text) <= 60 else text[:60] + "...")
