"""A WebSocket on a blocking socket: frames that must be byte exact, clients that do not read."""

from __future__ import annotations

import socket as sockets
import struct
from urllib.parse import urlsplit

from tests.fake_sockets import Closed, client_frame, upgrade
from tests.integration.websocket import SECONDS, Silence


class BareSocket:
    """A blocking TCP socket with the handshake done; what it sends and gets is bytes.

    Args:
        url: ``ws://host:port/path``.
        protocol: the subprotocol to ask for.
        buffer: of the kernel for what is not read yet, in bytes.
    """

    def __init__(self, url: str, protocol: str | None = None, buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = sockets.socket()
        self.socket.settimeout(SECONDS)
        if buffer is not None:
            self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, buffer)
        self._received = b""
        try:
            self.socket.connect((parts.hostname, parts.port))
            self.socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            host = f"{parts.hostname}:{parts.port}"
            asked = upgrade(parts.path, Host=host, Sec_WebSocket_Protocol=protocol)
            self.socket.sendall(asked)
            while b"\r\n\r\n" not in self._received:
                self._fill()
        except BaseException:
            self.socket.close()
            raise
        self.head, _, self._received = self._received.partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 "), self.head

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise Silence(f"the server closed the socket; unread: {self._received[:200]!r}")
        self._received += data

    def exactly(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._received) < count:
            self._fill()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send a frame."""
        self.socket.sendall(client_frame(opcode, payload, fin=fin))

    def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte (fin, reserved bits and opcode) and its payload."""
        first, size = self.exactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        return first, self.exactly(size)

    def close_frame(self) -> Closed:
        """Read over everything up to the server's close frame."""
        while True:
            first, payload = self.frame()
            if first == 0x88:
                return Closed(struct.unpack("!H", payload[:2])[0], payload[2:].decode())

    def close(self) -> None:
        """Close the socket, without a closing handshake."""
        self.socket.close()
