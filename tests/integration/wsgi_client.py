r"""An HTTP client on a blocking socket: what it sends is bytes, and it knows where an answer ends.

::

    http = Http(bridge.port)
    http.send(b"GET /app/one HTTP/1.1\r\nHost: x\r\n\r\nGET /app/two HTTP/1.1\r\nHost: x\r\n\r\n")
    one, two = http.answer(), http.answer()

    ask(bridge.port, "POST", "/app/form", b"a=1", {"Content-Type": "text/plain"})

All of it blocks; in a test with a running reactor call it with ``in_thread``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SECONDS = 20.0
_READ = 1 << 18


class Cut(Exception):
    """The server has closed the connection within an answer, or before one."""


@dataclass(frozen=True)
class Answer:
    """An answer; the names of its fields are in small letters."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for known, value in self.fields if known == name]

    def field(self, name: str) -> str:
        """The value of a field; empty where there is none."""
        return ", ".join(self.all(name))

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Http:
    """One connection.

    Args:
        port: on 127.0.0.1.
        buffer: of the kernel for what is not read yet, in bytes.
    """

    def __init__(self, port: int, buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._received = b""
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def request(
        self, method: str, target: str, body: bytes = b"", fields: Mapping[str, str] | None = None
    ) -> None:
        """Send a request."""
        self.send(head(method, target, {"Content-Length": len(body)}, fields or {}) + body)

    def ask(
        self, method: str, target: str, body: bytes = b"", fields: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read the answer."""
        self.request(method, target, body, fields)
        return self.answer(method)

    def _fill(self) -> None:
        try:
            data = self.socket.recv(_READ)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Cut(f"unread: {self._received[:200]!r}")
        self._received += data

    def _line(self) -> str:
        while b"\r\n" not in self._received:
            self._fill()
        line, _, self._received = self._received.partition(b"\r\n")
        return line.decode("latin-1")

    def head(self) -> Answer:
        """The head of the next answer.

        Raises:
            Cut: there is none.
        """
        _, status, reason = self._line().split(" ", 2)
        fields = []
        while line := self._line():
            name, _, value = line.partition(": ")
            fields.append((name.lower(), value))
        return Answer(int(status), reason, fields)

    def pieces(self, answer: Answer, method: str = "GET") -> Iterator[bytes]:
        """The body behind a head, as it comes.

        Raises:
            Cut: it is not complete.
        """
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return
        if answer.field("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                yield from self.take(size)
                assert self._line() == ""
            assert self._line() == ""
        elif answer.all("content-length"):
            yield from self.take(int(answer.field("content-length")))
        else:
            while True:
                yield self._received
                self._received = b""
                try:
                    self._fill()
                except Cut:
                    return

    def take(self, size: int) -> Iterator[bytes]:
        """So many of the next bytes."""
        while size:
            if not self._received:
                self._fill()
            piece, self._received = self._received[:size], self._received[size:]
            size -= len(piece)
            yield piece

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, complete.

        Raises:
            Cut: it is not.
        """
        found = self.head()
        body = b"".join(self.pieces(found, method))
        return Answer(found.status, found.reason, found.fields, body)

    def ends(self) -> bool:
        """Whether the server closes the connection, and sends nothing more."""
        try:
            self._fill()
        except Cut:
            return not self._received
        return False

    def close(self) -> None:
        """Leave."""
        self.socket.close()


def head(method: str, target: str, *fields: Mapping[str, Any]) -> bytes:
    """The head of a request."""
    named: dict[str, Any] = {"Host": "127.0.0.1"}
    for some in fields:
        named |= some
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(pieces: Iterable[bytes]) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes = b"",
    fields: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    with Http(port) as http:
        return http.ask(method, target, body, fields)
