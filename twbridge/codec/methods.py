"""The arguments of AMQP methods to and from bytes (sans-I/O).

``pamqp.commands`` holds every method of AMQP 0-9-1 with RabbitMQ's extensions: its names, fields
and types are what is used here. Its own codec refuses names that RabbitMQ takes (any UTF-8) and
sentences that RabbitMQ sends (cut within a character), and its tables lose precision.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pamqp import base, commands

from twbridge.codec.properties import short, text
from twbridge.codec.tables import decode_table, encode_table
from twbridge.errors import EncodeError, FrameError


def _long_string(value: str | bytes, _name: str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


def _number(layout: str) -> Callable[[Any, str], bytes]:
    pack = struct.Struct(layout).pack
    return lambda value, _name: pack(value or 0)


_ENCODERS: dict[str, Callable[[Any, str], bytes]] = {
    "octet": _number(">B"),
    "short": _number(">H"),
    "long": _number(">I"),
    "longlong": _number(">Q"),
    "timestamp": _number(">Q"),
    "shortstr": lambda value, name: short(value or "", name),
    "longstr": lambda value, name: _long_string(value or b"", name),
    "table": lambda value, _name: encode_table(value or {}),
}


def encode_method(method: base.Frame) -> bytes:
    """Class id, method id and arguments (section 2.3.5.1); bits are packed (4.2.5.2).

    Raises:
        EncodeError: an argument that can't be encoded; it is named.
    """
    parts = [struct.pack(">I", method.index)]
    bits: list[bool] = []
    for name in method.__slots__:
        kind = method.amqp_type(name)
        value = getattr(method, name, None)
        if kind == "bit":
            bits.append(bool(value))
            continue
        parts.append(_pack_bits(bits))
        try:
            parts.append(_ENCODERS[kind](value, name))
        except EncodeError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
            raise EncodeError(f"{method.name}: {name} can't be sent: {error}") from None
    parts.append(_pack_bits(bits))
    return b"".join(parts)


def _pack_bits(bits: list[bool]) -> bytes:
    """The bytes of the bits collected so far; none for none. No method has more than eight."""
    if not bits:
        return b""
    octet = sum(bit << index for index, bit in enumerate(bits))
    bits.clear()
    return bytes((octet,))


def decode_method(method_id: int, arguments: bytes) -> base.Frame:
    """The pamqp object of a method.

    Raises:
        FrameError: 503, an unknown method; 502, malformed arguments.
    """
    kind: Any = commands.INDEX_MAPPING.get(method_id)
    if kind is None:
        raise FrameError(503, f"there is no method {method_id >> 16}.{method_id & 0xFFFF}")
    method: base.Frame = kind.__new__(kind)
    at = bit = 0
    try:
        for name in method.__slots__:
            argument = method.amqp_type(name)
            if argument == "bit":
                setattr(method, name, bool(arguments[at] >> bit & 1))
                bit += 1
                continue
            at, bit = at + (bit > 0), 0
            value, at = _DECODERS[argument](arguments, at)
            setattr(method, name, value)
        if at + (bit > 0) != len(arguments):
            raise FrameError(502, f"malformed arguments of {method.name}")
    except (struct.error, IndexError) as error:
        raise FrameError(502, f"malformed arguments of {method.name}: {error}") from None
    return method


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return text(data[at + 1 : end]), end


def _read_long(data: bytes, at: int) -> tuple[str | bytes, int]:
    (size,) = struct.unpack_from(">I", data, at)
    end = at + 4 + size
    value = data[at + 4 : end]
    try:
        return value.decode(), end
    except UnicodeDecodeError:
        return value, end


def _read_number(layout: str) -> Callable[[bytes, int], tuple[int, int]]:
    number = struct.Struct(layout)
    return lambda data, at: (number.unpack_from(data, at)[0], at + number.size)


_DECODERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "octet": _read_number(">B"),
    "short": _read_number(">H"),
    "long": _read_number(">I"),
    "longlong": _read_number(">Q"),
    "timestamp": _read_number(">Q"),
    "shortstr": _read_short,
    "longstr": _read_long,
    "table": decode_table,
}
