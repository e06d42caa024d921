"""The log of a stream has no holes, whatever is appended and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.broker.log import Log
from twbridge.broker.messages import Message


def message(body: bytes) -> Message:
    return Message("", "s", body=body)


def filled(count: int) -> Log:
    """Bodies are the offsets, times too."""
    log = Log()
    for number in range(count):
        log.append(message(b"%d" % number), float(number))
    return log


def bodies(log: Log, offset: int, count: int = 1000, size: int = 1_000_000) -> list[bytes]:
    return [one.body for one in log.read(offset, count, size)[1]]


class LogTests(SynchronousTestCase):
    @given(
        st.lists(st.one_of(st.just("drop"), st.floats(0, 100)), max_size=60),
        st.integers(0, 3),
    )
    def test_offsets_are_contiguous_whatever_comes_and_goes(
        self, steps: list[str | float], slack: int
    ) -> None:
        log = Log(slack)
        kept: list[tuple[int, bytes, float]] = []
        count, latest = 0, 0.0
        for step in steps:
            if isinstance(step, float):
                latest = max(latest, step)
                body = b"%d" % count
                self.assertEqual(log.append(message(body), step), count)
                kept.append((count, body, latest))
                count += 1
            elif kept:
                self.assertEqual(log.drop().body, kept.pop(0)[1])
            self.assertEqual((len(log), log.next), (len(kept), count))
            self.assertEqual(log.first, kept[0][0] if kept else count)
            self.assertEqual(log.size, sum(len(body) + 2 for _, body, _ in kept))
        for offset in range(-2, count + 2):
            first, found = log.read(offset, 1000, 1_000_000)
            self.assertEqual(first, max(offset, log.first))
            self.assertEqual(
                [one.body for one in found], [body for at, body, _ in kept if at >= offset]
            )
        for time in (-1.0, 50.0, 101.0, *(came for _, _, came in kept)):
            expected = next((at for at, _, came in kept if came >= time), count)
            self.assertEqual(log.at(time), expected)

    def test_a_read_keeps_to_its_count_and_size(self) -> None:
        log = filled(10)
        self.assertEqual(bodies(log, 3, count=2), [b"3", b"4"])
        self.assertEqual(bodies(log, 3, size=8), [b"3", b"4"])

    def test_a_message_that_is_too_long_for_a_read_comes_alone(self) -> None:
        self.assertEqual(bodies(filled(10), 3, size=1), [b"3"])

    def test_reading_ends_at_the_end(self) -> None:
        log = filled(3)
        self.assertEqual(log.read(3, 10, 1000), (3, []))
        self.assertEqual(log.read(7, 10, 1000), (7, []))

    def test_a_clock_set_back_does_not_disorder_it(self) -> None:
        log = Log()
        for time in (100.0, 50.0, 101.0):
            log.append(message(b"x"), time)
        self.assertEqual([log.at(50.0), log.at(100.5), log.at(102.0)], [0, 2, 3])
