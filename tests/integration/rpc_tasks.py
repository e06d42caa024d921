"""Tasks of the tests, served by real workers; their names begin with what the test says."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from twbridge.rpc import PublicError, context, task

PREFIX = os.environ.get("TEST_PREFIX", "test.")


@task(PREFIX + "echo")
def echo(body: Any) -> Any:
    """What it is called with."""
    return body


@task(PREFIX + "add")
def add(a: Any, b: Any) -> Any:
    """The sum."""
    return a + b


@task(PREFIX + "kind")
def kind(body: Any) -> str:
    """The type of what it is called with, as it arrives."""
    return type(body).__name__


@task(PREFIX + "pickled", pickle=True)
def pickled(body: Any) -> Any:
    """What only pickle carries."""
    return {"set": {body}}


@task(PREFIX + "counter", concurrency=1)
class Counter:
    """One instance, for as long as its process lives."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, step: int = 1) -> int:
        self.count += step
        return self.count


@task(PREFIX + "context")
async def about() -> dict[str, Any]:
    """What a task knows."""
    context.settings["calls"] = context.settings.get("calls", 0) + 1
    context.reply_headers["mine"] = [context.headers.get("yours"), 1]
    remaining = context.remaining
    assert remaining is not None
    return {
        "settings": dict(context.settings),
        "worker": context.worker,
        "task": context.task.removeprefix(PREFIX),
        "id": context.call_id,
        "remaining": remaining,
        "redelivered": context.redelivered,
    }


@task(PREFIX + "fails")
def fails(text: str) -> None:
    """An error without its traceback."""
    raise KeyError(text)


@task(PREFIX + "fails.loudly", traceback=True)
async def fails_loudly(text: str) -> None:
    """An error with its traceback."""
    raise ValueError(text)


@task(PREFIX + "fails.publicly")
def fails_publicly() -> None:
    """An error for everybody."""
    raise PublicError("An order has an id.")


@task(PREFIX + "dies")
def dies() -> None:
    """It takes its process with it."""
    os._exit(3)


@task(PREFIX + "pages")
def pages(count: int) -> int:
    """Tells how far it is."""
    for number in range(count):
        context.progress({"page": number})
    return count


@task(PREFIX + "endless", run_in="thread")
def endless(channel: str) -> None:
    """Goes on until it is told to end, and tells that."""
    context.progress("begun")
    while not context.cancelled:
        time.sleep(0.01)
    context.pubsub.publish(channel, "told")


@task(PREFIX + "endless.async")
async def endless_async(channel: str) -> None:
    """The same, as a coroutine."""
    context.progress("begun")
    try:
        await Deferred()
    finally:
        context.pubsub.publish(channel, "told")


@task(PREFIX + "spins")
def spins(seconds: float) -> float:
    """Sits in C code and holds the interpreter's lock: nothing else of its process runs."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return seconds


@task(PREFIX + "naps", concurrency=1)
def naps(seconds: float) -> str:
    """Waits, and says where."""
    time.sleep(seconds)
    return context.worker


def _try(folder: str) -> str:
    """Fails until there is a file that is called cure; notes each attempt."""
    with open(Path(folder, "attempts"), "a") as attempts:
        attempts.write(f"{context.call_id} {context.redelivered}\n")
    if not Path(folder, "cure").exists():
        raise RuntimeError("poisoned")
    return "cured"


@task(PREFIX + "poison", guarantee="at-least-once", redelivery_limit=2)
def poison(folder: str | dict[str, Any]) -> str:
    """On a quorum queue."""
    return _try(folder["folder"] if isinstance(folder, dict) else folder)


@task(PREFIX + "poison.classic", guarantee="at-least-once", redelivery_limit=2, queue="classic")
def poison_classic(folder: str) -> str:
    """On a classic queue."""
    return _try(folder)


@task(PREFIX + "killer", guarantee="at-least-once", redelivery_limit=1)
def killer(folder: str) -> None:
    """Takes its process with it, each time."""
    with open(Path(folder, "attempts"), "a") as attempts:
        attempts.write("killed\n")
    os._exit(3)


@task(PREFIX + "lingers", guarantee="at-least-once")
async def lingers(folder: str) -> None:
    """Takes as many seconds as its folder says, and notes there that it has ended."""
    await deferLater(cast(Any, reactor), float(Path(folder, "seconds").read_text()))
    Path(folder, "ended").touch()
