"""Tasks on the reactor."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from twbridge.rpc import context, task


@task("add")
async def add(a: int, b: int) -> int:
    return a + b


@task("echo")
async def echo(value: Any) -> Any:
    return value


@task("pid")
async def pid() -> int:
    return os.getpid()


@task("waits")
async def waits() -> list[str]:
    """Awaits what Twisted has, and what asyncio has."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, fail, succeed
    from twisted.internet.task import deferLater

    waited = [await deferLater(reactor, 0.001, lambda: "deferLater"), await succeed("succeed")]
    try:
        await fail(ValueError("failure"))
    except ValueError as error:
        waited.append(str(error))
    later: Deferred[None] = deferLater(reactor, 0.001, _fail)
    try:
        await later
    except ValueError as error:
        waited.append(str(error))
    waited.append(await asyncio.sleep(0.001, "sleep"))
    try:
        async with asyncio.timeout(0.001):
            await Deferred()
    except TimeoutError:
        waited.append("timeout")
    waited.append(await asyncio.to_thread(lambda: context.task))
    return waited


def _fail() -> NoReturn:
    raise ValueError("later failure")


@task("wait")
async def wait(path: str) -> None:
    """For ever; it can be cancelled."""
    Path(path).touch()
    await asyncio.sleep(600)


@task("wait-deferred")
async def wait_deferred(path: str, told: str) -> None:
    """Waits for a Deferred that tells of its cancellation."""
    from twisted.internet.defer import Deferred

    Path(path).touch()
    await Deferred(lambda _: Path(told).touch())


@task("deaf")
async def deaf(path: str) -> None:
    """Does not let itself be cancelled."""
    Path(path).touch()
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue


@task("loop")
async def loop(path: str) -> None:
    Path(path).touch()
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


@task("until-exists")
async def until_exists(begun: str, path: str) -> int:
    Path(begun).touch()
    while not Path(path).exists():
        await asyncio.sleep(0.005)
    return os.getpid()


@task("raise")
async def raising(text: str) -> NoReturn:
    raise RuntimeError(text)


@task("exit")
async def exit() -> NoReturn:
    sys.exit(3)


@task("stop")
async def stop_reactor() -> None:
    from twisted.internet import reactor

    the_reactor: Any = reactor
    the_reactor.stop()
    await asyncio.sleep(600)


@task("progress")
async def progress(number: int) -> str:
    for each in range(1, number + 1):
        if each % 2:
            context.progress(each)
        else:
            await asyncio.to_thread(context.progress, each)
    return "done"


@task("flood")
async def flood(path: str, size: int, number: int) -> int:
    with open(path, "ab", buffering=0) as told:
        for _ in range(number):
            context.progress(b"x" * size)
            told.write(b".")
    return number


@task("cancel-itself")
async def cancel_itself() -> None:
    raise asyncio.CancelledError
