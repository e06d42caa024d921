"""Callers, each written as its documentation shows.

``window`` keeps some calls under way for some seconds, each followed by the next when its answer
came; ``outstanding`` makes many at once. Every answer is compared with what was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

BODY: dict[str, Any] = {"text": "x" * 89}
"""100 bytes of JSON."""
WARM_UP = 1.0
_DEADLINE = 60.0


class Timings:
    """How long calls took, once the caller has warmed up.

    Args:
        seconds: how long is measured.
    """

    def __init__(self, seconds: float) -> None:
        self.begin = time.monotonic() + WARM_UP
        self.end = self.begin + seconds
        self.calls: list[float] = []
        self._cpu: float | None = None
        self.cpu = 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.end

    def add(self, began: float, answer: object) -> None:
        """One was answered.

        Raises:
            RuntimeError: with something else than what was sent.
        """
        now = time.monotonic()
        check(answer)
        if self.begin <= now < self.end:
            if self._cpu is None:
                self._cpu = time.process_time()
            self.calls.append(now - began)
            self.cpu = time.process_time() - self._cpu


def check(answer: object) -> None:
    """Every call is answered with what it sent.

    Raises:
        RuntimeError: not this one.
    """
    if answer != BODY:
        raise RuntimeError(f"sent {BODY}, received {answer!r}")


class Caller(Protocol):
    """One of those that are compared."""

    def window(self, size: int, timings: Timings) -> None:
        """Keep ``size`` calls under way until the timings are over."""

    def outstanding(self, count: int, begin: Callable[[], None], sent: Callable[[], None]) -> None:
        """Connect, call ``begin``, make ``count`` calls, call ``sent``, wait for all of them."""


class Twbridge:
    """``twbridge.rpc.Caller``, on Twisted's reactor."""

    def __init__(self, url: str, task: str) -> None:
        self._url = url
        self._task = task

    def window(self, size: int, timings: Timings) -> None:
        from twbridge.rpc import gather

        async def one(caller: Any) -> None:
            while not timings.over:
                began = time.monotonic()
                timings.add(began, await caller.call(self._task, BODY))

        async def run(caller: Any) -> None:
            _raise(await gather(*(one(caller) for _ in range(size))))

        self._with_caller(run)

    def outstanding(self, count: int, begin: Callable[[], None], sent: Callable[[], None]) -> None:
        from twbridge.rpc import gather

        async def run(caller: Any) -> None:
            check(await caller.call(self._task, BODY))
            begin()
            calls = [caller.call(self._task, BODY) for _ in range(count)]
            sent()
            answers = await gather(*calls)
            for answer in answers:
                check(answer)

        self._with_caller(run)

    def _with_caller(self, use: Callable[[Any], Any]) -> None:
        from twisted.internet.defer import Deferred
        from twisted.internet.task import react

        from twbridge.rpc import Caller

        async def run(reactor: Any) -> None:
            async with Caller(self._url, reactor=reactor, timeout=_DEADLINE) as caller:
                await use(caller)

        try:
            react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
        except SystemExit as end:
            if end.code:
                raise


def _raise(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result


class FastStream:
    """``RabbitBroker.request``, on uvloop."""

    def __init__(self, url: str, task: str) -> None:
        self._url = url

    def window(self, size: int, timings: Timings) -> None:
        async def one(call: Any) -> None:
            while not timings.over:
                began = time.monotonic()
                timings.add(began, await call())

        async def run(call: Any) -> None:
            await asyncio.gather(*(one(call) for _ in range(size)))

        self._with_caller(run)

    def outstanding(self, count: int, begin: Callable[[], None], sent: Callable[[], None]) -> None:
        async def run(call: Any) -> None:
            check(await call())
            begin()
            calls = [asyncio.ensure_future(call()) for _ in range(count)]
            await asyncio.sleep(0)
            sent()
            for answer in await asyncio.gather(*calls):
                check(answer)

        self._with_caller(run)

    def _with_caller(self, use: Callable[[Any], Any]) -> None:
        import uvloop
        from faststream.rabbit import RabbitBroker

        async def run() -> None:
            async with RabbitBroker(self._url, logger=None) as broker:

                async def call() -> Any:
                    answer = await broker.request(BODY, queue="bench.faststream", timeout=_DEADLINE)
                    return await answer.decode()

                await use(call)

        uvloop.run(run())


class Celery:
    """``delay`` and ``get``; as many are under way as the window says, the oldest waited for.

    An answer counts when it comes, not when it is asked for.
    """

    def __init__(self, url: str, task: str) -> None:
        pass

    def window(self, size: int, timings: Timings) -> None:
        from benchmarks.rpc_celery import echo

        waiting: deque[Any] = deque()
        while not timings.over:
            while len(waiting) < size:
                began = time.monotonic()
                result = echo.delay(BODY)
                result.then(lambda done, began=began: timings.add(began, done.result))
                waiting.append(result)
            check(waiting.popleft().get(timeout=_DEADLINE))
        for result in waiting:
            check(result.get(timeout=_DEADLINE))

    def outstanding(self, count: int, begin: Callable[[], None], sent: Callable[[], None]) -> None:
        from benchmarks.rpc_celery import echo

        check(echo.delay(BODY).get(timeout=_DEADLINE))
        begin()
        results = [echo.delay(BODY) for _ in range(count)]
        sent()
        for result in results:
            check(result.get(timeout=_DEADLINE))


CALLERS: dict[str, Callable[[str, str], Caller]] = {
    "twbridge": Twbridge,
    "faststream": FastStream,
    "celery": Celery,
}


def resident() -> int:
    """Bytes of resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def highest() -> int:
    """The most that it ever was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")
