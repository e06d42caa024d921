"""Files of users, and what the settings choose."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bcrypt
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from twbridge.auth import checker, htpasswd
from twbridge.auth.htpasswd import Users, read
from twbridge.auth.sources import FileSource
from twbridge.errors import SettingsError, Unauthenticated
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


def lines_of(events: Iterable[LogEvent]) -> list[str]:
    """The log lines."""
    return [event["log_format"].format(**event) for event in events]


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
                if len(part) > 5:
                    self.assertNotIn(part, text.replace(str(self.path), "FILE"))
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

    def test_it_is_read_again_when_it_has_changed(self) -> None:
        users = Users(self.write(ALICE))
        self.assertEqual((users.epoch, list(users.hashes)), (0, ["alice"]))
        self.write(ALICE, LONG)
        with capturedLogs() as events:
            self.assertEqual((users.epoch, users.epoch), (1, 1))
        self.assertEqual(list(users.hashes), ["alice", "long"])
        self.assertEqual(lines_of(events), [f"auth.file was read again: {self.path}"])

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
        with capturedLogs() as events:
            for _ in range(2):
                self.write(ALICE, "bob:hunter2")
                self.assertEqual((users.epoch, users.epoch), (0, 0))
            self.path.unlink()
            self.assertEqual((users.epoch, users.epoch), (0, 0))
        self.assertEqual(list(users.hashes), ["alice"])
        lines = lines_of(events)
        self.assertEqual(len(lines), 3)
        for line in lines:
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
            self.compared.clear()
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
