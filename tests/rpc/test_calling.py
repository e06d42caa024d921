"""``twbridge call``, as far as it needs no broker."""

from __future__ import annotations

import os

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from twbridge.cli import main


class CallTests(SynchronousTestCase):
    """What it does not even try."""

    def run_command(self, *arguments: str) -> Result:
        self.patch(os, "environ", {})
        return CliRunner().invoke(main, ["call", *arguments])

    def test_without_a_broker_it_says_so(self) -> None:
        result = self.run_command("add", "[1, 2]")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("there is no broker", result.stderr)

    def test_what_is_no_json_no_time_or_no_header_is_a_mistake(self) -> None:
        for arguments, words in (
            (["add", "{"], "'{' is not JSON"),
            (["add", "--timeout", "0"], "0"),
            (["add", "--priority", "256"], "256"),
            (["add", "--header", "a"], "'a' is not NAME=VALUE."),
            ([], "NAME"),
        ):
            result = self.run_command(*arguments)
            self.assertEqual(result.exit_code, 2)
            self.assertIn(words, result.stderr)
