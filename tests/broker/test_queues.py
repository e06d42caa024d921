"""Queues keep order, take turns, keep to their limits and count their bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.broker.deadletters import DeadLetters, Reason, Way
from twbridge.broker.messages import OVERHEAD, Entry, Memory, Message
from twbridge.broker.queues import Queue


class FakeTaker:
    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[Entry] = []
        self.deleted = False

    def has_room(self) -> bool:
        return self.room > 0

    def take(self, entry: Entry) -> None:
        self.room -= 1
        self.taken.append(entry)

    def queue_deleted(self) -> None:
        self.deleted = True

    @property
    def bodies(self) -> list[bytes]:
        return [entry.message.body for entry in self.taken]


def message(body: bytes | str = b"x") -> Message:
    return Message("", "q", body=body if isinstance(body, bytes) else body.encode())


def bodies(queue: Queue) -> str:
    return b"".join(entry.message.body for entry in queue.ready).decode()


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = Memory()
        self.queue = Queue("q", self.memory, Clock())

    def fill(self, letters: str, queue: Queue | None = None) -> None:
        for letter in letters:
            (queue or self.queue).push(message(letter))

    def test_one_whose_dead_letter_fails_is_forgotten_all_the_same(self) -> None:
        class Nowhere(Way):
            def send(self, message: Message, reason: Reason) -> None:
                raise ValueError(reason)

        queue = Queue("q", self.memory, Clock(), arguments={"x-max-length": 0})
        queue.dead_letters = Nowhere(DeadLetters(lambda _, __: None, lambda: 0.0), "q", "", None)
        self.assertRaises(ValueError, queue.push, message())
        self.assertEqual((self.memory.used, len(queue)), (0, 0))

    def test_consumers_take_turns(self) -> None:
        one, two = FakeTaker(), FakeTaker()
        self.queue.add_consumer(one)
        self.queue.add_consumer(two)
        self.fill("abcd")
        self.assertEqual((one.bodies, two.bodies), ([b"a", b"c"], [b"b", b"d"]))

    def test_a_full_consumer_is_passed_over_until_it_drains(self) -> None:
        one, two = FakeTaker(room=1), FakeTaker(room=2)
        self.queue.add_consumer(one)
        self.queue.add_consumer(two)
        self.fill("abcdef")
        self.assertEqual((one.bodies, two.bodies), ([b"a"], [b"b", b"c"]))
        self.assertEqual(bodies(self.queue), "def")
        one.room = 2
        self.queue.drain()
        self.assertEqual(one.bodies, [b"a", b"d", b"e"])
        self.assertEqual(bodies(self.queue), "f")

    @given(st.lists(st.integers(0, 9), unique=True), st.integers(0, 10))
    def test_requeued_entries_go_back_to_their_places(
        self, given_back: list[int], taken: int
    ) -> None:
        queue = Queue("q", Memory(), Clock())
        self.fill("0123456789", queue)
        held = [entry for _ in range(taken) if (entry := queue.get()) is not None]
        chosen = [held[index] for index in given_back if index < taken]
        for start in range(0, len(chosen), 2):
            queue.requeue(chosen[start : start + 2])
        kept = {entry.position for entry in held} - {entry.position for entry in chosen}
        expected = [str(n) for n in range(10) if n not in kept]
        self.assertEqual(bodies(queue), "".join(expected))
        self.assertEqual(queue.ready_bytes, len(expected))
        self.assertEqual(
            {entry.position for entry in queue.ready if entry.redelivered},
            {entry.position for entry in chosen},
        )

    def test_purge_drops_only_what_waits(self) -> None:
        taker = FakeTaker(room=1)
        self.queue.add_consumer(taker)
        self.fill("abc")
        self.assertEqual(self.queue.purge(), 2)
        self.assertEqual(len(self.queue), 0)
        self.queue.requeue(taker.taken)
        self.assertEqual(bodies(self.queue), "a")

    def test_delete_tells_the_consumers_and_forgets_what_comes_back(self) -> None:
        taker = FakeTaker(room=1)
        self.queue.add_consumer(taker)
        self.fill("abc")
        self.assertEqual(self.queue.delete(), 2)
        self.assertTrue(taker.deleted)
        self.queue.requeue(taker.taken)
        self.assertEqual((len(self.queue), self.memory.used), (0, 0))

    def test_the_exclusive_mark_ends_with_its_consumer(self) -> None:
        taker = FakeTaker()
        self.queue.add_consumer(taker, exclusive=True)
        self.assertTrue(self.queue.exclusive)
        self.queue.remove_consumer(taker)
        self.assertFalse(self.queue.exclusive)


class MaximumLengthTests(SynchronousTestCase):
    def queue(self, **arguments: object) -> Queue:
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        return Queue("q", Memory(), Clock(), arguments=given)

    def test_the_oldest_goes_by_default(self) -> None:
        queue = self.queue(x_max_length=2)
        self.assertEqual([queue.push(message(letter)) for letter in "abc"], [True] * 3)
        self.assertEqual(bodies(queue), "bc")

    def test_bytes_are_a_limit_too(self) -> None:
        queue = self.queue(x_max_length_bytes=5)
        for body in ("aa", "bb", "cc"):
            queue.push(message(body))
        self.assertEqual(bodies(queue), "bbcc")
        queue.push(message("toolong"))
        self.assertEqual(bodies(queue), "")

    def test_reject_publish_refuses_the_newest(self) -> None:
        queue = self.queue(x_max_length=1, x_overflow="reject-publish")
        self.assertEqual([queue.push(message(letter)) for letter in "ab"], [True, False])
        self.assertEqual(bodies(queue), "a")

    def test_reject_publish_keeps_what_is_requeued(self) -> None:
        queue = self.queue(x_max_length=1, x_overflow="reject-publish")
        queue.push(message("a"))
        entry = queue.get()
        assert entry is not None
        queue.push(message("b"))
        queue.requeue([entry])
        self.assertEqual(bodies(queue), "ab")

    def test_what_a_consumer_takes_at_once_never_counts(self) -> None:
        queue = self.queue(x_max_length=0)
        taker = FakeTaker(room=1)
        queue.add_consumer(taker)
        queue.push(message("a"))
        queue.push(message("b"))
        self.assertEqual((taker.bodies, bodies(queue)), ([b"a"], ""))


class MemoryTests(SynchronousTestCase):
    def test_a_message_in_many_queues_counts_once_until_the_last_is_done(self) -> None:
        memory = Memory()
        one, two = Queue("1", memory, Clock()), Queue("2", memory, Clock())
        shared = message(b"x" * 100)
        one.push(shared)
        two.push(shared)
        self.assertEqual(memory.used, 100 + 2 + OVERHEAD)
        one.purge()
        self.assertEqual(memory.used, 100 + 2 + OVERHEAD)
        entry = two.get()
        assert entry is not None
        self.assertEqual(memory.used, 100 + 2 + OVERHEAD)
        two.settle(entry)
        self.assertEqual(memory.used, 0)

    def test_the_alarm_begins_past_the_limit_and_ends_well_below(self) -> None:
        alarms: list[bool] = []
        memory = Memory(4 * (OVERHEAD + 102), alarms.append)
        queue = Queue("q", memory, Clock())
        for _ in range(4):
            queue.push(message(b"x" * 100))
        self.assertEqual(alarms, [])
        queue.push(message(b"x" * 100))
        queue.push(message(b"x" * 100))
        self.assertEqual(alarms, [True])
        for expected in ([True], [True], [True], [True, False]):
            entry = queue.get()
            assert entry is not None
            queue.settle(entry)
            self.assertEqual(alarms, expected)
