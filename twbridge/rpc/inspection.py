"""What an operator asks: which tasks are served, by whom, what waits, and what has died.

Workers answer for themselves; the broker says how much is in a queue. A task that nobody serves
now is known to neither by itself: it has to be named.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twbridge.amqp import Link, Queue
from twbridge.errors import ChannelClosed, NotReady, Unroutable
from twbridge.rpc.kinds import Inspect
from twbridge.rpc.messages import control_properties
from twbridge.rpc.names import WORKERS, check_task_name, dead_queue, task_queue
from twbridge.wire import Delivery

__all__ = [
    "WAIT",
    "ServedTask",
    "TaskState",
    "WorkerState",
    "ask_workers",
    "count",
    "ready",
    "survey",
]

_log = Logger()

#: Seconds in which workers answer.
WAIT: Final = 1.0
_NOT_FOUND: Final = 404


class ServedTask(Struct, frozen=True, kw_only=True):
    """A task as one worker serves it.

    Attributes:
        name: the task's.
        kind: where it runs: ``process``, ``thread`` or ``reactor``.
        guarantee: ``at-most-once`` or ``at-least-once``.
        queue: the queue of its requests.
        dead_letters: the queue of its dead letters; None: it keeps none.
        concurrency: calls of it that this worker runs at a time.
        running: calls of it that run there now.
    """

    name: str
    kind: str
    guarantee: str
    queue: str
    dead_letters: str | None = None
    concurrency: int = 1
    running: int = 0


class WorkerState(Struct, frozen=True, kw_only=True):
    """What a worker says of itself.

    Attributes:
        worker: its id.
        pid: its process, on ``host``.
        started: when, in seconds of the Unix clock of its host.
        tasks: what it serves.
    """

    worker: str
    pid: int
    host: str
    started: float
    tasks: list[ServedTask]


class TaskState(Struct, frozen=True, kw_only=True):
    """A task over all its workers.

    Attributes:
        name: the task's.
        guarantee: as its workers say; None where none of them answered.
        queue: the queue of its requests.
        waiting: requests that no worker has taken; None: there is no such queue, no worker has
            ever served the task.
        running: calls that run now, by the word of the workers.
        workers: how many answered.
        dead: dead letters; None: no queue keeps them.
    """

    name: str
    guarantee: str | None
    queue: str
    waiting: int | None
    running: int
    workers: int
    dead: int | None


async def ready(link: Link, clock: Any) -> None:
    """Wait until a link that has been started can be asked.

    Raises:
        NotReady: not within the link's timeout; the text says why.
    """
    if link.state == "ready":
        return
    up: Deferred[None] = Deferred()

    def came_up() -> None:
        if not up.called:
            up.callback(None)

    forget = link.on_ready(came_up)
    up.addTimeout(link.options.timeout, clock)
    try:
        await up
    except TimeoutError:
        raise NotReady(f"the broker can't be asked: {link.state_description}") from None
    finally:
        forget()


async def ask_workers(link: Link, clock: Any, wait: float = WAIT) -> list[WorkerState]:
    """All workers that answer within ``wait`` seconds, in the order of their ids.

    Raises:
        LinkError: the broker can't be asked.
    """
    identity = uuid.uuid4().hex
    answers: dict[str, WorkerState] = {}

    def take(delivery: Delivery) -> None:
        if delivery.properties.get("correlation_id") != identity:
            return
        try:
            answer = msgspec.json.decode(delivery.body, type=WorkerState)
        except msgspec.MsgspecError as error:
            _log.warn("A worker's answer can't be read: {error}", error=error)
        else:
            answers[answer.worker] = answer

    consumer = await link.consume(Queue(), take, no_ack=True)
    try:
        question = control_properties(Inspect(identity, consumer.queue_name))
        await link.publish(WORKERS, "", b"", question, mandatory=True)
        await deferLater(clock, wait)
    except Unroutable:
        pass  # no worker runs
    except ChannelClosed as error:
        if error.reply_code != _NOT_FOUND:  # no worker ever ran
            raise
    finally:
        await consumer.cancel()
    return [answers[each] for each in sorted(answers)]


async def survey(
    link: Link, clock: Any, names: Iterable[str] = (), *, wait: float = WAIT
) -> tuple[list[TaskState], list[WorkerState]]:
    """What is served, and those tasks that are named, by name; and the workers.

    Args:
        names: only these tasks, served or not; none: all that are served.

    Raises:
        BadTask: one of the names is none.
        LinkError: the broker can't be asked.
    """
    wanted = {check_task_name(name) for name in names}
    await ready(link, clock)
    workers = await ask_workers(link, clock, wait)
    served: dict[str, list[ServedTask]] = {}
    for worker in workers:
        for each in worker.tasks:
            served.setdefault(each.name, []).append(each)
    tasks = [await _state(link, name, served.get(name, ())) for name in sorted(wanted or served)]
    return tasks, workers


async def _state(link: Link, name: str, served: Iterable[ServedTask]) -> TaskState:
    copies = [*served]
    return TaskState(
        name=name,
        guarantee=copies[0].guarantee if copies else None,
        queue=task_queue(name),
        waiting=await count(link, task_queue(name)),
        running=sum(each.running for each in copies),
        workers=len(copies),
        dead=await count(link, dead_queue(name)),
    )


async def count(link: Link, queue: str) -> int | None:
    """Messages that wait in a queue; None: there is no such queue.

    Raises:
        LinkError: the broker can't be asked.
    """
    try:
        messages, _ = await link.count(queue)
    except ChannelClosed as error:
        if error.reply_code == _NOT_FOUND:
            return None
        raise
    return messages
