"""The arguments of AMQP methods to and from bytes (sans-I/O).

``pamqp.commands`` holds every method of AMQP 0-9-1 with RabbitMQ's extensions: its names, fields
and types are used, and its decoding. Encoding is done here, because pamqp's refuses names that
RabbitMQ takes (any UTF-8) and its tables lose precision (see ``tables.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pamqp import base, commands

from twbridge.errors import EncodeError, FrameError
from twbridge.properties import short
from twbridge.tables import encode_table


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
    kind = commands.INDEX_MAPPING.get(method_id)
    if kind is None:
        raise FrameError(503, f"there is no method {method_id >> 16}.{method_id & 0xFFFF}")
    method: base.Frame = kind()
    try:
        method.unmarshal(arguments)
    except (ValueError, struct.error, IndexError, RecursionError, OverflowError) as error:
        raise FrameError(502, f"malformed arguments of {method.name}: {error}") from None
    return method
