"""The HTTP endpoints behind the real door, before a link that a test drives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import FakeSocket, connect
from tests.fakes import FakeLink
from tests.test_session_calls import FakeCaller
from twbridge.hub import Hub
from twbridge.policy import Policy
from twbridge.ports import Limits, Services
from twbridge.publishes import Declarer
from twbridge.resends import Resends
from twbridge.session import Session
from twbridge.sockets.admission import Admission
from twbridge.sockets.census import Census, Lease
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client, Listener
from twbridge.sockets.ports import SocketOptions
from twbridge.subscriptions.opening import Subscriptions
from twbridge.web import call, events, poll, publish
from twbridge.web.call import TaskCalls
from twbridge.web.events import EventStreams
from twbridge.web.poll import PollCalls
from twbridge.web.publish import PublishCalls


class Allow(NamedTuple):
    """A rule."""

    operation: str
    destination: str


class Nobody:
    """Lets no WebSocket in, and serves nothing."""

    def admit(self, head: Head, client: Client, lease: Lease) -> IProtocol:
        raise Refusal(404, "No.")

    def buildProtocol(self, addr: object) -> None:
        return None


class Answer:
    """A parsed answer of HTTP, and what comes behind its head."""

    def __init__(self, data: bytes, bodiless: bool = False) -> None:
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        self.status = int(first.split(" ")[1])
        self.fields = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        self.body = b""
        if "content-length" in self.fields and not bodiless:
            length = int(self.fields["content-length"])
            assert len(self.rest) >= length
            self.body, self.rest = self.rest[:length], self.rest[length:]

    @property
    def json(self) -> Any:
        """The body."""
        assert self.fields["content-type"] == "application/json"
        return json.loads(self.body)


def answers(data: bytes) -> list[Answer]:
    """All the answers on one connection."""
    found = []
    while data:
        found.append(Answer(data))
        data = found[-1].rest
    return found


def request(method: str, target: str, *lines: str, body: bytes | None = None) -> bytes:
    """A request, its body announced."""
    head = [f"{method} {target} HTTP/1.1", "Host: localhost:8080", *lines]
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")


class HttpCase(SynchronousTestCase):
    """A listener with all endpoints, on loopback and without rules where a test says nothing."""

    rules: Sequence[Allow] = ()
    listener = Listener(loopback=True, proxies=("10.0.0.0/8",))
    options = SocketOptions(send_buffer=1_000)
    front_limits = FrontLimits(connections=5, connections_per_address=4, requests=10)
    message = 1_000

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.caller = FakeCaller()
        self.hub = Hub(self.link, self.clock)
        self.subscriptions = Subscriptions(self.link, self.clock, self.hub, instance="node")
        self.services = Services(
            self.hub,
            self.subscriptions,
            Resends(self.clock),
            Declarer(self.link),
            self.link,
            Policy(self.rules),
            instance="node",
            limits=Limits(message=self.message),
            calls=self.caller,
        )
        admission = Admission(self.listener, self.clock)
        opening = partial(Session, self.services)
        self.streams = EventStreams(
            opening,
            admission=admission,
            clock=self.clock,
            options=self.options,
            random=lambda: 0.5,
        )
        self.calls = PublishCalls(
            opening, admission=admission, clock=self.clock, limit=self.message
        )
        self.tasks = TaskCalls(opening, admission=admission, clock=self.clock, limit=self.message)
        self.polls = PollCalls(opening, admission=admission, clock=self.clock)
        self.census = Census(
            self.front_limits.connections, self.front_limits.connections_per_address
        )
        self.front = FrontFactory(
            Nobody(),
            Nobody(),
            streams={events.PATH: self.streams},
            calls={publish.PATH: self.calls, call.PATH: self.tasks, poll.PATH: self.polls},
            clock=self.clock,
            listener=self.listener,
            limits=self.front_limits,
            census=self.census,
        )
        self.sockets: list[FakeSocket] = []

    def tearDown(self) -> None:
        for socket in self.sockets:
            if socket.protocol is not None:
                socket.abortConnection()
        self.clock.advance(0)
        self.assertEqual((self.census.total, self.census.places), (0, {}))
        self.assertEqual((self.calls.waiting, self.streams.streams), (set(), set()))
        self.assertEqual((self.tasks.waiting, self.polls.waiting), (set(), set()))
        self.subscriptions.stop()
        self.hub.stop()
        self.services.gate.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self, address: str = "127.0.0.1") -> FakeSocket:
        socket = connect(self.front, self.clock, address)
        self.sockets.append(socket)
        return socket

    def send(self, data: bytes, address: str = "127.0.0.1") -> FakeSocket:
        """A socket that has sent this."""
        socket = self.connect(address)
        socket.deliver(data)
        self.clock.advance(0)
        return socket

    def answer(self, socket: FakeSocket) -> Answer:
        """The only answer since the last look."""
        (found,) = answers(socket.take())
        return found

    def refused(self, data: bytes, status: int, code: str, address: str = "127.0.0.1") -> Answer:
        """A request that is refused, by a connection that ends with that."""
        socket = self.send(data, address)
        found = self.answer(socket)
        self.assertEqual((found.status, found.json["code"]), (status, code), found.json)
        self.assertEqual(found.fields["connection"], "close")
        self.assertTrue(socket.lost)
        return found
