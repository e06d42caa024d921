"""The calls that a worker runs: begun, accepted, cancelled, answered."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import BadRequest, TwbridgeError
from twbridge.rpc.answers import Answers
from twbridge.rpc.executors.outcomes import Died, Outcome
from twbridge.rpc.messages import Accepted, Cancel, Failed, Progress, Request, read_request
from twbridge.rpc.serializers import Body
from twbridge.rpc.slots import Lease
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.topology import repeats
from twbridge.rpc.verdicts import Fate, Verdict, after, attempt_of, before, copy_properties

__all__ = ["ACCEPT_AFTER", "ACK_AFTER", "Run", "Running", "Runs"]

_log = Logger()

#: Seconds that a call may run before its caller is told that it was accepted: a result says so too.
ACCEPT_AFTER: Final = 0.05
#: Seconds between looks for a control queue, while there is none.
CONTROL_AFTER: Final = 0.25
#: Seconds after which a call that is never repeated is acknowledged while it runs: the broker
#: takes back what is not after its consumer_timeout, 30 minutes by default.
ACK_AFTER: Final = 600.0
#: Outcomes kept, of calls that ended while the broker was away, for when it delivers them again.
KEPT: Final = 1000

_Key = tuple[str, str]


class Run(Protocol):
    """A call in an executor."""

    done: Deferred[Outcome]

    def cancel(self) -> None: ...


class Runs(Protocol):
    """What runs calls: ``executors.pool.Executors``."""

    def run(
        self,
        task: TaskOptions,
        request: Request,
        *,
        redelivered: bool,
        on_progress: Callable[[Body], Deferred[Any] | None],
    ) -> Run: ...


class _Call:
    """One call."""

    __slots__ = (
        "accepted",
        "attempt",
        "begun",
        "ended",
        "lease",
        "number",
        "outcome",
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
        #: Whether it runs no more, or never did.
        self.ended = False
        self.outcome: Outcome | None = None
        #: Of the last progress.
        self.number = 0

    @property
    def key(self) -> _Key:
        return self.request.caller, self.request.id


class Running:
    """The calls of one worker.

    Args:
        link: the way to the broker.
        executors: what runs them.
        worker: the worker's id.
        clock: IReactorTime.
        control: the name of the worker's control queue now; empty while there is none.
    """

    def __init__(
        self, link: Link, executors: Runs, *, worker: str, clock: Any, control: Callable[[], str]
    ) -> None:
        #: Calls of each task that run now.
        self.counts: dict[str, int] = {}
        self._link = link
        self._executors = executors
        self._worker = worker
        self._clock = clock
        self._control = control
        self._answers = Answers(link, worker, clock)
        # In the order in which they began.
        self._calls: dict[_Call, None] = {}
        self._by_key: dict[_Key, _Call] = {}
        self._fresh: deque[_Call] = deque()
        self._sweep: IDelayedCall | None = None
        self._outcomes: OrderedDict[_Key, Outcome] = OrderedDict()
        self._idle: list[Deferred[None]] = []

    def __len__(self) -> int:
        """How many calls run, or wait for the broker's word of their ends."""
        return len(self._calls)

    # -- from the broker --------------------------------------------------------------------

    def take(self, task: TaskOptions, lease: Lease) -> None:
        """Run a request that was delivered, or say why not."""
        delivery = lease.delivery
        try:
            request = read_request(delivery)
        except BadRequest as error:
            self._refuse(lease, error)
            return
        if delivery.redelivered and self._is_ours(request, lease):
            return
        attempt = attempt_of(task, delivery)
        call = _Call(task, request, lease, attempt, self._clock.seconds())
        self._calls[call] = None
        if delivery.redelivered:
            call.outcome = self._outcomes.pop(call.key, None)
        if call.outcome is not None:
            verdict: Verdict | None = self._verdict(call, call.outcome)
        else:
            verdict = before(task, request, self._worker, attempt, delivery.redelivered)
        if verdict is None:
            self._begin(call)
        else:
            call.ended = True
            self._fulfil(call, verdict)

    def _begin(self, call: _Call) -> None:
        name = call.task.name
        self._by_key[call.key] = call
        self.counts[name] = self.counts.get(name, 0) + 1
        self._fresh.append(call)
        if self._sweep is None:
            self._sweep = self._clock.callLater(ACCEPT_AFTER, self._accept_fresh)
        call.run = self._executors.run(
            call.task,
            call.request,
            redelivered=call.attempt > 0,
            on_progress=lambda body: self._progress(call, body),
        )
        call.run.done.addCallback(self._ended, call).addErrback(_log_failure)

    def _is_ours(self, request: Request, lease: Lease) -> bool:
        """Whether it is a call that runs here, whose connection was lost: it is not begun again."""
        known = self._by_key.get((request.caller, request.id))
        if known is None or known.ended or not known.lease.void:
            return False
        known.lease.ack()  # to free its slot: the broker has forgotten it
        known.lease = lease
        return True

    def _refuse(self, lease: Lease, error: BadRequest) -> None:
        """What is no request goes to the dead letters, and its sender hears of it if possible."""
        _log.warn("A request was refused: {error}", error=str(error))
        lease.nack(requeue=False)
        try:
            properties = lease.delivery.properties
        except TwbridgeError:
            return
        reply_to, id = properties.get("reply_to"), properties.get("correlation_id")
        if reply_to and id:
            failed = Failed(id, self._worker, "bad_request", "BadRequest", str(error))
            self._answers.send(Request(id, "", "", Body(b"", ""), reply_to), failed)

    def cancel(self, control: Cancel) -> None:
        """Its caller does not want it any more. Nobody else's calls can be named."""
        call = self._by_key.get((control.caller, control.id))
        if call is not None and call.run is not None and not call.ended:
            call.run.cancel()

    # -- while they run ---------------------------------------------------------------------

    def _accept_fresh(self) -> None:
        """Tell callers whose calls did not end at once. One timer is for all."""
        self._sweep = None
        fresh, due = self._fresh, self._clock.seconds() - ACCEPT_AFTER + 1e-6
        # Without a control queue nobody could cancel them: they wait for the next one.
        is_heard = bool(self._control())
        while fresh and (fresh[0].ended or (is_heard and fresh[0].begun <= due)):
            self._accept(fresh.popleft())
        if fresh:
            wait = max(ACCEPT_AFTER / 4, fresh[0].begun - due)
            self._sweep = self._clock.callLater(
                wait if is_heard else CONTROL_AFTER, self._accept_fresh
            )

    def _accept(self, call: _Call) -> None:
        control = self._control()
        if not call.ended and not call.accepted and control:
            call.accepted = True
            self._answers.send(call.request, Accepted(call.request.id, self._worker, control))

    def accept_again(self) -> None:
        """The control queue has another name: those who may cancel are told."""
        for call in self._calls:
            if call.accepted and not call.ended:
                call.accepted = False
                self._accept(call)

    def _progress(self, call: _Call, body: Body) -> Deferred[None]:
        """Pass it on; fires when the broker has it."""
        if call.ended:
            return succeed(None)
        self._accept(call)
        call.number += 1
        progress = Progress(call.request.id, self._worker, call.number, body)
        return self._answers.send(call.request, progress)

    def ack_old(self) -> None:
        """Acknowledge what has run for long and is never repeated. Called now and then."""
        before = self._clock.seconds() - ACK_AFTER
        for call in self._calls:
            if call.begun > before:
                break
            if not call.ended and not repeats(call.task):
                call.lease.ack_early()

    # -- ends -------------------------------------------------------------------------------

    def _ended(self, outcome: Outcome, call: _Call) -> None:
        if call.ended:
            return
        call.ended, call.outcome = True, outcome
        if self._by_key.get(call.key) is call:
            del self._by_key[call.key]
        self.counts[call.task.name] -= 1
        self._fulfil(call, self._verdict(call, outcome))

    def _verdict(self, call: _Call, outcome: Outcome) -> Verdict:
        return after(call.task, call.request, self._worker, call.attempt, outcome)

    def _fulfil(self, call: _Call, verdict: Verdict) -> None:
        """Answer the caller, then the broker."""
        sent: Deferred[None] = succeed(None)
        if verdict.reply is not None:
            sent = self._answers.send(call.request, verdict.reply)
        if verdict.fate is Fate.AGAIN:
            self._again(call)
        elif repeats(call.task):
            # A worker that dies now leaves no caller without an answer.
            sent.addCallback(lambda _: self._settle(call, verdict.fate)).addErrback(_log_failure)
        else:
            self._settle(call, verdict.fate)

    def _settle(self, call: _Call, fate: Fate) -> None:
        if call.lease.void and call.outcome is not None:
            self._outcomes[call.key] = call.outcome
            if len(self._outcomes) > KEPT:
                self._outcomes.popitem(last=False)
        if fate is Fate.ACK:
            call.lease.ack()
        else:
            call.lease.nack(requeue=fate is Fate.REQUEUE)
        self._calls.pop(call, None)
        if not self._calls:
            waiting, self._idle = self._idle, []
            for each in waiting:
                each.callback(None)

    def _again(self, call: _Call) -> None:
        """Have it tried again; a copy says how often it was."""
        delivery, redelivered = call.lease.delivery, call.lease.delivery.redelivered
        attempt = call.attempt if redelivered and call.run is None else call.attempt + 1
        if call.lease.void:
            self._settle(call, Fate.REQUEUE)  # the broker has it already
            return
        properties = copy_properties(delivery, attempt)
        copied = self._link.publish(
            "", delivery.routing_key, delivery.body, properties, mandatory=True
        )
        copied.addCallbacks(
            lambda _: self._settle(call, Fate.ACK), lambda failure: self._not_copied(failure, call)
        ).addErrback(_log_failure)

    def _not_copied(self, failure: Failure, call: _Call) -> None:
        failure.trap(TwbridgeError)
        self._settle(call, Fate.REQUEUE)

    # -- the end ----------------------------------------------------------------------------

    def when_idle(self) -> Deferred[None]:
        """Fires when nothing runs."""
        if not self._calls:
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        return idle

    def give_up(self) -> Deferred[None]:
        """The worker stops: what may be repeated goes back, of the rest the callers are told.

        Fires when the broker has the answers, or never will.
        """
        told = []
        for call in list(self._calls):
            if call.ended:
                continue
            call.ended = True
            self.counts[call.task.name] -= 1
            if repeats(call.task):
                self._settle(call, Fate.REQUEUE)
                continue
            verdict = self._verdict(call, Died("its worker was stopped before it had ended"))
            assert verdict.reply is not None
            told.append(self._answers.send(call.request, verdict.reply))
            self._settle(call, Fate.ACK)
        self._by_key.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        return DeferredList(told).addCallback(lambda _: None)


def _log_failure(failure: Failure) -> None:
    _log.failure("A call could not be settled", failure)
