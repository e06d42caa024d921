"""What becomes of the calls that a worker ran: their callers are answered, then the broker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import TwbridgeError
from twbridge.rpc.answers import SHORTEST, Answers
from twbridge.rpc.executors.outcomes import Died, Outcome, TimedOut, WasCancelled
from twbridge.rpc.messages import Failed, Request, task_queue
from twbridge.rpc.slots import Lease
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.topology import repeats
from twbridge.rpc.verdicts import Fate, Verdict, after, copy_properties

__all__ = ["Call", "Ends", "Key", "Run", "Settling"]

_log = Logger()

#: Seconds for which the ends of calls are kept whose requests the broker has taken back.
KEPT_FOR: Final = 120.0
#: Bytes of them, about.
KEPT_MAX: Final = 4 * 1024 * 1024
#: Bytes that one takes besides its key, about.
_EACH: Final = 300

#: Characters of a failure's text in the log.
LINE_MAX: Final = 300

#: The caller's id and the call's.
Key = tuple[str, str]


class Run(Protocol):
    """A call in an executor."""

    done: Deferred[Outcome]

    def cancel(self) -> None: ...


class Call:
    """One call."""

    __slots__ = (
        "accepted",
        "attempt",
        "begun",
        "ended",
        "is_late",
        "lease",
        "number",
        "request",
        "run",
        "task",
    )

    def __init__(
        self, task: TaskOptions, request: Request, lease: Lease, attempt: int, begun: float
    ) -> None:
        self.task = task
        self.request = request
        self.lease = lease
        self.attempt = attempt
        self.begun = begun
        #: None until the executor has it.
        self.run: Run | None = None
        #: Whether its caller was told that it runs.
        self.accepted = False
        #: Whether it is being ended because its caller's time is over.
        self.is_late = False
        #: Whether it runs no more, or never did.
        self.ended = False
        #: Of the last progress.
        self.number = 0

    @property
    def key(self) -> Key:
        return self.request.caller, self.request.id

    def left(self, now: float) -> float | None:
        """Seconds until nobody waits for it; None: without end."""
        timeout = self.request.timeout
        return None if timeout is None else timeout - (now - self.begun)


class Ends:
    """What to tell the broker of requests that it has taken back, should it deliver them again.

    Only of calls that are over, and whose callers were answered.

    Args:
        seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[Key, tuple[Fate, float]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, fate: Fate) -> None:
        """Remember it for two minutes, if there is room as long."""
        self._forget(key)
        self._kept[key] = fate, self._seconds() + KEPT_FOR
        self._bytes += _size(key)
        while self._bytes > KEPT_MAX:
            self._forget(next(iter(self._kept)))
        self._age()

    def take(self, key: Key) -> Fate | None:
        """What was kept for it, once."""
        self._age()
        kept = self._kept.get(key)
        self._forget(key)
        return None if kept is None else kept[0]

    def _age(self) -> None:
        now = self._seconds()
        while self._kept:
            key, (_, until) = next(iter(self._kept.items()))
            if until > now:
                return
            self._forget(key)

    def _forget(self, key: Key) -> None:
        if self._kept.pop(key, None) is not None:
            self._bytes -= _size(key)


class Settling:
    """Answers callers and the broker for calls that have ended.

    A request is acknowledged when its answer is with the broker. That of a task that runs at
    most once need not wait for that while answers flow: its slot is free a round trip sooner. But
    where the broker takes none, results that wait hold their slots, and no more calls are run.

    Args:
        link: the way to the broker.
        answers: the way to callers.
        worker: the worker's id.
        clock: IReactorTime.
        on_settled: called with each call that is done with.
    """

    def __init__(
        self,
        link: Link,
        answers: Answers,
        *,
        worker: str,
        clock: Any,
        on_settled: Callable[[Call], object],
    ) -> None:
        self._link = link
        self._answers = answers
        self._worker = worker
        self._seconds = clock.seconds
        self._on_settled = on_settled
        self._ends = Ends(clock.seconds)
        self._is_stopped = False

    def is_over(self, key: Key, lease: Lease) -> bool:
        """Whether the call has ended here before; then its request is settled."""
        fate = self._ends.take(key)
        if fate is not None:
            _tell(lease, fate)
        return fate is not None

    def ended(self, call: Call, outcome: Outcome) -> None:
        """It was run."""
        if call.is_late and isinstance(outcome, WasCancelled):
            outcome = TimedOut()
        verdict = self._verdict(call, outcome)
        if verdict.reply is None and self._is_too_late(call):
            # There is no time for another try, and a dead letter has to tell of it.
            verdict = self._verdict(call, TimedOut())
        self.fulfil(call, verdict)

    def _is_too_late(self, call: Call) -> bool:
        left = call.left(self._seconds())
        return call.is_late or (left is not None and left <= 0)

    def _verdict(self, call: Call, outcome: Outcome) -> Verdict:
        return after(call.task, call.request, self._worker, call.attempt, outcome)

    def fulfil(self, call: Call, verdict: Verdict) -> None:
        """Answer the caller, then the broker."""
        fate = verdict.fate
        if fate is Fate.AGAIN:
            self._again(call)
            return
        if verdict.reply is None:
            self._settle(call, fate)
            return
        if isinstance(verdict.reply, Failed):
            _note(call, verdict.reply, fate)
        flows = self._answers.flows
        sent = self._answers.last(call.request, verdict.reply, call.left(self._seconds()))
        if flows and not call.lease.void and not repeats(call.task):
            self._settle(call, fate)
        else:
            # A worker that dies now leaves no caller without an answer.
            sent.addCallback(self._answered, call, fate).addErrback(_log_failure)

    def _answered(self, is_there: bool, call: Call, fate: Fate) -> None:
        if self._is_stopped and not is_there:
            self._on_settled(call)  # unsettled: with the connection's end it is another worker's
            return
        if call.lease.void and is_there and fate is not Fate.REQUEUE:
            self._ends.keep(call.key, fate)
        self._settle(call, fate)

    def _settle(self, call: Call, fate: Fate) -> None:
        _tell(call.lease, fate)
        self._on_settled(call)

    def _again(self, call: Call) -> None:
        """Have it tried again; a copy says how often it was."""
        delivery, was_run = call.lease.delivery, call.run is not None
        if call.lease.void:
            self._settle(call, Fate.REQUEUE)  # the broker has it already
            return
        # One that was not run here is counted already: as redelivered.
        properties = copy_properties(
            delivery,
            call.attempt + 1 if was_run else call.attempt,
            self._seconds() - call.begun,
        )
        copied = self._link.publish(
            "", task_queue(call.task.name), delivery.body, properties, mandatory=True
        )
        copied.addCallbacks(
            lambda _: self._settle(call, Fate.ACK), lambda failure: self._not_copied(failure, call)
        ).addErrback(_log_failure)

    def _not_copied(self, failure: Failure, call: Call) -> None:
        failure.trap(TwbridgeError)
        self._settle(call, Fate.REQUEUE)

    def give_up(self, calls: list[Call]) -> Deferred[None]:
        """The worker stops under these calls: what may be repeated goes back, of the rest the
        callers are told.

        Fires when the broker has the answers, or will not have them in time.
        """
        self._is_stopped = True
        self._answers.stop()
        told = []
        for call in calls:
            if repeats(call.task):
                self._settle(call, Fate.REQUEUE)
                continue
            verdict = self._verdict(call, Died("its worker was stopped before it had ended"))
            assert verdict.reply is not None
            sent = self._answers.last(call.request, verdict.reply, SHORTEST)
            told.append(sent.addCallback(self._answered, call, verdict.fate))
        if not told:
            return succeed(None)
        return DeferredList(told).addCallback(lambda _: None)


def _tell(lease: Lease, fate: Fate) -> None:
    if fate is Fate.ACK:
        lease.ack()
    else:
        lease.nack(requeue=fate is Fate.REQUEUE)


def _note(call: Call, failed: Failed, fate: Fate) -> None:
    """What nobody else may hear of: the log does. It never has the body."""
    name, id, text = call.task.name, call.request.id, _line(failed.message)
    if failed.kind == "bad_request":
        _log.info("A call of {task} was refused: {text} ({id})", task=name, text=text, id=id)
    if fate is Fate.REJECT and repeats(call.task):
        _log.warn(
            "A call of {task} is given up (dead letter) after attempt {attempt}: "
            "{type}: {text} ({id})",
            task=name,
            # Where it was not run, the last attempt is the one before.
            attempt=call.attempt + (call.run is not None),
            type=failed.type,
            text=text,
            id=id,
        )


def _line(text: str) -> str:
    """Its first line, if that is not long."""
    return text.split("\n", 1)[0][:LINE_MAX]


def _size(key: Key) -> int:
    return _EACH + sum(map(len, key))


def _log_failure(failure: Failure) -> None:
    _log.failure("A call could not be settled", failure)
