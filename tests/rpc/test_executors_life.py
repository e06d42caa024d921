"""How the processes of tasks start, and how they end."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.rpc.executors_case import ExecutorsCase, lives, of, reactor, until
from twbridge.errors import LoadError
from twbridge.rpc.executors.inside.loading import load
from twbridge.rpc.executors.outcomes import Broke, Died, Done, TimedOut
from twbridge.rpc.executors.pool import Executors
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import Body

ROOT = Path(__file__).parent.parent.parent
NULL = Body(b"null", "application/json")


@contextmanager
def no_more_files() -> Iterator[None]:
    """Nothing can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Forkless:
    """The reactor of a machine that has no room for one more process."""

    def spawnProcess(self, *_: object, **__: object) -> NoReturn:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class StartTests(TestCase):
    """What can happen when a child starts."""

    timeout = 60

    def make(self, module: str, on: Any = reactor, **options: Any) -> Executors:
        given: dict[str, Any] = {"concurrency": 1, "settings": {}, "grace": 0.2, **options}
        executors = Executors(on, module, worker="w", **given)
        self.addCleanup(executors.stop)
        return executors

    async def error(self, executors: Executors) -> LoadError:
        try:
            await executors.start()
        except LoadError as error:
            crews = executors._crews.values()
            self.assertEqual([child.pid for crew in crews for child in crew.staff.children], [])
            return error
        raise AssertionError("it has started")

    @of
    async def test_a_module_that_can_not_be_imported_is_told_with_its_traceback(self) -> None:
        error = await self.error(self.make("tests.rpc.modules.broken"))
        self.assertEqual(
            str(error),
            "the module 'tests.rpc.modules.broken' can't be imported: "
            "ModuleNotFoundError: No module named 'twbridge_is_not_there'",
        )
        self.assertIn("broken.py", error.traceback or "")
        self.flushLoggedErrors()
        error = await self.error(self.make("no_such_module"))
        self.assertIn("the module 'no_such_module' can't be imported", str(error))
        self.flushLoggedErrors()

    def test_a_name_that_is_none_is_told_in_one_line(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        for module, line in (
            ("/no/such/file.py", "there is no file '/no/such/file.py'"),
            (folder, f"{folder!r} is a folder: name a module"),
            *((each, f"{each!r} is no name of a module") for each in (".", "", "a..b", ".a")),
        ):
            hello = load(module)
            self.assertIn(line, hello.error or "")
            self.assertIsNone(hello.traceback)

    @of
    async def test_a_module_that_ends_its_process_is_told_of(self) -> None:
        error = await self.error(self.make("tests.rpc.modules.exits"))
        self.assertIn("did not start: it exited with code 7", str(error))
        self.flushLoggedErrors()

    @of
    async def test_an_import_that_hangs_ends_at_a_limit(self) -> None:
        path = Path(self.mktemp()).absolute()
        os.environ["TWBRIDGE_TEST_PATH"] = str(path)
        self.addCleanup(os.environ.pop, "TWBRIDGE_TEST_PATH")
        error = await self.error(self.make("tests.rpc.modules.hangs", start=0.5))
        self.assertIn("it took more than 0.5 s to start", str(error))
        self.flushLoggedErrors()

    @of
    async def test_stop_while_it_starts_leaves_no_process(self) -> None:
        executors = self.make("tests.rpc.modules.functions")
        started = executors.start()
        await deferLater(reactor, 0.01, lambda: None)
        await executors.stop()
        try:
            await started
        except LoadError as error:
            self.assertEqual(str(error), "the worker stops")
        else:
            raise AssertionError("it has started")

    @of
    async def test_where_there_is_no_room_for_a_process_that_is_told(self) -> None:
        error = await self.error(self.make("tests.rpc.modules.functions", Forkless()))
        self.assertIn("Resource temporarily unavailable", str(error))
        before = open_files()
        error = await self.error(self.make("tests.rpc.modules.functions", Forkless()))
        executors = self.make("tests.rpc.modules.functions")
        with no_more_files():
            error = await self.error(executors)
        self.assertIn("no process can be started: [Errno 24]", str(error))
        self.assertEqual(open_files(), before)

    @of
    async def test_settings_that_no_process_can_be_given_are_refused(self) -> None:
        with self.assertRaisesRegex(TypeError, "the settings can't be given to the tasks"):
            Executors(reactor, "m", worker="w", concurrency=1, settings={"a": object()})

    @of
    async def test_a_file_is_loaded_under_another_name_than_main(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "script.py"
        path.write_text(
            "from twbridge.rpc import task\n"
            "@task('name')\n"
            "def name():\n"
            "    return __name__\n"
            "if __name__ == '__main__':\n"
            "    raise SystemExit('this is the main program')\n"
        )
        executors = self.make(str(path))
        (task,) = await executors.start()
        outcome = await executors.run(task, Request("c", "name", "me", NULL)).done
        assert isinstance(outcome, Done)
        self.assertEqual(outcome.body.data, b"__mp_main__")
        # Gone, it can't be loaded for the next child.
        path.unlink()
        crew = executors._crews["process"]
        (child,) = crew.staff.children
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: not crew.staff.active)
        outcome = await executors.run(task, Request("c", "name", "me", NULL)).done
        assert isinstance(outcome, Died)
        self.assertIn("No process could be started for it", outcome.text)
        self.flushLoggedErrors()


class ShortageTests(ExecutorsCase):
    """There is nothing left to replace a child with, for a while."""

    module = "functions"

    @of
    async def test_a_call_ends_at_its_deadline_and_later_ones_find_a_process(self) -> None:
        before, path = open_files(), self.path()
        staff = self.executors._crews["process"].staff
        run = self.run_task("loop", str(path), timeout=1.0)
        await until(path.exists)
        with no_more_files():
            self.assertEqual(await run.done, TimedOut())
            await until(lambda: not staff.children)
        self.assertEqual(await self.result("add", [1, 2]), 3)
        self.assertEqual(open_files(), before)


class UnknownTests(ExecutorsCase):
    """A call of a task that is not there."""

    module = "functions"

    @of
    async def test_it_fails_for_good_and_those_after_it_run(self) -> None:
        known = self.tasks["add"]
        other = msgspec.structs.replace(known, name="no such")
        request = Request("c-2", "add", "me", NULL)
        for _ in range(2):
            outcome = await self.executors.run(other, request).done
            expected = Broke("UnknownTask", "there is no task 'no such'", final=True)
            self.assertEqual(outcome, expected)
        pids = self.pids()
        self.assertEqual(await self.result("add", [1, 2]), 3)
        self.assertEqual(self.pids(), pids)

    @of
    async def test_what_runs_is_the_task_and_not_what_the_request_names(self) -> None:
        request = Request("c-2", "pid", "me", Body(b"[1, 2]", "application/json"))
        outcome = await self.executors.run(self.tasks["add"], request).done
        self.assertEqual(self.value(outcome), 3)


class UnknownThreadTests(UnknownTests):
    """The same among threads."""

    module = "threads"


class UnknownCoroutineTests(UnknownTests):
    """The same among coroutines."""

    module = "coroutines"


class _Host(ProcessProtocol):
    """A process that starts children, and says their ids."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)


class DeathTests(TestCase):
    """Children do not outlive their worker, whatever they do."""

    timeout = 60

    async def dies_with(self, module: str, name: str) -> None:
        path = Path(self.mktemp()).absolute().parent / uuid4().hex
        host = _Host()
        program = "tests.rpc.modules.host"
        arguments = [sys.executable, "-m", program, f"tests.rpc.modules.{module}", name, str(path)]
        reactor.spawnProcess(host, sys.executable, arguments, env=None, path=str(ROOT))
        await until(lambda: host.output.endswith(b"\n") and path.exists())
        pids = [int(each) for each in host.output.split()]
        self.assertTrue(all(lives(pid) for pid in pids))
        os.kill(pids[0], signal.SIGKILL)
        await host.ended
        await until(lambda: not any(lives(pid) for pid in pids))

    @of
    async def test_a_process_whose_task_loops_ends(self) -> None:
        await self.dies_with("functions", "loop")

    @of
    async def test_a_process_whose_task_holds_the_lock_ends(self) -> None:
        await self.dies_with("functions", "regex")

    @of
    async def test_a_process_whose_reactor_is_blocked_ends(self) -> None:
        await self.dies_with("coroutines", "loop")

    @of
    async def test_a_process_of_threads_ends(self) -> None:
        await self.dies_with("threads", "loop")
