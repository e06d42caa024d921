"""One command in one HTTP request, and what errors are over HTTP (sans-I/O).

The objects are those of the JSON dialect, so that one reader serves both.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from zope.interface import implementer

from twbridge.commands import Call, Command, Event, Invalid, Publish, Published, Refused, Result
from twbridge.dialects.interfaces import Close, Codec, Encoder, ICodec
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.json.answers import write
from twbridge.errors import BadFrame, TwbridgeError

__all__ = [
    "JSON",
    "CallCodec",
    "PublishCodec",
    "RequestCodec",
    "call_status_of",
    "content_type_field",
    "error_body",
    "status_of",
]

#: The content type of answers that the bridge writes itself.
JSON: Final = "application/json"

#: What a task says that its result is may stand in a header field (RFC 9110, section 5.5).
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_ENCODER: Final = JsonDialect().encoder

#: By the error's code. The broker's "no" is 503: the same request may be taken later. 504: nobody
#: knows whether it was.
_STATUS: Final = {
    "bad_frame": 422,
    "bad_destination": 422,
    "unknown_op": 422,
    "too_many": 422,
    "too_large": 413,
    "unauthenticated": 401,
    "token_expired": 401,
    "forbidden": 403,
    "not_found": 404,
    "unroutable": 404,
    "conflict": 409,
    "rate_limited": 429,
    "not_ready": 503,
    "nacked": 503,
    "unknown": 504,
    "timeout": 504,
}
#: Of a call, where it is another one: 504 is its deadline, and 503 that nobody is there to answer.
_CALL_STATUS: Final = _STATUS | {
    "worker_error": 422,
    "too_many": 503,
    "unknown": 503,
    "cancelled": 503,
    "call_expired": 504,
}


def status_of(error: TwbridgeError) -> int:
    """The status that tells of an error."""
    return _STATUS.get(error.code, 500)


def call_status_of(error: TwbridgeError) -> int:
    """The status that tells of an error of a call."""
    return _CALL_STATUS.get(error.code, 500)


def error_body(error: TwbridgeError) -> bytes:
    """The object that tells of an error: ``{"op":"error","code":...,"message":...}``."""
    return write(Refused(None, error))


@implementer(ICodec)
class RequestCodec(Codec, ABC):
    """A session of one command, which is closed with the answer.

    Args:
        command: the command, or why it is none.

    Attributes:
        status: of the answer, once there is one.
        content_type: of its body.
    """

    __slots__ = ("_command", "content_type", "encoder", "status")

    def __init__(self, command: Command) -> None:
        self.encoder: Encoder = _ENCODER
        self._command = command
        self.status = 500
        self.content_type = JSON

    def opening(self) -> Sequence[Command]:
        """The command."""
        return (self._command,)

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Nothing more is said.

        Raises:
            BadFrame: always.
        """
        raise BadFrame("A request has one body.")

    @abstractmethod
    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """The answer; nothing else is told."""

    def closing(self, event: Event) -> Close | None:
        """After the answer."""
        return Close(1000, "") if isinstance(event, Published | Result | Refused) else None


class PublishCodec(RequestCodec):
    """A session that publishes once."""

    __slots__ = ()

    def __init__(self, command: Publish | Invalid) -> None:
        super().__init__(command)

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """The answer; nothing else is told."""
        if isinstance(event, Published):
            self.status = 200
        elif isinstance(event, Refused):
            self.status = status_of(event.error)
        else:
            return None
        return write(event), False


class CallCodec(RequestCodec):
    """A session that calls once. Of its progress nothing is told."""

    __slots__ = ()

    def __init__(self, command: Call) -> None:
        super().__init__(command)

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """What the task gave, as it gave it, or the error."""
        if isinstance(event, Result):
            self.status, self.content_type = 200, content_type_field(event.content_type)
            return event.body, True
        if isinstance(event, Refused):
            self.status = call_status_of(event.error)
            # The id of the call is the bridge's own.
            return write(Refused(None, event.error, event.operation, event.destination)), False
        return None


def content_type_field(content_type: str) -> str:
    """A content type as it may stand in a header: one that may not is that of any bytes."""
    return content_type if _VALUE.fullmatch(content_type) else "application/octet-stream"
