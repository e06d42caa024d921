"""The process of a worker: its log, its signals, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred

from twbridge.cli.broker import NO_BROKER, Broker, find
from twbridge.daemon import loading
from twbridge.errors import BadTask, DuplicateTask, LoadError
from twbridge.rpc.executors.pool import Executors
from twbridge.rpc.lifetime import StartError
from twbridge.rpc.processes import End, Process, Tether, leave, log_to_stderr, react
from twbridge.rpc.supervisor import SERVES, SUPERVISED, Supervisor
from twbridge.rpc.tasks import CONCURRENCY, DRAIN
from twbridge.rpc.worker import Worker, WorkerOptions

__all__ = ["Serving", "run", "serve"]

#: What a worker's id is made of beside the host's name and the process id, in bytes: both may be
#: the same in two containers.
_RANDOM: Final = 2
_URL: Final = "TWBRIDGE_AMQP_URL"
#: Variables that a supervisor's workers begin with another value of, or without.
_CHANGED: Final = (_URL, "TWBRIDGE_EMBEDDED_ENABLED")


@dataclass(frozen=True)
class Serving:
    """What is served, and how.

    Args:
        module: the name of a module, or the path of a file that ends with ``.py``.
        broker: where the broker is.
        forks: how many processes do it.
        options: how each of them behaves.
        settings: what ``context.settings`` begins with.
    """

    module: str
    broker: Broker
    forks: int = 1
    options: WorkerOptions = field(default_factory=WorkerOptions)
    settings: Mapping[str, Any] = field(default_factory=dict)


def serve(serving: Serving) -> NoReturn:
    """Serve until SIGINT or SIGTERM, and exit.

    Exit codes: 0 after a signal, 1 when it can't begin, with one line on stderr.
    """
    given = _supervised()
    if given is None and serving.forks > 1:
        log_to_stderr(serving.broker)
        react(_Supervising(serving))
    if given is not None:
        settings = {**given, **serving.settings}
        serving = Serving(serving.module, serving.broker, 1, serving.options, settings)
    react(_Serving(serving, given is not None))


def run(
    *,
    amqp_url: str | None = None,
    amqp_url_file: str | None = None,
    config: str | None = None,
    module: str | None = None,
    forks: int = 1,
    concurrency: int = CONCURRENCY,
    drain: float = DRAIN,
    **settings: Any,
) -> NoReturn:
    """Serve the tasks of the script that calls it, until SIGINT or SIGTERM; then exit.

    The script is imported once more in each process that runs tasks, so the call belongs under
    ``if __name__ == "__main__":``.

    Args:
        amqp_url: the broker; where neither this nor the next says so, as ``twbridge worker``.
        amqp_url_file: a file that holds it.
        config: a settings file.
        module: a module or a file with the tasks, in the place of the script.
        forks: how many processes serve.
        concurrency: calls of each task that run at once in each of them.
        drain: seconds that the calls that run have to end at the stop.
        settings: the others are what ``context.settings`` begins with; MessagePack has to hold
            them.
    """
    flags = {"amqp-url": amqp_url, "amqp-url-file": amqp_url_file}
    try:
        broker = find(flags, os.environ, config)
    except loading.Mistakes as mistakes:
        leave(*mistakes.lines)
    if broker is None:
        leave(NO_BROKER)
    if module is None:
        module = getattr(sys.modules["__main__"], "__file__", None)
        if module is None:
            leave("run() needs the file of a script, or the argument module")
        module = os.path.abspath(module)
    serve(Serving(module, broker, forks, WorkerOptions(concurrency, drain), settings))


class _Serving(Process):
    """A worker."""

    def __init__(self, serving: Serving, supervised: bool) -> None:
        super().__init__()
        self._serving = serving
        self._supervised = supervised
        self.heeds_interrupts = not supervised
        self._worker: Worker | None = None

    async def begin(self, reactor: Any) -> None:
        """Serve."""
        serving = self._serving
        id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(_RANDOM)}"
        link = serving.broker.link(reactor, f"twbridge worker {id}")
        try:
            executors = Executors(
                reactor,
                serving.module,
                worker=id,
                concurrency=serving.options.concurrency,
                settings=serving.settings,
                start=serving.options.start,
            )
        except TypeError as error:
            raise End(str(error)) from None
        self._worker = worker = Worker(
            link, executors, id=id, clock=reactor, options=serving.options
        )
        if self._supervised:
            reactor.addReader(Tether(reactor, worker.hurry))

        def look(state: str) -> None:
            if state == "connecting":
                # What could not begin before that is told in one line, not in a log.
                log_to_stderr(serving.broker)
            elif state == "closed":
                self.fail(f"the link {link.state_description}")

        link.on_state(look)
        try:
            tasks = await worker.start()
        except LoadError as error:
            if error.traceback is not None and not _says_all(error, serving.module):
                print(error.traceback.rstrip(), file=sys.stderr)
            raise End(str(error)) from None
        except StartError as error:
            raise End(f"{serving.module}: {error}") from None
        names = ", ".join(each.name for each in tasks)
        print(f"twbridge worker {id}: serves {names} at {serving.broker}", flush=True)
        if self._supervised:
            with contextlib.suppress(OSError):
                os.write(SERVES, b"\n")
                os.close(SERVES)

    def stop(self) -> Deferred[None]:
        """Drain."""
        self.stopping = True
        return _nothing() if self._worker is None else self._worker.stop()

    def hurry(self) -> None:
        """A second signal. From a supervisor the word comes by another way: a service manager may
        send the first one to both.
        """
        if self._worker is not None and not self._supervised:
            self._worker.hurry()


class _Supervising(Process):
    """The parent of several workers."""

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving
        self._supervisor: Supervisor | None = None

    async def begin(self, reactor: Any) -> None:
        """Start them."""
        serving = self._serving
        self._supervisor = supervisor = Supervisor(
            reactor, _command(serving), _environment(serving), serving.forks, serving.options.drain
        )
        try:
            await supervisor.start()
        except StartError:
            raise End from None  # the worker has said why

    def stop(self) -> Deferred[None]:
        """Drain them all."""
        self.stopping = True
        return _nothing() if self._supervisor is None else self._supervisor.stop()

    def hurry(self) -> None:
        """A second signal."""
        if self._supervisor is not None:
            self._supervisor.hurry()


def _command(serving: Serving) -> list[str]:
    """The command line of one worker; what is secret is in its environment."""
    options = serving.options
    command = [sys.executable, "-m", "twbridge", "worker", serving.module]
    command += ["--concurrency", str(options.concurrency), "--drain", str(options.drain)]
    command += ["--start", str(options.start)]
    if serving.broker.config is not None:
        command += ["--config", serving.broker.config]
    return command


def _environment(serving: Serving) -> dict[str, str]:
    """The environment of one worker, with the broker that was found and the settings."""
    kept = {k: v for k, v in os.environ.items() if k not in _CHANGED}
    given = {
        "settings": dict(serving.settings),
        "environment": {name: os.environ.get(name) for name in _CHANGED},
    }
    return {**kept, _URL: serving.broker.url, SUPERVISED: json.dumps(given)}


def _supervised() -> dict[str, Any] | None:
    """The settings that came from a supervisor; None where there is none.

    From now on the environment, which tasks have too, is the one that the supervisor had: the
    broker's password is in it only where somebody has put it there for all.
    """
    supervised = os.environ.pop(SUPERVISED, None)
    if supervised is None:
        return None
    given = json.loads(supervised)
    for name, value in given["environment"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    settings: dict[str, Any] = given["settings"]
    return settings


def _says_all(error: LoadError, module: str) -> bool:
    """Whether its line is enough to find the mistake: a traceback would hide it."""
    text = str(error)
    missing = f"ModuleNotFoundError: No module named {module!r}"
    return missing in text or any(f"{each.__name__}: " in text for each in (BadTask, DuplicateTask))


def _nothing() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done
