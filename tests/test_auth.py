"""Who a client is: turns, what is remembered, files of users, and what the settings choose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bcrypt
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twbridge.auth import checker, htpasswd, logins
from twbridge.auth.htpasswd import Users, read
from twbridge.auth.logins import MAX_PASSWORD, MAX_USER, Logins
from twbridge.auth.sources import FileSource
from twbridge.errors import Busy, NotReady, SettingsError, TooMany, Unauthenticated
from twbridge.link.uri import Parameters
from twbridge.settings import Auth, Settings

#: What htpasswd 2.4 writes: alice:secret with -B, long:xxx... (80 of them) with -BC 4.
ALICE = "alice:$2y$05$kOwp.QEgkPb2/T.BxnUdlOsW9gtr1XFavFN8UkFhKQvth2f30RxPa"
LONG = "long:$2y$04$ppdk6qzllE4.VOOtAJlN2OGgB2JOVP8cbOVhppkbx.pzu6XXsnCS."
#: alice:secret with -m, -s, -2, -5, -d and -p.
OTHERS = {
    "alice:$apr1$eI5nQnle$Unrm75sEYeLvasjQWq88e.": "an MD5 hash",
    "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=": "a SHA-1 hash",
    "a:$5$DhZ2hH9kB8Mjjhop$PPvJ9vItqgJu8/AFQz6TZKA4N35hVgAqp/PLNjXUTkA": "a SHA-256 hash",
    "a:$6$/hjoyjxIlN1o6svr$yAS.CQ6M51SFpZ5WZe2SXL5": "a SHA-512 hash",
    "alice:SW/AecafMp2Ek": "plain text or a hash that is not known",
    "alice:secret": "plain text or a hash that is not known",
}
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
        self.check("é" * (MAX_USER // 2), "x" * MAX_PASSWORD)
        self.assertEqual(len(self.source.asked), 1)
        self.source.answers[0].callback(False)

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
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        found: list[Any] = []
        for outcome in (False, NotReady("away"), ValueError("bug")):
            answer = self.check()
            self.assertNotIn(SECRET, repr(vars(self.logins)))
            last = self.source.answers[-1]
            last.errback(outcome) if isinstance(outcome, Exception) else last.callback(outcome)
            found.append(self.failureResultOf(answer))
        found.append(self.failureResultOf(self.check("alice", f"{SECRET}\udcff")))
        for failure in found:
            error = failure.value
            for text in (str(error), repr(error), error.public, failure.getTraceback()):
                self.assertNotIn(SECRET, text)
            self.assertIsNone(error.__context__)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertNotIn(SECRET, repr(lines))


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


class FileCase(SynchronousTestCase):
    """Writes files."""

    def setUp(self) -> None:
        self.path = Path(os.path.abspath(self.mktemp()))
        self._age = 0

    def write(self, *lines: str, end: str = "\n") -> Path:
        """A file that is newer than what was there, whatever the clock's steps are."""
        self.path.write_bytes(end.join([*lines, ""]).encode())
        self._age += 1
        os.utime(self.path, (self._age, self._age))
        return self.path

    def mistake(self, *lines: str) -> str:
        """The one line about it, which quotes no line of the file."""
        error = self.assertRaises(SettingsError, read, self.write(*lines))
        text = str(error)
        self.assertNotIn("\n", text)
        for line in lines:
            for part in line.split(":"):
                self.assertNotIn(f" {part} ", f"{text} ".replace(str(self.path), "FILE"))
        return text.replace(str(self.path), "FILE")


class HtpasswdTests(FileCase):
    """The file."""

    def test_it_is_what_htpasswd_writes(self) -> None:
        found = read(self.write(ALICE, "", LONG, ""))
        self.assertEqual(list(found), ["alice", "long"])
        self.assertTrue(bcrypt.checkpw(b"secret", found["alice"]))

    def test_comments_line_ends_and_a_byte_order_mark_are_nobody(self) -> None:
        lines = ("\ufeff# users: all of them", "  ", f"{ALICE}:a comment: of hers ")
        self.assertEqual(list(read(self.write(*lines, end="\r\n"))), ["alice"])
        self.assertEqual(list(read(self.write(f"\ufeff{ALICE}"))), ["alice"])

    def test_every_kind_and_cost_of_bcrypt_is_taken(self) -> None:
        rest = ALICE[len("alice:$2y$05") :]
        for kind in "aby":
            for cost in (4, 10, 17):
                hashed = f"$2{kind}${cost:02}{rest}"
                self.assertEqual(read(self.write(f"x:{hashed}")), {"x": hashed.encode()})

    def test_other_hashes_are_refused_and_named_with_their_line(self) -> None:
        for line, kind in OTHERS.items():
            self.assertEqual(
                self.mistake("# users", LONG, line),
                f"line 3 of FILE has {kind}; only bcrypt is taken: use htpasswd -B",
            )

    def test_a_bcrypt_hash_that_is_not_whole_is_refused(self) -> None:
        for line in (ALICE[:-1], f"{ALICE}x", ALICE.replace("$2y", "$2x"), f"{ALICE[:-1]}b"):
            self.assertEqual(
                self.mistake(line), "line 1 of FILE has a bcrypt hash that is not whole"
            )

    def test_a_cost_that_bcrypt_does_not_have_or_that_takes_minutes_is_refused(self) -> None:
        for cost in ("03", "18", "31", "99"):
            line = ALICE.replace("$05$", f"${cost}$")
            self.assertEqual(
                self.mistake(line), "line 1 of FILE has a bcrypt cost that is not 4 to 17"
            )

    def test_other_mistakes_name_their_line_too(self) -> None:
        form = 'must be "name:hash", as htpasswd -B writes it'
        for lines, text in (
            (("hunter2",), f"line 1 of FILE {form}"),
            ((LONG, ":x"), f"line 2 of FILE {form}"),
            ((LONG, ALICE, LONG), "line 3 of FILE names the same user as line 1"),
            ((), "names no user: FILE"),
            (("# nobody",), "names no user: FILE"),
        ):
            self.assertEqual(self.mistake(*lines), text)

    def test_a_file_that_can_not_be_read_says_why(self) -> None:
        self.assertEqual(
            str(self.assertRaises(SettingsError, read, self.path)),
            f"can't be read: No such file or directory: {self.path}",
        )
        self.path.write_bytes(b"a:\xff")
        self.assertIn("is not UTF-8", str(self.assertRaises(SettingsError, read, self.path)))
        self.path.write_bytes(b"#" * (htpasswd.MAX_BYTES + 1))
        self.assertIn("more than", str(self.assertRaises(SettingsError, read, self.path)))
        self.assertIn("can't be read", str(self.assertRaises(SettingsError, read, Path("/"))))

    @given(st.binary(max_size=200))
    @example(ALICE.encode())
    @example(f"{ALICE}\n\n".encode())
    def test_any_bytes_are_users_or_one_line(self, data: bytes) -> None:
        self.setUp()
        self.path.write_bytes(data)
        try:
            found = read(self.path)
        except SettingsError as error:
            self.assertNotIn("\n", str(error))
        else:
            for hashed in found.values():
                bcrypt.checkpw(b"", hashed)  # is no error

    @given(st.sampled_from("aby"), st.text("./Aa0Zz9", min_size=53, max_size=53))
    def test_bcrypt_can_read_every_hash_that_is_taken(self, kind: str, rest: str) -> None:
        self.setUp()
        try:
            found = read(self.write(f"x:$2{kind}$04${rest}"))
        except SettingsError:
            return
        self.assertFalse(bcrypt.checkpw(b"", found["x"]))


class UsersTests(FileCase):
    """The file while the bridge runs."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if str(event.get("log_namespace")).startswith("twbridge.auth"):
            self.lines.append(event["log_format"].format(**event))

    def test_it_is_read_again_when_it_has_changed(self) -> None:
        users = Users(self.write(ALICE))
        self.assertEqual((users.epoch, list(users.hashes)), (0, ["alice"]))
        self.write(ALICE, LONG)
        self.assertEqual((users.epoch, users.epoch), (1, 1))
        self.assertEqual(list(users.hashes), ["alice", "long"])
        self.assertEqual(self.lines, [f"auth.file was read again: {self.path}"])

    def test_a_file_that_was_replaced_has_changed(self) -> None:
        users = Users(self.write(ALICE))
        new = self.path.with_suffix(".new")
        new.write_text(ALICE.replace("alice", "carol") + "\n")
        os.utime(new, (1, 1))
        new.replace(self.path)
        self.assertEqual(users.epoch, 1)
        self.assertEqual(list(users.hashes), ["carol"])

    def test_a_file_that_became_wrong_is_logged_once_and_changes_nothing(self) -> None:
        users = Users(self.write(ALICE))
        for _ in range(2):
            self.write(ALICE, "bob:hunter2")
            self.assertEqual((users.epoch, users.epoch), (0, 0))
        self.path.unlink()
        self.assertEqual((users.epoch, users.epoch), (0, 0))
        self.assertEqual(list(users.hashes), ["alice"])
        self.assertEqual(len(self.lines), 3)
        for line in self.lines:
            self.assertTrue(line.endswith("; the users stay as they were"), line)
            self.assertNotIn("hunter2", line)
        self.write(LONG)
        self.assertEqual((users.epoch, list(users.hashes)), (1, ["long"]))

    def test_a_mistake_at_start_is_one(self) -> None:
        self.assertRaises(SettingsError, Users, self.path)


class FileSourceTests(FileCase):
    """Whether somebody is in the file."""

    def source(self, *lines: str) -> FileSource:
        self.compared: list[bytes] = []

        def in_thread(function: Any, secret: bytes, hashed: bytes) -> Deferred[bool]:
            self.assertIs(function, bcrypt.checkpw)
            self.compared.append(hashed)
            return maybeDeferred(function, secret, hashed)

        return FileSource(self.write(*lines), in_thread)

    def ask(self, source: FileSource, user: str, password: str) -> bool:
        return self.successResultOf(source.ask(user, password, 10.0))

    def test_a_user_has_one_password(self) -> None:
        source = self.source(ALICE, LONG)
        self.assertIs(self.ask(source, "alice", "secret"), True)
        for user, password in (("alice", "Secret"), ("Alice", "secret"), ("long", "secret")):
            self.assertIs(self.ask(source, user, password), False)

    def test_bytes_that_bcrypt_does_not_read_count_for_nothing(self) -> None:
        source = self.source(LONG)
        for length, right in ((80, True), (72, True), (71, False)):
            self.assertIs(self.ask(source, "long", "x" * length), right)

    def test_a_user_that_does_not_exist_is_as_much_work(self) -> None:
        source = self.source(ALICE, LONG)
        costs = {ALICE.partition(":")[2].encode(), LONG.partition(":")[2].encode()}
        used = set()
        for name in range(20):
            self.compared.clear() if hasattr(self, "compared") else None
            for _ in range(2):
                self.assertIs(self.ask(source, f"nobody{name}", "secret"), False)
            self.assertEqual(len(self.compared), 2)
            self.assertEqual(len(set(self.compared)), 1)  # always the same time for one name
            used.update(self.compared)
        self.assertEqual(used, costs)  # and not one time for all of them

    def test_the_password_of_the_one_in_whose_place_it_stands_is_wrong_too(self) -> None:
        self.assertIs(self.ask(self.source(ALICE), "nobody", "secret"), False)

    def test_a_change_counts_from_the_next_login(self) -> None:
        source = self.source(ALICE)
        self.write(LONG)
        self.assertEqual(source.epoch, 1)
        self.assertIs(self.ask(source, "alice", "secret"), False)
        self.assertIs(self.ask(source, "long", "x" * 80), True)


class CheckerTests(FileCase):
    """What the settings choose."""

    def test_without_a_method_nobody_logs_in(self) -> None:
        self.assertIsNone(checker(Settings(), Clock()))

    def test_a_file_must_be_there_and_right(self) -> None:
        for auth, text in (
            (Auth(method="file"), 'auth.method = "file" needs auth.file, the file of users'),
            (Auth(method="file", file=self.path), f"auth.file: can't be read: No .*: {self.path}"),
        ):
            error = self.assertRaises(SettingsError, checker, Settings(auth=auth), Clock())
            self.assertRegex(str(error), f"^{text}$")

    def test_the_broker_is_that_of_the_settings_or_the_one_that_is_given(self) -> None:
        settings = Settings(auth=Auth(method="amqp"))
        error = self.assertRaises(SettingsError, checker, settings, Clock())
        self.assertIn("amqp.url", str(error))
        self.assertIsNotNone(checker(settings, Clock(), Parameters()))

    def test_guest_with_its_first_password_is_for_this_machine_where_a_broker_is_asked(
        self,
    ) -> None:
        found = checker(Settings(auth=Auth(method="amqp")), Clock(), Parameters())
        assert found is not None
        self.failureResultOf(found.check("guest", "guest"), Unauthenticated)
