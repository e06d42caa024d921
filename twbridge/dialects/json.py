"""``v1.twbridge.json``: one JSON object in each text frame, named by its ``op``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from zope.interface import implementer

from twbridge import __version__, commands
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Close, Encoder, ICodec, IDialect, Route
from twbridge.errors import BadFrame, TwbridgeError, UnknownOperation
from twbridge.frames import text_frame
from twbridge.wire import Delivery

__all__ = ["JsonDialect"]

SUBPROTOCOL = "v1.twbridge.json"

# -- what a client may send. Whole numbers beyond 2**53 are not the same number in a browser.

_Id = Annotated[str, Meta(max_length=255)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Frame(Struct, tag_field="op", forbid_unknown_fields=True, kw_only=True):
    id: _Id = None


class _Subscribe(_Frame, tag="subscribe"):
    destination: str
    # The values that live subscriptions have anyway; others are refused, never ignored.
    ack: Literal["auto"] = "auto"
    overflow: Literal["close"] = "close"


class _Unsubscribe(_Frame, tag="unsubscribe"):
    destination: str


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


class _Publish(_Frame, tag="publish"):
    destination: str
    body: Raw = Raw(b"")
    base64: bytes | UnsetType = UNSET
    headers: dict[str, Any] | UnsetType = UNSET
    properties: _Properties | UnsetType = UNSET
    mandatory: bool | None = None


class _Ping(_Frame, tag="ping"):
    pass


class _Probe(Struct):
    """What is looked at in a frame that could not be read."""

    id: Any = None
    op: Any = None


_OPERATIONS = ("subscribe", "unsubscribe", "publish", "ping")
_read_frame = msgspec.json.Decoder(_Subscribe | _Unsubscribe | _Publish | _Ping).decode
_read_probe = msgspec.json.Decoder(_Probe).decode
_read_string = msgspec.json.Decoder(str).decode
_check_json = msgspec.json.Decoder(Raw).decode
_write = msgspec.json.Encoder().encode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# -- messages


class _Message(Struct, tag_field="op", tag="message", omit_defaults=True):
    destination: str
    routing_key: str
    headers: dict[str, Any] | Raw
    properties: dict[str, Any] | Raw
    body: Raw | str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
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


class _JsonEncoder:
    """Messages into text frames: ``{"op":"message",...}``."""

    __slots__ = ()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """One frame with the body as JSON, as a string or as base64, as its content type says."""
        properties: dict[str, Any] = dict(delivery.properties)
        headers = properties.pop("headers", {})
        message = _Message(str(destination), delivery.routing_key, headers, properties)
        if delivery.redelivered:
            message.redelivered = True
        body = delivery.body
        kind = _kind_of(properties.get("content_type", ""))
        if kind == "bytes":
            message.base64 = body
        else:
            try:
                text = body.decode()
                message.body = _check_json(body) if kind == "json" else text
            except UnicodeDecodeError:
                message.base64 = body
            except (msgspec.DecodeError, RecursionError):
                message.body = text
        return text_frame(_write(message))


_ENCODER = _JsonEncoder()


# -- the dialect


@implementer(IDialect, ICodec)
class JsonDialect:
    """The JSON dialect. It keeps nothing of a session, so it is every session's codec."""

    def __init__(self) -> None:
        self.subprotocol: str | None = SUBPROTOCOL
        self.encoder: Encoder = _ENCODER

    def codec(self, route: Route) -> ICodec:
        """Itself."""
        return self

    def opening(self) -> Sequence[commands.Command]:
        """Nothing: the client says what it wants."""
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[commands.Command]:
        """Read one object. A fault of one that has an id is a command that says so."""
        if binary:
            raise BadFrame("This dialect takes text frames only.")
        try:
            if not payload.isascii():
                payload.decode()
            frame = _read_frame(payload)
        except _UNREADABLE as error:
            return (_invalid(payload, error),)
        try:
            return (_COMMANDS[type(frame)](frame),)
        except TwbridgeError as error:
            return (commands.Invalid(frame.id, error),)

    def encode(self, event: commands.Event) -> tuple[bytes, bool] | None:
        """One object."""
        return _write(_EVENTS[type(event)](event)), False

    def closing(self, event: commands.Event) -> Close | None:
        """Never: a refusal is an ``error`` and the session lives on."""
        return None


def _invalid(payload: bytes, error: Exception) -> commands.Invalid:
    """What to say of a frame that could not be read.

    Raises:
        BadFrame: it isn't even a JSON object.
    """
    try:
        probe = _read_probe(payload)
    except _UNREADABLE:
        raise BadFrame("The frame is not a JSON object in UTF-8.") from None
    try:
        identity: commands.Id = msgspec.convert(probe.id, _Id)
    except msgspec.ValidationError:
        identity = None
    if isinstance(probe.op, str) and probe.op not in _OPERATIONS:
        return commands.Invalid(identity, UnknownOperation(f"There is no op {probe.op[:40]!r}."))
    if isinstance(error, UnicodeDecodeError):
        return commands.Invalid(identity, BadFrame("The frame is not UTF-8."))
    return commands.Invalid(identity, BadFrame(f"The frame can't be read: {error}."))


# -- frames into commands


def _subscribe(frame: _Subscribe) -> commands.Command:
    return commands.Subscribe(frame.id, parse(frame.destination))


def _unsubscribe(frame: _Unsubscribe) -> commands.Command:
    return commands.Unsubscribe(frame.id, parse(frame.destination))


def _publish(frame: _Publish) -> commands.Command:
    body, content_type = _body(frame)
    properties: dict[str, Any] = {"content_type": content_type}
    if frame.properties is not UNSET:
        given = frame.properties
        for name in given.__struct_fields__:
            value = getattr(given, name)
            if value is not UNSET:
                properties[name] = value
    if frame.headers is not UNSET and frame.headers:
        properties["headers"] = frame.headers
    destination = parse(frame.destination)
    return commands.Publish(frame.id, destination, body, properties, frame.mandatory)


def _body(frame: _Publish) -> tuple[bytes, str]:
    """The body as it is published, and its content type."""
    raw = bytes(frame.body)
    if frame.base64 is not UNSET:
        if raw:
            raise BadFrame("A publish has a body or a base64, not both.")
        return frame.base64, "application/octet-stream"
    if not raw:
        raise BadFrame("A publish needs a body or a base64.")
    if raw.startswith(b'"'):
        return _read_string(raw).encode(), "text/plain; charset=utf-8"
    return raw, "application/json"


def _ping(frame: _Ping) -> commands.Command:
    return commands.Ping(frame.id)


_COMMANDS: dict[type, Callable[[Any], commands.Command]] = {
    _Subscribe: _subscribe,
    _Unsubscribe: _unsubscribe,
    _Publish: _publish,
    _Ping: _ping,
}


# -- events into frames


def _answer(operation: str, event: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"op": operation}
    if event.id is not None:
        answer["id"] = event.id
    return answer


def _welcome(event: commands.Welcome) -> dict[str, Any]:
    return {
        "op": "welcome",
        "session": event.session,
        "instance": event.instance,
        "server": f"twbridge/{__version__}",
        "heartbeat": int(event.heartbeat) if event.heartbeat.is_integer() else event.heartbeat,
        "user": event.user,
    }


def _subscribed(event: commands.Subscribed) -> dict[str, Any]:
    return _answer("subscribed", event) | {"destination": str(event.destination)}


def _unsubscribed(event: commands.Unsubscribed) -> dict[str, Any]:
    answer = _answer("unsubscribed", event) | {"destination": str(event.destination)}
    if event.reason is not None:
        answer["reason"] = event.reason
    return answer


def _refused(event: commands.Refused) -> dict[str, Any]:
    error = event.error
    return _answer("error", event) | {"code": error.code, "message": error.public}


def _link_changed(event: commands.LinkChanged) -> dict[str, Any]:
    return {"op": "link", "state": "up" if event.up else "down"}


_EVENTS: dict[type, Callable[[Any], dict[str, Any]]] = {
    commands.Welcome: _welcome,
    commands.Subscribed: _subscribed,
    commands.Unsubscribed: _unsubscribed,
    commands.Published: lambda event: _answer("published", event),
    commands.Refused: _refused,
    commands.LinkChanged: _link_changed,
    commands.Gap: lambda event: {"op": "gap", "destination": str(event.destination)},
    commands.Pong: lambda event: _answer("pong", event),
}
