"""The properties of a message to and from bytes (sans-I/O; AMQP 0-9-1, section 4.2.6.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, TypedDict

from twbridge.codec.tables import decode_table, encode_table
from twbridge.errors import EncodeError, FrameError


class Properties(TypedDict, total=False):
    """The properties of a message (class basic, section 1.8); an absent key is an absent one."""

    content_type: str
    content_encoding: str
    headers: dict[str, Any]
    delivery_mode: int
    priority: int
    correlation_id: str
    reply_to: str
    expiration: str
    message_id: str
    timestamp: int
    type: str
    user_id: str
    app_id: str
    cluster_id: str


def text(data: bytes) -> str:
    r"""A short string. AMQP allows any bytes in it; what is not UTF-8 is shown as ``\xff``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "backslashreplace")


def short(value: str, what: str) -> bytes:
    """A short string with its length byte. Raises EncodeError past 255 bytes."""
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise EncodeError(f"the {what} is not valid Unicode") from None
    except AttributeError:
        raise EncodeError(f"{what} must be a string") from None
    if len(data) > 255:
        raise EncodeError(f"the {what} is over 255 bytes")
    return _LENGTHS[len(data)] + data


_LENGTHS = tuple(bytes((length,)) for length in range(256))


_SHORT, _TABLE, _OCTET, _TIME = "a string", "a table", "a number from 0 to 255", "whole seconds"
_PROPERTIES = (
    ("content_type", _SHORT),
    ("content_encoding", _SHORT),
    ("headers", _TABLE),
    ("delivery_mode", _OCTET),
    ("priority", _OCTET),
    ("correlation_id", _SHORT),
    ("reply_to", _SHORT),
    ("expiration", _SHORT),
    ("message_id", _SHORT),
    ("timestamp", _TIME),
    ("type", _SHORT),
    ("user_id", _SHORT),
    ("app_id", _SHORT),
    ("cluster_id", _SHORT),
)
_FLAGS = {name: (0x8000 >> index, kind) for index, (name, kind) in enumerate(_PROPERTIES)}


def encode_properties(properties: Mapping[str, Any], behind: int = 0) -> bytes:
    """The property flags and values of a content header (section 4.2.6.1).

    Args:
        behind: the flags of properties that the caller appends.

    Raises:
        EncodeError: an unknown property, or a value of the wrong type or range; it is named.
    """
    flags, plan = _plan(tuple(properties))
    values = [b""]
    for name, flag, encode, kind in plan:
        value = properties[name]
        if value is None:
            flags ^= flag
            continue
        try:
            values.append(encode(value, name))
        except EncodeError:
            raise
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise EncodeError(f"{name} must be {kind}") from None
    values[0] = (flags | behind).to_bytes(2, "big")
    return b"".join(values)


_Encoder: TypeAlias = Callable[[Any, str], bytes]

_ENCODERS: dict[str, _Encoder] = {
    _SHORT: short,
    _TABLE: lambda value, _name: encode_table(value),
    _OCTET: lambda value, _name: bytes((value,)),
    _TIME: lambda value, _name: int(value).to_bytes(8, "big"),
}


@lru_cache(maxsize=1024)
def _plan(names: tuple[str, ...]) -> tuple[int, tuple[tuple[str, int, _Encoder, str], ...]]:
    """The flags of these properties, and how each is encoded, in their order on the wire.

    Raises:
        EncodeError: there is no such property.
    """
    for name in names:
        if name not in _FLAGS:
            raise EncodeError(f"there is no message property {name!r}")
    plan = [(name, *_FLAGS[name]) for name in _FLAGS if name in names]
    flags = sum(flag for _, flag, _ in plan)
    return flags, tuple((name, flag, _ENCODERS[kind], kind) for name, flag, kind in plan)


def decode_properties(raw: bytes) -> Properties:
    """The inverse of :func:`encode_properties`.

    Raises:
        FrameError: 502, malformed bytes.
    """
    try:
        return _decode(raw, bytes.decode)
    except UnicodeDecodeError:
        return _decode(raw, text)


def _decode(raw: bytes, read_text: Callable[[bytes], str]) -> Properties:
    found: dict[str, Any] = {}
    try:
        at = 2
        for name, kind in _present(int.from_bytes(raw[:2], "big")):
            if kind is _SHORT:
                after = at + 1 + raw[at]
                found[name] = read_text(raw[at + 1 : after])
            elif kind is _OCTET:
                found[name], after = raw[at], at + 1
            elif kind is _TIME:
                found[name], after = int.from_bytes(raw[at : at + 8], "big"), at + 8
            else:
                found[name], after = decode_table(raw, at)
            at = after
    except IndexError:
        raise FrameError(502, "malformed message properties") from None
    if found and at > len(raw):
        raise FrameError(502, "message properties are longer than their header")
    return found  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def _present(flags: int) -> tuple[tuple[str, str], ...]:
    """The properties that these flags say are there, with their kinds."""
    return tuple((name, kind) for name, (flag, kind) in _FLAGS.items() if flags & flag)
