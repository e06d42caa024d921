"""The arguments of declarations and of consumers: which are valid, which are equivalent (sans-I/O).

RabbitMQ ignores optional arguments that it does not know, and so does this broker. Those that
RabbitMQ acts on and this broker can't are refused: a queue that keeps what it should expire would
be worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from twbridge.broker import argument_values, refusals

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

#: What RabbitMQ knows of each type of queue. When a queue is declared again these are compared, in
#: this order, and no others.
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "classic": (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    "quorum": (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
    "stream": (
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ),
}
#: What RabbitMQ refuses for a queue of one type, because it is of another's.
_FOREIGN = {
    kind: {key for keys in _KNOWN.values() for key in keys}.difference(known)
    for kind, known in _KNOWN.items()
}
_FOREIGN_TO_CONSUMERS: Mapping[str, tuple[str, ...]] = {
    "classic": ("x-stream-offset",),
    "quorum": ("x-cancel-on-ha-failover", "x-stream-offset"),
    "stream": ("x-cancel-on-ha-failover", "x-priority"),
}
#: RabbitMQ acts on them, and this broker can't.
_UNSUPPORTED = ("x-cancel-on-ha-failover", "x-consumer-timeout")

_MATCHES = ("all", "any", "all-with-x", "any-with-x")


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
    exchange = arguments.get("x-dead-letter-exchange", "")
    if not isinstance(exchange, str):
        raise refusals.precondition_failed(
            f"invalid type '{refusals.type_name(exchange)}' for arg 'x-dead-letter-exchange' in "
            f"queue '{name}' in vhost '/'"
        )
    argument_values.check(name, arguments, ("x-queue-type",))
    kind = queue_type(arguments)
    argument_values.check(name, arguments, _KNOWN[kind])
    for key in arguments:
        if key in _FOREIGN[kind]:
            raise refusals.invalid_argument(key, name, of_type=kind)
    if kind != "stream":
        _check_supported(arguments)


def _check_supported(arguments: Arguments) -> None:
    unsupported = [f"'{key}'" for key in _UNSUPPORTED if key in arguments]
    if arguments.get("x-single-active-consumer"):
        unsupported.append("'x-single-active-consumer'")
    if arguments.get("x-dead-letter-strategy") == "at-least-once":
        unsupported.append("'x-dead-letter-strategy' with the value 'at-least-once'")
    if unsupported:
        raise refusals.precondition_failed(
            f"the embedded broker does not support the queue argument {unsupported[0]}"
        )


def check_consumer(name: str, kind: str, arguments: Arguments) -> None:
    """Raise ChannelClosed (406) for an argument that consumers of such a queue can't have."""
    for key in arguments:
        if key in _FOREIGN_TO_CONSUMERS[kind]:
            raise refusals.invalid_argument(key, name, of_type=kind)
    if "x-priority" in arguments:
        raise refusals.precondition_failed(
            "the embedded broker does not support the consumer argument 'x-priority'"
        )


def seconds(age: str) -> float:
    """A checked ``x-max-age``, ``7D`` for example (Y M D h m s), in seconds."""
    return argument_values.age(age) or 0


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
    age = argument_values.age(value)
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
        kind, value = refusals.type_name(match), refusals.shown(match)
        raise refusals.precondition_failed(
            f"Invalid x-match field type {kind} (value {value}); expected longstr"
        )
    word = f'"{match}"' if match else ""
    raise refusals.precondition_failed(
        f"Invalid x-match field value <<{word}>>; expected all, any, all-with-x, or any-with-x"
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
    queue = queue_type(current_arguments)
    for key in ("alternate-exchange",) if kind == "exchange" else _KNOWN[queue]:
        new, old = received_arguments.get(key), current_arguments.get(key)
        if key == "x-queue-type" and queue_type(received_arguments) == queue:
            continue
        if new != old or type(new) is not type(old):
            raise refusals.inequivalent(key, kind, name, new, old)
