"""The twbridge command."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from twbridge import __version__
from twbridge.cli import main
from twbridge.daemon.layers import CLIENT_VARIABLES
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


def _rules(operation: str, destination: str) -> str:
    """A rule, and one that covers the route."""
    return "".join(
        f'[[allow]]\noperation = "{operation}"\ndestination = "{destination}"\n'
        for operation, destination in (
            (operation, destination),
            ("subscribe", "/exchange/twbridge.chat/#"),
        )
    )


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

    def test_a_route_that_raw_clients_cannot_use_is_a_line_and_ok(self) -> None:
        rule = '[[allow]]\noperation = "subscribe"\ndestination = "/exchange/Y/#"\n'
        route = '[[route]]\npath = "/legacy"\nsubscribe = "/exchange/X/"\n'
        covered = '[[route]]\nsubscribe = "/exchange/Y/a.*"\n'
        line = (
            "Raw clients can't use the route /legacy: no [[allow]] rule covers subscribe "
            "/exchange/X/. JSON clients can use it, for what the rules allow\n"
        )
        path = self.write(rule + covered + route)
        result = self.run_command("check", path)
        self.assertEqual(
            (result.exit_code, result.stdout, result.stderr), (0, "OK\n", f"twbridge: {line}")
        )
        result = self.run_command("config", "--config", path)
        self.assertEqual(result.exit_code, 0)
        self.assertIn(f"# {line}", result.stdout)
        tomllib.loads(result.stdout)
        self.assertEqual(self.run_command("check", self.write(route)).stderr, "")

    def warned(self, text: str) -> list[str]:
        """The lines of a file that is OK."""
        result = self.run_command("check", self.write(text))
        self.assertEqual((result.exit_code, result.stdout), (0, "OK\n"))
        return [line.removeprefix("twbridge: ") for line in result.stderr.splitlines()]

    def test_the_chat_page_is_that_of_the_first_route(self) -> None:
        rule = '[[allow]]\noperation = "subscribe"\ndestination = "/topic/news.#"\n'
        (line,) = self.warned(rule)
        self.assertTrue(line.startswith("Raw clients and the chat page can't use the route /ws: "))
        for without in ("[http]\npage = false\n", '[[mount]]\npath = "/"\n'):
            (line,) = self.warned(rule + without)
            self.assertTrue(line.startswith("Raw clients can't use the route /ws: "), line)

    def test_rules_that_match_nothing_are_lines(self) -> None:
        refused = (("subscribe", "temp-queue"), ("publish", "task"), ("call", "queue"))
        for operation, kind in refused:
            (line,) = self.warned(_rules(operation, f"/{kind}/a"))
            text = f"allow[0].destination: {operation} /{kind}/a is refused whatever the rules say"
            self.assertEqual(line, text)
        for destination in ("/queue/j#", "/exchange/a.#/b"):
            (line,) = self.warned(_rules("publish", destination))
            self.assertRegex(
                line, r"^allow\[0\]\.destination: the # in \S+ is no wildcard in a name"
            )
        self.assertEqual(self.warned(_rules("call", "/task/math.*")), [])
        for destination in ("/queue/j%23", "/queue/j*", "/topic/#", "/exchange/a/#"):
            self.assertEqual(self.warned(_rules("publish", destination)), [])

    def test_the_vhost_with_the_empty_name_is_a_line(self) -> None:
        (line,) = self.warned('[amqp]\nurl = "amqp://user:secret@host/"')
        self.assertIn("%2F", line)
        self.assertNotIn("secret", line)
        for url in ("amqp://host", "amqp://host/%2F", "amqp://host/app"):
            self.assertEqual(self.warned(f'[amqp]\nurl = "{url}"'), [])

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

    def test_a_default_says_no_place_whatever_other_entries_say(self) -> None:
        path = self.write(
            '[[listen]]\nendpoint = "tcp:1"\norigins = ["*"]\n[[listen]]\nendpoint = "tcp:2"\n'
            '[[exchange]]\nname = "x"\n[[exchange]]\nname = "y"\ntype = "fanout"\n'
        )
        lines = self.run_command("config", "--config", path).stdout.splitlines()
        for line in (
            f'origins = ["*"]  # {path}',
            f'endpoint = "tcp:2"  # {path}',
            "origins = []",
            f'name = "x"  # {path}',
            'type = "topic"',
            f'type = "fanout"  # {path}',
        ):
            self.assertIn(line, lines)

    def test_a_place_that_another_source_took_is_not_named(self) -> None:
        path = self.write('[[listen]]\norigins = ["*"]\n[embedded]\nenabled = true')
        environ = {"TWBRIDGE_LISTEN_ENDPOINT": "tcp:3", "AMQP_URL": "amqp://h"}
        lines = self.run_command("config", "--config", path, environ=environ).stdout.splitlines()
        for line in (
            "origins = []",
            'endpoint = "tcp:3"  # TWBRIDGE_LISTEN_ENDPOINT',
            "enabled = false",
        ):
            self.assertIn(line, lines)

    def test_a_list_of_a_variable_names_it_beside_what_it_says(self) -> None:
        environ = {"TWBRIDGE_ROUTE": '[{"path": "/a"}]'}
        lines = self.run_command("config", environ=environ).stdout.splitlines()
        self.assertIn('path = "/a"  # TWBRIDGE_ROUTE', lines)
        self.assertIn('on_error = "close"', lines)

    def test_the_variables_of_the_other_commands_are_no_mistakes(self) -> None:
        variables = {
            option.envvar
            for command in main.commands.values()
            for option in command.params
            if isinstance(option.envvar, str)
        }
        self.assertEqual(variables, CLIENT_VARIABLES)
        environ = dict.fromkeys(sorted(variables), "ws://bridge.example/ws")
        result = self.run_command("config", environ=environ)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertNotIn("bridge.example", result.stdout)

    def test_no_broker_is_a_line(self) -> None:
        line = "# no broker is named: twistd would refuse to start"
        self.assertEqual(self.run_command("config").stdout.splitlines()[0], line)
        for flags in (("--embedded",), ("--amqp-url", "amqp://h")):
            self.assertNotIn(line, self.run_command("config", *flags).stdout)

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


class SecondsTests(SynchronousTestCase):
    """Options that are seconds."""

    def test_what_is_no_number_of_them_is_refused(self) -> None:
        for command in (
            ["wsgi-worker", "shop:app", "--start"],
            ["worker", "shop", "--drain"],
            ["call", "add", "--timeout"],
            ["tasks", "list", "--wait"],
            ["sub", "/topic/a", "--timeout"],
        ):
            for value in ("nan", "inf", "-1"):
                said = CliRunner().invoke(main, [*command, value])
                self.assertEqual(said.exit_code, 2, said.output)
                self.assertIn(f"Invalid value for '{command[-1]}'", said.output)
