"""A dialect for twbridge: the frames of its JSON dialect as CBOR maps (RFC 8949).

Bodies are any CBOR; bytes stay bytes, which a sensor with little memory likes better than base64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cbor2
import msgspec
from twisted.plugin import IPlugin
from zope.interface import implementer

from twbridge.commands import Command, Event, Invalid, Publish
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Close, Codec, ICodec, IDialect, Route
from twbridge.dialects.json import JsonDialect
from twbridge.errors import BadFrame, TwbridgeError
from twbridge.frames import binary_frame
from twbridge.wire import Delivery

CBOR = "application/cbor"
JSON = JsonDialect()


class CborEncoder:
    """Messages into binary frames."""

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """One frame. The body is CBOR or a text where it says so, else bytes."""
        properties = dict(delivery.properties)
        message: dict[str, Any] = {
            "op": "message",
            "destination": str(destination),
            "routing_key": delivery.routing_key,
            "headers": properties.pop("headers", {}),
            "properties": properties,
            "body": _shown(delivery.body, properties.get("content_type", "")),
        }
        if offset is not None:
            message["offset"] = offset
        if delivery_tag is not None:
            message["delivery_tag"] = delivery_tag
        if delivery.redelivered:
            message["redelivered"] = True
        return binary_frame(cbor2.dumps(message))


@implementer(IPlugin, IDialect, ICodec)
class CborDialect(Codec):
    """Keeps nothing of a session, so one object is the dialect and the codec of every session."""

    subprotocol = "v1.example.cbor"
    #: One for all: the bridge encodes a message once for all sessions that share an encoder.
    encoder = CborEncoder()

    def codec(self, route: Route) -> ICodec:
        """Itself."""
        return self

    def opening(self) -> Sequence[Command]:
        """Nothing: the client says what it wants."""
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Read one map. Whatever the bytes are, it raises nothing but BadFrame."""
        try:
            # Keys that collide would cost a client little and the bridge much.
            frame = cbor2.loads(payload, strict_hashable_types=True)
        except Exception:
            raise BadFrame("The frame is not CBOR.") from None
        if not binary or not isinstance(frame, dict):
            raise BadFrame("A frame is binary, and holds one CBOR map.")
        if frame.get("op") == "publish":
            return (_publish(frame),)
        try:
            # All but a body can be said in JSON, and is checked there.
            return JSON.decode(msgspec.json.encode(frame), False)
        except (TypeError, ValueError, RecursionError):
            raise BadFrame("The frame holds what no request has.") from None

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """One map."""
        told = JSON.encode(event)
        return None if told is None else (cbor2.dumps(msgspec.json.decode(told[0])), True)

    def closing(self, event: Event) -> Close | None:
        """Never: a refusal is told, and the session lives on."""
        return None


def _publish(frame: dict[Any, Any]) -> Command:
    identity, body, headers = frame.get("id"), frame.get("body"), frame.get("headers", {})
    if not _is_id(identity):
        raise BadFrame("An id is a text of 255 characters, or a whole number up to 2**53.")
    try:
        if frame.keys() - {"op", "id", "destination", "body", "headers"}:
            raise BadFrame("A publish has an id, a destination, a body and headers.")
        if not isinstance(headers, dict) or not all(isinstance(name, str) for name in headers):
            raise BadFrame("Headers are a map with texts as keys.")
        if not isinstance(frame.get("destination"), str):
            raise BadFrame("A destination is a text.")
        properties: dict[str, Any] = {"content_type": "application/octet-stream"}
        if isinstance(body, str):
            body, properties["content_type"] = body.encode(), "text/plain; charset=utf-8"
        elif not isinstance(body, bytes):
            body, properties["content_type"] = cbor2.dumps(body), CBOR
        if headers:
            properties["headers"] = headers
        return Publish(identity, parse(frame["destination"]), body, properties)
    except (cbor2.CBOREncodeError, TypeError, ValueError, RecursionError):
        return Invalid(identity, BadFrame("The body can't be read."))
    except TwbridgeError as error:
        return Invalid(identity, error)


def _is_id(given: Any) -> bool:
    if type(given) is int:
        return abs(given) <= 2**53
    return given is None or (isinstance(given, str) and len(given) <= 255)


def _shown(body: bytes, content_type: str) -> Any:
    try:
        if content_type == CBOR:
            return cbor2.loads(body, strict_hashable_types=True)
        return body.decode() if content_type.startswith("text/") else body
    except Exception:
        return body
