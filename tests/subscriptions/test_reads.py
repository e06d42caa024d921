"""What is done at the end of a read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink
from twbridge.subscriptions.reads import Reads


class ReadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.reads = Reads(self.link)
        self.done: list[int] = []

    def test_each_is_called_once_in_order(self) -> None:
        for number in range(3):
            self.reads.then(lambda number=number: self.done.append(number))  # type: ignore[misc]
        self.assertEqual(self.done, [])
        self.link.read()
        self.link.read()
        self.assertEqual(self.done, [0, 1, 2])

    def test_what_one_asks_for_is_done_in_the_same_read(self) -> None:
        self.reads.then(lambda: self.reads.then(lambda: self.done.append(1)))
        self.link.read()
        self.assertEqual(self.done, [1])

    def test_one_that_breaks_stops_no_other(self) -> None:
        self.reads.then(lambda: 1 // 0)  # type: ignore[arg-type]
        self.reads.then(lambda: self.done.append(1))
        self.link.read()
        self.assertEqual(self.done, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stopped_it_lets_the_link_go(self) -> None:
        self.reads.then(lambda: self.done.append(1))
        self.reads.stop()
        self.link.read()
        self.assertEqual(self.done, [])
