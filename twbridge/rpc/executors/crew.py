"""The children of one kind, and the calls that they run or that wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twbridge.errors import LoadError
from twbridge.rpc.children import State
from twbridge.rpc.executors.deadlines import Deadlines
from twbridge.rpc.executors.outcomes import Broke, Died, Done, Outcome, TimedOut, WasCancelled
from twbridge.rpc.executors.pipe import (
    FromChild,
    Heard,
    Hello,
    Order,
    Progressed,
    Published,
    Raised,
    Returned,
    Stop,
    Stopped,
    frame,
)
from twbridge.rpc.executors.process import Child
from twbridge.rpc.executors.run import Run, RunState
from twbridge.rpc.executors.staff import Staff, Terms
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import RunIn

__all__ = ["Crew"]

_log = Logger()


class Crew:
    """Runs calls in children of one kind.

    Args:
        terms: what it shares with the others.
        kind: where its tasks run.
        each: how many calls one child runs at once.
        most: how many children take calls at once.
    """

    def __init__(self, terms: Terms, kind: RunIn, each: int, most: int) -> None:
        self.kind = kind
        self.staff = Staff(terms, self, kind, each, most)
        self._terms = terms
        self._deadlines: Deadlines[Run] = Deadlines(terms.reactor, self._due)
        self._waiting: deque[Run] = deque()
        self._warm: list[Deferred[Hello]] = []
        self._is_stopped = False
        self._seconds = terms.reactor.seconds

    # -- calls

    def submit(self, run: Run) -> None:
        """Run it, now or when there is room."""
        if self._is_stopped:
            self._settle(run, Died("The worker stops."))
            return
        if run.deadline is not None:
            run.step = self._deadlines.add(run, run.deadline)
        if self.staff.open:
            self._give(self.staff.open[-1], run)
        else:
            self._waiting.append(run)
            self.staff.grow(len(self._waiting))

    def cancel(self, run: Run) -> None:
        """End a call that nobody wants any more."""
        if run.state is RunState.WAITING:
            self._settle(run, WasCancelled())
        elif run.state is RunState.RUNNING:
            self._stop(run, WasCancelled())

    def _give(self, child: Child, run: Run) -> None:
        left = None if run.deadline is None else run.deadline - self._seconds()
        if left is not None and left <= 0:
            self._settle(run, TimedOut())
            return
        request = run.request
        body = request.body
        order = Order(
            run.number,
            run.task.name,
            request.id,
            body.data,
            body.content_type,
            body.content_encoding,
            request.headers,
            left,
            run.redelivered,
        )
        try:
            data = frame(order)
        except Exception as error:
            text = f"a header can't be given to the task: {error}"
            self._settle(run, Broke("BadRequest", text, final=True))
            return
        run.state = RunState.RUNNING
        run.child = child
        child.calls[run.number] = run
        child.served = True
        self.staff.given(child)
        child.send(data)

    def _settle(self, run: Run, outcome: Outcome) -> None:
        """It has ended; its place is another's."""
        run.state = RunState.SETTLED
        if run.deadline is not None:
            self._deadlines.drop(run, run.step)
        if run.grace is not None and run.grace.active():
            run.grace.cancel()
        child = run.child
        if child is not None:
            run.child = None
            del child.calls[run.number]
            if child.state is State.READY:
                self.staff.freed(child)
                if self._waiting:
                    self._serve()
            elif child.state is State.RETIRED and not child.calls:
                child.kill("it was told to end")
        run.done.callback(outcome)

    def _serve(self) -> None:
        """Give what waits to those that have room."""
        has_room = self.staff.open
        while has_room and self._waiting:
            run = self._waiting.popleft()
            if run.state is RunState.WAITING:
                self._give(has_room[-1], run)

    # -- calls that are to end

    def _due(self, run: Run) -> None:
        if run.state is RunState.WAITING:
            self._settle(run, TimedOut())
        elif run.state is not RunState.SETTLED and self.kind == "process":
            # Nothing else runs there: no grace.
            self._finish(run, run.verdict or TimedOut())
        elif run.state is RunState.RUNNING:
            self._stop(run, TimedOut())

    def _stop(self, run: Run, verdict: Outcome) -> None:
        assert run.child is not None
        run.state = RunState.STOPPING
        run.verdict = verdict
        run.grace = self._terms.reactor.callLater(self._terms.grace, self._finish, run, verdict)
        run.child.send(frame(Stop(run.number)))

    def _finish(self, run: Run, verdict: Outcome) -> None:
        """It does not end by itself: its child does."""
        child = run.child
        assert child is not None
        _log.info(
            "{task} {call} did not stop: task process {pid} is ended",
            task=run.request.task,
            call=run.request.id,
            pid=child.pid,
        )
        # What it says can't be heard while its pipe is not read.
        was_heard, name = run.was_heard or child.is_paused, run.task.name
        was_active = self.staff.retire(child)
        self._settle(run, verdict)
        if not was_heard:
            child.kill(f"it was killed, because the task {name!r} did not stop and blocked it")
        if was_active:
            self.staff.replace()

    # -- children

    def warm(self) -> Deferred[Hello]:
        """Start a child. The Deferred fires with what it says first, or fails with `LoadError`."""
        started: Deferred[Hello] = Deferred()
        self._warm.append(started)
        self.staff.start()
        return started

    def stop(self) -> list[Deferred[None]]:
        """End all. Each Deferred fires when a process is gone."""
        self._is_stopped = True
        waiting, self._waiting = self._waiting, deque()
        gone = self.staff.stop()
        for run in waiting:
            if run.state is RunState.WAITING:
                self._settle(run, Died("The worker stops."))
        self._deadlines.stop()
        return gone

    def ended(self, child: Child, text: str) -> None:
        """A child is gone, and what ran there with it."""
        was_active = self.staff.remove(child)
        for run in list(child.calls.values()):
            self._settle(run, run.verdict or Died(f"The process that ran it is gone: {text}."))
        if self._is_stopped:
            self._fail_warm(LoadError("the worker stops"))
        elif not was_active:
            return
        elif not child.has_started:
            self._failed(LoadError(f"the process of the tasks did not start: {text}"))
        elif child.served:
            self.staff.replace()
        else:
            self.staff.keep_warm()

    def _failed(self, error: LoadError) -> None:
        """A child did not start; the next call tries it again."""
        if not self._warm:
            _log.error("A task process did not start: {error}", error=error)
        self._fail_warm(error)
        if not self.staff.active:
            waiting, self._waiting = self._waiting, deque()
            for run in waiting:
                if run.state is RunState.WAITING:
                    self._settle(run, Died(f"No process could be started for it: {error}"))

    def _fail_warm(self, error: LoadError) -> None:
        warm, self._warm = self._warm, []
        for each in warm:
            each.errback(error)

    # -- what children say

    def received(self, child: Child, message: FromChild) -> None:
        """Carry out what a child says."""
        kind = type(message)
        if kind is Hello:
            self._hello(child, message)  # type: ignore[arg-type]
        elif kind is Published:
            self._published(child, message)  # type: ignore[arg-type]
        else:
            run = child.calls.get(message.number)  # type: ignore[union-attr]
            # One that was stopped may still say something.
            if run is not None:
                _HEARD[kind](self, child, run, message)

    def _hello(self, child: Child, hello: Hello) -> None:
        if child.state is not State.STARTING:
            return
        if hello.error is not None:
            self.staff.remove(child)
            child.kill(hello.error)
            self._failed(LoadError(hello.error, hello.traceback))
            return
        self.staff.ready(child)
        warm, self._warm = self._warm, []
        for each in warm:
            each.callback(hello)
        self._serve()
        self.staff.grow(len(self._waiting))

    def _returned(self, child: Child, run: Run, message: Returned) -> None:
        if run.state is RunState.STOPPING and type(run.verdict) is TimedOut:
            self._settle(run, run.verdict)
            return
        body = Body(message.data, message.content_type, message.content_encoding)
        self._settle(run, Done(body, message.headers))

    def _raised(self, child: Child, run: Run, message: Raised) -> None:
        if run.verdict is not None:
            self._settle(run, run.verdict)
            return
        if message.traceback is not None:
            _log.warn(
                "{task} {call} failed\n{traceback}",
                task=run.request.task,
                call=run.request.id,
                traceback=message.traceback,
            )
        told = message.traceback if run.task.traceback else None
        self._settle(run, Broke(message.name, message.message, told, message.public, message.final))

    def _stopped(self, child: Child, run: Run, message: Stopped) -> None:
        self._settle(run, run.verdict or Broke("CancelledError", "The task cancelled itself."))

    def _heard(self, child: Child, run: Run, message: Heard) -> None:
        run.was_heard = True

    def _progressed(self, child: Child, run: Run, message: Progressed) -> None:
        body = Body(message.data, message.content_type, message.content_encoding)
        self._hand_over(child, len(message.data), run.on_progress, body)

    def _published(self, child: Child, message: Published) -> None:
        body = Body(message.data, message.content_type, message.content_encoding)
        self._hand_over(child, len(message.data), self._terms.publish, message.channel, body)

    def _hand_over(
        self, child: Child, size: int, take: Callable[..., Any], *arguments: object
    ) -> None:
        try:
            sent = take(*arguments)
        except Exception:
            _log.failure("What a task sent was not taken")
        else:
            if isinstance(sent, Deferred):
                child.owe(size, sent)


_HEARD: dict[type, Callable[[Crew, Child, Run, Any], None]] = {
    Returned: Crew._returned,
    Raised: Crew._raised,
    Stopped: Crew._stopped,
    Heard: Crew._heard,
    Progressed: Crew._progressed,
}
