"""How many requests are fetched, by how fast they are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twbridge.wsgi.room import AGAIN, Room


class Fetched:
    """What fetches; remembers how many."""

    room = 4

    def __init__(self) -> None:
        self.rooms: list[int] = []

    def resize(self, room: int) -> None:
        self.room = room
        self.rooms.append(room)


class RoomTests(SynchronousTestCase):
    """Four lanes."""

    def setUp(self) -> None:
        self.able, self.others = 4, 0
        self.fetched = Fetched()
        self.room = Room(lambda: (self.able, self.others))
        self.room.slots = self.fetched

    def run_some(self, seconds: float, now: float, count: int = 20) -> None:
        for _ in range(count):
            self.room.took(seconds, now)

    def test_fast_ones_are_fetched_ahead(self) -> None:
        self.run_some(0.005, 1.0)
        self.assertEqual(self.fetched.rooms, [8])

    def test_slow_ones_are_not(self) -> None:
        self.run_some(0.04, 1.0)
        self.assertEqual(self.fetched.rooms, [])

    def test_a_few_fast_ones_among_slow_ones_do_not_count(self) -> None:
        for _ in range(20):
            self.run_some(0.2, 1.0, 1)
            self.run_some(0.001, 1.0, 2)
        self.assertEqual(self.fetched.rooms, [])

    def test_after_one_has_waited_in_vain_it_is_tried_again_a_while_later(self) -> None:
        self.run_some(0.005, 1.0)
        self.room.shrink(2.0)
        self.assertEqual(self.fetched.rooms, [8, 4])
        self.run_some(0.005, 2.0 + AGAIN / 2)
        self.assertEqual(self.fetched.rooms, [8, 4])
        self.run_some(0.005, 2.0 + AGAIN)
        self.assertEqual(self.fetched.rooms, [8, 4, 8])

    def test_it_follows_the_lanes_that_there_are(self) -> None:
        self.able = 2
        self.room.shrink(1.0)
        self.able, self.others = 4, 1
        self.room.grow()
        self.assertEqual(self.fetched.rooms, [2, 5])

    def test_without_a_lane_none_is_fetched(self) -> None:
        self.able = 0
        self.room.shrink(1.0)
        self.able = 4
        self.room.grow()
        self.assertEqual(self.fetched.rooms, [0, 4])
