"""One call in a child: its context, its arguments, and what it answers with (sans-I/O)."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any

from twbridge.errors import BadBody, PublicError
from twbridge.rpc.context import Context
from twbridge.rpc.executors.pipe import (
    MAX_RESULT,
    MAX_TEXT,
    Order,
    Progressed,
    Published,
    Raised,
    Returned,
    frame,
)
from twbridge.rpc.serializers import Body, Serializers, answer_type
from twbridge.rpc.tasks import Misfit, Registry, Task

__all__ = ["Job", "Jobs"]

#: Bytes of the headers that a task sets for its reply.
MAX_HEADERS = 64 * 1024


class Job:
    """One call.

    Attributes:
        is_stopped: whether it was told to end.
        running: what runs it, for who can cancel that.
    """

    __slots__ = (
        "_send",
        "deadline",
        "is_stopped",
        "number",
        "order",
        "reply_headers",
        "running",
        "serializers",
        "task",
    )

    def __init__(
        self, order: Order, task: Task, serializers: Serializers, send: Callable[[bytes], object]
    ) -> None:
        self.order = order
        self.number = order.number
        self.task = task
        self.serializers = serializers
        self.deadline = None if order.timeout is None else monotonic() + order.timeout
        self.is_stopped = False
        self.reply_headers: dict[str, Any] = {}
        self.running: Any = None
        self._send = send

    def was_stopped(self) -> bool:
        """Whether it was told to end."""
        return self.is_stopped

    def time_left(self) -> float | None:
        """Seconds until its deadline."""
        return None if self.deadline is None else self.deadline - monotonic()

    def progress(self, body: Body) -> None:
        """Send a progress.

        Raises:
            BadBody: it is too large.
        """
        _check_size("progress", body)
        self._send(
            frame(Progressed(self.number, body.data, body.content_type, body.content_encoding))
        )


class Jobs:
    """Makes calls of orders, and frames of what they come to.

    Args:
        registry: the tasks.
        worker: the worker's id.
        settings: of this process.
        send: writes a frame.
    """

    def __init__(
        self,
        registry: Registry,
        worker: str,
        settings: dict[str, Any],
        send: Callable[[bytes], object],
    ) -> None:
        self._tasks = registry.tasks
        self._worker = worker
        self._settings = settings
        self._send = send
        self._plain = Serializers()
        self._pickle = Serializers(pickle=True)

    def take(self, order: Order) -> Job | None:
        """A call that is to run; None where there is no such task, which it is answered with."""
        task = self._tasks.get(order.task)
        if task is None:
            text = _clean(f"there is no task {order.task!r}")
            self._send(frame(Raised(order.number, "UnknownTask", text, None, False, True)))
            return None
        serializers = self._pickle if task.options.pickle else self._plain
        return Job(order, task, serializers, self._send)

    def context(self, job: Job) -> Context:
        """What its task sees of it."""
        order = job.order
        return Context(
            order.task,
            order.call,
            self._worker,
            self._settings,
            order.headers,
            job.progress,
            self._publish,
            job.serializers,
            order.redelivered,
            job.reply_headers,
            job.time_left,
            job.was_stopped,
        )

    def arguments(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the task is called with.

        Raises:
            BadBody: the body can't be read.
            Misfit: it does not fill the parameters.
        """
        order = job.order
        body = Body(order.data, order.content_type, order.content_encoding)
        return job.task.arguments(job.serializers.decode(body))

    def returned(self, job: Job, value: object) -> bytes:
        """The frame for what it returned, or for why that can't be sent."""
        try:
            kind = answer_type(job.order.content_type)
            body = job.serializers.encode(value, content_type=kind, compress=False)
            _check_size("result", body)
            body = job.serializers.encode(body)
            headers = job.reply_headers
            data = frame(
                Returned(job.number, body.data, body.content_type, body.content_encoding, headers)
            )
            if headers and len(data) - len(body.data) > MAX_HEADERS:
                raise BadBody(f"the reply's headers are over {MAX_HEADERS} bytes")
        except BadBody as error:
            return self.raised(job, error)
        except Exception as error:
            return self.raised(job, BadBody(f"the reply's headers can't be sent: {error}"))
        return data

    def raised(self, job: Job, error: BaseException, *, is_final: bool = False) -> bytes:
        """The frame for what it raised. ``is_final``: before it ran."""
        name = "TypeError" if isinstance(error, Misfit) else type(error).__name__
        is_public = isinstance(error, PublicError)
        lines = None
        if not (is_final or is_public):
            try:
                lines = _clean("".join(traceback.format_exception(error)), from_end=True)
            except BaseException:
                lines = "The traceback can't be shown."
        try:
            text = str(error)
        except BaseException:
            text = "its text can't be shown"
        return frame(
            Raised(job.number, _clean(name), _clean(text), lines, is_public, is_final or is_public)
        )

    def _publish(self, channel: str, body: Body) -> None:
        _check_size("message", body)
        self._send(frame(Published(channel, body.data, body.content_type, body.content_encoding)))


def _check_size(what: str, body: Body) -> None:
    size = len(body.data)
    if size > MAX_RESULT:
        raise BadBody(f"the {what} has {size} bytes, and may have {MAX_RESULT}")


def _clean(text: str, *, from_end: bool = False) -> str:
    """Short enough, and without what UTF-8 can't carry."""
    short = text[-MAX_TEXT:] if from_end else text[:MAX_TEXT]
    return short.encode(errors="replace").decode()
