"""Calls of tasks that have no answer yet (sans-I/O).

A call is sent once: what was on its way when the connection was lost may have run, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count as numbers
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.client.callbacks import Callbacks
from twbridge.client.errors import call_refusal
from twbridge.client.frames import Frame, call_frame, content, request
from twbridge.errors import (
    BadFrame,
    CallCancelled,
    CallLost,
    NotReady,
    TooLarge,
    TooMany,
    TwbridgeError,
)

__all__ = ["Calls"]

#: What the ids of calls begin with; those of publishes and requests never do.
_PREFIX = "call "


class _Call:
    __slots__ = ("answer", "deadline", "frame", "on_progress", "sent", "task", "timeout")

    def __init__(
        self,
        task: str,
        timeout: float,
        frame: bytes,
        answer: Deferred[Any],
        on_progress: Callable[[Any], object] | None,
    ) -> None:
        self.task = task
        self.timeout = timeout
        self.frame = frame
        self.answer = answer
        self.on_progress = on_progress
        self.sent = False
        #: Until it is sent; from then on the bridge keeps the time.
        self.deadline: IDelayedCall | None = None


class Calls:
    """Those without an answer, in the order in which they were made.

    Args:
        clock: for the deadlines.
        send: sends a frame, or says False where there is no connection.
        tell: calls those who want to hear of progress.
        count: so many may wait.
        longest: bytes of one frame.
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[bytes], bool],
        tell: Callbacks,
        *,
        count: int,
        longest: int,
    ) -> None:
        self._clock = clock
        self._send = send
        self._tell = tell
        self._count = count
        self._longest = self._most = longest
        self._numbers = numbers(1)
        self._waiting: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        task: str,
        body: Any,
        headers: Mapping[str, Any] | None,
        timeout: float,
        on_progress: Callable[[Any], object] | None,
    ) -> Deferred[Any]:
        """Send it now, or when there is a connection; fires with the task's result.

        Raises:
            BadFrame: the body or the headers are not JSON, the timeout is no time.
            TooLarge: the frame is longer than the bridge takes.
            TooMany: too many wait already.
        """
        if not 0 < timeout < inf:
            raise BadFrame("The timeout of a call is a number of seconds.")
        identity = f"{_PREFIX}{next(self._numbers)}"
        frame = call_frame(identity, task, body, headers, timeout)
        if len(frame) > self._longest:
            raise self._too_large(len(frame))
        if len(self._waiting) >= self._count:
            raise TooMany(f"{self._count} calls wait for their answers already.")
        answer: Deferred[Any] = Deferred(lambda _: self._cancel(identity))
        call = self._waiting[identity] = _Call(task, timeout, frame, answer, on_progress)
        self._transmit(call)
        if not call.sent:
            call.deadline = self._clock.callLater(timeout, self._late, identity)
        return answer

    def _too_large(self, length: int) -> TooLarge:
        return TooLarge(f"The call takes {length} bytes as JSON, {self._longest} are the limit.")

    def _transmit(self, call: _Call) -> None:
        if not call.sent and self._send(call.frame):
            call.sent = True
            if call.deadline is not None:
                call.deadline.cancel()
                call.deadline = None

    def answered(self, frame: Frame) -> bool:
        """Whether a frame is about one of these, also one that was given up."""
        if not isinstance(frame.id, str) or not frame.id.startswith(_PREFIX):
            return False
        if frame.op == "progress":
            call = self._waiting.get(frame.id)
            if call is not None:
                self._tell("the progress of a call", call.on_progress, content(frame))
        elif frame.op == "result":
            call = self._take(frame.id)
            if call is not None:
                call.answer.callback(content(frame))
        elif frame.op == "error":
            call = self._take(frame.id)
            if call is not None:
                error = call_refusal(call.task, call.timeout, frame.code, frame.message)
                call.answer.errback(error)
        return True

    def limited(self, limit: int | None) -> None:
        """The bridge takes frames of so many bytes, or has not said how long they may be."""
        self._longest = self._most if limit is None else min(self._most, limit)

    def opened(self) -> None:
        """There is a connection: send what waits for one, and refuse what is too long."""
        for identity, call in list(self._waiting.items()):
            if len(call.frame) > self._longest:
                self._fail(identity, self._too_large(len(call.frame)))
            else:
                self._transmit(call)

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it the answers of all that was sent."""
        for identity, call in list(self._waiting.items()):
            if call.sent:
                self._fail(identity, CallLost(call.task, reason))

    def end(self, reason: str) -> None:
        """No connection will come any more."""
        self.lost(reason)
        for identity in list(self._waiting):
            self._fail(identity, NotReady(reason))

    def _late(self, identity: str) -> None:
        call = self._waiting[identity]
        call.deadline = None
        self._fail(identity, NotReady(f"There was no connection in {call.timeout:g} s."))

    def _cancel(self, identity: str) -> None:
        call = self._take(identity)
        if call is not None:
            if call.sent:
                self._send(request("cancel", id=identity))
            call.answer.errback(CallCancelled(call.task))

    def _fail(self, identity: str, error: TwbridgeError) -> None:
        call = self._take(identity)
        if call is not None:
            call.answer.errback(error)

    def _take(self, identity: str) -> _Call | None:
        call = self._waiting.pop(identity, None)
        if call is not None and call.deadline is not None:
            call.deadline.cancel()
        return call
