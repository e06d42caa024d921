"""Requests that go back to their queue, and those that come again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import OutcomeUnknown, TwbridgeError
from twbridge.wsgi.lanes import Work
from twbridge.wsgi.messages import ATTEMPT, CONTENT_TYPE, SAFE, UNTIL, is_safe

__all__ = ["Returning"]

#: Requests that are remembered because they come again, with a connection that was lost.
REMEMBERED: Final = 1000
#: Seconds by which the clocks of a bridge and of a worker may differ. What differs more, so that a
#: request has come before it was sent or after it had expired, is no word of time.
SKEW: Final = 2.0


class Returning:
    """Publishes requests again, so that another worker, or this one, gets them anew.

    What the broker has taken back with a lost connection comes again by itself; it is remembered
    what had become of it here.

    Args:
        link: the way to the broker.
        queue: the name of the mount's.
        seconds: the clock.
        on_returned: called each time that one is back, or has failed to be.
        now: Unix time.

    Attributes:
        count: how many are on their way.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        seconds: Callable[[], float],
        on_returned: Callable[[], object],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.count = 0
        self._now = now
        self._link = link
        self._queue = queue
        self._seconds = seconds
        self._on_returned = on_returned
        self._ended: dict[str, None] = {}
        self._fresh: dict[str, None] = {}

    # -- back to the queue ------------------------------------------------------------------

    def give_back(self, work: Work) -> None:
        """Let another worker have one that has not begun; done with here.

        It leaves the queue when it would have without this worker: what it has waited counts.
        """
        work.over = True
        left = self._left(work)
        if work.lease.void:
            # It comes again by itself.
            _remember(self._fresh, work.id)
            work.lease.ack()
        elif left <= 0:
            work.lease.ack()  # nobody waits any more
        else:
            self._publish(work, work.properties.get("headers"), left, self._fresh)

    def repeat(self, work: Work) -> bool:
        """Have one run anew whose worker has died, if that does no harm; else False."""
        request, headers = work.request, work.properties.get("headers") or {}
        if request is None or request.method not in SAFE or request.more or ATTEMPT in headers:
            return False
        # Its time began with its run.
        left = min(work.timeout, request.timeout - (self._seconds() - work.begun))
        if left <= 0:
            return False
        work.over = True
        until = round((self._now() + left) * 1000)
        self._publish(work, {**headers, ATTEMPT: 1, UNTIL: until}, left, {})
        return True

    def _left(self, work: Work) -> float:
        """Seconds in which one that has not begun has to leave the queue."""
        here = self._seconds() - work.since
        left = work.timeout - here
        until = (work.properties.get("headers") or {}).get(UNTIL)
        if not isinstance(until, int):
            return left
        rest = until / 1000 - self._now()
        is_likely = -SKEW <= rest + here <= work.timeout + SKEW
        return min(left, rest) if is_likely else left

    def _publish(
        self, work: Work, headers: dict[str, Any] | None, left: float, otherwise: dict[str, None]
    ) -> None:
        """Publish it, and have it acknowledged when the broker has it; else note it down."""
        properties = {
            "content_type": CONTENT_TYPE,
            "correlation_id": work.id,
            "reply_to": work.reply_to,
            "expiration": str(max(1, round(left * 1000))),
            "delivery_mode": 1,
        }
        if headers:
            properties["headers"] = headers
        self.count += 1
        sent = self._link.publish("", self._queue, work.lease.delivery.body, properties)
        sent.addCallbacks(lambda _: work.lease.ack(), self._not_sent, errbackArgs=(work, otherwise))
        sent.addBoth(self._done)

    def _not_sent(self, failure: Failure, work: Work, otherwise: dict[str, None]) -> None:
        failure.trap(TwbridgeError)
        if failure.check(OutcomeUnknown) and not is_safe(work.lease.delivery.body):
            # It is in the queue, or lost: its client is told 504. Both would be there else.
            work.lease.ack()
            return
        _remember(otherwise, work.id)
        work.lease.nack(requeue=True)

    def _done(self, _result: object) -> None:
        self.count -= 1
        self._on_returned()

    # -- those that come again --------------------------------------------------------------

    def ended(self, work: Work) -> None:
        """It has ended here; the broker may have heard of it, or sends it again."""
        if work.lease.void:
            _remember(self._ended, work.id)

    def is_done(self, work: Work) -> bool:
        """Whether one that comes again has ended here."""
        return self._ended.pop(work.id, self) is None

    def is_fresh(self, work: Work) -> bool:
        """Whether one that comes again has never begun here."""
        return self._fresh.pop(work.id, self) is None


def _remember(ids: dict[str, None], id: str) -> None:
    ids[id] = None
    if len(ids) > REMEMBERED:
        del ids[next(iter(ids))]
