"""The frame that nearly every message is, read without Autobahn's state machine (sans-I/O).

Half of what a published message costs was spent there. Only what is whole, final, masked, without
extensions and not empty is taken; all else, every error included, is left to Autobahn from its
first byte on, so that conformance stays its business.
"""

from __future__ import annotations

_TEXT, _BINARY = 0x81, 0x82  # FIN, RSV 0, RFC 6455 section 5.2
_MASKED, _LENGTH_16 = 0x80, 0xFE

Message = tuple[bytes, bool, int]


def next_message(data: bytes, at: int, limit: int) -> Message | None:
    """The message whose frame begins at ``at``.

    Args:
        limit: the longest payload to take, in bytes.

    Returns:
        Its payload, whether it is binary, and the position after it. None: it is not all there,
        or not of the plain kind.
    """
    if len(data) - at < 7:
        return None
    first, length = data[at], data[at + 1]
    if first not in (_TEXT, _BINARY) or not _MASKED < length <= _LENGTH_16:
        return None
    if length == _LENGTH_16:
        length = data[at + 2] << 8 | data[at + 3]
        if length < 126:
            return None  # not the shortest form
        at += 4
    else:
        length -= _MASKED
        at += 2
    end = at + 4 + length
    if end > len(data) or length > limit:
        return None
    payload = _unmasked(data[at : at + 4], data[at + 4 : end])
    if first == _TEXT and not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return None
    return payload, first == _BINARY, end


def _unmasked(key: bytes, payload: bytes) -> bytes:
    """RFC 6455 section 5.3, all bytes in one operation on a large number."""
    length = len(payload)
    mask = (key * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return number.to_bytes(length, "big")
