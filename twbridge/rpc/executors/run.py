"""One call that runs, as the worker sees it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from twbridge.rpc.executors.outcomes import Outcome
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import TaskOptions

if TYPE_CHECKING:
    from twbridge.rpc.executors.process import Child

__all__ = ["OnProgress", "Run", "RunState", "Runner"]

#: Takes a progress. It may return a Deferred that fires when the broker has it: a task that is
#: faster than the broker then waits.
OnProgress = Callable[[Body], Deferred[Any] | None]


class RunState(Enum):
    """``STOPPING``: it was told to end, and has a grace to do so."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    SETTLED = "settled"


class Runner(Protocol):
    """Who runs it."""

    def cancel(self, run: Run) -> None:
        """End it."""


class Run:
    """One call. ``done`` fires with its outcome, and never fails."""

    __slots__ = (
        "child",
        "deadline",
        "done",
        "grace",
        "number",
        "on_progress",
        "redelivered",
        "request",
        "runner",
        "state",
        "step",
        "task",
        "verdict",
        "was_heard",
    )

    def __init__(
        self,
        runner: Runner,
        number: int,
        task: TaskOptions,
        request: Request,
        redelivered: bool,
        on_progress: OnProgress,
        deadline: float | None,
    ) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self.runner = runner
        self.number = number
        self.task = task
        self.request = request
        self.redelivered = redelivered
        self.on_progress = on_progress
        self.deadline = deadline
        self.state = RunState.WAITING
        self.child: Child | None = None
        #: Where `Deadlines` holds it.
        self.step = 0
        #: How it ends if it is stopped.
        self.verdict: Outcome | None = None
        #: Whether its child has read that it is to stop.
        self.was_heard = False
        self.grace: IDelayedCall | None = None

    def cancel(self) -> None:
        """End it: it is told, and stopped after the grace. Nothing, once it has ended."""
        self.runner.cancel(self)
