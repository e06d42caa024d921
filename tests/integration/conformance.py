"""The Autobahn test suite, as a client of a bridge whose broker is the echo.

::

    await in_thread(install)
    echo = Echo(reactor, bridge.port, keeper)
    verdicts = await in_thread(judge, echo.url, ["1.*", "12.1.1"], folder)

One case must not hear the echo of the one before. So each connection of the suite waits at the door
of :class:`Echo` until the connection before it is gone at the bridge, and the keeper has heard a
marker: what was published to the same exchange before the marker has come back by then. And the
first frame of a case must find the route bound at the broker: a binding stays there for longer
after its last subscriber's end than the suite is away.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.integration.rabbitmq import in_thread
from tests.integration.websocket import Socket

__all__ = ["SCRIPT", "ConformanceError", "Echo", "Verdict", "install", "judge"]

SCRIPT = Path(__file__).parents[2] / "scripts" / "conformance-suite"
FOLDER = Path(sys.prefix) / "autobahn-testsuite"
AGENT = "twbridge"
PASSED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


class ConformanceError(Exception):
    """The suite can't be installed, or did not come to an end."""


class Verdict(NamedTuple):
    """What the suite says of one case."""

    #: Of the case, and of the closing handshake: OK, NON-STRICT, INFORMATIONAL, FAILED ...
    behavior: str
    close: str
    report: Path

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return self.behavior in PASSED and self.close in PASSED

    def __str__(self) -> str:
        report = json.loads(self.report.read_text(errors="replace"))
        said = [report[key] for key in ("description", "result", "resultClose")]
        return f"{self.behavior}, closing {self.close}: {' / '.join(said)}"


def install() -> None:
    """Make sure that the suite is there; 12 seconds the first time.

    Raises:
        ConformanceError: it can't be had; the text says what is missing.
    """
    with open(Path(sys.prefix) / "autobahn-testsuite.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([SCRIPT, FOLDER], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConformanceError(done.stderr.strip())


def judge(
    url: str, cases: Sequence[str], folder: Path, seconds: float = 200.0
) -> dict[str, Verdict]:
    """Run cases (``*`` stands for any) against a server; gives the verdicts by case.

    Raises:
        ConformanceError: it took too long, or gave no report.
    """
    reports = folder / "reports"
    spec = {
        "outdir": str(reports),
        "servers": [{"agent": AGENT, "url": url}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [str(FOLDER / "bin" / "wstest"), "-m", "fuzzingclient", "-s", "spec.json"]
    with open(folder / "log", "w") as log:
        try:
            subprocess.run(
                command,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ConformanceError(f"not done in {seconds} s: {_end_of(folder)}") from None
    try:
        index = json.loads((reports / "index.json").read_text())[AGENT]
    except (OSError, KeyError):
        raise ConformanceError(f"there is no report: {_end_of(folder)}") from None
    return {
        case: Verdict(each["behavior"], each["behaviorClose"], reports / each["reportfile"])
        for case, each in index.items()
    }


def _end_of(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-2_000:]


class Echo:
    """A door to a bridge, through which one connection goes after the other.

    It has a thread of its own: the suite sends thousands of messages one by one, and what carries
    them is what takes the time.

    Args:
        reactor: of the keeper.
        port: the bridge's.
        keeper: a raw client that hears itself by way of the exchange that echoes, and nothing
            else; its messages are the echo's from now on.
    """

    def __init__(self, reactor: Any, port: int, keeper: Socket) -> None:
        self._reactor = reactor
        self._port = port
        self._keeper = keeper
        self._marker = ""
        self._heard: Deferred[None] | None = None
        #: Fires when the suite is there.
        self.arrived: Deferred[None] = Deferred()
        keeper.on_message = self._listen
        keeper.on_close = self._end
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the suite connects to."""
        return f"ws://127.0.0.1:{self._listening.getsockname()[1]}/ws"

    def close(self) -> Deferred[None]:
        """Listen no more; fires when the last connection is gone."""
        self._listening.shutdown(socket.SHUT_RDWR)
        return in_thread(self._thread.join, 10.0).addCallback(lambda _: self._listening.close())

    def _serve(self) -> None:
        """Carry one connection after the other to the bridge, until both sides have ended it."""
        hear: Any = self._hear
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # it was closed
            # Without the keeper, or the bridge, there is nothing to carry it to.
            with client, suppress(Exception):
                blockingCallFromThread(self._reactor, hear)
                with socket.create_connection(("127.0.0.1", self._port)) as server:
                    _carry(client, server)

    def _hear(self) -> Deferred[None]:
        """Fires when all that was published has come back."""
        if not self.arrived.called:
            self.arrived.callback(None)
        heard: Deferred[None] = Deferred()
        self._marker, self._heard = f"marker {uuid.uuid4()}", heard
        self._keeper.send(self._marker)
        return heard

    def _listen(self, message: str | bytes) -> None:
        if message == self._marker and self._heard is not None:
            heard, self._heard = self._heard, None
            heard.callback(None)

    def _end(self, error: Exception) -> None:
        if self._heard is not None:
            heard, self._heard = self._heard, None
            heard.errback(error)


def _carry(client: socket.socket, server: socket.socket) -> None:
    """What one sends the other gets, no faster than it can, until neither sends any more."""
    for each in (client, server):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    up = Thread(target=_pump, args=(client, server), daemon=True)
    up.start()
    _pump(server, client)
    up.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
