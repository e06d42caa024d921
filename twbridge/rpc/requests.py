"""How calls go out, and how their answers come back: the link's side of a caller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Exchange, Link
from twbridge.errors import (
    BadReply,
    CallLost,
    FrameError,
    NotReady,
    OutcomeUnknown,
    TwbridgeError,
    UnknownTask,
    Unroutable,
)
from twbridge.rpc.calls import Calls
from twbridge.rpc.messages import (
    DLX,
    Cancel,
    CancelReason,
    Request,
    control_properties,
    request_properties,
    task_queue,
)
from twbridge.rpc.ownqueue import OwnQueue
from twbridge.rpc.pending import Call
from twbridge.rpc.replies import ReplyReader
from twbridge.wire import Delivery

__all__ = ["NOT_STARTED", "Requests"]

_log = Logger()

#: Said to who calls before the start.
NOT_STARTED: Final = (
    "the caller is not started: `await caller.start()`, or `async with` it, comes first"
)
#: Seconds by which a deadline may be missed, so that one timer serves many.
_COARSE: Final = 0.01
#: Seconds that a call has when it is sent, at least.
_LEAST: Final = 0.001
#: Seconds between two words in the log about replies that can't be read.
_QUIET: Final = 60.0


class Requests:
    """Sends calls, and has a queue for their replies.

    Args:
        link: the way to the broker.
        clock: IReactorTime.
        caller: the caller's id.
    """

    def __init__(self, link: Link, clock: Any, caller: str) -> None:
        self._link = link
        self._clock = clock
        self._caller = caller
        self._calls = Calls(
            clock.seconds, tell=self._end_at_worker, why=lambda: link.state_description
        )
        self._replies = OwnQueue(
            link,
            clock,
            Exchange(DLX, "headers"),
            self._delivered,
            on_up=self._look,
            on_lost=self._lost,
        )
        self._reader = ReplyReader()
        self._forget: list[Callable[[], None]] = []
        self._started = self._open = False
        self._reply_to = ""
        self._timer: IDelayedCall | None = None
        self._wakes = math.inf
        self._unread = 0
        self._quiet_until = -math.inf

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def strays(self) -> int:
        """Replies for calls that had ended or never were."""
        return self._calls.strays

    def start(self) -> Deferred[None]:
        """See ``Caller.start``."""
        if not self._started:
            self._started = True
            self._forget = [
                self._link.on_state(lambda _: self._look()),
                self._link.on_pressure(lambda _: self._flush()),
            ]
            begun = self._replies.start()
            bound = self._replies.bind("", {"x-match": "all", "twbridge-caller": self._caller})
            for each in (begun, bound):
                each.addErrback(lambda failure: failure.trap(TwbridgeError) and None)
        return self._replies.start()

    def stop(self) -> Deferred[None]:
        """Fail all calls with CallLost, and let the queue go. Never fails."""
        self._started = self._open = False
        for forget in self._forget:
            forget()
        self._calls.end("the caller was stopped")
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer, self._wakes = None, math.inf
        return self._replies.stop()

    # -- requests ---------------------------------------------------------------------------

    def begin(self, call: Call) -> Deferred[Any]:
        """A new call: sent now, or when it can be."""
        calls = self._calls
        if not self._started or self._link.state in ("closing", "closed"):
            if call.on_settled is not None:
                call.on_settled()
            if not self._started:
                return fail(NotReady(NOT_STARTED))
            return fail(NotReady(f"the link is closed: {self._link.state_description}"))
        deferred = calls.add(call)
        if self._open and not calls.waiting and not self._link.pressed:
            self._send(call)
        else:
            try:
                calls.wait(call)
            except NotReady as error:
                calls.fail(call, error)
                return deferred
            if call.timeout is None:
                calls.postpone(call, call.begun + self._link.options.timeout)
        if call.deadline < self._wakes:
            self._wake(call.deadline)
        return deferred

    def _send(self, call: Call) -> None:
        body = call.body
        assert body is not None
        call.body = None
        left: float | None = None
        if call.timeout is not None:
            left = call.timeout
            if call.waited:
                left = max(call.begun + left - self._clock.seconds(), _LEAST)
        elif call.deadline != math.inf:
            self._calls.postpone(call, math.inf)
        request = Request(
            call.id,
            call.task,
            self._caller,
            body,
            call.reply_to or self._reply_to,
            call.headers,
            call.priority,
            left,
            call.persistent,
            call.reply_to is not None,
        )
        self._calls.pending[call.id] = call
        call.confirm = self._link.publish(
            "",
            task_queue(call.task),
            body.data,
            request_properties(request),
            mandatory=True,
            timeout=left,
        )
        call.confirm.addCallbacks(self._confirmed, self._refused, (call,), {}, (call,))

    def _confirmed(self, _: object, call: Call) -> None:
        if call.reply_to is not None:
            self._calls.succeed(call, None)

    def _refused(self, failure: Failure, call: Call) -> None:
        error = failure.value
        if isinstance(error, Unroutable):
            error = UnknownTask(call.task)
        elif isinstance(error, OutcomeUnknown):
            error = CallLost(call.task, str(error))
        self._calls.refuse(call, error or CallLost(call.task, "it was not published"))

    def _end_at_worker(self, control: str, id: str, reason: CancelReason) -> None:
        cancel = control_properties(Cancel(id, self._caller, reason))
        told = self._link.publish("", control, b"", cancel)
        told.addErrback(lambda failure: failure.trap(TwbridgeError) and None)

    # -- the link, replies, deadlines -------------------------------------------------------

    def _look(self) -> None:
        """Whether calls can be sent may have changed."""
        state = self._link.state
        self._reply_to = self._replies.name
        self._open = self._started and state == "ready" and bool(self._reply_to)
        if self._open:
            self._flush()
        elif state == "closed":
            self._calls.refuse_waiting(f"the link is closed: {self._link.state_description}")

    def _flush(self) -> None:
        calls, link = self._calls, self._link
        while self._open and calls.waiting and not link.pressed:
            self._send(calls.next())

    def _lost(self) -> None:
        self._look()
        self._calls.lose("the connection to the broker was lost before its answer: it may have run")

    def _delivered(self, delivery: Delivery) -> None:
        try:
            reply = self._reader.read(delivery)
        except (BadReply, FrameError) as error:
            self._unread += 1
            now = self._clock.seconds()
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET
                _log.warn(
                    "{count} replies that can't be read, the last: {error}",
                    count=self._unread,
                    error=error,
                )
                self._unread = 0
            return
        self._calls.take(reply)
        # A dead letter may bring a deadline forward.
        if delivery.exchange:
            self._wake_at_next()

    def _wake(self, deadline: float) -> None:
        self._wakes = deadline
        delay = max(deadline - self._clock.seconds(), 0.0)
        if self._timer is not None and self._timer.active():
            self._timer.reset(delay)
        else:
            self._timer = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._wakes = math.inf
        self._calls.expire()
        self._wake_at_next()

    def _wake_at_next(self) -> None:
        due = self._calls.due()
        if due is not None and due < self._wakes:
            self._wake(max(due, self._clock.seconds() + _COARSE))
