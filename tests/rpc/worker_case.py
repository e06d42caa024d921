"""A worker with executors that a test drives, a caller and the embedded broker, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.rpc.cases import CallerCase
from twbridge.amqp import Consumer, Link, Queue
from twbridge.rpc.executors.outcomes import Died, Done, Outcome, WasCancelled
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import JSON, Body
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.worker import Worker, WorkerOptions
from twbridge.wire import Delivery

__all__ = ["DONE", "FakeExecutors", "FakeRun", "WorkerCase"]

DONE = Done(Body(b'"done"', JSON), {})
PLAIN = TaskOptions("add")


class FakeRun:
    """A call that ends when the test says so."""

    def __init__(
        self,
        task: TaskOptions,
        request: Request,
        redelivered: bool,
        on_progress: Callable[[Body], Any],
    ) -> None:
        self.task = task
        self.request = request
        self.redelivered = redelivered
        self.on_progress = on_progress
        self.cancelled = False
        self.done: Deferred[Outcome] = Deferred()

    def end(self, outcome: Outcome = DONE) -> None:
        self.done.callback(outcome)

    def cancel(self) -> None:
        self.cancelled = True
        self.end(WasCancelled())


class FakeExecutors:
    """Keeps what it is asked to run."""

    def __init__(self, *tasks: TaskOptions) -> None:
        self.tasks = list(tasks)
        self.runs: list[FakeRun] = []
        self.on_publish: Callable[[str, Body], Any] = lambda channel, body: None
        self.starting: Deferred[list[TaskOptions]] = succeed(self.tasks)
        self.stopped = False

    def start(self) -> Deferred[list[TaskOptions]]:
        return self.starting

    def run(
        self,
        task: TaskOptions,
        request: Request,
        *,
        redelivered: bool,
        on_progress: Callable[[Body], Any],
    ) -> FakeRun:
        run = FakeRun(task, request, redelivered, on_progress)
        self.runs.append(run)
        return run

    def stop(self) -> Deferred[None]:
        self.stopped = True
        for run in self.runs:
            if not run.done.called:
                run.end(Died("killed"))
        return succeed(None)

    def kill(self) -> None:
        """Nothing is left to be killed."""

    @property
    def open(self) -> list[FakeRun]:
        """What runs."""
        return [run for run in self.runs if not run.done.called]


class WorkerCase(CallerCase):
    """Tests with workers; they are stopped before the links are."""

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
        self,
        *tasks: TaskOptions,
        serves: bool = True,
        link: Link | None = None,
        **options: Any,
    ) -> tuple[Worker, FakeExecutors]:
        """A worker of these tasks, and what runs them."""
        executors = FakeExecutors(*(tasks or (PLAIN,)))
        number = len(self._workers) + 1
        worker = Worker(
            link or self.link(started=False),
            executors,
            id=f"w{number}",
            clock=self.clock,
            options=WorkerOptions(**({"concurrency": 1} | options)),
            now=lambda: 1000.0,
        )
        self._workers.append(worker)
        if serves:
            self.result(worker.start())
            self.network.pump()
        return worker, executors

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

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        self.network.pump()
        link = self.link()
        return self.result(link.count(queue))[0]

    def letters(self, queue: str) -> list[Delivery]:
        """What is in a queue, taken out."""
        taken: list[Delivery] = []
        durable = Queue(queue, durable=True, exclusive=False, auto_delete=False, passive=True)
        consumer: Consumer = self.result(self.link().consume(durable, taken.append, no_ack=True))
        self.network.pump()
        self.result(consumer.cancel())
        return taken
