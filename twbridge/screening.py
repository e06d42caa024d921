"""What a client may put into a publish: refused here, before the link sees it (pure).

Publishes of many clients share a broker channel, and RabbitMQ answers some of these with the
close of the channel (406) or of the connection (501), which would hurt everybody on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from twbridge.commands import Publish
from twbridge.destinations import MAX_BYTES
from twbridge.errors import BadDestination, BadFrame, Forbidden, TooLarge
from twbridge.policy import REPLY, RESERVED
from twbridge.reply_addresses import DIRECT_REPLY, given
from twbridge.wire import encode_properties

__all__ = ["screen"]

#: RabbitMQ's ?MAX_EXPIRY_TIMER in milliseconds; a longer one closes the channel.
MAX_EXPIRATION = 2**32 - 1

#: What all other properties have at most, encoded, and an entry of text beside its text.
_OTHERS, _ENTRY = 14 * (MAX_BYTES + 1), 6

#: Headers that workers and callers believe, and what a broker says of a message's way and they
#: believe too. Others that begin with x- are a client's, as in Web STOMP.
_BELIEVED = ("twbridge-", "x-first-death-", "x-last-death-")
_OF_THE_BROKER = frozenset({"x-death", "x-delivery-count", "x-acquired-count"})

_KINDS = frozenset({"exchange", "topic", "queue", "amq-queue", "stream", "reply-queue"})
#: Characters of a text that is within its limit, whatever they are.
_SHORT = MAX_BYTES // 4


def screen(publish: Publish, max_body: int, max_headers: int) -> bool:
    """Return whether to publish it mandatory: as asked, or true for queues and streams.

    An answer to a direct reply-to address never is, and goes only where a client was told to.

    A publish to one of those goes to the default exchange and declares nothing: where it is
    missing, a mandatory one is ``unroutable``.

    Args:
        publish: what a client asked for.
        max_body: in bytes.
        max_headers: of all properties with the header table, encoded, in bytes.

    Raises:
        ClientError: it could hurt others, or has no way to go.
        EncodeError: a header that AMQP can't carry.
    """
    destination = publish.destination
    if destination.kind not in _KINDS:
        raise BadDestination(
            f"You can't publish to /{destination.kind}, but to /exchange, /topic, /queue, "
            "/amq/queue, /reply-queue and /stream destinations."
        )
    direct = destination.name.startswith(DIRECT_REPLY)
    if direct and not (destination.kind == "reply-queue" and destination.name in given):
        raise Forbidden("Clients can't publish to a direct reply-to address that nobody gave them.")
    if len(publish.body) > max_body:
        raise TooLarge(f"The body is over {max_body} bytes.")
    for name, value in publish.properties.items():
        check = _CHECKS.get(name)
        if check is not None:
            check(value)
        elif isinstance(value, str) and len(value) > _SHORT and len(value.encode()) > MAX_BYTES:
            raise TooLarge(f"The property {name} is over {MAX_BYTES} bytes.")
    headers = publish.properties.get("headers")
    # Encoded here, and once more where it is published: only where it has to be.
    if (
        headers is not None
        and not _is_small(headers, max_headers)
        and len(encode_properties(publish.properties)) > max_headers
    ):
        raise TooLarge(f"The headers are over {max_headers} bytes.")
    if direct:
        return False  # RabbitMQ would call it unroutable, and deliver it
    if publish.mandatory is None:
        return not destination.live
    return publish.mandatory


def _is_small(headers: Mapping[str, Any], most: int) -> bool:
    """Whether it is plain that these, with all other properties, have at most so many bytes."""
    size = _OTHERS
    for name, value in headers.items():
        if type(value) is not str or not (value.isascii() and name.isascii()):
            return False
        size += len(name) + len(value) + _ENTRY
        if len(name) > MAX_BYTES:
            return False
    return size <= most


def _headers(value: Any) -> None:
    if "CC" in value or "BCC" in value:
        raise Forbidden("The headers CC and BCC would route past the policy.")
    for name in value:
        small = name.lower()
        if small.startswith(_BELIEVED) or small in _OF_THE_BROKER:
            raise Forbidden(
                "Headers that begin with twbridge- are reserved, and what tells of deliveries and "
                "deaths (x-death, x-first-death-.., x-delivery-count) is the broker's to say."
            )


def _expiration(value: Any) -> None:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10
    if not digits or int(value) > MAX_EXPIRATION:
        raise BadFrame(f"An expiration is a string of digits, at most {MAX_EXPIRATION} ms.")


def _delivery_mode(value: Any) -> None:
    if value not in (1, 2):
        raise BadFrame("A delivery_mode is 1 (transient) or 2 (persistent).")


def _reply_to(value: Any) -> None:
    if not isinstance(value, str) or len(value.encode()) > MAX_BYTES:
        raise TooLarge(f"A reply_to has at most {MAX_BYTES} bytes.")
    if value.startswith(DIRECT_REPLY):
        raise Forbidden("Clients can't use the direct reply-to of the bridge.")
    # Whoever answers would publish where the client may not; STOMP writes a destination.
    for name in unquote(value).split("/"):
        if name.startswith(RESERVED) and not name.startswith(REPLY):
            raise Forbidden("Names that begin with twbridge. are reserved, in a reply_to too.")


def _of_the_bridge(_value: Any) -> None:
    raise Forbidden("The properties user_id and cluster_id are not a client's to set.")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "headers": _headers,
    "expiration": _expiration,
    "delivery_mode": _delivery_mode,
    "reply_to": _reply_to,
    "user_id": _of_the_bridge,
    "cluster_id": _of_the_bridge,
}
