"""The calls that a worker runs: begun, accepted, cancelled, ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import BadRequest, TwbridgeError
from twbridge.rpc.answers import Answers
from twbridge.rpc.executors.outcomes import Outcome
from twbridge.rpc.messages import Accepted, Cancel, Failed, Progress, Request, read_request
from twbridge.rpc.serializers import Body
from twbridge.rpc.settling import Call, Key, Run, Settling
from twbridge.rpc.slots import Lease
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.topology import repeats
from twbridge.rpc.verdicts import REPLAYED, attempt_of, before

__all__ = ["ACCEPT_AFTER", "ACK_AFTER", "Run", "Running", "Runs"]

_log = Logger()

#: Seconds that a call may run before its caller is told that it was accepted: a result says so too.
ACCEPT_AFTER: Final = 0.05
#: Seconds between looks for a control queue, while there is none.
CONTROL_AFTER: Final = 0.25
#: Seconds after which a call that is never repeated is acknowledged while it runs: the broker
#: takes back what is not after its consumer_timeout, 30 minutes by default.
ACK_AFTER: Final = 600.0


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
        self._executors = executors
        self._worker = worker
        self._clock = clock
        self._control = control
        self._answers = Answers(link, worker, clock)
        # In the order in which they began.
        self._calls: dict[Call, None] = {}
        self._by_key: dict[Key, Call] = {}
        self._fresh: deque[Call] = deque()
        self._sweep: IDelayedCall | None = None
        self._settling = Settling(
            link, self._answers, worker=worker, clock=clock, on_settled=self._settled
        )
        self._idle: list[Deferred[None]] = []

    def __len__(self) -> int:
        """How many calls run, or wait for the broker's word of their ends."""
        return len(self._calls)

    # -- from the broker --------------------------------------------------------------------

    def take(self, task: TaskOptions, lease: Lease) -> None:
        """Run a request that was delivered, or say why not."""
        delivery = lease.delivery
        try:
            # What counts is whose queue it came to, not the key that somebody chose.
            request = read_request(delivery, task.name)
        except BadRequest as error:
            self._refuse(lease, error)
            return
        attempt = attempt_of(task, delivery)
        call = Call(task, request, lease, attempt, self._clock.seconds())
        if delivery.redelivered and (
            self._is_ours(call.key, lease) or self._settling.is_over(call.key, lease)
        ):
            return
        self._calls[call] = None
        verdict = before(task, request, self._worker, attempt, delivery.redelivered)
        if verdict is None:
            self._begin(call)
        else:
            call.ended = True
            self._settling.fulfil(call, verdict)

    def _begin(self, call: Call) -> None:
        name = call.task.name
        self._by_key[call.key] = call
        self.counts[name] = self.counts.get(name, 0) + 1
        self._fresh.append(call)
        if self._sweep is None:
            self._sweep = self._clock.callLater(ACCEPT_AFTER, self._accept_fresh)
        call.run = self._executors.run(
            call.task,
            call.request,
            redelivered=call.attempt > 0 or call.lease.delivery.headers.get(REPLAYED) is True,
            on_progress=lambda body: self._progress(call, body),
        )
        call.run.done.addCallback(self._ended, call).addErrback(_log_failure)

    def _is_ours(self, key: Key, lease: Lease) -> bool:
        """Whether it is a call that is in work here, whose connection was lost.

        It is not begun again: one that runs, or whose answer waits for the broker.
        """
        known = self._by_key.get(key)
        if known is None or not known.lease.void:
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
            self._answers.last(Request(id, "", "", Body(b"", ""), reply_to), failed, 0.0)

    def cancel(self, control: Cancel) -> None:
        """Its caller waits for it no more. Nobody else's calls can be named."""
        call = self._by_key.get((control.caller, control.id))
        if call is not None and call.run is not None and not call.ended:
            call.is_late = call.is_late or control.reason == "deadline"
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

    def _accept(self, call: Call) -> None:
        control = self._control()
        if not call.ended and not call.accepted and control:
            call.accepted = True
            accepted = Accepted(call.request.id, self._worker, control)
            left = call.left(self._clock.seconds())
            self._answers.accept(call.request, accepted, left)

    def accept_again(self) -> None:
        """The control queue has another name: those who may cancel are told."""
        for call in self._calls:
            if call.accepted and not call.ended:
                call.accepted = False
                self._accept(call)

    def _progress(self, call: Call, body: Body) -> Deferred[None]:
        """Pass it on; fires when the broker has it."""
        if call.ended:
            return succeed(None)
        self._accept(call)
        call.number += 1
        progress = Progress(call.request.id, self._worker, call.number, body)
        return self._answers.progress(call.request, progress)

    def ack_old(self) -> None:
        """Acknowledge what has run for long and is never repeated. Called now and then."""
        before = self._clock.seconds() - ACK_AFTER
        for call in self._calls:
            if call.begun > before:
                break
            if not call.ended and not repeats(call.task):
                call.lease.ack_early()

    # -- ends -------------------------------------------------------------------------------

    def _ended(self, outcome: Outcome, call: Call) -> None:
        if not call.ended:
            call.ended = True
            self.counts[call.task.name] -= 1
            self._settling.ended(call, outcome)

    def _settled(self, call: Call) -> None:
        self._calls.pop(call, None)
        if self._by_key.get(call.key) is call:
            del self._by_key[call.key]
        if not self._calls:
            waiting, self._idle = self._idle, []
            for each in waiting:
                each.callback(None)

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
        begun = [call for call in self._calls if not call.ended]
        for call in begun:
            call.ended = True
            self.counts[call.task.name] -= 1
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        return self._settling.give_up(begun)


def _log_failure(failure: Failure) -> None:
    _log.failure("A call could not be settled", failure)
