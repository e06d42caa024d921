"""The supervisor, with processes that a test ends."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twbridge.rpc.lifetime import StartError
from twbridge.rpc.supervisor import KILL, PAUSE_MAX, SERVES, STEADY, Supervisor, tether_says


class FakeProcess:
    """A process: what it was told, and how it ends."""

    def __init__(self, protocol: Any, command: list[str], options: dict[str, Any]) -> None:
        self.protocol = protocol
        self.command = command
        self.options = options
        self.told = b""
        self.alive = True
        protocol.makeConnection(self)

    def writeToChild(self, fd: int, data: bytes) -> None:
        assert fd == 0
        self.told += data

    def signalProcess(self, name: str) -> None:
        assert name == "KILL"
        self.end(signal=9)

    def serve(self) -> None:
        self.protocol.childDataReceived(SERVES, b"\n")

    def end(self, code: int | None = None, signal: int | None = None) -> None:
        self.alive = False
        done = code == 0
        error = ProcessDone(0) if done else ProcessTerminated(code, signal)
        self.protocol.processEnded(Failure(error))


class FakeReactor(Clock):
    """A clock that starts fake processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        #: How often one can't be started.
        self.failures = 0

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], **options: Any
    ) -> FakeProcess:
        assert executable == args[0]
        if self.failures:
            self.failures -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        process = FakeProcess(protocol, args, options)
        self.processes.append(process)
        return process

    @property
    def alive(self) -> list[FakeProcess]:
        return [each for each in self.processes if each.alive]


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        environment = {"URL": "secret"}
        self.supervisor = Supervisor(self.reactor, ["run", "it"], environment, 3, drain=5.0)

    def running(self) -> list[FakeProcess]:
        """All three serve, and have for a while."""
        started = self.supervisor.start()
        self.assertEqual(len(self.reactor.processes), 1)
        self.assertNoResult(started)
        self.reactor.processes[0].serve()
        self.assertIsNone(self.successResultOf(started))
        for process in self.reactor.processes[1:]:
            process.serve()
        self.reactor.advance(STEADY)
        return self.reactor.alive

    def test_the_others_are_started_when_the_first_serves(self) -> None:
        processes = self.running()
        self.assertEqual(len(processes), 3)
        self.assertEqual({tuple(each.command) for each in processes}, {("run", "it")})
        self.assertEqual(processes[0].options["env"], {"URL": "secret"})

    def test_a_first_one_that_can_not_start_is_the_end(self) -> None:
        started = self.supervisor.start()
        self.reactor.processes[0].end(code=1)
        self.failureResultOf(started, StartError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_ends_is_replaced_at_once(self) -> None:
        first = self.running()[0]
        first.end(signal=9)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.alive), 3)
        self.assertEqual(len(self.reactor.processes), 4)

    def test_one_that_ends_at_once_again_and_again_is_replaced_less_and_less_often(self) -> None:
        self.running()[0].end(code=1)
        pauses = []
        for _ in range(8):
            begun = self.reactor.seconds()
            while len(self.reactor.alive) < 3:
                self.reactor.advance(0.25)
            pauses.append(self.reactor.seconds() - begun)
            self.reactor.alive[-1].end(code=1)
        self.assertEqual(pauses[1:4], [0.5, 1.0, 2.0])
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual(pauses[-1], PAUSE_MAX)
        self.reactor.advance(PAUSE_MAX)
        self.reactor.alive[-1].serve()
        self.reactor.advance(STEADY)
        self.reactor.alive[-1].end(signal=9)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.alive), 3)

    def test_one_that_can_not_be_started_is_tried_again_less_and_less_often(self) -> None:
        first = self.running()[0]
        self.reactor.failures = 4
        first.end(signal=9)
        pauses = []
        while len(self.reactor.alive) < 3:
            (call,) = self.reactor.getDelayedCalls()
            pauses.append(call.getTime() - self.reactor.seconds())
            self.reactor.advance(pauses[-1])
        self.assertEqual(pauses, [0.0, 0.5, 1.0, 2.0, 4.0])

    def test_a_first_one_that_can_not_be_started_is_tried_again_too(self) -> None:
        self.reactor.failures = 2
        started = self.supervisor.start()
        self.reactor.pump([0.0, 0.5])
        self.assertNoResult(started)
        self.reactor.processes[0].serve()
        self.assertIsNone(self.successResultOf(started))

    def test_all_drain_while_one_can_not_be_started(self) -> None:
        first, *others = self.running()
        self.reactor.failures = 100
        first.end(signal=9)
        self.reactor.advance(0)
        stopped = self.supervisor.stop()
        for process in others:
            process.end(code=0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_all_drain_and_none_is_replaced(self) -> None:
        processes = self.running()
        stopped = self.supervisor.stop()
        self.assertEqual([each.told for each in processes], [b"s"] * 3)
        for process in processes:
            self.assertNoResult(stopped)
            process.end(code=0)
        self.assertIsNone(self.successResultOf(stopped))
        self.reactor.advance(60)
        self.assertEqual(len(self.reactor.processes), 3)

    def test_what_does_not_drain_is_killed(self) -> None:
        self.running()
        stopped = self.supervisor.stop()
        self.reactor.advance(5.0 + KILL)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.alive, [])

    def test_a_second_word_hurries_them(self) -> None:
        processes = self.running()
        self.supervisor.stop()
        self.supervisor.hurry()
        self.assertEqual([each.told for each in processes], [b"sh"] * 3)

    def test_one_that_was_to_be_replaced_is_not_after_the_stop(self) -> None:
        processes = self.running()
        processes[0].end(code=1)
        stopped = self.supervisor.stop()
        for process in processes[1:]:
            process.end(code=0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class TetherTests(SynchronousTestCase):
    """What a worker does with words of its supervisor."""

    def test_words_and_the_end(self) -> None:
        for data, expected in ((b"s", "s"), (b"sh", "hs"), (b"h", "h"), (b"", "s"), (b"x", "")):
            did: list[str] = []
            says = tether_says(partial(did.append, "s"), partial(did.append, "h"))
            says(data)
            self.assertEqual("".join(did), expected)
