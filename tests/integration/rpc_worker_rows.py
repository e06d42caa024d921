"""What the tests of the worker's life have in common: workers that come and go."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

from tests.integration import witness
from tests.integration.rabbitmq import in_thread
from tests.integration.rpc_cases import TaskCase, WorkerProcess
from twbridge.errors import CallLost

TASKS = Path(__file__).with_name("rpc_worker_tasks.py")
NAMES = re.findall(r'^@task\(PREFIX \+ "([^"]+)"', TASKS.read_text(), re.MULTILINE)


class WorkersCase(TaskCase):
    """Workers of the class's own, which note what they do in a folder, under names of their own.

    One that a test leaves behind serves the next one.
    """

    prefix: str
    folder: Path
    last: WorkerProcess | None

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.prefix = f"test.{uuid.uuid4().hex[:12]}."
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-worker-"))
        cls.last = None

    @classmethod
    def tearDownClass(cls) -> None:
        """Nothing stays on the broker, and nothing went wrong in the last worker."""
        try:
            if cls.last is not None:
                assert cls.last.stop() == 0, cls.last.said
                assert "Unhandled" not in cls.last.said, cls.last.said
        finally:
            if cls.last is not None:
                cls.last.close()
            shutil.rmtree(cls.folder, ignore_errors=True)
            delete_queues(cls.node.url(), cls.prefix)
            super().tearDownClass()

    def setUp(self) -> None:
        (self.folder / "notes").unlink(missing_ok=True)

    async def serving(self) -> WorkerProcess:
        """The worker, which takes one call of a task at a time; another one if it has ended."""
        worker = self.last
        if worker is None or worker.process.poll() is not None:
            if worker is not None:
                await in_thread(worker.close)
            worker = type(self).last = self.begun(self.prefix, "--concurrency", "1")
            await in_thread(worker.serves)
        return worker

    def begun(self, prefix: str, *options: str) -> WorkerProcess:
        """One more worker, which does not serve yet; the caller closes it."""
        url, folder = self.node.url(), str(self.folder)
        variables = {"TEST_PREFIX": prefix, "TEST_FOLDER": folder}
        return WorkerProcess(self.folder, url, str(TASKS), *options, **variables)

    def notes(self) -> list[str]:
        """What ran, a line each."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    async def noted(self, count: int) -> None:
        """Wait until so many tasks have begun."""
        await self.until(lambda: len(self.notes()) >= count, else_say=self.notes)


class WorkerRows(WorkersCase):
    """What must work, on both brokers."""

    async def test_killed_in_the_middle_of_tasks(self) -> None:
        """At least once: it runs again, and the answer comes. At most once: it does not, and its
        caller is told.
        """
        worker, caller = await self.serving(), await self.caller()
        calls = {name: caller.call(self.prefix + name) for name in ("plain", "quorum", "classic")}
        await self.noted(3)
        worker.process.kill()
        await in_thread(worker.wait)
        await self.serving()
        self.assertEqual(await calls["quorum"], "quorum done")
        self.assertEqual(await calls["classic"], "classic done")
        error = await self.failure(calls["plain"], CallLost)
        self.assertIn("may have run", str(error))
        expected = ["classic False", "classic True", "plain False", "quorum False", "quorum True"]
        self.assertEqual(sorted(self.notes()), expected)

    async def test_sigterm_drains_and_what_waits_is_for_another(self) -> None:
        worker, caller = await self.serving(), await self.caller()
        running = caller.call(self.prefix + "who", ["first", 1.0])
        await self.noted(1)
        waiting = [
            caller.call(self.prefix + "who", [str(priority), 0.0], priority=priority)
            for priority in (0, 255, 100)
        ]
        worker.process.send_signal(signal.SIGTERM)
        self.assertEqual({await running}, serving(worker))
        self.assertEqual(await in_thread(worker.wait), 0)
        # Priorities: what was queued before the worker begins.
        self.assertEqual(self.notes(), ["who first"])
        other = await self.serving()
        self.assertEqual({await call for call in waiting}, serving(other))
        self.assertEqual(self.notes()[1:], ["who 255", "who 100", "who 0"])


def serving(worker: WorkerProcess) -> set[str]:
    """The ids of the workers that have said that they serve."""
    return set(re.findall(r"^twbridge worker (\S+): serves", worker.said, re.MULTILINE))


def delete_queues(url: str, prefix: str) -> None:
    """Nothing of a test stays."""
    with witness.channel(url) as channel:
        for name in NAMES:
            for kind in ("task", "dead"):
                channel.queue_delete(f"twbridge.{kind}.{prefix}{name}")
