"""Tasks that are coroutines: beside each other on Twisted's reactor, which is asyncio's loop here.

A task awaits Deferreds and what asyncio has, as it likes: it runs as an asyncio task, and a
Deferred that it awaits is bridged. When it is cancelled, it gets asyncio's ``CancelledError``
where it waits, and a Deferred that it waits for is cancelled.
"""

from __future__ import annotations

import asyncio
import socket
import types
from collections.abc import Callable, Coroutine, Generator
from select import POLLOUT, poll
from threading import Lock, get_ident
from typing import Any, Final

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.main import installReactor

from twbridge.rpc.context import entered
from twbridge.rpc.executors.inside import ties
from twbridge.rpc.executors.inside.jobs import Job, Jobs
from twbridge.rpc.executors.inside.line import Line
from twbridge.rpc.executors.pipe import (
    Frames,
    Heard,
    Leave,
    Order,
    Stop,
    Stopped,
    ToChild,
    frame,
    read_to_child,
)
from twbridge.rpc.pipes import READ
from twbridge.rpc.tasks import registry

__all__ = ["MAX_WAITING", "Desk", "bridged", "install", "serve_coroutines"]

#: Bytes that wait for the worker before a task that sends more waits too, and the reactor with it.
MAX_WAITING: Final = 1024 * 1024


def install() -> tuple[Any, asyncio.AbstractEventLoop]:
    """Make asyncio's reactor the one that ``twisted.internet.reactor`` is; and its loop."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    reactor = AsyncioSelectorReactor(loop)
    installReactor(reactor)
    return reactor, loop


def serve_coroutines(
    reactor: Any,
    loop: asyncio.AbstractEventLoop,
    line: Line,
    worker: str,
    settings: dict[str, Any],
) -> bool:
    """Run calls until the reactor stops.

    Returns:
        whether the worker wanted that: else a task has stopped it.
    """
    desk = Desk(loop, line, worker, settings, reactor.stop)
    reactor.callWhenRunning(ties.deafen)
    reactor.callWhenRunning(desk.open)
    reactor.run()
    return desk.is_left


class Desk:
    """Takes calls and sends what they come to, many at once.

    Args:
        loop: asyncio's loop.
        line: the pipe to the worker.
        worker: the worker's id.
        settings: of this process.
        leave: called when the process is to end.

    Attributes:
        is_left: whether that was called.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        line: Line,
        worker: str,
        settings: dict[str, Any],
        leave: Callable[[], object],
    ) -> None:
        self.is_left = False
        self._leave = leave
        self._loop = loop
        self._line = line
        self._socket: socket.socket = line.socket
        self._jobs = Jobs(registry, worker, settings, self.send)
        self._running: dict[int, Job] = {}
        self._frames = Frames()
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_flushing = False
        self._lock = Lock()
        self._thread = get_ident()

    def open(self) -> None:
        """Begin to read."""
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket.fileno(), self._read)

    # -- in

    def _read(self) -> None:
        self._line.leave_if_forked()
        try:
            data = self._socket.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            ties.end()
        for each in self._frames.feed(data):
            self._take(read_to_child(each))

    def _take(self, message: ToChild) -> None:
        if isinstance(message, Order):
            job = self._jobs.take(message)
            if job is None:
                return
            self._running[job.number] = job
            self._loop.create_task(self._run(job))
        elif isinstance(message, Stop):
            stopped = self._running.get(message.number)
            if stopped is not None:
                stopped.is_stopped = True
                if stopped.running is not None:
                    stopped.running.cancel()
                self.send(frame(Heard(message.number)))
        elif isinstance(message, Leave):
            self.is_left = True
            self._leave()

    async def _run(self, job: Job) -> None:
        if job.is_stopped:
            data = frame(Stopped(job.number))
        else:
            job.running = asyncio.current_task()
            data = await self._answer(job)
        self._line.leave_if_forked()
        del self._running[job.number]
        # It refers to what refers to it.
        job.running = None
        self.send(data)

    async def _answer(self, job: Job) -> bytes:
        jobs = self._jobs
        try:
            args, named = jobs.arguments(job)
        except Exception as error:
            return jobs.raised(job, error, is_final=True)
        try:
            with entered(jobs.context(job)):
                value = await bridged(job.task.function(*args, **named), self._loop)
        except asyncio.CancelledError as error:
            return frame(Stopped(job.number)) if job.is_stopped else jobs.raised(job, error)
        except BaseException as error:
            return jobs.raised(job, error)
        return jobs.returned(job, value)

    # -- out

    def send(self, data: bytes) -> None:
        """Write a frame, with the others of this turn; from any thread.

        It waits for the worker only when `MAX_WAITING` bytes wait for it already.
        """
        with self._lock:
            self._pieces.append(data)
            self._size += len(data)
            if self._size > MAX_WAITING:
                self._send_all()
                return
            if self._is_flushing:
                return
            self._is_flushing = True
        if get_ident() == self._thread:
            self._loop.call_soon(self._flush)
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._is_flushing = False
            if not self._pieces:
                return
            data = b"".join(self._pieces)
            sent = self._send_some(data)
            self._pieces = [data[sent:]] if sent < len(data) else []
            self._size = len(data) - sent
            if self._pieces:
                self._is_flushing = True
                self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._flush()

    def _send_all(self) -> None:
        rest = memoryview(b"".join(self._pieces))
        self._pieces = []
        self._size = 0
        waiting = poll()
        waiting.register(self._socket.fileno(), POLLOUT)
        while rest:
            waiting.poll()
            rest = rest[self._send_some(rest) :]

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            ties.end()


@types.coroutine
def bridged(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, Any]:
    """Run a coroutine that awaits Deferreds, within a task of asyncio."""
    step, value = coroutine.send, None
    while True:
        try:
            awaited = step(value)
        except StopIteration as stop:
            return stop.value
        try:
            if isinstance(awaited, Deferred):
                value = None
                yield from _fired(awaited, loop)
            else:
                value = yield awaited
            step = coroutine.send
        except BaseException as error:
            step, value = coroutine.throw, error


def _fired(deferred: Deferred[Any], loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, None]:
    """Wait until it fires. Its result stays in it, for the coroutine that awaits it."""
    fired = loop.create_future()

    def fire(result: object) -> object:
        if not fired.done():
            fired.set_result(None)
        return result

    deferred.addBoth(fire)
    try:
        yield from fired
    except asyncio.CancelledError:
        deferred.cancel()
        # Nobody awaits it any more.
        deferred.addErrback(lambda _: None)
        raise
