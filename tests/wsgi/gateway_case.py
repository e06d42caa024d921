"""A gateway on a link that a test drives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakePublish, delivery
from twbridge.amqp import LinkOptions
from twbridge.errors import Unroutable
from twbridge.wire import Content, encode_properties
from twbridge.wsgi.gateway import Gateway
from twbridge.wsgi.messages import (
    WINDOW,
    Fields,
    Request,
    Start,
    ToBridge,
    ToWorker,
    encode,
    read_to_worker,
)
from twbridge.wsgi.ports import Forwarded, GatewayError, Mount

MOUNT = Mount("/app", timeout=10.0)


class MountLink(FakeLink):
    """A link that gives messages back. ``writes`` is whether it writes at once."""

    options = LinkOptions()

    def __init__(self) -> None:
        super().__init__()
        self.writes = True
        self._on_publishing_lost: list[Callable[[], object]] = []
        #: Whether there are no confirms at all.
        self.unconfirming = False
        #: Those that nobody confirms.
        self.unconfirmed: list[FakePublish] = []

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: dict[str, Any] | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
        confirm: bool = True,
    ) -> Deferred[None]:
        answer = super().publish(
            exchange, routing_key, body, properties, mandatory=mandatory, timeout=timeout
        )
        if not confirm or self.unconfirming:
            self.unconfirmed.append(self.published[-1])
            if self.writes:
                answer.callback(None)
        return answer

    def on_publishing_lost(self, callback: Callable[[], object]) -> Callable[[], None]:
        self._on_publishing_lost.append(callback)
        return lambda: self._on_publishing_lost.remove(callback)

    def cut(self) -> None:
        """Lose the connection that publishes; the state is what it was."""
        for callback in list(self._on_publishing_lost):
            callback()

    def give_back(self, publish: FakePublish) -> None:
        """Nobody took it."""
        assert publish.mandatory
        method = commands.Basic.Return(312, "NO_ROUTE", "", publish.routing_key)
        content = Content(1, method, encode_properties(publish.properties), publish.body)
        for callback in list(self._on_return):
            callback(content)
        if publish not in self.unconfirmed:
            publish.answer.errback(Unroutable(312, "NO_ROUTE"))


class FakeAnswering:
    """A client that keeps what it is told. ``on_read`` and ``on_data`` are called within that."""

    def __init__(self) -> None:
        self.head: tuple[int, str, Fields] | None = None
        self.body = b""
        self.pieces = 0
        self.complete = False
        self.errors: list[GatewayError] = []
        self.reads = 0
        self.on_read: Any = lambda: None
        self.on_data: Any = lambda size: None

    def start(self, status: int, reason: str, fields: Fields, body: bytes, more: bool) -> None:
        assert self.head is None, "started twice"
        self.head = (status, reason, fields)
        self.part(body, more)

    def part(self, data: bytes, more: bool) -> None:
        assert not self.over, "a piece after the end"
        self.body += data
        self.pieces += 1
        self.complete = not more
        if data:
            self.on_data(len(data))

    def failed(self, error: GatewayError) -> None:
        assert not self.over, "failed after the end"
        self.errors.append(error)

    def read_on(self) -> None:
        assert not self.over, "read on after the end"
        self.reads += 1
        self.on_read()

    @property
    def over(self) -> bool:
        """Whether nothing may come any more."""
        return self.complete or bool(self.errors)

    @property
    def status(self) -> int:
        """Of the error; 0: there was none."""
        return self.errors[0].status if self.errors else 0


def request(method: str = "GET", length: int | None = 0) -> Request:
    """A request whose body is still to come."""
    return Request(
        method=method,
        mount="/app",
        path="/x",
        query="",
        version="HTTP/1.1",
        scheme="http",
        server=("localhost", 80),
        client=("127.0.0.1", 1),
        fields=[("host", "localhost")],
        length=length,
        body=b"",
        more=True,
        window=WINDOW,
        timeout=MOUNT.timeout,
    )


def ok(body: bytes = b"", more: bool = False, *fields: tuple[str, str], status: int = 200) -> Start:
    """The beginning of an answer."""
    return Start(status, "OK", list(fields), body, more)


class GatewayCase(SynchronousTestCase):
    """``self.link`` takes what the gateway publishes; `say` is a worker's word."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = MountLink()
        self.gateway = Gateway(self.link, self.clock)  # type: ignore[arg-type]
        self.addCleanup(self.assert_that_nothing_is_left)

    def assert_that_nothing_is_left(self) -> None:
        """What has ended leaves nothing behind."""
        self.gateway.stop()
        self.assertEqual(self.gateway.pending, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def forward(
        self,
        method: str = "GET",
        body: bytes | None = b"",
        mount: Mount = MOUNT,
        more: bool = False,
    ) -> tuple[FakeAnswering, Forwarded]:
        """A request; its body is not there where that is None."""
        client = FakeAnswering()
        forwarded = self.gateway.forward(request(method), mount, client)
        if body is not None:
            forwarded.upload(body, more)
        return client, forwarded

    @property
    def consumer(self) -> Any:
        return self.link.consumers[0]

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps of the sweep."""
        self.clock.pump([0.25] * round(seconds * 4))

    def id_of(self, number: int) -> str:
        """The id of a request."""
        found: str = self.requests[number].properties["correlation_id"]
        return found

    def say(
        self,
        message: ToBridge | bytes,
        id: str | None = None,
        control: str = "w1",
        worker: str = "a",
    ) -> None:
        """What a worker says, about the last request by default."""
        body = message if isinstance(message, bytes) else encode(message)
        if id is None:
            id = self.requests[-1].properties["correlation_id"]
        properties = {"correlation_id": id, "reply_to": control, "app_id": worker}
        self.consumer.deliver(delivery("replies", body, "", **properties))

    @property
    def requests(self) -> list[FakePublish]:
        """The requests that were published."""
        return [
            each
            for each in self.link.published
            if each.routing_key.startswith("twbridge.") and each.body
        ]

    @property
    def probes(self) -> list[FakePublish]:
        """What was published to see whether a queue is there."""
        return [each for each in self.link.published if not each.body]

    def told(self, control: str = "w1") -> list[ToWorker]:
        """What a worker was told."""
        return [
            read_to_worker(each.body) for each in self.link.published if each.routing_key == control
        ]
