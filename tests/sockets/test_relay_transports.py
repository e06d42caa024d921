"""Relayed requests over real sockets: TCP, TLS and Unix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.trial import util
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.sockets.relays import Relayed, Side, chunked, post, request, unchunk
from tests.sockets.test_transports import Client
from tests.web.harness import Nobody
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.sockets.heads import Head
from twbridge.sockets.origins import Client as Peer
from twbridge.sockets.sides import IAnswering

reactor: Any = global_reactor

BODY = bytes(range(251)) * 4_000  # 1 MB


async def pause(seconds: float) -> None:
    """Lets time go by."""
    over: Deferred[None] = Deferred()
    reactor.callLater(seconds, over.callback, None)
    await over


class Reader(Client):
    """One for large answers: what it waits for is at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.parts.append(data)
        self.data = b"".join(self.parts[-2:])[-300:]
        super().dataReceived(b"")

    def take(self) -> bytes:
        """The whole body of an answer in chunks."""
        parts, self.parts, self.data = self.parts, [], b""
        return unchunk(b"".join(parts).partition(b"\r\n\r\n")[2])


class Source(Relayed):
    """Sends back the body when it is whole, as fast as the socket takes it."""

    _sent = 0
    _over = False

    def upload(self, data: bytes, more: bool) -> None:
        super().upload(data, more)
        if more:
            self.out.read_on()
            return
        self._body = self.body
        self.begin()
        self._next()

    def drained(self, size: int) -> None:
        super().drained(size)
        if not self._over:
            self._next()

    def _next(self) -> None:
        piece = self._body[self._sent : self._sent + 65_536]
        self._sent += len(piece)
        self._over = not piece
        self.out.part(piece, bool(piece))


class Endless(Relayed):
    """Sends on and on."""

    def upload(self, data: bytes, more: bool) -> None:
        super().upload(data, more)
        self.begin(bytes(65_536))

    def drained(self, size: int) -> None:
        super().drained(size)
        self.out.part(bytes(65_536), True)


class Sides(Side):
    """Echoes under ``PUT``, does not read the rest under ``POST``, has no end under ``GET``."""

    limit = 10_000_000

    def relay(self, head: Head, client: Peer, length: int | None, out: IAnswering) -> Relayed:
        kind = {"PUT": Source, "GET": Endless}.get(head.method, Relayed)
        relayed = kind(head, client, length, out)
        self.requests.append(relayed)
        if head.method == "POST":
            relayed.answer(b"no, thanks")
        return relayed


class TransportTests(TestCase):
    """Each kind of socket."""

    # Twisted's own endpoints, of both sides.
    suppress = [util.suppress(category=DeprecationWarning, message="Passing pyOpenSSL")]

    def setUp(self) -> None:
        self.side = Sides()
        self.factory = FrontFactory(
            Nobody(),
            Nobody(),
            relays=self.side.find,
            clock=reactor,
            limits=FrontLimits(handshake_seconds=2, body_seconds=2),
        )

    async def check(self, server: str, client: str) -> None:
        port = await serverFromString(reactor, server).listen(self.factory)
        self.addCleanup(port.stopListening)
        endpoint = clientFromString(
            reactor, client.format(port=getattr(port.getHost(), "port", None))
        )
        await self.check_echo(endpoint)
        await self.check_unread(endpoint)
        await self.check_slow(endpoint)
        while self.factory.census.total:
            await pause(0.01)
        self.assertEqual(len(self.factory.relaying), 0)

    async def check_echo(self, endpoint: Any) -> None:
        """Two on one connection, the second one told to be the last."""
        client = await connectProtocol(endpoint, Reader())
        client.transport.write(chunked(BODY, 50_000).replace(b"POST", b"PUT", 1))
        await client.until(b"\r\n0\r\n\r\n")
        self.assertEqual(client.take(), BODY)
        client.transport.write(post(BODY, "Connection: close").replace(b"POST", b"PUT", 1))
        await client.closed
        self.assertEqual(client.take(), BODY)

    async def check_unread(self, endpoint: Any) -> None:
        """The answer arrives, though much of the body is never read."""
        client = await connectProtocol(endpoint, Client())
        client.transport.write(post(BODY * 8))
        await client.until(b"no, thanks")
        self.assertIn(b"\r\nConnection: close\r\n", client.data)
        client.transport.loseConnection()
        await client.closed

    async def check_slow(self, endpoint: Any) -> None:
        """Nobody is asked for what a reader does not take, and it is told when that one leaves."""
        client = await connectProtocol(endpoint, Reader())
        client.transport.write(request("GET"))
        await client.until(b"\r\n")
        client.transport.pauseProducing()
        taken, before = self.side.requests[-1].taken, -1
        while len(taken) > before:
            before = len(taken)
            self.assertLess(before, 10_000)
            await pause(0.1)
        client.transport.abortConnection()
        await client.closed
        while not self.side.requests[-1].gone_count:
            await pause(0.01)

    def test_tcp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(
            self.check("tcp:0:interface=127.0.0.1", "tcp:127.0.0.1:{port}")
        )

    def test_unix(self) -> Deferred[None]:
        path = Path(self.mktemp())
        return Deferred.fromCoroutine(self.check(f"unix:{path}", f"unix:{path}"))

    def test_tls(self) -> Deferred[None]:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder)
        certificate, key = authority.issue("server")
        server = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        client = f"tls:localhost:{{port}}:trustRoots={folder}:endpoint=tcp\\:127.0.0.1\\:{{port}}"
        return Deferred.fromCoroutine(self.check(server, client))
