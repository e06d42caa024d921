"""HTTP/1.1 request heads, strictly, and the short answers to those that are refused.

What is read here is handed on byte for byte to Autobahn or to twisted.web, which both are more
lenient: Autobahn splits a head with ``str.splitlines``, so that 0b, 0c, 1c, 1d and 1e would
begin new headers; a bare LF or CR splits for some readers and not for others. Every head that
two readers could read in two ways is refused (RFC 9112 section 2.2, RFC 9110 section 5.5). Byte 85,
a new line to Autobahn too, is part of many characters in UTF-8: it passes here, and is refused
where Autobahn gets the head (``factory.py``).

Sans-I/O.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

_END: Final = b"\r\n\r\n"
_EMPTY: Final = b"\r\n"
# Controls other than tab, CR and LF; CR or LF without the other.
_ILLEGAL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)"
)
#: ``http://host:port/path`` (RFC 9112, section 3.2.2); without a user's name.
_ABSOLUTE: Final = re.compile(r"https?://([^/?#@]+)((?:[/?][^#]*)?)", re.IGNORECASE).fullmatch
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*")


class Refusal(Exception):
    """A request that is answered with an error and a closed connection.

    Args:
        status: the HTTP status.
        sentence: what is wrong, for the one who asked: nothing of it may be the request's own
            text.
        headers: more header fields of the answer.
    """

    def __init__(
        self, status: int, sentence: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers

    def response(self) -> bytes:
        """The whole answer, as bytes for the socket."""
        body = f"{self.sentence}\n".encode()
        fields = (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *self.headers,
            ("Connection", "close"),
        )
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Head:
    """A request line and its header fields.

    Attributes:
        method: as sent, ``GET``.
        target: as sent, ``/ws?client=1``.
        version: ``(1, 1)``.
    """

    __slots__ = ("_fields", "method", "target", "version")

    def __init__(
        self,
        method: str,
        target: str,
        version: tuple[int, int],
        fields: dict[str, list[str]],
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self._fields = fields

    @property
    def path(self) -> str:
        """The target without its query, not decoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the first question mark, not decoded."""
        return self.target.partition("?")[2]

    def parameter(self, name: str) -> str | None:
        """The value of a parameter of the query that may come once at most, decoded.

        Raises:
            Refusal: 400, it came more than once.
        """
        pairs = parse_qsl(self.query, keep_blank_values=True)
        values = [value for key, value in pairs if key == name]
        if len(values) > 1:
            raise Refusal(400, f"The parameter {name} must not be repeated.")
        return values[0] if values else None

    def values(self, name: str) -> list[str]:
        """Every value of the field `name` (lower case), in the order of the lines."""
        return self._fields.get(name, [])

    def fields(self) -> list[tuple[str, str]]:
        """Every field, its name in small letters; lines of one name are side by side."""
        return [(name, value) for name, values in self._fields.items() for value in values]

    def items(self, name: str) -> list[str]:
        """The members of a comma-separated field, over all its lines, without empty ones."""
        # Of all white space only these two are HTTP's: to Python 85 and a0 are some, too.
        members = (part.strip(" \t") for value in self.values(name) for part in value.split(","))
        return [member for member in members if member]

    def one(self, name: str) -> str | None:
        """The value of a field that may come once at most.

        Raises:
            Refusal: 400, it came more than once.
        """
        values = self.values(name)
        if len(values) > 1:
            raise Refusal(400, f"The header field {name} must not be repeated.")
        return values[0] if values else None

    @property
    def wants_websocket(self) -> bool:
        """True where the client asks to upgrade to WebSocket (RFC 6455 section 4.1)."""
        return any(item.lower() == "websocket" for item in self.items("upgrade"))

    @property
    def wants_close(self) -> bool:
        """True where the connection ends with this request's answer (RFC 9112 section 9.3)."""
        options = (item.lower() for item in self.items("connection"))
        return self.version < (1, 1) or "close" in options

    @property
    def has_body(self) -> bool:
        """True where a body follows the head (RFC 9112 section 6.3)."""
        lengths = self.values("content-length")
        return bool(self.values("transfer-encoding")) or any(value != "0" for value in lengths)


class HeadReader:
    """Collects bytes until a head is complete.

    One empty line before it is no part of it: some clients send one behind a body
    (RFC 9112 section 2.2).

    Args:
        limit: bytes; a head that is longer is refused with 431.
    """

    __slots__ = ("_data", "_limit", "_skipped")

    def __init__(self, limit: int) -> None:
        self._data = b""
        self._limit = limit
        self._skipped = False

    @property
    def begun(self) -> bool:
        """Whether anything of the head has come."""
        return bool(self._data)

    def receive(self, data: bytes) -> tuple[Head, bytes] | None:
        """Takes bytes as they come.

        Returns:
            None while the head is not complete, then the head and everything received from its
            first byte on. A target with a scheme and a host has become one without, and
            that host the head's.

        Raises:
            Refusal: 400, the bytes are not a head of HTTP/1.x; 431, it is longer than the
                limit; 505, another version of HTTP.
        """
        seen = max(0, len(self._data) - 3)
        self._data += data
        if not seen and not self._skipped and self._data[:2] == _EMPTY:
            self._skipped = True
            self._data = self._data[2:]
        end = self._data.find(_END, seen)
        size = end + len(_END) if end >= 0 else len(self._data)
        if size > self._limit or (end < 0 and size == self._limit):
            raise Refusal(431, "The request's head is too large.")
        illegal = _ILLEGAL.search(self._data, seen, size)
        # A CR that is the last byte so far may still be followed by its LF.
        if illegal and not (end < 0 and illegal.group() == b"\r" and illegal.end() == size):
            raise Refusal(400, "The request's head has a byte that HTTP does not allow there.")
        if end < 0:
            return None
        head = parse_head(self._data[:size])
        if head.target[0] != "/" and (absolute := _ABSOLUTE(head.target)) is not None:
            return _in_origin_form(head, absolute[1], absolute[2], self._data[size:])
        return head, self._data


def _in_origin_form(head: Head, host: str, target: str, rest: bytes) -> tuple[Head, bytes]:
    """The head that says the same by its path and its host, and what is received, so changed."""
    target = target if target[:1] == "/" else f"/{target}"
    fields = [(name, value) for name, value in head.fields() if name != "host"]
    lines = [f"{head.method} {target} HTTP/{head.version[0]}.{head.version[1]}", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    data = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return parse_head(data), data + rest


def is_field(line: bytes) -> bool:
    """Whether a line is a header field, or a trailer field, for every reader."""
    return _ILLEGAL.search(line) is None and _FIELD.fullmatch(line) is not None


def parse_head(data: bytes) -> Head:
    """Reads a complete head, its final empty line included, free of illegal bytes.

    Raises:
        Refusal: 400 or 505.
    """
    first, *lines = data[: -len(_END)].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise Refusal(400, "The request line is not HTTP's.")
    version = (int(match[3]), int(match[4]))
    if version not in ((1, 0), (1, 1)):
        raise Refusal(505, "Only HTTP/1.1 is spoken here.")
    fields: dict[str, list[str]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Refusal(400, "A line of the request's head is not a header field.")
        name = field[1].decode("ascii").lower()
        fields.setdefault(name, []).append(field[2].decode("latin-1"))
    if len(fields.get("host", ())) > 1:
        # Of two, a proxy may have looked at the other one (RFC 9112 section 3.2).
        raise Refusal(400, "The header field host must not be repeated.")
    return Head(match[1].decode("ascii"), match[2].decode("latin-1"), version, fields)
