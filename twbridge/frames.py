"""WebSocket frames of a server, ready for the socket (sans-I/O; RFC 6455, section 5.2).

A broadcast builds its frame once and writes the same bytes to each socket. Server frames are not
masked (section 5.1) and these are never fragmented.
"""

from __future__ import annotations

import struct

__all__ = [
    "binary_frame",
    "compressed_frame",
    "data_frame",
    "pong_frame",
    "split_frame",
    "text_frame",
]

_FIN = 0x80
_RSV1 = 0x40
_TEXT, _BINARY, _PONG = _FIN | 1, _FIN | 2, _FIN | 10

_head7 = struct.Struct(">BB").pack
_head16 = struct.Struct(">BBH").pack
_head64 = struct.Struct(">BBQ").pack


def text_frame(payload: bytes) -> bytes:
    """One text message. ``payload`` must be UTF-8: a browser closes the connection otherwise."""
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """One binary message."""
    return _frame(_BINARY, payload)


def data_frame(payload: bytes, binary: bool) -> bytes:
    """One message, text or binary."""
    return _frame(_BINARY if binary else _TEXT, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this payload, of at most 125 bytes."""
    return _frame(_PONG, payload)


def compressed_frame(first: int, payload: bytes) -> bytes:
    """One message whose payload is compressed already (RFC 7692, section 6).

    Args:
        first: the first byte of the plain frame.
    """
    return _frame(first | _RSV1, payload)


def split_frame(frame: bytes) -> tuple[int, bytes] | None:
    """The first byte and the payload of what one of the functions above has made.

    None: it is not exactly one whole text or binary frame, not compressed and not masked.
    """
    if len(frame) < 2 or frame[0] not in (_TEXT, _BINARY):
        return None
    size, start = frame[1], 2
    if size == 126:
        size, start = int.from_bytes(frame[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(frame[2:10], "big"), 10
    if size + start != len(frame) or frame[1] > 127:
        return None
    return frame[0], frame[start:]


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return _head7(first, size) + payload
    if size < 0x10000:
        return _head16(first, 126, size) + payload
    return _head64(first, 127, size) + payload
