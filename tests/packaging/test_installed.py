"""The wheel in a fresh environment, and plugins of other distributions beside it."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any, BinaryIO

import cbor2
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import Bridge
from tests.integration.rabbitmq import free_ports, shared
from tests.packaging import diary
from tests.packaging.environment import EXAMPLES, ROOT, Workshop

SECONDS = 10.0
DOCUMENT = ROOT / "docs" / "plugins.md"


def tearDownModule() -> None:
    """Remove the environment."""
    Workshop.close()


class InstalledCase(SynchronousTestCase):
    """Tests on one bridge of the fresh environment."""

    bridge: Bridge

    @classmethod
    def start(cls, *options: str, **environment: str) -> None:
        """Start it."""
        twistd = Workshop.get().environment().with_name("twistd")
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        cls.bridge = Bridge(*options, environment=environment, twistd=twistd)
        try:
            cls.bridge.start()
        except BaseException:
            cls.bridge.close()
            raise

    def client(self, protocol: str | None = None) -> BareSocket:
        """A client that speaks a dialect."""
        client = BareSocket(self.bridge.url(), protocol)
        self.addCleanup(client.close)
        return client


class FreshEnvironmentTests(InstalledCase):
    """What it does, with the examples beside it."""

    port: int

    @classmethod
    def setUpClass(cls) -> None:
        (cls.port,) = free_ports(1)
        cls.start("--embedded", LINES_LISTEN=f"tcp:{cls.port}:interface=127.0.0.1")

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            assert cls.bridge.stop() == 0, cls.bridge.log
            assert "Traceback" not in cls.bridge.log, cls.bridge.log
        finally:
            cls.bridge.close()

    def test_the_command_is_there(self) -> None:
        command = Workshop.get().environment().with_name("twbridge")
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"^twbridge \d")

    def test_twistd_finds_the_bridge_and_the_bridge_finds_the_plugin_of_ten_lines(self) -> None:
        self.assertIn("Plugin hello runs", self.bridge.log)
        client = self.client()
        client.send(1, b"!hello")
        self.assertEqual(client.frame(), (0x81, b"!hello"))
        self.assertEqual(client.frame(), (0x81, b"Hello from a plugin!"))

    def test_the_dialect_of_another_distribution_is_spoken(self) -> None:
        client = self.client("v1.example.cbor")
        self.assertIn(b"Sec-WebSocket-Protocol: v1.example.cbor", client.head)

        def ask(**frame: object) -> None:
            client.send(2, cbor2.dumps(frame))

        def hear() -> dict[str, object]:
            first, payload = client.frame()
            self.assertEqual(first, 0x82)
            found = cbor2.loads(payload)
            assert isinstance(found, dict)
            return found

        self.assertEqual(hear()["op"], "welcome")
        ask(op="subscribe", id=1, destination="/topic/sensor.*")
        self.assertEqual(hear(), {"op": "subscribed", "id": 1, "destination": "/topic/sensor.*"})
        ask(op="publish", id=2, destination="/topic/sensor.7", body={"raw": b"\x00\xff"})
        heard = {str(frame["op"]): frame for frame in (hear(), hear())}
        self.assertEqual(heard["published"], {"op": "published", "id": 2})
        self.assertEqual(heard["message"]["body"], {"raw": b"\x00\xff"})
        self.assertEqual(heard["message"]["routing_key"], "sensor.7")
        client.send(2, b"\xff")
        self.assertEqual(hear()["code"], "bad_frame")
        # A message from there, read in another dialect.
        other = self.client()
        other.send(1, b"subscribed")
        self.assertEqual(other.frame(), (0x81, b"subscribed"))
        ask(op="publish", id=3, destination="/exchange/twbridge.chat/chat", body="from CBOR")
        self.assertEqual(other.frame(), (0x81, b"from CBOR"))

    def line_client(self) -> tuple[socket.socket, BinaryIO]:
        """A connection of the third protocol, and what it reads."""
        connection = socket.socket()
        self.addCleanup(connection.close)
        connection.settimeout(SECONDS)
        # Of who does not read, so that it shows soon.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.connect(("127.0.0.1", self.port))
        lines = connection.makefile("rb")
        self.addCleanup(lines.close)
        return connection, lines

    def test_a_plugin_bridges_a_third_protocol(self) -> None:
        browser, (connection, lines) = self.client(), self.line_client()
        connection.sendall("hello from a terminal\r\nand one é more\n".encode())
        for text in ("hello from a terminal", "and one é more"):
            self.assertEqual(browser.frame(), (0x81, text.encode()))
            self.assertEqual(lines.readline(), text.encode() + b"\n")
        browser.send(2, b"from a\nbrowser\x1b\xff")
        self.assertEqual(lines.readline().decode(), "from a browser \ufffd\n")

    def test_what_the_third_protocol_can_not_carry_is_told(self) -> None:
        connection, lines = self.line_client()
        connection.sendall(b"\xff\n")
        self.assertEqual(lines.readline(), b"! not sent: it is not UTF-8\n")
        browser = self.client()
        browser.send(1, b"x" * 16385)
        self.assertEqual(lines.readline(), b"! a message of 16385 bytes was left out\n")
        connection.sendall(b"x" * 16386)
        self.assertEqual(lines.read(), b"! a line is too long\n")

    def test_who_does_not_read_lines_is_told_what_was_left_out(self) -> None:
        _, lines = self.line_client()
        browser = self.client()
        number = 0
        # Until the kernel's buffers are full, and then that of the bridge.
        for number in range(300):
            browser.send(1, b"%05d" % number + b"x" * 16000)
            browser.frame()
        found, missed = 0, 0
        while found + missed < number + 1:
            line = lines.readline()
            told = re.fullmatch(rb"! left out, you read too slowly: (\d+)\n", line)
            if told:
                missed += int(told[1])
            else:
                self.assertEqual(int(line[:5]), found + missed)
                found += 1
        self.assertGreater(missed, 0)

    def test_a_signal_that_no_plugin_listens_for_ends_nothing(self) -> None:
        names = ("SIGHUP", "SIGUSR1", "SIGUSR2")
        for name in names:
            self.bridge.send_signal(getattr(signal, name))
        said = [f"{name}: nobody listens for it" for name in names]
        deadline = time.monotonic() + SECONDS
        while not all(text in self.bridge.log for text in said):
            self.assertLess(time.monotonic(), deadline, self.bridge.log)
            time.sleep(0.01)
        self.assertEqual(self.bridge.get("/healthz").status, 200)

    def test_the_page_of_the_documentation_shows_the_plugin_that_works(self) -> None:
        shown = re.findall(
            r"^( *)```.*?\n(.*?)^ *```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
        )
        blocks = {textwrap.dedent(block) for _, block in shown}
        for name in ("twisted/plugins/twbridge_hello.py", "pyproject.toml"):
            text = f"# {name}\n" + (EXAMPLES / "plugin" / name).read_text()
            self.assertIn(text, blocks)


CHANNELS = ("started", "ready", "SIGHUP", "SIGUSR1", "stopping", "stopped")
BODIES = ("héllo 👋".encode(), b"", b"\xff\xfe", b"0123456789" * 30_000)


class BusOnEmbeddedTests(InstalledCase):
    """The bus, as a plugin of another distribution knows it: one life of a bridge."""

    channels: tuple[str, ...] = CHANNELS
    folder: Path
    file: Path
    heard: list[bytes]
    entries: list[list[Any]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-diary-"))
        cls.file = cls.folder / "diary"
        try:
            cls.start(*cls.options(), LINES_LISTEN="tcp:0", DIARY=str(cls.file))
            cls.live()
            assert cls.bridge.stop() == 0, cls.bridge.log
            cls.entries = diary.read(cls.file)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        cls.bridge.close()
        shutil.rmtree(cls.folder)

    @classmethod
    def options(cls) -> tuple[str, ...]:
        return ("--embedded",)

    @classmethod
    def live(cls) -> None:
        """What happens between its start and its end."""
        client = BareSocket(cls.bridge.url())
        try:
            for body in BODIES:
                client.send(2, body)
                assert client.frame()[1] == body
            cls.bridge.send_signal(signal.SIGUSR2)
            cls.heard = [client.frame()[1]]
        finally:
            client.close()
        for number in (signal.SIGHUP, signal.SIGUSR1):
            cls.bridge.send_signal(number)
            cls.wait_for(number.name)

    @classmethod
    def wait_for(cls, channel: str, count: int = 1) -> None:
        """Wait until the last listener of a channel was called."""
        deadline = time.monotonic() + SECONDS
        while sum(entry[:2] == [channel, 90] for entry in diary.read(cls.file)) < count:
            assert time.monotonic() < deadline, cls.bridge.log
            time.sleep(0.01)

    def of(self, *channels: str) -> list[list[Any]]:
        """The entries about these."""
        return [entry for entry in self.entries if entry[0] in channels]

    def test_a_third_party_plugin_on_amqp2ws_sees_every_body(self) -> None:
        expected = [[len(body), hashlib.sha256(body).hexdigest()] for body in BODIES]
        seen = [entry[1:3] for entry in self.of("amqp2ws")]
        self.assertEqual(seen[: len(BODIES)], expected)

    def test_publishing_ws2amqp_on_the_bus_sends_one(self) -> None:
        self.assertEqual(self.heard, [b"\xff from the bus"])
        self.assertEqual(len(self.of("amqp2ws")), len(BODIES) + 1)

    def test_lifecycle_channels_fire_in_order_of_priority(self) -> None:
        expected = [[channel, priority] for channel in self.channels for priority in (10, 50, 90)]
        self.assertEqual([entry[:2] for entry in self.of(*self.channels)], expected)

    def test_the_state_of_the_bus_is_the_one_that_is_told(self) -> None:
        for state in ("started", "stopping", "stopped"):
            self.assertEqual({entry[-1] for entry in self.of(state)}, {state})
        self.assertEqual({entry[-1] for entry in self.of("SIGHUP", "amqp2ws")}, {"started"})
        self.assertEqual(self.of("start", "stop"), [["start", "starting"], ["stop", "stopping"]])

    def test_one_failing_listener_stops_no_other_and_all_failures_are_reported(self) -> None:
        # That it stopped no other is what the other tests have seen.
        events = re.split(r"(?m)^(?=\d{4}-\d\d-\d\dT)", self.bridge.log)
        wanted: dict[str, int] = {"amqp2ws": len(BODIES) + 1}
        for channel in self.channels:
            wanted[channel] = wanted.get(channel, 0) + 1
        for channel, times in wanted.items():
            told = [each for each in events if f"A listener on {channel} failed\n" in each]
            for when, where in (("at once", "fail"), ("later", "later")):
                found = [
                    each
                    for each in told
                    if "Traceback (most recent call last)" in each
                    and f"in {where}\n" in each
                    and f"RuntimeError: {when} on {channel}\n" in each
                ]
                self.assertEqual(len(found), times, (channel, when, told))


class BusOnRabbitMQTests(BusOnEmbeddedTests):
    """The same, and the broker drops the connections once."""

    channels = ("started", "ready", "unavailable", "ready", *CHANNELS[2:])

    @classmethod
    def options(cls) -> tuple[str, ...]:
        return ("--amqp-url", shared().url())

    @classmethod
    def live(cls) -> None:
        shared().ctl("close_all_connections", "as the test says")
        cls.wait_for("ready", 2)
        super().live()
