"""The table of a caller's calls: what is pending, until when, and how each ends (sans-I/O).

Each call ends exactly once: with a result, with its error, when it is cancelled, or at its
deadline. What comes later, twice, or for a call that is not known, changes nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import (
    BadArguments,
    CallCancelled,
    CallError,
    CallLost,
    CallTimeout,
    ExpirationError,
    NotReady,
    TaskError,
)
from twbridge.rpc.messages import (
    Accepted,
    CancelReason,
    DeadLetter,
    Failed,
    Progress,
    Reply,
    Result,
)
from twbridge.rpc.pending import Call

__all__ = ["GRACE", "LEFT_MAX", "WAITING_MAX", "Calls"]

_log = Logger()

#: Bytes of bodies that may wait for the broker; a call past it fails at once.
WAITING_MAX: Final = 64 * 1024 * 1024
#: Calls that were cancelled or too late lately: a worker that takes one of them is told. Older
#: ones are forgotten.
LEFT_MAX: Final = 10_000
#: Seconds that the error of a rejected call may come behind the news of its rejection: they take
#: different ways.
GRACE: Final = 1.0
#: A deadline is reached this many seconds before it: a clock that wakes us counts in floats.
_EPSILON: Final = 1e-6
#: A worker that ends a call for its time so many seconds before its deadline does it for that one.
_NEAR: Final = 0.05
#: Ended calls that may lie in the heap beside those that are pending.
_SLACK: Final = 64


class Calls:
    """The calls of one caller that have not ended.

    Args:
        seconds: the clock of their deadlines.
        tell: called with a control queue, the id of a call that its worker is to end, and why.
        why: says why calls are not sent.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        tell: Callable[[str, str, CancelReason], object],
        why: Callable[[], str],
    ) -> None:
        #: Those that are sent.
        self.pending: dict[str, Call] = {}
        #: Those that are not yet, in the order in which they were made.
        self.waiting: OrderedDict[str, Call] = OrderedDict()
        self._waiting_bytes = 0
        # Those that have ended, and whose requests may wait in their queues.
        self._unsettled: dict[str, Call] = {}
        self._left: OrderedDict[str, CancelReason] = OrderedDict()
        #: Replies for calls that have ended or never were.
        self.strays = 0
        self._seconds = seconds
        self._tell = tell
        self._why = why
        self._heap: list[tuple[float, int, Call]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self.pending) + len(self.waiting)

    # -- on the way out ---------------------------------------------------------------------

    def add(self, call: Call) -> Deferred[Any]:
        """A new call. The Deferred fires with its result, or fails with what became of it."""
        deferred: Deferred[Any] = Deferred(lambda _: self.cancel(call))
        call.deferred = deferred
        if call.deadline != math.inf:
            self._watch(call)
        return deferred

    def wait(self, call: Call) -> None:
        """It can't be sent yet.

        Raises:
            NotReady: too much waits already.
        """
        assert call.body is not None
        size = len(call.body.data)
        if self.waiting and self._waiting_bytes + size > WAITING_MAX:
            raise NotReady(f"over {WAITING_MAX} bytes of calls wait for the broker already")
        call.waited = True
        self.waiting[call.id] = call
        self._waiting_bytes += size

    def next(self) -> Call:
        """The one that waits longest; it is not among the waiting any more."""
        _, call = self.waiting.popitem(last=False)
        assert call.body is not None
        self._waiting_bytes -= len(call.body.data)
        return call

    def postpone(self, call: Call, deadline: float) -> None:
        """Have it end at another time."""
        call.deadline = deadline
        if deadline != math.inf:
            self._watch(call)

    # -- ends -------------------------------------------------------------------------------

    def succeed(self, call: Call, value: object) -> None:
        """It has ended well."""
        deferred = self._forget(call)
        if deferred is not None:
            deferred.callback(value)

    def fail(self, call: Call, error: BaseException) -> None:
        """It has failed."""
        deferred = self._forget(call)
        if deferred is not None:
            deferred.errback(Failure(error))

    def refuse(self, call: Call, error: BaseException) -> None:
        """Its request is in no queue; so it has failed, if it had not ended before."""
        self._settle(call)
        self.fail(call, error)

    def cancel(self, call: Call) -> None:
        """Its caller does not want it any more; a worker that has accepted it, or will, is told."""
        if call.deferred is None:
            return
        sent = call.id in self.pending
        if sent:
            self._leave(call, "cancelled")
        if sent and call.control is None and call.on_settled is not None:
            self._unsettled[call.id] = call
        self.fail(call, CallCancelled(call.task))

    def lose(self, why: str) -> None:
        """The queue of the replies is gone: what was sent can't be answered any more."""
        for call in list(self.pending.values()):
            # One that is answered elsewhere is told of its confirm by the link.
            if call.reply_to is None:
                self.fail(call, CallLost(call.task, call.rejected or why))
        self._forget_left()

    def end(self, why: str) -> None:
        """The caller stops: all end, and the workers are told."""
        for call in [*self.pending.values(), *self.waiting.values()]:
            if call.deferred is not None:
                if call.control is not None:
                    self._tell(call.control, call.id, "cancelled")
                self.fail(call, CallLost(call.task, why))
        self._forget_left()

    def refuse_waiting(self, why: str) -> None:
        """What waits will not be sent."""
        for call in list(self.waiting.values()):
            self.fail(call, NotReady(why))

    def _leave(self, call: Call, reason: CancelReason) -> None:
        """Nobody waits for it any more. A worker that has another control queue later says so."""
        self._left[call.id] = reason
        if len(self._left) > LEFT_MAX:
            self._left.popitem(last=False)
        if call.control is not None:
            self._tell(call.control, call.id, reason)

    def _forget_left(self) -> None:
        self._left.clear()
        for call in list(self._unsettled.values()):
            self._settle(call)

    def _settle(self, call: Call) -> None:
        self._unsettled.pop(call.id, None)
        settled, call.on_settled = call.on_settled, None
        if settled is not None:
            settled()

    def _forget(self, call: Call) -> Deferred[Any] | None:
        deferred, call.deferred = call.deferred, None
        if deferred is None:
            return None
        if self.pending.pop(call.id, None) is None and self.waiting.pop(call.id, None) is not None:
            assert call.body is not None
            self._waiting_bytes -= len(call.body.data)
        call.body = None
        if call.on_settled is not None and call.id not in self._unsettled:
            self._settle(call)
        return deferred

    # -- deadlines --------------------------------------------------------------------------

    def _watch(self, call: Call) -> None:
        self._count += 1
        heappush(self._heap, (call.deadline, self._count, call))
        if len(self._heap) > 2 * (len(self) + len(self._unsettled)) + _SLACK:
            self._heap = [each for each in self._heap if _is_due(each)]
            heapify(self._heap)

    def due(self) -> float | None:
        """The clock's time of the next deadline."""
        heap = self._heap
        while heap and not _is_due(heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def expire(self) -> None:
        """End what is past its deadline."""
        now = self._seconds() + _EPSILON
        while self._heap and self._heap[0][0] <= now:
            entry = heappop(self._heap)
            if _is_due(entry):
                if entry[2].deferred is None:
                    self._settle(entry[2])  # the broker has dropped its request
                else:
                    self._late(entry[2])

    def _late(self, call: Call) -> None:
        waited = self._seconds() - call.begun
        if call.rejected is not None:
            self.fail(call, CallLost(call.task, call.rejected))
        elif call.confirm is None:
            self.fail(call, NotReady(f"the call was not sent in time: {self._why()}"))
        elif call.accepted:
            self._leave(call, "deadline")
            self.fail(call, CallTimeout(call.task, call.timeout or waited))
        else:
            self._leave(call, "deadline")
            confirmed = call.confirm.called
            reason = "nobody took it" if confirmed else "the broker did not confirm the request"
            self.fail(call, ExpirationError(call.task, reason, waited, call.timeout or waited))

    # -- replies ----------------------------------------------------------------------------

    def take(self, reply: Reply) -> None:
        """A reply, or a dead letter, has come."""
        call = self.pending.get(reply.id)
        if call is None:
            self._stray(reply)
        elif type(reply) is Result:
            self._result(call, reply)
        elif type(reply) is Accepted:
            call.accepted, call.control = True, reply.control
        elif type(reply) is Progress:
            self._progress(call, reply)
        elif type(reply) is Failed:
            self.fail(call, _error(call, reply, self._seconds() - call.begun))
        elif type(reply) is DeadLetter:
            self._dead(call, reply)

    def _stray(self, reply: Reply) -> None:
        self.strays += 1
        reason = self._left.get(reply.id)
        # What nobody gave up here is for somebody else to end.
        if reason is not None and type(reply) is Accepted:
            self._tell(reply.control, reply.id, reason)
        call = self._unsettled.get(reply.id)
        if call is not None and type(reply) is not Progress:
            self._settle(call)

    def _result(self, call: Call, reply: Result) -> None:
        if call.decode is None:
            self.succeed(call, reply)
            return
        try:
            value = call.decode(reply.body)
        except Exception as error:
            self.fail(call, error)
        else:
            self.succeed(call, value)

    def _progress(self, call: Call, reply: Progress) -> None:
        call.accepted = True
        # A task that is tried again counts from 1 again.
        if call.on_progress is None or call.number >= reply.number != 1:
            return
        call.number = reply.number
        try:
            call.on_progress(reply.body if call.decode is None else call.decode(reply.body))
        except Exception:
            _log.failure("Progress of {task} was not taken", task=call.task)

    def _dead(self, call: Call, letter: DeadLetter) -> None:
        now = self._seconds()
        waited = now - call.begun
        if letter.reason == "expired":
            if call.accepted:
                error: CallError = CallTimeout(call.task, waited)
            else:
                error = ExpirationError(
                    call.task, "it expired in its queue", waited, call.timeout or waited
                )
            self.fail(call, error)
        elif letter.reason in _REJECTED:
            call.rejected = _REJECTED[letter.reason]
            self.postpone(call, min(call.deadline, now + GRACE))
        else:
            self.fail(call, CallLost(call.task, f"the broker dropped it: {letter.reason}"))


_REJECTED = {
    "rejected": "a worker rejected it",
    "delivery_limit": "it was delivered as often as its redelivery limit allows, and never done",
}


def _is_due(entry: tuple[float, int, Call]) -> bool:
    """Whether it is the deadline of a call that has not ended, or whose request may still wait."""
    deadline, _, call = entry
    return deadline == call.deadline and (call.deferred is not None or call.on_settled is not None)


def _error(call: Call, reply: Failed, waited: float) -> CallError:
    task, timeout = call.task, call.timeout
    if reply.kind == "timeout":
        # Its worker counts the call's time too, from a little later on.
        if timeout is not None and waited > timeout - _NEAR:
            return CallTimeout(task, timeout)
        return CallTimeout(task, waited, by_worker=True)
    if reply.kind == "cancelled":
        return CallCancelled(task)
    if reply.kind == "lost":
        return CallLost(task, reply.message)
    kind = BadArguments if reply.kind == "bad_request" else TaskError
    return kind(task, reply.type, reply.message, reply.traceback, reply.public)
