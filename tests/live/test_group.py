"""Those who get the same frames."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeSubscriber, PlainEncoder
from twbridge.destinations import parse
from twbridge.live.group import Group


class Chooser(FakeSubscriber):
    """Takes each frame with its key."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[list[bytes], list[str]]] = []
        self.take = self._take

    def _take(self, frames: Sequence[bytes], keys: Sequence[str]) -> None:
        self.taken.append((list(frames), list(keys)))


class Counting(FakeSubscriber):
    """Counts how often it is asked what it takes."""

    asked = 0

    @property
    def take(self) -> None:
        Counting.asked += 1

    @take.setter
    def take(self, _value: object) -> None: ...


class GroupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.group = Group(parse("/topic/#"), PlainEncoder())

    def put(self, *frames: bytes) -> None:
        """What the fan-out does with a message."""
        for frame in frames:
            self.group.frames.append(frame)
            if self.group.keys is not None:
                self.group.keys.append(frame.decode())

    def join(self, *members: FakeSubscriber) -> None:
        for member in members:
            self.group.join(member)

    def test_the_frames_of_a_read_are_one_object_for_all(self) -> None:
        one, other = FakeSubscriber(), FakeSubscriber()
        self.join(one, other)
        self.put(b"1", b"2")
        self.group.flush()
        self.assertEqual(one.frames, [b"12"])
        self.assertIs(one.frames[0], other.frames[0])
        self.group.flush()
        self.assertEqual(len(one.frames), 1)

    def test_keys_are_kept_only_while_somebody_wants_them(self) -> None:
        plain, chooser = FakeSubscriber(), Chooser()
        self.join(plain)
        self.put(b"1")
        self.assertIsNone(self.group.keys)
        self.join(chooser)
        self.put(b"2", b"3")
        self.group.flush()
        self.assertEqual(
            (plain.frames, chooser.taken), ([b"1", b"23"], [([b"2", b"3"], ["2", "3"])])
        )
        self.group.leave(chooser)
        self.assertIsNone(self.group.keys)
        self.put(b"4")
        self.group.flush()
        self.assertEqual((len(plain.frames), len(chooser.taken)), (3, 1))

    def test_who_leaves_gets_what_there_is_and_who_joins_does_not(self) -> None:
        one, other = Chooser(), Chooser()
        self.join(one)
        self.put(b"1")
        self.join(other)
        self.put(b"2")
        self.group.leave(one)
        self.assertEqual(one.taken, [([b"1"], ["1"]), ([b"2"], ["2"])])
        self.assertEqual(other.taken, [([b"2"], ["2"])])

    def test_joining_twice_and_leaving_twice_is_as_once(self) -> None:
        chooser = Chooser()
        self.join(chooser, chooser)
        self.put(b"1")
        self.group.flush()
        self.group.leave(chooser)
        self.group.leave(chooser)
        self.assertEqual((len(chooser.taken), self.group.keys), (1, None))
        self.join(chooser)
        self.assertEqual(self.group.keys, [])

    def test_what_one_gets_may_be_its_end(self) -> None:
        one, other = Chooser(), Chooser()
        self.join(one, other)
        one.take = lambda *_: self.group.leave(one)
        self.group.sends = None
        self.put(b"1")
        self.group.leave(one)
        self.assertEqual(list(self.group.members), [other])
        self.assertEqual(other.taken, [([b"1"], ["1"])])

    def test_one_that_breaks_stops_no_other(self) -> None:
        one, other, plain = Chooser(), Chooser(), FakeSubscriber()
        one.take = lambda *_: 1 // 0
        plain.send = lambda _: 1 // 0  # type: ignore[assignment]
        self.join(one, plain, other)
        self.put(b"1")
        self.group.flush()
        self.assertEqual(len(other.taken), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_joining_costs_the_same_however_many_there_are(self) -> None:
        self.join(*(Counting() for _ in range(100)))
        before = Counting.asked
        self.join(Counting())
        self.assertLessEqual(Counting.asked - before, 2)
