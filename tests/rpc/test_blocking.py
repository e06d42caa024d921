"""The blocking caller: in a program without a reactor, and beside one that runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.rpc.fake_worker import FakeWorker
from twbridge.amqp import Link, Queue, parse
from twbridge.broker import EmbeddedBroker
from twbridge.errors import CallLost, EncodeError, ExpirationError, NotReady, UnknownTask
from twbridge.rpc.blocking import BlockingCaller
from twbridge.rpc.serializers import Body

clock: Any = IReactorTime(reactor)
ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import sys
from twbridge.rpc import BlockingCaller, UnknownTask

with BlockingCaller(sys.argv[1], timeout=20) as caller:
    print(caller.call("echo", [1, 2]))
    print(caller.gather(("echo", 1), ("echo", 2)))
    try:
        caller.call("nope")
    except UnknownTask as error:
        print(error)
print(caller.call("echo", "again"))
"""


class BlockingCase(TestCase):
    """A worker in this process, the caller in a thread."""

    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        self.broker = EmbeddedBroker(clock)
        port = await self.broker.listen(port=0)
        self.addCleanup(self.broker.stop)
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"
        self.link = Link(clock, parse(self.url))
        self.link.start()
        self.addCleanup(self.link.stop)
        self.worker = FakeWorker(self.link)
        await self.worker.listen()
        await self.worker.declare("idle")
        await self.worker.serve("echo", self.worker.echo)

    def caller(self, **options: Any) -> BlockingCaller:
        """To be made in a thread; it is closed at the end."""
        caller = BlockingCaller(self.url, **options)
        self.addCleanup(lambda: deferToThread(caller.close))
        return caller


class ThreadTests(BlockingCase):
    """Beside a reactor that runs, from its threads."""

    async def test_it_calls_from_several_threads(self) -> None:
        caller = await deferToThread(self.caller)
        threads = [deferToThread(caller.call, "echo", number) for number in range(5)]
        self.assertEqual([await each for each in threads], [*range(5)])

    async def test_errors_are_raised(self) -> None:
        caller = await deferToThread(self.caller)
        for kind, call in (
            (UnknownTask, lambda: caller.call("nope")),
            (ExpirationError, lambda: caller.call("idle", timeout=0.1)),
            (EncodeError, lambda: caller.call("echo", priority=-1)),
        ):
            with self.assertRaises(kind):
                await deferToThread(call)

    async def test_progress_is_told_in_the_thread_that_waits(self) -> None:
        def answer(request: Any) -> None:
            self.worker.progress(request, 1, "half")
            self.worker.progress(request, 2, "nearly")
            self.worker.result(request, "done")

        await self.worker.serve("slow", answer)
        caller = await deferToThread(self.caller)
        told: list[Any] = []

        def tell(value: Any) -> None:
            told.append((value, threading.current_thread()))

        def call() -> tuple[Any, threading.Thread]:
            return caller.call("slow", on_progress=tell), threading.current_thread()

        result, thread = await deferToThread(call)
        self.assertEqual(result, "done")
        self.assertEqual(told, [("half", thread), ("nearly", thread)])

    async def test_what_interrupts_the_wait_cancels_the_call(self) -> None:
        def answer(request: Any) -> None:
            self.worker.accept(request)
            self.worker.progress(request, 1, None)

        await self.worker.serve("slow", answer)
        caller = await deferToThread(self.caller)

        def interrupt(_: Any) -> None:
            raise KeyboardInterrupt

        def call() -> str:
            try:
                caller.call("slow", on_progress=interrupt)
            except KeyboardInterrupt:
                return "interrupted"
            return "not interrupted"

        self.assertEqual(await deferToThread(call), "interrupted")
        while not self.worker.cancels:
            await _turn()

    async def test_raw_bodies_travel_as_they_are(self) -> None:
        caller = await deferToThread(self.caller)
        body = Body(b"[1]", "application/json")
        result = await deferToThread(caller.call_raw, "echo", body, timeout=5.0)
        self.assertEqual((result.body, result.worker), (body, "w1"))

    async def test_subscribers_are_called_in_order_in_a_thread_of_theirs(self) -> None:
        caller = await deferToThread(self.caller)
        heard: list[Any] = []

        def hear(channel: str, value: Any) -> None:
            heard.append((channel, value, threading.current_thread().name))

        def talk() -> None:
            caller.subscribe("news.*", hear)
            for number in range(5):
                caller.publish("news.a", number)

        await deferToThread(talk)
        while len(heard) < 5:
            await _turn()
        self.assertEqual(heard, [("news.a", number, "twbridge") for number in range(5)])

        def talk_on() -> None:
            caller.unsubscribe("news.*", hear)
            caller.publish("news.a", 5)
            caller.call("echo", 1)

        await deferToThread(talk_on)
        self.assertEqual(len(heard), 5)

    async def test_a_queue_is_consumed_until_it_is_ended(self) -> None:
        caller = await deferToThread(self.caller)
        await self.link.declare(Queue("q", True, False, False))
        await self.link.publish("", "q", b"1")
        bodies: list[Any] = []

        def take(delivery: Any) -> None:
            bodies.append(caller.decode(delivery))

        end = await deferToThread(caller.consume, "q", take)
        while not bodies:
            await _turn()
        await deferToThread(end)
        self.assertEqual(bodies, [b"1"])
        while await self.link.count("q") != (0, 0):
            await _turn()

    async def test_closed_it_loses_what_is_pending(self) -> None:
        caller = await deferToThread(self.caller)
        await deferToThread(caller.start)
        pending = deferToThread(caller.call, "idle")
        while not (await self.link.count("twbridge.task.idle"))[0]:
            await _turn()
        await deferToThread(caller.close)
        with self.assertRaises(CallLost):
            await pending

    async def test_closed_it_leaves_nothing_to_the_reactor_and_no_thread(self) -> None:
        before = set(threading.enumerate())
        hold, heard = threading.Event(), list[Any]()

        def hear(_channel: str, value: Any) -> None:
            heard.append((value, threading.current_thread()))
            hold.wait(10)

        def live() -> None:
            caller.subscribe("news", hear)
            for number in range(3):
                caller.publish("news", number)
            caller.call("echo")

        caller = await deferToThread(self.caller)
        for _ in range(2):
            await deferToThread(live)
            while not heard:
                await _turn()
            await deferToThread(caller.close)
            hold.set()
            [(value, thread)] = heard
            await deferToThread(thread.join, 5)
            self.assertEqual((value, thread.is_alive(), len(heard)), (0, False, 1))
            heard.clear()
            hold.clear()
            triggers = str(vars(clock._eventTriggers["shutdown"]))
            self.assertNotIn("BlockingCaller", triggers)
            self.assertNotIn("Caller.stop", triggers)
        left = set(threading.enumerate()) - before
        self.assertEqual([each for each in left if each.name == "twbridge"], [])

    async def test_in_the_reactors_thread_it_refuses(self) -> None:
        caller = await deferToThread(self.caller)
        with self.assertRaisesRegex(RuntimeError, "would block the reactor"):
            caller.call("echo", 1)

    async def test_without_a_broker_the_start_fails_and_calls_say_why(self) -> None:
        await self.link.stop()
        await self.broker.stop()
        caller = await deferToThread(self.caller, timeout=0.2)
        with self.assertRaises(NotReady):
            await deferToThread(caller.call, "echo")


class ScriptTests(BlockingCase):
    """In a program that knows no reactor."""

    async def test_it_runs_one_in_a_thread_and_ends_with_the_program(self) -> None:
        run = [sys.executable, "-W", "error", "-c", SCRIPT, self.url]
        done = await deferToThread(
            subprocess.run, run, capture_output=True, text=True, timeout=25, cwd=ROOT
        )
        self.assertEqual(
            (done.returncode, done.stdout.splitlines(), done.stderr),
            (0, ["[1, 2]", "[1, 2]", "no worker has ever served the task 'nope'", "again"], ""),
        )


def _turn() -> Deferred[None]:
    """Let the reactor run."""
    return deferLater(clock, 0.01, lambda: None)
