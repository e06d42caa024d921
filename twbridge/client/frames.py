"""The frames of ``v1.twbridge.json``, as a client writes and reads them (sans-I/O)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field
from twisted.logger import Logger

from twbridge.errors import BadFrame

__all__ = ["PING", "Frame", "call_frame", "content", "publish", "read", "request"]

_log = Logger()

PING = b'{"op":"ping"}'


class Frame(Struct):
    """What the bridge may send, all kinds in one; what a kind lacks has its default."""

    op: str
    id: str | int | None = None
    destination: str = ""
    # error, unsubscribed
    code: str = "internal"
    message: str = ""
    reason: str = ""
    # welcome
    session: str = ""
    heartbeat: float = 25.0
    limit: int | None = None
    # link
    state: str = ""
    # dropped
    count: int = 0
    # gap
    first: int | None = field(default=None, name="from")
    resumed: int | None = field(default=None, name="to")
    # drain
    reconnect_after: float = 0.0
    # message
    routing_key: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    body: Raw | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    offset: int | None = None
    delivery_tag: int | None = None
    redelivered: bool = False


_read = msgspec.json.Decoder(Frame).decode
_write = msgspec.json.Encoder().encode


def read(payload: bytes) -> Frame | None:
    """Reads a frame. None: it is not one, and the log says so."""
    try:
        return _read(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _log.warn("The bridge sent what is no frame: {start}", start=payload[:80])
        return None


def request(op: str, **fields: Any) -> bytes:
    """A frame with the fields that are not None."""
    return _write({"op": op} | {name: value for name, value in fields.items() if value is not None})


def publish(
    identity: str,
    destination: str,
    body: Any,
    headers: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    mandatory: bool | None,
) -> bytes:
    """A ``publish``: bytes are sent as bytes, anything else as the JSON that it is.

    Raises:
        BadFrame: the body, the headers or the properties are not JSON.
    """
    fields: dict[str, Any] = {"op": "publish", "id": identity, "destination": destination}
    fields |= _content(body, headers)
    if properties:
        fields["properties"] = _json("properties", dict(properties))
    if mandatory is not None:
        fields["mandatory"] = mandatory
    try:
        return _write(fields)
    except UnicodeEncodeError:
        raise BadFrame("The destination or the id has a character that is not Unicode.") from None


def call_frame(
    identity: str, task: str, body: Any, headers: Mapping[str, Any] | None, timeout: float
) -> bytes:
    """A ``call``: bytes are sent as bytes, anything else as the JSON that it is.

    Raises:
        BadFrame: the body or the headers are not JSON.
    """
    fields = {"op": "call", "id": identity, "task": task, "timeout": timeout}
    try:
        return _write(fields | _content(body, headers))
    except UnicodeEncodeError:
        raise BadFrame("The task's name has a character that is not Unicode.") from None


def content(frame: Frame) -> Any:
    """The body of a frame: the value of JSON, or bytes."""
    if isinstance(frame.body, Raw):
        return json.loads(bytes(frame.body))
    return b"" if frame.base64 is UNSET else frame.base64


def _content(body: Any, headers: Mapping[str, Any] | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if isinstance(body, bytes | bytearray | memoryview):
        fields["base64"] = bytes(body)
    else:
        fields["body"] = _json("body", body)
    if headers:
        fields["headers"] = _json("headers", dict(headers))
    return fields


def _json(what: str, value: Any) -> Raw:
    # Not msgspec: it makes null of a number that JSON does not have.
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return Raw(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadFrame(f"The {what} can't be written as JSON: {error}.") from None
