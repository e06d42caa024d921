"""``twbridge tasks`` as a process, with a real worker; the README's and the examples' tasks."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import EmbeddedNode, blameless
from tests.integration.rabbitmq import free_ports, in_thread
from tests.integration.rpc_cases import TWBRIDGE, RpcCase, WorkerProcess, command
from tests.integration.websocket import Client
from twbridge.rpc import CallCancelled, TaskError, gather

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "rpc"


class TasksCommandTests(RpcCase):
    """Listing tasks and workers, looking at dead letters, replaying them."""

    async def test_it_lists_tasks_with_their_queues_and_workers(self) -> None:
        said = await self.command("tasks", "--wait", "1.5")
        self.assertEqual((said.code, said.err), (0, ""))
        tasks, workers = said.out.split("\n\n")
        self.assertRegex(
            tasks.splitlines()[0], r"^TASK +GUARANTEE +WAITING +RUNNING +WORKERS +DEAD +QUEUE$"
        )
        add, poison = re.escape(self.name("add")), re.escape(self.name("poison"))
        self.assertRegex(tasks, rf"\n{add} +at-most-once +0 +0 +1 +- +twbridge\.task\.{add}\n")
        self.assertRegex(tasks, rf"\n{poison} +at-least-once +0 +0 +1 +\d+ +\S+\n")
        self.assertIn(f" {self.shared.process.pid} ", workers)

    async def test_json_is_for_scripts_and_names_choose(self) -> None:
        name, caller = self.name("endless"), await self.caller()
        begun: Deferred[Any] = Deferred()
        call = caller.call(name, "channel", on_progress=begun.callback)
        await begun
        said = await self.command("tasks", "list", name, "--json", "--wait", "1.5")
        call.cancel()
        await self.failure(call, CallCancelled)
        found = json.loads(said.out)
        self.assertEqual(
            found["tasks"],
            [
                {
                    "name": name,
                    "guarantee": "at-most-once",
                    "queue": f"twbridge.task.{name}",
                    "waiting": 0,
                    "running": 1,
                    "workers": 1,
                    "dead": None,
                }
            ],
        )
        self.assertIn(self.shared.process.pid, [each["pid"] for each in found["workers"]])

    async def test_a_task_that_nobody_ever_served_is_told_with_exit_code_1(self) -> None:
        said, replayed = await gather(
            self.command("tasks", "never", self.name("echo"), "--wait", "0.3"),
            self.command("tasks", "replay", "never"),
        )
        self.assertEqual(said.code, 1)
        self.assertEqual(said.err, "twbridge: no worker has ever served 'never' here\n")
        self.assertRegex(said.out, r"\nnever +- +- +0 +0 +- +twbridge\.task\.never\n")
        text = "twbridge: no worker has ever served the task 'never'\n"
        self.assertEqual(replayed, (1, "", text))

    async def test_a_task_at_most_once_has_no_dead_letters_and_that_is_said(self) -> None:
        name = self.name("add")
        for said in await gather(*(self.command("tasks", w, name) for w in ("dead", "replay"))):
            self.assertEqual((said.code, said.out), (1, ""))
            self.assertRegex(said.err, r"^twbridge: the task '\S+' runs at most once: .*\n$")

    async def test_dead_letters_are_shown_and_replayed(self) -> None:
        caller, name, folder = await self.caller(), self.name("poison"), self.folder
        bodies = [{"folder": str(folder), "n": n} for n in range(3)]
        for error in await gather(*(caller.call(name, body) for body in bodies)):
            self.assertIsInstance(error, TaskError)
        said = await self.command("tasks", "dead", name, "--limit", "2", "--json")
        found = [json.loads(line) for line in said.out.splitlines()]
        self.assertEqual(len(found), 2)
        for letter in found:
            self.assertIn(json.loads(base64.b64decode(letter["body"])), bodies)
            self.assertEqual((letter["reason"], letter["caller"]), ("rejected", caller.id))
        Path(folder, "cure").touch()
        self.assertEqual(
            await self.command("tasks", "replay", name, "--limit", "2"), (0, "2 replayed\n", "")
        )
        said = await self.command("tasks", "dead", name)
        self.assertEqual((said.code, said.err), (0, ""))
        self.assertRegex(said.out, r"^20\S+ \S+ rejected \S+ {.*\"n\":\d}\n$")

    async def test_no_broker_is_one_line_and_exit_code_1(self) -> None:
        (port,) = free_ports(1)
        url = f"amqp://me:s3cret@127.0.0.1:{port}/"
        said = await self.command("tasks", "replay", "x", url=url, TWBRIDGE_AMQP_TIMEOUT="0.5")
        self.assertEqual((said.code, said.out), (1, ""))
        self.assertRegex(said.err, r"^twbridge: the broker can't be asked: .*refused.*\n$")
        self.assertNotIn("s3cret", said.err)

    async def test_interrupted_is_130(self) -> None:
        asking = subprocess.Popen(
            [str(TWBRIDGE), "tasks", "--wait", "60"],
            env={"PATH": os.environ["PATH"], "AMQP_URL": self.node.url()},
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.addCleanup(asking.kill)
        # Signals are heeded before it connects.
        await self.until(lambda: has_socket(asking.pid))
        asking.send_signal(signal.SIGINT)
        _, complaints = await in_thread(asking.communicate, timeout=10)
        self.assertEqual((asking.returncode, complaints), (130, b""))


class TryItTests(TestCase):
    """What a newcomer copies, on the bridge's own broker."""

    timeout = 60
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-rpc-"))

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder, ignore_errors=True)

    async def bridge(self, *options: str) -> tuple[Bridge, str]:
        """A bridge with a broker of its own, and the URL of that."""
        bridge = Bridge("--embedded", *options)
        self.addCleanup(lambda: in_thread(bridge.close))
        await in_thread(bridge.start)
        return bridge, EmbeddedNode(bridge).url()

    async def served(self, url: str, tasks: Path) -> WorkerProcess:
        """A worker with that file."""
        worker = WorkerProcess(self.folder, url, str(tasks))
        self.addCleanup(lambda: in_thread(worker.close))
        await in_thread(worker.serves)
        return worker

    async def ended(self, bridge: Bridge, worker: WorkerProcess) -> None:
        """Both end well."""
        self.assertEqual(await in_thread(worker.stop), 0)
        self.assertEqual(await in_thread(bridge.stop), 0)
        blameless(bridge.log)

    async def test_the_readme_answers(self) -> None:
        text = (ROOT / "README.md").read_text()
        section = text[text.index("\n## Tasks\n") :]
        tasks, caller = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]
        self.assertEqual((len(tasks.splitlines()), len(caller.splitlines())), (12, 5))
        bridge, url = await self.bridge()
        nothing = await in_thread(command, url, "tasks", "--wait", "0.1")
        self.assertEqual(nothing, (0, "No worker serves a task now.\n", ""))
        (self.folder / "tasks.py").write_text(tasks)
        (self.folder / "caller.py").write_text(caller.replace("amqp://localhost", url))
        worker = await self.served(url, Path("tasks.py"))
        done, said, answer = await gather(
            in_thread(self.run_caller),
            in_thread(command, url, "call", "add", "[1, 2]", "--timeout", "5"),
            in_thread(post, bridge, "add", b"[1, 2]"),
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "3\n1\n", ""))
        self.assertEqual(said, (0, "3\n", ""))
        self.assertEqual(answer, (200, b"3"))
        client = await self.client(bridge)
        self.assertEqual((await client.ask("call", task="visits"))["body"], 2)
        await client.socket.leave()
        await self.ended(bridge, worker)

    def run_caller(self) -> subprocess.CompletedProcess[str]:
        """Run the README's caller to its end."""
        return subprocess.run(
            [sys.executable, "caller.py"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    async def test_the_example_answers_by_its_rules(self) -> None:
        bridge, url = await self.bridge("--config", str(EXAMPLE / "bridge.toml"))
        worker = await self.served(url, EXAMPLE / "tasks.py")
        self.assertEqual(await in_thread(post, bridge, "add", b'{"a":1,"b":2}'), (200, b"3"))
        status, _ = await in_thread(post, bridge, "orders.save", b'{"id":1}')
        self.assertEqual(status, 403)
        said, refused = await gather(
            in_thread(command, url, "call", "report", '{"pages":2,"seconds":0.01}', "--progress"),
            in_thread(command, url, "call", "orders.save", "{}"),
        )
        self.assertEqual((said.code, json.loads(said.out)["pages"]), (0, 2))
        self.assertEqual(said.err.splitlines(), ['{"page":1,"of":2}', '{"page":2,"of":2}'])
        self.assertEqual(refused.code, 1)
        self.assertIn("An order has an id.", refused.err)
        client = await self.client(bridge)
        call = {"op": "call", "id": "r", "task": "report", "body": {"pages": 2, "seconds": 0.01}}
        client.socket.send(json.dumps(call))
        self.assertEqual((await client.frame("progress"))["body"], {"page": 1, "of": 2})
        self.assertEqual((await client.frame("result"))["body"]["pages"], 2)
        await client.socket.leave()
        await self.ended(bridge, worker)

    async def client(self, bridge: Bridge) -> Client:
        """A browser's connection."""
        client = await Client.connect(bridge.url())
        self.addCleanup(lambda: Deferred.fromCoroutine(client.socket.leave()))
        return client


def has_socket(pid: int) -> bool:
    """Whether a process has opened one."""
    with contextlib.suppress(OSError):
        return any(
            os.readlink(each).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir()
        )
    return False


def post(bridge: Bridge, task: str, body: bytes) -> tuple[int, bytes]:
    """Call over HTTP, as curl does."""
    connection: Any = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=10.0)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/api/call/{task}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
