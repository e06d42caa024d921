"""AMQP field tables to and from Python values (sans-I/O).

RabbitMQ's dialect of the field types is spoken, which is what brokers and clients use in practice
(https://www.rabbitmq.com/amqp-0-9-1-errata.html#section_3). Why not pamqp's codec here: it writes
floats in single precision, cuts keys at 128 bytes and refuses bytes, and message headers must
arrive as they were sent.

=============================  ==================================================
Python                         on the wire
=============================  ==================================================
bool                           ``t``
int                            ``I`` in 32 bits, else ``l`` in 64 bits
float                          ``d``
Decimal                        ``D`` (scale 0 to 255, 32-bit mantissa)
str                            ``S``
bytes, bytearray, memoryview   ``x``
datetime                       ``T`` (whole seconds; a naive one counts as UTC)
dict                           ``F``
list, tuple                    ``A``
None                           ``V``
=============================  ==================================================

Read as well: ``b B s u i L f``. ``S`` that is not UTF-8 arrives as bytes; a ``T`` beyond the year
9999 (milliseconds, as a rule) as int.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from twbridge.errors import EncodeError, FrameError

__all__ = ["decode_table", "encode_table"]

# Deeper values are refused: the broker itself recurses over them, and so do we.
MAX_DEPTH = 64

_TEXT = ord("S")
_unpack_u32 = struct.Struct(">I").unpack_from
_pack_u32 = struct.Struct(">I").pack
_pack_i32 = struct.Struct(">ci").pack


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Encode a table with its four length bytes.

    Raises:
        EncodeError: a key or value that AMQP can't carry; the text names the key.
    """
    return _encode_table(table, 0)


def _encode_table(table: Mapping[str, Any], depth: int) -> bytes:
    parts = []
    for key, value in table.items():
        if not isinstance(key, str):
            raise EncodeError(f"a header name must be a string, not {type(key).__name__}")
        try:
            name = key.encode()
            if len(name) > 255:
                raise EncodeError(f"the header name {key[:40]!r}... is over 255 bytes")
            if type(value) is str:  # nearly always, or a number
                data = value.encode()
                parts.append(b"%c%bS%b%b" % (len(name), name, _pack_u32(len(data)), data))
            elif type(value) is int:
                parts.append(b"%c%b%b" % (len(name), name, _encode_int(value, depth)))
            else:
                parts.append(bytes((len(name),)) + name + _encode_value(value, depth + 1))
        except UnicodeEncodeError:
            raise EncodeError(f"the header {key!r} is not valid Unicode") from None
        except (TypeError, OverflowError, struct.error) as error:
            raise EncodeError(f"the header {key!r} can't be sent: {error}") from None
    body = b"".join(parts)
    return _pack_u32(len(body)) + body


def _encode_value(value: Any, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise EncodeError(f"headers are nested deeper than {MAX_DEPTH} levels")
    for kind, encode in _ENCODERS:
        if isinstance(value, kind):
            return encode(value, depth)
    if value is None:
        return b"V"
    raise TypeError(f"AMQP has no type for {type(value).__name__}")


def _encode_int(value: int, _depth: int) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _pack_i32(b"I", value)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return struct.pack(">cq", b"l", value)
    raise OverflowError("a whole number must fit into 64 bits")


def _encode_bytes(value: bytes | bytearray | memoryview, _depth: int) -> bytes:
    data = bytes(value)
    return b"x" + _pack_u32(len(data)) + data


def _encode_str(value: str, _depth: int) -> bytes:
    data = value.encode()
    return b"S" + _pack_u32(len(data)) + data


def _encode_decimal(value: Decimal, _depth: int) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError("a decimal must be finite")
    scale = max(0, -exponent)
    mantissa = int("".join(map(str, digits)) or "0") * 10 ** max(0, exponent)
    if scale > 255 or mantissa > 0x7FFFFFFF:
        raise OverflowError("a decimal has a 32-bit mantissa and at most 255 places")
    return struct.pack(">cBi", b"D", scale, -mantissa if sign else mantissa)


def _encode_time(value: datetime, _depth: int) -> bytes:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return struct.pack(">cQ", b"T", int(aware.timestamp()))


def _encode_array(value: Sequence[Any], depth: int) -> bytes:
    body = b"".join([_encode_value(item, depth + 1) for item in value])
    return b"A" + _pack_u32(len(body)) + body


_ENCODERS: tuple[tuple[Any, Callable[[Any, int], bytes]], ...] = (
    (str, _encode_str),
    (bool, lambda value, _depth: b"t\x01" if value else b"t\x00"),
    (int, _encode_int),
    (float, lambda value, _depth: struct.pack(">cd", b"d", value)),
    (Mapping, lambda value, depth: b"F" + _encode_table(value, depth)),
    ((list, tuple), _encode_array),
    ((bytes, bytearray, memoryview), _encode_bytes),
    (Decimal, _encode_decimal),
    (datetime, _encode_time),
)


def decode_table(data: bytes, start: int = 0) -> tuple[dict[str, Any], int]:
    """Decode the table whose length bytes begin at ``start``.

    Returns:
        The table, and the position after it.

    Raises:
        FrameError: 502, the bytes are not a field table.
    """
    try:
        return _decode_table(data, start, 0)
    except (struct.error, IndexError, KeyError) as error:
        raise FrameError(502, f"malformed field table: {error}") from None


def _length(data: bytes, position: int) -> int:
    """The end of a value whose four length bytes are at ``position``."""
    end: int = position + 4 + _unpack_u32(data, position)[0]
    if end > len(data):
        raise FrameError(502, "malformed field table: a value is longer than its table")
    return end


def _decode_table(data: bytes, position: int, depth: int) -> tuple[dict[str, Any], int]:
    end = _length(data, position)
    position += 4
    table: dict[str, Any] = {}
    while position < end:
        after = position + 1 + data[position]
        name = data[position + 1 : after].decode("utf-8", "backslashreplace")
        if data[after] == _TEXT:  # nearly always
            table[name], position = _decode_str(data, after + 1, depth)
        else:
            table[name], position = _decode_value(data, after, depth + 1)
    if position != end:
        raise FrameError(502, "malformed field table: a value is longer than its table")
    return table, end


def _decode_value(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise FrameError(502, f"a field table is nested deeper than {MAX_DEPTH} levels")
    kind = data[position : position + 1]
    position += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed.unpack_from(data, position)[0], position + fixed.size
    return _DECODERS[kind](data, position, depth)


def _decode_str(data: bytes, position: int, _depth: int) -> tuple[str | bytes, int]:
    end = _length(data, position)
    value = data[position + 4 : end]
    try:
        return value.decode(), end
    except UnicodeDecodeError:
        return value, end


def _decode_bytes(data: bytes, position: int, _depth: int) -> tuple[bytes, int]:
    end = _length(data, position)
    return data[position + 4 : end], end


def _decode_decimal(data: bytes, position: int, _depth: int) -> tuple[Decimal, int]:
    scale, mantissa = struct.unpack_from(">Bi", data, position)
    return Decimal(mantissa).scaleb(-scale), position + 5


def _decode_time(data: bytes, position: int, _depth: int) -> tuple[datetime | int, int]:
    (seconds,) = struct.unpack_from(">Q", data, position)
    try:
        return datetime.fromtimestamp(seconds, UTC), position + 8
    except (OverflowError, OSError, ValueError):
        return seconds, position + 8


def _decode_array(data: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    end = _length(data, position)
    position += 4
    items = []
    while position < end:
        item, position = _decode_value(data, position, depth + 1)
        items.append(item)
    if position != end:
        raise FrameError(502, "malformed field table: a value is longer than its array")
    return items, end


_FIXED = {
    b"t": struct.Struct(">?"),
    b"b": struct.Struct(">b"),
    b"B": struct.Struct(">B"),
    b"s": struct.Struct(">h"),
    b"u": struct.Struct(">H"),
    b"I": struct.Struct(">i"),
    b"i": struct.Struct(">I"),
    b"l": struct.Struct(">q"),
    b"L": struct.Struct(">q"),
    b"f": struct.Struct(">f"),
    b"d": struct.Struct(">d"),
}

_DECODERS: dict[bytes, Callable[[bytes, int, int], tuple[Any, int]]] = {
    b"S": _decode_str,
    b"x": _decode_bytes,
    b"D": _decode_decimal,
    b"T": _decode_time,
    b"A": _decode_array,
    b"F": _decode_table,
    b"V": lambda _data, position, _depth: (None, position),
}
