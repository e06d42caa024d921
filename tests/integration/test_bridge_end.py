"""The row "Clean end", and the starts that can't be: one clear line and exit code 1."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from tests.integration.bridge import Bridge, Response, in_thread
from tests.integration.bridge_cases import CHAT_IN, CHAT_OUT, SECRET, BridgeCase, blameless
from tests.integration.cases import BrokerCase
from tests.integration.proxy import Way
from tests.integration.rabbitmq import free_ports
from tests.integration.websocket import Client, Socket

EMBEDDED = "--embedded"


class EndTests(BridgeCase):
    """SIGINT and SIGTERM."""

    async def test_sigint_and_sigterm_close_with_1001_and_exit_with_0(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            bridge = await self.another()
            raw, json = await self.raw(bridge), await self.json(bridge, CHAT_OUT)
            begin = time.monotonic()
            code = in_thread(bridge.stop, number)
            for client in (raw, json.socket):
                self.assertEqual((await client.closed()).code, 1001)
            self.assertEqual(await code, 0)
            self.assertLess(time.monotonic() - begin, 5.0)
            with self.assertRaises(ConnectionRefusedError):
                await in_thread(bridge.get)
            blameless(bridge.log + bridge.complaints)
            self.assertEqual(bridge.complaints, "")

    async def test_a_second_signal_changes_nothing(self) -> None:
        bridge = await self.another()
        await self.json(bridge)
        bridge.send_signal(signal.SIGTERM)
        bridge.send_signal(signal.SIGINT)
        bridge.send_signal(signal.SIGTERM)
        self.assertEqual(await in_thread(bridge.wait), 0)
        blameless(bridge.log + bridge.complaints)

    async def test_publishes_in_flight_at_the_end_settle(self) -> None:
        bridge, queue = await self.another(), await self.witness()
        client = await self.json(bridge)
        answers: list[str] = []
        client.socket.on_message = lambda message: answers.append(str(message))
        for number in range(2000):
            client.send("publish", destination=CHAT_IN, body=number)
        await self.until(lambda: len(answers) > 100)
        self.assertEqual(await in_thread(bridge.stop), 0)
        self.assertEqual((await client.socket.closed()).code, 1001)
        confirmed = [number for number, text in enumerate(answers) if '"published"' in text]
        found = [int(body) for _, body in await self.drain(queue)]
        self.assertEqual(found, list(range(len(found))), "none is missing or there twice")
        self.assertGreaterEqual(len(found), len(confirmed))
        self.assertNotIn("not confirmed", bridge.log)

    async def test_publishes_that_cannot_settle_are_reported(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another(
            "--amqp-url", self.url_of(proxy), toml="amqp = { timeout = 2.0 }"
        )
        client = await self.json(bridge)
        self.assertEqual((await client.publish(CHAT_IN, "x"))["op"], "published")
        proxy.stall(Way.DOWN)
        for number in range(3):
            client.send("publish", destination=CHAT_IN, body=number)
        await client.lives()
        begin = time.monotonic()
        code = in_thread(bridge.stop)
        self.assertEqual((await client.socket.closed()).code, 1001)
        self.assertEqual(await code, 0)
        self.assertLess(time.monotonic() - begin, 15.0)
        self.assertIn("Messages not confirmed before the end: 3", bridge.log)
        blameless(bridge.log + bridge.complaints)

    async def test_a_client_that_does_not_read_does_not_hold_up_the_end(self) -> None:
        bridge = await self.another()
        other, stubborn = await self.raw(bridge), await Socket.connect(bridge.url())
        stubborn.deaf()
        begin = time.monotonic()
        code = in_thread(bridge.stop)
        self.assertEqual((await other.closed()).code, 1001)
        self.assertEqual(await code, 0)
        self.assertLess(time.monotonic() - begin, 8.0)
        stubborn.abort()
        await stubborn.closed()

    async def test_it_ends_while_the_broker_is_away(self) -> None:
        url = f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/"
        bridge = Bridge("--amqp-url", url)
        self.addCleanup(lambda: in_thread(bridge.close))
        bridge.launch()
        away = re.compile("waiting for the broker: .*refused").match
        await in_thread(bridge.until, lambda it: it.status == 503 and bool(away(it.body)))
        self.assertEqual((await in_thread(bridge.get, "/healthz")).status, 200)
        client = await Client.connect(bridge.url())
        self.assertEqual((await client.frame("link"))["state"], "down")
        self.assertEqual(await in_thread(bridge.stop), 0)
        self.assertEqual((await client.socket.closed()).code, 1001)
        blameless(bridge.log + bridge.complaints)


class SecretTests(BridgeCase):
    """Where the password does not show."""

    async def test_a_url_from_a_file_or_the_environment_is_not_in_the_process_list(self) -> None:
        path = Path(self.mktemp()).resolve()
        path.write_text(self.node.url() + "\n")
        for options, environment in (
            (("--amqp-url-file", str(path)), {}),
            ((), {"AMQP_URL": self.node.url()}),
            ((), {"RABBITMQ_URL": self.node.url(), "TWBRIDGE_LOG_LEVEL": "debug"}),
        ):
            bridge = await self.another(*options, environment=environment)
            client = await self.json(bridge, CHAT_OUT)
            await client.publish(CHAT_IN, "x")
            await client.message()
            assert bridge.process is not None
            listed = Path(f"/proc/{bridge.process.pid}/cmdline").read_text()
            self.assertNotIn("guest", listed)
            self.assertEqual(await in_thread(bridge.stop), 0)
            blameless(bridge.log + bridge.complaints)


class WrongStartTests(BrokerCase):
    """One line on stderr for each mistake, exit code 1, nothing started."""

    def refused(self, *options: str, **settings: Any) -> str:
        """Start it so; gives the one line that it says before it ends."""
        return self.all_refused((options, settings))[0]

    def all_refused(self, *starts: tuple[tuple[str, ...], dict[str, Any]]) -> list[str]:
        """Start all of them at once; gives the line of each."""
        bridges = [Bridge(*options, **settings) for options, settings in starts]
        for bridge in bridges:
            self.addCleanup(bridge.close)
            bridge.launch()
        return [self.line(bridge) for bridge in bridges]

    def line(self, bridge: Bridge) -> str:
        self.assertEqual(bridge.wait(), 1, bridge.log)
        lines = bridge.complaints.splitlines()
        self.assertEqual(len(lines), 1, bridge.complaints)
        self.assertTrue(lines[0].startswith("twbridge: "))
        self.assertNotIn("Traceback", bridge.log)
        self.assertNotIn(SECRET, bridge.log + bridge.complaints)
        self.assertNotIn("Clients connect to", bridge.log)
        return lines[0]

    def test_no_broker_names_the_two_ways_out(self) -> None:
        line = self.refused()
        self.assertIn("--amqp-url", line)
        self.assertIn("--embedded", line)

    def test_a_busy_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
            with_url = ("--amqp-url", self.node.url(), *listen)
            for line in self.all_refused((with_url, {}), ((EMBEDDED, *listen), {})):
                self.assertRegex(line, rf"listen\[0\]\.endpoint: .*{port}.*already in use")

    def test_wrong_urls_and_unknown_schemes(self) -> None:
        urls = {
            "http://localhost/": "amqp",
            "amqp://guest:guest@localhost:99999/": "port",
            "rabbit": "amqp",
            "amqps://guest:guest@localhost/?cacertfile=/no/such/file": "/no/such/file",
        }
        lines = self.all_refused(*((("--amqp-url", url), {}) for url in urls))
        for line, word in zip(lines, urls.values(), strict=True):
            self.assertIn("amqp.url", line)
            self.assertIn(word, line)

    def test_unknown_settings_with_the_nearest_known_one(self) -> None:
        files = {
            "[limits]\nmesage = 5": ("limits.mesage", "message"),
            "[amqpp]\nurl = 'x'": ("amqpp", "amqp"),
            "[[route]]\npaht = '/x'": ("paht", "path"),
        }
        starts: list[Any] = [((EMBEDDED,), {"toml": text}) for text in files]
        starts.append(((EMBEDDED,), {"environment": {"TWBRIDGE_LIMITS_MESAGE": "5"}}))
        *lines, last = self.all_refused(*starts)
        for line, (key, near) in zip(lines, files.values(), strict=True):
            self.assertIn(key, line)
            self.assertRegex(line, rf"\b{near}\b")
            self.assertIn("bridge.toml", line)
        self.assertIn("TWBRIDGE_LIMITS_MESAGE", last)
        self.assertIn("TWBRIDGE_LIMITS_MESSAGE", last)

    def test_an_unknown_key_is_one_where_a_flag_takes_the_place_of_its_table(self) -> None:
        line = self.refused(EMBEDDED, toml="[[listen]]\nendpont = 'tcp:8080'")
        self.assertIn("endpont", line)

    def test_bad_values_and_flags(self) -> None:
        starts: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
            r"amqp\.timeout": ((EMBEDDED,), {"toml": "amqp = { timeout = 0 }"}),
            r"route\[0\]\.publish": ((EMBEDDED,), {"toml": "route = [{ publish = '/no' }]"}),
            r"listen\[0\]\.endpoint": ((EMBEDDED, "--listen", "tcp:http"), {}),
            "colour": ((EMBEDDED, "--colour", "red"), {}),
        }
        for words, line in zip(starts, self.all_refused(*starts.values()), strict=True):
            self.assertRegex(line, words)

    def test_invalid_toml_and_a_missing_file(self) -> None:
        line = self.refused(EMBEDDED, toml="[amqp\nurl = 5")
        self.assertRegex(line, r"bridge\.toml.*line 1")
        line = self.refused(EMBEDDED, "--config", "/no/such/file.toml")
        self.assertIn("/no/such/file.toml", line)


class SlowRetryTests(BrokerCase):
    """What may become right by itself is tried again, and ``/readyz`` and the log say why."""

    async def retried(self, url: str, why: str) -> None:
        bridge = Bridge("--amqp-url", url)
        self.addCleanup(lambda: in_thread(bridge.close))
        bridge.launch()

        def says(answer: Response) -> bool:
            return answer.status == 503 and re.search(why, answer.body) is not None

        answer = await in_thread(bridge.until, says)
        self.assertEqual(answer.body.count("\n"), 1)
        self.assertRegex(bridge.log, why)
        about = [line for line in bridge.log.splitlines() if re.search(why, line)]
        self.assertLess(len(about), 10, "tried again too fast")
        self.assertEqual(await in_thread(bridge.stop), 0)
        self.assertNotIn("secret", bridge.log)
        blameless(bridge.log + bridge.complaints)

    async def test_a_wrong_password(self) -> None:
        await self.retried(self.node.url(user="guest:secret"), "403.*ACCESS_REFUSED")

    async def test_a_missing_vhost(self) -> None:
        await self.retried(self.node.url("nowhere"), "530.*vhost nowhere not found")

    async def test_a_broker_that_is_not_there(self) -> None:
        port = free_ports(1)[0]
        await self.retried(f"amqp://guest:guest@127.0.0.1:{port}/", "refused")

    async def test_a_certificate_that_does_not_verify(self) -> None:
        other = Authority(self.folder())
        query = f"cacertfile={other.ca}"
        await self.retried(self.node.tls_url(query), "(?i)certificate.*verif|verif.*certificate")

    async def test_a_certificate_for_another_host(self) -> None:
        url = self.node.tls_url(f"cacertfile={self.node.authority.ca}", host="127.0.0.2")  # type: ignore[union-attr]
        await self.retried(url, "(?i)certificate|127.0.0.2")

    def folder(self) -> Path:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        return folder
