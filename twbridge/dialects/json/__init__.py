"""``v1.twbridge.json``: one JSON object in each text frame, named by its ``op``."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from twbridge.commands import Acknowledged, Command, Connected, Disconnected, Event
from twbridge.dialects.interfaces import Close, Codec, Encoder, ICodec, IDialect, Route
from twbridge.dialects.json import answers, requests
from twbridge.dialects.json.messages import ENCODER, write_message
from twbridge.dialects.json.requests import MAX_TIMEOUT, read_publish, task_destination
from twbridge.errors import BadFrame

__all__ = ["MAX_TIMEOUT", "JsonDialect", "read_publish", "task_destination", "write_message"]

SUBPROTOCOL = "v1.twbridge.json"

#: Who acknowledges is told of errors only, and nobody logs in.
_UNTOLD = (Acknowledged, Connected, Disconnected)


@implementer(IDialect, ICodec)
class JsonDialect(Codec):
    """The JSON dialect. It keeps nothing of a session, so it is every session's codec."""

    def __init__(self) -> None:
        self.subprotocol: str | None = SUBPROTOCOL
        self.encoder: Encoder = ENCODER

    def codec(self, route: Route) -> ICodec:
        """Itself."""
        return self

    def opening(self) -> Sequence[Command]:
        """Nothing: the client says what it wants."""
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Read one object. A fault of one that has an id is a command that says so."""
        if binary:
            raise BadFrame("This dialect takes text frames only.")
        return (requests.read(payload),)

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """One object."""
        return None if isinstance(event, _UNTOLD) else (answers.write(event), False)

    def closing(self, event: Event) -> Close | None:
        """Never: a refusal is an ``error`` and the session lives on."""
        return None
