"""The hand-over of real sockets: TCP, TLS and Unix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial import util
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.fake_sockets import client_frame, upgrade
from tests.sockets.harness import CLOSE, TEXT, NamedDialect, RecordingSession
from twbridge.dialects.interfaces import ICodec
from twbridge.policy import Peer
from twbridge.settings import Route
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.web.site import WebSite
from twbridge.ws import BridgeFactory, Socket

reactor: Any = global_reactor


class Echo(RecordingSession):
    """Sends back what comes."""

    def received(self, payload: bytes, binary: bool) -> None:
        self.socket.send(payload, binary)


class Client(Protocol):
    """Collects what comes, and tells when something is there."""

    def __init__(self) -> None:
        self.data = b""
        self.closed: Deferred[bytes] = Deferred()
        self.reason: Failure | None = None
        self._waiting: tuple[bytes, Deferred[None]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._waiting and self._waiting[0] in self.data:
            (_, deferred), self._waiting = self._waiting, None
            deferred.callback(None)

    async def until(self, wanted: bytes) -> None:
        if wanted not in self.data:
            deferred: Deferred[None] = Deferred()
            self._waiting = wanted, deferred
            await deferred

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.closed.callback(self.data)


class TransportTests(TestCase):
    """Each kind of socket carries pages and WebSockets on one port."""

    # Twisted's own endpoints, of both sides.
    suppress = [util.suppress(category=DeprecationWarning, message="Passing pyOpenSSL")]

    def setUp(self) -> None:
        self.sessions: list[Echo] = []
        self.websocket = BridgeFactory(
            self.open_session,
            dialects=[NamedDialect(None)],
            routes={"/ws": Route()},
            clock=reactor,
        )
        self.factory = FrontFactory(
            self.websocket,
            WebSite(lambda: (True, "ready"), chat=Route(), clock=reactor),
            clock=reactor,
        )

    def open_session(self, peer: Peer, codec: ICodec, socket: Socket) -> Echo:
        self.sessions.append(Echo(peer, codec, socket))
        return self.sessions[-1]

    async def check(self, server: str, client: str) -> None:
        port = await serverFromString(reactor, server).listen(self.factory)
        self.addCleanup(port.stopListening)
        endpoint = clientFromString(
            reactor, client.format(port=getattr(port.getHost(), "port", None))
        )
        await self.check_page(endpoint)
        await self.check_websocket(endpoint)
        self.factory.limits = FrontLimits(handshake_seconds=0.3)
        await self.check_deadline(endpoint)
        self.assertEqual(self.factory.census.total, 0)

    async def check_page(self, endpoint: Any) -> None:
        client = await connectProtocol(endpoint, Client())
        client.transport.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.closed
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nready\n"))

    async def check_websocket(self, endpoint: Any) -> None:
        client = await connectProtocol(endpoint, Client())
        client.transport.write(upgrade() + client_frame(TEXT, b"first"))
        await client.until(b"\x81\x05first")
        # More than a socket's buffers, while the peer does not read.
        client.transport.pauseProducing()
        for _ in range(30):
            client.transport.write(client_frame(TEXT, b"a" * 100_000))
        self.sessions[-1].socket.pause_reading()
        self.sessions[-1].socket.resume_reading()
        client.transport.resumeProducing()
        client.transport.write(client_frame(TEXT, b"last"))
        await client.until(b"\x81\x04last")
        self.assertEqual(client.data.count(b"a" * 100_000), 30)
        closing = self.websocket.close_all(1001, "bye")
        await client.until(b"\x88\x05\x03\xe9bye")
        client.transport.write(client_frame(CLOSE, b"\x03\xe9"))
        await client.closed
        assert client.reason
        self.assertIs(client.reason.type, ConnectionDone, "a reset is no clean close to a browser")
        await closing
        self.assertEqual(self.sessions[-1].events, ["opened", "lost"])

    async def check_deadline(self, endpoint: Any) -> None:
        client = await connectProtocol(endpoint, Client())
        client.transport.write(b"GET")
        self.assertEqual(await client.closed, b"")

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
