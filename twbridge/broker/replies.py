"""Methods that name exchanges or queues, as the embedded broker sends them (sans-I/O).

pamqp's constructors refuse names that RabbitMQ takes (any UTF-8): they are gone around.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pamqp import base, commands

from twbridge.broker.messages import Entry, Message

__all__ = ["channel_open_ok", "declare_ok", "deliver", "get_ok", "no_route"]

_M = TypeVar("_M", bound=base.Frame)


def _unchecked(kind: type[_M], **values: Any) -> _M:
    method = kind.__new__(kind)
    for name, value in values.items():
        setattr(method, name, value)
    return method


def channel_open_ok() -> commands.Channel.OpenOk:
    """channel.open-ok."""
    return _unchecked(commands.Channel.OpenOk, channel_id="")


def declare_ok(name: str, messages: int, consumers: int) -> commands.Queue.DeclareOk:
    """queue.declare-ok."""
    return _unchecked(
        commands.Queue.DeclareOk, queue=name, message_count=messages, consumer_count=consumers
    )


def deliver(
    consumer_tag: str, delivery_tag: int, redelivered: bool, message: Message
) -> commands.Basic.Deliver:
    """basic.deliver."""
    return _unchecked(
        commands.Basic.Deliver,
        consumer_tag=consumer_tag,
        delivery_tag=delivery_tag,
        redelivered=redelivered,
        exchange=message.exchange,
        routing_key=message.routing_key,
    )


def get_ok(delivery_tag: int, entry: Entry, left: int) -> commands.Basic.GetOk:
    """basic.get-ok; ``left`` messages wait behind it."""
    return _unchecked(
        commands.Basic.GetOk,
        delivery_tag=delivery_tag,
        redelivered=entry.redelivered,
        exchange=entry.message.exchange,
        routing_key=entry.message.routing_key,
        message_count=left,
    )


def no_route(message: Message) -> commands.Basic.Return:
    """basic.return of a mandatory message that no queue took."""
    return _unchecked(
        commands.Basic.Return,
        reply_code=312,
        reply_text="NO_ROUTE",
        exchange=message.exchange,
        routing_key=message.routing_key,
    )
