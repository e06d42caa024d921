"""The load of the RPC benchmarks."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.rpc_callers import BODY, Timings, check
from benchmarks.rpc_child import outstanding, window


class FakeCaller:
    """Answers at once."""

    def __init__(self, answer: object = BODY) -> None:
        self.answer = answer

    def window(self, size: int, timings: Timings) -> None:
        for took in range(1, 101):
            timings.begin = 0.0
            timings.end = float("inf")
            timings.add(-took / 1000, self.answer)

    def outstanding(self, count: int, begin: object, sent: object) -> None:
        assert callable(begin)
        assert callable(sent)
        begin()
        sent()
        for _ in range(count):
            check(self.answer)


class ChildTests(SynchronousTestCase):
    """What one measurement says."""

    def test_the_body_has_100_bytes(self) -> None:
        self.assertEqual(len(json.dumps(BODY, separators=(",", ":"))), 100)

    def test_the_window_gives_the_rate_and_percentiles(self) -> None:
        found = window(FakeCaller(), 100, 2.0)
        self.assertEqual(found["rate"], 50)
        self.assertLess(abs(found["p99"] - found["p50"] - 49), 5)

    def test_calls_of_the_warming_up_and_after_the_end_do_not_count(self) -> None:
        timings = Timings(1.0)
        timings.add(timings.begin, BODY)
        timings.end = timings.begin = 0.0
        timings.add(0.0, BODY)
        self.assertEqual(timings.calls, [])

    def test_what_is_outstanding_is_timed_from_the_first_call(self) -> None:
        found = outstanding(FakeCaller(), 3)
        self.assertLessEqual(found["sending"], found["seconds"])

    def test_another_answer_spoils_it(self) -> None:
        for answer in ({"text": "y"}, None):
            with self.assertRaisesRegex(RuntimeError, "received"):
                outstanding(FakeCaller(answer), 1)
            with self.assertRaisesRegex(RuntimeError, "received"):
                window(FakeCaller(answer), 1, 1.0)
