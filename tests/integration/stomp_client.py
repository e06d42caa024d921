r"""A STOMP client for the comparison of two servers: what it hears are lines that can be compared.

It knows nothing of twbridge's own parser, blocks, and takes whatever a server sends (RabbitMQ
sends binary bodies in text messages, which WebSocket libraries refuse)::

    with Listener(url) as listener:
        listener.say("CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        assert listener.hear(1) == ["CONNECTED heart-beat=0,0 version=1.2"]

A line is a frame with its headers in order of their names, of which what differs from session to
session is masked: names of sessions, numbers of messages, names that the server made.
"""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from tests.integration.bare_socket import BareSocket
from tests.integration.websocket import Silence

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

#: Headers that are another's each time, or say what the rest of the line does.
_MASKED = {
    "CONNECTED": frozenset({"server", "session"}),
    "MESSAGE": frozenset({"content-length"}),
}
_MESSAGE_ID = re.compile(r"@@[^@]*@@\d+$")
_REPLY = re.compile(r"^/(reply-queue|queue)/(amq\.gen-|twbridge\.reply\.)[\w-]+$")
#: What the bridge adds to each message that has none.
_OWN = {
    "amqp-message-id": re.compile(r"[0-9a-f]{16}-[0-9a-f]+"),
}


class Frame(NamedTuple):
    """What came; the first of repeated headers counts."""

    command: str
    headers: dict[str, str]
    body: bytes
    binary: bool

    @property
    def line(self) -> str:
        """As it is compared."""
        if self.command == "ERROR":
            return f"ERROR {self.headers.get('message')}"
        masked = _MASKED.get(self.command, frozenset())
        headers = {name: _mask(value) for name, value in self.headers.items() if name not in masked}
        for name, own in _OWN.items():
            if self.command == "MESSAGE" and own.fullmatch(headers.get(name, "")):
                del headers[name]
        words = [self.command, *(f"{name}={headers[name]}" for name in sorted(headers))]
        if self.body:
            words.append(f"| {self.body!r}")
        return " ".join(words) + (" (binary)" if self.binary else "")


def _mask(value: str) -> str:
    return _REPLY.sub(r"/\1/MADE", _MESSAGE_ID.sub("@@", value))


def parse(payload: bytes, binary: bool) -> Iterator[Frame]:
    """The frames of one message, which holds nothing but whole ones."""
    rest = payload.lstrip(b"\r\n")
    while rest:
        head, _, rest = rest.partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name, value)
        length = headers.get("content-length")
        at = rest.index(b"\0") if length is None else int(length)
        body, end, rest = rest[:at], rest[at : at + 1], rest[at + 1 :].lstrip(b"\r\n")
        assert end == b"\0", payload
        yield Frame(command, headers, body, binary)


class Listener:
    """One connection.

    Args:
        url: of the server.
        protocol: the subprotocol to ask for.
    """

    def __init__(self, url: str, protocol: str | None = "v12.stomp") -> None:
        self._socket = BareSocket(url, protocol)
        self._waiting: list[str] = []
        #: All MESSAGEs and ERRORs that came.
        self.messages: list[Frame] = []
        self.errors: list[Frame] = []
        #: The close code and reason; None: it is open.
        self.end: tuple[int, str] | None = None
        #: The most frames of one message.
        self.most = 0

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()

    def say(self, message: str | bytes) -> None:
        """Send a text message for a str, a binary one for bytes."""
        opcode, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        with contextlib.suppress(ConnectionError):
            self._socket.send(opcode, data)

    def hear(self, count: int, seconds: float = 5.0, *, beats: bool = False) -> list[str]:
        """The next lines; fewer where the connection ends, or nothing more comes in time."""
        deadline = time.monotonic() + seconds
        heard: list[str] = []
        while len(heard) < count:
            if self._waiting:
                line = self._waiting.pop(0)
                if beats or line != "beat":
                    heard.append(line)
            elif self.end is not None or not self._receive(deadline - time.monotonic()):
                break
        return heard

    def leave(self, *, wait: bool = True) -> None:
        """Close it, and wait for the server's answer."""
        if self.end is None:
            with contextlib.suppress(ConnectionError):
                self._socket.send(CLOSE, struct.pack("!H", 1000))
            while wait and self.end is None and self._receive(5.0):
                pass
        self.cut()

    def cut(self) -> None:
        """End it without a word."""
        self._socket.close()

    def _receive(self, seconds: float) -> bool:
        """One frame of WebSocket; False: none came in time."""
        if seconds <= 0:
            return False
        self._socket.socket.settimeout(seconds)
        try:
            opcode, payload = self._socket.frame()
        except TimeoutError:
            return False
        except (Silence, ConnectionError):
            self._ended(1006, "")
            return True
        opcode &= 0x0F
        if opcode == CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if payload else 1005
            with contextlib.suppress(ConnectionError):
                self._socket.send(CLOSE, payload[:2])
            self._ended(code, payload[2:].decode(errors="replace"))
        elif opcode == PING:
            self._socket.send(PONG, payload)
        elif opcode in (TEXT, BINARY):
            self._message(payload, opcode == BINARY)
        return True

    def _message(self, payload: bytes, binary: bool) -> None:
        if payload == b"\n":
            self._waiting.append("beat")
        frames = list(parse(payload, binary))
        self.most = max(self.most, len(frames))
        for frame in frames:
            if frame.command == "MESSAGE":
                self.messages.append(frame)
            elif frame.command == "ERROR":
                self.errors.append(frame)
            self._waiting.append(frame.line)

    def _ended(self, code: int, reason: str) -> None:
        self.end = (code, reason)
        if not self.errors:
            self._waiting.append(f"closed {code}")
