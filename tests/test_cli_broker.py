"""How the commands that talk to the broker find it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from twbridge.cli.broker import Broker, find, with_broker
from twbridge.daemon.loading import Mistakes

SECRET = "amqp://me:s3cret@a.example"
CLEAN = {name: None for name in os.environ if name.startswith(("TWBRIDGE_", "AMQP_", "RABBITMQ_"))}


@click.command()
@click.option("--loud", is_flag=True)
@with_broker
def where(broker: Broker, loud: bool) -> None:
    """Say where the broker is."""
    click.echo(f"{broker}{'!' if loud else ''}")


class BrokerOptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_it(self, *arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(where, arguments, env={**CLEAN, **environ})

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def test_a_flag_comes_before_the_environment_and_the_file(self) -> None:
        config = self.file("bridge.toml", '[amqp]\nurl = "amqp://c.example"\n')
        both = {"AMQP_URL": "amqp://b.example"}
        for arguments, environ, host in (
            (["--amqp-url", SECRET, "--config", config], both, "a"),
            (["--config", config], both, "b"),
            (["--config", config], {}, "c"),
        ):
            result = self.run_it(*arguments, **environ)
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn(f"{host}.example:5672", result.output)

    def test_a_file_may_hold_the_url(self) -> None:
        path = self.file("url", f"{SECRET}\n")
        result = self.run_it("--loud", "--amqp-url-file", path)
        self.assertEqual(result.output, "amqp://me@a.example:5672/%2F!\n")

    def test_no_broker_is_one_line_and_exit_code_1(self) -> None:
        result = self.run_it()
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.output.count("\n"), 1)
        self.assertIn("there is no broker: name one with --amqp-url URL", result.output)

    def test_mistakes_are_a_line_each_without_the_password(self) -> None:
        result = self.run_it("--amqp-url", "http://me:s3cret@a.example")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("--amqp-url", result.output)
        self.assertNotIn("s3cret", result.output)
        self.assertNotIn("Traceback", result.output)

    def test_a_flag_comes_before_the_embedded_broker_of_the_bridge(self) -> None:
        result = self.run_it("--amqp-url", SECRET, TWBRIDGE_EMBEDDED_ENABLED="true")
        self.assertEqual(result.exit_code, 0, result.output)

    def test_the_password_is_in_the_url_and_in_no_text(self) -> None:
        found: Any = find({"amqp-url": SECRET}, {})
        self.assertEqual(found.url, SECRET)
        self.assertNotIn("s3cret", repr(found) + str(found))

    def test_the_settings_of_the_link_are_those_of_the_bridge(self) -> None:
        found: Any = find({"amqp-url": SECRET}, {"AMQP_TIMEOUT": "3"})
        self.assertEqual(found.amqp.timeout, 3.0)
        with self.assertRaises(Mistakes):
            find({"amqp-url": SECRET}, {"TWBRIDGE_AMQP_TIMEOUT": "-3"})
