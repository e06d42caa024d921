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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sockets import Address

HERE = Path(__file__).resolve().parent
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

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

[limits]
connections = 8000
connections_per_address = 2000
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


def free_port() -> int:
    """A TCP port on the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; SIGTERM, then SIGKILL, at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
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
    """The rival written with ``ws`` and ``amqplib`` (benchmarks/node), npm installs it if needed."""
    directory = HERE / "node"
    if not (directory / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=directory, check=True)
    port = free_port()
    command = ["node", "bridge.js", "--url", broker.url, "--exchange", exchange]
    with _scratch() as scratch:
        log = scratch / "node.log"
        with _running([*command, "--port", str(port)], directory, log) as process:
            _until(process, log, lambda: b"listening" in log.read_bytes())
            yield Bridge("Node ws + amqplib", Address(port), exchange, Watched(process.pid))


@contextmanager
def twbridge(broker: Broker, exchange: str = "bench.twbridge") -> Iterator[Bridge]:
    """Our bridge as users run it, ``twistd -n twbridge`` with a settings file."""
    port = free_port()
    twistd = shutil.which("twistd", path=str(Path(sys.executable).parent)) or "twistd"
    with _scratch() as scratch:
        config = scratch / "bench.toml"
        config.write_text(
            _TWBRIDGE_CONFIG.format(url=broker.url, port=port, exchange=exchange)
        )
        command = [twistd, "--nodaemon", "--pidfile=", "twbridge", "--config", str(config)]
        log = scratch / "twbridge.log"
        with _running(command, HERE.parent, log) as process:
            _until(process, log, lambda: _ready(f"http://127.0.0.1:{port}/readyz"))
            yield Bridge("twbridge", Address(port), exchange, Watched(process.pid))


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="twbridge-bench-") as directory:
        yield Path(directory)


def _until(process, log, condition, timeout=30.0):  # type: ignore
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    with _scratch() as d:
        port, stomp, epmd, dist = (free_port() for _ in range(4))
        base = d / "n1"
        for sub in ("mnesia", "log"):
            (base / sub).mkdir(parents=True)
        (d / "home").mkdir()
        (base / "enabled_plugins").write_text("[rabbitmq_web_stomp].\n")
        (base / "rabbitmq.conf").write_text(
            "disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.relative = 0.2\n"
            "log.console = false\nstomp.listeners.tcp = none\n"
            f"web_stomp.tcp.port = {stomp}\nweb_stomp.tcp.ip = 127.0.0.1\n"
        )
        env = dict(
            os.environ,
            HOME=str(d / "home"), ERL_EPMD_PORT=str(epmd), ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_CONF_ENV_FILE="/dev/null", RABBITMQ_BASE=str(base),
            RABBITMQ_NODENAME="n1@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(port), RABBITMQ_DIST_PORT=str(dist),
            RABBITMQ_MNESIA_BASE=str(base / "mnesia"), RABBITMQ_LOG_BASE=str(base / "log"),
            RABBITMQ_CONFIG_FILE=str(base / "rabbitmq.conf"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(base / "advanced.config"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(base / "enabled_plugins"),
            RABBITMQ_PID_FILE=str(base / "pid"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
            PATH="/usr/lib/rabbitmq/bin:" + os.environ["PATH"],
        )
        log = d / "stdout"
        with log.open("wb") as out:
            process = subprocess.Popen(["rabbitmq-server"], env=env, stdout=out, stderr=out,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            pidfile = base / "pid"
            _until(process, log, lambda: pidfile.exists() and pidfile.read_text().strip())
            _until(process, log, lambda: _listens(port) and _listens(stomp))
            pid = int(pidfile.read_text())
            yield Broker(f"amqp://guest:guest@127.0.0.1:{port}", Address(stomp), Watched(pid))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            subprocess.run(["epmd", "-port", str(epmd), "-kill"], env=env, capture_output=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
