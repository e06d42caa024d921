"""What callers and workers tell each other, as AMQP messages (sans-I/O).

A request goes to the task's queue; its answers, to the caller's. Any bytes and any headers that
come from outside are read as one of the messages below, or refused with one sentence.

======== ============================================================================
request  key ``twbridge.task.<name>``, ``correlation_id`` the call's id, ``reply_to``;
         headers: the user's own, ``twbridge-caller``, ``twbridge-timeout`` (ms),
         ``twbridge-elsewhere`` (true: the user chose the queue of the answers)
reply    ``correlation_id``; headers ``twbridge-reply`` (accepted, progress, result or
         error), ``twbridge-worker``, and what belongs to each
control  header ``twbridge-control`` (cancel or inspect); of a cancel ``twbridge-caller``
         and ``twbridge-reason`` (cancelled or deadline)
======== ============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard, cast

import msgspec
from msgspec import Struct

from twbridge.errors import BadMessage, BadReply, BadRequest, EncodeError, FrameError
from twbridge.rpc.bodies import body_of, body_properties
from twbridge.rpc.kinds import (
    FAILURES,
    REASONS,
    Accepted,
    Cancel,
    CancelReason,
    Control,
    DeadLetter,
    Failed,
    FailureKind,
    Inspect,
    Progress,
    Reply,
    Request,
    Result,
)
from twbridge.rpc.names import (
    DLX,
    MAX_TIMEOUT,
    PUBSUB,
    WORKERS,
    check_channel,
    check_headers,
    check_task_name,
    check_timeout,
    dead_queue,
    is_reserved,
    task_name,
    task_queue,
)
from twbridge.rpc.serializers import JSON
from twbridge.wire import Delivery

__all__ = [
    "DLX",
    "FAILURES",
    "MAX_TIMEOUT",
    "PUBSUB",
    "WORKERS",
    "Accepted",
    "Cancel",
    "CancelReason",
    "Control",
    "DeadLetter",
    "Failed",
    "FailureKind",
    "Inspect",
    "Progress",
    "Reply",
    "Request",
    "Result",
    "check_channel",
    "check_headers",
    "check_task_name",
    "check_timeout",
    "control_properties",
    "dead_queue",
    "read_control",
    "read_reply",
    "read_request",
    "reply_properties",
    "request_properties",
    "task_name",
    "task_queue",
]

#: Characters of the text and of the traceback of a failure; the rest is left out.
MAX_TEXT: Final = 65_536

#: Priorities of callers are 0 to this.
MAX_PRIORITY: Final = 255
#: Priorities of the queues are 0 to this: a level costs memory at the broker.
_LEVELS: Final = 10


def request_properties(request: Request) -> dict[str, Any]:
    """The properties that a request is published with; its body is ``request.body.data``.

    Raises:
        EncodeError: a header that is not the user's, or a priority or time that can't be.
    """
    check_headers(request.headers)
    if not isinstance(request.priority, int) or not 0 <= request.priority <= MAX_PRIORITY:
        raise EncodeError(f"the priority is a whole number from 0 to {MAX_PRIORITY}")
    headers = {**request.headers, "twbridge-caller": request.caller}
    properties = {
        **body_properties(request.body),
        "correlation_id": request.id,
        "priority": round(request.priority * _LEVELS / MAX_PRIORITY),
        "delivery_mode": 2 if request.persistent else 1,
        "headers": headers,
    }
    if request.reply_to is not None:
        properties["reply_to"] = request.reply_to
    if request.elsewhere:
        headers["twbridge-elsewhere"] = True
    if request.timeout is not None:
        check_timeout(request.timeout)
        left = math.ceil(request.timeout * 1000)
        headers["twbridge-timeout"] = left
        properties["expiration"] = str(left)
    return properties


def read_request(delivery: Delivery, task: str | None = None) -> Request:
    """Read what came to a task's queue.

    Args:
        task: whose queue that is; None: the routing key says it, which may be any.

    Raises:
        BadRequest: it is no request; the text says why.
    """
    properties, headers = _opened(delivery, BadRequest)
    name = task_name(delivery.routing_key) if task is None else task
    if name is None:
        raise BadRequest("a request goes to the queue of a task")
    identity = _word(properties, "correlation_id") or _word(properties, "message_id")
    if not identity:
        raise BadRequest("a request needs a correlation_id")
    level = min(properties.get("priority", 0), _LEVELS)
    return Request(
        identity,
        name,
        _text(headers, "twbridge-caller", BadRequest, ""),
        body_of(delivery),
        _word(properties, "reply_to") or None,
        _own(headers),
        round(level * MAX_PRIORITY / _LEVELS),
        _timeout(headers),
        properties.get("delivery_mode") == 2,
        headers.get("twbridge-elsewhere") is True,
    )


def reply_properties(reply: Accepted | Progress | Result | Failed) -> tuple[dict[str, Any], bytes]:
    """The properties and the body that a reply is published with.

    Raises:
        EncodeError: the task set a header that is not its own.
    """
    headers: dict[str, Any] = {"twbridge-worker": reply.worker}
    properties: dict[str, Any] = {"correlation_id": reply.id, "delivery_mode": 1}
    properties["headers"] = headers
    if isinstance(reply, Result):
        if reply.headers:
            check_headers(reply.headers)
            headers.update(reply.headers)
        headers["twbridge-reply"] = "result"
        return properties | body_properties(reply.body), reply.body.data
    if isinstance(reply, Progress):
        headers["twbridge-reply"] = "progress"
        headers["twbridge-number"] = reply.number
        return properties | body_properties(reply.body), reply.body.data
    if isinstance(reply, Accepted):
        headers["twbridge-reply"] = "accepted"
        return properties | {"reply_to": reply.control}, b""
    headers["twbridge-reply"] = "error"
    headers["twbridge-error"] = reply.kind
    return properties | {"content_type": JSON}, _failure_body(reply)


def read_reply(delivery: Delivery) -> Reply:
    """Read what came to a caller's queue.

    Raises:
        BadReply: it is no answer; the text says why.
    """
    properties, headers = _opened(delivery, BadReply)
    identity = _word(properties, "correlation_id")
    if not identity:
        raise BadReply("a reply needs a correlation_id")
    if "x-first-death-reason" in headers:
        return DeadLetter(identity, _text(headers, "x-first-death-reason", BadReply))
    kind = headers.get("twbridge-reply")
    worker = _text(headers, "twbridge-worker", BadReply, "")
    if kind == "result":
        return Result(identity, worker, body_of(delivery), _own(headers))
    if kind == "progress":
        number = headers.get("twbridge-number")
        if not _is_whole(number) or number < 1:
            raise BadReply("twbridge-number is a whole number from 1")
        return Progress(identity, worker, number, body_of(delivery))
    if kind == "accepted":
        control = _word(properties, "reply_to")
        if not control:
            raise BadReply("an acceptance needs a reply_to")
        return Accepted(identity, worker, control)
    if kind == "error":
        return _failure(identity, worker, headers, delivery.body)
    raise BadReply("twbridge-reply is accepted, progress, result or error")


def control_properties(control: Control) -> dict[str, Any]:
    """The properties that a word to a worker is published with; its body is empty."""
    properties: dict[str, Any] = {"correlation_id": control.id, "delivery_mode": 1}
    if isinstance(control, Cancel):
        headers = {
            "twbridge-control": "cancel",
            "twbridge-caller": control.caller,
            "twbridge-reason": control.reason,
        }
        return properties | {"headers": headers}
    return properties | {"reply_to": control.reply_to, "headers": {"twbridge-control": "inspect"}}


def read_control(delivery: Delivery) -> Control:
    """Read what came to a worker's control queue.

    Raises:
        BadRequest: it is no word to a worker; the text says why.
    """
    properties, headers = _opened(delivery, BadRequest)
    identity = _word(properties, "correlation_id")
    if not identity:
        raise BadRequest("a word to a worker needs a correlation_id")
    kind = headers.get("twbridge-control")
    if kind == "cancel":
        caller = _text(headers, "twbridge-caller", BadRequest, "")
        if not caller:
            raise BadRequest("a cancel says whose call it is, in twbridge-caller")
        reason = headers.get("twbridge-reason", "cancelled")
        if not isinstance(reason, str) or reason not in REASONS:
            raise BadRequest("twbridge-reason is cancelled or deadline")
        return Cancel(identity, caller, cast(CancelReason, reason))
    if kind == "inspect":
        reply_to = _word(properties, "reply_to")
        if not reply_to:
            raise BadRequest("an inspection needs a reply_to")
        return Inspect(identity, reply_to)
    raise BadRequest("twbridge-control is cancel or inspect")


class _Failure(Struct, omit_defaults=True):
    """The body of an error."""

    type: str
    message: str
    traceback: str | None = None
    public: bool = False


_encode_json = msgspec.json.Encoder().encode
_decode_failure = msgspec.json.Decoder(_Failure).decode


def _failure_body(failed: Failed) -> bytes:
    traceback = failed.traceback
    return _encode_json(
        _Failure(
            _valid(failed.type[:MAX_TEXT]),
            _valid(failed.message[:MAX_TEXT]),
            # What happened last stands at its end.
            None if traceback is None else _valid(traceback[-MAX_TEXT:]),
            failed.public,
        )
    )


def _failure(identity: str, worker: str, headers: Mapping[str, Any], data: bytes) -> Failed:
    kind = headers.get("twbridge-error")
    if not isinstance(kind, str) or kind not in FAILURES:
        raise BadReply("twbridge-error is failed, timeout, cancelled, lost or bad_request")
    try:
        found = _decode_failure(data)
    except (ValueError, RecursionError):
        raise BadReply("the body of an error is a JSON object with type and message") from None
    return Failed(
        identity,
        worker,
        cast(FailureKind, kind),
        found.type,
        found.message,
        found.traceback,
        found.public,
    )


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _opened(
    delivery: Delivery, refusal: type[BadMessage]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        properties = delivery.properties
    except FrameError as error:
        raise refusal(f"the properties are malformed: {error}") from None
    return properties, properties.get("headers", {})


def _word(properties: Mapping[str, Any], name: str) -> str:
    """A property that goes back as it came; what was no UTF-8 can't, and then it is as absent."""
    found: str = properties.get(name, "")
    return found if len(found) <= 63 or len(found.encode()) <= 255 else ""


def _text(
    headers: Mapping[str, Any], name: str, refusal: type[BadMessage], default: str | None = None
) -> str:
    value = headers.get(name, default)
    if not isinstance(value, str):
        raise refusal(f"{name} is a string")
    return value


def _timeout(headers: Mapping[str, Any]) -> float | None:
    left = headers.get("twbridge-timeout")
    if left is None:
        return None
    if not _is_whole(left) or not 0 <= left <= MAX_TIMEOUT * 1000:
        raise BadRequest("twbridge-timeout is a whole number of milliseconds, of 49 days at most")
    return left / 1000


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _own(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: headers[name] for name in headers if not is_reserved(name)} if headers else {}
