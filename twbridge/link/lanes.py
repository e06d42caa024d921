"""Messages on their way to the broker, by exchange."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twbridge.codec.properties import short
from twbridge.errors import LinkError, Unroutable
from twbridge.link.channel import Channel
from twbridge.wire import encode_properties

_ONLY_TYPE = {"content_type"}


class Publish:
    """One message on its way."""

    __slots__ = (
        "body",
        "deadline",
        "deferred",
        "mandatory",
        "message_id",
        "raw_properties",
        "returned",
        "routing_key",
    )

    def __init__(
        self,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        mandatory: bool,
        message_id: str,
        deadline: float,
    ) -> None:
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self.mandatory = mandatory
        self.message_id = message_id
        self.deadline = deadline
        self.returned: Unroutable | None = None
        #: None once it is settled; its confirm may still be due.
        self.deferred: Deferred[None] | None = Deferred()

    def settle(self, error: LinkError | None) -> None:
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        if error is None:
            deferred.callback(None)
        else:
            deferred.errback(Failure(error))


class Lane:
    """The messages for one exchange: those that wait, and those the broker has not confirmed."""

    __slots__ = (
        "channel",
        "exchange",
        "first_tag",
        "next_tag",
        "opening",
        "unconfirmed",
        "waiting",
    )

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.channel: Channel | None = None
        self.opening = False
        #: No tag below it is unconfirmed.
        self.first_tag = 1
        self.next_tag = 1
        self.waiting: deque[Publish] = deque()
        self.unconfirmed: dict[int, Publish] = {}

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.unconfirmed and not self.opening


class Stamp:
    """Gives each message its id and the default properties.

    Args:
        app_id: the default of that property.
    """

    def __init__(self, app_id: str) -> None:
        self._app_id = app_id
        self._app_id_raw = short(app_id, "app_id")
        # A random prefix for the process and a counter: unique, and much cheaper than a uuid4 each.
        self._id_prefix = uuid.uuid4().hex[:16]
        self._id_count = 0

    def __call__(self, given: Mapping[str, Any]) -> tuple[str, bytes]:
        """The message id, and the encoded properties with our defaults under the given ones."""
        self._id_count += 1
        message_id = f"{self._id_prefix}-{self._id_count:x}"
        now = int(time.time())
        if not given or (given.keys() == _ONLY_TYPE and given["content_type"] is not None):
            # Most messages: no table to walk through, 2 of 6 microseconds saved.
            flags, kind = b"\x10\xc8", b""
            if given:
                flags, kind = b"\x90\xc8", short(given["content_type"], "content_type")
            identity = short(message_id, "message_id")
            seconds = now.to_bytes(8, "big")
            return message_id, b"%b%b\x02%b%b%b" % (
                flags,
                kind,
                identity,
                seconds,
                self._app_id_raw,
            )
        merged: dict[str, Any] = {
            "delivery_mode": 2,
            "message_id": message_id,
            "timestamp": now,
            "app_id": self._app_id,
        }
        merged.update(given)
        return merged["message_id"], encode_properties(merged)
