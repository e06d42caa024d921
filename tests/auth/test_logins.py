"""Logins: turns, what is remembered, and what a client is told."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from twbridge.auth import logins
from twbridge.auth.logins import MAX_PASSWORD, MAX_USER, Logins
from twbridge.errors import Busy, NotReady, TooMany, Unauthenticated

SECRET = "correct horse"


class FakeSource:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.epoch = 0
        self.asked: list[tuple[str, str, float]] = []
        self.answers: list[Deferred[bool]] = []
        self.at_once: bool | Exception | None = None

    def ask(self, user: str, password: str, seconds: float) -> Deferred[bool]:
        self.asked.append((user, password, seconds))
        if isinstance(self.at_once, Exception):
            raise self.at_once
        if self.at_once is not None:
            return succeed(self.at_once)
        self.answers.append(Deferred())
        return self.answers[-1]

    @property
    def users(self) -> list[str]:
        return [user for user, _, _ in self.asked]


class LoginsCase(SynchronousTestCase):
    """Logins over a source that the test answers for."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.source = FakeSource()
        self.logins = self.make()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def make(self, **options: Any) -> Logins:
        chosen: Any = {"remember": 60.0, "timeout": 10.0, "parallel": 2, "waiting": 3} | options
        return Logins(self.clock, self.source, **chosen)

    def check(self, user: str = "alice", password: str = SECRET) -> Deferred[str]:
        return self.logins.check(user, password)

    def passes(self, user: str = "alice", password: str = SECRET) -> None:
        """A login that is right now."""
        self.source.at_once = True
        self.assertEqual(self.successResultOf(self.check(user, password)), user)
        self.source.at_once = None


class AnswerTests(LoginsCase):
    """What comes of one login."""

    def test_a_user_is_who_the_source_says(self) -> None:
        answer = self.check()
        self.assertNoResult(answer)
        self.assertEqual(self.source.asked, [("alice", SECRET, 10.0)])
        self.source.answers[0].callback(True)
        self.assertEqual(self.successResultOf(answer), "alice")
        self.assertEqual(self.logins.busy, 0)

    def test_a_wrong_one_is_unauthenticated(self) -> None:
        answer = self.check()
        self.source.answers[0].callback(False)
        error = self.failureResultOf(answer, Unauthenticated).value
        self.assertEqual((error.code, error.close_code), ("unauthenticated", 4501))
        self.assertEqual(error.public, "The user name or the password is wrong.")

    def test_a_source_that_can_not_be_asked_refuses_nobody(self) -> None:
        answer = self.check()
        self.source.answers[0].errback(NotReady("away"))
        self.failureResultOf(answer, NotReady)

    def test_a_source_that_breaks_is_logged_and_refuses_nobody(self) -> None:
        for how in (ValueError("bug"), None):
            self.source.at_once = how
            answer = self.check()
            if how is None:
                self.source.answers[0].errback(ValueError("bug"))
            self.assertNotIn("bug", str(self.failureResultOf(answer, NotReady).value))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.logins.busy, 0)

    def test_who_sends_none_is_told_what_is_missing(self) -> None:
        for user, password in ((None, None), ("alice", None), (None, SECRET)):
            error = self.failureResultOf(self.logins.check(user, password), Unauthenticated).value
            self.assertEqual(error.public, "A user name and a password are required.")
        self.assertEqual(self.source.asked, [])

    def test_what_nobody_can_have_is_not_asked_for(self) -> None:
        for user, password in (
            ("", SECRET),
            ("alice", ""),
            ("alice\0guest", SECRET),
            ("alice", "a\0b"),
            ("\ud800", SECRET),
            ("alice", "\udcff"),
            ("x" * (MAX_USER + 1), SECRET),
            ("é" * (MAX_USER // 2 + 1), SECRET),
            ("alice", "x" * (MAX_PASSWORD + 1)),
        ):
            self.failureResultOf(self.check(user, password), Unauthenticated)
        self.assertEqual(self.source.asked, [])
        self.passes("é" * (MAX_USER // 2), "x" * MAX_PASSWORD)

    def test_a_password_that_everybody_knows_is_for_this_machine_only(self) -> None:
        self.logins = self.make(local_only=("guest", "guest"))
        self.source.at_once = True
        for _ in range(2):
            error = self.failureResultOf(self.check("guest", "guest"), Unauthenticated).value
            self.assertIn("own machine", error.public)
            here = self.logins.check("guest", "guest", local=True)
            self.assertEqual(self.successResultOf(here), "guest")
        self.assertEqual(self.successResultOf(self.check("guest", "other")), "guest")

    def test_no_error_and_no_log_line_holds_the_password(self) -> None:
        found: list[Any] = []
        with capturedLogs() as events:
            self.fail_in_all_ways(found)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(events), 1)
        self.assertNotIn(SECRET, repr(events))
        for failure in found:
            error = failure.value
            for text in (str(error), repr(error), error.public, failure.getTraceback()):
                self.assertNotIn(SECRET, text)
            self.assertIsNone(error.__context__)

    def fail_in_all_ways(self, found: list[Any]) -> None:
        for outcome in (False, NotReady("away"), ValueError("bug")):
            answer = self.check()
            self.assertNotIn(SECRET, repr(vars(self.logins)))
            last = self.source.answers[-1]
            last.errback(outcome) if isinstance(outcome, Exception) else last.callback(outcome)
            found.append(self.failureResultOf(answer))
        found.append(self.failureResultOf(self.check("alice", f"{SECRET}\udcff")))


class RememberTests(LoginsCase):
    """What was right is not asked again for a while."""

    def test_for_so_long_after_it_was_checked(self) -> None:
        self.passes()
        for _ in range(59):
            self.clock.advance(1)
            self.assertEqual(self.successResultOf(self.check()), "alice")
        self.assertEqual(len(self.source.asked), 1)
        self.clock.advance(1)  # being used has not made it longer
        self.assertNoResult(self.check())
        self.source.answers[0].callback(True)

    def test_only_the_same_name_with_the_same_password(self) -> None:
        self.passes("ab", "c")
        for user, password in (("ab", "C"), ("a", "bc"), ("Ab", "c"), ("abc", "c")):
            answer = self.check(user, password)
            self.assertNoResult(answer)
            self.source.answers.pop().callback(False)
            self.failureResultOf(answer, Unauthenticated)

    def test_a_refusal_is_not_remembered(self) -> None:
        self.source.at_once = False
        self.failureResultOf(self.check(), Unauthenticated)
        self.passes()

    def test_a_thousand_clients_of_one_account_are_one_question(self) -> None:
        answers = [self.check() for _ in range(500)]
        self.source.answers[0].callback(True)
        answers += [self.check() for _ in range(500)]
        self.assertEqual([self.successResultOf(each) for each in answers], ["alice"] * 1000)
        self.assertEqual(len(self.source.asked), 1)

    def test_those_that_wait_share_a_refusal_too(self) -> None:
        answers = [self.check() for _ in range(3)]
        self.source.answers[0].callback(False)
        for each in answers:
            self.failureResultOf(each, Unauthenticated)
        self.assertEqual(len(self.source.asked), 1)

    def test_all_is_forgotten_when_the_source_has_changed(self) -> None:
        self.passes()
        self.source.epoch += 1
        answer = self.check()
        self.source.answers[0].callback(False)
        self.failureResultOf(answer, Unauthenticated)

    def test_an_answer_of_before_the_change_is_not_remembered(self) -> None:
        before = self.check()
        self.source.epoch += 1
        after = self.check()
        self.source.answers[0].callback(True)
        self.assertEqual(self.successResultOf(before), "alice")
        self.assertNoResult(after)
        self.source.answers[1].callback(False)
        self.failureResultOf(after, Unauthenticated)
        self.failureResultOf(self._again(), Unauthenticated)

    def _again(self) -> Deferred[str]:
        answer = self.check()
        self.source.answers[2].callback(False)
        return answer

    def test_it_may_be_off(self) -> None:
        self.logins = self.make(remember=0.0)
        self.passes()
        self.passes()
        self.assertEqual(len(self.source.asked), 2)

    def test_the_oldest_is_forgotten_when_there_are_too_many(self) -> None:
        self.patch(logins, "MAX_REMEMBERED", 2)
        for user in ("a", "b", "a", "c", "d"):
            self.passes(user)
        self.assertEqual(self.source.users, ["a", "b", "c", "d"])
        for user in ("c", "d"):
            self.assertEqual(self.successResultOf(self.check(user)), user)
        self.passes("a")
        self.assertEqual(self.source.users[4:], ["a"])

    def test_what_is_kept_holds_no_password(self) -> None:
        self.passes()
        kept = repr(vars(self.logins)) + repr(vars(self.logins._known))
        self.assertNotIn(SECRET, kept)
        self.assertNotIn("alice", kept)


class TurnTests(LoginsCase):
    """So many at a time, so many that wait, for so long."""

    def users(self, *names: str) -> list[Deferred[str]]:
        return [self.check(name) for name in names]

    def test_so_many_are_asked_at_a_time_in_their_order(self) -> None:
        waiting = self.users("a", "b", "c", "d")
        self.assertEqual(self.source.users, ["a", "b"])
        self.source.answers[1].callback(True)
        self.assertEqual(self.source.users, ["a", "b", "c"])
        self.source.answers[0].callback(False)
        self.source.answers[2].callback(True)
        self.source.answers[3].callback(True)
        self.failureResultOf(waiting[0], Unauthenticated)
        self.assertEqual([self.successResultOf(each) for each in waiting[1:]], ["b", "c", "d"])

    def test_past_the_queue_they_are_refused_for_now(self) -> None:
        waiting = self.users(*"abcde")
        error = self.failureResultOf(self.check("f"), TooMany).value
        self.assertIs(type(error), Busy)
        self.assertEqual((error.code, error.close_code), ("too_many", 1013))
        waiting.append(self.check("e"))  # no question more
        for each in range(5):
            self.source.answers[each].callback(True)
        for deferred in waiting:
            self.successResultOf(deferred)

    def test_a_turn_that_does_not_come_in_time_is_refused_for_now(self) -> None:
        first = self.users("a", "b")
        self.clock.advance(4)
        late = self.users("c", "d")
        self.clock.advance(9)
        self.source.answers[0].callback(True)
        self.assertEqual(self.source.asked[2][2], 1.0)  # what is left
        self.clock.advance(1)
        self.failureResultOf(late[1], Busy)
        self.assertNoResult(first[1])
        for each in (1, 2):
            self.source.answers[each].callback(True)
        self.assertEqual(self.successResultOf(late[0]), "c")
        self.assertEqual(self.source.users, ["a", "b", "c"])

    def test_what_nobody_waits_for_any_more_is_not_asked(self) -> None:
        waiting = [*self.users(*"abcd"), self.check("d")]
        for each in (waiting[2], waiting[3]):
            each.addErrback(lambda _: None)
            each.cancel()
        self.assertEqual(self.logins.busy, 3)
        waiting[0].addErrback(lambda _: None)
        waiting[0].cancel()
        self.assertEqual(self.source.users, ["a", "b"])  # one under way keeps its place
        self.source.answers[0].callback(True)
        self.assertEqual(self.source.users, ["a", "b", "d"])
        for each in (1, 2):  # type: ignore[assignment]
            self.source.answers[each].callback(True)  # type: ignore[call-overload]
        self.assertEqual(self.successResultOf(waiting[4]), "d")

    def test_one_that_cancels_another_while_it_is_told_does_no_harm(self) -> None:
        first, second = self.check(), self.check()
        second.addErrback(lambda _: "cancelled")
        first.addCallback(lambda _: second.cancel())
        self.source.answers[0].callback(True)
        self.assertEqual(self.successResultOf(second), "cancelled")

    def test_a_long_queue_with_answers_at_once_is_no_deep_recursion(self) -> None:
        self.logins = self.make(parallel=1, waiting=5000)
        waiting = self.users(*(f"user{each}" for each in range(5000)))
        self.source.at_once = False
        self.source.answers[0].callback(True)
        self.successResultOf(waiting[0])
        for each in waiting[1:]:
            self.failureResultOf(each, Unauthenticated)

    @given(st.lists(st.sampled_from(["new", "same", "yes", "no", "late", "gone", "wait"])))
    def test_whatever_happens_everybody_gets_one_answer(self, inputs: list[str]) -> None:
        self.setUp()
        waiting: list[Deferred[str]] = []
        answered: list[object] = []
        open_: list[int] = []
        for number, each in enumerate(inputs):
            if each in ("new", "same"):
                waiting.append(self.check(f"user{number if each == 'new' else 0}"))
                waiting[-1].addBoth(answered.append)
            elif each in ("yes", "no") and (open_ := self._open()):
                self.source.answers[open_[0]].callback(each == "yes")
            elif each == "late":
                self.clock.advance(10)
            elif each == "wait":
                self.clock.advance(3)
            elif each == "gone" and waiting:
                waiting[len(inputs) % len(waiting)].cancel()
            self.assertLessEqual(len(self._open()), 2)
        self.clock.advance(10)
        while open_ := self._open():
            self.source.answers[open_[0]].callback(True)
        self.assertEqual(len(answered), len(waiting))
        self.assertEqual((self.logins.busy, self.clock.getDelayedCalls()), (0, []))

    def _open(self) -> list[int]:
        return [n for n, answer in enumerate(self.source.answers) if not answer.called]
