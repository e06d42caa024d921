"""Sockets for tests: a transport whose other end the test plays, and WebSocket frames by hand."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge.sockets.front import Front, FrontFactory

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, section 1.3."""


class Closed(NamedTuple):
    """A close frame's content."""

    code: int
    reason: str


@implementer(ITCPTransport, IPushProducer)
class FakeSocket:
    """The server's end of a socket, as Twisted's TCP transport behaves.

    What is written is taken by the peer at once while `reading`; otherwise it stays in
    `buffer`, and the producer is paused past 64 KiB, as by ``abstract.FileDescriptor``.
    """

    bufferSize = 65_536

    def __init__(self, clock: Clock, peer: IAddress) -> None:
        self.clock = clock
        self.peer = peer
        self.protocol: IProtocol | None = None
        self.producer: Any = None
        self.producer_paused = False
        self.reading = True
        self.accepting = True
        self.received = b""
        self.buffer = b""
        self.disconnecting = False
        self.lost: Failure | None = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.lost or self.disconnecting:
            return
        self.buffer += data
        if self.reading:
            self._drain()
        elif self.producer and not self.producer_paused and len(self.buffer) > self.bufferSize:
            self.producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def _drain(self) -> None:
        self.received += self.buffer
        self.buffer = b""
        if self.disconnecting and self.producer is None:
            self._lose(ConnectionDone())

    def drain(self) -> None:
        """The peer reads what there is, once."""
        self._drain()
        if self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True
        if not self.buffer and self.producer is None:
            self._lose(ConnectionDone())

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._lose(ConnectionAborted())

    def _lose(self, reason: Exception) -> None:
        self.clock.callLater(0, self.lose, reason)

    def lose(self, reason: Exception) -> None:
        """The connection is gone."""
        if self.lost is None and self.protocol is not None:
            self.lost = Failure(reason)
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(self.lost)

    def pauseProducing(self) -> None:
        self.accepting = False

    def resumeProducing(self) -> None:
        self.accepting = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """As if the peer closed when it has read all."""
        self.loseConnection()

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def getPeer(self) -> Any:
        return self.peer

    def getHost(self) -> Any:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    # The peer's side.

    def deliver(self, data: bytes) -> None:
        """Bytes from the peer; in reads of 64 KiB, as long as the server reads."""
        for start in range(0, len(data), 65_536):
            if self.protocol is None:
                return
            self.protocol.dataReceived(data[start : start + 65_536])

    def take(self) -> bytes:
        """What the peer has read since the last call."""
        received, self.received = self.received, b""
        return received

    def take_frames(self) -> list[tuple[int, bytes]]:
        """The frames in `take`."""
        return parse_frames(self.take())


def connect(
    factory: FrontFactory, clock: Clock, address: str | IAddress = "192.0.2.1"
) -> FakeSocket:
    """A new connection at the door."""
    peer = IPv4Address("TCP", address, 50_000) if isinstance(address, str) else address
    socket = FakeSocket(clock, peer)
    front: Front = factory.buildProtocol(peer)
    socket.protocol = front
    front.makeConnection(socket)
    return socket


def upgrade(path: str = "/ws", *lines: str, **fields: str | None) -> bytes:
    """A WebSocket's opening request; `fields` replace or remove (None) its own."""
    own: dict[str, str | None] = {
        "Host": "chat.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": KEY,
        "Sec_WebSocket_Version": "13",
    }
    own.update(fields)
    head = [f"GET {path} HTTP/1.1"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in own.items() if value]
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    length: int | None = None,
) -> bytes:
    """A frame of a client; `length` declares another length than it has."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 0x10000:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if mask is None:
        return head + payload
    repeated = mask * (len(payload) // 4 + 1)
    masked = bytes(a ^ b for a, b in zip(payload, repeated, strict=False))
    return head + mask + masked


def parse_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The (opcode, payload) of a server's whole frames."""
    found = []
    while data:
        first, size = data[0], data[1]
        assert first & 0x80, "fragmented"
        assert size < 128, "masked"
        at = 2
        if size == 126:
            (size,), at = struct.unpack("!H", data[2:4]), 4
        elif size == 127:
            (size,), at = struct.unpack("!Q", data[2:10]), 10
        assert len(data) >= at + size, "incomplete"
        found.append((first & 0x0F, data[at : at + size]))
        data = data[at + size :]
    return found


def close_of(frames: list[tuple[int, bytes]]) -> Closed | None:
    """The first close frame among `frames`."""
    for opcode, payload in frames:
        if opcode == 8:
            return Closed(struct.unpack("!H", payload[:2])[0], payload[2:].decode())
    return None
