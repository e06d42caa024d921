"""One message in one HTTP request: a subscription that is over with the first (sans-I/O).

The message is the JSON dialect's object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from twbridge.commands import (
    Event,
    Gap,
    LinkChanged,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from twbridge.destinations import Destination, parse
from twbridge.dialects.http import RequestCodec
from twbridge.dialects.interfaces import Close, Encoder
from twbridge.dialects.json import write_message
from twbridge.errors import BadFrame, NotReady, TwbridgeError
from twbridge.starts import parse_start
from twbridge.wire import Delivery

__all__ = ["MAX_TIMEOUT", "TIMEOUT", "Ended", "PollCodec", "first_of", "read_poll"]

#: Seconds that a poll lasts, if it does not say, and at most.
TIMEOUT: Final = 25.0
MAX_TIMEOUT: Final = 60.0

_PARAMETERS: Final = frozenset(("destination", "from", "timeout", "client"))
_SECONDS: Final = re.compile(r"[0-9]{1,2}(\.[0-9]{1,6})?")
#: Bytes of the length before each frame.
_LENGTH: Final = 4


class Ended(NotReady):
    """The subscription has ended before there was a message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self._reason = reason

    @property
    def public(self) -> str:
        return self._reason


def read_poll(parameters: Mapping[str, str]) -> tuple[Subscribe, float]:
    """The subscription that a URL's parameters mean, and how many seconds it waits.

    Raises:
        BadFrame, BadDestination: they mean none.
    """
    unknown = parameters.keys() - _PARAMETERS
    if unknown:
        raise BadFrame(f"There is no parameter {min(unknown)[:40]!r}.")
    if "destination" not in parameters:
        raise BadFrame("The parameter destination is missing.")
    destination = parse(parameters["destination"])
    start = parse_start(parameters["from"]) if "from" in parameters else None
    prefetch = None if destination.live else 1
    command = Subscribe(None, destination, prefetch=prefetch, start=start, once=True)
    return command, _timeout(parameters.get("timeout"))


def _timeout(given: str | None) -> float:
    if given is None:
        return TIMEOUT
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise BadFrame(f"The timeout is a number of seconds, {MAX_TIMEOUT:.0f} at most.")
    return seconds


class _MessageEncoder:
    """Messages with their lengths: those of one read come as one."""

    __slots__ = ()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """The object, and its length before it."""
        message = write_message(destination, delivery, offset=offset)
        return len(message).to_bytes(_LENGTH, "big") + message


def first_of(frames: bytes) -> bytes:
    """The first message of what was sent together."""
    return frames[_LENGTH : _LENGTH + int.from_bytes(frames[:_LENGTH], "big")]


_ENCODER: Final = _MessageEncoder()


class PollCodec(RequestCodec):
    """A session with one subscription, of which it tells nothing but how it went.

    Args:
        subscribe: the subscription.
        timeout: seconds that the client waits.

    Attributes:
        standing: whether the broker has the subscription.
        refusal: why it never will, or no more.
        missed: how many messages are missing before the next, or that nobody knows how many:
            ``unknown``; empty: none.
    """

    __slots__ = ("_live", "missed", "refusal", "standing", "timeout")

    def __init__(self, subscribe: Subscribe, timeout: float) -> None:
        super().__init__(subscribe)
        self.encoder: Encoder = _ENCODER
        self._live = subscribe.destination.live
        self.timeout = timeout
        self.standing = False
        self.refusal: TwbridgeError | None = None
        self.missed = ""

    def encode(self, event: Event) -> None:
        """Takes note of it."""
        if isinstance(event, Subscribed):
            self.standing = True
        elif isinstance(event, Refused):
            self.refusal = event.error
        elif isinstance(event, Unsubscribed):
            self.refusal = Ended(event.reason or "The subscription has ended.")
        elif isinstance(event, Gap):
            self.missed = _missed(event)
        elif isinstance(event, LinkChanged) and self._live:
            self.missed = "unknown"

    def closing(self, event: Event) -> Close | None:
        """When the subscription is refused, or over."""
        return Close(1000, "") if isinstance(event, Refused | Unsubscribed) else None


def _missed(gap: Gap) -> str:
    if gap.first is None or gap.resumed is None or gap.resumed <= gap.first:
        return "unknown"
    return str(gap.resumed - gap.first)
