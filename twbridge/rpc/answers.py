"""What a worker tells callers: acceptances, progress, results and failures."""

from __future__ import annotations

from typing import Any, Final, Literal

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import ChannelClosed, EncodeError, NotReady, OutcomeUnknown, TwbridgeError
from twbridge.rpc.messages import Accepted, Failed, Progress, Request, Result, reply_properties

__all__ = ["Answers"]

_log = Logger()

#: Seconds in which answers that are lost are counted before that is logged.
GATHER: Final = 1.0
#: Seconds that an answer may wait for the broker at least: its caller may hear it late.
SHORTEST: Final = 10.0
#: Seconds that the last answer of a call without a deadline may wait for the broker.
LONGEST: Final = 3600.0
#: Seconds between two tries to send what the link did not take.
AGAIN: Final = 1.0
#: Bytes of last answers that are kept here, past what the link keeps.
HELD_MAX: Final = 32 * 1024 * 1024
#: How often a last answer is sent again whose fate is unknown. What makes the broker close the
#: channel must not do so for ever.
RESENDS: Final = 2


class _Last:
    """The last answer of a call, until the broker has it."""

    __slots__ = ("body", "done", "properties", "reply", "request", "resent", "until")

    def __init__(
        self,
        request: Request,
        reply: Result | Failed,
        properties: dict[str, Any],
        body: bytes,
        until: float,
    ) -> None:
        self.request = request
        self.reply = reply
        self.properties = properties
        self.body = body
        self.until = until
        self.resent = 0
        self.done: Deferred[bool] = Deferred()


class Answers:
    """Publishes replies.

    Args:
        link: the way to the broker.
        worker: the worker's id.
        clock: IReactorTime.
    """

    def __init__(self, link: Link, worker: str, clock: Any) -> None:
        self._link = link
        self._worker = worker
        self._clock = clock
        self._lost = 0
        self._held: list[_Last] = []
        self._held_bytes = 0
        self._retry: IDelayedCall | None = None
        self._is_stopped = False

    @property
    def flows(self) -> bool:
        """Whether what is sent now is with the broker in a moment."""
        return self._link.state == "ready" and not self._link.pressed

    def accept(self, request: Request, accepted: Accepted, left: float | None) -> None:
        """Say that it runs, and where it can be cancelled. It waits for the broker as results do.

        Args:
            left: seconds until nobody waits for the call; None: without end.
        """
        self._send(request, accepted, _patience(left))

    def progress(self, request: Request, progress: Progress) -> Deferred[None]:
        """Pass it on; fires when the broker has it, or never will. Never fails."""
        return self._send(request, progress, None)

    def _send(
        self, request: Request, reply: Accepted | Progress, wait: float | None
    ) -> Deferred[None]:
        if request.reply_to is None:
            return succeed(None)
        properties, body = reply_properties(reply)
        sent = self._link.publish("", request.reply_to, body, properties, timeout=wait)
        return sent.addErrback(self._not_sent, request)

    def last(self, request: Request, reply: Result | Failed, left: float | None) -> Deferred[bool]:
        """Send what the call came to. It waits for the broker, and is sent again if it was lost.

        Fires with whether the broker has it, or nobody wants it; never fails. A result that can't
        be sent is told as the task's failure, one for which there is no room as lost.

        Args:
            left: seconds until nobody waits for it; None: without end.
        """
        if request.reply_to is None:
            return succeed(True)
        try:
            properties, body = reply_properties(reply)
        except EncodeError as error:
            failed = Failed(request.id, self._worker, "failed", "EncodeError", str(error))
            return self.last(request, failed, left)
        until = self._clock.seconds() + _patience(left)
        last = _Last(request, reply, properties, body, until)
        self._try(last)
        return last.done

    def stop(self) -> None:
        """Try nothing again: what waits here is given up, as is what fails from now on."""
        self._is_stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for last in self._taken():
            self._give_up(last, "the worker stops")

    # -- last answers -----------------------------------------------------------------------

    def _try(self, last: _Last) -> None:
        to, wait = last.request.reply_to or "", last.until - self._clock.seconds()
        sent = self._link.publish("", to, last.body, last.properties, timeout=wait)
        sent.addCallbacks(
            lambda _: last.done.callback(True), self._is_not, errbackArgs=(last,)
        ).addErrback(_log_failure)

    def _is_not(self, failure: Failure, last: _Last) -> None:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            _log.failure("Answering a call of {task} failed", failure, task=last.request.task)
            last.done.callback(False)
            return
        if isinstance(error, OutcomeUnknown):
            last.resent += 1
        can_wait = isinstance(error, NotReady | OutcomeUnknown) and last.resent <= RESENDS
        if can_wait and not self._is_stopped and self._clock.seconds() < last.until:
            self._hold(last)
        elif isinstance(error, EncodeError | ChannelClosed) and isinstance(last.reply, Result):
            self._tell_instead(last, "failed", type(error).__name__, str(error))
        else:
            self._give_up(last, str(error))

    def _hold(self, last: _Last) -> None:
        """Keep it for the next try. There is one timer for all."""
        size = len(last.body)
        if self._held_bytes + size > HELD_MAX and isinstance(last.reply, Result):
            text = "it ended, but its result was lost: too many waited for the broker"
            self._tell_instead(last, "lost", "ResultLost", text)
            return
        self._held.append(last)
        self._held_bytes += size
        if self._retry is None:
            self._retry = self._clock.callLater(AGAIN, self._try_held)

    def _try_held(self) -> None:
        self._retry = None
        for last in self._taken():
            if last.until > self._clock.seconds():
                self._try(last)
            else:
                self._give_up(last, "the broker took no messages in time")

    def _taken(self) -> list[_Last]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def _tell_instead(
        self, last: _Last, kind: Literal["failed", "lost"], type: str, text: str
    ) -> None:
        last.reply = Failed(last.request.id, self._worker, kind, type, text)
        last.properties, last.body = reply_properties(last.reply)
        self._try(last)

    def _give_up(self, last: _Last, error: str) -> None:
        self._count(error)
        last.done.callback(False)

    # -- what is lost -----------------------------------------------------------------------

    def _not_sent(self, failure: Failure, request: Request) -> None:
        if failure.check(TwbridgeError):
            self._count(str(failure.value))
        else:
            _log.failure("Answering a call of {task} failed", failure, task=request.task)

    def _count(self, error: str) -> None:
        """A broker that goes away takes many answers with it: that is one line."""
        if not self._lost:
            self._clock.callLater(GATHER, self._tell, error)
        self._lost += 1

    def _tell(self, error: str) -> None:
        lost, self._lost = self._lost, 0
        _log.warn("{lost} answers to calls were lost: {error}", lost=lost, error=error)


def _patience(left: float | None) -> float:
    return LONGEST if left is None else max(left, SHORTEST)


def _log_failure(failure: Failure) -> None:
    _log.failure("An answer to a call could not be settled", failure)
