"""The processes of tasks that have nothing to do end in order."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred

from tests.rpc.executors_case import ExecutorsCase, lives, of, until
from twbridge.rpc import children


class LeaveTests(ExecutorsCase):
    """What a module has left for the end of its process runs."""

    module = "leaves"

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.notes = self.path()
        os.environ["LEAVES"] = str(self.notes)
        self.addCleanup(os.environ.pop, "LEAVES")
        return super().setUp()

    def noted(self) -> set[int]:
        """The processes that have ended so."""
        return {int(each) for each in self.notes.read_text().split()}

    @of
    async def test_in_each_kind_of_process(self) -> None:
        used: set[Any] = {await self.result(each) for each in ("alone", "thread", "coroutine")}
        pids = set(self.pids())
        self.assertEqual(used & pids, used)
        await self.executors.stop()
        self.assertEqual(self.noted(), pids)
        self.assertFalse(any(map(lives, pids)))

    @of
    async def test_but_not_where_a_call_runs(self) -> None:
        await self.result("thread")
        run = self.run_task("hang")
        await until(lambda: run.child is not None and run.child.calls, "the call")
        assert run.child is not None
        busy = run.child.pid
        pids = set(self.pids())
        await self.executors.stop()
        self.assertEqual(self.noted(), pids - {busy})

    @of
    async def test_one_that_was_not_needed_any_more_is_given_its_time(self) -> None:
        await self.result("alone")
        pids = set(self.pids())
        (child,) = self.executors._crews["process"].staff.open
        child.leave("it had nothing to do")
        await self.executors.stop()
        self.assertEqual(self.noted(), pids)

    @of
    async def test_nor_where_somebody_is_in_a_hurry(self) -> None:
        stopped = self.executors.stop()
        self.executors.kill()
        await stopped
        self.assertEqual(self.pids(), [])


class StayTests(ExecutorsCase):
    """Processes that don't end by themselves."""

    module = "stays"

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.patch(children, "LEAVE", 1000.0)
        return super().setUp()

    @of
    async def test_nobody_waits_for_them_in_a_hurry(self) -> None:
        stopped = self.executors.stop()
        self.executors.kill()
        await stopped
