"""When an instance is ready."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.web.readiness import Readiness


class FakeLink:
    """A link that is in the state it is told to be in."""

    def __init__(self) -> None:
        self.state = "idle"
        self.state_description = "not started"
        self.callbacks: list[Callable[[str], None]] = []

    def on_state(self, callback: Callable[[str], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def go(self, state: str, why: str = "because") -> None:
        self.state, self.state_description = state, why
        for callback in self.callbacks:
            callback(state)


class ReadinessTests(SynchronousTestCase):
    """The answer of ``/readyz``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.readiness = Readiness(self.link, self.clock, grace=15.0)

    def assert_ready(self, ready: bool, words: str) -> None:
        self.assertEqual(self.readiness.answer[0], ready, self.readiness.answer)
        self.assertIn(words, self.readiness.answer[1])

    def test_not_until_the_link_was_ready_once(self) -> None:
        self.assert_ready(False, "waiting for the broker")
        self.link.go("connecting", "connection refused")
        self.clock.advance(1)
        self.assert_ready(False, "connection refused")
        self.link.go("ready")
        self.assert_ready(True, "ready")

    def test_a_link_that_is_away_for_the_grace_period_is_forgiven(self) -> None:
        self.link.go("ready")
        self.link.go("connecting", "lost")
        self.assert_ready(True, "the broker is away: lost")
        self.clock.advance(15)
        self.assert_ready(True, "away")
        self.clock.advance(0.1)
        self.assert_ready(False, "away for 15 s")

    def test_failed_attempts_do_not_start_the_period_anew(self) -> None:
        self.link.go("ready")
        for _ in range(10):
            self.link.go("connecting")
            self.clock.advance(2)
        self.assert_ready(False, "away for 20 s")

    def test_a_link_that_is_back_is_ready(self) -> None:
        self.link.go("ready")
        self.link.go("connecting")
        self.clock.advance(20)
        self.link.go("ready")
        self.assert_ready(True, "ready")
        self.link.go("connecting")
        self.clock.advance(10)
        self.assert_ready(True, "away")

    def test_a_blocked_link_is_ready_and_says_so(self) -> None:
        self.link.go("blocked", "the broker takes no messages: low on memory")
        self.clock.advance(100)
        self.assert_ready(True, "takes no messages: low on memory")

    def test_draining_is_not_ready(self) -> None:
        self.link.go("ready")
        self.readiness.drain()
        self.assert_ready(False, "draining")

    def test_the_answer_is_one_line(self) -> None:
        self.link.go("connecting", "two\nlines")
        self.assert_ready(False, "two lines")

    def test_it_lets_the_link_go(self) -> None:
        self.readiness.stop()
        self.assertEqual(self.link.callbacks, [])
