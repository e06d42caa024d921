"""What a client asks and what it is told, in no dialect (sans-I/O).

A dialect turns frames into commands and events into frames; a session carries the commands out.
Messages are no events: the hub encodes them once for many sessions (``hub.py``).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from twbridge.destinations import Destination
from twbridge.errors import TwbridgeError

__all__ = [
    "Command",
    "Event",
    "Gap",
    "Id",
    "Invalid",
    "LinkChanged",
    "Ping",
    "Pong",
    "Publish",
    "Published",
    "Refused",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "Unsubscribed",
    "Welcome",
]

#: What a client called its request; the answer repeats it.
Id: TypeAlias = str | int | None


# -- commands


class Subscribe(Struct):
    """Deliver what comes to ``destination``, from now on.

    With ``patient`` it waits for as long as the broker is away; without, it is refused with
    ``not_ready`` after the hub's timeout. A dialect that can't tell its client is patient.
    """

    id: Id
    destination: Destination
    patient: bool = False


class Unsubscribe(Struct):
    """Deliver it no longer."""

    id: Id
    destination: Destination


class Publish(Struct):
    """Publish ``body``; answered when the broker has taken responsibility for it.

    ``properties`` are those of AMQP, headers included (``wire.Properties``). ``mandatory`` None:
    what the kind of destination makes sensible, true for a queue.
    """

    id: Id
    destination: Destination
    body: bytes
    properties: dict[str, Any]
    mandatory: bool | None = None


class Ping(Struct):
    """Answer with a :class:`Pong`: the way through the bridge is open."""

    id: Id


class Invalid(Struct):
    """A frame that can be told from others by its id, but not be carried out."""

    id: Id
    error: TwbridgeError


Command: TypeAlias = Subscribe | Unsubscribe | Publish | Ping | Invalid


# -- events


class Welcome(Struct):
    """The session is open. ``heartbeat`` is the interval of the server's pings in seconds."""

    session: str
    instance: str
    heartbeat: float
    user: str | None


class Subscribed(Struct):
    """The broker has the binding: what is published from now on arrives."""

    id: Id
    destination: Destination


class Unsubscribed(Struct):
    """The subscription has ended; with a ``reason`` where the server ended it."""

    id: Id
    destination: Destination
    reason: str | None = None


class Published(Struct):
    """The broker has taken responsibility for the message."""

    id: Id


class Refused(Struct):
    """A command was not carried out. ``operation`` is empty where it could not be read."""

    id: Id
    error: TwbridgeError
    operation: str = ""


class LinkChanged(Struct):
    """The broker went away or came back; live messages in between may be missing."""

    up: bool


class Gap(Struct):
    """Live messages of this subscription may be missing: its queue had to be made again."""

    destination: Destination


class Pong(Struct):
    """The answer to a :class:`Ping`."""

    id: Id


Event: TypeAlias = (
    Welcome | Subscribed | Unsubscribed | Published | Refused | LinkChanged | Gap | Pong
)
