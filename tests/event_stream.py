"""A reader of server-sent events, by the letter of the specification.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_LINE = re.compile(r"(.*?)(?:\r\n|\n|\r)", re.DOTALL)


class Event(NamedTuple):
    """What an EventSource dispatches."""

    type: str
    data: str
    last_event_id: str

    @property
    def json(self) -> Any:
        """The data, parsed."""
        return json.loads(self.data)


class EventReader:
    """Takes a stream in any pieces.

    Attributes:
        events: those dispatched so far.
        retry: the reconnection time in milliseconds, if the stream has set it.
        comments: how many there were.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.retry: int | None = None
        self.comments = 0
        self.last_event_id = ""
        self._bytes = b""
        self._type = ""
        self._data: list[str] = []
        self._id = ""
        self._begun = False

    def receive(self, data: bytes) -> list[Event]:
        """Takes bytes; returns the events that they complete."""
        seen = len(self.events)
        self._bytes += data
        # A CR at the end may be half of a CRLF, and a character may be cut in two.
        whole = max(self._bytes.rfind(b"\n"), self._bytes.rfind(b"\r", 0, -1)) + 1
        text, self._bytes = self._bytes[:whole].decode("utf-8", "replace"), self._bytes[whole:]
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        for match in _LINE.finditer(text):
            self._line(match[1])
        return self.events[seen:]

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(":"):
            self.comments += 1
        else:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append(Event(self._type or "message", "\n".join(self._data), self._id))
        self._data, self._type = [], ""
