"""The Autobahn test suite, as a client of a bridge whose broker is the echo.

::

    await in_thread(install)
    echo = await Echo.listen(reactor, bridge.port, keeper)
    verdicts = await in_thread(judge, echo.url, ["1.*", "12.1.1"], folder)

One case must not hear the echo of the one before, and the first frame of a case must find the
route bound at the broker. So each connection of the suite waits at the door of :class:`Echo` until
the connection before it is gone at the bridge, and the keeper, which is always subscribed, has
heard a marker: what was published before the marker has come back by then.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

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

    Args:
        reactor: where it listens.
        port: the bridge's.
        keeper: a raw client on the route that echoes; its messages are the echo's from now on.
    """

    def __init__(self, reactor: Any, port: int, keeper: Socket) -> None:
        self._keeper = keeper
        self._target = HostnameEndpoint(reactor, "127.0.0.1", port)
        self._turn = DeferredLock()
        self._listening = reactor.listenTCP(0, _Door(self), interface="127.0.0.1")
        self._marker = ""
        self._heard: Deferred[None] | None = None
        keeper.on_message = self._listen
        keeper.on_close = self._end

    @property
    def url(self) -> str:
        """Where the suite connects to."""
        return f"ws://127.0.0.1:{self._listening.getHost().port}/ws"

    def close(self) -> Any:
        """Listen no more."""
        return self._listening.stopListening()

    async def admit(self, client: _Side) -> None:
        """Wait for the turn of a connection, and carry it to the bridge until that ends it."""
        await self._turn.acquire()
        try:
            self._marker = f"marker {uuid.uuid4()}"
            heard: Deferred[None] = Deferred()
            self._heard = heard
            self._keeper.send(self._marker)
            await heard
            server = await connectProtocol(self._target, _Side(client))
            client.join(server)
            await server.gone
        finally:
            self._turn.release()

    def _listen(self, message: str | bytes) -> None:
        if message == self._marker and self._heard is not None:
            heard, self._heard = self._heard, None
            heard.callback(None)

    def _end(self, error: Exception) -> None:
        if self._heard is not None:
            heard, self._heard = self._heard, None
            heard.errback(error)


class _Door(Factory):
    noisy = False

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def buildProtocol(self, _address: object) -> Protocol:
        client = _Side(None)
        admitted = client.open.addCallback(
            lambda _: Deferred.fromCoroutine(self._echo.admit(client))
        )
        admitted.addErrback(lambda _: client.transport.abortConnection())
        return client


class _Side(Protocol):
    """One socket of a pair. What one reads the other writes, no faster than it can."""

    transport: Any

    def __init__(self, other: _Side | None) -> None:
        self._other = other
        self.open: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.pauseProducing()
        self.open.callback(None)

    def join(self, other: _Side) -> None:
        """Begin to carry."""
        self._other = other
        for one, another in ((self, other), (other, self)):
            one.transport.registerProducer(another.transport, True)
            another.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            other.transport.unregisterProducer()
            # The bridge reads what is on the way before it ends its side.
            other.transport.resumeProducing()
            other.transport.loseWriteConnection()
        self.gone.callback(None)
