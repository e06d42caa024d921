"""A body and the properties that say how it is to be read (sans-I/O)."""

from __future__ import annotations

from typing import Any

from twbridge.rpc.serializers import OCTETS, Body
from twbridge.wire import Delivery

__all__ = ["body_of", "body_properties"]


def body_properties(body: Body) -> dict[str, Any]:
    """The properties of a message with this body."""
    if body.content_encoding is None:
        return {"content_type": body.content_type}
    return {"content_type": body.content_type, "content_encoding": body.content_encoding}


def body_of(delivery: Delivery) -> Body:
    """The body of any message; without a content type it is bytes.

    Raises:
        FrameError: the properties are malformed.
    """
    properties = delivery.properties
    return Body(
        delivery.body,
        properties.get("content_type") or OCTETS,
        properties.get("content_encoding") or None,
    )
