"""What a client may send: each frame a class that shows its format and becomes a command.

Any frame may have an ``id``, a string or a whole number, that the answer repeats. A field that is
not shown is refused, never ignored. Whole numbers beyond 2**53 are not the same number in a
browser, and refused as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from twbridge import commands
from twbridge.commands import Command
from twbridge.destinations import Destination, parse
from twbridge.errors import BadDestination, BadFrame, TwbridgeError, UnknownOperation
from twbridge.starts import parse_start

__all__ = ["MAX_TASK_BYTES", "MAX_TIMEOUT", "read", "read_publish", "task_destination"]

#: The longest time that a client may give a call, in seconds.
MAX_TIMEOUT = 3600
#: Of a task's name: with ``twbridge.task.`` before it it is the name of a queue.
MAX_TASK_BYTES = 200

_Id = Annotated[str, Meta(max_length=255)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Tag = Annotated[int, Meta(ge=1, le=2**53)]
#: What a call may be named: the answers need it.
_CallId = Annotated[str, Meta(max_length=255)] | Annotated[int, Meta(ge=-(2**53), le=2**53)]
#: Of a call, in seconds.
_Timeout = Annotated[float, Meta(gt=0, le=MAX_TIMEOUT)] | None

#: ``null`` is as good as nothing.
_Prefetch = Annotated[int, Meta(ge=1, le=2**53)] | None


class _Frame(Struct, tag_field="op", forbid_unknown_fields=True, kw_only=True):
    id: _Id = None


class Subscribe(_Frame, tag="subscribe"):
    """Deliver what comes to a destination:

        {"op":"subscribe","id":"s1","destination":"/topic/chat.#"}
        {"op":"subscribe","destination":"/topic/cpu.*","overflow":"latest"}
        {"op":"subscribe","destination":"/queue/jobs","ack":"client","prefetch":10}
        {"op":"subscribe","destination":"/stream/log","from":"offset=42","overflow":"block"}

    ``overflow``: ``close``, ``drop-oldest``, ``latest`` or ``block``. ``from``: ``first``,
    ``last``, ``next``, ``offset=N`` or ``timestamp=SECONDS``.
    """

    destination: str
    ack: Literal["auto", "client"] = "auto"
    prefetch: _Prefetch = None
    start: str | None = field(default=None, name="from")
    overflow: commands.Overflow | None = None

    def command(self) -> Command:
        """What it asks for."""
        return commands.Subscribe(
            self.id,
            parse(self.destination),
            ack=self.ack,
            prefetch=self.prefetch,
            start=None if self.start is None else parse_start(self.start),
            overflow=self.overflow,
        )


class Unsubscribe(_Frame, tag="unsubscribe"):
    """Deliver it no longer: ``{"op":"unsubscribe","id":"u1","destination":"/topic/chat.#"}``."""

    destination: str

    def command(self) -> Command:
        """What it asks for."""
        return commands.Unsubscribe(self.id, parse(self.destination))


class _Properties(Struct, forbid_unknown_fields=True, omit_defaults=True):
    content_type: str | UnsetType = UNSET
    content_encoding: str | UnsetType = UNSET
    delivery_mode: int | UnsetType = UNSET
    priority: _Byte | UnsetType = UNSET
    correlation_id: str | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    expiration: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
    timestamp: _Seconds | UnsetType = UNSET
    type: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    app_id: str | UnsetType = UNSET


class Publish(_Frame, tag="publish"):
    """Publish a message:

    {"op":"publish","id":"p1","destination":"/topic/chat.a","body":{"any":"JSON"}}
    {"op":"publish","id":"p2","destination":"/queue/jobs","base64":"AAEC","mandatory":false,
     "headers":{"h":1},"properties":{"priority":5}}
    """

    destination: str
    body: Raw = Raw(b"")
    base64: bytes | UnsetType = UNSET
    headers: dict[str, Any] | UnsetType = UNSET
    properties: _Properties | UnsetType = UNSET
    mandatory: bool | None = None

    def command(self) -> Command:
        """What it asks for."""
        body, content_type = _body(self.body, self.base64, "publish")
        properties: dict[str, Any] = {"content_type": content_type}
        if self.properties is not UNSET:
            given = self.properties
            for name in given.__struct_fields__:
                value = getattr(given, name)
                if value is not UNSET:
                    properties[name] = value
        if self.headers is not UNSET and self.headers:
            properties["headers"] = self.headers
        destination = parse(self.destination)
        return commands.Publish(self.id, destination, body, properties, self.mandatory)


class Ack(_Frame, tag="ack"):
    """A message is done with: ``{"op":"ack","destination":"/queue/jobs","delivery_tag":7}``."""

    destination: str
    delivery_tag: _Tag

    def command(self) -> Command:
        """What it asks for."""
        return commands.Ack(self.id, parse(self.destination), self.delivery_tag)


class Nack(_Frame, tag="nack"):
    """A message goes back to its queue, or with ``"requeue":false`` away:

    {"op":"nack","destination":"/queue/jobs","delivery_tag":7,"requeue":false}
    """

    destination: str
    delivery_tag: _Tag
    requeue: bool = True

    def command(self) -> Command:
        """What it asks for."""
        return commands.Nack(self.id, parse(self.destination), self.delivery_tag, self.requeue)


class Call(_Frame, tag="call"):
    """Call a task; answered with any number of ``progress``, then a ``result`` or an ``error``:

    {"op":"call","id":"c1","task":"add","body":[1,2]}
    {"op":"call","id":"c2","task":"thumbnail","base64":"AAEC","timeout":2.5,"headers":{"h":1}}

    It is to end within ``timeout`` seconds, an hour at most. Without a body it is ``null``.
    """

    id: _CallId
    task: str
    body: Raw = Raw(b"")
    base64: bytes | UnsetType = UNSET
    timeout: _Timeout = None
    headers: dict[str, Any] | None = None

    def command(self) -> Command:
        """What it asks for."""
        given = self.base64 is not UNSET or bytes(self.body)
        body, content_type = _body(self.body if given else _NULL, self.base64, "call")
        task = task_destination(self.task)
        return commands.Call(self.id, task, body, content_type, self.timeout, self.headers)


class Cancel(_Frame, tag="cancel"):
    """End the call of that id, at its worker too: ``{"op":"cancel","id":"c1"}``."""

    id: _CallId

    def command(self) -> Command:
        """What it asks for."""
        return commands.Cancel(self.id)


class Ping(_Frame, tag="ping"):
    """Answer with a pong: ``{"op":"ping","id":"1"}``."""

    def command(self) -> Command:
        """What it asks for."""
        return commands.Ping(self.id)


_Request: TypeAlias = Subscribe | Unsubscribe | Publish | Ack | Nack | Call | Cancel | Ping


class _Probe(Struct):
    """What is looked at in a frame that could not be read."""

    id: Any = None
    op: Any = None


_OPERATIONS = ("subscribe", "unsubscribe", "publish", "ack", "nack", "call", "cancel", "ping")
_read_request = msgspec.json.Decoder(_Request).decode
_read_publish = msgspec.json.Decoder(Publish).decode
_read_probe = msgspec.json.Decoder(_Probe).decode
_read_string = msgspec.json.Decoder(str).decode

_NULL = Raw(b"null")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(payload: bytes) -> Command:
    """Read one frame. A fault of one that is an object is a command that says so.

    Raises:
        BadFrame: it isn't even a JSON object.
    """
    return _read(_read_request, payload)


def read_publish(payload: bytes) -> commands.Publish | commands.Invalid:
    """Read a publish alone, in which ``op`` may be left out.

    Raises:
        BadFrame: it isn't even a JSON object.
    """
    command = _read(_read_publish, payload, "body")
    assert isinstance(command, commands.Publish | commands.Invalid)
    return command


def task_destination(name: str) -> Destination:
    """The address of a task, by its name.

    Raises:
        BadDestination: no task can have that name.
    """
    if not 1 <= len(name.encode()) <= MAX_TASK_BYTES or _CONTROL.search(name):
        raise BadDestination(
            f"The name of a task has 1 to {MAX_TASK_BYTES} bytes and no control characters."
        )
    return Destination("task", name)


def _body(body: Raw, base64: bytes | UnsetType, what: str) -> tuple[bytes, str]:
    """The body as it is sent, and its content type."""
    raw = bytes(body)
    if base64 is not UNSET:
        if raw:
            raise BadFrame(f"A {what} has a body or a base64, not both.")
        return base64, "application/octet-stream"
    if not raw:
        raise BadFrame(f"A {what} needs a body or a base64.")
    if raw.startswith(b'"'):
        return _read_string(raw).encode(), "text/plain; charset=utf-8"
    return raw, "application/json"


def _read(decode: Callable[[bytes], _Request], payload: bytes, what: str = "frame") -> Command:
    try:
        if not payload.isascii():
            payload.decode()
        request = decode(payload)
    except _UNREADABLE as error:
        return _invalid(payload, error, what)
    try:
        return request.command()
    except TwbridgeError as error:
        return commands.Invalid(request.id, error)


def _invalid(payload: bytes, error: Exception, what: str) -> commands.Invalid:
    """What to say of a frame (or a body) that could not be read."""
    try:
        probe = _read_probe(payload)
    except _UNREADABLE:
        raise BadFrame(f"The {what} is not a JSON object in UTF-8.") from None
    try:
        identity: commands.Id = msgspec.convert(probe.id, _Id)
    except msgspec.ValidationError:
        identity = None
    if isinstance(probe.op, str) and probe.op not in _OPERATIONS:
        return commands.Invalid(identity, UnknownOperation(f"There is no op {probe.op[:40]!r}."))
    if isinstance(error, UnicodeDecodeError):
        return commands.Invalid(identity, BadFrame(f"The {what} is not UTF-8."))
    return commands.Invalid(identity, BadFrame(f"The {what} can't be read: {error}."))
