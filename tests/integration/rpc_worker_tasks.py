"""Tasks that note in a folder when they run, so that tests can count it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.internet.defer import Deferred

from twbridge.rpc import context, task

PREFIX = os.environ.get("TEST_PREFIX", "test.")
FOLDER = Path(os.environ.get("TEST_FOLDER", "."))


def note(what: str) -> None:
    """A line in the file ``notes``; whoever reads it sees whole lines."""
    with open(FOLDER / "notes", "a") as notes:
        notes.write(f"{what}\n")


def linger(name: str) -> str:
    """The first try does not end; later ones do."""
    note(f"{name} {context.redelivered}")
    if not context.redelivered:
        time.sleep(60)
    return f"{name} done"


@task(PREFIX + "plain")
def plain() -> str:
    """At most once."""
    return linger("plain")


@task(PREFIX + "quorum", guarantee="at-least-once")
def quorum() -> str:
    """At least once, on a quorum queue."""
    return linger("quorum")


@task(PREFIX + "classic", guarantee="at-least-once", queue="classic")
def classic() -> str:
    """At least once, on a classic queue."""
    return linger("classic")


@task(PREFIX + "loop")
def loop() -> None:
    """Ends for nobody."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


@task(PREFIX + "c")
def in_c() -> int:
    """Sits in C code that lets nobody else run."""
    return sum(range(10**13))


@task(PREFIX + "async")
async def forever() -> None:
    """Waits."""
    await Deferred()


@task(PREFIX + "safe", guarantee="at-least-once", concurrency=50)
async def safe(number: int) -> int:
    """Must not be lost."""
    note(f"safe {number}")
    return number


@task(PREFIX + "quick", concurrency=50)
async def quick(number: int) -> int:
    """May be lost, and is not run twice."""
    note(f"quick {number}")
    return number


@task(PREFIX + "who", concurrency=1)
def who(what: str, seconds: float = 0.0) -> str:
    """Which worker it was."""
    note(f"who {what}")
    time.sleep(seconds)
    return context.worker
