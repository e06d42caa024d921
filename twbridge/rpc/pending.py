"""One call of a caller, from its making to its end (sans-I/O)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from twbridge.rpc.serializers import Body

__all__ = ["Call"]


class Call:
    """One call.

    Args:
        id: its correlation id.
        task: the name of the task.
        body: what it is called with.
        begun: the clock's time when it was made.
        timeout: seconds that it may take; None: any time.
        decode: makes the value that the Deferred fires with of a result's body; None: it fires
            with the ``Result``.
        on_progress: called with each progress, decoded in the same way.
        on_settled: called once, before the Deferred fires, or, where it was cancelled before a
            worker took it, as soon as its request waits in no queue any more.
    """

    __slots__ = (
        "accepted",
        "begun",
        "body",
        "confirm",
        "control",
        "deadline",
        "decode",
        "deferred",
        "headers",
        "id",
        "number",
        "on_progress",
        "on_settled",
        "persistent",
        "priority",
        "rejected",
        "reply_to",
        "task",
        "timeout",
        "waited",
    )

    def __init__(
        self,
        id: str,
        task: str,
        body: Body,
        begun: float,
        timeout: float | None,
        *,
        headers: dict[str, Any],
        priority: int = 0,
        persistent: bool = False,
        reply_to: str | None = None,
        decode: Callable[[Body], Any] | None = None,
        on_progress: Callable[[Any], object] | None = None,
        on_settled: Callable[[], object] | None = None,
    ) -> None:
        self.id = id
        self.task = task
        self.body: Body | None = body
        self.begun = begun
        self.timeout = timeout
        self.headers = headers
        self.priority = priority
        self.persistent = persistent
        self.reply_to = reply_to
        self.decode = decode
        self.on_progress = on_progress
        self.on_settled = on_settled
        self.deadline = math.inf if timeout is None else begun + timeout
        #: None once it has ended.
        self.deferred: Deferred[Any] | None = None
        #: What the link says of the request; None until it is sent.
        self.confirm: Deferred[Any] | None = None
        #: Whether it could not be sent at once.
        self.waited = False
        #: Whether a worker has taken it.
        self.accepted = False
        #: Where that worker hears of a cancel.
        self.control: str | None = None
        #: Of the last progress.
        self.number = 0
        #: Why it was rejected, when its dead letter came before its error.
        self.rejected: str | None = None
