r"""STOMP frames to and from bytes (sans-I/O).

::

    SEND                        command
    destination:/queue/jobs     headers: of a repeated one the first counts
    content-length:5            without it the body ends at the first NUL
                                an empty line
    hello\0                     body and NUL; line ends between frames are heart-beats

Lines end with LF or CR LF. What is escaped in headers depends on the version: nothing in 1.0,
line feed, colon and backslash in 1.1, carriage return too in 1.2. CONNECT and CONNECTED are never
escaped, because they come before both sides know. Source: https://stomp.github.io, specifications
1.0 to 1.2; where they leave a choice, RabbitMQ's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import Struct

from twbridge.destinations import shown
from twbridge.errors import BadFrame, TooLarge

__all__ = [
    "HEART_BEAT",
    "VERSIONS",
    "Frame",
    "FrameLimits",
    "FrameParser",
    "Version",
    "header_line",
    "write_frame",
]

Version: TypeAlias = Literal["1.0", "1.1", "1.2"]

#: All that are spoken, the oldest first.
VERSIONS: tuple[Version, ...] = ("1.0", "1.1", "1.2")

#: A sign of life between frames.
HEART_BEAT = b"\n"

_UNESCAPED_COMMANDS = frozenset({"CONNECT", "STOMP", "CONNECTED"})
_BETWEEN_FRAMES = re.compile(rb"[\r\n\0]*")
#: Of a content-length: any body that a limit allows is shorter.
_MAX_DIGITS = 15


class Frame(Struct):
    """One frame."""

    command: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How large a frame may be."""

    #: Bytes of command and headers together.
    head: int = 32 << 10
    #: Header lines, repeated ones too.
    headers: int = 128
    #: Bytes of the body.
    body: int = 1 << 20


# -- reading ----------------------------------------------------------------------------------

_UNESCAPES = {"\\\\": "\\", "\\n": "\n", "\\c": ":", "\\r": "\r"}
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


class FrameParser:
    """Bytes in, frames out, however the bytes were split.

    ``version`` says how headers are escaped; it may be set between two frames.
    """

    __slots__ = ("_at", "_buffer", "_head", "_length", "_limits", "_scanned", "version")

    def __init__(self, limits: FrameLimits, version: Version = "1.0") -> None:
        self.version: Version = version
        self._limits = limits
        # What is given in one piece is not copied; what is not complete grows in place.
        self._buffer: bytes | bytearray = b""
        # Where in it the next frame begins (or its body, when there is a head), and from where on
        # it was not searched yet.
        self._at = 0
        self._scanned = 0
        # A frame whose head is complete, and how long its body will be, if that is known.
        self._head: Frame | None = None
        self._length: int | None = None

    @property
    def waiting(self) -> int:
        """Bytes that are kept, of a frame that is not complete."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came. All frames of what came before have to be taken out already."""
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data

    def next(self) -> Frame | None:
        """The next frame; None: it is not complete.

        Raises:
            BadFrame: these bytes are not STOMP. The parser is of no more use then.
            TooLarge: the frame is over a limit; likewise.
        """
        frame = None
        if self._at == len(self._buffer):
            self._buffer = b""
            self._at = self._scanned = 0
            return None
        if self._head is not None or self._read_head():
            frame = self._read_body()
        if frame is None:
            self._keep_rest()
        return frame

    def _keep_rest(self) -> None:
        if isinstance(self._buffer, bytearray):
            del self._buffer[: self._at]
        else:
            self._buffer = bytearray(self._buffer[self._at :])
        self._scanned -= self._at
        self._at = 0

    def _read_head(self) -> bool:
        data, limit = self._buffer, self._limits.head
        start = self._at
        if self._scanned <= start:
            if data[start] <= 13:
                between = _BETWEEN_FRAMES.match(data, start)
                assert between is not None
                start = self._at = between.end()
            self._scanned = start
        end, after = _end_of_head(data, self._scanned)
        size = (len(data) if end < 0 else end) - start
        if size > limit:
            raise TooLarge(f"The headers of a frame are over {limit} bytes.")
        if end < 0:
            # The line end before the empty line may be the last that came.
            self._scanned = max(len(data) - 2, start)
            return False
        if after < 0:
            raise BadFrame("A frame ends before the empty line that follows its headers.")
        frame = self._head = self._parse(bytes(data[start:end]))
        self._length = self._content_length(frame)
        self._at = self._scanned = after
        return True

    def _parse(self, head: bytes) -> Frame:
        try:
            text = head.decode()
        except UnicodeDecodeError:
            raise BadFrame("The headers of a frame are not UTF-8.") from None
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        command, *lines = text.split("\n")
        if len(lines) > self._limits.headers:
            raise TooLarge(f"A frame has at most {self._limits.headers} headers.")
        read = None
        if command not in _UNESCAPED_COMMANDS and (
            self.version == "1.0" or "\\" in text or "\r" in text
        ):
            read = _READERS[self.version]
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name:
                raise BadFrame(f"The header line {shown(line)} has no name or no colon.")
            if read is not None:
                name, value = read(name, value)
            if name not in headers:
                headers[name] = value
        return Frame(command, headers)

    def _content_length(self, frame: Frame) -> int | None:
        text = frame.headers.get("content-length")
        if text is None:
            return None
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
            raise BadFrame("A content-length is a whole number of bytes.")
        if int(digits) > self._limits.body:
            raise TooLarge(f"The body is over {self._limits.body} bytes.")
        return int(digits)

    def _read_body(self) -> Frame | None:
        data, start, limit = self._buffer, self._at, self._limits.body
        if self._length is not None:
            end = start + self._length
            if end >= len(data):
                return None
            if data[end]:
                raise BadFrame("The body does not end where its content-length says.")
        else:
            end = data.find(0, self._scanned)
            if (len(data) if end < 0 else end) - start > limit:
                raise TooLarge(f"The body is over {limit} bytes.")
            if end < 0:
                self._scanned = len(data)
                return None
        frame = self._head
        assert frame is not None
        frame.body = bytes(data[start:end])
        self._head = None
        self._at = self._scanned = end + 1
        return frame


def _end_of_head(data: bytes | bytearray, start: int) -> tuple[int, int]:
    """Where the headers end and where the body begins.

    The second is negative where a NUL comes before; both are where neither has come.
    """
    # A frame ends at a NUL: nothing is searched that belongs to a later one.
    nul = data.find(0, start)
    stop = len(data) if nul < 0 else nul
    end, size = data.find(b"\n\n", start, stop), 2
    before = data.find(b"\n\r\n", start, stop if end < 0 else end + 1)
    if before >= 0:
        end, size = before, 3
    if end >= 0:
        return end, end + size
    return nul, -1


def _trimmed(name: str, value: str) -> tuple[str, str]:
    """Version 1.0: its own examples have a space after the colon."""
    return name, value.lstrip(" ")


def _read_1_1(name: str, value: str) -> tuple[str, str]:
    return _unescape(name), _unescape(value)


def _read_1_2(name: str, value: str) -> tuple[str, str]:
    if "\r" in value or "\r" in name:
        raise BadFrame(f"The header {shown(name)} has a carriage return that is not escaped.")
    return _unescape(name), _unescape(value)


def _unescape(text: str) -> str:
    r"""The inverse, for 1.1 and 1.2. ``\r`` is read in 1.1 too: clients and RabbitMQ write it.

    Raises:
        BadFrame: an escape that does not exist.
    """
    return _ESCAPED.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: re.Match[str]) -> str:
    try:
        return _UNESCAPES[found[0]]
    except KeyError:
        raise BadFrame(
            f"A header has the escape {shown(found[0])}, which does not exist."
        ) from None


_READERS: dict[Version, Callable[[str, str], tuple[str, str]]] = {
    "1.0": _trimmed,
    "1.1": _read_1_1,
    "1.2": _read_1_2,
}


# -- writing ----------------------------------------------------------------------------------


def write_frame(
    command: str, headers: Iterable[tuple[str, str]], body: bytes, version: Version
) -> bytes:
    """One frame, with a content-length where there is a body."""
    lines = [command]
    spoken = "1.0" if command in _UNESCAPED_COMMANDS else version
    lines.extend([header_line(name, value, spoken) for name, value in headers])
    if body:
        lines.append(f"content-length:{len(body)}")
    return "\n".join(lines).encode() + b"\n\n" + body + b"\0"


def header_line(name: str, value: str, version: Version) -> str:
    """One header, without the line feed. What the version can't carry becomes a space."""
    line = f"{name}:{value}"
    if line.count(":") == 1 and not _SPECIAL.search(line):
        return line
    names, values = _WRITTEN[version]
    return f"{name.translate(names)}:{value.translate(values)}"


_SPECIAL = re.compile(r"[\\\n\r\0]")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", ":": "\\c", "\0": " "}
_ESCAPE_1_1 = str.maketrans(_ESCAPES)
_ESCAPE_1_2 = str.maketrans(_ESCAPES | {"\r": "\\r"})
#: For each version, how names and how values are written.
_WRITTEN: dict[Version, tuple[dict[int, str], dict[int, str]]] = {
    "1.0": (str.maketrans({"\n": " ", "\0": " ", ":": " "}), str.maketrans({"\n": " ", "\0": " "})),
    "1.1": (_ESCAPE_1_1, _ESCAPE_1_1),
    "1.2": (_ESCAPE_1_2, _ESCAPE_1_2),
}
