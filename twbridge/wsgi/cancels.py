"""Cancels until they are surely out (sans-I/O).

A lane of a worker that waits for a piece of a body, or for room in an answer, is held until it is
told that nobody waits any more; and it says nothing itself that could come back. Workers ignore a
`Cancel` of what they have not, or have cancelled: so one that may be lost is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import TwbridgeError
from twbridge.wsgi.messages import BACKUP, Cancel, Reason, ToWorker

__all__ = ["BATCH", "MOST", "Cancels"]

_log = Logger()

#: How many are remembered at most: of those that are to be sent again, and of the latest others.
MOST: Final = 1024
#: How many are sent again at once: the link takes other messages between them.
BATCH: Final = 256


class _Sent(NamedTuple):
    """One of them.

    Args:
        until: when its worker needs it no more, by the clock.
    """

    id: str
    control: str
    reason: Reason
    until: float


class Cancels:
    """Those that were sent of late, and those that are to be sent again.

    Args:
        tell: sends a message about the request with that id to that queue.
        seconds: the clock.
        on_due: called when there is something for `repeat` to do, once the link is ready.
    """

    def __init__(
        self,
        tell: Callable[[str, str, ToWorker], Deferred[None]],
        seconds: Callable[[], float],
        on_due: Callable[[], object],
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self._on_due = on_due
        #: Written; nobody knows whether they have arrived.
        self._written: dict[_Sent, None] = {}
        self._due: dict[_Sent, None] = {}

    @property
    def due(self) -> bool:
        """Whether some are to be sent again."""
        return bool(self._due)

    def send(self, id: str, control: str, reason: Reason, timeout: float) -> None:
        """Tell the worker that has that queue that nobody waits for a request.

        Args:
            timeout: seconds that its client would have waited.
        """
        self._send(_Sent(id, control, reason, self._seconds() + timeout + BACKUP))

    def cut(self) -> None:
        """A connection was lost, and perhaps what was written last."""
        written, self._written = self._written, {}
        now = self._seconds()
        room = max(MOST - len(self._due), 0)
        # The latest are the likeliest to be lost; those that surely are come first.
        latest = [each for each in islice(reversed(written), room) if each.until > now]
        self._due.update(dict.fromkeys(reversed(latest)))
        if self._due:
            self._on_due()

    def repeat(self) -> None:
        """Send some of those again that are to be; call it now and then while the link is ready."""
        for each in list(islice(self._due, BATCH)):
            del self._due[each]
            self._send(each)

    def expire(self) -> None:
        """Forget those to be sent again that nobody needs any more."""
        now = self._seconds()
        for each in [each for each in self._due if each.until <= now]:
            del self._due[each]

    def clear(self) -> None:
        """Forget all: nothing is sent again."""
        self._written.clear()
        self._due.clear()

    def _send(self, sent: _Sent) -> None:
        told = self._tell(sent.id, sent.control, Cancel(sent.reason))
        told.addCallbacks(self._out, self._not_out, (sent,), {}, (sent,))

    def _out(self, _: object, sent: _Sent) -> None:
        _put(self._written, sent)

    def _not_out(self, failure: Failure, sent: _Sent) -> None:
        if not failure.check(TwbridgeError):
            _log.failure("A worker could not be told", failure)
            return
        _put(self._due, sent)
        self._on_due()


def _put(among: dict[_Sent, None], sent: _Sent) -> None:
    among[sent] = None
    if len(among) > MOST:
        del among[next(iter(among))]
