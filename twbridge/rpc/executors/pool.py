"""Runs the tasks of a module in processes of their own, each of which can be ended at any time.

Nothing of the module is imported, and nothing of a call is decoded, in the process that holds
the link to the broker: no task can block it, grow its memory without bound, or end it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.logger import Logger

from twbridge.errors import LoadError
from twbridge.rpc.children import START_TIMEOUT
from twbridge.rpc.executors.crew import Crew
from twbridge.rpc.executors.outcomes import Broke, Died, Done, Outcome, TimedOut, WasCancelled
from twbridge.rpc.executors.pipe import Begin, Hello
from twbridge.rpc.executors.run import OnProgress, Run
from twbridge.rpc.executors.staff import Terms
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import RunIn, TaskOptions

__all__ = [
    "GRACE",
    "Broke",
    "Died",
    "Done",
    "Executors",
    "Outcome",
    "Run",
    "TimedOut",
    "WasCancelled",
]

_log = Logger()

#: Seconds that a call has to end by itself once it is told to.
GRACE: Final = 1.0


class Executors:
    """The processes that run the tasks of one worker.

    ========= ================================================================ =================
    kind      runs                                                             at its deadline
    ========= ================================================================ =================
    process   one call at a time in each of its children                       killed at once
    thread    many in one child, each in a thread                              told, see below
    reactor   many in one child, coroutines on Twisted's asyncio reactor       cancelled, below
    ========= ================================================================ =================

    A call of the last two that is told to end, and any call that is cancelled, has ``grace``
    seconds to do so. Then its child takes no more calls, and is killed when those that it has
    have ended, each at its own deadline at the latest; or at once, when it is blocked so that
    nothing runs in it (a coroutine that loops, C code that holds the interpreter's lock). Calls
    that lose their child in this way are `Died`. Another child takes the next calls at once.

    Args:
        reactor: the reactor. ``start`` and ``run`` are called in its thread, which has to live as
            long as the children do: on Linux they are killed when it ends.
        module: the name of the module with the tasks, or the path of its file (``.py``).
        worker: the worker's id.
        concurrency: how many calls of each task run at once, where the task doesn't say.
        settings: what ``context.settings`` is at the start of each child.
        grace: seconds from being told to end to being killed.
        start: seconds that a child has to import the module.

    Raises:
        TypeError: the settings hold what can't be given to another process.
    """

    def __init__(
        self,
        reactor: Any,
        module: str,
        *,
        worker: str,
        concurrency: int,
        settings: Mapping[str, Any],
        grace: float = GRACE,
        start: float = START_TIMEOUT,
    ) -> None:
        #: Takes what tasks publish. It may return a Deferred that fires when the broker has it.
        self.on_publish: Callable[[str, Body], Any] = _nowhere
        self._reactor = reactor
        self._concurrency = concurrency
        self._numbers = count(1)
        self._crews: dict[str, Crew] = {}
        self._seconds = reactor.seconds
        #: That of the first child, where it was needed only to ask.
        self._former: list[Crew] = []
        begin = Begin(os.getpid(), [os.path.abspath(each) for each in sys.path], dict(settings))
        try:
            msgspec.msgpack.encode(begin)
        except Exception as error:
            raise TypeError(f"the settings can't be given to the tasks: {error}") from None
        self._terms = Terms(reactor, module, worker, begin, grace, self._publish, start)

    def start(self) -> Deferred[list[TaskOptions]]:
        """Start a child of each kind that is needed.

        Returns:
            the tasks of the module, in its order. The Deferred fails with `LoadError` when the
            module can't be imported, or not in time; then no process is left.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> list[TaskOptions]:
        try:
            first = self._crew("process", 1, 1)
            tasks = (await first.warm()).tasks
            calls: dict[RunIn, int] = {}
            for task in tasks:
                number = task.concurrency or self._concurrency
                calls[task.run_in] = calls.get(task.run_in, 0) + number
            first.staff.most = calls.get("process", 0)
            if not first.staff.most:
                del self._crews["process"]
                self._former.append(first)
                first.stop()
            others: list[Deferred[Hello]] = [
                self._crew(kind, number, 1).warm()
                for kind, number in calls.items()
                if kind != "process"
            ]
            await gatherResults(others, consumeErrors=True)
        except FirstError as error:
            await self.stop()
            error.subFailure.raiseException()
        except LoadError:
            await self.stop()
            raise
        return tasks

    def run(
        self,
        task: TaskOptions,
        request: Request,
        *,
        redelivered: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Run:
        """Run a call, at once or as soon as a child has room.

        Args:
            task: one of those that `start` told of.
            request: the call. Its deadline is its own timeout or the task's, whichever is
                shorter, from now on.
            redelivered: whether it may have run before.
            on_progress: called with each progress, in order and before the call's end. A Deferred
                that it returns holds the task back while it has sent a megabyte more than was
                taken.
        """
        crew = self._crews[task.run_in]
        timeout = request.timeout
        if task.timeout is not None and (timeout is None or task.timeout < timeout):
            timeout = task.timeout
        deadline = None if timeout is None else self._seconds() + timeout
        run = Run(
            crew,
            next(self._numbers),
            task,
            request,
            redelivered,
            on_progress or _drop,
            deadline,
        )
        crew.submit(run)
        return run

    def stop(self) -> Deferred[None]:
        """End all children, and what they have forked: those that run nothing in order.

        Calls that run end as `Died`.

        Returns:
            fires when no process is left.
        """
        gone = [each for crew in self._all() for each in crew.stop()]
        done: Deferred[None] = Deferred()
        DeferredList(gone).addCallback(lambda _: done.callback(None))
        return done

    def kill(self) -> None:
        """Wait no more for those that end in order."""
        for crew in self._all():
            crew.staff.kill()

    def _all(self) -> list[Crew]:
        return [*self._former, *self._crews.values()]

    def _crew(self, kind: RunIn, each: int, most: int) -> Crew:
        crew = self._crews[kind] = Crew(self._terms, kind, each, most)
        return crew

    def _publish(self, channel: str, body: Body) -> Any:
        return self.on_publish(channel, body)


def _nowhere(channel: str, body: Body) -> None:
    _log.debug("A task publishes to {channel}, and nobody takes it", channel=channel)


def _drop(body: Body) -> None:
    """Nobody wants its progress."""
