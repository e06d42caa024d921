"""Names and numbers that calls may have, and those of the broker's things (pure)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from twbridge.errors import BadTask, EncodeError

__all__ = [
    "DLX",
    "MAX_CHANNEL",
    "MAX_NAME",
    "MAX_TIMEOUT",
    "PUBSUB",
    "WORKERS",
    "check_channel",
    "check_headers",
    "check_task_name",
    "check_timeout",
    "dead_queue",
    "is_reserved",
    "task_name",
    "task_queue",
]

#: A headers exchange; what dies in a task's queue goes there.
DLX: Final = "twbridge.dlx"
#: A fanout exchange; every worker's control queue is bound to it.
WORKERS: Final = "twbridge.workers"
#: A topic exchange; its routing keys are the channels.
PUBSUB: Final = "twbridge.pubsub"

_TASK: Final = "twbridge.task."
_DEAD: Final = "twbridge.dead."

#: The longest time that a call may be given, in seconds: 49 days, RabbitMQ's longest expiration.
MAX_TIMEOUT: Final = 4_294_967.0
#: Bytes of a task's name.
MAX_NAME: Final = 200
#: Bytes of a channel's name: a routing key's.
MAX_CHANNEL: Final = 255


def task_queue(name: str) -> str:
    """The queue of a task."""
    return _TASK + name


def task_name(queue: str) -> str | None:
    """The task of a queue; None where it is no task's."""
    return queue.removeprefix(_TASK) if queue.startswith(_TASK) and queue != _TASK else None


def dead_queue(name: str) -> str:
    """The queue of the requests that a task's workers gave up."""
    return _DEAD + name


def check_task_name(name: str) -> str:
    """The name itself: 1 to 200 bytes, no control characters.

    Raises:
        BadTask: it is no name for a task.
    """
    return _checked(name, "a task", MAX_NAME)


def check_channel(channel: str) -> str:
    """The channel itself: 1 to 255 bytes, no control characters.

    Raises:
        EncodeError: it is no name for a channel.
    """
    try:
        return _checked(channel, "a channel", MAX_CHANNEL)
    except BadTask as error:
        raise EncodeError(str(error)) from None


def _checked(name: str, what: str, most: int) -> str:
    if not isinstance(name, str):
        raise BadTask(f"the name of {what} is a string")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadTask(f"the name of {what} is not valid Unicode") from None
    if not 0 < size <= most:
        raise BadTask(f"the name of {what} has 1 to {most} bytes, and this one {size}")
    if not name.isprintable() and any(unicodedata.category(each) == "Cc" for each in name):
        raise BadTask(f"the name of {what} has no control characters")
    return name


def check_headers(headers: Mapping[str, Any]) -> None:
    """Refuse the headers that are the broker's or ours.

    Raises:
        EncodeError: ``CC`` or ``BCC``, or a name that starts with ``twbridge-`` or ``x-``.
    """
    for name in headers:
        if not isinstance(name, str):
            raise EncodeError("the name of a header is a string")
        if is_reserved(name):
            raise EncodeError(
                f"the header {name[:100]!r} is not yours: CC, BCC and names that start with "
                "twbridge- or x- are taken"
            )


def check_timeout(timeout: float) -> None:
    """Refuse a time that no call can have.

    Raises:
        EncodeError: not a number, not over 0 or over MAX_TIMEOUT seconds.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise EncodeError("the timeout is a number of seconds")
    if not 0 < timeout <= MAX_TIMEOUT:
        raise EncodeError(f"the timeout is over 0 and at most {MAX_TIMEOUT:.0f} s")


def is_reserved(name: str) -> bool:
    """Whether a header of this name is the broker's or ours."""
    return name.lower().startswith(("twbridge-", "x-")) or name in ("CC", "BCC")
