"""A site whose requests wait for channels, and its clients, in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from tests.rpc.cases import CallerCase
from tests.web.harness import Answer, request
from twbridge.polling import Polls

__all__ = ["Connection", "Late", "News", "Notes", "PollsCase"]


class News(Resource):
    """A resource of twisted.web."""

    isLeaf = True

    def __init__(self, polls: Polls, channel: str = "news") -> None:
        super().__init__()
        self.polls = polls
        self.channel = channel

    def render_GET(self, request: IRequest) -> int:
        return self.polls.render(request, self.channel, timeout=25)


class Late(News):
    """One that does something else before."""

    def render_GET(self, request: IRequest) -> int:
        clock: Any = self.polls._clock
        clock.callLater(1, super().render_GET, request)
        return server.NOT_DONE_YET


class Notes:
    """Routes of Klein."""

    app = Klein()

    def __init__(self, polls: Polls) -> None:
        self.polls = polls

    @app.route("/plain")
    def plain(self, request: IRequest) -> Deferred[bytes]:
        return self.polls.wait(request, "news")

    @app.route("/stubborn")
    async def stubborn(self, request: IRequest) -> bytes:
        with contextlib.suppress(CancelledError):
            await Deferred()
        return await self.polls.wait(request, "news")

    @app.route("/wrapped")
    async def wrapped(self, request: IRequest) -> bytes:
        return b'{"news":' + await self.polls.wait(request, "news") + b"}"

    @app.route("/later")
    async def later(self, request: IRequest) -> bytes:
        return await self.polls.wait(request, "news", timeout=5)


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """A body in chunks, whole, and what comes behind it (RFC 9112, section 7.1)."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, behind, data = body + data[:length], data[length : length + 2], data[length + 2 :]
        assert behind == b"\r\n"
        if not length:
            return body, data


class Connection:
    """One of a browser."""

    def __init__(self, site: server.Site) -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50_000))
        self.protocol: Any = site.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def take(self) -> Answer:
        """The only answer since the last look."""
        data = self.transport.value()
        self.transport.clear()
        first = Answer(data)
        if first.fields.get("transfer-encoding") == "chunked":
            first.body, first.rest = unchunked(first.rest)
        assert not first.rest
        return first

    @property
    def waits(self) -> bool:
        """Whether there is no answer."""
        return not self.transport.value()

    def leave(self) -> None:
        """Be gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class PollsCase(CallerCase):
    """A site before the embedded broker; no test sleeps."""

    def setUp(self) -> None:
        super().setUp()
        self.speaker = self.caller()
        self.listener = self.caller()
        tokens: Iterator[str] = (f"{number:08x}" for number in range(1, 1000))
        self.polls = Polls(self.listener, reactor=self.clock, token=tokens.__next__)
        self.connections: list[Connection] = []
        self.site = self.serve(News(self.polls))
        self.addCleanup(self._leave)

    def _leave(self) -> None:
        for each in self.connections:
            each.leave()
        self.assertEqual(len(self.polls), 0)
        self.result(self.polls.stop())
        self.assertEqual(self.polls.channels, 0)

    def serve(self, resource: Resource) -> server.Site:
        return server.Site(resource, reactor=self.clock, timeout=None)

    def ask(self, after: str | None = None, *, site: server.Site | None = None) -> Connection:
        """A request that was sent."""
        target = "/" if after is None else f"/?after={after}"
        return self.get(target, site or self.site)

    def get(self, target: str, site: server.Site) -> Connection:
        connection = Connection(site)
        self.connections.append(connection)
        connection.protocol.dataReceived(request("GET", target))
        self.network.pump()
        return connection

    def publish(self, *bodies: Any, channel: str = "news") -> None:
        for body in bodies:
            self.result(self.speaker.publish(channel, body))

    def away(self, *bodies: Any) -> None:
        """The link of the polls is away for a while, and what is published meanwhile is lost."""
        self.result(self.listener.link.stop())
        self.publish(*bodies)
        self.listener.link.start()
        self.network.advance(1)

    def number(self, connection: Connection, status: int = 200) -> str:
        return self.told(connection, status).fields["twbridge-number"]

    def told(self, connection: Connection, status: int = 200) -> Answer:
        found = connection.take()
        self.assertEqual(found.status, status, found.body)
        return found
