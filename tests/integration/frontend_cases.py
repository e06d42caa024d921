"""What the tests of ``examples/frontend`` have in common."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.rpc_cases import SECONDS, WorkerProcess
from tests.integration.wsgi_client import Answer, Http, ask

FRONTEND = Path(__file__).parent.parent.parent / "examples" / "frontend"
AS_JSON = {"Content-Type": "application/json"}


class Site(WorkerProcess):
    """One instance, on a port of its own.

    Args:
        folder: where it writes what it says.
        options: of the command.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = (sys.executable, str(FRONTEND), "--port", "0")
        super().__init__(folder, "amqp://nobody@127.0.0.1:1", *options, program=program)
        self.port = 0

    def serves(self) -> None:
        """Wait until it says where its page is."""
        until(lambda: "The page is at" in self.said or self.process.poll() is not None)
        found = re.search(r"The page is at http://127\.0\.0\.1:(\d+)/", self.said)
        assert found is not None, self.said
        self.port = int(found[1])

    @property
    def family(self) -> set[int]:
        """The processes that it has started, and they."""
        pairs = dict(parents())
        found = {self.process.pid}
        while more := {pid for pid, parent in pairs.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}

    def get(self, path: str) -> Answer:
        """GET."""
        return ask(self.port, "GET", path)

    @property
    def workers(self) -> dict[str, int]:
        """How many it sees of each kind."""
        found: dict[str, int] = self.get("/stat").json["workers"]
        return found

    def publish(self, text: str, **fields: str) -> Answer:
        """Publish a line."""
        line = json.dumps({"name": "Ada", "text": text} | fields).encode()
        return ask(self.port, "POST", "/publish", line, AS_JSON)

    def subscribed(self, after: str | None = None) -> Http:
        """A request that waits for a line."""
        polls = self.get("/stat").json["polls"]
        http = Http(self.port)
        http.request("GET", "/subscribe" + (f"?after={after}" if after else ""))
        if after is None:
            until(lambda: self.get("/stat").json["polls"] > polls)
        return http


class SiteCase(TestCase):
    """Tests with an instance of the class's own."""

    timeout = 60
    ends_by = signal.SIGTERM
    folder: Path
    site: Site

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-frontend-"))
        cls.site = Site(cls.folder, *cls.options())
        cls.site.serves()

    @classmethod
    def options(cls) -> tuple[str, ...]:
        return ()

    @classmethod
    def end(cls) -> None:
        """What ends it."""
        cls.site.process.send_signal(cls.ends_by)

    @classmethod
    def tearDownClass(cls) -> None:
        """It ends as it should, and with it all that it has started."""
        try:
            family = cls.site.family
            assert len(family) >= 4, family
            cls.end()
            code = cls.site.wait()
            until(lambda: not family & parents().keys(), seconds=5.0)
            if cls.ends_by != signal.SIGKILL:
                assert code == 0, cls.site.said
                for word in ("Traceback", "Unhandled", "#warn", "#error"):
                    assert word not in cls.site.said, cls.site.said
        finally:
            cls.site.close()
            shutil.rmtree(cls.folder, ignore_errors=True)


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def parents() -> dict[int, int]:
    """All processes that live, and who has started each."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = stat.read_text().rpartition(") ")[2].split(" ")
            if state != "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


def command_line(pid: int) -> str:
    """Of a process, with spaces between the words."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
