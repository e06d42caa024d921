"""The arguments of declarations and of consumers: which are valid, which are equivalent (sans-I/O).

RabbitMQ ignores optional arguments that it does not know, and so does this broker. Those that
RabbitMQ acts on and this broker can't are refused: a queue that keeps what it should expire would
be worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from twbridge.broker import refusals

__all__ = [
    "Start",
    "check_binding",
    "check_consumer",
    "check_exchange",
    "check_queue",
    "check_same",
    "queue_type",
    "seconds",
    "start",
]

Arguments = Mapping[str, Any]

#: Of classic queues in RabbitMQ, not here.
_UNSUPPORTED = (
    "x-cancel-on-ha-failover",
    "x-consumer-timeout",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-message-ttl",
    "x-single-active-consumer",
)
_OF_STREAMS = (
    "x-initial-cluster-size",
    "x-max-age",
    "x-queue-leader-locator",
    "x-stream-max-segment-size-bytes",
)
_OF_QUORUM_QUEUES = (
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-quorum-initial-group-size",
)
#: What RabbitMQ refuses for a queue of one type, because it is of another's.
_FOREIGN: Mapping[str, tuple[str, ...]] = {
    "classic": _OF_STREAMS + _OF_QUORUM_QUEUES,
    "stream": (
        *_OF_QUORUM_QUEUES,
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-expires",
        "x-max-length",
        "x-max-priority",
        "x-message-ttl",
        "x-overflow",
        "x-queue-master-locator",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
    ),
}
_FOREIGN_TO_CONSUMERS: Mapping[str, tuple[str, ...]] = {
    "classic": ("x-stream-offset",),
    "stream": ("x-cancel-on-ha-failover", "x-priority"),
}

#: Compared when a queue is declared again, in this order. RabbitMQ compares no others.
_COMPARED = (
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
)

_MATCHES = ("all", "any", "all-with-x", "any-with-x")
_LOCATORS = ("balanced", "client-local", "least-leaders", "random")

#: Milliseconds: ten years.
_MAX_EXPIRY = 315_360_000_000
_AGE = re.compile(r"([0-9]*)(.*)", re.ASCII)
_UNITS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3_600, "m": 60, "s": 1}


class Start(NamedTuple):
    """Where the reading of a stream begins: ``x-stream-offset``, see :func:`start`."""

    where: Literal["first", "last", "next", "offset", "timestamp", "age"]
    #: An offset, or seconds.
    value: float = 0


def queue_type(arguments: Arguments) -> str:
    """The type of queue that is asked for."""
    return str(arguments.get("x-queue-type", "classic"))


def check_queue(name: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an invalid or unsupported argument of a queue."""
    if "x-queue-type" in arguments:
        _check_value("x-queue-type", _check_type, name, arguments["x-queue-type"])
    kind = queue_type(arguments)
    if kind not in _FOREIGN:
        raise refusals.precondition_failed(
            f"the embedded broker has no queues of type '{kind}', only 'classic' and 'stream'"
        )
    for key, check in _CHECKS.items():
        if key in arguments and key not in _FOREIGN[kind]:
            _check_value(key, check, name, arguments[key])
    _check_foreign(name, kind, arguments, _FOREIGN[kind])
    for key in arguments if kind == "classic" else ():
        if key in _UNSUPPORTED:
            raise refusals.precondition_failed(
                f"the embedded broker does not support the queue argument '{key}'"
            )


def check_consumer(name: str, kind: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an argument that consumers of such a queue can't have."""
    _check_foreign(name, kind, arguments, _FOREIGN_TO_CONSUMERS[kind])
    if "x-priority" in arguments:
        raise refusals.precondition_failed(
            "the embedded broker does not support the consumer argument 'x-priority'"
        )


def _check_foreign(name: str, kind: str, arguments: Arguments, foreign: tuple[str, ...]) -> None:
    for key in arguments:
        if key in foreign:
            raise refusals.invalid_argument(key, name, of_type=kind)


def _check_value(key: str, check: _Check, name: str, value: Any) -> None:
    problem = check(value)
    if problem is not None:
        raise refusals.invalid_argument(key, name, problem)


def _check_size(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {refusals.type_name(value)}"'
    return f"{{value_negative,{value}}}" if value < 0 else None


def _check_positive(value: Any) -> str | None:
    return _check_size(value) or ("{value_zero,0}" if value == 0 else None)


def _check_expiry(value: Any) -> str | None:
    problem = _check_positive(value)
    if problem is None and value > _MAX_EXPIRY:
        return f"{{value_too_large,{value}}}"
    return problem


def _check_word(value: Any, words: tuple[str, ...], problem: str) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{refusals.type_name(value)}}}"
    return None if value in words else problem


def _check_overflow(value: Any) -> str | None:
    if value == "reject-publish-dlx":
        return '"the embedded broker has no dead letters"'
    return _check_word(value, ("drop-head", "reject-publish"), "invalid_overflow")


def _check_type(value: Any) -> str | None:
    words = ("classic", "quorum", "stream")
    return _check_word(value, words, f"\"unsupported queue type '{value}'\"")


def _check_locator(value: Any) -> str | None:
    return _check_word(value, _LOCATORS, "invalid_queue_locator_arg")


def _check_age(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{refusals.type_name(value)}}}"
    return "invalid_max_age" if _age(value) is None else None


_Check = Callable[[Any], str | None]

#: In the order of their checking.
_CHECKS: Mapping[str, _Check] = {
    "x-expires": _check_expiry,
    "x-max-length": _check_size,
    "x-max-length-bytes": _check_size,
    "x-overflow": _check_overflow,
    "x-max-age": _check_age,
    "x-stream-max-segment-size-bytes": _check_size,
    "x-initial-cluster-size": _check_positive,
    "x-queue-leader-locator": _check_locator,
}


def _age(text: str) -> float | None:
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


def seconds(age: str) -> float:
    """A checked ``x-max-age``, ``7D`` for example (Y M D h m s), in seconds."""
    return _age(age) or 0


def start(queue: str, arguments: Arguments) -> Start:
    """Where a consumer of a stream begins, as its argument ``x-stream-offset`` says.

    ``first``, ``last``, ``next`` (or nothing), a whole number, a timestamp, or how long ago:
    ``7D``, as for ``x-max-age``.

    Raises:
        ChannelClosed: 406, a length of time that is none.
        ConnectionClosed: 541, anything else: RabbitMQ crashes over it.
    """
    value = arguments.get("x-stream-offset", "next")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value in ("first", "last", "next"):
        return Start(value)
    if isinstance(value, datetime):
        return Start("timestamp", value.timestamp())
    if isinstance(value, int) and not isinstance(value, bool):
        return Start("offset", value)
    if not isinstance(value, str):
        raise refusals.internal_error()
    age = _age(value)
    if age is None:
        problem = f'{{invalid_stream_offset_arg,{{longstr,<<"{value}">>}}}}'
        raise refusals.invalid_argument("x-stream-offset", queue, problem)
    return Start("age", age)


def check_exchange(name: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an invalid argument of an exchange."""
    alternate = arguments.get("alternate-exchange")
    if alternate is not None and not isinstance(alternate, str):
        raise refusals.precondition_failed(
            f"invalid type '{refusals.type_name(alternate)}' for arg 'alternate-exchange' in "
            f"exchange '{name}' in vhost '/'"
        )


def check_binding(exchange_type: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an invalid ``x-match`` on a headers exchange."""
    match = arguments.get("x-match", "all")
    if exchange_type != "headers" or match in _MATCHES:
        return
    if not isinstance(match, str):
        raise refusals.precondition_failed(
            f"Invalid x-match field type {refusals.type_name(match)} (value {match}); "
            "expected longstr"
        )
    raise refusals.precondition_failed(
        f'Invalid x-match field value <<"{match}">>; expected all, any, all-with-x, or any-with-x'
    )


def check_same(
    kind: str,
    name: str,
    received: Mapping[str, Any],
    current: Mapping[str, Any],
    received_arguments: Arguments,
    current_arguments: Arguments,
) -> None:
    """Raise ChannelClosed (406) where a second declaration differs from the first.

    Args:
        kind: ``exchange`` or ``queue``.
        received, current: the fixed properties by name, in the order of their comparison.
    """
    for key, value in received.items():
        if value != current[key]:
            raise refusals.inequivalent(key, kind, name, value, current[key])
    for key in ("alternate-exchange",) if kind == "exchange" else _COMPARED:
        new, old = received_arguments.get(key), current_arguments.get(key)
        if key == "x-queue-type" and queue_type(received_arguments) == queue_type(
            current_arguments
        ):
            continue
        if new != old:
            raise refusals.inequivalent(key, kind, name, new, old)
