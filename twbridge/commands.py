"""What a client asks and what it is told, in no dialect (sans-I/O).

A dialect turns frames into commands and events into frames; a session carries the commands out.
Messages are no events: the hub encodes them once for many sessions (``hub.py``).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from twbridge.destinations import Destination
from twbridge.errors import TwbridgeError
from twbridge.link.topology import Queue
from twbridge.starts import Start

__all__ = [
    "Ack",
    "AckMode",
    "Acknowledged",
    "Call",
    "Cancel",
    "Command",
    "Commit",
    "Connect",
    "Connected",
    "Disconnect",
    "Disconnected",
    "Drain",
    "Dropped",
    "Event",
    "Gap",
    "Id",
    "Invalid",
    "LinkChanged",
    "Nack",
    "Overflow",
    "Ping",
    "Pong",
    "Progress",
    "Publish",
    "Published",
    "Refused",
    "Result",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "Unsubscribed",
    "Welcome",
]

#: What a client called its request; the answer repeats it.
Id: TypeAlias = str | int | None

#: ``auto``: what is written to the socket is done with. ``client``: what the client acknowledges.
AckMode: TypeAlias = Literal["auto", "client"]

#: What becomes of messages for a client that reads too slowly. ``close``: it is closed (1013).
#: ``drop-oldest``: the oldest that wait are dropped, and it is told how many. ``latest``: of each
#: routing key only the newest waits. ``block``: the broker keeps them.
Overflow: TypeAlias = Literal["close", "drop-oldest", "latest", "block"]


# -- commands


class Subscribe(Struct):
    """Deliver what comes to ``destination``, from now on.

    With ``patient`` it waits for as long as the broker is away; without, it is refused with
    ``not_ready`` after the hub's timeout. A dialect that can't tell its client is patient.

    ``prefetch``: how many messages of a queue may be unacknowledged, or how many of a stream are
    read ahead. ``start``: where a stream is read from. None: what suits the destination's kind.

    ``name`` tells several subscriptions to one destination apart; ``encoder`` is used in place of
    the codec's; ``queue`` is declared for it, and bound to a live destination. With ``once`` the
    first message of a queue is the last.
    """

    id: Id
    destination: Destination
    patient: bool = False
    ack: AckMode = "auto"
    prefetch: int | None = None
    start: Start | None = None
    overflow: Overflow | None = None
    name: str | None = None
    encoder: Any = None
    queue: Queue | None = None
    once: bool = False


class Unsubscribe(Struct):
    """Deliver it no longer. With ``delete``, the queue of a durable subscription goes too."""

    id: Id
    destination: Destination
    name: str | None = None
    delete: bool = False


class Publish(Struct):
    """Publish ``body``; answered when the broker has taken responsibility for it.

    ``properties`` are those of AMQP, headers included (``wire.Properties``). ``mandatory`` None:
    what the kind of destination makes sensible, true for a queue. ``declare`` is a queue that is
    declared before the first publish to it. ``reply`` is a subscription that has to stand before,
    because it is where the answer comes; it is made once for each of its names.
    """

    id: Id
    destination: Destination
    body: bytes
    properties: dict[str, Any]
    mandatory: bool | None = None
    declare: Queue | None = None
    reply: Subscribe | None = None


class Ack(Struct):
    """A delivery is done with. With ``multiple``, all up to it too."""

    id: Id
    destination: Destination
    delivery_tag: int
    multiple: bool = False
    name: str | None = None


class Nack(Struct):
    """A delivery is refused: back to its queue, or (without ``requeue``) dead-lettered."""

    id: Id
    destination: Destination
    delivery_tag: int
    requeue: bool = True
    multiple: bool = False
    name: str | None = None


class Commit(Struct):
    """Carry out ``commands`` in their order, but none of them if one is known to fail: all
    publishes are checked before the first is begun.

    Each is answered as if it came alone. Where the check fails, the first that it fails for is
    refused, by its own id, and that is the only answer. ``id`` is that of the whole.
    """

    id: Id
    commands: list[Publish | Ack | Nack]


class Call(Struct):
    """Call the task that ``destination`` names; answered with a :class:`Result`, after any number
    of :class:`Progress`.

    Its ``id`` is that of no other call of this client under way. ``timeout`` in seconds; None:
    the bridge's. ``headers`` reach the task.
    """

    id: Id
    destination: Destination
    body: bytes
    content_type: str
    timeout: float | None = None
    headers: dict[str, Any] | None = None


class Cancel(Struct):
    """End the call with this id: it is refused with ``cancelled``, and its worker is told."""

    id: Id


class Connect(Struct):
    """Log in; answered with :class:`Connected`, or refused."""

    id: Id
    user: str | None
    password: str | None
    vhost: str | None


class Disconnect(Struct):
    """Say when all publishes are settled: the client leaves then."""

    id: Id


class Ping(Struct):
    """Answer with a :class:`Pong`: the way through the bridge is open."""

    id: Id


class Invalid(Struct):
    """A frame that can be told from others by its id, but not be carried out."""

    id: Id
    error: TwbridgeError


Command: TypeAlias = (
    Subscribe
    | Unsubscribe
    | Publish
    | Ack
    | Nack
    | Commit
    | Call
    | Cancel
    | Connect
    | Disconnect
    | Ping
    | Invalid
)


# -- events


class Welcome(Struct):
    """The session is open. ``heartbeat`` is the interval of the server's pings in seconds.

    ``limit``: bytes of one frame of the client; a longer one ends the connection.
    """

    session: str
    instance: str
    heartbeat: float
    user: str | None
    limit: int | None = None


class Subscribed(Struct):
    """The broker has the binding: what is published from now on arrives."""

    id: Id
    destination: Destination
    name: str | None = None


class Unsubscribed(Struct):
    """The subscription has ended; with a ``reason`` where the server ended it."""

    id: Id
    destination: Destination
    reason: str | None = None
    name: str | None = None


class Published(Struct):
    """The broker has taken responsibility for the message."""

    id: Id


class Refused(Struct):
    """A command was not carried out. ``operation`` is empty where it could not be read.

    ``destination`` is what the command named.
    """

    id: Id
    error: TwbridgeError
    operation: str = ""
    destination: Destination | None = None


class LinkChanged(Struct):
    """The broker went away or came back; live messages in between may be missing."""

    up: bool


class Gap(Struct):
    """Messages of this subscription are missing.

    A stream: those from offset ``first`` on, and it goes on with ``resumed`` (which is smaller
    where the stream was made anew). Without them: live messages may be missing, because the queue
    had to be made again.
    """

    destination: Destination
    first: int | None = None
    resumed: int | None = None
    name: str | None = None


class Dropped(Struct):
    """So many messages were dropped since the last word of it: the client read too slowly."""

    destination: Destination
    count: int
    name: str | None = None


class Acknowledged(Struct):
    """An :class:`Ack` or :class:`Nack` was carried out."""

    id: Id


class Progress(Struct):
    """A word of the task on its way to the result of the call with this id."""

    id: Id
    body: bytes
    content_type: str


class Result(Struct):
    """The task's answer to the call with this id; ``headers`` are those that it set."""

    id: Id
    body: bytes
    content_type: str
    headers: dict[str, Any] | None = None


class Connected(Struct):
    """The client is who it says."""

    id: Id
    user: str | None


class Disconnected(Struct):
    """Everything is settled; the connection ends."""

    id: Id


class Drain(Struct):
    """The bridge is about to stop: come back after so many seconds."""

    reconnect_after: float


class Pong(Struct):
    """The answer to a :class:`Ping`."""

    id: Id


Event: TypeAlias = (
    Welcome
    | Subscribed
    | Unsubscribed
    | Published
    | Refused
    | LinkChanged
    | Gap
    | Dropped
    | Acknowledged
    | Progress
    | Result
    | Connected
    | Disconnected
    | Drain
    | Pong
)
