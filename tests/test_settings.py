"""Settings: their sources and order, and one clear line for every mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from twbridge.daemon import layers
from twbridge.daemon.doubts import warnings
from twbridge.daemon.layers import ALIASES, from_flags, known_keys, variable
from twbridge.daemon.loading import Loaded, Mistakes, load
from twbridge.destinations import parse
from twbridge.errors import Forbidden
from twbridge.link.uri import DEFAULT_HEARTBEAT
from twbridge.policy import Operation, Peer, Policy
from twbridge.settings import RESERVED_PATHS, Allow, Amqp, Http, Route, Settings, Stream

USERS = "alice:$2y$05$kOwp.QEgkPb2/T.BxnUdlOsW9gtr1XFavFN8UkFhKQvth2f30RxPa"
DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


class SettingsTestCase(SynchronousTestCase):
    """Loads settings, and collects mistakes."""

    def write(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(text)
        return path

    def url(self, loaded: Loaded) -> str | None:
        secret = loaded.settings.amqp.url
        return secret.get_secret_value() if secret else None

    def mistakes(
        self,
        text: str | None = None,
        environ: dict[str, str] | None = None,
        flags: dict[str, object] | None = None,
    ) -> list[str]:
        """Every mistake; each is one line."""
        path = self.write(text) if text is not None else None
        error = self.assertRaises(Mistakes, load, from_flags(flags or {}), environ, path)
        for line in error.lines:
            self.assertNotIn("\n", line)
        self.assertEqual("\n".join(error.lines), str(error))
        return [line.replace(path, "FILE") if path else line for line in error.lines]


class OrderTests(SettingsTestCase):
    """Flag over environment over file over default."""

    def test_the_broker_comes_from_the_first_source_that_names_one(self) -> None:
        secret = self.write(" amqp://from-flag-file \n")
        text = '[amqp]\nurl = "amqp://file"'
        flags: dict[str, object] = {"amqp-url": "amqp://flag", "amqp-url-file": secret}
        environ = {
            "TWBRIDGE_AMQP_URL": "amqp://own",
            "AMQP_URL": "amqp://common",
            "RABBITMQ_URL": "amqp://rabbit",
        }
        path = self.write(text)
        hosts = []
        for name in ["amqp-url", "amqp-url-file", *environ, None]:
            loaded = load(from_flags(flags), environ, path)
            parameters = loaded.settings.amqp.parameters()
            assert parameters is not None
            hosts.append(parameters.hosts[0][0])
            flags.pop(name, None) if name in flags else environ.pop(name or "", None)
        self.assertEqual(hosts, ["flag", "from-flag-file", "own", "common", "rabbit", "file"])

    def test_a_file_with_a_url_and_a_file_name_uses_the_url(self) -> None:
        path = self.write('[amqp]\nurl = "amqp://a"\nurl_file = "/nowhere"')
        self.assertEqual(self.url(load(None, {}, path)), "amqp://a")

    def test_a_url_file_of_the_environment_comes_before_a_url_of_the_file(self) -> None:
        secret = self.write("amqp://secret")
        path = self.write('[amqp]\nurl = "amqp://file"')
        loaded = load(None, {"TWBRIDGE_AMQP_URL_FILE": secret}, path)
        parameters = loaded.settings.amqp.parameters()
        assert parameters is not None
        self.assertEqual(parameters.hosts, (("secret", 5672),))

    def test_the_embedded_flag_comes_before_a_url_of_the_environment(self) -> None:
        for given in (True, 1):
            loaded = load(from_flags({"embedded": given}), {"AMQP_URL": "amqp://a"})
            self.assertTrue(loaded.settings.embedded.enabled)
            self.assertIsNone(loaded.settings.amqp.url)

    def test_a_url_of_the_environment_comes_before_embedded_in_the_file(self) -> None:
        path = self.write("[embedded]\nenabled = true")
        loaded = load(None, {"AMQP_URL": "amqp://a"}, path)
        self.assertFalse(loaded.settings.embedded.enabled)
        self.assertEqual(self.url(loaded), "amqp://a")

    def test_borrowed_variables_stand_between_our_own_and_the_file(self) -> None:
        path = self.write("[amqp]\ntimeout = 1\nreconnect_cap = 1\nconnection_attempts = 1")
        environ = {
            "TWBRIDGE_AMQP_TIMEOUT": "5",
            "AMQP_TIMEOUT": "4",
            "AMQP_RECONNECT_DELAY": "3",
            "RABBITMQ_RECONNECT_DELAY": "2",
            "RABBITMQ_CONNECTION_ATTEMPTS": "7",
            "RABBITMQ_CONFIRMATIONS": "no",
            "RABBITMQ_NODENAME": "not ours",
        }
        amqp = load(None, environ, path).settings.amqp
        self.assertEqual(
            (amqp.timeout, amqp.reconnect_cap, amqp.connection_attempts, amqp.confirmations),
            (5.0, 3.0, 7, False),
        )

    def test_flags_come_before_the_environment(self) -> None:
        flags = {"log-level": "debug", "listen": ["tcp:1", "tcp:2"]}
        environ = {"TWBRIDGE_LOG_LEVEL": "error", "TWBRIDGE_LISTEN_ENDPOINT": "tcp:3"}
        settings = load(from_flags(flags), environ).settings
        self.assertEqual(settings.log.level, "debug")
        self.assertEqual([each.endpoint for each in settings.listen], ["tcp:1", "tcp:2"])

    def test_an_empty_variable_is_not_set(self) -> None:
        settings = load(None, {"AMQP_URL": "", "TWBRIDGE_AMQP_TIMEOUT": ""}).settings
        self.assertEqual(settings.model_dump(), Settings().model_dump())

    def test_the_environment_may_name_the_file(self) -> None:
        path = self.write("[limits]\nfragments = 3")
        self.assertEqual(load(None, {"TWBRIDGE_CONFIG": path}).settings.limits.fragments, 3)

    def test_settings_made_directly_do_not_look_at_the_environment(self) -> None:
        self.patch(os, "environ", {"AMQP": '{"timeout": 1}', "TWBRIDGE_AMQP_TIMEOUT": "1"})
        self.assertEqual(Settings().amqp, Amqp())


class EnvironmentTests(SettingsTestCase):
    """Every key has a variable."""

    def test_every_key_can_be_set_by_its_variable(self) -> None:
        for section, name in known_keys():
            environ = {variable((section, name)): _VALUES.get((section, name), "7")}
            if name == "url_file":
                environ = {variable((section, name)): self.write("amqp://h")}
            if (section, name) == ("auth", "file"):
                environ = {variable((section, name)): self.write(USERS)}
                environ["TWBRIDGE_AUTH_METHOD"] = "file"
            if section in ("mount", "exchange", "stream", "allow"):
                for other, value in _VALUES.items():
                    if other[0] == section:
                        environ.setdefault(variable(other), value)
            loaded = load(None, environ)
            self.assertIn(variable((section, name)), loaded.places.values())
            table = getattr(loaded.settings, section)
            table = table[0] if isinstance(table, tuple) else table
            self.assertIn(name, table.model_fields_set, (section, name))

    def test_the_original_wiring_is_one_line(self) -> None:
        text = 'route = [{ publish = "/exchange/X/", subscribe = "/exchange/X/" }]'
        environ = {"TWBRIDGE_ROUTE": '[{"publish":"/exchange/X/","subscribe":"/exchange/X/"}]'}
        for loaded in (load(None, {}, self.write(text)), load(None, environ)):
            settings = loaded.settings
            self.assertEqual([route.path for route in settings.route], ["/ws"])
            self.assertEqual(settings.unlisted_exchanges(), ("X",))
            self.assertEqual(settings.exchanges(), ())

    def test_lists_are_separated_by_commas_or_written_as_json(self) -> None:
        for text in ("self, https://a.example", '["self", "https://a.example"]'):
            listen = load(None, {"TWBRIDGE_LISTEN_ORIGINS": text}).settings.listen
            self.assertEqual(listen[0].origins, ("self", "https://a.example"))

    def test_a_list_of_tables_replaces_that_of_the_file(self) -> None:
        path = self.write('[[listen]]\nendpoint = "tcp:1"\n[[listen]]\nendpoint = "tcp:2"')
        environ = {"TWBRIDGE_LISTEN_ENDPOINT": "tcp:3"}
        self.assertEqual([e.endpoint for e in load(None, environ, path).settings.listen], ["tcp:3"])


_VALUES: dict[tuple[str, str], str] = {
    ("amqp", "url"): "amqp://h",
    ("amqp", "confirmations"): "no",
    ("listen", "endpoint"): "tcp:1",
    ("listen", "origins"): "self",
    ("listen", "proxies"): "127.0.0.1,::1",
    ("route", "path"): "/x",
    ("route", "publish"): "/topic/a",
    ("route", "subscribe"): "/topic/a",
    ("route", "dialect"): "json",
    ("route", "on_error"): "ignore",
    ("route", "overflow"): "close",
    ("exchange", "name"): "x",
    ("exchange", "type"): "fanout",
    ("exchange", "durable"): "no",
    ("exchange", "arguments"): '{"alternate-exchange": "y"}',
    ("mount", "path"): "/app",
    ("stream", "name"): "x",
    ("stream", "max_age"): "7D",
    ("stream", "max_bytes"): "1000000",
    ("stream", "bindings"): "/topic/a.#, /exchange/x",
    ("allow", "operation"): "publish",
    ("allow", "destination"): "/topic/#",
    ("auth", "method"): "amqp",
    ("limits", "handshake_bytes"): "2048",
    ("http", "page"): "no",
    ("http", "api"): "no",
    ("websocket", "deflate"): "yes",
    ("embedded", "enabled"): "yes",
    ("embedded", "listen"): "127.0.0.1:0",
    ("log", "format"): "json",
    ("log", "level"): "warn",
}


class MistakeTests(SettingsTestCase):
    """Each is one line that names the key, where it was set, and what would be right."""

    def test_an_unknown_key_names_the_nearest_known_one(self) -> None:
        self.assertEqual(
            self.mistakes("[amqp]\ntimout = 3"),
            ["amqp.timout (FILE) is not a setting; the nearest one is amqp.timeout"],
        )

    def test_an_unknown_section_names_the_nearest_known_one(self) -> None:
        self.assertEqual(
            self.mistakes("[ampq]\ntimeout = 3"),
            ["ampq (in FILE) is not a setting; the nearest one is amqp"],
        )

    def test_a_key_in_the_wrong_section_names_the_right_one(self) -> None:
        self.assertEqual(
            self.mistakes("[limits]\nping_interval = 3"),
            [
                "limits.ping_interval (FILE) is not a setting; "
                "the nearest one is websocket.ping_interval"
            ],
        )

    def test_a_name_that_others_use_names_ours(self) -> None:
        for name in ALIASES:
            self.assertEqual(
                self.mistakes(f"[websocket]\n{name} = true"),
                [f"websocket.{name} (FILE) is not a setting; the nearest one is websocket.deflate"],
            )
            self.assertIn(ALIASES[name], known_keys())

    def test_an_unknown_variable_names_the_nearest_known_one(self) -> None:
        self.assertEqual(
            self.mistakes(environ={"TWBRIDGE_AMQP_TIMOUT": "3"}),
            ["TWBRIDGE_AMQP_TIMOUT is not a setting; the nearest one is TWBRIDGE_AMQP_TIMEOUT"],
        )

    def test_a_name_that_is_far_from_all_suggests_none(self) -> None:
        self.assertEqual(
            self.mistakes(
                "[limits]\nzzz = 1\n[zzz]", {"TWBRIDGE_FOO": "1", "TWBRIDGE_LOG_FOO": "1"}
            ),
            [
                "TWBRIDGE_FOO is not a setting",
                "TWBRIDGE_LOG_FOO is not a setting",
                "limits.zzz (FILE) is not a setting",
                "zzz (in FILE) is not a setting",
            ],
        )
        for name, near in (
            ("TWBRIDGE_AMPQ_URL", "TWBRIDGE_AMQP_URL"),
            ("TWBRIDGE_ROUTES", "TWBRIDGE_ROUTE"),
            ("TWBRIDGE_LIMITS_PING_INTERVAL", "TWBRIDGE_WEBSOCKET_PING_INTERVAL"),
        ):
            self.assertEqual(
                self.mistakes(environ={name: "1"}),
                [f"{name} is not a setting; the nearest one is {near}"],
            )

    def test_a_table_in_place_of_a_list_says_how_to_write_it(self) -> None:
        for section in ("listen", "route", "exchange", "stream", "allow"):
            self.assertEqual(
                self.mistakes(f"[{section}]\nx = 1"),
                [f"{section} (FILE) must be a list: write [[{section}]], not [{section}]"],
            )
        self.assertEqual(
            self.mistakes("route = 3"), ["route (FILE) must be a list: write [[route]]"]
        )
        self.assertEqual(
            self.mistakes("[[listen]]\norigins = 'self'"),
            ["listen[0].origins (FILE) must be a list"],
        )

    def test_a_variable_that_holds_no_json_list_says_how_to_write_it(self) -> None:
        for text in ("nojson", "{}", "3"):
            self.assertEqual(
                self.mistakes(environ={"TWBRIDGE_ROUTE": text}),
                ['route (TWBRIDGE_ROUTE) must be a JSON list like [{"publish": ...}]'],
            )

    def test_an_empty_flag_is_a_mistake(self) -> None:
        environ = {"AMQP_URL": "amqp://h"}
        for name, line in (
            ("amqp-url", "amqp.url (--amqp-url) must not be empty"),
            ("amqp-url-file", "amqp.url_file (--amqp-url-file) must not be empty"),
            ("log-level", "log.level (--log-level) must be 'debug', 'info', .*, not ''"),
        ):
            (found,) = self.mistakes(environ=environ, flags={name: ""})
            self.assertRegex(found, f"^{line.replace('(', '[(]').replace(')', '[)]')}$")
        (line,) = self.mistakes(environ=environ, flags={"listen": [""]})
        self.assertIn("it is empty; write one like tcp:8080", line)
        error = self.assertRaises(Mistakes, load, None, environ, "")
        self.assertEqual(error.lines, ("the name of the settings file is empty",))
        self.assertEqual(self.mistakes("[amqp]\nurl=''"), ["amqp.url (FILE) must not be empty"])

    def test_booleans_of_files_are_true_and_false_only(self) -> None:
        self.assertEqual(
            self.mistakes(
                "[amqp]\nconfirmations='yes'\n[websocket]\ndeflate=1\n[embedded]\nenabled='on'"
            ),
            [
                "amqp.confirmations (FILE) must be true or false, not 'yes'",
                "websocket.deflate (FILE) must be true or false, not 1",
                "embedded.enabled (FILE) must be true or false, not 'on'",
            ],
        )
        for text, expected in (("1", True), ("YES", True), ("off", False), ("n", False)):
            for name in ("TWBRIDGE_AMQP_CONFIRMATIONS", "AMQP_CONFIRMATIONS"):
                self.assertIs(load(None, {name: text}).settings.amqp.confirmations, expected)

    def test_an_embedded_broker_that_is_off_names_no_broker(self) -> None:
        environ = {"TWBRIDGE_EMBEDDED_ENABLED": "no", "AMQP_URL": "amqp://h"}
        self.assertEqual(self.url(load(None, environ)), "amqp://h")

    def test_numbers_say_which_they_must_be(self) -> None:
        self.assertEqual(
            self.mistakes('[amqp]\nheartbeat = 1.5\ntimeout = "ten"\nwindow = "x"'),
            [
                "amqp.timeout (FILE) must be a valid number, not 'ten'",
                "amqp.heartbeat (FILE) must be a whole number, not 1.5",
                "amqp.window (FILE) must be a whole number, not 'x'",
            ],
        )

    def test_zero_and_negative_are_refused(self) -> None:
        for prefix in ("TWBRIDGE_AMQP_", "AMQP_", "RABBITMQ_"):
            for name in ("TIMEOUT", "RECONNECT_DELAY", "CONNECTION_ATTEMPTS"):
                for value in ("0", "-1"):
                    own = "RECONNECT_CAP" if name == "RECONNECT_DELAY" else name
                    name_of = prefix + (own if prefix.startswith("TW") else name)
                    (line,) = self.mistakes(environ={name_of: value})
                    self.assertIn(f"({name_of}) must be greater than 0, not '{value}'", line)

    def test_a_wrong_value_says_what_would_be_right(self) -> None:
        self.assertEqual(
            self.mistakes(
                "[limits]\nframe = 'big'\n[log]\nformat = 'xml'\n[websocket]\ndeflate = 'maybe'"
            ),
            [
                "limits.frame (FILE) must be a whole number, not 'big'",
                "websocket.deflate (FILE) must be true or false, not 'maybe'",
                "log.format (FILE) must be 'text' or 'json', not 'xml'",
            ],
        )

    def test_all_mistakes_of_all_sources_are_named_at_once(self) -> None:
        lines = self.mistakes(
            "[amqp]\nwindow = 0\n[[listen]]\nendpoint = 3\n[[listen]]\nport = 3",
            {"TWBRIDGE_FOO": "1", "AMQP_TIMEOUT": "-2"},
            {"log-level": "loud"},
        )
        self.assertEqual(
            [line.split(" ")[0] for line in lines],
            [
                "TWBRIDGE_FOO",
                "log.level",
                "amqp.window",
                "listen[0].endpoint",
                "listen[1].port",
                "amqp.timeout",
            ],
        )

    def test_what_another_source_takes_the_place_of_is_looked_at_too(self) -> None:
        self.assertEqual(
            self.mistakes(
                "[amqp]\ntimeout = 0\n[[listen]]\nendpont = 'tcp:1'",
                {"TWBRIDGE_AMQP_TIMEOUT": "3", "TWBRIDGE_LISTEN_ENDPOINT": "tcp:2"},
                {"listen": ["tcp:3"]},
            ),
            [
                "amqp.timeout (FILE) must be greater than 0, not 0",
                "listen[0].endpont (FILE) is not a setting; the nearest one is listen.endpoint",
            ],
        )

    def test_a_borrowed_variable_that_is_not_used_may_be_for_others(self) -> None:
        environ = {"AMQP_TIMEOUT": "3", "RABBITMQ_TIMEOUT": "infinity"}
        self.assertEqual(load(None, environ).settings.amqp.timeout, 3.0)

    def test_invalid_toml_names_the_file_and_the_line(self) -> None:
        (line,) = self.mistakes("[amqp\nurl = 3")
        self.assertRegex(line, r"^FILE is not valid TOML: .*line 1")

    def test_a_file_that_is_not_there_or_no_text_is_named(self) -> None:
        error = self.assertRaises(Mistakes, load, None, {}, "/no/such/file")
        self.assertEqual(error.lines, ("/no/such/file can't be read: No such file or directory",))
        path = self.write("")
        Path(path).write_bytes(b"\xff")
        error = self.assertRaises(Mistakes, load, None, {}, path)
        self.assertEqual(error.lines, (f"{path} is not UTF-8",))

    def test_a_url_and_the_embedded_broker_in_one_source_are_refused(self) -> None:
        (line,) = self.mistakes(flags={"embedded": True, "amqp-url": "amqp://a"})
        self.assertTrue(line.startswith("--amqp-url and --embedded exclude each other"), line)
        (line,) = self.mistakes('[amqp]\nurl = "amqp://a"\n[embedded]\nenabled = true')
        self.assertTrue(
            line.startswith("amqp.url and embedded.enabled (FILE) exclude each other: "), line
        )
        secret = self.write("amqp://h")
        (line,) = self.mistakes(f'[amqp]\nurl_file = "{secret}"\n[embedded]\nenabled = true')
        self.assertTrue(line.startswith("amqp.url_file and embedded.enabled (FILE) exclude"), line)

    def test_a_wrong_url_names_where_it_was_set(self) -> None:
        self.assertEqual(
            self.mistakes(environ={"RABBITMQ_URL": "http://h/"}),
            ["amqp.url (RABBITMQ_URL): it must start with amqp:// or amqps://"],
        )
        (line,) = self.mistakes(flags={"amqp-url-file": "/no/such/file"})
        self.assertEqual(
            line,
            "amqp.url_file (--amqp-url-file): can't be read: No such file or directory: "
            "/no/such/file",
        )

    def test_a_certificate_that_is_not_there_is_named(self) -> None:
        (line,) = self.mistakes(environ={"AMQP_URL": "amqps://h?cacertfile=/no/ca.pem"})
        self.assertRegex(line, r"^amqp.url \(AMQP_URL\): .*/no/ca.pem.*No such file")
        (line,) = self.mistakes(flags={"listen": ["ssl:1:privateKey=/no/key.pem"]})
        self.assertRegex(line, r"^listen\[0\].endpoint \(--listen\): /no/key.pem can't be read")

    def test_an_endpoint_that_is_none_is_named(self) -> None:
        (line,) = self.mistakes(flags={"listen": ["tcp:80", "tpc:1"]})
        self.assertRegex(line, r"^listen\[1\].endpoint \(--listen\): 'tpc:1' is not an endpoint")

    def test_endpoints_say_what_is_wrong_with_them(self) -> None:
        for endpoint, wrong in (
            ("8080", ", did you mean tcp:8080?"),
            ("127.0.0.1:80", ", did you mean tcp:80:interface=127.0.0.1?"),
            ("localhost:80", ", did you mean tcp:80:interface=127.0.0.1?"),
            ("tcp:80x", ": the port must be a number from 0 to 65535, not '80x'"),
            ("tcp:99999", ": the port must be a number from 0 to 65535, not '99999'"),
            ("tcp6:port=65536", ": the port must be a number from 0 to 65535, not '65536'"),
            ("tcp:-1", ": the port must be a number from 0 to 65535, not '-1'"),
            ("tcp", ": it needs a port, like tcp:8080"),
            ("tcp:interface=127.0.0.1", ": it needs a port, like tcp:8080"),
            ("ssl:20443", ": ssl: needs privateKey=FILE"),
            ("ssl:20443:certKey=/c.pem", ": ssl: needs privateKey=FILE"),
        ):
            self.assertEqual(
                self.mistakes(flags={"listen": [endpoint]}),
                [f"listen[0].endpoint (--listen): '{endpoint}' is not an endpoint{wrong}"],
            )
        for endpoint in ("tcp:0", "tcp:65535:interface=\\:\\:1", "tcp6:port=1", "unix:/x"):
            load(from_flags({"listen": [endpoint]}))

    def test_an_empty_url_file_says_so(self) -> None:
        path = self.write(" \n")
        self.assertEqual(
            self.mistakes(flags={"amqp-url-file": path}),
            [f"amqp.url_file (--amqp-url-file): the file is empty: {path}"],
        )

    def test_routes_say_what_is_wrong_with_them(self) -> None:
        lines = self.mistakes(
            '[[route]]\npath = "ws"\npublish = "/nowhere"\nsubscribe = "/task/q"\n'
            '[[route]]\npath = "/static/x"'
        )
        self.assertRegex(lines[0], r"^route\[0\].path \(FILE\) must be a path like /ws")
        self.assertRegex(lines[1], r"^route\[0\].publish \(FILE\) is wrong: '/nowhere' is not a")
        self.assertRegex(lines[2], r"^route\[0\].subscribe \(FILE\) must be an /exchange/")
        self.assertRegex(lines[3], r"^route\[1\].path \(FILE\) must not be one of the bridge's own")

    def test_a_route_may_read_and_write_queues_and_streams(self) -> None:
        for destination in ("/queue/q", "/amq/queue/q", "/stream/s"):
            text = f'[[route]]\npublish = "{destination}"\nsubscribe = "{destination}"\n'
            for overflow in ("close", "drop-oldest", "latest", "block"):
                path = self.write(f'{text}overflow = "{overflow}"')
                self.assertEqual(load(None, {}, path).settings.route[0].overflow, overflow)

    def test_an_overflow_that_makes_no_sense_is_named(self) -> None:
        for text in ("", 'subscribe = "/topic/a"\n'):
            self.assertEqual(
                self.mistakes(f'[[route]]\n{text}overflow = "block"'),
                [
                    "route[0].overflow (FILE) must be close, drop-oldest or latest: of a live "
                    "destination the broker keeps nothing"
                ],
            )
        (line,) = self.mistakes('[[route]]\noverflow = "drop"')
        self.assertRegex(line, "must be 'close', 'drop-oldest', 'latest' or 'block', not 'drop'")

    def test_a_stream_has_a_retention(self) -> None:
        self.assertEqual(
            self.mistakes('[[stream]]\nname = "s"'),
            ["stream[0] (FILE) must have a max_age or a max_bytes: nothing else bounds a stream"],
        )
        for age in ("7", "D", "7d", "07D", "0D", "-1D", "1.5h", "7 D", "٣D", "1Y2M", "1234567890s"):
            self.assertEqual(
                self.mistakes(f'[[stream]]\nname = "s"\nmax_age = "{age}"'),
                [
                    "stream[0].max_age (FILE) must be a whole number and Y, M, D, h, m or s "
                    "(years to seconds), like 7D"
                ],
            )
        for size, wrong in ((0, "greater than 0"), (-1, "greater than 0"), (2**63, "less than")):
            (line,) = self.mistakes(f'[[stream]]\nname = "s"\nmax_bytes = {size}')
            self.assertRegex(line, rf"^stream\[0\].max_bytes \(FILE\) must be {wrong}")

    def test_a_stream_has_a_name_of_its_own_and_is_bound_to_what_is_live(self) -> None:
        for name in ("", "amq.s", "é" * 128):
            (line,) = self.mistakes(f'[[stream]]\nname = "{name}"\nmax_age = "1h"')
            self.assertRegex(line, r"^stream\[0\].name \(FILE\) must have 1 to 255 bytes and not")
        for binding in ("/queue/q", "/stream/s", "/task/t"):
            (line,) = self.mistakes(
                f'[[stream]]\nname = "s"\nmax_age = "1h"\nbindings = ["/topic/a", "{binding}"]'
            )
            self.assertRegex(line, r"^stream\[0\].bindings \(FILE\) must be an /exchange/... or")
        (line,) = self.mistakes(
            '[[stream]]\nname = "s"\nmax_age = "1h"\n[[stream]]\nname = "s"\nmax_age = "2h"'
        )
        self.assertEqual(line, "stream has s twice")

    def test_names_that_must_differ_do(self) -> None:
        self.assertEqual(self.mistakes("[[route]]\n[[route]]"), ["route has /ws twice"])
        (line,) = self.mistakes(flags={"listen": ["tcp:1", "tcp:1"]})
        self.assertEqual(line, "listen has tcp:1 twice")

    def test_a_mount_is_no_path_of_the_bridge_nor_of_a_route(self) -> None:
        for path in ("/api", "/api/x", "/static/app", "/healthz", "app", "/app//", "//", ""):
            (line,) = self.mistakes(f'[[mount]]\npath = "{path}"')
            self.assertRegex(line, r"^mount\[0\].path \(FILE\) must ")
        self.assertEqual(
            self.mistakes('[[mount]]\npath = "/ws"'),
            ["mount has /ws, which is the path of a route"],
        )
        (line,) = self.mistakes('[[mount]]\npath = "/app"\n[[mount]]\npath = "/app"')
        self.assertEqual(line, "mount has /app twice")

    def test_the_path_of_a_mount_is_no_longer_than_the_name_of_a_queue_may_be(self) -> None:
        (line,) = self.mistakes(f'[[mount]]\npath = "/{"a" * 200}"')
        self.assertEqual(line, "mount[0].path (FILE) must have 200 characters at most")
        path = self.write(f'[[mount]]\npath = "/{"a" * 199}"')
        self.assertEqual(len(load(None, {}, path).settings.mount[0].path), 200)

    def test_a_mount_may_end_with_a_slash(self) -> None:
        settings = load(
            None, {}, self.write('mount = [{ path = "/app/" }, { path = "/" }]')
        ).settings
        self.assertEqual([each.path for each in settings.mount], ["/app", "/"])

    def test_a_mount_has_limits(self) -> None:
        for key, wrong in (("body", 0), ("timeout", 0), ("timeout", 3601)):
            (line,) = self.mistakes(f'[[mount]]\npath = "/"\n{key} = {wrong}')
            self.assertRegex(line, rf"^mount\[0\].{key} \(FILE\) must be ")

    def test_no_mistake_hides_another(self) -> None:
        listen = '[[listen]]\nendpoint = "tcp:1"\n'
        lines = self.mistakes(
            '[amqp]\nurl = "http://h"\n[[route]]\n[[route]]\n'
            + '[[stream]]\nname = "s"\nmax_age = "x"\n[[stream]]\nname = "s"\nmax_bytes = 1\n'
            + listen
            + listen
            + '[[listen]]\nendpoint = "tcp:x"\norigins = ["nonsense"]\n'
        )
        self.assertEqual(
            [re.sub(r" \(FILE\).*|:.*", "", line) for line in lines],
            [
                "listen[2].origins",
                "stream[0].max_age",
                "route has /ws twice",
                "stream has s twice",
                "listen has tcp",
                "amqp.url",
                "listen[2].endpoint",
            ],
        )

    def test_there_is_a_listener_and_a_route(self) -> None:
        self.assertEqual(self.mistakes("listen = []"), ["listen must have one entry at least"])

    def test_exchanges_of_the_broker_are_not_declared(self) -> None:
        for name in ("amq.topic", ""):
            (line,) = self.mistakes(f'[[exchange]]\nname = "{name}"')
            self.assertRegex(line, r"^exchange\[0\].name \(FILE\) must have 1 to 127 bytes and not")

    def test_rules_are_checked(self) -> None:
        lines = self.mistakes('[[allow]]\noperation = "read"\ndestination = "x"')
        self.assertRegex(lines[0], r"^allow\[0\].operation \(FILE\) must be 'subscribe', 'publish'")
        self.assertRegex(lines[1], r"^allow\[0\].destination \(FILE\) is wrong: 'x' is not a")
        (line,) = self.mistakes('[[allow]]\noperation = "publish"')
        self.assertEqual(line, "allow[0].destination (FILE) is missing")

    def test_the_embedded_broker_is_for_this_machine(self) -> None:
        (line,) = self.mistakes('[embedded]\nlisten = "0.0.0.0:5672"')
        self.assertIn("must be a loopback address", line)

    def test_origins_and_proxies_are_checked(self) -> None:
        lines = self.mistakes('[[listen]]\norigins = ["a.example"]\nproxies = ["proxy"]')
        self.assertRegex(lines[0], r"^listen\[0\].origins \(FILE\) is wrong: 'a.example' is not an")
        self.assertRegex(lines[1], r"^listen\[0\].proxies \(FILE\) is wrong: 'proxy' does not")


class AuthTests(SettingsTestCase):
    """Who knows the users."""

    def test_nobody_logs_in_unless_the_settings_say_so(self) -> None:
        self.assertEqual(load().settings.auth.method, "none")
        self.assertEqual(load(from_flags({"auth": "amqp"})).settings.auth.method, "amqp")

    def test_the_flag_may_choose_a_file_that_the_settings_name(self) -> None:
        users = self.write(USERS)
        path = self.write(f'[auth]\nmethod = "none"\nfile = "{users}"')
        auth = load(from_flags({"auth": "file"}), {}, path).settings.auth
        self.assertEqual((auth.method, auth.file), ("file", Path(users)))
        self.assertEqual(load(None, {}, path).settings.auth.method, "none")

    def test_a_method_that_there_is_not_names_those_that_there_are(self) -> None:
        (line,) = self.mistakes(flags={"auth": "ldap"})
        self.assertEqual(line, "auth.method (--auth) must be 'none', 'file' or 'amqp', not 'ldap'")

    def test_the_file_and_its_method_belong_together(self) -> None:
        self.assertEqual(
            self.mistakes(flags={"auth": "file"}),
            ["auth.method (--auth) is file: auth.file must name one"],
        )
        self.assertEqual(
            self.mistakes('[auth]\nfile = "users"'),
            ['auth.file (FILE) needs auth.method = "file"'],
        )
        self.assertEqual(
            self.mistakes('[auth]\nmethod = "file"\nfile = ""'),
            ["auth.file (FILE) must not be empty"],
        )

    def test_a_mistake_in_the_file_of_users_is_one_of_the_settings(self) -> None:
        users = self.write(f"{USERS}\nbob:hunter2")
        (line,) = self.mistakes(f'[auth]\nmethod = "file"\nfile = "{users}"')
        self.assertEqual(
            line,
            f"auth.file (FILE): line 2 of {users} has plain text or a hash that is not known; "
            "only bcrypt is taken: use htpasswd -B",
        )

    def test_limits_are_positive(self) -> None:
        for key in ("timeout", "parallel", "waiting"):
            (line,) = self.mistakes(f"[auth]\n{key} = 0")
            self.assertEqual(line, f"auth.{key} (FILE) must be greater than 0, not 0")
        (line,) = self.mistakes("[auth]\nremember = -1")
        self.assertIn("greater than or equal to 0", line)
        self.assertEqual(load(None, {"TWBRIDGE_AUTH_REMEMBER": "0"}).settings.auth.remember, 0)


class SecretTests(SettingsTestCase):
    """The password is in no text that anybody reads."""

    SECRET = "sekret"

    def test_no_mistake_holds_it(self) -> None:
        url = f"amqp://user:{self.SECRET}@host"
        for text in (
            f'amqp = "{url}"',
            f'[amqp]\ntimeout = "{url}"',
            f'[amqp]\nurl = ["{url}"]',
            f'[amqp]\nulr = "{url}"',
            f'[amqp]\nurl = "{url}:port/"',
            f'[amqp]\nurl_file = {{ "{url}" = 1 }}',
            f'[amqp\nurl = "{url}"',
            f'[amqp]\nurl = "{url}',
        ):
            for line in self.mistakes(text):
                self.assertNotIn(self.SECRET, line)
        for name in ("TWBRIDGE_AMQP_TIMEOUT", "TWBRIDGE_AMQP_UR", "AMQP_TIMEOUT"):
            for line in self.mistakes(environ={name: url}):
                self.assertNotIn(self.SECRET, line)

    def test_no_representation_holds_it(self) -> None:
        loaded = load(None, {"AMQP_URL": f"amqp://user:{self.SECRET}@host/"})
        for text in (repr(loaded), str(loaded.settings), loaded.settings.model_dump_json()):
            self.assertNotIn(self.SECRET, text)
        self.assertNotIn(self.SECRET, repr(loaded.settings.amqp.parameters()))


class ValueTests(SettingsTestCase):
    """What settings mean."""

    def test_the_tree_is_immutable(self) -> None:
        settings = Settings()
        with self.assertRaises(ValueError):
            settings.amqp.timeout = 3
        with self.assertRaises(ValueError):
            settings.log = settings.log

    def test_the_heartbeat_of_the_url_comes_first(self) -> None:
        for url, expected in (
            ("amqp://h?heartbeat=5", 5),
            (f"amqp://h?heartbeat={DEFAULT_HEARTBEAT}", DEFAULT_HEARTBEAT),
            ("amqp://h", 9),
        ):
            amqp = load(None, {"AMQP_URL": url, "TWBRIDGE_AMQP_HEARTBEAT": "9"}).settings.amqp
            parameters = amqp.parameters()
            assert parameters is not None
            self.assertEqual(parameters.heartbeat, expected)

    def test_the_default_heartbeat_is_that_of_urls(self) -> None:
        self.assertEqual(Amqp().heartbeat, DEFAULT_HEARTBEAT)

    def test_the_chat_exchange_is_declared_while_a_route_uses_it(self) -> None:
        self.assertEqual([each.name for each in Settings().exchanges()], ["twbridge.chat"])
        own = 'exchange = [{ name = "twbridge.chat", type = "fanout" }]'
        exchanges = load(None, {}, self.write(own)).settings.exchanges()
        self.assertEqual([(e.name, e.type) for e in exchanges], [("twbridge.chat", "fanout")])

    def test_without_settings_there_are_a_raw_route_and_one_for_stomp(self) -> None:
        found = [(route.path, route.dialect) for route in Settings().route]
        self.assertEqual(found, [("/ws", "raw"), ("/stomp", "stomp")])

    def test_destinations_of_a_route_that_is_not_raw_are_the_chat_pages_or_nobodys(self) -> None:
        text = 'route = [{ publish = "/queue/q", subscribe = "/topic/a" }, %s]'
        for dialect in ("json", "stomp"):
            more = f'{{ path = "/x", dialect = "{dialect}" }}'
            allow = '\nallow = [{ operation = "subscribe", destination = "/topic/a" }]'
            settings = load(None, {}, self.write(text % more + allow)).settings
            self.assertEqual([each.path for each in settings.wired()], ["/ws"])
            self.assertEqual((settings.exchanges(), settings.names()), ((), {"q", ""}))
            self.assertEqual(warnings(settings), [])
        first = Settings(route=(Route(dialect="stomp"), Route(path="/raw")))
        self.assertEqual(first.wired(), first.route)

    def test_the_chat_page_gives_way_to_a_mount_of_everything(self) -> None:
        for text, has_page in (
            ("", True),
            ('mount = [{ path = "/app" }]', True),
            ('mount = [{ path = "/" }]', False),
            ("http = { page = false }", False),
        ):
            settings = load(None, {}, self.write(text)).settings
            self.assertEqual(settings.has_page, has_page, text)
        route = Route(dialect="json")
        self.assertEqual(Settings(route=(route,)).wired(), (route,))
        self.assertEqual(Settings(route=(route,), http=Http(page=False)).wired(), ())

    def test_a_stream_is_truncated_by_segments_that_are_small_enough(self) -> None:
        for size, segment in (
            (1, 65_536),
            (8_000_000, 1_000_000),
            (3_999_999_999, 499_999_999),
            (4_000_000_000, None),
        ):
            arguments = Stream(name="s", max_bytes=size).arguments
            self.assertEqual(arguments.pop("x-stream-max-segment-size-bytes", None), segment)
            self.assertEqual(arguments, {"x-queue-type": "stream", "x-max-length-bytes": size})
        self.assertEqual(
            Stream(name="s", max_age="7D").arguments, {"x-queue-type": "stream", "x-max-age": "7D"}
        )

    def test_what_a_stream_keeps_is_declared_too(self) -> None:
        bindings = ("/exchange/twbridge.chat/%23", "/exchange/X", "/topic/a.*")
        settings = Settings(
            route=(Route(publish="/topic/a", subscribe="/stream/s"),),
            stream=(Stream(name="s", max_age="1h", bindings=bindings),),
        )
        self.assertEqual([each.name for each in settings.exchanges()], ["twbridge.chat"])
        self.assertEqual(settings.unlisted_exchanges(), ("X",))
        self.assertEqual(
            settings.stream[0].bound_to(),
            (("twbridge.chat", "#"), ("X", ""), ("amq.topic", "a.*")),
        )

    def test_the_names_that_clients_may_use_are_those_it_names(self) -> None:
        settings = Settings(stream=(Stream(name="twbridge.history", max_age="1h"),))
        self.assertEqual(settings.names(), {"twbridge.chat", "twbridge.history"})

    def test_exchanges_of_the_broker_are_never_unlisted(self) -> None:
        text = 'route = [{ publish = "/queue/q", subscribe = "/topic/a" }]'
        settings = load(None, {}, self.write(text)).settings
        self.assertEqual((settings.exchanges(), settings.unlisted_exchanges()), ((), ()))


class DocumentationTests(SynchronousTestCase):
    """docs/settings.md is complete and true."""

    def test_every_key_is_there_with_its_variable_and_default(self) -> None:
        rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
        self.assertEqual(rows, [_row(section, name) for section, name in known_keys()])

    def test_the_paths_that_no_route_may_have_are_there(self) -> None:
        (row,) = re.findall(r"^\| `route.path` .*", DOCS.read_text(), re.MULTILINE)
        for path in RESERVED_PATHS:
            self.assertIn(f"`{path}`", row)

    def test_what_rules_match_is_true(self) -> None:
        rows = re.findall(
            r"^\| `(/\S+)` \| .* \| `(/\S+)` \| `(/\S+)` \|$", DOCS.read_text(), re.MULTILINE
        )
        self.assertEqual(len(rows), 10)
        peer = Peer(None, True, "")
        for rule, good, bad in rows:
            policy = Policy([Allow(operation="publish", destination=rule)])
            policy.check("publish", parse(good), peer)
            for operation, destination in (("publish", bad), ("subscribe", good)):
                with self.assertRaises(Forbidden, msg=rule):
                    policy.check(cast(Operation, operation), parse(destination), peer)

    def test_the_example_is_one_that_works(self) -> None:
        example = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)[-1]
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(example)
        self.assertEqual(warnings(load(None, {}, path).settings), [])


def _row(section: str, name: str) -> tuple[str, str, str]:
    field = layers.entry_of(section).model_fields[name]
    if field.is_required():
        default = "required"
    elif field.default is None:
        default = "not set"
    else:
        value = field.default
        text = str(value).lower() if isinstance(value, bool) else value
        default = "none" if value in ((), {}) else f"`{text}`"
    return f"{section}.{name}", variable((section, name)), default
