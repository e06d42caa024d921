"""The process of a WSGI worker: its log, its signals, and how it ends."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred, succeed

from twbridge.cli.broker import Broker
from twbridge.errors import LoadError
from twbridge.rpc.children import START_TIMEOUT
from twbridge.rpc.lifetime import StartError
from twbridge.rpc.processes import End, Process, log_to_stderr, react
from twbridge.wsgi.crew import Crew
from twbridge.wsgi.worker import Worker, WorkerOptions

__all__ = ["Serving", "serve"]

#: What a worker's id is made of beside the host's name and the process id, in bytes: both may be
#: the same in two containers.
_RANDOM: Final = 2


@dataclass(frozen=True)
class Serving:
    """What is served, and how.

    Args:
        app: ``module:attribute``, or ``file.py:attribute``.
        broker: where the broker is.
        processes: how many children run it.
        threads: how many requests each of them runs at once.
        options: how the worker behaves.
        start: seconds that each child has to import it.
    """

    app: str
    broker: Broker
    processes: int
    threads: int
    options: WorkerOptions
    start: float = START_TIMEOUT


def serve(serving: Serving) -> NoReturn:
    """Serve until SIGINT or SIGTERM, and exit.

    Exit codes: 0 after a signal, 1 when it can't begin, with one line on stderr.
    """
    react(_Serving(serving))


class _Serving(Process):
    """A worker."""

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving
        self._worker: Worker | None = None

    async def begin(self, reactor: Any) -> None:
        """Serve."""
        serving = self._serving
        id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(_RANDOM)}"
        link = serving.broker.link(reactor, f"twbridge wsgi-worker {id}")
        crew = Crew(
            reactor,
            serving.app,
            worker=id,
            processes=serving.processes,
            threads=serving.threads,
            start=serving.start,
        )
        self._worker = worker = Worker(link, crew, id=id, clock=reactor, options=serving.options)

        def look(state: str) -> None:
            if state == "connecting":
                # What could not begin before that is told in one line, not in a log.
                log_to_stderr(serving.broker)
            elif state == "closed":
                self.fail(f"the link {link.state_description}")

        link.on_state(look)
        try:
            await worker.start()
        except LoadError as error:
            if error.traceback is not None and not _says_all(error, serving.app):
                print(error.traceback.rstrip(), file=sys.stderr)
            raise End(str(error)) from None
        except StartError as error:
            raise End(str(error)) from None
        print(f"twbridge wsgi-worker {id}: {self._told()}", flush=True)

    def _told(self) -> str:
        serving = self._serving
        many = _count(serving.processes, "process", "processes")
        if serving.threads > 1:
            many += f" of {serving.threads} threads"
        return f"serves {serving.app} at {serving.options.mount}, {many}, {serving.broker}"

    def stop(self) -> Deferred[None]:
        """Drain."""
        self.stopping = True
        return succeed(None) if self._worker is None else self._worker.stop()

    def hurry(self) -> None:
        """A second signal."""
        if self._worker is not None:
            self._worker.hurry()


def _says_all(error: LoadError, app: str) -> bool:
    """Whether its line is enough to find the mistake: a traceback would hide it."""
    module = app.partition(":")[0]
    return f"ModuleNotFoundError: No module named {module!r}" in str(error)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
