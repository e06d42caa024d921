"""What a running task knows and can do: :data:`context` (sans-I/O).

Executors make a :class:`Context` for each call and run the task within :func:`entered`; the task
reads it through the proxy. It is found in whatever thread or coroutine the task runs in. A thread
that a task starts by itself does not have it, unless it is run in a copy of the task's
``contextvars`` context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from twbridge.rpc.names import check_channel
from twbridge.rpc.serializers import Body, Serializers

__all__ = ["Context", "Pubsub", "context", "entered"]


def _never() -> bool:
    return False


def _no_deadline() -> None:
    return None


@dataclass(slots=True)
class Context:
    """One call, as its task sees it. The callables are the executor's.

    Args:
        task: the task's name.
        call_id: the call's id.
        worker: the id of the worker.
        settings: lives as long as the process that runs the tasks, and is shared by them.
        headers: the request's.
        send_progress: takes a body on its way to the caller.
        publish: takes a channel and a body on their way to its subscribers.
        serializers: make those bodies.
        redelivered: whether it may have run, in part or whole, before.
        reply_headers: what the task sets goes with the result.
        time_left: the seconds until the deadline, negative past it; None where there is none.
        is_cancelled: whether the caller has cancelled it, or its deadline is over.
    """

    task: str
    call_id: str
    worker: str
    settings: dict[str, Any]
    headers: Mapping[str, Any]
    send_progress: Callable[[Body], None]
    publish: Callable[[str, Body], None]
    serializers: Serializers = field(default_factory=Serializers)
    redelivered: bool = False
    reply_headers: dict[str, Any] = field(default_factory=dict)
    time_left: Callable[[], float | None] = _no_deadline
    is_cancelled: Callable[[], bool] = _never


_current: ContextVar[Context] = ContextVar("twbridge.rpc.context")


@contextmanager
def entered(one: Context) -> Iterator[None]:
    """What runs within is that call's task."""
    token = _current.set(one)
    try:
        yield
    finally:
        _current.reset(token)


def _now() -> Context:
    try:
        return _current.get()
    except LookupError:
        raise LookupError("the context is there while a task runs, and in its thread") from None


class Pubsub:
    """Publishes from a running task."""

    def publish(self, channel: str, body: Any) -> None:
        """Send a message to whoever has subscribed to the channel now.

        Raises:
            EncodeError: that is no name for a channel.
            BadBody: the body does not go as a message.
            LookupError: no task runs here.
        """
        now = _now()
        now.publish(check_channel(channel), now.serializers.encode(body))


class _Proxy:
    """The call that runs here. Outside a task everything is a LookupError."""

    #: ``pubsub.publish(channel, body)``
    pubsub = Pubsub()

    @property
    def settings(self) -> dict[str, Any]:
        """What the worker was given, and what tasks keep: it lives as long as their process."""
        return _now().settings

    @property
    def headers(self) -> Mapping[str, Any]:
        """The request's headers, those of the caller."""
        return _now().headers

    @property
    def reply_headers(self) -> dict[str, Any]:
        """The result's headers, to be set."""
        return _now().reply_headers

    @property
    def worker(self) -> str:
        """The worker's id."""
        return _now().worker

    @property
    def task(self) -> str:
        """The task's name."""
        return _now().task

    @property
    def call_id(self) -> str:
        """The call's id. A call that is delivered again keeps it."""
        return _now().call_id

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 past it; None where there is none."""
        left = _now().time_left()
        return None if left is None else max(left, 0.0)

    @property
    def redelivered(self) -> bool:
        """Whether the call may have run before, in part or whole."""
        return _now().redelivered

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: cancelled, or past the deadline."""
        return _now().is_cancelled()

    def progress(self, value: Any) -> None:
        """Tell the caller how far it is; it gets these in order, and before the result.

        Raises:
            BadBody: the value does not go as a message.
            LookupError: no task runs here.
        """
        now = _now()
        now.send_progress(now.serializers.encode(value))

    def __repr__(self) -> str:
        now = _current.get(None)
        return "<context of no task>" if now is None else f"<context of {now.task} {now.call_id}>"


context = _Proxy()
