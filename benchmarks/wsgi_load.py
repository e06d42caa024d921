"""Requests over HTTP that cost next to nothing: bare sockets in one epoll set.

A connection has one request under way. It is kept where the server keeps it, and made anew where
the server closes it; the time of a request is that from its beginning, the connection included,
to the last byte of its answer.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

WARM = 0.5
"""Seconds before anything counts."""
_READ = 65_536
_DEADLINE = 30.0


@dataclass(frozen=True)
class Page:
    """What is asked for.

    Attributes:
        port: On 127.0.0.1.
        path: The page.
        body: What the answer must say.
    """

    port: int
    path: str
    body: bytes

    @property
    def request(self) -> bytes:
        """The bytes of the request."""
        return f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode()


class _Connection:
    """One request after the other."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._request = page.request
        self._received = b""
        self._kept = False
        self.began = 0.0
        self.made = 0
        self.socket: socket.socket | None = None

    def begin(self) -> bool:
        """Send the request; gives whether the connection is a new one."""
        self.began = time.monotonic()
        self._received = b""
        new = self.socket is None
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self._page.port), _DEADLINE)
            self.made += 1
        self.socket.sendall(self._request)
        return new

    def read(self) -> bool:
        """Read what is there; gives whether the answer is complete.

        Raises:
            RuntimeError: It is not what it should be.
        """
        assert self.socket is not None
        data = self.socket.recv(_READ)
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            if not data:
                raise RuntimeError(f"The server has closed after {self._received!r}")
            return False
        if not head.startswith(b"HTTP/1.1 200 ") or body != self._page.body:
            raise RuntimeError(f"The server answered {self._received[:500]!r}")
        self._kept = b"\r\nconnection: close" not in head.lower()
        return True

    def leave(self, *, always: bool = False) -> None:
        """Close it if the server does, or ``always``."""
        if self.socket is not None and (always or not self._kept):
            self.socket.close()
            self.socket = None


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length: ")
    if not found:
        raise RuntimeError(f"The server does not say how long this is: {head!r}")
    return int(rest.partition(b"\r\n")[0])


@dataclass(frozen=True)
class Load:
    """What was answered.

    Attributes:
        rate: Requests a second.
        p50: Milliseconds; half of them were not slower.
        p99: 99 of 100 were not slower.
        count: Of requests.
        connections: How many were made.
    """

    rate: float
    p50: float
    p99: float
    count: int
    connections: int


def run_load(page: Page, connections: int, seconds: float) -> Load:
    """Ask for a page over so many connections at a time, for so long.

    Raises:
        RuntimeError: An answer was not what it should be, or did not come in time.
    """
    every = [_Connection(page) for _ in range(connections)]
    poll, by_number = select.epoll(), dict[int, _Connection]()
    times: list[float] = []
    end = time.monotonic() + seconds

    def begin(connection: _Connection) -> None:
        if connection.begin():
            assert connection.socket is not None
            by_number[connection.socket.fileno()] = connection
            poll.register(connection.socket, select.EPOLLIN)

    try:
        for connection in every:
            begin(connection)
        pending = connections
        while pending:
            ready = poll.poll(_DEADLINE)
            if not ready:
                raise RuntimeError(f"{pending} requests are without an answer")
            for number, _ in ready:
                connection = by_number[number]
                if not connection.read():
                    continue
                now = time.monotonic()
                times.append(now - connection.began)
                connection.leave()
                if now < end:
                    begin(connection)
                else:
                    pending -= 1
    finally:
        poll.close()
        for connection in every:
            connection.leave(always=True)
    elapsed = time.monotonic() - (end - seconds)
    ordered = sorted(times)
    return Load(
        rate=len(times) / elapsed,
        p50=ordered[len(ordered) // 2] * 1000,
        p99=ordered[len(ordered) * 99 // 100] * 1000,
        count=len(times),
        connections=sum(connection.made for connection in every),
    )
