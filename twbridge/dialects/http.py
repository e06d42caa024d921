"""One publish in one HTTP request, and what errors are over HTTP (sans-I/O).

The objects are those of the JSON dialect, so that one reader serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zope.interface import implementer

from twbridge.commands import Command, Event, Invalid, Publish, Published, Refused
from twbridge.dialects.interfaces import Close, Codec, Encoder, ICodec
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.json.answers import write
from twbridge.errors import BadFrame, TwbridgeError

__all__ = ["PublishCodec", "error_body", "status_of"]

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


def status_of(error: TwbridgeError) -> int:
    """The status that tells of an error."""
    return _STATUS.get(error.code, 500)


def error_body(error: TwbridgeError) -> bytes:
    """The object that tells of an error: ``{"op":"error","code":...,"message":...}``."""
    return write(Refused(None, error))


@implementer(ICodec)
class PublishCodec(Codec):
    """A session that publishes once, and is closed with the answer.

    Args:
        command: the publish, or why it is none.
    """

    __slots__ = ("_command", "encoder", "status")

    def __init__(self, command: Publish | Invalid) -> None:
        self.encoder: Encoder = _ENCODER
        self._command = command
        #: That of the answer, once there is one.
        self.status = 500

    def opening(self) -> Sequence[Command]:
        """The publish."""
        return (self._command,)

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Nothing more is said.

        Raises:
            BadFrame: always.
        """
        raise BadFrame("A request has one body.")

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """The answer; nothing else is told."""
        if isinstance(event, Published):
            self.status = 200
        elif isinstance(event, Refused):
            self.status = status_of(event.error)
        else:
            return None
        return write(event), False

    def closing(self, event: Event) -> Close | None:
        """After the answer."""
        return Close(1000, "") if isinstance(event, Published | Refused) else None
