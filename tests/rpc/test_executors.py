"""Tasks in processes: whatever they do, the call is answered and the next one runs."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.task import deferLater

from tests.rpc.executors_case import ExecutorsCase, lives, of, reactor, until
from twbridge.rpc.children import State
from twbridge.rpc.executors import staff
from twbridge.rpc.executors.outcomes import Broke, Died, Done, TimedOut, WasCancelled
from twbridge.rpc.executors.pipe import MAX_RESULT
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import MSGPACK, PICKLE, Body


class FunctionsTests(ExecutorsCase):
    """What a task gets and gives."""

    module = "functions"
    settings = {"number": 1}

    @of
    async def test_a_call_returns_what_the_task_returns(self) -> None:
        self.assertEqual(await self.result("add", [1, 2]), 3)
        self.assertEqual(await self.result("add", {"a": 1}), 1)
        self.assertEqual(await self.result("echo", "text"), "text")
        self.assertEqual(await self.result("echo", b"\0\1"), b"\0\1")
        self.assertEqual(await self.result("echo", {"a": [None]}), {"a": [None]})

    @of
    async def test_messagepack_is_answered_with_messagepack(self) -> None:
        outcome = await self.outcome("echo", {"a": b"b"}, content_type=MSGPACK)
        assert isinstance(outcome, Done)
        self.assertEqual(outcome.body.content_type, MSGPACK)
        self.assertEqual(self.value(outcome), {"a": b"b"})

    @of
    async def test_a_large_result_is_compressed_and_a_large_request_taken(self) -> None:
        outcome = await self.outcome("echo", "x" * 1_000_000)
        assert isinstance(outcome, Done)
        self.assertEqual(outcome.body.content_encoding, "gzip")
        self.assertEqual(self.value(outcome), "x" * 1_000_000)
        noise = os.urandom(3_000_000)
        self.assertEqual(await self.result("echo", noise), noise)

    @of
    async def test_a_process_is_kept_and_with_it_instances_and_settings(self) -> None:
        pids = {await self.result("pid") for _ in range(3)}
        self.assertEqual(len(pids), 1)
        self.assertEqual([await self.result("count") for _ in range(3)], [1, 2, 3])
        self.assertEqual([await self.result("setting", "number") for _ in range(3)], [1, 2, 3])

    @of
    async def test_a_task_knows_its_call(self) -> None:
        outcome = await self.outcome(
            "about", timeout=50.0, headers={"asked": "it"}, redelivered=True
        )
        assert isinstance(outcome, Done)
        self.assertEqual(outcome.headers, {"seen": "it"})
        about = self.value(outcome)
        self.assertTrue(30 < about.pop("remaining") <= 50)
        self.assertEqual(
            about,
            {
                "worker": "w-1",
                "task": "about",
                "call": "c-1",
                "redelivered": True,
                "cancelled": False,
                "main": True,
            },
        )

    @of
    async def test_progress_comes_in_order_and_before_the_result(self) -> None:
        seen: list[Any] = []
        run = self.run_task(
            "progress", 500, on_progress=lambda body: seen.append(self.serializers.decode(body))
        )
        run.done.addCallback(lambda outcome: seen.append(self.value(outcome)))
        await run.done
        self.assertEqual(seen, [*range(1, 501), "done"])

    @of
    async def test_a_progress_that_is_not_taken_harms_nobody(self) -> None:
        def refuse(body: Body) -> None:
            raise ValueError("no")

        self.assertEqual(await self.result("progress", 2, on_progress=refuse), "done")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    @of
    async def test_a_task_can_publish(self) -> None:
        published: list[tuple[str, Any]] = []
        self.executors.on_publish = lambda channel, body: published.append(
            (channel, self.serializers.decode(body))
        )
        await self.result("publish", "news")
        self.assertEqual(published, [("news", {"from": "publish"})])

    @of
    async def test_calls_run_beside_each_other_and_wait_for_a_process_when_all_are_busy(
        self,
    ) -> None:
        # 2 for each task of the module: more run at once than this.
        paths = [self.path() for _ in range(3)]
        runs = [self.run_task("until-cancelled", str(path)) for path in paths]
        await until(lambda: all(path.exists() for path in paths))
        self.assertEqual(len(self.pids()), 3)
        processes = self.executors._crews["process"]
        processes.staff.most = 3
        waiting = self.run_task("pid")
        given_up = self.run_task("pid")
        late = self.run_task("pid", timeout=0.01)
        given_up.cancel()
        self.assertEqual(await given_up.done, WasCancelled())
        self.assertEqual(await late.done, TimedOut())
        self.assertFalse(waiting.done.called)
        for run in runs:
            run.cancel()
        self.assertIn(self.value(await waiting.done), self.pids())
        for run in runs:
            self.assertEqual(self.value(await run.done), "stopped")

    @of
    async def test_a_burst_starts_few_processes_at_a_time_and_they_end_when_not_needed(
        self,
    ) -> None:
        self.patch(staff, "IDLE", 0.3)
        paths = [self.path() for _ in range(6)]
        runs = [self.run_task("until-cancelled", str(path)) for path in paths]
        most = 0
        while not all(path.exists() for path in paths):
            await deferLater(reactor, 0.005, lambda: None)
            children = self.executors._crews["process"].staff.children
            most = max(most, sum(child.state is State.STARTING for child in children))
        self.assertLessEqual(most, staff.MAX_STARTING)
        self.assertEqual(len(self.pids()), 6)
        for run in runs:
            run.cancel()
        for run in runs:
            await run.done
        await until(lambda: len(self.pids()) == 1)
        self.assertIn(await self.result("pid"), self.pids())


class FailuresTests(ExecutorsCase):
    """How a call fails."""

    module = "functions"

    @of
    async def test_a_task_that_raises_is_told_of(self) -> None:
        outcome = await self.outcome("raise", "the text")
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.message), ("RuntimeError", "the text"))
        self.assertIn("functions.py", outcome.traceback or "")
        self.assertFalse(outcome.public or outcome.final)
        outcome = await self.outcome("raise-public", "for all")
        self.assertEqual(outcome, Broke("PublicError", "for all", None, True, True))
        outcome = await self.outcome("raise-odd")
        self.assertEqual(outcome, Broke("Odd", "its text can't be shown"))
        outcome = await self.outcome("raise-surrogate")
        self.assertEqual(outcome, Broke("RuntimeError", "half ?"))
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_body_that_does_not_fit_is_final(self) -> None:
        outcome = await self.outcome("add", [1, 2, 3])
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.final), ("TypeError", True))
        outcome = await self.outcome("add", body=Body(b"{", "application/json"))
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.final), ("BadBody", True))
        outcome = await self.outcome("echo", 1, content_type=PICKLE)
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.final), ("BadBody", True))

    @of
    async def test_a_header_that_no_process_can_be_given_is_final(self) -> None:
        outcome = await self.outcome("pid", headers={"n": 1 << 70})
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.final), ("BadRequest", True))

    @of
    async def test_what_is_too_large_or_can_not_be_sent_breaks_the_call(self) -> None:
        # Compressed it would be small, but who reads it inflates it.
        outcome = await self.outcome("large", MAX_RESULT + 1)
        text = f"the result has {MAX_RESULT + 1} bytes, and may have {MAX_RESULT}"
        self.assertEqual(outcome, Broke("BadBody", text))
        for value in ("result", "header", "headers"):
            outcome = await self.outcome("unsendable", value)
            assert isinstance(outcome, Broke), value
            self.assertEqual(outcome.type, "BadBody")
            self.assertFalse(outcome.final)
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_sys_exit_is_a_failure_of_the_call(self) -> None:
        outcome = await self.outcome("exit", ["sys", 3])
        assert isinstance(outcome, Broke)
        self.assertEqual((outcome.type, outcome.message), ("SystemExit", "3"))

    @of
    async def test_a_process_that_ends_is_replaced(self) -> None:
        before = await self.result("pid")
        outcome = await self.outcome("exit", ["os", 3])
        assert isinstance(outcome, Died)
        self.assertIn("it exited with code 3", outcome.text)
        outcome = await self.outcome("crash")
        assert isinstance(outcome, Died)
        self.assertIn("it was killed by SIGSEGV", outcome.text)
        self.assertNotEqual(await self.result("pid"), before)

    @of
    async def test_an_idle_process_that_is_killed_is_replaced(self) -> None:
        before = await self.result("pid")
        os.kill(before, signal.SIGKILL)
        await until(lambda: before not in self.pids())
        self.assertNotEqual(await self.result("pid"), before)


class HarmTests(ExecutorsCase):
    """Tasks that won't end, and tasks that break what they can."""

    module = "functions"

    async def stops_at_its_deadline(self, name: str) -> None:
        pid = await self.result("pid")
        path = self.path()
        begun = self.executors._seconds()
        run = self.run_task(name, str(path), timeout=1.0)
        await until(lambda: path.exists() or run.done.called)
        self.assertEqual(await run.done, TimedOut())
        self.assertTrue(path.exists())
        self.assertGreaterEqual(self.executors._seconds() - begun, 1.0)
        self.assertLess(self.executors._seconds() - begun, 10)
        self.assertNotEqual(await self.result("pid"), pid)
        await until(lambda: not lives(pid))

    @of
    async def test_a_loop_that_swallows_all_exceptions_ends_at_its_deadline(self) -> None:
        await self.stops_at_its_deadline("loop")

    @of
    async def test_a_sleep_with_all_signals_blocked_ends_at_its_deadline(self) -> None:
        await self.stops_at_its_deadline("block")

    @of
    async def test_c_code_that_holds_the_lock_ends_at_its_deadline(self) -> None:
        await self.stops_at_its_deadline("regex")

    @of
    async def test_the_deadline_is_the_shorter_of_the_tasks_and_the_calls(self) -> None:
        self.assertEqual(await self.outcome("impatient", str(self.path())), TimedOut())

    @of
    async def test_a_cancelled_call_that_does_not_stop_is_ended(self) -> None:
        for name in ("loop", "block", "regex"):
            path = self.path()
            run = self.run_task(name, str(path), timeout=600.0)
            await until(path.exists)
            run.cancel()
            run.cancel()
            self.assertEqual(await run.done, WasCancelled())
            run.cancel()
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_cancelled_call_can_still_return(self) -> None:
        pid, path = await self.result("pid"), self.path()
        run = self.run_task("until-cancelled", str(path))
        await until(path.exists)
        run.cancel()
        self.assertEqual(self.value(await run.done), "stopped")
        self.assertEqual(await self.result("pid"), pid)

    @of
    async def test_a_task_that_forks_answers_once_and_its_copy_ends(self) -> None:
        pid = await self.result("pid")
        self.assertEqual([await self.result("fork") for _ in range(5)], [pid] * 5)

    @of
    async def test_what_a_task_leaves_behind_ends_with_its_process(self) -> None:
        left = await self.result("leave-a-child")
        self.assertTrue(lives(left))
        await self.outcome("exit", ["os", 0])
        await until(lambda: not lives(left))
        left = await self.result("leave-a-child")
        await self.executors.stop()
        await until(lambda: not lives(left))

    @of
    async def test_closed_and_used_outputs_do_not_matter(self) -> None:
        await self.result("print", "a task prints this\n")
        self.assertEqual(await self.result("close", [0, 1, 2]), "closed")
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_task_that_closes_the_pipe_loses_its_process_only(self) -> None:
        outcome = await self.outcome("close", [3])
        assert isinstance(outcome, Died)
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_a_task_that_writes_to_the_pipe_loses_its_process_only(self) -> None:
        outcome = await self.outcome("scribble")
        assert isinstance(outcome, Died)
        self.assertIn("a task wrote to the worker's pipe", outcome.text)
        self.assertEqual(await self.result("add", [1, 2]), 3)

    @of
    async def test_signals_are_the_workers(self) -> None:
        pid, path = await self.result("pid"), self.path()
        run = self.run_task("until-cancelled", str(path))
        await until(path.exists)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        run.cancel()
        self.assertEqual(self.value(await run.done), "stopped")

    @of
    async def test_calls_end_when_the_executors_stop(self) -> None:
        path = self.path()
        run = self.run_task("loop", str(path))
        await until(path.exists)
        pids = self.pids()
        await self.executors.stop()
        self.assertIsInstance(await run.done, Died)
        self.assertFalse(any(lives(pid) for pid in pids))
        request = Request("c-2", "pid", "me", Body(b"null", "application/json"))
        self.assertIsInstance(await self.executors.run(self.tasks["pid"], request).done, Died)
