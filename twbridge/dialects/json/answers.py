"""What a client is told, but for messages: each frame a class that shows its format.

The answer to a request repeats its ``id``; where that had none, and where the server speaks by
itself, there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from twbridge import __version__, commands
from twbridge.commands import Event, Id
from twbridge.dialects.json.messages import show
from twbridge.errors import ChannelClosed

__all__ = ["write"]


class _Frame(Struct, tag_field="op", omit_defaults=True, kw_only=True):
    pass


class Welcome(_Frame, tag="welcome", kw_only=True):
    """The first frame of a session:

    {"op":"welcome","session":"5f0c2a91.1","instance":"5f0c2a91","server":"twbridge/0.1",
     "heartbeat":25,"user":null,"limit":1048576}
    """

    session: str
    instance: str
    server: str
    heartbeat: int | float
    user: str | None
    limit: int | None = None


class Subscribed(_Frame, tag="subscribed", kw_only=True):
    """``{"op":"subscribed","id":"s1","destination":"/topic/chat.#"}``."""

    id: Id = None
    destination: str


class Unsubscribed(_Frame, tag="unsubscribed", kw_only=True):
    """``{"op":"unsubscribed","id":"u1","destination":"/topic/chat.#"}``.

    With a ``reason`` in place of the id where the server has ended the subscription.
    """

    id: Id = None
    destination: str
    reason: str | None = None


class Published(_Frame, tag="published", kw_only=True):
    """The broker has taken responsibility: ``{"op":"published","id":"p1"}``."""

    id: Id = None


class _Content(_Frame):
    """What a task says: any JSON, or bytes in base64."""

    id: Id = None
    body: Raw | str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET


class Progress(_Content, tag="progress", kw_only=True):
    """A task is on its way to the result; in the order in which it said so:

    {"op":"progress","id":"c1","body":{"done":3,"of":10}}
    """


class Result(_Content, tag="result", kw_only=True):
    """What a task gave, with the headers that it set:

    {"op":"result","id":"c1","body":3}
    {"op":"result","id":"c2","base64":"AAEC","headers":{"width":64}}
    """

    headers: dict[str, Any] | None = None


class Error(_Frame, tag="error", kw_only=True):
    """A request was not carried out:

    {"op":"error","id":"p1","code":"unroutable","message":"No queue took the message."}
    """

    id: Id = None
    code: str
    message: str


class LinkState(_Frame, tag="link", kw_only=True):
    """The broker went away, or is back: ``{"op":"link","state":"down"}``."""

    state: Literal["up", "down"]


class Dropped(_Frame, tag="dropped", kw_only=True):
    """So many messages were not sent, the client reads too slowly:

    {"op":"dropped","destination":"/topic/cpu.*","count":12}
    """

    destination: str
    count: int


class Gap(_Frame, tag="gap", kw_only=True):
    """Messages are missing. Of a stream, those ``from`` an offset; it goes on with ``to``:

    {"op":"gap","destination":"/stream/log","from":42,"to":100}
    {"op":"gap","destination":"/topic/chat.#"}
    """

    destination: str
    first: int | None = field(default=None, name="from")
    resumed: int | None = field(default=None, name="to")


class Drain(_Frame, tag="drain", kw_only=True):
    """The bridge stops; come back after so many seconds: ``{"op":"drain","reconnect_after":4}``."""

    reconnect_after: int | float


class Pong(_Frame, tag="pong", kw_only=True):
    """The answer to a ping: ``{"op":"pong","id":"1"}``."""

    id: Id = None


_write = msgspec.json.Encoder().encode


def write(event: Event) -> bytes:
    """The frame that tells of it."""
    return _write(_FRAMES[type(event)](event))


def _welcome(event: commands.Welcome) -> Welcome:
    return Welcome(
        session=event.session,
        instance=event.instance,
        server=f"twbridge/{__version__}",
        heartbeat=_number(event.heartbeat),
        user=event.user,
        limit=event.limit,
    )


def _unsubscribed(event: commands.Unsubscribed) -> Unsubscribed:
    return Unsubscribed(id=event.id, destination=str(event.destination), reason=event.reason)


def _refused(event: commands.Refused) -> Error:
    sentence = event.error.public
    # What the broker says no to; the refusals of the bridge say themselves what they are about.
    if isinstance(event.error, ChannelClosed) and event.destination is not None:
        sentence = f"{sentence.removesuffix('.')}: {event.destination}"
    return Error(id=event.id, code=event.error.code, message=sentence)


def _content(event: commands.Progress | commands.Result) -> dict[str, Any]:
    content = show(event.body, event.content_type)
    return {"id": event.id, "base64" if isinstance(content, bytes) else "body": content}


def _gap(event: commands.Gap) -> Gap:
    return Gap(destination=str(event.destination), first=event.first, resumed=event.resumed)


def _number(seconds: float) -> int | float:
    return int(seconds) if float(seconds).is_integer() else seconds


_FRAMES: dict[type, Callable[[Any], Struct]] = {
    commands.Welcome: _welcome,
    commands.Subscribed: lambda event: Subscribed(id=event.id, destination=str(event.destination)),
    commands.Unsubscribed: _unsubscribed,
    commands.Published: lambda event: Published(id=event.id),
    commands.Progress: lambda event: Progress(**_content(event)),
    commands.Result: lambda event: Result(**_content(event), headers=event.headers or None),
    commands.Refused: _refused,
    commands.LinkChanged: lambda event: LinkState(state="up" if event.up else "down"),
    commands.Dropped: lambda event: Dropped(destination=str(event.destination), count=event.count),
    commands.Gap: _gap,
    commands.Drain: lambda event: Drain(reconnect_after=_number(event.reconnect_after)),
    commands.Pong: lambda event: Pong(id=event.id),
}
