"""The children of a worker: real processes that run an application of a few lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.rpc.executors_case import lives, reactor, until
from tests.wsgi.worker_case import request
from twbridge.errors import LoadError
from twbridge.rpc.slots import Lease
from twbridge.wire import Delivery
from twbridge.wsgi.crew import Crew
from twbridge.wsgi.lanes import Work
from twbridge.wsgi.messages import Cancel, Start, ToBridge, Upload, encode, read_to_bridge

SMALL = "tests.wsgi.modules.small:application"


class Requests:
    """The requests of a test; a `Listener`."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.said_of: dict[str, list[ToBridge]] = {}
        self.over: dict[str, str] = {}
        self.ready_count = 0
        self.untouched: list[str] = []

    def next(self) -> Work | None:
        return self.waiting.pop(0) if self.waiting else None

    def said(self, work: Work, message: bytes) -> None:
        self.said_of.setdefault(work.id, []).append(read_to_bridge(message))

    def ended(self, work: Work) -> None:
        self.over[work.id] = "ended"

    def lost(self, work: Work, text: str, is_untouched: bool) -> None:
        if is_untouched:
            self.untouched.append(work.id)
            self.waiting.append(work)
        elif not work.over:
            self.over[work.id] = text

    def ready(self) -> None:
        self.ready_count += 1


class CrewCase(TestCase):
    """A crew, and requests for it."""

    timeout = 60

    def setUp(self) -> None:
        self.requests = Requests()

    async def crew(self, app: str = SMALL, processes: int = 1, threads: int = 1) -> Crew:
        """One that has begun; it is stopped at the end."""
        crew = Crew(reactor, app, worker="w1", processes=processes, threads=threads)
        crew.listener = self.requests
        self.addCleanup(crew.stop)
        await crew.start()
        await until(lambda: crew.able == processes * threads, "the start")
        return crew

    def ask(self, crew: Crew, id: str, path: str, query: str = "", **more: Any) -> Work:
        """Give a request to a free lane."""
        body = encode(request(path=path, query=query, **more))
        delivery = Delivery(1, "c", 1, False, "", "q", body=body)
        holder: Any = object()
        slots: Any = object()
        lease = Lease(slots, holder, delivery)
        work = Work(id, "replies", lease, {}, reactor.seconds())
        if crew.free:
            crew.free.pop().begin(work)
        else:
            self.requests.waiting.append(work)
        return work

    async def answer(self, id: str) -> Start:
        """The answer, when it is there."""
        await until(lambda: id in self.requests.over, f"the end of {id}")
        self.assertEqual(self.requests.over[id], "ended")
        (start,) = self.requests.said_of[id]
        assert isinstance(start, Start)
        return start

    def path(self) -> Path:
        return Path(self.mktemp()).absolute().parent / uuid4().hex


class CrewTests(CrewCase):
    """Started, used, and ended."""

    async def test_requests_run_side_by_side_and_one_after_the_other(self) -> None:
        crew = await self.crew(processes=2)
        for number in range(6):
            self.ask(crew, f"{number}", "/sleep", "0.05")
        pids = {(await self.answer(f"{number}")).body for number in range(6)}
        self.assertEqual(len(pids), 2)
        self.assertEqual(len(crew.free), 2)

    async def test_threads_run_side_by_side_in_one_process(self) -> None:
        crew = await self.crew(threads=3)
        works = [self.ask(crew, f"{number}", "/sleep", "0.05") for number in range(3)]
        self.assertEqual(len({id(each.lane) for each in works}), 3)
        self.assertEqual(len({(await self.answer(f"{number}")).body for number in range(3)}), 1)

    async def test_more_of_the_body_comes_later(self) -> None:
        crew = await self.crew()
        work = self.ask(crew, "1", "/", method="POST", body=b"one ", length=8, more=True)
        assert work.lane is not None
        work.lane.tell(encode(Upload(1, b"and two"[:4], False)))
        await until(lambda: "1" in self.requests.over)
        start = self.requests.said_of["1"][-1]
        assert isinstance(start, Start)
        self.assertEqual(start.body, b"one and ")

    async def test_one_that_dies_loses_its_request_and_is_replaced_at_once(self) -> None:
        crew = await self.crew()
        self.ask(crew, "1", "/exit")
        self.ask(crew, "2", "/")
        await until(lambda: "1" in self.requests.over)
        self.assertEqual(
            self.requests.over["1"], "the process that ran it is gone: it exited with code 3"
        )
        await self.answer("2")
        self.assertEqual(self.requests.ready_count, 2)

    async def test_a_request_that_does_not_end_is_killed_with_all_that_it_has_forked(self) -> None:
        crew = await self.crew()
        path = self.path()
        work = self.ask(crew, "1", "/fork", str(path))
        await until(lambda: path.exists() and path.read_text(), "the fork")
        forked = int(path.read_text())
        work.over = True
        crew.end(work)
        await until(lambda: not lives(forked), "its end")
        self.ask(crew, "2", "/")
        await self.answer("2")
        self.assertEqual(self.requests.over, {"2": "ended"})

    async def test_what_runs_beside_it_may_end(self) -> None:
        crew = await self.crew(threads=2)
        work = self.ask(crew, "1", "/loop")
        path = self.path()
        self.ask(crew, "2", "/wait", str(path))
        assert work.lane is not None
        child = work.lane.child
        pid = child.pid
        assert pid is not None
        work.over = True
        crew.end(work)
        self.assertEqual((crew.able, crew.left_over), (0, 1))
        self.ask(crew, "3", "/")
        await self.answer("3")
        self.assertTrue(lives(pid))
        path.touch()
        self.assertEqual((await self.answer("2")).body, f"{pid}".encode())
        await until(lambda: not lives(pid), "its end")
        self.assertEqual((crew.able, crew.left_over), (2, 0))

    async def test_one_that_writes_what_it_should_not_is_killed(self) -> None:
        crew = await self.crew()
        self.ask(crew, "1", "/stray")
        await until(lambda: "1" in self.requests.over)
        self.assertIn("the application wrote to the worker's pipe", self.requests.over["1"])

    async def test_it_is_told_that_the_client_has_left(self) -> None:
        crew = await self.crew()
        work = self.ask(crew, "1", "/many", "100000", window=100_000)
        await until(lambda: self.requests.said_of.get("1"))
        assert work.lane is not None
        work.lane.tell(encode(Cancel("gone")))
        await until(lambda: "1" in self.requests.over)
        self.assertEqual(self.requests.over["1"], "ended")

    async def test_what_can_not_be_imported_is_said_with_its_traceback(self) -> None:
        error = await self.error("tests.wsgi.modules.broken:application")
        self.assertIn("no database", str(error))
        self.assertIn('raise RuntimeError("no database")', error.traceback or "")

    async def test_what_is_not_there_is_said_in_one_line(self) -> None:
        error = await self.error("tests.wsgi.modules.small:nothing")
        self.assertIn("nothing", str(error))

    async def test_also_where_its_name_is_a_number(self) -> None:
        error = await self.error("8000")
        self.assertIn("'8000' is no name of a module", str(error))

    async def error(self, app: str) -> LoadError:
        crew = Crew(reactor, app, worker="w1", processes=2, threads=1)
        crew.listener = self.requests
        self.addCleanup(crew.stop)
        with self.assertRaises(LoadError) as caught:
            await crew.start()
        await until(lambda: not crew._children, "the end of its processes")
        return caught.exception

    async def test_one_that_can_not_be_replaced_is_tried_again_more_and_more_seldom(self) -> None:
        path = self.path()
        path.touch()
        os.environ["BRITTLE"] = str(path)
        self.addCleanup(os.environ.pop, "BRITTLE")
        crew = await self.crew("tests.wsgi.modules.brittle:application")
        path.unlink()
        self.ask(crew, "1", "/")
        (place,) = crew._places
        await until(lambda: place.quick == 3, "the third try")
        assert place.later is not None
        # The second try was half a second after the first, this one is a whole one after that.
        self.assertGreater(place.later.getTime() - reactor.seconds(), 0.5)
        path.touch()
        place.later.reset(0)
        await until(lambda: crew.able, "the fourth")

    async def test_when_it_stops_no_process_is_left(self) -> None:
        crew = await self.crew(processes=2)
        pids = [each.pid for each in crew._children]
        self.ask(crew, "1", "/loop")
        stopped: Deferred[None] = crew.stop()
        await stopped
        self.assertEqual([pid for pid in pids if pid is not None and lives(pid)], [])
        self.assertIn("the worker stops", self.requests.over["1"])
