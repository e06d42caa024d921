"""What a worker tells callers: acceptances, progress, results and failures."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import EncodeError, TwbridgeError
from twbridge.rpc.messages import Accepted, Failed, Progress, Request, Result, reply_properties

__all__ = ["Answers"]

_log = Logger()

#: Seconds in which answers that are lost are counted before that is logged.
GATHER: Final = 1.0


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

    def send(
        self, request: Request, reply: Accepted | Progress | Result | Failed
    ) -> Deferred[None]:
        """Send to where the request wants it; fires when the broker has it, or never will.

        Never fails. A result that can't be sent is told as the task's failure.
        """
        if request.reply_to is None:
            return succeed(None)
        try:
            properties, body = reply_properties(reply)
        except EncodeError as error:
            sent: Deferred[None] = fail(error)
        else:
            sent = self._link.publish("", request.reply_to, body, properties)
        settled: Deferred[None] = sent.addErrback(self._instead, request, reply)
        return settled

    def _instead(
        self, failure: Failure, request: Request, reply: Accepted | Progress | Result | Failed
    ) -> Any:
        error: Any = failure.value
        if not isinstance(error, TwbridgeError):
            _log.failure("Answering a call of {task} failed", failure, task=request.task)
            return None
        if isinstance(error, EncodeError) and isinstance(reply, Result):
            failed = Failed(request.id, self._worker, "failed", "EncodeError", str(error))
            return self.send(request, failed)
        self._count(str(error))
        return None

    def _count(self, error: str) -> None:
        """A broker that goes away takes many answers with it: that is one line."""
        if not self._lost:
            self._clock.callLater(GATHER, self._tell, error)
        self._lost += 1

    def _tell(self, error: str) -> None:
        lost, self._lost = self._lost, 0
        _log.warn("{lost} answers to calls were lost: {error}", lost=lost, error=error)
