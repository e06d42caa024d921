"""Workers as processes: killed, hanging, forked, drained, sharing; and a broker that restarts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from tests.integration import rpc_worker_rows
from tests.integration.cases import OwnNode
from tests.integration.rabbitmq import in_thread
from tests.integration.rpc_cases import OnEmbedded, WorkerProcess
from tests.integration.rpc_worker_rows import delete_queues, serving
from twbridge.amqp import Queue
from twbridge.errors import CallTimeout, TwbridgeError

SCRIPT = """
from twbridge.rpc import context, run, task
@task("{name}")
def who(): return {{"module": __name__, "settings": context.settings}}
if __name__ == "__main__":
    run(amqp_url="{url}", forks=2, concurrency=1, db=[1, 2])
"""
TWICE = """
from twbridge.rpc import task

@task("twice")
def one(): ...

@task("twice")
def two(): ...
"""
#: Seconds in which a worker that was killed is replaced.
REPLACED = 1.0


class WorkerRowsTests(OwnNode, rpc_worker_rows.WorkerRows):
    """On a RabbitMQ of their own, which dies in the middle of calls, and comes back."""

    async def test_each_call_settles_and_no_at_least_once_task_is_lost(self) -> None:
        worker, caller = await self.serving(), await self.caller()
        await in_thread(self.node.sync)
        confirmed: set[int] = set()
        calls: list[Deferred[Any]] = []
        for number in range(1000):
            name = self.prefix + ("safe" if number % 2 else "quick")
            # With a reply_to of its own it fires with the broker's confirm.
            silent = "test.nowhere" if number % 4 == 1 else None
            call = caller.call(name, number, persistent=True, reply_to=silent)
            if silent:
                call.addCallback(lambda _, number: confirmed.add(number), number)
            calls.append(call.addErrback(lambda failure: failure.trap(TwbridgeError)))
        await self.noted(100)
        await in_thread(self.node.kill)
        await in_thread(self.node.start)
        await DeferredList(calls)
        self.assertGreater(len(confirmed), 5)
        await self.until(
            lambda: confirmed <= self.ran("safe").keys(),
            20.0,
            lambda: (len(confirmed - self.ran("safe").keys()), worker.said[-3000:]),
        )
        self.assertEqual(await caller.call(self.prefix + "quick", -1), -1)
        self.assertEqual(max(self.ran("quick").values()), 1)

    def ran(self, name: str) -> Counter[int]:
        """How often each call of a task has begun."""
        notes = [note.split() for note in self.notes()]
        return Counter(int(number) for task, number in notes if task == name)


class EmbeddedWorkerRowsTests(OnEmbedded, rpc_worker_rows.WorkerRows):
    """The same on the embedded broker; and what is no matter of the broker."""

    async def test_a_hanging_task_ends_at_its_deadline_and_the_next_one_runs(self) -> None:
        await self.serving()
        caller = await self.caller()
        begin = time.monotonic()
        hanging = [caller.call(self.prefix + name, timeout=1.0) for name in ("loop", "c", "async")]
        for call in hanging:
            await self.failure(call, CallTimeout)
        # Two of them take a whole core each, and the machine may have no more.
        self.assertLess(time.monotonic() - begin, 5.0)
        # The next ones begin: a task that hangs again does so until its own deadline.
        await self.failure(caller.call(self.prefix + "loop", timeout=2.0), CallTimeout)
        self.assertEqual(await caller.call(self.prefix + "quick", 1), 1)

    async def test_forks_are_replaced_and_drained_together(self) -> None:
        prefix, caller = f"{self.prefix}forks.", await self.caller()
        self.addCleanup(lambda: in_thread(delete_queues, self.node.url(), prefix))
        worker = self.begun(prefix, "--forks", "4")
        self.addCleanup(lambda: in_thread(worker.close))
        await self.until(lambda: len(serving(worker)) == 4, 20.0, lambda: worker.said)
        before = children(worker.process.pid)
        self.assertEqual(len(before), 4)
        os.kill(min(before), signal.SIGKILL)
        await self.until(lambda: len(children(worker.process.pid) - before) == 1, REPLACED)
        await self.until(lambda: len(serving(worker)) == 5, 10.0, lambda: worker.said)
        calls = [caller.call(prefix + "who", [str(n), 0.5]) for n in range(4)]
        await self.noted(4)
        worker.process.send_signal(signal.SIGTERM)
        self.assertEqual(len({await call for call in calls}), 4)
        self.assertEqual(await in_thread(worker.wait), 0)
        self.assertNotIn("Traceback", worker.said)

    async def test_a_script_serves_its_own_tasks_and_no_worker_outlives_its_supervisor(
        self,
    ) -> None:
        script, name = self.folder / "script.py", f"{self.prefix}scripted"
        script.write_text(SCRIPT.format(name=name, url=self.node.url()))
        worker = WorkerProcess(self.folder, "", program=(sys.executable, str(script)))
        self.addCleanup(lambda: in_thread(worker.close))
        await self.until(lambda: len(serving(worker)) == 2, 20.0, lambda: worker.said)
        answer = await (await self.caller()).call(name)
        self.assertEqual(answer, {"module": "__mp_main__", "settings": {"db": [1, 2]}})
        workers = children(worker.process.pid)
        worker.process.kill()
        await self.until(lambda: not any(is_alive(pid) for pid in workers))

    async def test_what_can_not_begin_is_one_line_and_exit_code_1(self) -> None:
        name = f"{self.prefix}other"
        await (await self.ready()).declare(Queue(f"twbridge.task.{name}", True, False, False))
        (self.folder / "empty.py").write_text("")
        (self.folder / "other.py").write_text(SCRIPT.format(name=name, url=self.node.url()))
        (self.folder / "twice.py").write_text(TWICE)
        begun = [
            (WorkerProcess(self.folder, self.node.url(), module, "--forks", forks), sentence)
            for module, forks, sentence in (
                ("empty.py", "2", "there is no @task in the module"),
                ("other.py", "1", "406 PRECONDITION_FAILED"),
                ("twice.py", "1", "there are two tasks named 'twice'"),
                ("missing", "1", "No module named 'missing'"),
            )
        ]
        for worker, _ in begun:
            self.addCleanup(in_thread, worker.close)
        for worker, sentence in begun:
            self.assertEqual(await in_thread(worker.wait), 1, worker.said)
            said = [line for line in worker.said.splitlines() if "#info]" not in line]
            self.assertEqual(len(said), 1, worker.said)
            self.assertRegex(said[0], f"^twbridge: .*{sentence}")


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> set[int]:
    """The processes that a process has started, and that live."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found
