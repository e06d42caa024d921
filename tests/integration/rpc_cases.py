"""What the tests of tasks over queues have in common: workers as processes, on both brokers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import EmbeddedNode, blameless
from tests.integration.cases import BrokerCase
from tests.integration.rabbitmq import Node, in_thread
from twbridge.rpc import Caller

TWBRIDGE = Path(sys.executable).with_name("twbridge")
TASKS = Path(__file__).with_name("rpc_tasks.py")
SECONDS = 30.0
_REAPER = 'cat; kill -s KILL -- "-$1"'


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


def command(url: str, *arguments: str, **environment: str) -> Said:
    """Run ``twbridge`` to its end."""
    done = subprocess.run(
        [str(TWBRIDGE), *arguments],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "AMQP_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


class WorkerProcess:
    """``twbridge worker``, as a process of its own, that is gone when this one ends.

    Args:
        folder: where it runs, and writes what it says.
        url: of the broker.
        arguments: the module, and options.
        program: what is run.
        environment: more variables.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *arguments: str,
        program: Sequence[str] = (str(TWBRIDGE), "worker"),
        **environment: str,
    ) -> None:
        self._said = folder / f"worker-{uuid.uuid4()}"
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                [*program, *arguments],
                cwd=folder,
                env={
                    "HOME": str(folder),
                    "LANG": "C.UTF-8",
                    "PATH": os.environ["PATH"],
                    "AMQP_URL": url,
                    "PYTHONPATH": str(TASKS.parent.parent.parent),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER, "reaper", str(self.process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        """What it has said on stdout and stderr."""
        return self._said.read_text(errors="replace")

    def serves(self) -> None:
        """Wait until it serves.

        Raises:
            AssertionError: it ended, or took too long; the text is what it said.
        """
        deadline = time.monotonic() + SECONDS
        while ": serves " not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def wait(self) -> int:
        """Wait for its end; gives the exit code, negative where it was a signal."""
        return self.process.wait(SECONDS)

    def stop(self) -> int:
        """SIGTERM, and wait for its end."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Kill it; may be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._reaper.poll() is None:
            os.killpg(self._reaper.pid, signal.SIGKILL)
        self._reaper.wait()
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()


class TaskCase(BrokerCase):
    """Tests of calls, on a broker that is the class's choice."""

    timeout = 60

    @classmethod
    def setUpClass(cls) -> None:
        # No more: a bridge, where there is one too, starts when the worker serves.
        cls.node = cls.own_node()

    async def caller(self, url: str | None = None, **options: Any) -> Caller:
        """A caller that is stopped after the test."""
        caller = Caller(url or self.node.url(), reactor=reactor, **options)
        self.addCleanup(caller.stop)
        await caller.start()
        return caller

    def command(self, *arguments: str, url: str | None = None, **more: str) -> Deferred[Said]:
        """What ``twbridge`` says to that."""
        return in_thread(command, url or self.node.url(), *arguments, **more)


class RpcCase(TaskCase):
    """Tests with a worker of the class's own, which serves ``rpc_tasks.py`` under names that
    nobody else uses.
    """

    #: What the names of its tasks begin with.
    prefix: str
    #: Of the URL that workers get.
    query = "heartbeat=1"
    folder: Path
    shared: WorkerProcess

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.prefix = f"test.{uuid.uuid4().hex[:12]}."
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-rpc-"))
        cls.shared = cls.started("--set", "colour=blue")
        cls.shared.serves()

    @classmethod
    def tearDownClass(cls) -> None:
        """Nothing stays on the broker, and nothing went wrong in the worker."""
        try:
            assert cls.shared.stop() == 0, cls.shared.said
            assert "Unhandled" not in cls.shared.said, cls.shared.said
        finally:
            cls.shared.close()
            shutil.rmtree(cls.folder, ignore_errors=True)
            _delete_queues(cls.node.url(), cls.prefix)
            super().tearDownClass()

    @classmethod
    def started(cls, *options: str, tasks: Path = TASKS) -> WorkerProcess:
        """One more worker, which does not serve yet; the caller closes it."""
        url = cls.node.url(query=cls.query)
        return WorkerProcess(cls.folder, url, str(tasks), *options, TEST_PREFIX=cls.prefix)

    async def worker(self, *options: str, **settings: Any) -> WorkerProcess:
        """One more worker, which serves; it is gone after the test."""
        worker = self.started(*options, **settings)
        self.addCleanup(lambda: in_thread(worker.close))
        await in_thread(worker.serves)
        return worker

    def name(self, task: str) -> str:
        """The whole name of a task."""
        return self.prefix + task

    async def idle(self) -> str:
        """A task with a queue, and without a worker."""
        name = self.name("idle")
        arguments = {"x-max-priority": 10, "x-dead-letter-exchange": "twbridge.dlx"}
        queue = f"twbridge.task.{name}"
        await in_thread(witness.declare, self.node.url(), queue, arguments=arguments)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), queue))
        return name


class OnEmbedded(TaskCase):
    """The same tests on the broker of a bridge: it comes before their class."""

    #: Of the bridge.
    toml = ""
    bridge: Bridge

    @classmethod
    def own_node(cls) -> Node:
        cls.bridge = Bridge("--embedded", toml=cls.toml)
        try:
            cls.bridge.start()
            return cast(Node, EmbeddedNode(cls.bridge))
        except BaseException:
            cls.bridge.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()
            if cls.bridge.running:
                assert cls.bridge.stop() == 0, cls.bridge.log
                blameless(cls.bridge.log)
        finally:
            cls.bridge.close()


def _delete_queues(url: str, prefix: str) -> None:
    names = re.findall(r'^@task\(PREFIX \+ "([^"]+)"', TASKS.read_text(), re.MULTILINE)
    with witness.channel(url) as channel:
        for name in names:
            for kind in ("task", "dead"):
                channel.queue_delete(f"twbridge.{kind}.{prefix}{name}")
