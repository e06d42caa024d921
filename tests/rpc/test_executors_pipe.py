"""The frames between a worker and its children, and the deadlines of many calls (sans-I/O)."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.rpc.executors.deadlines import STEP, Deadlines
from twbridge.rpc.executors.pipe import (
    Begin,
    Frames,
    FromChild,
    Heard,
    Hello,
    Order,
    Progressed,
    Published,
    Raised,
    Returned,
    Stop,
    Stopped,
    ToChild,
    frame,
    read_from_child,
    read_to_child,
)
from twbridge.rpc.pipes import BadPipe
from twbridge.rpc.tasks import TaskOptions

TO_CHILD: list[ToChild] = [
    Begin(1, ["a"], {"b": 1}),
    Order(1, "add", "c-1", b"[]", "application/json", None, {"a": [1, b"b"]}, 1.5, True),
    Stop(1),
]
FROM_CHILD: list[FromChild] = [
    Hello([TaskOptions("add", timeout=2.0)]),
    Hello([], "error", "traceback"),
    Heard(1),
    Progressed(1, b"1", "application/json", None),
    Returned(1, b"1", "application/json", "gzip", {"a": 1}),
    Raised(1, "ValueError", "text", None, False, True),
    Stopped(1),
    Published("news", b"1", "application/json", None),
]


class FramesTests(SynchronousTestCase):
    """Messages and their frames."""

    def test_what_is_written_is_read(self) -> None:
        for order in TO_CHILD:
            self.assertEqual(read_to_child(Frames().feed(frame(order))[0]), order)
        for said in FROM_CHILD:
            self.assertEqual(read_from_child(Frames().feed(frame(said))[0]), said)

    @given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 60), max_size=20))
    def test_frames_are_cut_wherever_a_read_ends(
        self, bodies: list[bytes], cuts: list[int]
    ) -> None:
        stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
        frames, found, begin = Frames(40), [], 0
        for cut in cuts:
            found += frames.feed(stream[begin : begin + cut]) if cut else []
            begin += cut
        rest = stream[begin:]
        found += frames.feed(rest) if rest else []
        self.assertEqual(found, bodies)

    def test_a_frame_that_is_too_long_is_refused_before_it_is_read(self) -> None:
        with self.assertRaisesRegex(BadPipe, "a frame of 41 bytes; it may have 40"):
            Frames(40).feed((41).to_bytes(4, "big"))

    @given(st.binary(max_size=60))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        with contextlib.suppress(BadPipe):
            read_from_child(data)


class DeadlinesTests(SynchronousTestCase):
    """Many deadlines, one timer."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.03)
        self.due: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(
            self.clock, lambda item: self.due.append((item, self.clock.seconds()))
        )

    @given(st.lists(st.floats(0, 100), max_size=50))
    def test_none_is_early_and_none_much_too_late(self, waits: list[float]) -> None:
        self.setUp()
        now = self.clock.seconds()
        for number, wait in enumerate(waits):
            self.deadlines.add(str(number), now + wait)
        while len(self.due) < len(waits):
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
        for item, when in self.due:
            late = when - (now + waits[int(item)])
            self.assertTrue(-1e-5 < late < STEP + 1e-5, late)

    def test_what_was_dropped_is_not_due(self) -> None:
        when = self.clock.seconds() + 1
        step = self.deadlines.add("a", when)
        self.deadlines.add("b", when)
        self.deadlines.drop("a", step)
        self.clock.advance(2)
        self.assertEqual([item for item, _ in self.due], ["b"])
        self.deadlines.drop("b", step)

    def test_one_that_fails_keeps_no_other_from_its_time(self) -> None:
        def due(item: str) -> None:
            self.due.append((item, 0.0))
            raise OSError("no more files")

        deadlines: Deadlines[str] = Deadlines(self.clock, due)
        for item, wait in (("a", 1.0), ("b", 1.0), ("c", 1.1), ("d", 5.0)):
            deadlines.add(item, self.clock.seconds() + wait)
        self.clock.advance(2)
        self.assertEqual({item for item, _ in self.due}, {"a", "b", "c"})
        self.clock.advance(4)
        self.assertEqual(self.due[-1][0], "d")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 4)

    def test_a_stopped_one_leaves_no_timer(self) -> None:
        self.deadlines.add("a", self.clock.seconds() + 1)
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
