"""The raw dialect: the path decides, a frame is a message.

Every frame is published to the route's destination as it is; every message of the route's other
destination is one frame. The frame type travels as content type.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from twbridge.commands import Command, Event, Publish, Refused, Subscribe, Unsubscribed
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Close, Codec, Encoder, ICodec, IDialect, Route
from twbridge.frames import binary_frame, text_frame
from twbridge.wire import Delivery

__all__ = ["RawDialect"]

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"

# How the content type stands in the header's bytes: a length byte, then the text.
_BYTES_ON_WIRE = b"\x18" + BYTES.encode()


class _RawEncoder:
    """Messages into frames: binary where the content type says bytes or the body isn't UTF-8."""

    __slots__ = ()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """The body as one frame."""
        body = delivery.body
        raw = delivery.raw_properties
        # The content type is the first property: no need to decode them all.
        if raw.startswith(_BYTES_ON_WIRE, 2) and raw[0] & 0x80:
            return binary_frame(body)
        if not body.isascii():
            try:
                body.decode()
            except UnicodeDecodeError:
                return binary_frame(body)
        return text_frame(body)


_ENCODER = _RawEncoder()


@implementer(ICodec)
class RawCodec(Codec):
    """One route's raw dialect. It has no state of a session, so its sessions share it."""

    __slots__ = ("_close_on_error", "_destination", "_opening", "encoder", "ignored")

    def __init__(self, route: Route) -> None:
        self.encoder: Encoder = _ENCODER
        self._destination = parse(route.publish)
        self._opening = (
            Subscribe(None, parse(route.subscribe), patient=True, overflow=route.overflow),
        )
        self._close_on_error = route.on_error == "close"
        #: Publishes that failed while ``on_error`` is ``ignore``.
        self.ignored = 0

    def opening(self) -> Sequence[Command]:
        """Subscribe to what the route says."""
        return self._opening

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Any frame is a message."""
        properties = {"content_type": BYTES if binary else TEXT}
        return (Publish(None, self._destination, payload, properties),)

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """Nothing is told but by closing."""
        return None

    def closing(self, event: Event) -> Close | None:
        """Whoever can't be told of a failure is closed: 1013 as a rule, come back later."""
        if isinstance(event, Refused):
            if event.operation == "publish" and not self._close_on_error:
                self.ignored += 1
                return None
            return Close(event.error.close_code, event.error.public)
        if isinstance(event, Unsubscribed) and event.reason is not None:
            return Close(1013, event.reason)
        return None


@implementer(IDialect)
class RawDialect:
    """What a client speaks that asks for no subprotocol."""

    def __init__(self) -> None:
        self.subprotocol: str | None = None
        # One for each route, and routes come from the settings.
        self._codecs: dict[tuple[str, str, str, str | None], RawCodec] = {}

    def codec(self, route: Route) -> ICodec:
        """The route's codec, one for all its sessions."""
        key = (route.publish, route.subscribe, route.on_error, route.overflow)
        codec = self._codecs.get(key)
        if codec is None:
            codec = self._codecs[key] = RawCodec(route)
        return codec
