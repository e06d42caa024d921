"""Properties of a message with other headers, and everything else left as it came (sans-I/O).

Decoding and encoding them again would lose the types that a publisher chose for its numbers, and
fail on text that is not UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from twbridge.codec.tables import encode_table

__all__ = ["array", "long", "rewritten", "table", "value"]

_u32 = struct.Struct(">I")
_i64 = struct.Struct(">q")

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x8000, 0x4000, 0x2000
_EXPIRATION = 0x0100
#: The properties between the headers and the expiration: flags, and how long they are. None: as
#: long as their first byte says.
_BETWEEN = ((0x1000, 1), (0x0800, 1), (0x0400, None), (0x0200, None))

#: The bytes of a field value behind its type; None: as many as its first four bytes say.
_SIZES: Mapping[int, int | None] = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLdT", 8),
    **dict.fromkeys(b"SxAF"),
    ord("D"): 5,
    ord("V"): 0,
}


def rewritten(
    raw: bytes,
    changed: Mapping[str, bytes],
    *,
    without: Collection[str] = (),
    expiration: bool = True,
) -> bytes:
    """Valid properties with other headers.

    Args:
        changed: headers to set, as :func:`value` or :func:`long` encode them.
        without: headers to remove.
        expiration: False removes the property.
    """
    flags = int.from_bytes(raw[:2], "big")
    at = 2
    for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    before, after = raw[2:at], at
    entries = []
    if flags & _HEADERS:
        after = _end(raw, at)
        gone = {name.encode() for name in (*changed, *without)}
        entries = [entry for name, entry in _entries(raw, at + 4, after) if name not in gone]
    entries += [_entry(name.encode(), data) for name, data in changed.items()]
    headers = b"".join(entries)
    rest = raw[after:]
    if flags & _EXPIRATION and not expiration:
        rest = _without_expiration(rest, flags)
        flags &= ~_EXPIRATION
    flags |= _HEADERS
    head = flags.to_bytes(2, "big") + before
    return b"%b%b%b%b" % (head, _u32.pack(len(headers)), headers, rest)


def value(of: Any) -> bytes:
    """A field value with its type. Raises EncodeError for what AMQP can't carry."""
    return encode_table({"": of})[5:]


def long(number: int) -> bytes:
    """A whole number in 64 bits, whatever its size."""
    return b"l" + _i64.pack(number)


def array(values: Iterable[bytes]) -> bytes:
    """An array of field values."""
    data = b"".join(values)
    return b"A%b%b" % (_u32.pack(len(data)), data)


def table(fields: Mapping[str, bytes]) -> bytes:
    """A table of field values."""
    data = b"".join(_entry(name.encode(), of) for name, of in fields.items())
    return b"F%b%b" % (_u32.pack(len(data)), data)


def _end(raw: bytes, at: int) -> int:
    return at + 4 + int(_u32.unpack_from(raw, at)[0])


def _entry(name: bytes, data: bytes) -> bytes:
    return b"%c%b%b" % (len(name), name, data)


def _entries(raw: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """The names and the whole entries of the table between two positions."""
    while at < end:
        kind = at + 1 + raw[at]
        size = _SIZES[raw[kind]]
        after = _end(raw, kind + 1) if size is None else kind + 1 + size
        yield raw[at + 1 : kind], raw[at:after]
        at = after


def _without_expiration(rest: bytes, flags: int) -> bytes:
    """``rest`` begins behind the headers."""
    at = 0
    for flag, size in _BETWEEN:
        if flags & flag:
            at += 1 + rest[at] if size is None else size
    return rest[:at] + rest[at + 1 + rest[at] :]
