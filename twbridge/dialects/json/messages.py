"""Messages on their way to clients, as JSON objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.frames import text_frame
from twbridge.wire import Delivery

__all__ = ["ENCODER", "show", "write_message"]

#: Where a broker puts the offset of a stream's message.
_OFFSET = "x-stream-offset"

_write = msgspec.json.Encoder().encode
_check_json = msgspec.json.Decoder(Raw).decode


class Message(Struct, tag_field="op", tag="message", omit_defaults=True, gc=False):
    """A message of a subscription, whose destination is as it was subscribed:

    {"op":"message","destination":"/topic/chat.#","routing_key":"chat.a","headers":{},
     "properties":{"content_type":"application/json"},"body":{"any":"JSON"}}
    {"op":"message","destination":"/stream/log","routing_key":"a","headers":{"h":1},
     "properties":{},"base64":"AAEC","offset":42}
    {"op":"message","destination":"/queue/jobs","routing_key":"jobs","headers":{},
     "properties":{},"body":"text","delivery_tag":7,"redelivered":true}
    """

    destination: str
    routing_key: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Raw | str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    offset: int | None = None
    delivery_tag: int | None = None
    redelivered: bool = False


@lru_cache(maxsize=256)
def _kind_of(content_type: str) -> Literal["json", "text", "bytes"]:
    """What a content type (RFC 9110, section 8.3) says of a body."""
    kind, *parameters = (part.strip() for part in content_type.lower().split(";"))
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            return "bytes"
    textual = kind == "" or kind.startswith("text/") or kind.endswith(("/xml", "+xml"))
    return "text" if textual else "bytes"


def write_message(
    destination: Destination,
    delivery: Delivery,
    *,
    offset: int | None = None,
    delivery_tag: int | None = None,
) -> bytes:
    """One object with the body as JSON, as a string or as base64, as its content type says.

    The arguments are those of ``Encoder.encode``.
    """
    return _message(destination, delivery, offset, delivery_tag)


def _message(
    destination: Destination, delivery: Delivery, offset: int | None, delivery_tag: int | None
) -> bytes:
    properties: dict[str, Any] = dict(delivery.properties)
    headers = properties.pop("headers", {})
    # What str() gives; this is done for every message.
    written = destination.written or destination.canonical
    message = Message(written, delivery.routing_key, headers, properties)
    if offset is not None:
        message.offset = offset
        message.headers = {name: headers[name] for name in headers if name != _OFFSET}
    if delivery_tag is not None:
        message.delivery_tag = delivery_tag
    if delivery.redelivered:
        message.redelivered = True
    content = show(delivery.body, properties.get("content_type", ""))
    if isinstance(content, bytes):
        message.base64 = content
    else:
        message.body = content
    return _write(message)


def show(body: bytes, content_type: str) -> Raw | str | bytes:
    """A body as its content type says: JSON as it was written, a text, or bytes for base64."""
    kind = _kind_of(content_type)
    if kind == "bytes":
        return body
    try:
        text = body.decode()
        return _check_json(body) if kind == "json" else text
    except UnicodeDecodeError:
        return body
    except (msgspec.DecodeError, RecursionError):
        return text


class _JsonEncoder:
    """Messages into text frames."""

    __slots__ = ()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """One frame."""
        return text_frame(_message(destination, delivery, offset, delivery_tag))


#: One for all sessions: they all get the same bytes.
ENCODER: Encoder = _JsonEncoder()
