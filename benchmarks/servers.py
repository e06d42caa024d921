"""The processes that are measured: started for the run, watched through /proc, ended with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sockets import Address
from tests.integration.rabbitmq import Node, free_ports

HERE = Path(__file__).resolve().parent
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_DEADLINE = 30.0

_TWBRIDGE_CONFIG = """\
[amqp]
url = "{url}"

[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"

[[exchange]]
name = "{exchange}"
type = "topic"

[[route]]
path = "/ws"
publish = "/exchange/{exchange}/chat"
subscribe = "/exchange/{exchange}/#"

[[mount]]
path = "/bench"

[limits]
connections = 8000
connections_per_address = 2000
send_buffer = {send_buffer}

[websocket]
deflate = {deflate}
"""


@dataclass(frozen=True)
class Watched:
    """A running process: what it has cost so far."""

    pid: int

    def cpu(self) -> float:
        """Seconds of CPU (user and system) since the process began; steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def resident(self) -> int:
        """Bytes of resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ node with the Web STOMP plugin."""

    url: str
    web_stomp: Address
    process: Watched


@dataclass(frozen=True)
class Bridge:
    """A bridge: where it listens and the topic exchange that its clients hear."""

    name: str
    address: Address
    exchange: str
    process: Watched


@contextmanager
def running(
    command: list[str], directory: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; SIGTERM, then SIGKILL, at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def node_bridge(broker: Broker, exchange: str = "bench.node") -> Iterator[Bridge]:
    """The rival written with ``ws`` and ``amqplib`` (benchmarks/node); npm installs its modules."""
    directory = HERE / "node"
    if not (directory / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=directory, check=True)
    (port,) = free_ports(1)
    command = ["node", "bridge.js", "--url", broker.url, "--exchange", exchange]
    with scratch() as folder:
        log = folder / "node.log"
        with running([*command, "--port", str(port)], directory, log) as process:
            _until(process, log, lambda: b"listening" in log.read_bytes())
            yield Bridge("Node ws + amqplib", Address(port), exchange, Watched(process.pid))


@contextmanager
def twbridge(
    broker: Broker,
    exchange: str = "bench.twbridge",
    *,
    deflate: bool = False,
    send_buffer: int = 1 << 20,
    profile: Path | None = None,
) -> Iterator[Bridge]:
    """Our bridge as users run it, ``twistd -n twbridge`` with a settings file.

    Args:
        broker: Its broker.
        exchange: The topic exchange that its clients hear.
        deflate: ``websocket.deflate``.
        send_buffer: ``limits.send_buffer``.
        profile: Where twistd writes cProfile's statistics when the bridge has ended.
    """
    (port,) = free_ports(1)
    twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or "twistd"
    command = [twistd, "--nodaemon", "--pidfile="]
    if profile is not None:
        command += ["--profile", str(profile), "--profiler", "cprofile", "--savestats"]
    with scratch() as folder:
        config = folder / "bench.toml"
        config.write_text(
            _TWBRIDGE_CONFIG.format(
                url=broker.url,
                port=port,
                exchange=exchange,
                send_buffer=send_buffer,
                deflate=str(deflate).lower(),
            )
        )
        log = folder / "twbridge.log"
        arguments = ["twbridge", "--config", str(config)]
        with running([*command, *arguments], HERE.parent, log) as process:
            _until(process, log, lambda: _ready(f"http://127.0.0.1:{port}/readyz"))
            yield Bridge("twbridge", Address(port), exchange, Watched(process.pid))


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="twbridge-bench-") as directory:
        yield Path(directory)


def _until(process: subprocess.Popen[bytes], log: Path, condition: Callable[[], bool]) -> None:
    """Wait for a condition while a process starts.

    Raises:
        RuntimeError: It ended, or took too long; with what it printed.
    """
    deadline = time.monotonic() + _START_DEADLINE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    """A private RabbitMQ node with Web STOMP; the plugin costs nothing while nobody uses it."""
    with Node(plugins=["rabbitmq_web_stomp"]) as node:
        stomp = Address(node.ports["web_stomp"])
        while not _listens(stomp):
            time.sleep(0.05)
        pid = int((node.folder / "pid").read_text())
        yield Broker(node.url(), stomp, Watched(pid))


def _listens(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address.host, address.port)) == 0
