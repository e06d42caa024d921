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

#: The properties from the message id on, in their order on the wire: most messages have none of
#: them from who publishes, so that ours are just put behind the given ones.
_LAST = frozenset({"message_id", "timestamp", "type", "user_id", "app_id", "cluster_id"})
#: The flags of message_id, timestamp and app_id.
_OURS = 0x00C8
#: What somebody may want none of, and the flag of message_id, which the link needs: a return is
#: told from others by it.
_SPARED, _IDENTITY = {"timestamp", "app_id"}, 0x0080


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


Name = tuple[str, bool]
"""An exchange, and whether its messages are to be confirmed."""


class Lane:
    """The messages for one exchange: those that wait, and those the broker has not confirmed.

    Args:
        name: like no other lane's.
        confirms: whether the broker confirms them.
    """

    __slots__ = (
        "channel",
        "confirms",
        "exchange",
        "first_tag",
        "name",
        "next_tag",
        "opening",
        "unconfirmed",
        "waiting",
    )

    def __init__(self, name: Name, confirms: bool) -> None:
        self.name = name
        self.exchange = name[0]
        self.confirms = confirms
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
        self._id_prefix = uuid.uuid4().hex[:16].encode()
        self._id_count = 0
        self._second = 0
        self._end = b""

    def __call__(self, given: Mapping[str, Any]) -> tuple[str, bytes]:
        """The message id, and the encoded properties with our defaults under the given ones."""
        self._id_count += 1
        identity = b"%b-%x" % (self._id_prefix, self._id_count)
        now = int(time.time())
        last = _LAST.intersection(given)
        if last:
            spared = last == _SPARED and given["timestamp"] is None and given["app_id"] is None
            if spared and "delivery_mode" in given:
                first = encode_properties(given, _IDENTITY)
                return identity.decode(), b"%b%c%b" % (first, len(identity), identity)
            return self._merged(given, identity.decode(), now)
        if now != self._second:
            self._second = now
            self._end = now.to_bytes(8, "big") + self._app_id_raw
        if not given:
            first = b"\x10\xc8\x02"
        elif len(given) == 1 and given.get("content_type") is not None:
            # Most messages: no table to walk through, a third of the time.
            first = b"\x90\xc8%b\x02" % short(given["content_type"], "content_type")
        else:
            if "delivery_mode" not in given:
                given = {"delivery_mode": 2, **given}
            first = encode_properties(given, _OURS)
        return identity.decode(), b"%b%c%b%b" % (first, len(identity), identity, self._end)

    def _merged(self, given: Mapping[str, Any], identity: str, now: int) -> tuple[str, bytes]:
        merged: dict[str, Any] = {
            "delivery_mode": 2,
            "message_id": identity,
            "timestamp": now,
            "app_id": self._app_id,
        }
        merged.update(given)
        return merged["message_id"], encode_properties(merged)
