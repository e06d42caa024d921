"""The arguments of declarations: which are valid, which are equivalent (sans-I/O).

RabbitMQ ignores optional arguments that it does not know, and so does this broker. Those that
RabbitMQ acts on and this broker can't are refused: a queue that keeps what it should expire would
be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twbridge.broker import refusals

__all__ = ["check_binding", "check_exchange", "check_queue", "check_same"]

Arguments = Mapping[str, Any]

_UNSUPPORTED = frozenset(
    {
        "x-cancel-on-ha-failover",
        "x-consumer-timeout",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-expires",
        "x-max-age",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-max-priority",
        "x-message-ttl",
        "x-single-active-consumer",
        "x-stream-filter-size-bytes",
        "x-stream-max-segment-size-bytes",
    }
)

#: Compared when a queue is declared again. RabbitMQ compares no others.
_COMPARED = ("x-max-length", "x-max-length-bytes", "x-overflow", "x-queue-type")

_MATCHES = ("all", "any", "all-with-x", "any-with-x")


def check_queue(name: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an invalid or unsupported argument of a queue."""
    for key, value in arguments.items():
        if key in _UNSUPPORTED:
            raise refusals.precondition_failed(
                f"the embedded broker does not support the queue argument '{key}'"
            )
        check = _CHECKS.get(key)
        problem = check(value) if check is not None else None
        if problem is not None:
            raise refusals.precondition_failed(
                f"invalid arg '{key}' for queue '{name}' in vhost '/': {problem}"
            )
    kind = arguments.get("x-queue-type", "classic")
    if kind != "classic":
        raise refusals.precondition_failed(
            f"the embedded broker has no queues of type '{kind}', only 'classic'"
        )


def _check_size(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {refusals.type_name(value)}"'
    return f"{{value_negative,{value}}}" if value < 0 else None


def _check_overflow(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{refusals.type_name(value)}}}"
    if value == "reject-publish-dlx":
        return '"the embedded broker has no dead letters"'
    return None if value in ("drop-head", "reject-publish") else "invalid_overflow"


def _check_type(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{{unacceptable_type,{refusals.type_name(value)}}}"
    if value not in ("classic", "quorum", "stream"):
        return f"\"unsupported queue type '{value}'\""
    return None


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "x-max-length": _check_size,
    "x-max-length-bytes": _check_size,
    "x-overflow": _check_overflow,
    "x-queue-type": _check_type,
}


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
        if key == "x-queue-type":
            new, old = new or "classic", old or "classic"
        if new != old:
            raise refusals.inequivalent(key, kind, name, new, old)
