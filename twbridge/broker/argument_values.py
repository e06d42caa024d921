"""The values that arguments of queues may have; what is wrong in RabbitMQ's words (sans-I/O)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from twbridge.broker import refusals

__all__ = ["age", "check"]

Arguments = Mapping[str, Any]
_Check = Callable[[Any, Arguments], str | None]

#: Milliseconds: ten years.
MAX_EXPIRY = 315_360_000_000
MAX_PRIORITY = 255

_LOCATORS = ("balanced", "client-local", "least-leaders", "random")
_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
_STRATEGIES = ("at-most-once", "at-least-once")
_TYPES = ("classic", "quorum", "stream")

_AGE = re.compile(r"([0-9]*)(.*)", re.ASCII)
_UNITS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3_600, "m": 60, "s": 1}


def check(queue: str, arguments: Arguments, keys: tuple[str, ...]) -> None:
    """Raise ChannelClosed (406) for the first of ``keys`` that has an invalid value.

    Args:
        queue: its name.
        keys: those that its type of queue knows; others are not looked at.
    """
    for key, find_problem in _CHECKS.items():
        if key in arguments and key in keys:
            problem = find_problem(arguments[key], arguments)
            if problem is not None:
                raise refusals.invalid_argument(key, queue, problem)


def age(text: str) -> float | None:
    """``7D`` in seconds; None where it is a number without its unit, or of nothing.

    Raises:
        ConnectionClosed: 541, it does not begin with a number: RabbitMQ crashes over it.
    """
    found = _AGE.match(text)
    assert found is not None
    if not found[1]:
        raise refusals.internal_error()
    # A float: there is no limit to the digits.
    return float(found[1]) * _UNITS[found[2]] or None if found[2] in _UNITS else None


def _integer(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {refusals.type_name(value)}"'
    return None


def _size(value: Any, _arguments: Arguments) -> str | None:
    return _integer(value) or (f"{{value_negative,{value}}}" if value < 0 else None)


def _positive(value: Any, arguments: Arguments) -> str | None:
    return _size(value, arguments) or ("{value_zero,0}" if value == 0 else None)


def _milliseconds(value: Any, arguments: Arguments) -> str | None:
    problem = _size(value, arguments)
    if problem is None and value > MAX_EXPIRY:
        return f"{{value_too_large,{value}}}"
    return problem


def _expires(value: Any, arguments: Arguments) -> str | None:
    return _positive(value, arguments) or _milliseconds(value, arguments)


def _priority(value: Any, arguments: Arguments) -> str | None:
    problem = _size(value, arguments)
    if problem is None and value > MAX_PRIORITY:
        return f"{{max_value_exceeded,{value}}}"
    return problem


def _version(value: Any, arguments: Arguments) -> str | None:
    problem = _size(value, arguments)
    if problem is None and value not in (1, 2):
        return f"\"unsupported queue version '{value}'\""
    return problem


def _unacceptable(value: Any) -> str:
    return f"{{unacceptable_type,{refusals.type_name(value)}}}"


def _switch(value: Any, _arguments: Arguments) -> str | None:
    return None if isinstance(value, bool) else _unacceptable(value)


def _exchange(value: Any, _arguments: Arguments) -> str | None:
    return None if isinstance(value, str) else _unacceptable(value)


def _dead_letter_key(value: Any, arguments: Arguments) -> str | None:
    if not isinstance(value, str):
        return _unacceptable(value)
    return None if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def _age(value: Any, _arguments: Arguments) -> str | None:
    if not isinstance(value, str):
        return _unacceptable(value)
    return "invalid_max_age" if age(value) is None else None


def _one_of(words: tuple[str, ...], problem: str) -> _Check:
    """A check that the value is one of ``words``; ``{}`` in the problem is the value."""

    def find_problem(value: Any, _arguments: Arguments) -> str | None:
        if not isinstance(value, str):
            return _unacceptable(value)
        return None if value in words else problem.format(value)

    return find_problem


#: In the order of their checking.
_CHECKS: Mapping[str, _Check] = {
    "x-expires": _expires,
    "x-message-ttl": _milliseconds,
    "x-dead-letter-exchange": _exchange,
    "x-dead-letter-routing-key": _dead_letter_key,
    "x-dead-letter-strategy": _one_of(_STRATEGIES, "invalid_dlx_strategy"),
    "x-max-length": _size,
    "x-max-length-bytes": _size,
    "x-max-in-memory-length": _size,
    "x-max-in-memory-bytes": _size,
    "x-max-priority": _priority,
    "x-overflow": _one_of(_OVERFLOWS, "invalid_overflow"),
    "x-queue-mode": _one_of(("default", "lazy"), "\"unsupported queue mode '{}'\""),
    "x-queue-version": _version,
    "x-single-active-consumer": _switch,
    "x-queue-type": _one_of(_TYPES, "\"unsupported queue type '{}'\""),
    "x-quorum-initial-group-size": _positive,
    # RabbitMQ 3.10 takes anything for a limit, and none for what is no number.
    "x-delivery-limit": _size,
    "x-max-age": _age,
    "x-stream-max-segment-size-bytes": _size,
    "x-initial-cluster-size": _positive,
    "x-queue-leader-locator": _one_of(_LOCATORS, "invalid_queue_locator_arg"),
}
