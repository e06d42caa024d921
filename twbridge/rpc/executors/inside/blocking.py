"""Tasks that are functions: in the main thread one after the other, or in threads."""

from __future__ import annotations

from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread

from twbridge.rpc.context import entered
from twbridge.rpc.executors.inside.jobs import Job, Jobs
from twbridge.rpc.executors.inside.line import Line
from twbridge.rpc.executors.pipe import Heard, Leave, Order, Stop, frame

__all__ = ["serve_process", "serve_threads"]


class _Calls:
    """What runs here."""

    def __init__(self, line: Line, jobs: Jobs) -> None:
        self._line = line
        self._jobs = jobs
        self._running: dict[int, Job] = {}
        #: None: the process is to end.
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()

    def take(self, message: object) -> bool:
        """Whether it is a call; then it is in the inbox."""
        if isinstance(message, Order):
            job = self._jobs.take(message)
            if job is None:
                return False
            self._running[job.number] = job
            self.inbox.put(job)
            return True
        if isinstance(message, Stop):
            stopped = self._running.get(message.number)
            if stopped is not None:
                stopped.is_stopped = True
                self._line.send(frame(Heard(message.number)))
        return False

    def run_next(self) -> bool:
        """Run one, or wait for it. Whether there may be another."""
        job = self.inbox.get()
        if job is None:
            return False
        data = copy_context().run(self._run, job)
        self._line.leave_if_forked()
        del self._running[job.number]
        self._line.send(data)
        return True

    def _run(self, job: Job) -> bytes:
        try:
            args, named = self._jobs.arguments(job)
        except Exception as error:
            return self._jobs.raised(job, error, is_final=True)
        try:
            with entered(self._jobs.context(job)):
                value = job.task.function(*args, **named)
        except BaseException as error:
            return self._jobs.raised(job, error)
        return self._jobs.returned(job, value)


def serve_process(line: Line, jobs: Jobs) -> None:
    """Run calls in this thread, the main one; another one reads. Returns to end in order."""
    calls = _Calls(line, jobs)

    def read() -> None:
        for message in line.messages():
            if isinstance(message, Leave):
                calls.inbox.put(None)
            calls.take(message)

    Thread(target=read, name="twbridge-read", daemon=True).start()
    while calls.run_next():
        pass


def serve_threads(line: Line, jobs: Jobs, most: int) -> None:
    """Run calls in up to ``most`` threads; this one reads. Returns to end in order."""
    calls = _Calls(line, jobs)
    lock = Lock()
    #: Threads that wait for a call, less the calls that wait for a thread.
    free = 0
    number = 0

    def work() -> None:
        nonlocal free
        while calls.run_next():
            with lock:
                free += 1

    for message in line.messages():
        if isinstance(message, Leave):
            return
        if calls.take(message):
            with lock:
                free -= 1
                is_short = free < 0 and number < most
                free += is_short
            if is_short:
                number += 1
                Thread(target=work, name=f"twbridge-task-{number}", daemon=True).start()
