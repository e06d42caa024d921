"""A process that runs until a signal: how it begins, heeds signals, and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet import task
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ReactorNotRunning
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from twbridge.cli.broker import Broker
from twbridge.daemon import logs
from twbridge.errors import TwbridgeError
from twbridge.rpc.supervisor import tether_says

__all__ = ["End", "Process", "Tether", "leave", "log_to_stderr", "react"]

_logs = False


class End(Exception):
    """The process ends with exit code 1.

    Args:
        line: why; empty where somebody else has said it.
    """


class Process:
    """What a worker and a supervisor have in common.

    Attributes:
        failed: fails when the process is to end.
        stopping: set by ``stop``.
        heeds_interrupts: whether SIGINT stops it; a supervised worker waits for the word of its
            supervisor, because a terminal sends it to both.
    """

    heeds_interrupts = True

    def __init__(self) -> None:
        self.failed: Deferred[None] = Deferred()
        self.stopping = False

    async def begin(self, reactor: Any) -> None:
        """Begin. Raises End."""
        raise NotImplementedError

    def stop(self) -> Deferred[None]:
        """End in order; never fails."""
        raise NotImplementedError

    def hurry(self) -> None:
        """End faster."""
        raise NotImplementedError

    def fail(self, line: str = "") -> None:
        """End with exit code 1."""
        if not self.stopping:
            self.fail_with(Failure(End(line)))

    def fail_with(self, failure: Failure) -> None:
        """End with what went wrong; the first one counts."""
        if not self.failed.called:
            self.failed.errback(failure)


def react(process: Process) -> NoReturn:
    """Run the reactor until a signal, or until the process fails; and exit."""

    async def main(reactor: Any) -> None:
        reactor.callWhenRunning(_heed_signals, reactor, process)
        reactor.addSystemEventTrigger("before", "shutdown", process.stop)
        begun = Deferred.fromCoroutine(process.begin(reactor))
        begun.addErrback(process.fail_with)
        try:
            await process.failed
        except CancelledError:
            await Deferred()  # a signal came first: the reactor is about to end
        except End as end:
            if not process.stopping:
                leave(*([str(end)] if str(end) else []))
        except TwbridgeError as error:
            leave(str(error))

    task.react(main)


def _heed_signals(reactor: Any, process: Process) -> None:
    """End by SIGINT and SIGTERM, faster by the second one."""
    came: list[int] = []

    def heed(number: int, _frame: object) -> None:
        came.append(number)
        reactor.callFromThread(_stop if len(came) == 1 else _hurry, reactor, process)

    signal.signal(signal.SIGTERM, heed)
    if not process.heeds_interrupts:
        signal.signal(signal.SIGINT, _ignore)
    elif signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background
        signal.signal(signal.SIGINT, heed)


def _stop(reactor: Any, _process: object = None) -> None:
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def _hurry(_reactor: Any, process: Process) -> None:
    process.hurry()


class Tether(FileDescriptor):
    """A worker's way to its supervisor: when that ends, however it ends, so does the worker."""

    def __init__(self, reactor: Any, hurry: Callable[[], object]) -> None:
        super().__init__(reactor)
        self._says = tether_says(lambda: _stop(reactor), hurry)
        os.set_blocking(0, False)

    def fileno(self) -> int:
        return 0

    def doRead(self) -> Failure | None:
        try:
            data = os.read(0, 64)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if data:
            self._says(data)
            return None
        return Failure(ConnectionDone())

    def connectionLost(self, reason: Any) -> None:
        # The reactor may see the end itself, without a read.
        self.reactor.removeReader(self)
        self._says(b"")


def leave(*lines: str) -> NoReturn:
    """Say why on stderr, a line each, and end with exit code 1."""
    for line in lines:
        print(f"twbridge: {line}", file=sys.stderr)
    raise SystemExit(1)


def _ignore(*_: object) -> None:
    pass


def log_to_stderr(broker: Broker) -> None:
    """Begin the log, on stderr, as the settings have it; once."""
    global _logs
    if not _logs:
        _logs = True
        log = logs.observer(broker.log, {"logfile": "stderr"}, lambda _: sys.stderr)
        assert log is not None
        globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
