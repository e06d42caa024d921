"""permessage-deflate, for what many get (sans-I/O; RFC 7692).

No context goes over from one message to the next, in either direction. So a compressed message is
the same bytes for all clients, and a broadcast is compressed once, however many there are; and a
connection keeps no window between messages.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.frames import compressed_frame, split_frame
from twbridge.wire import Delivery

__all__ = ["WORTH", "agree", "deflated", "deflating", "once"]

#: Payloads of fewer bytes are sent as they are.
WORTH: Final = 128
# Nearly as small as with 6, the usual one, in half the time where messages are large.
_LEVEL: Final = 3
_TAIL: Final = b"\x00\x00\xff\xff"
_BITS: Final = re.compile("[89]|1[0-5]")
_NO_VALUE: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})

Extension = tuple[str, Mapping[str, Sequence[Any]]]
"""A name and its parameters, each with every value that it came with; True: without a value."""


def agree(extensions: Iterable[Extension]) -> int | None:
    """The window in bits to compress with for a client, by the first offer that can be met.

    An offer that RFC 7692 (section 7.1) does not know is declined, not refused. The server's
    window is 15 unless the offer says less. It can't be 8, which zlib does not have.

    Returns:
        9 to 15; None where no offer can be met.
    """
    for name, parameters in extensions:
        if name == "permessage-deflate":
            bits = _window(parameters)
            if bits is not None:
                return bits
    return None


def _window(parameters: Mapping[str, Sequence[Any]]) -> int | None:
    bits = 15
    for name, values in parameters.items():
        if len(values) != 1:
            return None
        value = values[0]
        if value is True:
            known = name in _NO_VALUE or name == "client_max_window_bits"
        else:
            known = name in ("client_max_window_bits", "server_max_window_bits")
            known = known and _BITS.fullmatch(value) is not None
        if not known:
            return None
        if name == "server_max_window_bits":
            bits = int(value)
    return bits if bits > 8 else None


def deflated(frame: bytes, bits: int = 15) -> bytes:
    """A data frame with its payload compressed (section 7.2.1); the same where that is no use.

    Args:
        bits: the window; a smaller one is taken where the payload is smaller.
    """
    parts = split_frame(frame)
    if parts is None:
        return frame
    first, payload = parts
    size = len(payload)
    if size < WORTH:
        return frame
    # Most of the time that a small message takes is to prepare a window that it does not fill.
    window = min(bits, max(9, size.bit_length()))
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    if len(data) - len(_TAIL) >= size:
        return frame
    return compressed_frame(first, data.removesuffix(_TAIL))


class _Once:
    """An encoder that remembers its last frame, for those who ask for the same one."""

    __slots__ = ("_delivery", "_destination", "_encode", "_frame", "_numbers")

    def __init__(self, encoder: Encoder) -> None:
        self._encode = encoder.encode
        self._delivery: Delivery | None = None
        self._destination: Destination | None = None
        self._numbers: tuple[int | None, int | None] = (None, None)
        self._frame = b""

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """The frame of the encoder within."""
        numbers = (offset, delivery_tag)
        # Equal destinations may be written differently, and the frame has what was written.
        if (
            delivery is self._delivery
            and destination is self._destination
            and numbers == self._numbers
        ):
            return self._frame
        frame = self._encode(destination, delivery, offset=offset, delivery_tag=delivery_tag)
        self._delivery, self._destination = delivery, destination
        self._numbers, self._frame = numbers, frame
        return frame


class _Deflating:
    """An encoder that compresses the frames of another, each once."""

    __slots__ = ("_bits", "_encode", "_frame", "_plain")

    def __init__(self, encoder: Encoder, bits: int) -> None:
        self._encode = encoder.encode
        self._bits = bits
        self._plain = self._frame = b""

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """The frame, compressed where that makes it smaller."""
        plain = self._encode(destination, delivery, offset=offset, delivery_tag=delivery_tag)
        if plain is not self._plain:
            self._plain, self._frame = plain, deflated(plain, self._bits)
        return self._frame


# Bounded: a dialect of a plugin may have an encoder for each session. One that fell out and comes
# again has another object around it, which costs another compression and nothing else.
_once = lru_cache(maxsize=64)(_Once)
_deflating = lru_cache(maxsize=64)(_Deflating)


def once(encoder: Encoder) -> Encoder:
    """An encoder for the clients that get plain frames, where others get compressed ones.

    What is encoded for one of them is not encoded again for the others. It is the same object
    for the same encoder.
    """
    return _once(cast(Hashable, encoder))


def deflating(encoder: Encoder, bits: int = 15) -> Encoder:
    """An encoder that compresses what ``encoder`` makes.

    It is the same object for the same arguments, in the whole process: so a message is compressed
    once for all clients of all listeners.
    """
    return _deflating(cast(Hashable, once(encoder)), bits)
