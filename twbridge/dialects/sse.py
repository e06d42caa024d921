"""Server-sent events: one subscription, told as a stream of events (sans-I/O).

https://html.spec.whatwg.org/multipage/server-sent-events.html. A message is an event without a
name; the ``id`` of one from a stream is its offset, by which a reader that comes back resumes.
Everything else is an event with the name of its ``op``. The objects are those of the JSON dialect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, get_args

from zope.interface import implementer

from twbridge.commands import (
    Command,
    Drain,
    Dropped,
    Event,
    Gap,
    LinkChanged,
    Overflow,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Close, Codec, Encoder, ICodec
from twbridge.dialects.json import write_message
from twbridge.dialects.json.answers import write
from twbridge.errors import BadFrame, TwbridgeError
from twbridge.starts import Start, parse_start
from twbridge.wire import Delivery

__all__ = ["HEARTBEAT", "EventCodec", "read_subscribe"]

HEARTBEAT: Final = b":\n\n"
"""A comment: says that the stream lives, and is no event."""

_OVERFLOWS: Final[dict[str, Overflow]] = {word: word for word in get_args(Overflow)}
_PARAMETERS: Final = frozenset(
    ("destination", "from", "overflow", "prefetch", "ack", "lastEventId", "client")
)
_OFFSET: Final = re.compile("[0-9]{1,16}", re.ASCII)
_NUMBER: Final = re.compile("[0-9]{1,9}", re.ASCII)


# -- what is asked


def read_subscribe(parameters: Mapping[str, str], last_event_id: str | None) -> Subscribe:
    """The subscription that a URL's parameters mean.

    Args:
        parameters: decoded.
        last_event_id: the header of that name; it wins over ``from``.

    Raises:
        BadFrame, BadDestination: they mean none.
    """
    unknown = parameters.keys() - _PARAMETERS
    if unknown:
        raise BadFrame(f"There is no parameter {min(unknown)[:40]!r}.")
    if "destination" not in parameters:
        raise BadFrame("The parameter destination is missing.")
    if parameters.get("ack", "auto") != "auto":
        raise BadFrame("Server-sent events can't be acknowledged: that takes a WebSocket.")
    last = last_event_id or parameters.get("lastEventId")
    start = parse_start(parameters["from"]) if "from" in parameters else None
    return Subscribe(
        None,
        parse(parameters["destination"]),
        prefetch=_prefetch(parameters.get("prefetch")),
        start=_behind(last) if last else start,
        overflow=_overflow(parameters.get("overflow")),
    )


def _prefetch(text: str | None) -> int | None:
    if text is not None and not _NUMBER.fullmatch(text):
        raise BadFrame("The parameter prefetch must be a number.")
    return None if text is None else int(text)


def _overflow(text: str | None) -> Overflow | None:
    if text is not None and text not in _OVERFLOWS:
        raise BadFrame(f"The parameter overflow must be one of {', '.join(_OVERFLOWS)}.")
    return None if text is None else _OVERFLOWS[text]


def _behind(last: str) -> Start:
    if not _OFFSET.fullmatch(last):
        raise BadFrame("Last-Event-ID must be the offset of a message.")
    return parse_start(f"offset={int(last) + 1}")


# -- what is told


def _field(name: bytes, value: bytes) -> bytes:
    """The lines of a field. JSON has line breaks between its words only, so they may change."""
    if b"\n" in value or b"\r" in value:
        value = value.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        value = value.replace(b"\n", b"\n" + name + b": ")
    return name + b": " + value + b"\n"


def _event(event: Event) -> bytes:
    return b"event: " + _NAMES[type(event)] + b"\n" + _field(b"data", write(event)) + b"\n"


def _retry(seconds: float) -> bytes:
    return b"retry: %d\n" % round(seconds * 1000)


_NAMES: Final[dict[type, bytes]] = {
    Subscribed: b"subscribed",
    Unsubscribed: b"unsubscribed",
    LinkChanged: b"link",
    Gap: b"gap",
    Dropped: b"dropped",
    Drain: b"drain",
}


class _EventEncoder:
    """Messages into events without a name."""

    __slots__ = ()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """One event, its id the offset where there is one."""
        data = _field(b"data", write_message(destination, delivery, offset=offset)) + b"\n"
        return data if offset is None else b"id: %d\n" % offset + data


_ENCODER: Final = _EventEncoder()


@implementer(ICodec)
class EventCodec(Codec):
    """A session with one subscription.

    Until that stands nothing is an event yet: a refusal is an answer of HTTP.

    Args:
        subscribe: the subscription.
        retry: seconds after which a reader that was cut off comes back.
    """

    __slots__ = ("_retry", "_subscribe", "encoder", "refusal", "standing")

    def __init__(self, subscribe: Subscribe, retry: float) -> None:
        self.encoder: Encoder = _ENCODER
        self._subscribe = subscribe
        self._retry = retry
        #: Whether the broker has the subscription.
        self.standing = False
        #: Why it never will.
        self.refusal: TwbridgeError | None = None

    def opening(self) -> Sequence[Command]:
        """The subscription."""
        return (self._subscribe,)

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """A reader says nothing.

        Raises:
            BadFrame: always.
        """
        raise BadFrame("Server-sent events go one way.")

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """One event, once the subscription stands."""
        if isinstance(event, Refused):
            self.refusal = event.error
            return None
        if isinstance(event, Subscribed):
            self.standing = True
            return _retry(self._retry) + b"\n" + _event(event), False
        if not self.standing or type(event) not in _NAMES:
            return None
        if isinstance(event, Drain):
            return _retry(event.reconnect_after) + _event(event), False
        return _event(event), False

    def closing(self, event: Event) -> Close | None:
        """When the subscription is refused, or over."""
        if isinstance(event, Refused):
            return Close(event.error.close_code, event.error.public)
        if isinstance(event, Unsubscribed):
            return Close(1013, event.reason or "")
        return None
