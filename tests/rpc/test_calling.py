"""``twbridge call``, as far as it needs no broker."""

from __future__ import annotations

import os

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from twbridge.cli import main


class CallTests(SynchronousTestCase):
    """What it does not even try."""

    def run_command(self, *arguments: str, stdin: bytes = b"") -> Result:
        self.patch(os, "environ", {})
        return CliRunner().invoke(main, ["call", *arguments], input=stdin)

    def test_without_a_broker_it_says_so(self) -> None:
        result = self.run_command("add", "[1, 2]")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("there is no broker", result.stderr)

    def test_what_is_no_json_no_time_or_no_header_is_a_mistake(self) -> None:
        for arguments, words in (
            (["add", "{"], "'{' is not JSON"),
            (["add", "--timeout", "0"], "0"),
            (["add", "--timeout", "never"], "never"),
            (["add", "--priority", "256"], "256"),
            (["add", "--header", "a"], "'a' is not NAME=VALUE."),
            ([], "NAME"),
        ):
            result = self.run_command(*arguments)
            self.assertEqual(result.exit_code, 2)
            self.assertIn(words, result.stderr)

    def test_a_dash_is_the_json_of_stdin(self) -> None:
        for given, words in (
            (b"", "'' is not JSON"),
            (b"[1", "'[1' is not JSON"),
            (b"\xff", "is not JSON"),
        ):
            result = self.run_command("add", "-", stdin=given)
            self.assertEqual(result.exit_code, 2)
            self.assertIn(words, result.stderr)
        result = self.run_command("add", "-", "--timeout", "none", stdin=b"[1, 2]\n")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("there is no broker", result.stderr)
