"""Round trips of calls: a caller and a worker, each a process, and RabbitMQ between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import HERE, Broker, Watched, running, scratch

WINDOW = 100
OUTSTANDING = 10_000
_PROGRAMS = Path(sys.executable).parent
_START_DEADLINE = 30.0
_CHILD_DEADLINE = 180.0


@dataclass(frozen=True)
class Rival:
    """A way to call.

    Attributes:
        name: In tables.
        caller: Which of the callers.
        task: What is called.
        worker: The command that serves it; the URL is in its environment, as ``AMQP_URL``.
    """

    name: str
    caller: str
    task: str
    worker: tuple[str, ...]


def _ours(name: str, task: str) -> Rival:
    return Rival(name, "twbridge", task, ("twbridge", "worker", "benchmarks.rpc_tasks"))


def _celery(pool: str, concurrency: int) -> Rival:
    # What its guide leaves out where throughput counts: three kinds of messages among workers.
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    command = ("celery", "-A", "benchmarks.rpc_celery", "worker", "--loglevel", "WARNING", *quiet)
    how = ("--pool", pool, "--concurrency", str(concurrency), "--prefetch-multiplier", "64")
    return Rival(f"Celery, {pool} {concurrency}", "celery", "bench.echo", (*command, *how))


ASYNC = _ours("twbridge, async task", "bench.async")
PROCESS = _ours("twbridge, task in 2 processes", "bench.process")
FASTSTREAM = Rival(
    "FastStream", "faststream", "-", ("faststream", "run", "benchmarks.rpc_faststream:app")
)
CELERIES = (
    _celery("prefork", 1),
    _celery("prefork", 2),
    _celery("threads", 8),
    _celery("gevent", 100),
    _celery("solo", 1),
)


@contextmanager
def serving(rival: Rival, broker: Broker) -> Iterator[Watched]:
    """A worker that has answered a call.

    Raises:
        RuntimeError: it does not, with what it said.
    """
    command = [str(_PROGRAMS / rival.worker[0]), *rival.worker[1:]]
    with scratch() as folder:
        log = folder / "worker.log"
        with running(command, HERE.parent, log, _environment(broker)) as process:
            deadline = time.monotonic() + _START_DEADLINE
            while not _answers(rival, broker):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{rival.name} does not serve:\n{log.read_text()[-2000:]}")
            yield Watched(process.pid)


def run_window(rival: Rival, broker: Broker, size: int, seconds: float) -> dict[str, float]:
    """Measure once, see benchmarks/rpc_child.py; the worker serves already.

    Raises:
        RuntimeError: the caller failed, with what it printed.
    """
    return _child(rival, broker, "window", size, seconds)


def run_outstanding(rival: Rival, broker: Broker, count: int) -> dict[str, float]:
    """Make so many calls at once.

    Raises:
        RuntimeError: not all were answered.
    """
    return _child(rival, broker, "outstanding", count, 0)


def best_celery(broker: Broker, seconds: float) -> tuple[Rival, dict[str, float]]:
    """The pool with the most calls a second, and the calls of each."""
    rates = {}
    for rival in CELERIES:
        with serving(rival, broker):
            rates[rival.name] = run_window(rival, broker, WINDOW, seconds)["rate"]
    return max(CELERIES, key=lambda rival: rates[rival.name]), rates


def _answers(rival: Rival, broker: Broker) -> bool:
    try:
        _child(rival, broker, "outstanding", 1, 0, timeout=10)
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def _child(
    rival: Rival,
    broker: Broker,
    what: str,
    size: int,
    seconds: float,
    timeout: float = _CHILD_DEADLINE,
) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.rpc_child", rival.caller, what]
    command += ["--url", broker.url, "--task", rival.task]
    command += ["--size", str(size), "--seconds", str(seconds)]
    done = subprocess.run(
        command,
        cwd=HERE.parent,
        env=_environment(broker),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if done.returncode:
        raise RuntimeError(f"{rival.name}, {what}:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _environment(broker: Broker) -> Mapping[str, str]:
    return {**os.environ, "AMQP_URL": broker.url, "PYTHONPATH": str(HERE.parent)}
