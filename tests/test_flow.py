"""Back-pressure towards a socket and from the link."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fakes import FakeLink
from twbridge.flow import Budget, Drops, Gate, Lane, Outbox


class Socket:
    """Takes ``room`` bytes, then pauses its producer as a transport does: within the write."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.written: list[bytes] = []
        self.outbox: Outbox | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.room -= len(data)
        if self.room <= 0 and self.outbox is not None:
            self.outbox.pauseProducing()


class OutboxTests(SynchronousTestCase):
    def make(self, limit: int = 10, room: int = 1 << 30) -> tuple[Outbox, Socket, list[str]]:
        socket, told = Socket(room), []
        outbox = Outbox(socket, limit, lambda: told.append("overflow"))
        socket.outbox = outbox
        return outbox, socket, told

    def test_it_is_a_push_producer(self) -> None:
        verifyObject(IPushProducer, self.make()[0])

    def test_frames_go_straight_through(self) -> None:
        outbox, socket, _ = self.make()
        frame = b"x" * 100
        outbox.send(frame)
        self.assertIs(socket.written[0], frame)
        self.assertEqual(outbox.queued, 0)

    def test_frames_wait_in_order_while_it_is_paused(self) -> None:
        outbox, socket, _ = self.make()
        outbox.pauseProducing()
        outbox.send(b"abc")
        outbox.send(b"de")
        self.assertEqual((socket.written, outbox.queued), ([], 5))
        outbox.resumeProducing()
        self.assertEqual((socket.written, outbox.queued), ([b"abc", b"de"], 0))
        outbox.send(b"f")
        self.assertEqual(socket.written[-1], b"f")

    def test_a_socket_that_fills_while_it_drains_gets_no_more(self) -> None:
        outbox, socket, _ = self.make()
        outbox.pauseProducing()
        for frame in (b"aa", b"bb", b"cc"):
            outbox.send(frame)
        socket.room = 3
        outbox.resumeProducing()
        self.assertEqual((socket.written, outbox.queued), ([b"aa", b"bb"], 2))
        outbox.send(b"dd")
        outbox.resumeProducing()
        self.assertEqual(socket.written, [b"aa", b"bb", b"cc"])
        outbox.resumeProducing()
        self.assertEqual(socket.written, [b"aa", b"bb", b"cc", b"dd"])

    def test_the_limit_is_exact_and_told_once(self) -> None:
        outbox, socket, told = self.make(limit=10)
        outbox.pauseProducing()
        outbox.send(b"x" * 10)
        self.assertEqual((outbox.queued, told), (10, []))
        outbox.send(b"y")
        outbox.send(b"z")
        self.assertEqual((outbox.queued, told), (0, ["overflow"]))
        outbox.resumeProducing()
        outbox.send(b"late")
        self.assertEqual(socket.written, [])

    def test_one_frame_may_be_larger_than_the_limit(self) -> None:
        outbox, _, told = self.make(limit=10)
        outbox.pauseProducing()
        outbox.send(b"x" * 11)
        self.assertEqual((outbox.queued, told), (11, []))
        outbox.send(b"y")
        self.assertEqual((outbox.queued, told), (0, ["overflow"]))

    def test_after_the_end_nothing_is_written(self) -> None:
        outbox, socket, told = self.make()
        outbox.pauseProducing()
        outbox.send(b"waits")
        outbox.stopProducing()
        outbox.resumeProducing()
        outbox.send(b"late")
        self.assertEqual((socket.written, outbox.queued, told), ([], 0, []))


class Waiter:
    def __init__(self, link: FakeLink, fills: bool = False) -> None:
        self.link = link
        self.fills = fills
        self.times = 0

    def relieved(self) -> None:
        self.times += 1
        if self.fills:
            self.link.pressed = True


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.gate = Gate(self.link)
        self.link.press(True)

    def test_who_waits_is_told_once_when_there_is_room(self) -> None:
        waiter = Waiter(self.link)
        self.assertTrue(self.gate.shut)
        self.gate.wait(waiter)
        self.gate.wait(waiter)
        self.assertEqual(waiter.times, 0)
        self.link.press(False)
        self.link.press(False)
        self.assertEqual(waiter.times, 1)
        self.assertFalse(self.gate.shut)

    def test_who_left_is_not_told(self) -> None:
        waiter = Waiter(self.link)
        self.gate.wait(waiter)
        self.gate.leave(waiter)
        self.gate.leave(waiter)
        self.link.press(False)
        self.assertEqual(waiter.times, 0)

    def test_when_one_fills_the_link_again_the_others_wait_on_in_order(self) -> None:
        first, second = Waiter(self.link, fills=True), Waiter(self.link)
        self.gate.wait(first)
        self.gate.wait(second)
        self.link.press(False)
        self.assertEqual((first.times, second.times), (1, 0))
        self.link.press(False)
        self.assertEqual((first.times, second.times), (1, 1))

    def test_a_stopped_gate_leaves_the_link_alone(self) -> None:
        waiter = Waiter(self.link)
        self.gate.wait(waiter)
        self.gate.stop()
        self.link.press(False)
        self.assertEqual(waiter.times, 0)


class LaneTests(SynchronousTestCase):
    """What waits for a slow socket and may be dropped."""

    def lane(self, size: int = 10, latest: bool = False) -> tuple[Lane, Budget]:
        budget = Budget(size)
        return Lane(latest, budget), budget

    def keep(self, lane: Lane, *frames: bytes) -> None:
        for frame in frames:
            lane.keep(frame, frame[:1].decode())

    def all(self, lane: Lane) -> list[bytes]:
        return [lane.pop() for _ in range(len(lane))]

    def test_what_waits_is_taken_in_order(self) -> None:
        lane, budget = self.lane()
        self.keep(lane, b"aaa", b"bb", b"aa")
        self.assertEqual((len(lane), budget.left, lane.dropped), (3, 3, 0))
        self.assertEqual((self.all(lane), budget.left), ([b"aaa", b"bb", b"aa"], 10))

    def test_the_oldest_give_way_to_the_newest_and_are_counted(self) -> None:
        lane, budget = self.lane()
        self.keep(lane, b"aaaa", b"bbbb", b"cccccc")
        self.assertEqual((lane.dropped, budget.left), (1, 0))
        self.assertEqual(self.all(lane), [b"bbbb", b"cccccc"])

    def test_of_each_key_only_the_newest_waits_in_its_turn(self) -> None:
        lane, budget = self.lane(latest=True)
        self.keep(lane, b"a1", b"b1", b"a2", b"a3")
        self.assertEqual((lane.dropped, budget.left), (2, 6))
        self.assertEqual(self.all(lane), [b"b1", b"a3"])

    def test_the_newest_of_each_key_may_give_way_too(self) -> None:
        lane, _ = self.lane(latest=True)
        self.keep(lane, b"aaaa", b"bbbb", b"cccc")
        self.assertEqual((lane.dropped, self.all(lane)), (1, [b"bbbb", b"cccc"]))

    def test_one_that_is_too_large_for_all_the_room_is_dropped_alone(self) -> None:
        lane, budget = self.lane()
        self.keep(lane, b"aa", b"b" * 11, b"c" * 9)
        self.assertEqual((lane.dropped, budget.left), (2, 1))
        self.assertEqual(self.all(lane), [b"c" * 9])

    def test_of_one_that_is_too_large_nothing_older_is_shown_either(self) -> None:
        lane, _ = self.lane(latest=True)
        self.keep(lane, b"a1", b"b1", b"a" * 11)
        self.assertEqual((lane.dropped, self.all(lane)), (2, [b"b1"]))

    def test_the_room_is_shared_but_nobody_drops_what_is_in_another_lane(self) -> None:
        one, budget = self.lane()
        other = Lane(False, budget)
        self.keep(one, b"a" * 8)
        self.keep(other, b"bb", b"cc", b"ddd")
        self.assertEqual((one.dropped, other.dropped, budget.left), (0, 2, 0))
        self.assertEqual(self.all(one) + self.all(other), [b"a" * 8, b"cc"])
        self.assertEqual(budget.left, 10)

    def test_cleared_it_gives_the_room_back_and_counts_nothing(self) -> None:
        lane, budget = self.lane()
        self.keep(lane, b"a" * 6, b"b" * 6)
        lane.clear()
        self.assertEqual((len(lane), lane.dropped, budget.left), (0, 0, 10))

    def test_dropped_as_a_whole_it_counts_all(self) -> None:
        lane, budget = self.lane()
        self.keep(lane, b"aaa", b"bbb")
        self.assertEqual((lane.drop_all(), lane.dropped, budget.left), (2, 2, 10))
        self.assertEqual(lane.drop_all(), 0)

    @given(
        st.booleans(),
        st.lists(
            st.one_of(
                st.tuples(st.integers(0, 1), st.text("abc", min_size=1, max_size=8)),
                st.tuples(st.integers(0, 1), st.sampled_from(["pop", "clear", "drop"])),
            ),
            max_size=60,
        ),
    )
    def test_the_budget_is_exact_and_every_frame_is_sent_dropped_or_waits(
        self, latest: bool, steps: list[tuple[int, str]]
    ) -> None:
        budget = Budget(12)
        lanes = [Lane(latest, budget), Lane(False, budget)]
        kept, gone = [0, 0], [0, 0]
        for which, what in steps:
            lane = lanes[which]
            if what == "pop":
                if lane:
                    lane.pop()
                    gone[which] += 1
            elif what == "drop":
                lane.drop_all()
            elif what == "clear":
                gone[which] += len(lane) + lane.dropped
                lane.clear()
            else:
                lane.keep(what.encode(), what[0])
                kept[which] += 1
            waits = sum(len(frame) for each in lanes for frame in each._frames.values())
            self.assertEqual(budget.left, 12 - waits)
            self.assertGreaterEqual(budget.left, 0)
            for each in (0, 1):
                self.assertEqual(kept[each], gone[each] + lanes[each].dropped + len(lanes[each]))


class DropsTests(SynchronousTestCase):
    """What is dropped is in the log, once a minute at most."""

    def test_it_says_so_once_a_minute(self) -> None:
        clock, told = Clock(), []

        @implementer(ILogObserver)
        def hear(event: dict[str, Any]) -> None:
            if event.get("log_namespace") == "twbridge.flow":
                told.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        drops = Drops(clock)
        drops.add(3)
        drops.add(4)
        clock.advance(59.9)
        drops.add(1)
        self.assertEqual(len(told), 1)
        clock.advance(0.2)
        drops.add(2)
        drops.stop()
        self.assertEqual(drops.count, 10)
        self.assertEqual(
            told,
            [f"Messages dropped for clients that read too slowly: {count}" for count in (3, 5, 2)],
        )
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_its_timer_ends_when_nothing_more_is_dropped(self) -> None:
        clock = Clock()
        Drops(clock).add(1)
        clock.advance(Drops.EVERY)
        self.assertEqual(clock.getDelayedCalls(), [])
