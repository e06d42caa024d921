"""The arguments of a queue that a SUBSCRIBE or a SEND may name, checked (pure).

They are those that RabbitMQ's STOMP adapter hands on; any other header that begins with ``x-`` is
none. RabbitMQ answers some values with the close of the connection, on which all clients are, or
with that of whoever gets a dead letter: so nothing goes to it that it does not expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twbridge.destinations import MAX_BYTES, shown
from twbridge.dialects.stomp.headers import whole_number
from twbridge.errors import BadFrame

__all__ = ["ARGUMENTS", "arguments_of"]

#: Milliseconds: ten years, the longest that RabbitMQ takes.
_LONGEST = 315_360_000_000
_BIG = 2**63 - 1
_TYPE = "x-queue-type"
_TYPES = ("classic", "quorum")
_NAMES = ("x-dead-letter-exchange", "x-dead-letter-routing-key")
#: The least and the most.
_NUMBERS = {
    "x-expires": (1, _LONGEST),
    "x-max-length": (0, _BIG),
    "x-max-length-bytes": (0, _BIG),
    "x-max-priority": (0, 255),
    "x-message-ttl": (0, _LONGEST),
}
#: The names of all.
ARGUMENTS = frozenset({_TYPE, *_NAMES, *_NUMBERS})


def arguments_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a queue.declare.

    Raises:
        BadFrame: a value that RabbitMQ does not take, or that makes a stream.
    """
    found: dict[str, Any] = {}
    for name in _NAMES:
        if name in headers:
            found[name] = _name(name, headers[name].strip())
    if _TYPE in headers:
        found[_TYPE] = _queue_type(headers[_TYPE].strip())
    for name, (least, most) in _NUMBERS.items():
        if name in headers:
            found[name] = number = whole_number(headers, name, most)
            if number < least:
                raise BadFrame(f"The header {name} is a whole number from {least} to {most}.")
    return found


def _name(header: str, name: str) -> str:
    # The routing key of a dead letter that is longer ends the connection of who gets it.
    if len(name.encode()) > MAX_BYTES:
        raise BadFrame(f"An {header} has at most {MAX_BYTES} bytes.")
    return name


def _queue_type(name: str) -> str:
    if name == "stream":
        raise BadFrame("Clients can't make streams: the settings of the bridge do.")
    if name not in _TYPES:
        raise BadFrame(f"The header {_TYPE} is {' or '.join(_TYPES)}, not {shown(name)}.")
    return name
