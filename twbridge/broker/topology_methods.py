"""The methods of the classes exchange and queue, on the embedded broker (sans-I/O).

Each function takes the channel and the pamqp.commands object, acts and answers. ChannelClosed and
ConnectionClosed end the channel or the connection (``connection.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pamqp import base, commands

from twbridge.broker import refusals, replies
from twbridge.broker.channel import Channel
from twbridge.broker.quorum import QuorumQueue

__all__ = ["METHODS"]


def _exchange_declare(channel: Channel, method: commands.Exchange.Declare) -> None:
    if method.passive:
        channel.vhost.find_exchange(method.exchange)
    else:
        channel.vhost.declare_exchange(
            method.exchange,
            method.exchange_type,
            durable=method.durable,
            auto_delete=method.auto_delete,
            internal=method.internal,
            arguments=method.arguments,
        )
    channel.answer(method, commands.Exchange.DeclareOk())


def _exchange_delete(channel: Channel, method: commands.Exchange.Delete) -> None:
    channel.vhost.delete_exchange(method.exchange, method.if_unused)
    channel.answer(method, commands.Exchange.DeleteOk())


def _exchange_bind(channel: Channel, method: commands.Exchange.Bind) -> None:
    vhost = channel.vhost
    for name in (method.source, method.destination):
        vhost.find_exchange(name)
    destination = vhost.exchange(method.destination)
    vhost.bind(destination, method.source, method.routing_key, method.arguments or {})
    channel.answer(method, commands.Exchange.BindOk())


def _exchange_unbind(channel: Channel, method: commands.Exchange.Unbind) -> None:
    if not method.destination:
        raise refusals.default_exchange()
    destination = channel.vhost.exchanges.get(method.destination)
    if destination is not None:
        channel.vhost.unbind(destination, method.source, method.routing_key, method.arguments or {})
    channel.answer(method, commands.Exchange.UnbindOk())


def _queue_declare(channel: Channel, method: commands.Queue.Declare) -> None:
    vhost = channel.vhost
    if method.passive:
        queue = channel.queue(method.queue)
    else:
        queue = vhost.declare_queue(
            method.queue,
            channel.owner,
            # What goes with its connection can't outlive the broker.
            durable=method.durable and not method.exclusive,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments,
        )
    queue.touch()
    channel.last_queue = queue.name
    reply = replies.declare_ok(queue.name, queue.message_count, queue.consumer_count)
    channel.answer(method, reply)


def _binding_key(channel: Channel, queue: str, routing_key: str) -> str:
    # AMQP 0-9-1 reference, queue.bind: both empty means the name of the last declared queue.
    return routing_key if queue or routing_key else channel.queue_name("")


def _queue_bind(channel: Channel, method: commands.Queue.Bind) -> None:
    name = channel.queue_name(method.queue)
    key = _binding_key(channel, method.queue, method.routing_key)
    channel.vhost.find_exchange(method.exchange)
    queue = channel.vhost.queue(name, channel.owner)
    channel.vhost.bind(queue, method.exchange, key, method.arguments or {})
    channel.answer(method, commands.Queue.BindOk())


def _queue_unbind(channel: Channel, method: commands.Queue.Unbind) -> None:
    if not method.exchange:
        raise refusals.default_exchange()
    name = channel.queue_name(method.queue)
    key = _binding_key(channel, method.queue, method.routing_key)
    if name in channel.vhost.queues:
        queue = channel.vhost.queue(name, channel.owner)
        channel.vhost.unbind(queue, method.exchange, key, method.arguments or {})
    channel.send(commands.Queue.UnbindOk())


def _queue_purge(channel: Channel, method: commands.Queue.Purge) -> None:
    count = channel.queue(method.queue).purge()
    channel.answer(method, commands.Queue.PurgeOk(count))


def _queue_delete(channel: Channel, method: commands.Queue.Delete) -> None:
    name = channel.queue_name(method.queue)
    if name not in channel.vhost.queues:
        channel.answer(method, commands.Queue.DeleteOk(0))
        return
    queue = channel.vhost.queue(name, channel.owner)
    if isinstance(queue, QuorumQueue) and (method.if_unused or method.if_empty):
        queue.refuse_deletion("if-unused" if method.if_unused else "if-empty")
    if method.if_unused and queue.consumer_count:
        raise refusals.precondition_failed(f"queue '{name}' in vhost '/' in use")
    if method.if_empty and queue.message_count:
        raise refusals.precondition_failed(f"queue '{name}' in vhost '/' not empty")
    # The answer goes first, as RabbitMQ does: a consumer's cancel is not part of it.
    channel.answer(method, commands.Queue.DeleteOk(queue.message_count))
    channel.vhost.delete_queue(queue)


METHODS: Mapping[type[base.Frame], Callable[[Channel, Any], None]] = {
    commands.Exchange.Declare: _exchange_declare,
    commands.Exchange.Delete: _exchange_delete,
    commands.Exchange.Bind: _exchange_bind,
    commands.Exchange.Unbind: _exchange_unbind,
    commands.Queue.Declare: _queue_declare,
    commands.Queue.Bind: _queue_bind,
    commands.Queue.Unbind: _queue_unbind,
    commands.Queue.Purge: _queue_purge,
    commands.Queue.Delete: _queue_delete,
}
