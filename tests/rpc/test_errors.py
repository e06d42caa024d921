"""What the errors of calls say, to code and to browsers."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twbridge import errors, rpc
from twbridge.errors import (
    BadArguments,
    BadBody,
    BadTask,
    CallCancelled,
    CallError,
    CallLost,
    CallTimeout,
    ExpirationError,
    LoadError,
    PublicError,
    TaskError,
    TwbridgeError,
    UnknownTask,
)
from twbridge.rpc.names import check_task_name

#: Every error of a call: its code, its text, and what a browser reads.
CALLS: tuple[tuple[CallError, str, str, str], ...] = (
    (
        UnknownTask("add"),
        "not_found",
        "no worker has ever served the task 'add'",
        "There is no such task.",
    ),
    (
        ExpirationError("add", "expired", 3.004, 3.0),
        "call_expired",
        "no worker took the call of 'add' within 3 s: expired, after 3 s",
        "No worker took the call in time.",
    ),
    (
        CallTimeout("add", 0.5),
        "timeout",
        "the task 'add' did not end within 0.5 s",
        "The task did not end in time.",
    ),
    (
        CallCancelled("add"),
        "cancelled",
        "the call of 'add' was cancelled",
        "The call was cancelled.",
    ),
    (
        CallLost("add", "the broker went"),
        "unknown",
        "the call of 'add' was lost: the broker went",
        "The call was lost on its way; it may have run.",
    ),
    (
        TaskError("add", "KeyError", "'secret'", "Traceback..."),
        "worker_error",
        "KeyError: 'secret'",
        "The task failed.",
    ),
    (TaskError("add", "KeyError", ""), "worker_error", "KeyError", "The task failed."),
    (
        TaskError("add", "PublicError", "No seats left.", public=True),
        "worker_error",
        "PublicError: No seats left.",
        "No seats left.",
    ),
    (
        CallTimeout("add", 1.0234, by_worker=True),
        "timeout",
        "the task 'add' was stopped at its own timeout, after 1.02 s",
        "The task did not end in time.",
    ),
    (
        BadArguments("add", "TypeError", "missing a required argument: 'secret'"),
        "worker_error",
        "TypeError: missing a required argument: 'secret'",
        "The body is not what the task takes.",
    ),
)


def tree() -> Iterator[type[TwbridgeError]]:
    """Every class of the module."""
    for _, each in inspect.getmembers(errors, inspect.isclass):
        if issubclass(each, TwbridgeError):
            yield each


class CallErrorsTests(SynchronousTestCase):
    """One class for each end that a call can come to."""

    def test_each_has_a_code_a_text_and_a_sentence_for_browsers(self) -> None:
        for error, code, text, public in CALLS:
            self.assertEqual((error.code, str(error), error.public), (code, text, public))
            self.assertEqual(error.task, "add")

    def test_an_expiration_tells_reason_time_and_expiration(self) -> None:
        error = ExpirationError("add", "expired", 3.004, 3.0)
        self.assertEqual((error.reason, error.time, error.expiration), ("expired", 3.004, 3.0))

    def test_a_failure_of_a_task_tells_what_the_worker_told(self) -> None:
        error = TaskError("add", "KeyError", "'a'", "Traceback...")
        self.assertEqual(
            (error.type, error.message, error.traceback, error.is_public),
            ("KeyError", "'a'", "Traceback...", False),
        )

    def test_a_timeout_is_pythons_too(self) -> None:
        with self.assertRaises(builtins.TimeoutError):
            raise CallTimeout("add", 3.0)
        self.assertEqual(CallTimeout("add", 3.0).timeout, 3.0)

    def test_a_public_error_is_for_all_to_read(self) -> None:
        error = PublicError("No seats left.")
        self.assertEqual((error.public, error.code), ("No seats left.", "worker_error"))

    def test_a_body_that_can_not_be_read_tells_browsers_no_details(self) -> None:
        error = BadBody("the body is not valid pickle: no module named secret")
        self.assertNotIn("secret", error.public)
        self.assertIsInstance(error, ValueError)

    def test_a_name_that_no_task_has_is_a_bad_destination(self) -> None:
        error = self.assertRaises(BadTask, check_task_name, "a" * 201)
        self.assertEqual(error.code, "bad_destination")
        self.assertEqual(error.public, "the name of a task has 1 to 200 bytes, and this one 201")

    def test_tasks_that_can_not_be_loaded_keep_the_traceback(self) -> None:
        error = LoadError("no module named 'tasks'", "Traceback...")
        self.assertEqual((str(error), error.traceback), ("no module named 'tasks'", "Traceback..."))


class DocumentTests(SynchronousTestCase):
    """The table of errors in ``docs/rpc.md``."""

    def test_each_error_is_exported_and_has_the_code_that_it_says(self) -> None:
        document = (Path(__file__).parent.parent.parent / "docs" / "rpc.md").read_text()
        table = document.split("| error (`twbridge.rpc`)", 1)[1].split("\n\n", 1)[0]
        found = 0
        for row in table.splitlines()[2:]:
            names, codes = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:3])
            found += len(names)
            for number, name in enumerate(names):
                self.assertIn(name, rpc.__all__)
                self.assertEqual(getattr(rpc, name).code, codes[min(number, len(codes) - 1)])
        self.assertGreaterEqual(found, 12)


class TreeTests(SynchronousTestCase):
    """The drawing in the module's docstring is the truth."""

    def test_every_error_is_drawn_under_its_parent(self) -> None:
        drawn: dict[str, str] = {}
        above: list[tuple[int, str]] = []
        for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
            found = re.match(r"([ │├└─]*)([A-Z]\w+Error|[A-Z]\w+)(?= |$)", line)
            if found is None or not (found[1].endswith("─ ") or found[2] == "TwbridgeError"):
                continue
            depth = len(found[1])
            above = [each for each in above if each[0] < depth]
            if above:
                drawn[found[2]] = above[-1][1]
            above.append((depth, found[2]))
        expected = {
            each.__name__: each.__bases__[0].__name__
            for each in tree()
            if each is not TwbridgeError
        }
        self.assertEqual(drawn, expected)
