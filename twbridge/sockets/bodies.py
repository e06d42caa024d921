"""Bodies of HTTP/1.1 requests (RFC 9112, sections 6 and 7), strictly and with a limit (sans-I/O).

Where a body ends is where the next request begins: whatever two readers could read in two ways is
refused, and the connection ends.
"""

from __future__ import annotations

import re
from typing import Final

from twbridge.sockets.heads import Head, Refusal, is_field

_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LINE: Final = 4_096
_CRLF: Final = b"\r\n"


class BodyPieces:
    """Reads the body of one request, piece by piece as it comes.

    Args:
        head: the request's.
        limit: bytes of the body. Its chunks may take as much again, and 64 KiB.

    Attributes:
        length: bytes of the whole body; None: its chunks will tell.

    Raises:
        Refusal: 400, its length is told in no way, or in two; 413, it is larger than the limit.
    """

    __slots__ = ("_data", "_in_chunk", "_in_trailer", "_left", "_limit", "_overhead", "length")

    def __init__(self, head: Head, limit: int) -> None:
        coding, length = head.one("transfer-encoding"), head.one("content-length")
        self.length: int | None = 0
        self._limit = limit
        self._overhead = limit + 65_536
        # Bytes to come of the body, or of the chunk.
        self._left = 0
        # None until it is known that there are chunks: then what was not read yet.
        self._data: bytes | None = None
        self._in_chunk = self._in_trailer = False
        if coding is not None:
            if length is not None or coding.lower() != "chunked" or head.version < (1, 1):
                raise Refusal(400, "The length of the request's body is not clear.")
            self._data = b""
            self.length = None
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise Refusal(400, "The length of the request's body is not a number.")
            self.length = int(length)
            self._expect(self.length)

    def _expect(self, size: int) -> None:
        self._limit -= size
        self._left = size
        if self._limit < 0:
            raise Refusal(413, "The request's body is too large.")

    def receive(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Takes bytes as they come.

        Returns:
            What belongs to the body; and None while that is not complete, then what was received
            behind it.

        Raises:
            Refusal: 400, the chunks are none; 413, the body is larger than the limit.
        """
        if self._data is not None:
            return self._receive_chunks(self._data + data)
        size = self._left
        if len(data) < size:
            self._left -= len(data)
            return data, None
        self._left = 0
        return data[:size], data[size:]

    def _receive_chunks(self, data: bytes) -> tuple[bytes, bytes | None]:
        at, found = 0, []
        while True:
            if self._left:
                end = min(at + self._left, len(data))
                found.append(data[at:end])
                self._left -= end - at
                at = end
            end = data.find(_CRLF, at, at + _LINE)
            if self._left or end < 0:
                if len(data) - at >= _LINE:
                    raise Refusal(400, "A line between the chunks is too long.")
                self._data = data[at:]
                return b"".join(found), None
            line, at = data[at:end], end + 2
            self._overhead -= len(line) + 2
            if self._overhead < 0:
                raise Refusal(413, "The request's body is in too many pieces.")
            if self._read(line):
                return b"".join(found), data[at:]

    def _read(self, line: bytes) -> bool:
        """Reads a line between chunks; true for the last of all."""
        if self._in_trailer:
            if line and not is_field(line):
                raise Refusal(400, "A line behind the request's body is not a header field.")
            return not line
        if self._in_chunk:
            if line:
                raise Refusal(400, "A chunk of the request's body is longer than it says.")
            self._in_chunk = False
            return False
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise Refusal(400, "A chunk of the request's body has no length.")
        self._expect(int(match[1], 16))
        self._in_chunk = self._left > 0
        self._in_trailer = not self._in_chunk
        return False


class BodyReader:
    """Collects the body of one request.

    Args:
        head: the request's.
        limit: bytes of the body; see `BodyPieces`.

    Raises:
        Refusal: as of `BodyPieces`.
    """

    __slots__ = ("_pieces", "_read")

    def __init__(self, head: Head, limit: int) -> None:
        self._pieces = BodyPieces(head, limit)
        self._read: list[bytes] = []

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes bytes as they come.

        Returns:
            None while the body is not complete, then the body and what was received behind it.

        Raises:
            Refusal: 400, the chunks are none; 413, the body is larger than the limit.
        """
        piece, rest = self._pieces.receive(data)
        self._read.append(piece)
        return None if rest is None else (b"".join(self._read), rest)
