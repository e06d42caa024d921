"""A task of each kind; the processes note in a file that they end in order."""

from __future__ import annotations

import atexit
import os
from typing import Any

from twbridge.rpc import task


def note() -> None:
    with open(os.environ["LEAVES"], "a") as file:
        file.write(f"{os.getpid()}\n")


atexit.register(note)


@task("alone")
def alone() -> int:
    return os.getpid()


@task("hang")
def hang() -> None:
    while True:
        pass


@task("thread", run_in="thread")
def thread() -> int:
    return os.getpid()


@task("coroutine", run_in="reactor")
async def coroutine() -> Any:
    return os.getpid()
