"""Tasks in threads and on the reactor: they share a process, and harm each other little."""

from __future__ import annotations

import resource
from typing import Any

from twisted.internet.defer import Deferred

from tests.rpc.executors_case import ExecutorsCase, lives, of, until
from twbridge.rpc.executors.outcomes import Broke, Died, TimedOut, WasCancelled
from twbridge.rpc.executors.process import MAX_OWED
from twbridge.rpc.serializers import Body


class ThreadsTests(ExecutorsCase):
    """Tasks in threads."""

    module = "threads"

    @of
    async def test_calls_run_beside_each_other_in_one_process(self) -> None:
        self.assertEqual(await self.result("add", [1, 2]), 3)
        runs = [self.run_task("meet", 4) for _ in range(4)]
        self.assertEqual(len({self.value(await run.done) for run in runs}), 1)
        self.assertEqual(len(self.pids()), 1)

    @of
    async def test_a_call_that_stops_when_told_harms_nobody(self) -> None:
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        run = self.run_task("until-cancelled", str(path))
        late = self.run_task("until-cancelled", str(path), timeout=0.1)
        await until(lambda: path.exists() and begun.exists())
        run.cancel()
        self.assertEqual(self.value(await run.done), "stopped")
        self.assertEqual(await late.done, TimedOut())
        go.touch()
        self.assertEqual([self.value(await other.done)], self.pids())

    @of
    async def test_a_call_that_does_not_stop_retires_its_process(self) -> None:
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        run = self.run_task("loop", str(path), timeout=1.0)
        await until(lambda: path.exists() and begun.exists())
        (old,) = self.pids()
        self.assertEqual(await run.done, TimedOut())
        self.assertTrue(lives(old))
        # The next calls go to another, and what runs in the old one ends well.
        self.assertEqual(await self.result("add", [1, 2]), 3)
        self.assertFalse(other.done.called)
        go.touch()
        self.assertEqual(self.value(await other.done), old)
        await until(lambda: not lives(old))

    @of
    async def test_a_retired_process_ends_at_the_deadlines_of_its_calls(self) -> None:
        paths = [self.path() for _ in range(2)]
        runs = [
            self.run_task("loop", str(path), timeout=1.0 + 0.4 * n) for n, path in enumerate(paths)
        ]
        await until(lambda: all(path.exists() for path in paths))
        (old,) = self.pids()
        for run in runs:
            self.assertEqual(await run.done, TimedOut())
        await until(lambda: not lives(old))

    @of
    async def test_c_code_that_holds_the_lock_costs_those_beside_it(self) -> None:
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        await until(begun.exists)
        run = self.run_task("regex", str(path), timeout=1.0)
        self.assertEqual(await run.done, TimedOut())
        outcome = await other.done
        assert isinstance(outcome, Died)
        self.assertIn("the task 'regex' did not stop and blocked it", outcome.text)
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_thread_that_forks_answers_once(self) -> None:
        self.assertEqual([await self.result("fork") for _ in range(3)], self.pids() * 3)


class CoroutinesTests(ExecutorsCase):
    """Tasks on the reactor."""

    module = "coroutines"
    concurrency = 50

    @of
    async def test_many_calls_run_beside_each_other_in_one_process(self) -> None:
        begun, go = self.path(), self.path()
        runs = [self.run_task("until-exists", [str(begun), str(go)]) for _ in range(50)]
        await until(begun.exists)
        self.assertEqual(await self.result("add", [1, 2]), 3)
        go.touch()
        self.assertEqual({self.value(await run.done) for run in runs}, set(self.pids()))

    @of
    async def test_a_task_awaits_what_twisted_has_and_what_asyncio_has(self) -> None:
        expected = [
            "deferLater",
            "succeed",
            "failure",
            "later failure",
            "sleep",
            "timeout",
            "waits",
        ]
        self.assertEqual(await self.result("waits"), expected)

    @of
    async def test_progress_comes_in_order_from_threads_too(self) -> None:
        seen: list[Any] = []
        run = self.run_task(
            "progress", 100, on_progress=lambda body: seen.append(self.serializers.decode(body))
        )
        self.assertEqual(self.value(await run.done), "done")
        self.assertEqual(seen, list(range(1, 101)))

    @of
    async def test_what_a_task_raises_breaks_its_call_alone(self) -> None:
        pids = self.pids()
        outcome = await self.outcome("raise", "the text")
        self.assertEqual(outcome, Broke("RuntimeError", "the text"))
        outcome = await self.outcome("exit")
        self.assertEqual(outcome, Broke("SystemExit", "3"))
        outcome = await self.outcome("cancel-itself")
        self.assertEqual(outcome, Broke("CancelledError", ""))
        outcome = await self.outcome("add", [1])
        assert isinstance(outcome, Broke)
        self.assertTrue(outcome.final)
        self.assertEqual(self.pids(), pids)

    @of
    async def test_a_coroutine_is_cancelled_where_it_waits(self) -> None:
        pids = self.pids()
        path, told = self.path(), self.path()
        run = self.run_task("wait", str(path))
        await until(path.exists)
        run.cancel()
        self.assertEqual(await run.done, WasCancelled())
        self.assertEqual(await self.outcome("wait", str(path), timeout=0.1), TimedOut())
        outcome = await self.outcome("wait-deferred", [str(path), str(told)], timeout=1.0)
        self.assertEqual(outcome, TimedOut())
        self.assertTrue(told.exists())
        at_once = self.run_task("wait", str(path))
        at_once.cancel()
        self.assertEqual(await at_once.done, WasCancelled())
        self.assertEqual(self.pids(), pids)

    @of
    async def test_a_coroutine_that_is_deaf_retires_its_process(self) -> None:
        (old,) = self.pids()
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        run = self.run_task("deaf", str(path), timeout=1.0)
        self.assertEqual(await run.done, TimedOut())
        self.assertNotEqual(await self.result("pid"), old)
        go.touch()
        self.assertEqual(self.value(await other.done), old)
        await until(lambda: not lives(old))

    @of
    async def test_a_coroutine_that_blocks_the_reactor_costs_those_beside_it(self) -> None:
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        await until(begun.exists)
        run = self.run_task("loop", str(path), timeout=1.0)
        self.assertEqual(await run.done, TimedOut())
        self.assertIsInstance(await other.done, Died)
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_task_that_stops_the_reactor_ends_its_process_only(self) -> None:
        self.assertIsInstance(await self.outcome("stop"), Died)
        self.assertEqual(await self.result("add", [1, 2]), 3)


class PressureTests(ExecutorsCase):
    """A task that sends faster than the broker takes."""

    module = "functions"
    flood = "flood"

    @of
    async def test_a_task_waits_for_what_takes_its_progress(self) -> None:
        """100 MB of progress: a megabyte or two is held here, the rest waits in the task."""
        size, number = 30_000, 3_400
        path = self.path()
        taken: list[Deferred[None]] = []

        def take(body: Body) -> Deferred[None]:
            taken.append(Deferred())
            return taken[-1]

        run = self.run_task(self.flood, [str(path), size, number], on_progress=take)
        await until(lambda: len(taken) * size > MAX_OWED)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seen = 0
        while not run.done.called:
            # What is held is bounded, at any time.
            waiting = taken[seen:]
            self.assertLess(len(waiting) * size, 3 * MAX_OWED)
            self.assertLess(path.stat().st_size * size - seen * size, 6 * MAX_OWED)
            seen = len(taken)
            for each in waiting:
                each.callback(None)
            await until(lambda: run.done.called or not taken[-1].called)
        self.assertEqual(self.value(await run.done), number)
        self.assertEqual(len(taken), number)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assertLess(after - before, 30_000)


class ReactorPressureTests(PressureTests):
    """The same on the reactor."""

    module = "coroutines"


class StuckPressureTests(ExecutorsCase):
    """A task whose progress nobody takes at all."""

    module = "functions"

    @of
    async def test_a_task_that_waits_for_that_can_still_be_stopped(self) -> None:
        run = self.run_task(
            "flood",
            [str(self.path()), 30_000, 3_400],
            timeout=0.5,
            on_progress=lambda _: Deferred(),
        )
        self.assertEqual(await run.done, TimedOut())
        self.assertEqual(await self.result("add", [1, 2]), 3)


class StuckThreadsTests(ExecutorsCase):
    """While the broker takes nothing, a process is not taken for stuck."""

    module = "threads"

    @of
    async def test_a_call_that_is_stopped_then_costs_none_beside_it(self) -> None:
        path, begun, go = self.path(), self.path(), self.path()
        other = self.run_task("until-exists", [str(begun), str(go)])
        await until(begun.exists)
        taken: list[Deferred[None]] = []

        def take(body: Body) -> Deferred[None]:
            taken.append(Deferred())
            return taken[-1]

        run = self.run_task("flood", [str(path), 30_000, 3_400], timeout=1.0, on_progress=take)
        self.assertEqual(await run.done, TimedOut())
        go.touch()
        self.assertFalse(other.done.called)
        while not other.done.called:
            for each in taken:
                if not each.called:
                    each.callback(None)
            await until(lambda: other.done.called or not taken[-1].called)
        self.value(await other.done)
