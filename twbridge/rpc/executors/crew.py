"""The children of one kind, and the calls that they run or that wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twbridge.errors import LoadError
from twbridge.rpc.executors.deadlines import Deadlines
from twbridge.rpc.executors.outcomes import Broke, Died, Done, Outcome, TimedOut, WasCancelled
from twbridge.rpc.executors.pipe import (
    Begin,
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
from twbridge.rpc.executors.process import Child, State
from twbridge.rpc.executors.run import Run, RunState
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import RunIn

__all__ = ["IDLE", "MAX_RETIRED", "MAX_STARTING", "PAUSE", "Crew", "Terms"]

_log = Logger()

#: Children of one kind that may be left to end what they have, while one of their calls won't
#: stop. The oldest is killed when there is one more.
MAX_RETIRED: Final = 4
#: Children of one kind that start at once: each costs a quarter of a second of a core.
MAX_STARTING: Final = 2
#: Seconds after which children that are not needed are ended.
IDLE: Final = 60.0
#: Seconds before a child that ended without a call is replaced.
PAUSE: Final = 1.0


class Terms(Struct, frozen=True):
    """What all crews of a worker share. ``grace``: seconds from being told to being killed."""

    reactor: Any
    module: str
    worker: str
    begin: Begin
    grace: float
    publish: Callable[[str, Body], Any]


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
        self.each = each
        self.most = most
        #: All whose processes are not gone, whatever they are good for.
        self.children: set[Child] = set()
        self._terms = terms
        self._deadlines: Deadlines[Run] = Deadlines(terms.reactor, self._due)
        #: Those that start, or take calls.
        self._active: list[Child] = []
        #: Those of them that have room; the last one is asked first.
        self._open: list[Child] = []
        self._retired: list[Child] = []
        self._waiting: deque[Run] = deque()
        self._warm: list[Deferred[Hello]] = []
        self._is_stopped = False
        self._later: IDelayedCall | None = None
        self._shrinking: IDelayedCall | None = None
        #: The fewest that had nothing to do at once, lately.
        self._surplus = 0
        self._seconds = terms.reactor.seconds

    # -- calls

    def submit(self, run: Run) -> None:
        """Run it, now or when there is room."""
        if self._is_stopped:
            self._settle(run, Died("The worker stops."))
            return
        if run.deadline is not None:
            run.step = self._deadlines.add(run, run.deadline)
        if self._open:
            self._give(self._open[-1], run)
        else:
            self._waiting.append(run)
            self._grow()

    def cancel(self, run: Run) -> None:
        """End a call that nobody wants any more."""
        if run.state is RunState.WAITING:
            self._settle(run, WasCancelled())
        elif run.state is RunState.RUNNING:
            self._stop(run, WasCancelled())

    def _give(self, child: Child, run: Run) -> None:
        left = None if run.deadline is None else run.deadline - self._seconds()
        request = run.request
        body = request.body
        order = Order(
            run.number,
            request.task,
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
        if len(child.calls) >= self.each:
            self._open.remove(child)
            self._surplus = min(self._surplus, len(self._open))
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
                if len(child.calls) == self.each - 1:
                    self._open.append(child)
                if self._waiting:
                    self._serve()
            elif child.state is State.RETIRED and not child.calls:
                child.kill("it was told to end")
        run.done.callback(outcome)

    def _serve(self) -> None:
        """Give what waits to those that have room."""
        while self._open and self._waiting:
            run = self._waiting.popleft()
            if run.state is RunState.WAITING:
                self._give(self._open[-1], run)

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
        was_heard, name = run.was_heard, run.request.task
        self._retire(child)
        self._settle(run, verdict)
        if not was_heard:
            child.kill(f"it was killed, because the task {name!r} did not stop and blocked it")

    def _retire(self, child: Child) -> None:
        if child.state is not State.READY:
            return
        child.state = State.RETIRED
        self._remove(child)
        self._retired.append(child)
        if len(self._retired) > MAX_RETIRED:
            self._retired[0].kill("it was killed: too many tasks of its kind did not stop")
        self._replace()

    # -- children

    def warm(self) -> Deferred[Hello]:
        """Start a child. The Deferred fires with what it says first, or fails with `LoadError`."""
        started: Deferred[Hello] = Deferred()
        self._warm.append(started)
        self._start()
        return started

    def stop(self) -> list[Deferred[None]]:
        """Kill all. Each Deferred fires when a process is gone."""
        self._is_stopped = True
        gone = [child.gone for child in self.children]
        waiting, self._waiting = self._waiting, deque()
        for child in list(self.children):
            child.kill("the worker stops")
        for run in waiting:
            if run.state is RunState.WAITING:
                self._settle(run, Died("The worker stops."))
        self._deadlines.stop()
        for timer in (self._later, self._shrinking):
            if timer is not None and timer.active():
                timer.cancel()
        return gone

    def _grow(self) -> None:
        """Start children for what waits; a few at once, so that the first is soon there."""
        if not self._waiting:
            return
        starting = sum(child.state is State.STARTING for child in self._active)
        room = min(MAX_STARTING - starting, self.most - len(self._active))
        wanted = -(-len(self._waiting) // self.each) - starting
        for _ in range(min(room, wanted)):
            self._start()

    def _start(self) -> None:
        if self._is_stopped:
            return
        terms = self._terms
        arguments = (terms.module, self.kind, terms.worker, str(self.each))
        child = Child(terms.reactor, self, arguments, terms.begin)
        self.children.add(child)
        self._active.append(child)
        child.gone.addCallback(lambda _: self.children.discard(child))
        child.start()

    def _keep_warm(self) -> None:
        if not self._active:
            self._start()

    def _replace(self) -> None:
        """One is gone that was needed. The others of a burst come as they are needed again."""
        starting = sum(child.state is State.STARTING for child in self._active)
        if starting < MAX_STARTING and len(self._active) < self.most:
            self._start()

    def _shrink(self) -> None:
        """End those that had nothing to do since this was last called, but for one."""
        self._shrinking = None
        for child in self._open[: max(0, self._surplus - 1)]:
            self._remove(child)
            child.kill("it had nothing to do")
        self._surplus = len(self._open)
        self._shrink_later()

    def _shrink_later(self) -> None:
        if self._shrinking is None and len(self._active) > 1 and not self._is_stopped:
            self._shrinking = self._terms.reactor.callLater(IDLE, self._shrink)

    def _remove(self, child: Child) -> None:
        for group in (self._active, self._open, self._retired):
            if child in group:
                group.remove(child)

    def ended(self, child: Child, text: str) -> None:
        """A child is gone, and what ran there with it."""
        was_active = child in self._active
        self._remove(child)
        for run in list(child.calls.values()):
            self._settle(run, run.verdict or Died(f"The process that ran it is gone: {text}."))
        if self._is_stopped:
            self._fail_warm(LoadError("the worker stops"))
        elif not was_active:
            return
        elif not child.has_started:
            self._failed(LoadError(f"the process of the tasks did not start: {text}"))
        elif child.served:
            self._replace()
        else:
            # By itself, for no call: not again and again.
            self._later = self._terms.reactor.callLater(PAUSE, self._keep_warm)

    def _failed(self, error: LoadError) -> None:
        """A child did not start; the next call tries it again."""
        _log.error("A task process did not start: {error}", error=error)
        self._fail_warm(error)
        if not self._active:
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
            self._remove(child)
            child.kill(hello.error)
            self._failed(LoadError(hello.error, hello.traceback))
            return
        child.hello()
        self._open.append(child)
        warm, self._warm = self._warm, []
        for each in warm:
            each.callback(hello)
        self._serve()
        self._grow()
        self._shrink_later()

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
