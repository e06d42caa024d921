"""A relay side whose answers a test gives, behind the real door."""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import FakeSocket
from tests.web.harness import Answer, Nobody
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import IAnswering, IRelayError

OK = (200, "OK")


class Failure(NamedTuple):
    """Why there is no answer."""

    status: int
    sentence: str
    unserved: bool = False


class Relayed:
    """A request that has come through, and what became of it."""

    def __init__(self, head: Head, client: Client, length: int | None, out: IAnswering) -> None:
        self.head = head
        self.client = client
        self.length = length
        self.out = out
        self.uploads: list[tuple[bytes, bool]] = []
        self.taken: list[int] = []
        self.gone_count = 0
        #: Reads on as soon as it has a piece.
        self.greedy = False

    def upload(self, data: bytes, more: bool) -> None:
        self.uploads.append((data, more))
        if self.greedy and more:
            self.out.read_on()

    def drained(self, size: int) -> None:
        self.taken.append(size)

    def gone(self) -> None:
        self.gone_count += 1

    @property
    def body(self) -> bytes:
        return b"".join(data for data, _ in self.uploads)

    @property
    def complete(self) -> bool:
        return bool(self.uploads) and not self.uploads[-1][1]

    def answer(self, body: bytes = b"hello", *fields: tuple[str, str]) -> None:
        """In one piece."""
        self.out.start(*OK, [("Content-Type", "text/plain"), *fields], body, False)

    def begin(self, body: bytes = b"", *fields: tuple[str, str]) -> None:
        """Of several."""
        self.out.start(*OK, [("Content-Type", "text/plain"), *fields], body, True)


class Side:
    """Takes every path below ``/app``."""

    limit = 1_000_000

    def __init__(self) -> None:
        self.requests: list[Relayed] = []
        self.greedy = False
        #: Fails at once.
        self.failure: Failure | None = None
        #: Answers at once.
        self.body: bytes | None = None
        #: Begins to.
        self.streams = False
        self.refused: Refusal | None = None

    def find(self, head: Head, client: Client) -> Side | None:
        if self.refused is not None:
            raise self.refused
        return self if head.path.startswith("/app") else None

    def relay(self, head: Head, client: Client, length: int | None, out: IAnswering) -> Relayed:
        relayed = Relayed(head, client, length, out)
        relayed.greedy = self.greedy
        self.requests.append(relayed)
        if self.failure is not None:
            out.failed(self.failure)
        elif self.body is not None:
            relayed.answer(self.body)
        elif self.streams:
            relayed.begin(b"abc")
        return relayed

    def refusal(self, error: IRelayError) -> Refusal:
        return Refusal(error.status, error.sentence)


class Wire(FakeSocket):
    """One whose peer does not close just because the server has nothing more to say."""

    half_closed = False
    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class RelayCase(SynchronousTestCase):
    """A door with a relay side behind it."""

    limits = FrontLimits(connections=10, connections_per_address=5, requests=10)

    def setUp(self) -> None:
        self.clock = Clock()
        self.side = Side()
        self.front = FrontFactory(
            Nobody(), Nobody(), relays=self.side.find, clock=self.clock, limits=self.limits
        )

    def connect(self, address: str = "192.0.2.1") -> Wire:
        peer = IPv4Address("TCP", address, 50_000)
        wire = Wire(self.clock, peer)
        wire.protocol = self.front.buildProtocol(peer)
        wire.protocol.makeConnection(wire)
        return wire

    def ask(self, data: bytes) -> Wire:
        wire = self.connect()
        wire.deliver(data)
        return wire

    def get(self, *lines: str) -> Wire:
        return self.ask(request("GET", *lines))

    @property
    def newest(self) -> Relayed:
        return self.side.requests[-1]

    def answer(self, wire: FakeSocket, bodiless: bool = False) -> Answer:
        """The only one on the wire."""
        self.clock.advance(0)
        found = Answer(wire.take(), bodiless)
        self.assertEqual(found.rest, b"")
        return found


def request(method: str, *lines: str, version: str = "1.1", body: bytes = b"") -> bytes:
    """A request for ``/app/page?a=1``."""
    head = [f"{method} /app/page?a=1 HTTP/{version}", "Host: localhost:8080", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def post(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    """One with a body, whose length it tells."""
    return request("POST", f"Content-Length: {len(body)}", *lines, version=version, body=body)


def chunked(body: bytes, size: int, *lines: str) -> bytes:
    """One whose body comes in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return request("POST", "Transfer-Encoding: chunked", *lines, body=data + b"0\r\n\r\n")


def unchunk(data: bytes) -> bytes:
    """A body in chunks, whole; nothing may be behind it."""
    found, at = [], 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        at = end + 2 + size
        found.append(data[end + 2 : at])
        assert data[at : at + 2] == b"\r\n", data[at : at + 80]
        at += 2
        if not size:
            assert at == len(data), data[at : at + 80]
            return b"".join(found)
