"""What the embedded broker refuses, in RabbitMQ's words (sans-I/O).

Each function returns an exception to raise: :class:`~twbridge.errors.ChannelClosed` closes the
channel that asked, :class:`~twbridge.errors.ConnectionClosed` the whole connection. Codes: AMQP
0-9-1 reference, "constants". Texts: those of RabbitMQ 3.10, so that logs and tests read alike.
"""

from __future__ import annotations

from typing import Any

from pamqp import commands

from twbridge import wire
from twbridge.errors import ChannelClosed, ConnectionClosed, ProtocolClosed

__all__ = [
    "access_refused",
    "close_arguments",
    "default_exchange",
    "hard",
    "in_exclusive_use",
    "inequivalent",
    "internal_error",
    "invalid_argument",
    "locked",
    "login_refused",
    "no_previous_queue",
    "not_found",
    "not_implemented",
    "precondition_failed",
    "shown",
    "type_name",
]

_NAMES = {
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
}


def hard(reply_code: int, text: str) -> ConnectionClosed:
    """Any error that ends the connection; the code's name is put before the text."""
    return ConnectionClosed(reply_code, f"{_NAMES.get(reply_code, 'INTERNAL_ERROR')} - {text}")


def not_implemented(text: str) -> ConnectionClosed:
    """540: part of AMQP, but not of this broker."""
    return hard(540, text)


def internal_error() -> ConnectionClosed:
    """541: RabbitMQ crashes over this, and says no more."""
    return ConnectionClosed(541, "INTERNAL_ERROR")


def invalid_argument(
    key: str, queue: str, problem: str = "", *, of_type: str = ""
) -> ChannelClosed:
    """406: an argument of a queue or consumer.

    Args:
        problem: what is wrong with it.
        of_type: or it is not for queues of this type.
    """
    text = f"invalid arg '{key}' for queue '{queue}' in vhost '/'"
    reason = f" of queue type rabbit_{of_type}_queue" if of_type else f": {problem}"
    return precondition_failed(text + reason)


def precondition_failed(text: str) -> ChannelClosed:
    """406: the arguments, or the state of the thing, do not allow it."""
    return ChannelClosed(406, f"PRECONDITION_FAILED - {text}")


def access_refused(text: str) -> ChannelClosed:
    """403: not permitted to anybody."""
    return ChannelClosed(403, f"ACCESS_REFUSED - {text}")


def not_found(kind: str, name: str) -> ChannelClosed:
    """404: no such ``exchange`` or ``queue``."""
    return ChannelClosed(404, f"NOT_FOUND - no {kind} '{name}' in vhost '/'")


def login_refused(mechanism: str) -> ConnectionClosed:
    """403: a wrong user, password or mechanism. Which one is not told."""
    return ConnectionClosed(
        403,
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
        "For details see the broker logfile.",
    )


def default_exchange() -> ChannelClosed:
    """403: it can be published to, nothing else."""
    return access_refused("operation not permitted on the default exchange")


def no_previous_queue() -> ChannelClosed:
    """404: an empty queue name on a channel that has declared none."""
    return ChannelClosed(404, "NOT_FOUND - no previously declared queue")


def locked(queue: str) -> ChannelClosed:
    """405: the queue is exclusive to another connection."""
    return ChannelClosed(
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost "
        "'/'. It could be originally declared on another connection or the exclusive property "
        "value does not match that of the original declaration.",
    )


def in_exclusive_use(queue: str) -> ChannelClosed:
    """403: a consumer has the queue for itself, or wants that too late."""
    return access_refused(f"queue '{queue}' in vhost '/' in exclusive use")


def inequivalent(argument: str, kind: str, name: str, received: Any, current: Any) -> ChannelClosed:
    """406: declared again with another property or argument. None: it was not given."""
    if received is None:
        difference = f"received none but current is {_described(current)}"
    elif current is None:
        difference = f"received {_described(received)} but current is none"
    else:
        difference = f"received '{shown(received)}' but current is '{shown(current)}'"
    return precondition_failed(
        f"inequivalent arg '{argument}' for {kind} '{name}' in vhost '/': {difference}"
    )


def shown(value: Any) -> str:
    """A field value as RabbitMQ prints it."""
    if value is None:
        return "undefined"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(value: Any) -> str:
    return f"the value '{shown(value)}' of type '{type_name(value)}'"


def type_name(value: Any) -> str:
    """RabbitMQ's name of a field type. Whole numbers count as the width that clients choose."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "signedint" if -0x80000000 <= value <= 0x7FFFFFFF else "long"
    names = {str: "longstr", bytes: "binary", float: "double", dict: "table", list: "array"}
    return names.get(type(value), "void" if value is None else type(value).__name__.lower())


def close_arguments(
    error: ProtocolClosed, event: wire.Event | None = None
) -> tuple[int, str, int, int]:
    """The arguments of the connection.close or channel.close that tells of ``error``.

    Args:
        event: what caused it, where something did: its class and method ids go along.
    """
    index = 0 if error.reply_code == 541 else _method_index(event)
    text = error.reply_text.encode()[:255].decode("utf-8", "ignore")
    return error.reply_code, text, index >> 16, index & 0xFFFF


def _method_index(event: wire.Event | None) -> int:
    if isinstance(event, wire.Confirm):
        return commands.Basic.Ack.index if event.ack else commands.Basic.Nack.index
    if isinstance(event, wire.Method | wire.Content):
        index: int = event.method.index
        # RabbitMQ names no method where a login is refused.
        return 0 if index == commands.Connection.StartOk.index else index
    return 0
