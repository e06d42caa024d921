"""STOMP headers and AMQP properties, both ways, as RabbitMQ maps them (pure).

====================  ==========================================================================
STOMP header          AMQP property
====================  ==========================================================================
content-type          content_type
content-encoding      content_encoding
persistent            delivery_mode: ``true`` is 2; without it a message is transient
priority              priority
correlation-id        correlation_id
reply-to              reply_to; an AMQP name becomes ``/reply-queue/<name>`` on its way to a client
expiration            expiration
amqp-message-id       message_id (``message-id`` is STOMP's own)
timestamp             timestamp
type                  type
user-id               user_id
app-id                app_id
any other             an entry of the header table: strings, and whole numbers towards a client
====================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from twbridge.codec.properties import text
from twbridge.codec.tables import decode_table
from twbridge.destinations import shown
from twbridge.dialects.stomp.frames import Frame, Version, header_line
from twbridge.errors import BadFrame, FrameError
from twbridge.reply_addresses import given

__all__ = [
    "boolean",
    "is_true",
    "message_destination",
    "message_lines",
    "properties_of",
    "whole_number",
]

_TEXTS = {
    "content-type": "content_type",
    "content-encoding": "content_encoding",
    "correlation-id": "correlation_id",
    "reply-to": "reply_to",
    "expiration": "expiration",
    "amqp-message-id": "message_id",
    "type": "type",
    "user-id": "user_id",
    "app-id": "app_id",
}
_NUMBERS = {"priority": ("priority", 255), "timestamp": ("timestamp", 2**63 - 1)}
#: No entries of the header table; the others are.
_NOT_USERS = frozenset({*_TEXTS, *_NUMBERS, "persistent", "destination", "content-length"})

#: STOMP's own on a MESSAGE: no publisher can write them in a client's eyes.
_OWN = frozenset(
    {"subscription", "destination", "message-id", "redelivered", "ack", "content-length", ""}
)
_ADDRESSES = (b"/exchange", b"/topic", b"/queue", b"/amq/queue", b"/reply-queue/")

#: What RabbitMQ writes as it is in a destination; the rest is percent-encoded.
_SAFE = "".join(chr(code) for code in range(32, 128) if chr(code) not in "/%")

_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}


# -- from a client ----------------------------------------------------------------------------


def properties_of(frame: Frame) -> dict[str, Any]:
    """The AMQP properties of a SEND. None is for what the bridge is not to fill in: a message has
    what its sender gave it, as in Web STOMP, and an id.

    Raises:
        BadFrame: a number that is none, or too large.
    """
    headers = frame.headers
    properties: dict[str, Any] = {"delivery_mode": 1, "timestamp": None, "app_id": None}
    users: dict[str, str] = {}
    for name, value in headers.items():
        if name not in _NOT_USERS:
            users[name] = value
        elif name in _TEXTS:
            properties[_TEXTS[name]] = value
        elif name in _NUMBERS:
            attribute, most = _NUMBERS[name]
            properties[attribute] = whole_number(headers, name, most)
        elif name == "persistent" and is_true(value):
            properties["delivery_mode"] = 2
    if users:
        properties["headers"] = users
    return properties


def whole_number(headers: Mapping[str, str], name: str, most: int) -> int:
    """The value of a header that is there.

    Raises:
        BadFrame: it is not a whole number from 0 to ``most``.
    """
    digits = headers[name].strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= 19 and int(digits) <= most:
        return int(digits)
    raise BadFrame(f"The header {name} is a whole number from 0 to {most}.")


def is_true(word: str | None) -> bool | None:
    """Whether a header that is not worth an error says ``true``; None: neither that nor false."""
    return None if word is None else _BOOLEANS.get(word)


def boolean(headers: Mapping[str, str], name: str) -> bool | None:
    """The value of a header: None where it is not there.

    Raises:
        BadFrame: it is neither ``true`` nor ``false``.
    """
    word = headers.get(name)
    if word is None:
        return None
    try:
        return _BOOLEANS[word]
    except KeyError:
        raise BadFrame(f"The header {name} is true or false, not {shown(word)}.") from None


# -- to a client ------------------------------------------------------------------------------

_SHORT, _TABLE, _OCTET, _TIME, _MODE, _ADDRESS, _SILENT = range(7)

#: The properties in their order on the wire, from the highest bit of the flags on.
_ON_WIRE = (
    (_SHORT, "content-type"),
    (_SHORT, "content-encoding"),
    (_TABLE, ""),
    (_MODE, "persistent"),
    (_OCTET, "priority"),
    (_SHORT, "correlation-id"),
    (_ADDRESS, "reply-to"),
    (_SHORT, "expiration"),
    (_SHORT, "amqp-message-id"),
    (_TIME, "timestamp"),
    (_SHORT, "type"),
    (_SHORT, "user-id"),
    (_SHORT, "app-id"),
    (_SILENT, "cluster-id"),
)
#: What can't be written as it is, in one of the versions at least.
_SPECIAL = re.compile(rb"[^\x20-\x39\x3b-\x5b\x5d-\x7e]")


def message_lines(raw: bytes, version: Version) -> bytes:
    """What a MESSAGE says of a delivery's properties: header lines, each with its line feed.

    This is done for every message, so the bytes are read directly. A property goes before an
    entry of the header table with its name; entries that have no form in STOMP (tables, arrays,
    bytes..) are left out. The order is RabbitMQ's.

    Raises:
        FrameError: 502, these bytes are not AMQP properties.
    """
    lines: list[bytes] = []
    table = b""
    at = 2
    try:
        flags = raw[0] << 8 | raw[1]
        for kind, name, head in _plan(flags):
            if kind == _SHORT:
                after = at + 1 + raw[at]
                value = raw[at + 1 : after]
                if _SPECIAL.search(value):
                    lines.append(_line(name, head, value, version))
                else:
                    lines.append(head + value + b"\n")
            elif kind == _TIME:
                after = at + 8
                lines.append(b"%b%d\n" % (head, int.from_bytes(raw[at:after], "big")))
            elif kind == _TABLE:
                after = at + 4 + int.from_bytes(raw[at : at + 4], "big")
                found = _plain_lines(raw, at + 4, after, flags)
                if found is None:
                    entries, after = decode_table(raw, at)
                    found = _table_lines(entries, flags, version)
                table = found
            else:
                after = at + 1 + (raw[at] if kind in (_ADDRESS, _SILENT) else 0)
                lines.append(_other(kind, name, head, raw[at:after], version))
            at = after
    except IndexError:
        raise FrameError(502, "malformed message properties") from None
    if at > len(raw):
        raise FrameError(502, "a message property is longer than its header")
    lines.reverse()
    return table + b"".join(lines) if table else b"".join(lines)


@lru_cache(maxsize=1024)
def _plan(flags: int) -> tuple[tuple[int, str, bytes], ...]:
    """The properties that these flags say are there: kind, name, and how their lines begin."""
    return tuple(
        (kind, name, f"{name}:".encode())
        for index, (kind, name) in enumerate(_ON_WIRE)
        if flags & 0x8000 >> index
    )


def _line(name: str, head: bytes, value: bytes, version: Version) -> bytes:
    if _SPECIAL.search(value):
        return f"{header_line(name, text(value), version)}\n".encode()
    return b"%b%b\n" % (head, value)


def _other(kind: int, name: str, head: bytes, data: bytes, version: Version) -> bytes:
    if kind == _ADDRESS:
        value = data[1:]
        known = value.startswith(_ADDRESSES)
        if not known:
            given.give(value)
        return _line(name, head, value if known else b"/reply-queue/" + value, version)
    if kind == _OCTET:
        return b"%b%d\n" % (head, data[0])
    # Of mode 1 nothing is said: a SEND that is not persistent says nothing either.
    return b"persistent:true\n" if kind == _MODE and data[0] == 2 else b""


def _plain_lines(raw: bytes, at: int, end: int, flags: int) -> bytes | None:
    """The lines of a header table that has nothing but short texts without special characters.

    None: it has; or it is malformed.
    """
    lines = b""
    while at < end:
        after = at + 1 + raw[at]
        # The type S, and a length that fits into its last byte.
        if raw[after : after + 4] != b"S\0\0\0":
            return None
        stop = after + 5 + raw[after + 4]
        name, value = raw[at + 1 : after], raw[after + 5 : stop]
        if _SPECIAL.search(name) or _SPECIAL.search(value):
            return None
        if name not in _OWN_BYTES and not flags & _FLAG_BYTES.get(name, 0):
            lines += name + b":" + value + b"\n"
        at = stop
    return lines if at == end <= len(raw) else None


def _table_lines(entries: Mapping[str, Any], flags: int, version: Version) -> bytes:
    lines: list[str] = []
    for name, value in entries.items():
        kind = type(value)
        if (kind is str or kind is int) and name not in _OWN and not flags & _FLAGS.get(name, 0):
            lines.append(header_line(name, str(value), version))
    return ("\n".join(lines) + "\n").encode() if lines else b""


_FLAGS = {name: 0x8000 >> index for index, (_, name) in enumerate(_ON_WIRE) if name}
_FLAG_BYTES = {name.encode(): flag for name, flag in _FLAGS.items()}
_OWN_BYTES = frozenset(name.encode() for name in _OWN)


@lru_cache(maxsize=4096)
def message_destination(exchange: str, routing_key: str) -> str:
    """Where a message was published to, as an address."""
    key = quote(routing_key, _SAFE)
    if exchange in ("", "amq.topic"):
        return f"/topic/{key}" if exchange else f"/queue/{key}"
    name = quote(exchange, _SAFE)
    return f"/exchange/{name}/{key}" if key else f"/exchange/{name}"
