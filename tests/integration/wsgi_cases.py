"""What the tests of WSGI over queues have in common: a bridge, and workers as processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, cast

from twisted.internet.defer import Deferred

from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import BridgeCase, EmbeddedNode
from tests.integration.rabbitmq import Node, in_thread
from tests.integration.rpc_cases import TWBRIDGE, WorkerProcess
from tests.integration.wsgi_client import Answer, ask

PLAIN = "tests.integration.wsgi_plain:application"
VALIDATED = "tests.integration.wsgi_plain:validated"
FLASK = "tests.integration.wsgi_flask:app"
ONE = ("--processes", "1")
DJANGO = "tests.integration.wsgi_site.wsgi:application"

#: Seconds between two tries to reach a broker that is away, at most.
RECONNECT = 0.5


class WsgiCase(BridgeCase):
    """Tests with a bridge of the class's own, and workers for mounts that nobody else uses."""

    timeout = 60
    #: The mounts that the bridge's settings name, and what they say of each.
    mounts: ClassVar[Mapping[str, str]] = {}
    #: What is served while the class runs: a mount, the application, options.
    served: ClassVar[Iterable[tuple[str, ...]]] = ()
    #: What all names of mounts end with.
    mark: str
    folder: Path
    workers: list[WorkerProcess]

    @classmethod
    def setUpClass(cls) -> None:
        cls.mark = uuid.uuid4().hex[:8]
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-wsgi-"))
        cls.toml = cls.settings()
        cls.start_bridge()
        cls.workers = [cls.begun(*each) for each in cls.served]
        for worker in cls.workers:
            worker.serves()

    @classmethod
    def settings(cls) -> str:
        """The bridge's."""
        return f"[amqp]\nreconnect_cap = {RECONNECT}\n" + "".join(
            f'[[mount]]\npath = "{cls.path(name)}"\n{more}\n' for name, more in cls.mounts.items()
        )

    @classmethod
    def start_bridge(cls) -> None:
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        """Nothing went wrong in a worker, nor in the bridge."""
        try:
            for worker in cls.workers:
                worker.process.terminate()
            for worker in cls.workers:
                assert worker.wait() == 0, worker.said
                assert "Unhandled" not in worker.said, worker.said
        finally:
            for worker in cls.workers:
                worker.close()
            shutil.rmtree(cls.folder, ignore_errors=True)
            super().tearDownClass()

    def setUp(self) -> None:
        (self.folder / "notes").unlink(missing_ok=True)

    @classmethod
    def path(cls, mount: str, rest: str = "") -> str:
        """Where a mount is, and a path below it."""
        return f"/{mount}-{cls.mark}{rest}"

    @classmethod
    def begun(cls, mount: str, application: str, *options: str) -> WorkerProcess:
        """One more worker, which does not serve yet; the caller closes it."""
        return WorkerProcess(
            cls.folder,
            cls.node.url(query="heartbeat=2"),
            *(application, "--mount", cls.path(mount), *options),
            program=(str(TWBRIDGE), "wsgi-worker"),
            TEST_FOLDER=str(cls.folder),
            RECONNECT_DELAY=str(RECONNECT),
        )

    async def worker(self, mount: str, *options: str, application: str = PLAIN) -> WorkerProcess:
        """One more worker, which serves; it is gone after the test."""
        worker = self.begun(mount, application, *options)
        self.addCleanup(lambda: in_thread(worker.close))
        await in_thread(worker.serves)
        return worker

    def ask(
        self, method: str, target: str, body: bytes = b"", fields: Mapping[str, str] | None = None
    ) -> Deferred[Answer]:
        """One request on a connection of its own."""
        return in_thread(ask, self.bridge.port, method, target, body, fields)

    async def texts(self, asked: Iterable[Deferred[Answer]]) -> list[str]:
        """What answers say that must be 200."""
        found = []
        for each in list(asked):
            answer = await each
            self.assertEqual((answer.status, answer.reason), (200, "OK"), answer)
            found.append(answer.text)
        return found

    def notes(self, *begin: str) -> list[list[str]]:
        """What the applications have noted, a list of words each; those that begin so."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [words for line in lines if (words := line.split())[: len(begin)] == list(begin)]

    async def noted(self, *begin: str, count: int = 1) -> list[list[str]]:
        """Wait until so many of them are there."""
        await self.until(lambda: len(self.notes(*begin)) >= count, else_say=self.notes)
        return self.notes(*begin)


class OnOwnBroker(WsgiCase):
    """The same tests on a bridge that is the broker of the workers: it comes before their class."""

    options: ClassVar[tuple[str, ...]] = ("--embedded",)

    @classmethod
    def start_bridge(cls) -> None:
        cls.bridge = Bridge(*cls.options, toml=cls.toml)
        try:
            cls.bridge.start()
            cls.node = cast(Node, EmbeddedNode(cls.bridge))
        except BaseException:
            cls.bridge.close()
            raise


class Memory:
    """How much processes grow while something goes on.

    Args:
        pids: of them, by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        for pid in pids.values():
            # proc(5): the peak begins anew.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = {name: _memory(pid, "VmRSS") for name, pid in pids.items()}

    def grown(self) -> dict[str, float]:
        """MiB that each has had more than at the beginning, at its highest."""
        return {
            name: (_memory(pid, "VmHWM") - self._before[name]) / 1024
            for name, pid in self._pids.items()
        }


def _memory(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def parents() -> Iterator[tuple[int, int]]:
    """All processes that live, each with the one that has started it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(path.parent.name), int(fields[1])


def children(pid: int) -> set[int]:
    """The processes that a process has started, and that live."""
    return {child for child, parent in parents() if parent == pid}


def parent(pid: int) -> int:
    """The process that has started this one."""
    return dict(parents())[pid]


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    return any(known == pid for known, _ in parents())


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, 9)


def form(boundary: str, name: str, data: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """A form with a file in it, and its Content-Type."""
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = "".join(lines).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def cookies(*answers: Answer) -> dict[str, str]:
    """What a browser sends back: the name and the value of each cookie, the last one counts."""
    found: dict[str, str] = {}
    for answer in answers:
        for cookie in answer.all("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            found[name] = value
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in found.items())}
