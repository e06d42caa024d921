"""``twbridge wsgi-worker``: a whole worker, with processes, on the embedded broker."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.rpc.executors_case import lives, reactor, until
from tests.wsgi.worker_case import FakeBridge, request
from twbridge.amqp import Link, parse
from twbridge.broker import EmbeddedBroker
from twbridge.cli import main
from twbridge.wsgi.messages import Cancel, Failed, Start, ToBridge

ROOT = Path(__file__).parent.parent.parent
SMALL = "tests.wsgi.modules.small:application"


class Command(ProcessProtocol):
    """``twbridge wsgi-worker``, and what it says."""

    def __init__(self, *arguments: str, url: str) -> None:
        self.said = ""
        self.code: int | None = None
        self.gone: Deferred[None] = Deferred()
        command = [sys.executable, "-m", "twbridge", "wsgi-worker", *arguments]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "AMQP_URL": url}
        self.process: Any = reactor.spawnProcess(
            self, sys.executable, command, environment, path=str(ROOT)
        )

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.said += data.decode()

    def processEnded(self, reason: Failure) -> None:
        self.code = reason.value.exitCode  # type: ignore[union-attr]
        self.gone.callback(None)

    def children(self) -> list[int]:
        """The ids of its child processes."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> Deferred[None]:
        """Have it gone."""
        if self.code is None and not self.gone.called:
            self.process.signalProcess("KILL")
        return self.gone


class ServingTests(TestCase):
    """From the queue to the application, and back."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        broker = EmbeddedBroker(reactor)
        await broker.listen(port=0)
        self.addCleanup(broker.stop)
        self.url = broker.url

    async def command(self, *arguments: str, app: str = SMALL) -> Command:
        command = Command(app, "--processes", "1", *arguments, url=self.url)
        self.addCleanup(command.kill)
        await until(lambda: ": serves " in command.said or command.gone.called, "its beginning")
        return command

    async def bridge(self) -> FakeBridge:
        link = Link(reactor, parse(self.url))
        link.start()
        self.addCleanup(link.stop)
        bridge = FakeBridge(link)
        await bridge.listen()
        return bridge

    async def last(self, bridge: FakeBridge, id: str) -> ToBridge:
        """The last message of a request, when it has ended."""
        ends = (Start, Failed)
        await until(lambda: isinstance(bridge.got.get(id, [None])[-1], ends), f"the end of {id}")
        return bridge.got[id][-1]

    async def test_it_serves_until_it_is_told_to_end(self) -> None:
        command = await self.command()
        self.assertIn(f": serves {SMALL} at /app, 1 process, amqp://guest@127.0.0.1", command.said)
        bridge = await self.bridge()
        await bridge.ask("1", request(method="POST", body=b"hello", length=5))
        start = await self.last(bridge, "1")
        assert isinstance(start, Start)
        self.assertEqual((start.status, start.body), (200, b"hello"))
        await bridge.ask("2", request(path="/sleep", query="0.5"))
        await until(lambda: "2" in bridge.got, "Accepted")
        command.process.signalProcess("TERM")
        self.assertIsInstance(await self.last(bridge, "2"), Start)
        await command.gone
        self.assertEqual(command.code, 0, command.said)

    async def test_what_loops_is_killed_at_its_deadline_and_with_the_worker(self) -> None:
        command = await self.command()
        bridge = await self.bridge()
        (before,) = command.children()
        await bridge.ask("1", request(path="/loop"))
        await until(lambda: "1" in bridge.got, "Accepted")
        await bridge.tell("1", Cancel("deadline"))
        await bridge.ask("2")
        start = await self.last(bridge, "2")
        assert isinstance(start, Start)
        self.assertNotEqual(start.body, f"{before}".encode())
        await until(lambda: before not in command.children(), "the end of what loops")
        self.assertIn("GET /app/loop does not end: process", command.said)
        self.assertRegex(command.said, r'modules/small.py", line \d+ in application')
        (child,) = command.children()
        await bridge.ask("3", request(path="/loop"))
        await until(lambda: "3" in bridge.got, "Accepted")
        os.kill(command.process.pid, signal.SIGKILL)
        await command.gone
        await until(lambda: not lives(child), "the end of its child")

    async def test_what_it_can_not_serve_is_said_in_one_line(self) -> None:
        missing = Command("tests.wsgi.modules.small:nothing", url=self.url)
        broken = Command("tests.wsgi.modules.broken", url=self.url)
        await missing.gone
        await broken.gone
        late = Command(SMALL, "--start", "0.01", url=self.url)
        await late.gone
        self.assertEqual((missing.code, broken.code, late.code), (1, 1, 1))
        self.assertRegex(late.said, "^twbridge: .*it took more than 0.01 s to start\n$")
        self.assertRegex(missing.said, "^twbridge: .*'nothing'[^\n]*\n$")
        self.assertIn("Traceback", broken.said)
        self.assertRegex(broken.said, "\ntwbridge: [^\n]*RuntimeError: no database\n$")


class MountTests(SynchronousTestCase):
    """Where it may be mounted."""

    def test_what_is_no_path_is_refused_in_one_line(self) -> None:
        for mount in ("", "app", "/a b", "/a//b", "/" + "a" * 300, "/api/x"):
            said = CliRunner().invoke(
                main, ["wsgi-worker", SMALL, "--mount", mount, "--amqp-url", "amqp://nowhere"]
            )
            self.assertEqual(said.exit_code, 1, said.output)
            self.assertRegex(said.output, "^twbridge: the mount .*must .*\n$")
