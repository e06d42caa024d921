"""How the bridge's messages go to workers.

They are not confirmed, which would cost as much again: a request that is lost on its way is missed
by its client, and what nobody takes comes back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from twbridge.amqp import Link
from twbridge.wsgi.messages import CONTENT_TYPE, UNTIL, Cancel, Request, ToWorker, encode

__all__ = ["Sending"]

#: Seconds that a request has, at least.
_LEAST: Final = 0.001
#: Seconds before its client gives up at which a request leaves the queue (or after half of its
#: time). When workers can't keep up, those that they get are about to: their answer has to begin.
_MARGIN: Final = 1.0
#: Of all messages. Nobody needs the link's defaults of these.
_COMMON: Final[dict[str, Any]] = {"delivery_mode": 1, "timestamp": None, "app_id": None}


class Sending:
    """Publishes to workers.

    Args:
        link: the way to the broker.
        now: Unix time.
    """

    def __init__(self, link: Link, now: Callable[[], float] = time.time) -> None:
        self._link = link
        self._now = now

    def request(
        self, id: str, queue: str, request: Request, reply_to: str, left: float
    ) -> Deferred[None]:
        """A request; fires when it is written.

        Args:
            id: its correlation id.
            queue: of the mount.
            request: the request.
            reply_to: where the answer goes.
            left: seconds after which nobody waits for it, unless a worker has it by then.
        """
        left = max(left, _LEAST)
        expiration = math.ceil(max(left - _MARGIN, left / 2) * 1000)
        properties = {
            "content_type": CONTENT_TYPE,
            "correlation_id": id,
            "reply_to": reply_to,
            "expiration": str(expiration),
            "headers": {UNTIL: int(self._now() * 1000) + expiration},
            **_COMMON,
        }
        return self._link.publish(
            "",
            queue,
            encode(request),
            properties,
            mandatory=True,
            timeout=min(left, self._link.options.timeout),
            confirm=False,
        )

    def tell(self, id: str, control: str, message: ToWorker) -> Deferred[None]:
        """A message about a request, to the worker that has that queue; fires when it is written.

        One that nobody takes comes back, but for a `Cancel`.
        """
        properties = {"content_type": CONTENT_TYPE, "correlation_id": id, **_COMMON}
        mandatory = type(message) is not Cancel
        return self._link.publish(
            "", control, encode(message), properties, mandatory=mandatory, confirm=False
        )

    def probe(self, queue: str, id: str) -> Deferred[None]:
        """See whether the queue of a mount is there: a message with that id comes back if not.

        Fails, where the link has confirmations, with ChannelClosed if the broker forbids it.

        To declare it passively would be to use it, and it would never expire. This empty message
        expires at once, unless a worker is free, which drops it.
        """
        properties = {"correlation_id": id, "expiration": "0", **_COMMON}
        return self._link.publish("", queue, b"", properties, mandatory=True)
