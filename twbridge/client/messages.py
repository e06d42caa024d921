"""A message, as a subscriber gets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from twbridge.client.frames import Frame, content

__all__ = ["Message"]

Settle = Callable[["Message", str, bool | None], bool]


class Message:
    """A message.

    Attributes:
        frame: the frame of the bridge as it came, in JSON.
        asked: the request to which it belongs; for the client.
        settled: it was acknowledged or given back, or need not be.
    """

    __slots__ = ("_body", "_frame", "_settle", "asked", "frame", "settled")

    def __init__(self, frame: Frame, payload: bytes, asked: int, settle: Settle) -> None:
        self._frame = frame
        self._settle = settle
        self._body: Any = UNSET
        self.frame = payload
        self.asked = asked
        self.settled = frame.delivery_tag is None

    def __repr__(self) -> str:
        return f"<Message {self.destination} {self.routing_key!r} {self.data[:40]!r}>"

    @property
    def destination(self) -> str:
        """The destination of the subscription, as it was written."""
        return self._frame.destination

    @property
    def routing_key(self) -> str:
        """The key that it was published with."""
        return self._frame.routing_key

    @property
    def headers(self) -> dict[str, Any]:
        """AMQP's headers."""
        return self._frame.headers

    @property
    def properties(self) -> dict[str, Any]:
        """AMQP's properties, by name; those that it has."""
        return self._frame.properties

    @property
    def offset(self) -> int | None:
        """Where it is in its stream."""
        return self._frame.offset

    @property
    def delivery_tag(self) -> int | None:
        """What its acknowledgement names, where one is expected."""
        return self._frame.delivery_tag

    @property
    def redelivered(self) -> bool:
        """Somebody may have had it before."""
        return self._frame.redelivered

    @property
    def body(self) -> Any:
        """The value of a JSON body, str for text, bytes for anything else."""
        if self._body is UNSET:
            self._body = content(self._frame)
        return self._body

    @property
    def is_json(self) -> bool:
        """Its content type is one of JSON."""
        kind = str(self.properties.get("content_type", "")).partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")

    @property
    def data(self) -> bytes:
        """The bytes of the body."""
        frame = self._frame
        if not isinstance(frame.body, msgspec.Raw):
            return b"" if frame.base64 is UNSET else frame.base64
        body = self.body
        return body.encode() if isinstance(body, str) and not self.is_json else bytes(frame.body)

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.data.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body as JSON, whatever its content type says.

        Raises:
            ValueError: it is not JSON.
        """
        return self.body if self.is_json else json.loads(self.data)

    @property
    def line(self) -> str:
        """The frame of the bridge on one line."""
        return msgspec.json.format(self.frame, indent=-1).decode()

    def ack(self) -> bool:
        """It is dealt with; whether that was sent.

        The first answer to a message counts. None is sent for a message of a connection that is
        gone, or of a subscription that has ended: the broker delivers it again.
        """
        return self._answer("ack", None)

    def nack(self, *, requeue: bool = True) -> bool:
        """Give it back to its queue, or drop it (to the dead letters, where the queue has any)."""
        return self._answer("nack", requeue)

    def _answer(self, op: str, requeue: bool | None) -> bool:
        if self.settled:
            return False
        self.settled = True
        return self._settle(self, op, requeue)
