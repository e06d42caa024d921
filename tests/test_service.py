"""``twistd twbridge`` as a process: how it begins, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import Bridge

UNIT = Path(__file__).parent.parent / "deploy" / "twbridge@.service"
STRICT = {"PYTHONWARNINGS": "error"}


class DaemonTestCase(SynchronousTestCase):
    """Starts daemons, with every warning an error."""

    def daemon(self, *options: str, toml: str = "", **environment: str) -> Bridge:
        bridge = Bridge(*options, toml=toml, environment={**STRICT, **environment})
        self.addCleanup(bridge.close)
        return bridge

    def busy_port(self) -> int:
        busy = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(busy.close)
        return int(busy.getsockname()[1])

    def refused(self, *options: str, toml: str = "", **environment: str) -> list[str]:
        """The lines on stderr of a daemon that ends with exit code 1 by itself."""
        bridge = self.daemon(*options, toml=toml, **environment)
        bridge.launch()
        self.assertEqual(bridge.wait(20), 1, bridge.log)
        self.assertNotIn("Traceback", bridge.log + bridge.complaints)
        lines = bridge.complaints.splitlines()
        for line in lines:
            self.assertTrue(line.startswith("twbridge: "), bridge.complaints)
        return [line.removeprefix("twbridge: ") for line in lines]


class RefusalTests(DaemonTestCase):
    """Whatever is wrong at start is one line and exit code 1."""

    def test_no_broker_names_the_two_ways_out(self) -> None:
        (line,) = self.refused()
        self.assertIn("--amqp-url URL", line)
        self.assertIn("--embedded", line)

    def test_wrong_settings_are_a_line_each(self) -> None:
        lines = self.refused(
            "--amqp-url", "http://user:sekret@host", toml="[limits]\nframe = 0\nfoo = 1"
        )
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], r"^limits.frame \(.*\) must be greater than 0, not 0$")
        self.assertRegex(lines[1], r"^limits.foo .* is not a setting$")
        self.assertRegex(lines[2], r"^amqp.url \(--amqp-url\): ")
        self.assertNotIn("sekret", lines[2])

    def test_a_wrong_url_is_one_line_without_the_password(self) -> None:
        for url in ("http://user:sekret@host", "user:sekret@host", "amqp://u:sekret@h:port"):
            (line,) = self.refused("--amqp-url", url)
            self.assertRegex(line, r"^amqp.url \(--amqp-url\): ")
            self.assertNotIn("sekret", line)

    def test_a_flag_that_is_none_is_one_line_without_the_usage(self) -> None:
        (line,) = self.refused("--embeded")
        self.assertIn("--embeded not recognized", line)
        (line,) = self.refused("--embedded", "argument")
        self.assertIn("'argument' is no option", line)

    def test_invalid_toml_is_one_line(self) -> None:
        (line,) = self.refused(toml="[amqp")
        self.assertIn("is not valid TOML", line)

    def test_a_busy_port_is_one_line(self) -> None:
        port = self.busy_port()
        (line,) = self.refused("--embedded", "--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertEqual(
            line,
            f"listen[0].endpoint: can't listen on tcp:{port}:interface=127.0.0.1: "
            "Address already in use",
        )

    def test_a_busy_port_of_the_embedded_broker_is_one_line(self) -> None:
        port = self.busy_port()
        toml = f'[embedded]\nenabled = true\nlisten = "127.0.0.1:{port}"'
        (line,) = self.refused(toml=toml)
        self.assertEqual(
            line, f"embedded.listen: can't listen on 127.0.0.1:{port}: Address already in use"
        )

    def test_a_port_that_is_none_is_one_line(self) -> None:
        (line,) = self.refused("--embedded", "--listen", "tcp:99999")
        self.assertRegex(line, r"^listen\[0\].endpoint \(--listen\): 'tcp:99999' .* 0 to 65535")

    def test_a_certificate_that_is_not_there_is_one_line(self) -> None:
        (line,) = self.refused("--amqp-url", "amqps://h?cacertfile=/no/ca.pem")
        self.assertRegex(line, "/no/ca.pem.*No such file or directory")

    def test_a_broker_that_is_not_there_after_the_attempts_is_exit_code_1(self) -> None:
        bridge = self.daemon(
            "--amqp-url", "amqp://u:sekret@127.0.0.1:1", AMQP_CONNECTION_ATTEMPTS="2"
        )
        bridge.launch()
        self.assertEqual(bridge.wait(20), 1)
        self.assertIn("Ending: the link is closed", bridge.log)
        self.assertNotIn("sekret", bridge.log)

    def test_a_daemon_tells_its_parent(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        twistd = Path(sys.executable).with_name("twistd")
        done = subprocess.run(
            [twistd, "twbridge", "--embedded", "--listen", f"tcp:{self.busy_port()}"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **STRICT},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("can't listen on", done.stdout + done.stderr)
        # It is told before the daemon has ended.
        deadline = time.monotonic() + 10
        while len(os.listdir(folder)) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(os.listdir(folder), ["twistd.log"])


class LifeTests(DaemonTestCase):
    """A daemon that runs."""

    def test_it_warns_of_a_route_that_nobody_may_use(self) -> None:
        toml = '[[allow]]\noperation = "publish"\ndestination = "/topic/#"'
        bridge = self.daemon("--embedded", toml=toml)
        bridge.start()
        self.assertIn(
            "chat page can't use the route /ws: no [[allow]] rule covers subscribe", bridge.log
        )

    def test_it_says_where_it_listens_which_broker_and_what_is_allowed(self) -> None:
        bridge = self.daemon("--embedded")
        bridge.start()
        self.assertIn(f"Clients connect to 127.0.0.1:{bridge.port}", bridge.log)
        self.assertRegex(bridge.log, r"The broker is amqp://guest@127.0.0.1:\d+/%2F\n")
        self.assertIn(f"everything is allowed on 127.0.0.1:{bridge.port}", bridge.log)
        self.assertRegex(bridge.log, "for this machine only, it keeps nothing")
        self.assertEqual(bridge.complaints, "")

    def test_a_listener_for_everybody_allows_nothing_without_rules_and_says_so(self) -> None:
        bridge = self.daemon("--embedded", "--listen", "tcp:0")
        bridge.launch()
        deadline = time.monotonic() + 20
        while "nothing is allowed on 0.0.0.0:" not in bridge.log and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertIn("nothing is allowed on 0.0.0.0:", bridge.log)

    def test_the_embedded_broker_takes_another_port_where_its_own_is_taken(self) -> None:
        first, second = self.daemon("--embedded"), self.daemon("--embedded")
        first.start()
        second.start()
        ports = [
            re.findall(r"The broker is amqp://guest@127.0.0.1:(\d+)/", each.log)
            for each in (first, second)
        ]
        self.assertNotEqual(ports[0], ports[1])

    def test_signals_send_the_clients_away_and_end_with_exit_code_0(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            bridge = self.daemon("--embedded")
            bridge.start()
            client = BareSocket(bridge.url())
            self.addCleanup(client.close)
            bridge.send_signal(number)
            self.assertEqual(client.close_frame().code, 1001)
            client.send(8, b"\x03\xe9")
            self.assertEqual(bridge.wait(), 0)
            self.assertEqual(bridge.complaints, "")
            self.assertNotIn("Traceback", bridge.log)

    def test_two_signals_are_as_good_as_one(self) -> None:
        bridge = self.daemon("--embedded")
        bridge.start()
        client = BareSocket(bridge.url())
        self.addCleanup(client.close)
        bridge.send_signal(signal.SIGTERM)
        bridge.send_signal(signal.SIGINT)
        self.assertEqual(bridge.wait(), 0)
        self.assertNotIn("Traceback", bridge.log)

    def test_a_broker_that_is_away_does_not_delay_the_end(self) -> None:
        bridge = self.daemon("--amqp-url", "amqp://127.0.0.1:1")
        bridge.launch()
        bridge.until(lambda answer: answer.status == 503)
        begun = time.monotonic()
        self.assertEqual(bridge.stop(), 0)
        self.assertLess(time.monotonic() - begun, 5)

    def test_the_log_can_be_json(self) -> None:
        bridge = self.daemon("--embedded", "--log-format", "json")
        bridge.start()
        self.assertEqual(bridge.stop(), 0)
        for line in bridge.log.splitlines():
            self.assertLessEqual({"time", "level", "namespace", "message"}, set(json.loads(line)))

    def test_no_password_is_logged(self) -> None:
        bridge = self.daemon(
            "--log-level", "debug", AMQP_URL="amqp://user:sekret@127.0.0.1:1/vhost"
        )
        bridge.launch()
        bridge.until(lambda answer: "refused" in answer.body)
        self.assertEqual(bridge.stop(), 0)
        self.assertIn("amqp://user@127.0.0.1:1/vhost", bridge.log)
        self.assertNotIn("sekret", bridge.log + bridge.complaints)


class SystemdTests(DaemonTestCase):
    """deploy/twbridge@.service, without systemd running."""

    def manager(self) -> tuple[socket.socket, str]:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(f"{folder}/notify")
        manager.settimeout(20)
        return manager, f"{folder}/notify"

    def heard(self, manager: socket.socket, state: str) -> str:
        """Waits for a state; gives all of its message."""
        while True:
            message = manager.recv(4096).decode()
            if state in message.splitlines():
                return message

    def test_the_manager_is_told_ready_alive_and_stopping(self) -> None:
        manager, path = self.manager()
        bridge = self.daemon("--embedded", NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        bridge.launch()
        self.assertIn("STATUS=ready", self.heard(manager, "READY=1"))
        self.assertEqual(bridge.get().status, 200)
        self.heard(manager, "WATCHDOG=1")
        self.heard(manager, "WATCHDOG=1")
        bridge.send_signal()
        self.heard(manager, "STOPPING=1")
        self.assertEqual(bridge.wait(), 0)

    def test_the_unit_scores_well(self) -> None:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(UNIT)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)

    def test_the_unit_has_no_mistakes(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        twistd = Path(sys.executable).with_name("twistd")
        text = UNIT.read_text().replace("/opt/twbridge/bin/twistd", str(twistd))
        (folder / "twbridge@1.service").write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(folder / "twbridge@1.service")],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual([line for line in done.stderr.splitlines() if "twbridge@" in line], [])

    def test_the_command_of_the_unit_runs(self) -> None:
        (command,) = re.findall(r"^ExecStart=\S+ (.*)$", UNIT.read_text(), re.MULTILINE)
        manager, path = self.manager()
        folder = Path(path).parent
        broker = self.daemon("--embedded")
        broker.start()
        (port,) = re.findall(r"The broker is amqp://guest@127.0.0.1:(\d+)/", broker.log)
        (folder / "amqp-url").write_text(f"amqp://guest:guest@127.0.0.1:{port}\n")
        (folder / "1.toml").write_text('[[listen]]\nendpoint = "tcp:0:interface=127.0.0.1"')
        command = command.replace("${CREDENTIALS_DIRECTORY}", str(folder))
        command = command.replace("/etc/twbridge/%i", f"{folder}/1")
        twistd = Path(sys.executable).with_name("twistd")
        process = subprocess.Popen(
            [str(twistd), *command.split()],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": path},
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertIn("STATUS=ready", self.heard(manager, "READY=1"))
        process.terminate()
        self.assertEqual(process.wait(20), 0)
