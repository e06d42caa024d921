"""What the tests of the executors share: real processes, and waiting for what they do."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from twbridge.rpc.executors.pool import Done, Executors, Outcome, Run
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import Body, Serializers
from twbridge.rpc.tasks import TaskOptions

reactor: Any = the_reactor
PATIENCE = 20.0


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until something is so."""
    end = reactor.seconds() + PATIENCE
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError(f"{what} did not come true in {PATIENCE} s")
        await deferLater(reactor, 0.005, lambda: None)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


class ExecutorsCase(TestCase):
    """Executors of one module of ``tests/rpc/modules``, started."""

    timeout = 60
    module: str
    concurrency = 2
    grace = 0.2
    settings: dict[str, Any] = {}

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.serializers = Serializers(pickle=True)
        self.executors = self.make(f"tests.rpc.modules.{self.module}")
        self.tasks: dict[str, TaskOptions] = {}
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self.tasks = {each.name: each for each in await self.executors.start()}

    def make(self, module: str, **options: Any) -> Executors:
        """More executors; stopped at the end."""
        given = {"concurrency": self.concurrency, "settings": self.settings, "grace": self.grace}
        executors = Executors(reactor, module, worker="w-1", **{**given, **options})
        self.addCleanup(executors.stop)
        return executors

    def path(self) -> Path:
        """A path where nothing is yet."""
        return Path(self.mktemp()).absolute().parent / uuid4().hex

    def run_task(
        self,
        name: str,
        value: Any = None,
        *,
        timeout: float | None = None,
        headers: dict[str, Any] | None = None,
        content_type: str | None = None,
        body: Body | None = None,
        **options: Any,
    ) -> Run:
        """Run a task."""
        body = body or self.serializers.encode(value, content_type=content_type)
        request = Request("c-1", name, "me", body, timeout=timeout, headers=headers or {})
        return self.executors.run(self.tasks[name], request, **options)

    async def outcome(self, name: str, value: Any = None, **options: Any) -> Outcome:
        """How a call ends."""
        return await self.run_task(name, value, **options).done

    async def result(self, name: str, value: Any = None, **options: Any) -> Any:
        """What a call returns."""
        return self.value(await self.outcome(name, value, **options))

    def value(self, outcome: Outcome) -> Any:
        """What a call has returned."""
        assert isinstance(outcome, Done), outcome
        return self.serializers.decode(outcome.body)

    def pids(self) -> list[int]:
        """The processes that there are now."""
        crews = self.executors._crews.values()
        return [
            child.pid for crew in crews for child in crew.staff.children if child.pid is not None
        ]


def of(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Deferred[None]]:
    """A test of trial that is a coroutine."""

    def run(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    run.__name__ = test.__name__
    return run


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def own_pid() -> int:
    """Ours."""
    return os.getpid()
