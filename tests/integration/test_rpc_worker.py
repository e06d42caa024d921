"""Workers as processes: killed, hanging, forked, drained, sharing; and a broker that restarts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import EmbeddedNode, blameless
from tests.integration.cases import BrokerCase
from tests.integration.rabbitmq import Node, in_thread
from tests.integration.rpc_cases import WorkerProcess
from twbridge.amqp import Queue
from twbridge.errors import CallLost, CallTimeout, TwbridgeError
from twbridge.rpc import Caller

TASKS = Path(__file__).with_name("rpc_worker_tasks.py")
WHO = Path(__file__).with_name("rpc_who_tasks.py")
NAMES = re.findall(r'^@task\(PREFIX \+ "([^"]+)"', TASKS.read_text(), re.MULTILINE)
NAMES.append("who")
SCRIPT = """
from twbridge.rpc import context, run, task
@task("{name}")
def who(): return {{"module": __name__, "settings": context.settings}}
if __name__ == "__main__":
    run(forks=2, concurrency=1, db=[1, 2])
"""
#: Seconds in which a worker that was killed is replaced.
REPLACED = 1.0


class WorkersCase(BrokerCase):
    """Each test has workers of its own, a folder for their notes, and names of its own."""

    timeout = 60

    def setUp(self) -> None:
        self.prefix = f"test.{uuid.uuid4().hex[:12]}."
        self.folder = Path(tempfile.mkdtemp(prefix="twbridge-worker-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(lambda: in_thread(delete_queues, self.node.url(), self.prefix))

    async def worker(self, *options: str, tasks: Path = TASKS) -> WorkerProcess:
        """A worker that serves; it is gone after the test."""
        worker = WorkerProcess(
            self.folder,
            self.node.url(),
            str(tasks),
            *options,
            TEST_PREFIX=self.prefix,
            TEST_FOLDER=str(self.folder),
        )
        self.addCleanup(lambda: in_thread(worker.close))
        await in_thread(worker.serves)
        return worker

    async def caller(self) -> Caller:
        """A caller; it is stopped after the test."""
        caller = Caller(self.node.url(), reactor=reactor)
        self.addCleanup(caller.stop)
        await caller.start()
        return caller

    def notes(self) -> list[str]:
        """What ran, a line each."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    async def noted(self, count: int) -> None:
        """Wait until so many tasks have begun."""
        await self.until(lambda: len(self.notes()) >= count, else_say=self.notes)


class WorkerRowsTests(WorkersCase):
    """What must work, on RabbitMQ."""

    async def test_killed_in_the_middle_of_tasks(self) -> None:
        """At least once: it runs again, and the answer comes. At most once: it does not, and its
        caller is told.
        """
        worker, caller = await self.worker(), await self.caller()
        calls = {name: caller.call(self.prefix + name) for name in ("plain", "quorum", "classic")}
        await self.noted(3)
        worker.process.kill()
        await in_thread(worker.wait)
        await self.worker()
        self.assertEqual(await calls["quorum"], "quorum done")
        self.assertEqual(await calls["classic"], "classic done")
        error = await self.failure(calls["plain"], CallLost)
        self.assertIn("may have run", str(error))
        expected = ["classic False", "classic True", "plain False", "quorum False", "quorum True"]
        self.assertEqual(sorted(self.notes()), expected)

    async def test_sigterm_drains_and_what_waits_is_for_another(self) -> None:
        worker, caller = await self.worker(tasks=WHO), await self.caller()
        running = caller.call(self.prefix + "who", ["first", 1.0])
        await self.noted(1)
        waiting = [
            caller.call(self.prefix + "who", [str(priority), 0.0], priority=priority)
            for priority in (0, 255, 100)
        ]
        worker.process.send_signal(signal.SIGTERM)
        [first] = serving(worker)
        self.assertEqual(await running, first)
        self.assertEqual(await in_thread(worker.wait), 0)
        # Priorities: what was queued before the worker begins.
        self.assertEqual(self.notes(), ["who first"])
        other = await self.worker(tasks=WHO)
        self.assertEqual({await call for call in waiting}, set(serving(other)))
        self.assertEqual(self.notes()[1:], ["who 255", "who 100", "who 0"])


class EmbeddedWorkerRowsTests(WorkerRowsTests):
    """The same on the embedded broker."""

    bridge: Bridge

    @classmethod
    def setUpClass(cls) -> None:
        cls.bridge = Bridge("--embedded")
        try:
            cls.bridge.start()
            cls.node = EmbeddedNode(cls.bridge)  # type: ignore[assignment]
        except BaseException:
            cls.bridge.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            assert cls.bridge.stop() == 0, cls.bridge.log
            blameless(cls.bridge.log)
        finally:
            cls.bridge.close()


class ProcessesTests(WorkersCase):
    """What is no matter of the broker."""

    async def test_a_hanging_task_ends_at_its_deadline_and_the_next_one_runs(self) -> None:
        await self.worker("--concurrency", "1")
        caller = await self.caller()
        begin = time.monotonic()
        hanging = [caller.call(self.prefix + name, timeout=1.0) for name in ("loop", "c", "async")]
        for call in hanging:
            await self.failure(call, CallTimeout)
        self.assertLess(time.monotonic() - begin, 2.0)
        # The next ones begin: a task that hangs again does so until its own deadline.
        await self.failure(caller.call(self.prefix + "loop", timeout=0.5), CallTimeout)
        self.assertEqual(await caller.call(self.prefix + "quick", 1), 1)

    async def test_forks_are_replaced_and_drained_together(self) -> None:
        worker, caller = await self.worker("--forks", "4", tasks=WHO), await self.caller()
        await self.until(lambda: len(serving(worker)) == 4, 20.0, lambda: worker.said)
        before = children(worker.process.pid)
        self.assertEqual(len(before), 4)
        os.kill(min(before), signal.SIGKILL)
        await self.until(lambda: len(children(worker.process.pid) - before) == 1, REPLACED)
        await self.until(lambda: len(serving(worker)) == 5, 10.0, lambda: worker.said)
        calls = [caller.call(self.prefix + "who", [str(n), 0.8]) for n in range(4)]
        await self.noted(4)
        worker.process.send_signal(signal.SIGTERM)
        self.assertEqual(len({await call for call in calls}), 4)
        self.assertEqual(await in_thread(worker.wait), 0)
        self.assertNotIn("Traceback", worker.said)

    async def test_a_script_serves_its_own_tasks_and_no_worker_outlives_its_supervisor(
        self,
    ) -> None:
        script = self.folder / "script.py"
        script.write_text(SCRIPT.format(name=self.prefix + "who"))
        worker = WorkerProcess(self.folder, self.node.url(), program=(sys.executable, str(script)))
        self.addCleanup(lambda: in_thread(worker.close))
        await self.until(lambda: len(serving(worker)) == 2, 20.0, lambda: worker.said)
        answer = await (await self.caller()).call(self.prefix + "who")
        self.assertEqual(answer, {"module": "__mp_main__", "settings": {"db": [1, 2]}})
        workers = children(worker.process.pid)
        worker.process.kill()
        await self.until(lambda: not any(is_alive(pid) for pid in workers))

    async def test_what_can_not_begin_is_one_line_and_exit_code_1(self) -> None:
        queue = Queue(f"twbridge.task.{self.prefix}who", True, False, False)
        await (await self.ready()).declare(queue)
        (self.folder / "empty.py").write_text("")
        (self.folder / "other.py").write_text(SCRIPT.format(name=self.prefix + "who"))
        for module, forks, sentence in (
            ("empty.py", "2", "there is no @task in the module"),
            ("other.py", "1", "406 PRECONDITION_FAILED"),
            ("missing", "1", "No module named 'missing'"),
        ):
            worker = WorkerProcess(self.folder, self.node.url(), module, "--forks", forks)
            self.addCleanup(in_thread, worker.close)
            self.assertEqual(await in_thread(worker.wait), 1, worker.said)
            said = [line for line in worker.said.splitlines() if "#info]" not in line]
            self.assertEqual(len(said), 1, worker.said)
            self.assertRegex(said[0], f"^twbridge: .*{sentence}")


class BrokerRestartTests(WorkersCase):
    """The broker dies in the middle of calls, and comes back."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = Node()
        try:
            cls.node.start()
        except BaseException:
            cls.node.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.close()

    async def test_each_call_settles_and_no_at_least_once_task_is_lost(self) -> None:
        worker, caller = await self.worker(), await self.caller()
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


def serving(worker: WorkerProcess) -> list[str]:
    """The ids of the workers that have said that they serve."""
    return re.findall(r"^twbridge worker (\S+): serves", worker.said, re.MULTILINE)


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


def delete_queues(url: str, prefix: str) -> None:
    """Nothing of a test stays."""
    with witness.channel(url) as channel:
        for name in NAMES:
            for kind in ("task", "dead"):
                channel.queue_delete(f"twbridge.{kind}.{prefix}{name}")
