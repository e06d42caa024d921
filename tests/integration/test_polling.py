"""Long polling: ``GET /api/poll`` of the bridge, and ``Polls`` in an application of Klein."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import uuid
import weakref
from typing import Any, NamedTuple
from urllib.parse import urlencode

from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.server import Site

from tests.integration.bridge_cases import OnEmbedded
from tests.integration.cases import clock
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import SubscriptionCase
from twbridge.polling import Polls
from twbridge.rpc import Caller

SECONDS = 15.0
#: Clients that leave.
MANY = 200


class Answer(NamedTuple):
    """Of one poll."""

    status: int
    body: bytes
    fields: dict[str, str]

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Connection:
    """A client that polls over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self.close = self._connection.close

    def poll(self, path: str, **parameters: str) -> Deferred[Answer]:
        """One poll; fires with its answer."""
        named = {name.rstrip("_"): value for name, value in parameters.items()}
        return in_thread(self._poll, f"{path}?{urlencode(named)}")

    def _poll(self, target: str) -> Answer:
        self._connection.request("GET", target)
        answer = self._connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.read(), fields)


class News:
    """An application that others wrote."""

    app = Klein()

    def __init__(self, polls: Polls, channel: str) -> None:
        self.polls = polls
        self.channel = channel

    @app.route("/news")
    def news(self, request: IRequest) -> Deferred[bytes]:
        return self.polls.wait(request, self.channel, timeout=25)

    @app.route("/wrapped")
    async def wrapped(self, request: IRequest) -> bytes:
        return b'{"news":' + await self.polls.wait(request, self.channel, timeout=25) + b"}"

    @app.route("/brief")
    def brief(self, request: IRequest) -> Deferred[bytes]:
        return self.polls.wait(request, self.channel, timeout=0.2)


class PollScenarios(SubscriptionCase):
    """What clients may rely on."""

    __test__ = False

    def client(self, port: int | None = None) -> Connection:
        client = Connection(port or self.bridge.port)
        self.addCleanup(client.close)
        return client

    async def sockets(self, port: int, target: str) -> list[socket.socket]:
        """Clients that have asked, and wait."""
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        def ask() -> list[socket.socket]:
            found = []
            for _ in range(MANY):
                found.append(socket.create_connection(("127.0.0.1", port)))
                found[-1].sendall(head)
                self.addCleanup(found[-1].close)
            return found

        return await in_thread(ask)

    # -- the bridge

    async def test_a_pending_get_completes_on_a_publish(self) -> None:
        topic, link = f"test.{uuid.uuid4()}", await self.ready()
        polling = self.client().poll("/api/poll", destination=f"/topic/{topic}.#")
        while not polling.called:  # nobody says when it stands
            await link.publish("amq.topic", f"{topic}.a", b"hello", {"content_type": "text/plain"})
        answer = await polling
        self.assertEqual((answer.status, answer.json["op"]), (200, "message"))
        self.assertEqual(answer.json["body"], "hello")
        self.assertEqual(answer.json["routing_key"], f"{topic}.a")

    async def test_without_a_message_it_is_204(self) -> None:
        client = self.client()
        for _ in range(2):
            answer = await client.poll("/api/poll", destination="/topic/silent", timeout="0.2")
            self.assertEqual((answer.status, answer.body), (204, b""))

    async def test_a_queue_gives_one_message_for_each_poll_and_marks_no_other(self) -> None:
        queue, client = await self.queue(), self.client()
        await self.fill(queue, range(20))
        for number in range(20):
            answer = await client.poll("/api/poll", destination=f"/queue/{queue}")
            self.assertEqual(answer.json["body"], str(number))
            self.assertNotIn("redelivered", answer.json)
        await self.has(queue, (0, 0))

    async def test_several_clients_share_a_queue(self) -> None:
        queue = await self.queue()
        polls = [self.client().poll("/api/poll", destination=f"/queue/{queue}") for _ in range(4)]
        await self.has(queue, (0, 4))
        await self.fill(queue, range(6))
        bodies = [(await poll).json["body"] for poll in polls]
        self.assertEqual(sorted(bodies), ["0", "1", "2", "3"])
        await self.has(queue, (2, 0))

    async def test_a_stream_goes_on_where_the_last_poll_was(self) -> None:
        stream, client = await self.stream(), self.client()
        await self.fill(stream, range(5))
        start = "first"
        for number in range(7):
            polling = client.poll("/api/poll", destination=f"/stream/{stream}", from_=start)
            if number == 5:
                await self.fill(stream, range(5, 7))
            answer = await polling
            self.assertEqual((answer.status, answer.json["body"]), (200, str(number)))
            self.assertEqual(answer.json["offset"], number)
            start = f"offset={number + 1}"

    async def test_clients_that_leave_take_nothing_with_them(self) -> None:
        queue = await self.queue()
        left = await self.sockets(self.bridge.port, f"/api/poll?destination=/queue/{queue}")
        await self.has(queue, (0, MANY))
        for each in left:
            each.close()
        await self.has(queue, (0, 0))
        await self.fill(queue, ["stays"])
        answer = await self.client().poll("/api/poll", destination=f"/queue/{queue}")
        self.assertEqual(answer.json["body"], "stays")
        self.assertNotIn("redelivered", answer.json)

    # -- an application

    async def news(self) -> tuple[Polls, Caller, str, int]:
        """An application of Klein that is served; its polls, a caller, the channel, the port."""
        caller = Caller(self.node.url())
        await caller.start()
        self.addCleanup(caller.stop)
        polls, channel = Polls(caller), f"news.{uuid.uuid4()}"
        self.addCleanup(polls.stop)
        site = Site(News(polls, channel).app.resource(), reactor=reactor)
        port = clock.listenTCP(0, site, backlog=2 * MANY, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return polls, caller, channel, port.getHost().port

    async def test_nothing_is_lost_between_two_polls_of_an_application(self) -> None:
        polls, caller, channel, port = await self.news()
        client = self.client(port)
        self.addCleanup(client.close)
        polling = client.poll("/news")
        await self.until(lambda: len(polls) == 1)
        while not polling.called:
            await caller.publish(channel, {"begin": True})
        answer = await polling
        self.assertEqual((answer.status, answer.json), (200, {"begin": True}))
        for number in range(10):
            await caller.publish(channel, number)
        seen: list[int] = []
        while 9 not in seen:
            answer = await client.poll("/news", after=answer.fields["twbridge-number"])
            self.assertEqual(answer.status, 200)
            self.assertNotIn("twbridge-missed", answer.fields)
            if answer.json != {"begin": True}:
                seen.append(answer.json)
        self.assertEqual(seen, list(range(10)))
        answer = await client.poll("/brief", after=answer.fields["twbridge-number"])
        self.assertEqual((answer.status, answer.body), (204, b""))

    async def test_with_the_number_first_nothing_is_lost_and_a_lost_link_is_told(self) -> None:
        polls, caller, channel, port = await self.news()
        client = self.client(port)
        answer = await client.poll("/news", after="")
        self.assertEqual((answer.status, answer.body), (204, b""))
        await caller.publish(channel, 1)
        answer = await client.poll("/wrapped", after=answer.fields["twbridge-number"])
        self.assertEqual((answer.json, answer.fields.get("twbridge-missed")), ({"news": 1}, None))
        polling = client.poll("/news", after=answer.fields["twbridge-number"])
        await self.until(lambda: len(polls) == 1)
        await caller.link.stop()
        caller.link.start()
        answer = await polling
        self.assertEqual((answer.status, answer.fields["twbridge-missed"]), (204, "unknown"))
        polling = client.poll("/news", after=answer.fields["twbridge-number"])
        await self.until(lambda: len(polls) == 1)
        await caller.publish(channel, 2)
        self.assertEqual((await polling).json, 2)

    async def test_200_that_leave_an_application_are_gone_from_memory(self) -> None:
        polls, caller, channel, port = await self.news()
        left = await self.sockets(port, "/news")
        await self.until(lambda: len(polls) == MANY)
        (kept,) = polls._channels.values()
        answers = [weakref.ref(each.answer) for each in kept.polls]
        for each in left:
            each.close()
        await self.until(lambda: not len(polls))
        await caller.publish(channel, 1)
        gc.collect()
        self.assertEqual([each() for each in answers if each() is not None], [])


class PollTests(PollScenarios):
    """On RabbitMQ."""

    __test__ = True


class EmbeddedPollTests(OnEmbedded, PollScenarios):
    """On the embedded broker."""

    __test__ = True
