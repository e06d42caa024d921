"""What a publish must fulfil, and the confirms that answer it (sans-I/O).

Source: https://www.rabbitmq.com/confirms.html, /sender-selected.html, /validated-user-id.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twbridge import wire
from twbridge.broker import refusals
from twbridge.broker.argument_values import MAX_EXPIRY
from twbridge.broker.messages import Message

__all__ = ["Confirms", "received"]

_NO_HEADERS: Mapping[str, Any] = {}


def received(content: wire.Content, user: str) -> Message:
    """Check a basic.publish with its content.

    Args:
        user: who is logged in; ``user_id`` must be that or absent.

    Returns:
        The message without its ``BCC`` header.

    Raises:
        ChannelClosed: 406, a property that RabbitMQ refuses.
        ConnectionClosed: 502, a name that can't be sent on.
        FrameError: the properties are malformed.
    """
    method = content.method
    for name in (method.exchange, method.routing_key):
        if len(name.encode()) > 255:  # what is not UTF-8 was read as more than it was
            raise refusals.hard(502, "a name that is not UTF-8 is too long")
    properties = content.properties
    ttl = _check(properties, user)
    headers: Mapping[str, Any] = properties.get("headers", _NO_HEADERS)
    keys = (*_more_keys(headers, "CC"), *_more_keys(headers, "BCC")) if headers else ()
    raw = content.raw_properties
    if "BCC" in headers:
        headers = {key: value for key, value in headers.items() if key != "BCC"}
        raw = wire.encode_properties({**properties, "headers": dict(headers)})
    return Message(
        method.exchange,
        method.routing_key,
        raw,
        content.body,
        headers,
        more_keys=keys,
        ttl=ttl,
        priority=properties.get("priority", 0),
    )


def _check(properties: wire.Properties, user: str) -> int | None:
    """Return the expiration in milliseconds, where there is one."""
    owner = properties.get("user_id", user)
    if owner != user:
        raise refusals.precondition_failed(
            f"user_id property set to '{owner}' but authenticated user was '{user}'"
        )
    expiration = properties.get("expiration")
    ttl = None if expiration is None else _milliseconds(expiration)
    if properties.get("reply_to") == "amq.rabbitmq.reply-to":
        raise refusals.precondition_failed("fast reply consumer does not exist")
    mode = properties.get("delivery_mode", 1)
    if mode not in (1, 2):
        raise refusals.precondition_failed(f"invalid message: {{delivery_mode_unknown,{mode}}}")
    return ttl


def _milliseconds(expiration: str) -> int:
    number = re.match(r"[+-]?[0-9]+", expiration)
    milliseconds = int(number[0]) if number else 0
    if number is None:
        problem = "no_integer"
    elif number.end() < len(expiration):
        problem = f'{{leftover_string,"{expiration[number.end() :]}"}}'
    elif milliseconds < 0:
        problem = f"{{value_negative,{milliseconds}}}"
    elif milliseconds > MAX_EXPIRY:
        problem = f"{{value_too_large,{milliseconds}}}"
    else:
        return milliseconds
    raise refusals.precondition_failed(f"invalid expiration '{expiration}': {problem}")


def _more_keys(headers: Mapping[str, Any], name: str) -> list[str]:
    keys = headers.get(name, [])
    if not isinstance(keys, list):
        raise refusals.precondition_failed(
            f'invalid message: {{unacceptable_type_in_header,"{name}",{refusals.type_name(keys)}}}'
        )
    return [key for key in keys if isinstance(key, str)]


class Confirms:
    """The answers to the publishes of one channel in confirm mode, gathered and sent together."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._last_tag = 0
        self._waiting: list[tuple[int, bool]] = []

    def add(self, ok: bool) -> None:
        """The next publish was taken, or refused."""
        self._last_tag += 1
        self._waiting.append((self._last_tag, ok))

    def frames(self) -> bytes:
        """The acks and nacks since the last call: a run of either is one frame."""
        parts = []
        last = len(self._waiting) - 1
        run = 0
        for index, (tag, ok) in enumerate(self._waiting):
            run += 1
            if index == last or self._waiting[index + 1][1] is not ok:
                frame = wire.ack_frame if ok else _nack
                parts.append(frame(self._channel, tag, run > 1))
                run = 0
        self._waiting.clear()
        return b"".join(parts)


def _nack(channel: int, tag: int, multiple: bool) -> bytes:
    return wire.nack_frame(channel, tag, multiple, requeue=False)
