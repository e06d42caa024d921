"""Whether there is still somebody who could answer.

The queue of a mount, or of a worker, is sent a message that does nothing: it comes back if there is
no such queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import ChannelClosed, TwbridgeError
from twbridge.wsgi.messages import Credit
from twbridge.wsgi.pending import Pending
from twbridge.wsgi.phases import LOOK_SECONDS, Phase
from twbridge.wsgi.sending import Sending

__all__ = ["Looks"]

_log = Logger()

#: To see whether a worker's queue is there.
_NOTHING: Final = Credit(0)
#: Seconds for which it is remembered who waited when a mount's queue was looked at: by then that
#: look has come back, or does not.
_BACK_SECONDS: Final = 10.0


class Looks:
    """Looks at each queue once in `LOOK_SECONDS` at most, however many ask for it.

    Args:
        sending: the way to workers.
        pending: all requests, by their ids.
        prefix: of the ids of looks; no request's is like one of them.
        on_refused: called with each request that waits in a queue that the broker forbids.
    """

    def __init__(
        self,
        sending: Sending,
        pending: Mapping[str, Pending],
        prefix: str,
        on_refused: Callable[[Failure, Pending], object],
    ) -> None:
        self._sending = sending
        self._pending = pending
        self._prefix = prefix
        self._on_refused = on_refused
        self._numbers = count(1)
        #: Queues that are to be looked at in this sweep, and when each was last.
        self._asked: dict[str, Pending] = {}
        self._looked: dict[str, float] = {}
        #: Looks at mounts' queues: when, and who waited then.
        self._out: dict[str, tuple[float, list[str]]] = {}

    def ask(self, pending: Pending) -> None:
        """Look, with the next sweep, where a request is."""
        self._asked[pending.control or pending.queue] = pending

    def sweep(self, now: float) -> None:
        """Look at what is to be looked at. Called now and then."""
        asked, self._asked = self._asked, {}
        self._looked = {key: at for key, at in self._looked.items() if now - at < LOOK_SECONDS}
        self._out = {id: out for id, out in self._out.items() if now - out[0] < _BACK_SECONDS}
        for queue, pending in asked.items():
            if queue not in self._looked and pending.phase is not Phase.OVER:
                self._looked[queue] = now
                if queue == pending.control:
                    # It is no harm to a request if that can't be sent: nothing is lost with it.
                    told = self._sending.tell(pending.id, queue, _NOTHING)
                    told.addErrback(_missed)
                else:
                    self._probe(queue, now)

    def _probe(self, queue: str, now: float) -> None:
        id = f"{self._prefix}{next(self._numbers):x}"
        waiting = [
            each.id
            for each in self._pending.values()
            if each.phase is Phase.SENT and each.queue == queue
        ]
        self._out[id] = now, waiting
        self._sending.probe(queue, id).addErrback(self._not_seen, id)

    def returned(self, id: str) -> bool:
        """A message has come back; says whether that was a look. If so, it has been dealt with."""
        is_look = id in self._out
        for each in self._waiting(id):
            each.unserved()
        return is_look

    def _not_seen(self, failure: Failure, id: str) -> None:
        if failure.check(ChannelClosed):
            for each in self._waiting(id):
                self._on_refused(failure, each)
        elif not failure.check(TwbridgeError):
            _log.failure("A queue could not be looked at", failure)

    def _waiting(self, id: str) -> list[Pending]:
        """Those that waited at that look, and still do; the look is forgotten."""
        _, ids = self._out.pop(id, (0.0, []))
        found = [self._pending[each] for each in ids if each in self._pending]
        return [each for each in found if each.phase is Phase.SENT]


def _missed(failure: Failure) -> None:
    if not failure.check(TwbridgeError):
        _log.failure("A worker could not be looked at", failure)
