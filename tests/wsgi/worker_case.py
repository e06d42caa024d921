"""A worker with lanes that a test drives, a bridge of a few lines and the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.rpc.cases import CallerCase
from twbridge.amqp import Consumer, Link, Queue
from twbridge.link.line import Line
from twbridge.wire import Delivery
from twbridge.wsgi.lanes import Listener, Work
from twbridge.wsgi.messages import (
    Request,
    Start,
    ToBridge,
    ToWorker,
    encode,
    queue_of,
    read_to_bridge,
    read_to_worker,
)
from twbridge.wsgi.worker import Worker, WorkerOptions

__all__ = ["FakeBridge", "FakeCrew", "FakeLane", "WsgiWorkerCase", "request"]

OK = Start(200, "OK", [], b"hello", False)


def request(**changes: Any) -> Request:
    """A request for nothing special."""
    fields: dict[str, Any] = {
        "method": "GET",
        "mount": "/app",
        "path": "/",
        "query": "",
        "version": "HTTP/1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "fields": [],
        "length": 0,
        "body": b"",
        "more": False,
        "window": 65536,
        "timeout": 30.0,
    }
    return Request(**fields | changes)


class FakeLane:
    """A lane whose application is the test."""

    def __init__(self, crew: FakeCrew) -> None:
        self.crew = crew
        self.work: Work | None = None
        #: What it was told of the request that runs.
        self.heard: list[ToWorker] = []

    def begin(self, work: Any) -> None:
        self.work = work
        work.lane = self
        self.heard = [read_to_worker(work.lease.delivery.body)]

    def tell(self, message: bytes) -> None:
        self.heard.append(read_to_worker(message))

    def say(self, message: ToBridge) -> None:
        """The application says something."""
        assert self.work is not None
        self.crew.listener.said(self.work, encode(message))

    def end(self, message: ToBridge | None = OK) -> None:
        """Its request ends, with a last message."""
        work, self.work = self.work, None
        assert work is not None
        work.lane = None
        self.crew.freed(self)
        if message is not None:
            self.crew.listener.said(work, encode(message))
        self.crew.listener.ended(work)


class FakeCrew:
    """Lanes without processes."""

    listener: Listener

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.all = [FakeLane(self) for _ in range(lanes)]
        self.free: Any = list(self.all)
        self.starting: Deferred[None] = succeed(None)
        #: Its answer to ``stop``.
        self.stopping: Deferred[None] = succeed(None)
        self.ended: list[Work] = []
        self.left_over = 0
        self.is_draining = self.stopped = self.killed = False

    @property
    def able(self) -> int:
        return len(self.all)

    @property
    def busy(self) -> list[FakeLane]:
        """Those that have a request."""
        return [each for each in self.all if each.work is not None]

    def start(self) -> Deferred[None]:
        return self.starting

    def no_more(self) -> None:
        self.is_draining = True

    def stop(self) -> Deferred[None]:
        self.stopped = True
        return self.stopping

    def kill(self) -> None:
        self.killed = True
        if not self.stopping.called:
            self.stopping.callback(None)

    def freed(self, lane: FakeLane) -> None:
        work: Any = self.listener.next()
        if work is None:
            self.free.append(lane)
        else:
            lane.begin(work)

    def end(self, work: Work) -> None:
        """Its process is killed, and replaced at once."""
        self.ended.append(work)
        lane: Any = work.lane
        work.lane = lane.work = None
        self.freed(lane)

    def die(
        self, lane: FakeLane, text: str = "it exited with code 1", is_untouched: bool = False
    ) -> None:
        """A process ends by itself; another comes with `revive`."""
        work, lane.work = lane.work, None
        self.all.remove(lane)
        if work is not None:
            work.lane = None
            self.listener.lost(work, text, is_untouched)

    def revive(self) -> None:
        """A process has started."""
        lane = FakeLane(self)
        self.all.append(lane)
        self.freed(lane)
        self.listener.ready()


class FakeBridge:
    """Sends requests by hand.

    Attributes:
        got: id -> what came for it.
        control: id -> the queue that the last message of it named.
    """

    def __init__(self, link: Link, mount: str = "/app") -> None:
        self.link = link
        self.mount = mount
        self.got: dict[str, list[ToBridge]] = {}
        self.control: dict[str, str] = {}
        self._consumer: Consumer | None = None

    async def listen(self) -> None:
        """Have a queue for answers."""
        self._consumer = await self.link.consume(Queue(), self._answered, no_ack=True)

    @property
    def queue(self) -> str:
        assert self._consumer is not None
        return self._consumer.queue_name

    def ask(self, id: str, what: Request | None = None, **properties: Any) -> Deferred[None]:
        """Send a request."""
        what = what or request()
        given = {
            "content_type": "application/msgpack",
            "correlation_id": id,
            "reply_to": self.queue,
            "expiration": str(round(what.timeout * 1000)),
            "delivery_mode": 1,
        }
        return self.link.publish(
            "", queue_of(self.mount), encode(what), given | properties, mandatory=True
        )

    def tell(self, id: str, message: ToWorker) -> Deferred[None]:
        """Say something to the worker that has it."""
        return self.link.publish("", self.control[id], encode(message), {"correlation_id": id})

    def _answered(self, delivery: Delivery) -> None:
        properties = delivery.properties
        id = properties["correlation_id"]
        self.got.setdefault(id, []).append(read_to_bridge(delivery.body))
        self.control[id] = properties["reply_to"]


class WsgiWorkerCase(CallerCase):
    """Tests without a socket, a process or a sleep; workers are stopped before the links are."""

    def setUp(self) -> None:
        super().setUp()
        self._workers: list[Worker] = []
        self.addCleanup(self._stop_workers)

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.hurry()
            stopped = worker.stop()
            self.network.advance(12)
            self.assertIsNone(self.successResultOf(stopped))

    def served(
        self, lanes: int = 1, *, serves: bool = True, **options: Any
    ) -> tuple[Worker, FakeCrew]:
        """A worker, and its lanes."""
        crew: Any = FakeCrew(lanes)
        worker = Worker(
            self.link(started=False),
            crew,
            id=f"w{len(self._workers) + 1}",
            clock=self.clock,
            options=WorkerOptions(**({"mount": "/app"} | options)),
        )
        self._workers.append(worker)
        if serves:
            self.result(worker.start())
            self.network.pump()
        return worker, crew

    def bridge(self, **options: Any) -> FakeBridge:
        bridge = FakeBridge(self.link(), **options)
        self.do(bridge.listen())
        return bridge

    def lose(self, worker: Worker) -> None:
        """The connections of a worker are lost; they come back."""
        self.cut_off([worker._link._publishing, *worker._link._consuming])
        self.network.pump()

    def cut_off(self, lines: Iterable[Line]) -> None:
        """The connections of these are lost; nobody has heard of that."""
        for line in lines:
            connection: Any = line.connection
            connection.transport.abortConnection()

    def die(self, worker: Worker) -> None:
        """What the broker sees when a worker is killed: its connections end."""
        stopped = worker._link.stop()
        self.network.advance(0.5)
        self.assertIsNone(self.successResultOf(stopped))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        self.network.pump()
        for _ in range(round(seconds / 0.01)):
            self.clock.advance(0.01)
            self.network.pump()

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Let time pass until something is so."""
        for _ in range(round(seconds / 0.01)):
            if condition():
                return
            self.pass_time(0.01)
        self.fail("it did not come true in time")

    def waiting(self) -> int:
        """How many requests wait in the queue."""
        self.network.pump()
        return int(self.result(self.link().count(queue_of("/app")))[0])
