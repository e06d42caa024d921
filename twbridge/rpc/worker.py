"""A worker: it serves the tasks of a module from their queues.

::

    if __name__ == "__main__":
        run(amqp_url="amqp://localhost", concurrency=4)
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link, Queue
from twbridge.errors import BadRequest, ChannelClosed, TwbridgeError
from twbridge.rpc.children import START_TIMEOUT
from twbridge.rpc.lifetime import Lifetime, StartError
from twbridge.rpc.messages import PUBSUB, Cancel, Inspect, read_control
from twbridge.rpc.ownqueue import OwnQueue
from twbridge.rpc.running import Running, Runs
from twbridge.rpc.serializers import JSON, Body
from twbridge.rpc.slots import Slots
from twbridge.rpc.tasks import CONCURRENCY, DRAIN, TaskOptions
from twbridge.rpc.topology import (
    EXCHANGES,
    WORKERS_EXCHANGE,
    dead_letters,
    queue_of,
    refused,
    repeats,
)
from twbridge.wire import Delivery

__all__ = ["Executors", "Worker", "WorkerOptions", "run"]

_log = Logger()

#: Seconds of an at-least-once task's timeout past which RabbitMQ may take its requests back.
LONG: Final = 25 * 60.0
#: Seconds between looks at calls that have run for long.
LOOK: Final = 15.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker behaves.

    Args:
        concurrency: calls of each task that run at once, where the task does not say.
        drain: seconds that the calls that run have to end at the stop.
        start: seconds that each process has to import the module.
    """

    concurrency: int = CONCURRENCY
    drain: float = DRAIN
    start: float = START_TIMEOUT


class Executors(Runs, Protocol):
    """What the worker needs of ``executors.pool.Executors``."""

    on_publish: Callable[[str, Body], Any]

    def start(self) -> Deferred[list[TaskOptions]]: ...

    def stop(self) -> Deferred[None]: ...

    def kill(self) -> None: ...


class Worker(Lifetime):
    """Declares what its tasks need, runs what comes, answers.

    Args:
        link: the way to the broker; the worker starts and stops it.
        executors: what runs the tasks.
        id: of this worker, like no other's.
        clock: IReactorTime.
        now: the time of day, in seconds since 1970.
    """

    def __init__(
        self,
        link: Link,
        executors: Executors,
        *,
        id: str,
        clock: Any,
        options: WorkerOptions | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.id = id
        self.tasks: list[TaskOptions] = []
        self.options = options or WorkerOptions()
        super().__init__(link, clock, self.options.drain)
        self._executors = executors
        self._now = now
        self._started_at = now()
        self._slots: dict[str, Slots] = {}
        self._running = Running(
            link, executors, worker=id, clock=clock, control=lambda: self._control.name
        )
        self._control = OwnQueue(
            link, clock, WORKERS_EXCHANGE, self._told, on_up=self._running.accept_again
        )
        self._looks = LoopingCall(self._running.ack_old)
        self._looks.clock = clock
        executors.on_publish = self._publish

    # -- the beginning ----------------------------------------------------------------------

    def start(self) -> Deferred[list[TaskOptions]]:
        """Begin to serve; fires with the tasks when requests come.

        While the broker is away it waits, for ever. Fails with LoadError (the module), with
        StartError (it has no tasks, or the broker refuses a queue), or with CancelledError when
        it is stopped before.
        """
        self._starting = Deferred.fromCoroutine(self._start())
        return self._starting

    async def _start(self) -> list[TaskOptions]:
        self.tasks = tasks = await self._executors.start()
        if not tasks:
            raise StartError("there is no @task in the module")
        for task in tasks:
            if repeats(task) and task.timeout is not None and task.timeout > LONG:
                _log.warn(
                    "{task} may run for {timeout:g} s: past its consumer_timeout, 30 minutes by "
                    "default, RabbitMQ gives an at-least-once call to another worker",
                    task=task.name,
                    timeout=task.timeout,
                )
        self._link.start()
        await self._connected()
        try:
            await self._declare()
        except ChannelClosed as error:
            raise StartError(f"the broker refuses what calls need: {error}") from None
        self._looks.start(LOOK, now=False)
        return tasks

    async def _declare(self) -> None:
        for exchange in EXCHANGES:
            await self._link.declare(exchange)
        for task in self.tasks:
            dead = dead_letters(task)
            if dead is not None:
                await _for(task, self._link.declare(*dead))
        heard = self._control.start(), self._control.bind("")
        await DeferredList([each.addErrback(_trap) for each in heard])
        for task in self.tasks:
            slots = self._slots[task.name] = self._slots_of(task, queue_of(task))
            await _for(task, slots.start())

    def _slots_of(self, task: TaskOptions, queue: Queue) -> Slots:
        room = task.concurrency or self.options.concurrency
        return Slots(
            self._link, self._clock, queue, room, lambda lease: self._running.take(task, lease)
        )

    # -- the end ----------------------------------------------------------------------------

    async def _stop(self) -> None:
        await DeferredList([Deferred.fromCoroutine(each.stop()) for each in self._slots.values()])
        await self._drained(self._running)
        await self._running.give_up()
        ended = self._executors.stop()
        self._hurry.addCallback(lambda _: self._executors.kill())
        await ended
        if self._looks.running:
            self._looks.stop()
        await self._control.stop()
        await self._link.stop()

    # -- words to the worker ----------------------------------------------------------------

    def _told(self, delivery: Delivery) -> None:
        try:
            control = read_control(delivery)
        except BadRequest as error:
            _log.warn("A word to the worker was refused: {error}", error=str(error))
            return
        if isinstance(control, Cancel):
            self._running.cancel(control)
        else:
            self._describe(control)

    def _describe(self, asked: Inspect) -> None:
        properties = {
            "content_type": JSON,
            "correlation_id": asked.id,
            "delivery_mode": 1,
            "headers": {"twbridge-worker": self.id},
        }
        body = msgspec.json.encode(self.description())
        self._link.publish("", asked.reply_to, body, properties).addErrback(_trap)

    def description(self) -> dict[str, Any]:
        """What it is and serves, for ``twbridge tasks``."""
        return {
            "worker": self.id,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": self._started_at,
            "tasks": [self._described(task) for task in self.tasks],
        }

    def _described(self, task: TaskOptions) -> dict[str, Any]:
        dead = dead_letters(task)
        return {
            "name": task.name,
            "kind": task.run_in,
            "guarantee": task.guarantee,
            "queue": queue_of(task).name,
            "dead_letters": None if dead is None else dead[0].name,
            "concurrency": task.concurrency or self.options.concurrency,
            "running": self._running.counts.get(task.name, 0),
        }

    # -- words from tasks -------------------------------------------------------------------

    def _publish(self, channel: str, body: Body) -> Deferred[None]:
        """A task publishes to a channel. Never fails: nobody there could hear of it."""
        properties: dict[str, Any] = {"content_type": body.content_type, "delivery_mode": 1}
        if body.content_encoding is not None:
            properties["content_encoding"] = body.content_encoding
        sent = self._link.publish(PUBSUB, channel, body.data, properties)
        return sent.addErrback(self._not_published, channel)

    def _not_published(self, failure: Failure, channel: str) -> None:
        failure.trap(TwbridgeError)
        _log.warn(
            "A message to {channel} was lost: {error}", channel=channel, error=str(failure.value)
        )


def run(**options: Any) -> None:
    """Serve the tasks of the script that calls it. See ``serving.run``."""
    from twbridge.rpc.serving import run as serve

    serve(**options)


async def _for(task: TaskOptions, declared: Awaitable[None]) -> None:
    """Declare a queue of a task.

    Raises:
        StartError: the broker refuses it.
    """
    try:
        await declared
    except ChannelClosed as error:
        raise StartError(refused(task, error)) from None


def _trap(failure: Failure) -> None:
    failure.trap(TwbridgeError)
