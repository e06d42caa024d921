"""WebSocket clients that cost next to nothing: bare sockets, frames counted by their bytes.

Both cores of a small machine are shared by the broker, the bridge and the load. So the load does
as little as it can: one process, one epoll set, and for the counting the kernel is told to throw
the bytes away (``MSG_TRUNC`` on a TCP socket, see tcp(7)) instead of copying them. That counts
frames correctly because all frames of a run have one length, which a probe message finds out.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

JSON_DIALECT = "v1.twbridge.json"
_CHUNK = 1 << 20
_RSV1 = 0x40
_CLIENTS_PER_ADDRESS = 1000


@dataclass(frozen=True)
class Address:
    """Where a WebSocket server listens, and the path of its socket."""

    port: int
    path: str = "/ws"
    host: str = "127.0.0.1"


class Client:
    """One WebSocket client on a blocking socket, for what comes before the counting.

    Args:
        address: The server.
        subprotocol: The one to ask for, None for none.
        source: The local address to connect from; Linux has 127.0.0.0/8 for that, so that neither
            the ports nor the limit for each address run out.
        timeout: Seconds that any read or write may take.
        deflate: Offer permessage-deflate, as browsers do.

    Raises:
        ConnectionError: The upgrade was refused, or the offer was not accepted.
    """

    def __init__(
        self,
        address: Address,
        subprotocol: str | None = None,
        source: str = "127.0.0.1",
        timeout: float = 20.0,
        *,
        deflate: bool = False,
    ) -> None:
        self.socket = socket.create_connection(
            (address.host, address.port), timeout, source_address=(source, 0)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        try:
            self._upgrade(address, subprotocol, deflate)
        except Exception:
            self.socket.close()
            raise

    def _upgrade(self, address: Address, subprotocol: str | None, deflate: bool) -> None:
        lines = [
            f"GET {address.path} HTTP/1.1",
            f"Host: {address.host}:{address.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
        ]
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        if deflate:
            lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self._received:
            self._fill()
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"The upgrade was refused: {head.splitlines()[0].decode()}")
        if deflate and b"permessage-deflate" not in head:
            raise ConnectionError("The server does not compress")
        self._received = bytearray(rest)

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("The server closed the connection")
        self._received += data

    def read_frame(self) -> bytes:
        """Return the payload of the next frame, bytes left over stay for the next call."""
        return self.read_sized_frame()[0]

    def read_sized_frame(self) -> tuple[bytes, int]:
        """Return the payload of the next frame, inflated, and the bytes of the frame itself."""
        while (bounds := _frame_bounds(self._received)) is None or len(self._received) < bounds[1]:
            self._fill()
        start, end = bounds
        compressed = self._received[0] & _RSV1
        payload = bytes(self._received[start:end])
        del self._received[:end]
        return _inflated(payload) if compressed else payload, end

    def send_text(self, text: str) -> None:
        """Send one masked text frame."""
        self.socket.sendall(masked_text(text.encode()))

    def discard(self) -> None:
        """Throw away what was received and what waits in the socket."""
        self._received.clear()
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
        except BlockingIOError:
            return
        raise ConnectionError("The server closed the connection")

    @property
    def unread(self) -> int:
        """How many bytes were received and not yet read as frames."""
        return len(self._received)


def _inflated(payload: bytes) -> bytes:
    """What a compressed message holds that needs no earlier one (RFC 7692, 7.2.2)."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + b"\x00\x00\xff\xff")


def _frame_bounds(data: bytearray) -> tuple[int, int] | None:
    """Where the payload of the first frame in ``data`` starts and ends, None if not known yet."""
    if len(data) < 2:
        return None
    length = data[1]
    if length < 126:
        return 2, 2 + length
    size, start = (">H", 4) if length == 126 else (">Q", 10)
    if len(data) < start:
        return None
    return start, start + int(struct.unpack_from(size, data, 2)[0])


def masked_text(payload: bytes) -> bytes:
    """One text frame of a client, with a random mask (RFC 6455, 5.3)."""
    key = os.urandom(4)
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x81, 0x80 | length)
    else:
        head = struct.pack(">BBH", 0x81, 0xFE, length)
    mask = int.from_bytes((key * (length // 4 + 1))[:length], "big")
    masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(length, "big")
    return head + key + masked


def masked_texts(payloads: Sequence[bytes]) -> bytes:
    """One text frame of a client for each payload, in one piece and with one mask for all.

    The payloads have one length, under 126 bytes. The cost is next to nothing for each.
    """
    length = len(payloads[0])
    key = os.urandom(4)
    head = struct.pack(">BB", 0x81, 0x80 | length) + key
    plain = head + head.join(payloads)
    mask = (bytes(len(head)) + (key * (length // 4 + 1))[:length]) * len(payloads)
    if length > 125 or len(plain) != len(mask):
        raise ValueError("The payloads must be short, and of one length")
    return (int.from_bytes(plain, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(mask), "big")


def connect_many(
    address: Address, count: int, subprotocol: str | None = None, *, deflate: bool = False
) -> Iterator[Client]:
    """Connect ``count`` clients one after the other, from as many local addresses as needed."""
    for index in range(count):
        source = f"127.0.0.{1 + index // _CLIENTS_PER_ADDRESS}"
        yield Client(address, subprotocol, source, deflate=deflate)


class Herd:
    """Many clients whose received bytes are counted in one epoll set.

    Attributes:
        clients: The clients, their sockets not blocking from now on.
        received: Bytes received by each client since the herd was made.
        total: The sum of ``received``.

    Args:
        clients: Nothing may be unread in them.
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        self.received = [0] * len(clients)
        self.total = 0
        self._buffer = bytearray(_CHUNK)
        self._epoll = select.epoll()
        self._receivers = {}
        for index, client in enumerate(self.clients):
            if client.unread:
                raise RuntimeError("A client has received more than was read")
            client.socket.setblocking(False)
            self._receivers[client.socket.fileno()] = (index, client.socket.recv_into)
            self._epoll.register(client.socket, select.EPOLLIN)

    def pump(self, timeout: float) -> list[int]:
        """Wait up to ``timeout`` seconds for bytes, count them; the indices that received some."""
        buffer, receivers, received = self._buffer, self._receivers, self.received
        ready = []
        for descriptor, _ in self._epoll.poll(timeout):
            index, receive = receivers[descriptor]
            count = receive(buffer, _CHUNK, socket.MSG_TRUNC)
            if count == 0:
                raise ConnectionError(f"Client {index} was disconnected")
            received[index] += count
            self.total += count
            ready.append(index)
        return ready

    def drain(self, expected: int, timeout: float = 30.0) -> None:
        """Wait until every client has received exactly ``expected`` bytes.

        Raises:
            RuntimeError: One has received another number of bytes, so the run is not valid.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and any(n < expected for n in self.received):
            self.pump(0.1)
        self.pump(0.05)
        wrong = {n for n in self.received if n != expected}
        if wrong:
            raise RuntimeError(f"Clients received {sorted(wrong)[:5]} bytes, not {expected}")

    def close(self) -> None:
        """Close every socket, without a closing handshake."""
        self._epoll.close()
        for client in self.clients:
            client.socket.close()


class MarkerHerd(Herd):
    """Counts how often a marker was received, for frames whose length varies.

    Args:
        clients: The clients; nothing may be unread in them.
        marker: Bytes that every frame holds once.
    """

    def __init__(self, clients: Sequence[Client], marker: bytes) -> None:
        super().__init__(clients)
        self._marker = marker
        self._tails = [b""] * len(clients)

    def pump(self, timeout: float) -> list[int]:
        """Wait up to ``timeout`` seconds for bytes, count the markers in them."""
        keep = len(self._marker) - 1
        ready = []
        for descriptor, _ in self._epoll.poll(timeout):
            index, receive = self._receivers[descriptor]
            size = receive(self._buffer, _CHUNK)
            if size == 0:
                raise ConnectionError(f"Client {index} was disconnected")
            data = self._tails[index] + self._buffer[:size]
            self._tails[index] = bytes(data[-keep:])
            count = data.count(self._marker)
            self.received[index] += count
            self.total += count
            ready.append(index)
        return ready
