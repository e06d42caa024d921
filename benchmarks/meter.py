"""Who used the processors while something was measured."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Watched

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What was used between two moments, all in seconds.

    Attributes:
        elapsed: Time on the clock.
        server: CPU time of what is measured.
        broker: CPU time of the broker.
        load: CPU time of this process, which makes and counts the load.
        others: CPU time of everything else on the machine; much of it spoils a measurement.
    """

    elapsed: float
    server: float
    broker: float
    load: float
    others: float

    def cores(self) -> dict[str, float]:
        """The cores that each used on average."""
        parts = ("server", "broker", "load", "others")
        return {part: getattr(self, part) / self.elapsed for part in parts}


class Meter:
    """Begins to measure when it is made.

    Args:
        server: The process that is measured; may be the broker's.
        broker: The broker's process.
    """

    def __init__(self, server: Watched, broker: Watched) -> None:
        self._server = server
        self._broker = broker
        self._start = self._now()

    def _now(self) -> tuple[float, ...]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        load = own.ru_utime + own.ru_stime
        return time.monotonic(), self._server.cpu(), self._broker.cpu(), load, _machine()

    def usage(self) -> Usage:
        """What was used since the beginning."""
        moments = zip(self._start, self._now(), strict=True)
        elapsed, server, broker, load, machine = (after - before for before, after in moments)
        known = load + broker + (0 if self._server == self._broker else server)
        return Usage(elapsed, server, broker, load, max(0.0, machine - known))


def _machine() -> float:
    """Seconds that all processors have worked since the machine started."""
    first = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _wait, interrupts, soft, *_ = map(int, first[1:])
    return (user + nice + system + interrupts + soft) / _TICK
