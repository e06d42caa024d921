"""How the children of a worker begin and end: in order where they can, and with what they had."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.rpc.executors_case import lives, reactor, until
from tests.wsgi.test_crew import SMALL, CrewCase
from twbridge.errors import LoadError
from twbridge.rpc import children
from twbridge.wsgi import crew as crew_module
from twbridge.wsgi import process
from twbridge.wsgi.crew import Crew
from twbridge.wsgi.messages import Credit, encode
from twbridge.wsgi.process import Child

ENDS = "tests.wsgi.modules.ends:application"


class EndCase(CrewCase):
    """An application that notes its end."""

    def setUp(self) -> None:
        super().setUp()
        self.notes = self.path()
        os.environ["ENDS"] = str(self.notes)
        self.addCleanup(os.environ.pop, "ENDS")

    def noted(self) -> set[int]:
        """The processes whose handlers have run."""
        text = self.notes.read_text() if self.notes.exists() else ""
        return {int(each) for each in text.split()}

    def pids(self, crew: Crew) -> set[int]:
        """The processes that there are."""
        return {each.pid for each in crew._children if each.pid is not None}


class OrderTests(EndCase):
    """What the application has left for the end of its process."""

    async def test_it_runs_where_nothing_else_does(self) -> None:
        crew = await self.crew(ENDS, processes=2)
        pids = self.pids(crew)
        await crew.stop()
        self.assertEqual(self.noted(), pids)
        self.assertFalse(any(map(lives, pids)))

    async def test_it_runs_with_threads_too(self) -> None:
        crew = await self.crew(ENDS, threads=3)
        self.ask(crew, "1", "/")
        await self.answer("1")
        pids = self.pids(crew)
        await crew.stop()
        self.assertEqual(self.noted(), pids)

    async def test_a_process_that_has_something_to_do_is_killed(self) -> None:
        crew = await self.crew(ENDS, processes=2)
        busy = self.ask(crew, "1", "/loop")
        assert busy.lane is not None
        pids = self.pids(crew) - {busy.lane.child.pid}
        await crew.stop()
        self.assertEqual(self.noted(), pids)

    async def test_one_that_is_replaced_ends_in_order_when_the_last_request_has(self) -> None:
        crew = await self.crew(ENDS, threads=2)
        (pid,) = self.pids(crew)
        first = self.path()
        hangs = self.ask(crew, "1", "/wait", str(self.path()))
        self.ask(crew, "2", "/wait", str(first))
        hangs.over = True
        crew.end(hangs)
        first.touch()
        await self.answer("2")
        await until(lambda: not lives(pid), "its end")
        self.assertEqual(self.noted(), {pid})

    async def test_one_that_does_not_end_is_killed_after_a_while(self) -> None:
        self.patch(children, "LEAVE", 0.3)
        crew = await self.crew(ENDS)
        self.ask(crew, "1", "/stay")
        await self.answer("1")
        pids = self.pids(crew)
        await crew.stop()
        self.assertFalse(any(map(lives, pids)))

    async def test_or_at_once_when_somebody_is_in_a_hurry(self) -> None:
        self.patch(children, "LEAVE", 1000.0)
        crew = await self.crew(ENDS)
        self.ask(crew, "1", "/stay")
        await self.answer("1")
        stopped = crew.stop()
        crew.kill()
        await stopped

    async def test_it_is_not_asked_where_it_is_while_something_runs_beside_that(self) -> None:
        asked: list[Child] = []
        self.patch(Child, "tell_where", lambda child: asked.append(child))
        crew = await self.crew(threads=2)
        hangs = self.ask(crew, "1", "/loop")
        path = self.path()
        self.ask(crew, "2", "/wait", str(path))
        assert hangs.lane is not None
        child = hangs.lane.child
        hangs.over = True
        crew.end(hangs)
        self.assertEqual(asked, [])
        path.touch()
        await self.answer("2")
        self.assertEqual(asked, [child])
        await child.gone

    async def test_nor_for_what_has_ended_after_all(self) -> None:
        asked: list[Child] = []
        self.patch(Child, "tell_where", lambda child: asked.append(child))
        crew = await self.crew(ENDS, threads=2)
        late, other = self.path(), self.path()
        hangs = self.ask(crew, "1", "/wait", str(late))
        self.ask(crew, "2", "/wait", str(other))
        assert hangs.lane is not None
        child = hangs.lane.child
        hangs.over = True
        crew.end(hangs)
        late.touch()
        await self.answer("1")
        other.touch()
        await self.answer("2")
        await child.gone
        self.assertEqual(asked, [])
        self.assertEqual(len(self.noted()), 1)

    async def test_those_that_are_about_to_end_are_none_too_many(self) -> None:
        self.patch(crew_module, "MAX_RETIRED", 1)
        self.patch(process, "TELLING", 5.0)
        crew = await self.crew(threads=2)
        hangs = self.ask(crew, "1", "/loop")
        path = self.path()
        self.ask(crew, "2", "/wait", str(path))
        hangs.over = True
        crew.end(hangs)
        for id in ("3", "4"):
            await until(lambda: crew.able == 2, "the next")
            hangs = self.ask(crew, id, "/loop")
            hangs.over = True
            crew.end(hangs)
        path.touch()
        await self.answer("2")

    async def test_in_the_drain_none_is_replaced(self) -> None:
        crew = await self.crew(threads=2)
        (pid,) = self.pids(crew)
        crew.no_more()
        work = self.ask(crew, "1", "/loop")
        path = self.path()
        self.ask(crew, "2", "/wait", str(path))
        work.over = True
        crew.end(work)
        self.assertEqual(self.pids(crew), {pid})
        path.touch()
        await self.answer("2")
        await until(lambda: not crew._children, "its end")

    async def test_nor_one_that_dies_then(self) -> None:
        crew = await self.crew()
        crew.no_more()
        self.ask(crew, "1", "/exit")
        await until(lambda: "1" in self.requests.over)
        await until(lambda: not crew._children, "its end")
        self.assertEqual([each.later for each in crew._places], [None])


class UntouchedTests(CrewCase):
    """Requests that a process has been given, and has not read."""

    async def test_it_is_known_that_they_have_not_run(self) -> None:
        crew = await self.crew()
        child = self.stopped(crew)
        self.ask(crew, "1", "/", method="POST", body=bytes(1000), length=1000)
        self.kill(child)
        await until(lambda: self.requests.untouched)
        self.assertEqual(self.requests.over, {})

    async def test_also_where_more_was_written_than_the_pipe_takes(self) -> None:
        crew = await self.crew()
        child = self.stopped(crew)
        size = 2_000_000
        self.ask(crew, "1", "/", method="POST", body=bytes(size), length=size)
        self.kill(child)
        await until(lambda: self.requests.untouched)

    async def test_one_that_was_told_more_may_have_run(self) -> None:
        crew = await self.crew()
        child = self.stopped(crew)
        work = self.ask(crew, "1", "/")
        assert work.lane is not None
        work.lane.tell(encode(Credit(1)))
        self.kill(child)
        await until(lambda: self.requests.over)
        self.assertEqual(self.requests.untouched, [])

    async def test_one_that_was_read_may_have_run(self) -> None:
        crew = await self.crew()
        for count in (1, 2, 3):
            self.ask(crew, f"{count}", "/exit")
            await until(lambda: len(self.requests.over) == count)  # noqa: B023
        self.assertEqual(self.requests.untouched, [])

    async def test_a_process_that_dies_behind_its_answer_costs_nothing_but_that(self) -> None:
        crew = await self.crew()
        work = self.ask(crew, "1", "/die")
        self.ask(crew, "2", "/")
        assert work.lane is not None
        pid = work.lane.child.pid
        assert pid is not None
        end = reactor.seconds() + 20
        # Nothing is heard here until it is gone, and has answered.
        while lives(pid) and reactor.seconds() < end:
            pass
        await self.answer("1")
        await self.answer("2")

    def stopped(self, crew: Crew) -> Child:
        """A child that reads nothing any more."""
        (child,) = crew._children
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        state = Path(f"/proc/{child.pid}/stat")
        end = reactor.seconds() + 20
        while state.read_text().rpartition(")")[2].split()[0] != "T" and reactor.seconds() < end:
            pass
        return child

    def kill(self, child: Child) -> None:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)


class BeginningTests(CrewCase):
    """Children that start."""

    async def test_signals_for_all_of_a_terminal_do_not_end_them(self) -> None:
        crew = Crew(reactor, SMALL, worker="w1", processes=1, threads=1)
        crew.listener = self.requests
        self.addCleanup(crew.stop)
        started = crew.start()
        (child,) = crew._children
        assert child.pid is not None
        for each in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.pid, each)
        await started
        self.assertEqual({each.pid for each in crew._children}, {child.pid})
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), set())

    async def test_they_have_the_time_that_they_are_given(self) -> None:
        path = self.path()
        os.environ["TWBRIDGE_TEST_PATH"] = str(path)
        self.addCleanup(os.environ.pop, "TWBRIDGE_TEST_PATH")
        app: Any = "tests.rpc.modules.hangs:application"
        crew = Crew(reactor, app, worker="w1", processes=1, threads=1, start=0.5)
        crew.listener = self.requests
        self.addCleanup(crew.stop)
        with self.assertRaisesRegex(LoadError, "it took more than 0.5 s to start"):
            await crew.start()
