"""Tasks in threads."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

from twbridge.rpc import context, task


@task("add", run_in="thread", concurrency=4)
def add(a: int, b: int) -> int:
    return a + b


@task("meet", run_in="thread")
def meet(number: int) -> int:
    """Ends when so many are here at once."""
    _barrier(number).wait(30)
    return os.getpid()


@task("loop", run_in="thread")
def loop(path: str) -> None:
    Path(path).touch()
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


@task("regex", run_in="thread")
def regex(path: str) -> None:
    Path(path).touch()
    re.match("(a+)+$", "a" * 64 + "b")


@task("until-cancelled", run_in="thread")
def until_cancelled(path: str) -> str:
    Path(path).touch()
    while not context.cancelled:
        time.sleep(0.005)
    return "stopped"


@task("until-exists", run_in="thread")
def until_exists(begun: str, path: str) -> int:
    Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


@task("flood", run_in="thread")
def flood(path: str, size: int, number: int) -> int:
    """Send much progress; the file grows by a byte with each."""
    with open(path, "ab", buffering=0) as told:
        for _ in range(number):
            context.progress(b"x" * size)
            told.write(b".")
    return number


@task("fork", run_in="thread")
def fork() -> int:
    os.fork()
    return os.getpid()


_barriers: dict[int, threading.Barrier] = {}
_making = threading.Lock()


def _barrier(number: int) -> threading.Barrier:
    with _making:
        return _barriers.setdefault(number, threading.Barrier(number))
