"""What a worker declares at the broker for its tasks (sans-I/O).

====================== ====================================================================
twbridge.task.<name>   durable. Plain tasks: classic, with priorities. At least once: a quorum
                       queue with the redelivery limit as its delivery limit, or a classic one
                       where the task says so, and then the worker keeps the limit.
twbridge.dead.<name>   durable, classic, for tasks that run at least once: requests that were
                       rejected, or delivered as often as the limit allows
twbridge.dlx           headers; what dies in a task's queue goes there
twbridge.workers       fanout; every worker hears it
twbridge.pubsub        topic; channels
====================== ====================================================================
"""

from __future__ import annotations

from typing import Any, Final

from twbridge.errors import ChannelClosed
from twbridge.link.topology import Exchange, Queue
from twbridge.rpc.messages import DLX, PUBSUB, WORKERS, dead_queue, task_queue
from twbridge.rpc.tasks import TaskOptions

__all__ = [
    "EXCHANGES",
    "WORKERS_EXCHANGE",
    "dead_letters",
    "queue_of",
    "refused",
    "repeats",
    "uses_quorum",
]

#: Priorities that a queue tells apart: RabbitMQ wants few.
LEVELS: Final = 10
WORKERS_EXCHANGE: Final = Exchange(WORKERS, "fanout")
EXCHANGES: Final = (Exchange(DLX, "headers"), WORKERS_EXCHANGE, Exchange(PUBSUB, "topic"))

#: The options behind the arguments that a broker may find to be others.
_CHANGED: Final = {
    "x-delivery-limit": "redelivery_limit",
    "x-queue-type": "guarantee or queue",
    "x-max-priority": "guarantee or queue",
}
_ANY: Final = "guarantee, queue or redelivery_limit"

Binding = tuple[str, str, dict[str, Any]]


def repeats(task: TaskOptions) -> bool:
    """Whether a call that came to nothing is run again."""
    return task.guarantee == "at-least-once"


def uses_quorum(task: TaskOptions) -> bool:
    """Whether the task's queue is a quorum queue, which counts deliveries by itself."""
    return repeats(task) and task.queue != "classic"


def queue_of(task: TaskOptions) -> Queue:
    """The queue of its requests."""
    arguments: dict[str, Any] = {"x-dead-letter-exchange": DLX}
    if uses_quorum(task):
        arguments |= {"x-queue-type": "quorum", "x-delivery-limit": task.redelivery_limit}
    else:
        arguments |= {"x-max-priority": LEVELS}
    return _durable(task_queue(task.name), arguments)


def dead_letters(task: TaskOptions) -> tuple[Queue, tuple[Binding, ...]] | None:
    """The queue of the requests that were given up, and its bindings; None where there is none.

    A match on ``all`` would ignore the headers that start with ``x-``.
    """
    if not repeats(task):
        return None
    bindings = tuple(
        (
            DLX,
            "",
            {
                "x-match": "all-with-x",
                "x-first-death-reason": reason,
                "x-first-death-queue": task_queue(task.name),
            },
        )
        for reason in ("rejected", "delivery_limit")
    )
    return _durable(dead_queue(task.name), {}), bindings


def refused(task: TaskOptions, error: ChannelClosed) -> str:
    """One line for a queue of the task that the broker refuses."""
    if error.reply_code != 406:
        return f"the broker refuses what the task {task.name!r} needs: {error}"
    changed = next((o for name, o in _CHANGED.items() if name in str(error)), _ANY)
    return (
        f"the queue of the task {task.name!r} exists with other arguments (a change of "
        f"{changed}): stop all its workers, then docs/rpc.md says how to change it: {error}"
    )


def _durable(name: str, arguments: dict[str, Any]) -> Queue:
    return Queue(name, durable=True, exclusive=False, auto_delete=False, arguments=arguments)
