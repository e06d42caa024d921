"""One Flask application behind the bridge and its queues, and behind gunicorn."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.meter import Meter
from benchmarks.servers import HERE, Broker, Watched, running, scratch, twbridge
from benchmarks.wsgi_load import WARM, Load, Page, run_load
from tests.integration.rabbitmq import free_ports

CONNECTIONS = 16
PROCESSES = 2
_APPLICATION = "benchmarks.wsgi_app:app"
_PROGRAMS = Path(sys.executable).parent
_START_DEADLINE = 30.0


@dataclass(frozen=True)
class Family(Watched):
    """A process and those that it has started, now and later, without what has ended."""

    def cpu(self) -> float:
        """Seconds of CPU of all of them."""
        return sum(Watched(pid).cpu() for pid in (self.pid, *_children(self.pid)))


@dataclass(frozen=True)
class Parts(Watched):
    """Processes that serve together; ``pid`` is the first one's.

    Attributes:
        each: By name.
    """

    each: Mapping[str, Watched]

    def cpu(self) -> float:
        """Seconds of CPU of all of them."""
        return sum(part.cpu() for part in self.each.values())


@dataclass(frozen=True)
class Served:
    """The application behind something.

    Attributes:
        name: For the tables.
        port: Where it answers.
        mount: What its paths begin with.
        parts: What is charged for the work, but for the broker.
    """

    name: str
    port: int
    mount: str
    parts: Parts

    def page(self, path: str, body: bytes) -> Page:
        """A page of it."""
        return Page(self.port, self.mount + path, body)


@dataclass(frozen=True)
class WsgiRun:
    """What one run measured.

    Attributes:
        load: What was answered.
        cpu: Microseconds of CPU for a request, of all that serve, and of the broker.
        cores: What each used.
        shares: Microseconds of CPU for a request, of each part.
    """

    load: Load
    cpu: float
    cores: dict[str, float]
    shares: dict[str, float]


@contextmanager
def gunicorn() -> Iterator[Served]:
    """Two sync workers, its default kind; they close each connection."""
    (port,) = free_ports(1)
    how = ("--workers", str(PROCESSES), "--worker-class", "sync", "--log-level", "warning")
    command = [str(_PROGRAMS / "gunicorn"), *how, "--bind", f"127.0.0.1:{port}", _APPLICATION]
    with scratch() as folder:
        log = folder / "gunicorn.log"
        with running(command, HERE.parent, log) as process:
            parts = Parts(process.pid, {"gunicorn": Family(process.pid)})
            served = Served("gunicorn, 2 sync workers", port, "", parts)
            _until_served(served, log)
            yield served


@contextmanager
def bridged(broker: Broker, profile: Path | None = None) -> Iterator[Served]:
    """A bridge before RabbitMQ, and a worker with two processes behind it."""
    with scratch() as folder, twbridge(broker, "bench.wsgi", profile=profile) as bridge:
        command = [str(_PROGRAMS / "twbridge"), "wsgi-worker", _APPLICATION]
        command += ["--mount", "/bench", "--processes", str(PROCESSES)]
        environment = {**os.environ, "AMQP_URL": broker.url, "PYTHONPATH": str(HERE.parent)}
        log = folder / "worker.log"
        with running(command, HERE.parent, log, environment) as process:
            served = Served("twbridge", bridge.address.port, "/bench", Parts(0, {}))
            _until_served(served, log)
            each = {"bridge": bridge.process, "worker": Watched(process.pid)}
            children = sorted(_children(process.pid))
            each |= {f"application {n}": Watched(pid) for n, pid in enumerate(children, 1)}
            yield Served(served.name, served.port, served.mount, Parts(process.pid, each))


def _until_served(served: Served, log: Path) -> None:
    deadline = time.monotonic() + _START_DEADLINE
    while True:
        try:
            run_load(served.page("/empty", b""), 1, 0.0)
            return
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                said = log.read_text()[-2000:]
                raise RuntimeError(f"{served.name} does not serve: {error}\n{said}") from None
        time.sleep(0.05)


def run_wsgi(served: Served, broker: Broker, path: str, body: bytes, seconds: float) -> WsgiRun:
    """Ask for a page over and over again, after a short warming up.

    Raises:
        RuntimeError: An answer was not what it should be.
    """
    page = served.page(path, body)
    run_load(page, CONNECTIONS, WARM)
    meter = Meter(served.parts, broker.process)
    before = {name: part.cpu() for name, part in served.parts.each.items()}
    load = run_load(page, CONNECTIONS, seconds)
    after = {name: part.cpu() for name, part in served.parts.each.items()}
    usage = meter.usage()
    shares = {name: (after[name] - before[name]) / load.count * 1e6 for name in before}
    shares["broker"] = usage.broker / load.count * 1e6
    cpu = (usage.server + usage.broker) / load.count * 1e6
    return WsgiRun(load, cpu, usage.cores(), shares)


def _children(pid: int) -> set[int]:
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found |= {int(child) for child in path.read_text().split()}
    return found
