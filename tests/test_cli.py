"""The twbridge command."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from twbridge import __version__
from twbridge.cli import main
from twbridge.daemon.loading import load
from twbridge.settings import Settings


class CommandTestCase(SynchronousTestCase):
    """Runs the command in this process."""

    def run_command(self, *arguments: str, environ: dict[str, str] | None = None) -> Result:
        self.patch(os, "environ", environ or {})
        return CliRunner().invoke(main, arguments)

    def write(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(text)
        return path


class CheckTests(CommandTestCase):
    """``twbridge check FILE``."""

    def test_a_good_file_is_ok(self) -> None:
        result = self.run_command("check", self.write("[limits]\nframe = 3"))
        self.assertEqual((result.exit_code, result.stdout, result.stderr), (0, "OK\n", ""))

    def test_every_mistake_is_a_line_on_stderr_and_the_exit_code_is_1(self) -> None:
        path = self.write("[limits]\nframe = 0\nfrom = 3")
        result = self.run_command("check", path)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr.splitlines(),
            [
                f"twbridge: limits.frame ({path}) must be greater than 0, not 0",
                f"twbridge: limits.from ({path}) is not a setting; the nearest one is limits.frame",
            ],
        )

    def test_the_environment_is_left_out(self) -> None:
        result = self.run_command("check", self.write(""), environ={"AMQP_URL": "nonsense"})
        self.assertEqual(result.exit_code, 0)

    def test_a_file_that_is_not_there_is_one_line(self) -> None:
        result = self.run_command("check", "/no/such/file")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr, "twbridge: /no/such/file can't be read: No such file or directory\n"
        )


class ConfigTests(CommandTestCase):
    """``twbridge config``."""

    def test_the_defaults_are_printed_as_toml_that_means_the_same(self) -> None:
        result = self.run_command("config")
        self.assertEqual(result.exit_code, 0)
        again = load(None, {}, self.write(result.stdout)).settings
        self.assertEqual(again.model_dump(), Settings().model_dump())

    def test_every_value_says_where_it_was_set(self) -> None:
        path = self.write(
            "[limits]\nframe = 3\n[[allow]]\noperation='publish'\ndestination='/topic/a'"
        )
        result = self.run_command(
            "config",
            "--config",
            path,
            "--listen",
            "tcp:1",
            "--log-level=warn",
            environ={"RABBITMQ_TIMEOUT": "3"},
        )
        for line in (
            f"frame = 3  # {path}",
            'endpoint = "tcp:1"  # --listen',
            'level = "warn"  # --log-level',
            "timeout = 3.0  # RABBITMQ_TIMEOUT",
            f'operation = "publish"  # {path}',
            "window = 1000",
        ):
            self.assertIn(f"\n{line}\n", result.stdout)

    def test_texts_and_tables_survive(self) -> None:
        text = (
            '[[exchange]]\nname = "a\\"b\\\\ é😀"\n'
            'arguments = { "x y" = [1, true, "z"], alternate-exchange = "q" }'
        )
        result = self.run_command("config", "--config", self.write(text))
        self.assertEqual(
            tomllib.loads(result.stdout)["exchange"],
            [{**tomllib.loads(text)["exchange"][0], "type": "topic", "durable": True}],
        )

    def test_the_password_is_masked(self) -> None:
        url = "amqp://user:se%40kret@host:1/vhost"
        secret = self.write(url)
        for arguments, environ in (
            (("--amqp-url", url), None),
            (("--amqp-url-file", secret), None),
            ((), {"AMQP_URL": url}),
        ):
            result = self.run_command("config", *arguments, environ=environ)
            self.assertEqual(result.exit_code, 0)
            self.assertNotIn("kret", result.stdout)
        self.assertIn('url = "amqp://user:***@host:1/vhost"  # AMQP_URL\n', result.stdout)

    def test_mistakes_end_with_exit_code_1(self) -> None:
        result = self.run_command("config", "--embedded", "--amqp-url", "amqp://a")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"^twbridge: --amqp-url and --embedded exclude each other")

    def test_the_version_is_that_of_the_package(self) -> None:
        self.assertEqual(self.run_command("--version").stdout.split()[-1], __version__)
