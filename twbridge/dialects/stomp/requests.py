"""What a client's frames ask for (pure).

Destinations and the headers of SUBSCRIBE and SEND mean what they mean to RabbitMQ's STOMP adapter.
Where that declares a transient queue, which RabbitMQ 4 refuses unless it is exclusive, a durable
one is declared that expires a minute after its last consumer.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5
from typing import Any, get_args

from twbridge import commands
from twbridge.destinations import MAX_BYTES, Destination, Kind, parse, shown
from twbridge.dialects.stomp.arguments import ARGUMENTS, arguments_of
from twbridge.dialects.stomp.frames import Frame
from twbridge.dialects.stomp.headers import boolean, properties_of, whole_number
from twbridge.dialects.stomp.messages import BY_DESTINATION, BY_ID
from twbridge.dialects.stomp.refusals import Refusal
from twbridge.errors import BadDestination, BadFrame, Forbidden
from twbridge.link.topology import Queue
from twbridge.starts import parse_start

__all__ = [
    "EXPIRES",
    "TEMPORARY",
    "Subscribing",
    "address",
    "durable_queue_name",
    "is_durable",
    "name_of",
    "read_send",
    "read_subscribe",
    "reply_subscription",
]

#: Milliseconds that a queue lives without a consumer where Web STOMP's would be transient.
EXPIRES = 60_000
#: Begins the destination of a session's own queue for replies.
TEMPORARY = "/temp-queue/"
_REPLY = "/reply-queue/"
#: Begins the names of such queues on the broker.
REPLY_PREFIX = "twbridge.reply."
_DURABLE_PREFIX = "stomp-subscription-"
#: Queues with such names come with the right to something else: nobody gets one by its name.
_NOT_CHOSEN = (REPLY_PREFIX, _DURABLE_PREFIX)

#: How the destinations of a known kind begin.
_KINDS = tuple(
    f"/{kind}" for kind in ("amq/queue", *(each for each in get_args(Kind) if each != "amq-queue"))
)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ACKS = ("auto", "client", "client-individual")
_BIG = 2**63 - 1
#: What a SEND may say of its queue. Nearly all say nothing: so they are told by one look.
_OF_THE_QUEUE = ARGUMENTS | {"durable", "auto-delete", "exclusive"}


# -- destinations -----------------------------------------------------------------------------


def destination_of(frame: Frame) -> Destination:
    """Where a SEND goes or what a SUBSCRIBE is about.

    Raises:
        Refusal: it isn't said, or outside the grammar.
    """
    written = frame.headers.get("destination")
    if written is None:
        error = BadFrame(f"{frame.command} must include a destination header.")
        raise Refusal("Missing destination", error)
    destination = _address(written)
    if destination.kind in ("queue", "amq-queue") and _is_stream(frame.headers):
        return Destination("stream", destination.name, "", written)
    return destination


def _address(written: str) -> Destination:
    try:
        return address(written)
    except BadDestination as wrong:
        known = "/" not in written or written.startswith(_KINDS)
        title = "Invalid destination" if known else "Unknown destination"
        raise Refusal(title, wrong) from None


@lru_cache(maxsize=4096)
def address(written: str) -> Destination:
    """Read a destination: twbridge's grammar with RabbitMQ's liberties.

    A name alone is a queue, a ``%`` that escapes nothing is one, and what follows ``/reply-queue/``
    is a name as it is.

    Raises:
        BadDestination: it is outside the grammar.
    """
    if written.startswith(_REPLY):
        name = written.removeprefix(_REPLY)
        if not 0 < len(name.encode()) <= MAX_BYTES:
            raise BadDestination(f"A name has 1 to {MAX_BYTES} bytes.")
        return Destination("reply-queue", name, "", written)
    text = _STRAY_PERCENT.sub("%25", written)
    if not text.startswith("/"):
        if not text:
            raise BadDestination("A destination can't be blank.")
        text = f"/queue/{text}"
    destination = parse(text)
    if destination.kind == "topic" and not destination.key:
        raise BadDestination(f"The key in {shown(written)} is empty.")
    return destination


def _is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("x-queue-type", "").strip() == "stream" or "x-stream-offset" in headers


# -- queues -----------------------------------------------------------------------------------


def durable_queue_name(key: str, identity: str) -> str:
    """The queue of a durable subscription: RabbitMQ's name, so that its users keep their queues.

    It is the MD5 of a pair of strings in Erlang's external term format (the tags are those of
    version 131: 104 a small tuple, 107 a string, 106 an empty list).
    """
    pair = b"\x83h\x02" + b"".join(_term(text.encode()) for text in (key, identity))
    digest = md5(pair, usedforsecurity=False).digest()
    return _DURABLE_PREFIX + urlsafe_b64encode(digest).decode().rstrip("=")


def _term(text: bytes) -> bytes:
    return b"k" + len(text).to_bytes(2, "big") + text if text else b"j"


def _temporary(name: str, arguments: Mapping[str, Any]) -> Queue:
    """What stands for a transient queue."""
    return Queue(
        name,
        durable=True,
        exclusive=False,
        auto_delete=False,
        arguments={"x-expires": EXPIRES, **arguments},
    )


def _queue(destination: Destination, headers: Mapping[str, str], subscribing: bool) -> Queue | None:
    """What to declare for a ``/queue`` destination; None where the client says nothing of it."""
    arguments = arguments_of(headers)
    durable = boolean(headers, "durable")
    auto_delete = boolean(headers, "auto-delete")
    exclusive = boolean(headers, "exclusive")
    if subscribing and durable is None:
        durable = boolean(headers, "persistent")
    if not arguments and durable is None and auto_delete is None and exclusive is None:
        return None
    if durable is False or exclusive:
        return _temporary(destination.name, arguments)
    return Queue(
        destination.name,
        durable=True,
        exclusive=False,
        auto_delete=bool(auto_delete),
        arguments=arguments,
    )


def _subscription_queue(destination: Destination, headers: Mapping[str, str]) -> Queue | None:
    """What to declare for a live destination; None: nothing, it is a binding of the bridge's."""
    arguments = arguments_of(headers)
    # Checked even where they make no difference.
    auto_delete = boolean(headers, "auto-delete")
    boolean(headers, "exclusive")
    durable = is_durable(headers)
    usual = durable_queue_name(destination.key, headers["id"]) if durable else ""
    name = _chosen_name(headers) or usual
    if name != usual and name.startswith(_NOT_CHOSEN):
        raise Refusal("access_refused", Forbidden(f"You can't choose the name {shown(name)}."))
    if durable:
        return Queue(
            name,
            durable=True,
            exclusive=False,
            auto_delete=auto_delete is not False,
            arguments=arguments,
        )
    return _temporary(name, arguments) if name or arguments else None


def _chosen_name(headers: Mapping[str, str]) -> str:
    name = headers.get("x-queue-name", "").strip()
    if len(name.encode()) > MAX_BYTES:
        raise BadFrame(f"An x-queue-name has at most {MAX_BYTES} bytes.")
    return name


def is_durable(headers: Mapping[str, str]) -> bool:
    """Whether a SUBSCRIBE or UNSUBSCRIBE is about a durable subscription.

    Raises:
        Refusal: then it has to have an id.
    """
    durable = bool(boolean(headers, "durable")) | bool(boolean(headers, "persistent"))
    if durable and "id" not in headers:
        error = BadFrame("The header id is required for durable subscriptions.")
        raise Refusal("Missing Header", error)
    return durable


@lru_cache(maxsize=4096)
def _default_queue(name: str) -> Queue:
    return Queue(name, durable=True, exclusive=False, auto_delete=False)


# -- SUBSCRIBE and SEND -----------------------------------------------------------------------


def name_of(frame: Frame) -> str:
    """The name of the subscription that a SUBSCRIBE or UNSUBSCRIBE is about.

    Raises:
        Refusal: it has neither an id nor a destination, or an id that is not a client's.
    """
    identity = frame.headers.get("id")
    if identity is None:
        written = frame.headers.get("destination")
        if written is None:
            error = BadFrame(f"{frame.command} must include a destination or id header.")
            raise Refusal("Missing destination or id", error)
        return f"{BY_DESTINATION}{written}"
    if identity.startswith(TEMPORARY):
        error = BadFrame(f"The id of {frame.command} may not begin with {TEMPORARY}.")
        raise Refusal("Invalid id", error)
    name = f"{BY_ID}{identity}"
    if len(name.encode()) > MAX_BYTES:
        raise Refusal("Invalid id", BadFrame(f"An id has at most {MAX_BYTES - 2} bytes."))
    return name


@dataclass(slots=True)
class Subscribing:
    """A SUBSCRIBE: the command, and what its acknowledgements mean."""

    command: commands.Subscribe
    #: Whether a client has to acknowledge.
    acks: bool
    #: Whether an ACK is one of all messages before, too.
    cumulative: bool


def read_subscribe(frame: Frame, max_prefetch: int) -> Subscribing:
    """Read a SUBSCRIBE.

    Args:
        max_prefetch: also what a client gets that does not say.

    Raises:
        Refusal: a header is missing or wrong.
        BadFrame: likewise.
    """
    headers = frame.headers
    destination = destination_of(frame)
    name = name_of(frame)
    mode = headers.get("ack", "auto")
    if mode not in _ACKS:
        raise BadFrame(f"The header ack is {', '.join(_ACKS)}, not {shown(mode)}.")
    command = commands.Subscribe(None, destination, name=name)
    is_stream = destination.kind == "stream"
    if is_stream:
        start = headers.get("x-stream-offset")
        command.start = None if start is None else parse_start(start)
    elif destination.live:
        command.queue = _subscription_queue(destination, headers)
    elif destination.kind == "queue":
        command.queue = _queue(destination, headers, subscribing=True)
    acks = mode != "auto"
    prefetch = 0
    if "prefetch-count" in headers:
        prefetch = min(whole_number(headers, "prefetch-count", _BIG), max_prefetch)
    if is_stream:
        command.prefetch = prefetch or None
    elif acks:
        command.ack = "client"
        command.prefetch = prefetch or max_prefetch
    return Subscribing(command, acks, cumulative=mode == "client")


def read_send(frame: Frame) -> commands.Publish:
    """Read a SEND, but for a ``reply-to`` that is a ``/temp-queue/``.

    Raises:
        Refusal: a header is missing or wrong.
        BadFrame: likewise.
    """
    headers = frame.headers
    if "message-id" in headers:
        error = BadFrame("The header message-id is not allowed on SEND.")
        raise Refusal("Invalid header", error)
    destination = destination_of(frame)
    if "reply-to" in headers:
        _address(headers["reply-to"])
    publish = commands.Publish(None, destination, frame.body, properties_of(frame))
    if destination.kind == "queue":
        queue = None
        if not _OF_THE_QUEUE.isdisjoint(headers):
            queue = _queue(destination, headers, subscribing=False)
        publish.declare = queue or _default_queue(destination.name)
    elif destination.kind in ("amq-queue", "reply-queue"):
        # Who answers somebody that has gone has done nothing wrong.
        publish.mandatory = False
    return publish


def reply_subscription(written: str, token: str) -> commands.Subscribe:
    """What a ``/temp-queue/`` destination in ``reply-to`` asks for.

    Args:
        written: the destination.
        token: nobody can guess it.

    Raises:
        Refusal: the destination is outside the grammar.
    """
    return commands.Subscribe(
        None,
        _address(written),
        name=f"{BY_ID}{written}",
        queue=_temporary(f"{REPLY_PREFIX}{token}", {}),
    )
