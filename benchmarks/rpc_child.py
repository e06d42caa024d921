"""One measurement of one caller, in a process of its own.

``python -m benchmarks.rpc_child CALLER WHAT --url URL --task NAME`` prints JSON. WHAT is one of:

``window``       ``--size`` calls under way for ``--seconds``: ``rate``, calls a second; ``p50`` and
                 ``p99`` in milliseconds; ``cpu``, microseconds of this process for a call
``outstanding``  ``--size`` calls at once: ``sending`` and ``seconds`` until all were made and until
                 all were answered; ``memory``, the bytes that this process grew by
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.rpc_callers import CALLERS, Caller, Timings, highest, resident


def window(caller: Caller, size: int, seconds: float) -> dict[str, float]:
    """Measure calls, some under way at any time."""
    timings = Timings(seconds)
    caller.window(size, timings)
    calls = sorted(timings.calls)
    return {
        "rate": len(calls) / seconds,
        "p50": calls[len(calls) // 2] * 1000,
        "p99": calls[len(calls) * 99 // 100] * 1000,
        "cpu": timings.cpu / len(calls) * 1e6,
    }


def outstanding(caller: Caller, size: int) -> dict[str, float]:
    """Measure many calls at once."""
    moments: list[float] = []
    memory: list[int] = []

    def begin() -> None:
        memory.append(resident())
        moments.append(time.monotonic())

    caller.outstanding(size, begin, lambda: moments.append(time.monotonic()))
    began, sent = moments
    return {
        "sending": sent - began,
        "seconds": time.monotonic() - began,
        "memory": highest() - memory[0],
    }


def main() -> None:
    """Measure once and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("caller", choices=CALLERS)
    parser.add_argument("what", choices=["window", "outstanding"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    caller = CALLERS[arguments.caller](arguments.url, arguments.task)
    if arguments.what == "window":
        found = window(caller, arguments.size, arguments.seconds)
    else:
        found = outstanding(caller, arguments.size)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
