"""The methods of the classes basic, confirm, tx and channel.flow, on the embedded broker
(sans-I/O). As in ``topology_methods.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pamqp import base, commands

from twbridge import wire
from twbridge.broker import arguments as argument_rules
from twbridge.broker import refusals, replies
from twbridge.broker.channel import Channel
from twbridge.broker.consumers import Consumer, Held
from twbridge.broker.making import random_name
from twbridge.broker.publishing import Confirms, received
from twbridge.broker.queues import Queue
from twbridge.broker.quorum import PREFETCH, QuorumQueue
from twbridge.broker.readers import Reader
from twbridge.broker.streams import Stream

__all__ = ["METHODS", "publish"]


def publish(channel: Channel, content: wire.Content) -> None:
    """basic.publish with its content: route, return what is mandatory and has no way, confirm."""
    method = content.method
    exchange = channel.vhost.exchange(method.exchange)
    if exchange.internal:
        raise refusals.access_refused(
            f"cannot publish to internal exchange '{method.exchange}' in vhost '/'"
        )
    if method.immediate:
        raise refusals.not_implemented("immediate=true")
    message = received(content, channel.owner.user)
    outcome = channel.vhost.publish(exchange, message)
    if method.mandatory and not outcome.routed:
        channel.send_content(
            replies.no_route(message),
            message.raw_properties,
            message.body,
        )
    if channel.confirms is not None:
        channel.confirms.add(not outcome.refused)


def _qos(channel: Channel, method: commands.Basic.Qos) -> None:
    if method.prefetch_size:
        raise refusals.not_implemented(f"prefetch_size!=0 ({method.prefetch_size})")
    if method.global_:
        channel.shared_prefetch = method.prefetch_count
    else:
        channel.prefetch = method.prefetch_count
    channel.press()
    channel.send(commands.Basic.QosOk())
    channel.drain()


def _consume(channel: Channel, method: commands.Basic.Consume) -> None:
    tag = method.consumer_tag or random_name("amq.ctag")
    if tag in channel.consumers:
        raise refusals.hard(530, f"attempt to reuse consumer tag '{tag}'")
    queue = channel.queue(method.queue)
    consumer: Consumer | Reader
    if isinstance(queue, Stream):
        consumer = _read(channel, method, queue, tag)
        queue.add_consumer(consumer)
    else:
        consumer = _take(channel, method, queue, tag)
        queue.add_consumer(consumer, method.exclusive)
    channel.consumers[tag] = consumer
    channel.answer(method, commands.Basic.ConsumeOk(tag))
    consumer.source.drain()


def _take(channel: Channel, method: commands.Basic.Consume, queue: Queue, tag: str) -> Consumer:
    argument_rules.check_consumer(queue.name, queue.kind, method.arguments or {})
    prefetch = channel.prefetch
    if isinstance(queue, QuorumQueue):
        if channel.shared_prefetch:
            raise refusals.not_implemented(
                f"queue '{queue.name}' in vhost '/' does not support global qos"
            )
        prefetch = prefetch or PREFETCH
    elif queue.exclusive or (method.exclusive and queue.consumers):
        raise refusals.in_exclusive_use(queue.name)
    return Consumer(channel, queue, tag, no_ack=method.no_ack, prefetch=prefetch)


def _read(channel: Channel, method: commands.Basic.Consume, stream: Stream, tag: str) -> Reader:
    arguments = method.arguments or {}
    start = argument_rules.start(stream.name, arguments)
    argument_rules.check_consumer(stream.name, "stream", arguments)
    name = f"queue '{stream.name}' in vhost '/'"
    if not channel.prefetch:
        raise refusals.precondition_failed(f"consumer prefetch count is not set for '{name}'")
    if method.no_ack:
        stream.refuse("automatic acknowledgement")
    if channel.shared_prefetch:
        raise refusals.not_implemented(f"{name} does not support global qos")
    offset = stream.place(start)
    return Reader(channel, stream, tag, prefetch=channel.prefetch, offset=offset)


def _cancel(channel: Channel, method: commands.Basic.Cancel) -> None:
    tag = method.consumer_tag or ""
    channel.cancel(tag)
    channel.answer(method, commands.Basic.CancelOk(tag))


def _get(channel: Channel, method: commands.Basic.Get) -> None:
    queue = channel.queue(method.queue)
    if isinstance(queue, Stream):
        queue.refuse("basic.get")
    entry = queue.get()
    if entry is None:
        channel.send(commands.Basic.GetEmpty())
        return
    tag = channel.unacknowledged.next_tag()
    message = entry.message
    if method.no_ack:
        queue.settle(entry)
    else:
        channel.unacknowledged.add(tag, Held(entry, queue, None))
    channel.send_content(
        replies.get_ok(tag, entry, queue.message_count),
        message.raw_properties,
        message.body,
    )


def _reject(channel: Channel, method: commands.Basic.Reject) -> None:
    channel.reject(method.delivery_tag or 0, False, method.requeue)


def _recover(channel: Channel, method: commands.Basic.Recover) -> None:
    if not method.requeue:
        raise refusals.not_implemented("requeue=false")
    channel.check_recover()
    channel.send(commands.Basic.RecoverOk())
    channel.requeue(channel.unacknowledged.take_all())


def _recover_async(channel: Channel, method: commands.Basic.RecoverAsync) -> None:
    if not method.requeue:
        raise refusals.not_implemented("requeue=false")
    channel.check_recover()
    channel.requeue(channel.unacknowledged.take_all())


def _confirm_select(channel: Channel, method: commands.Confirm.Select) -> None:
    if channel.confirms is None:
        channel.confirms = Confirms(channel.number)
    channel.answer(method, commands.Confirm.SelectOk())


def _transaction(_channel: Channel, _method: base.Frame) -> None:
    raise refusals.not_implemented("the embedded broker has no transactions")


def _flow(channel: Channel, method: commands.Channel.Flow) -> None:
    if not method.active:
        raise refusals.not_implemented("active=false")
    channel.send(commands.Channel.FlowOk(True))


METHODS: Mapping[type[base.Frame], Callable[[Channel, Any], None]] = {
    commands.Basic.Qos: _qos,
    commands.Basic.Consume: _consume,
    commands.Basic.Cancel: _cancel,
    commands.Basic.Get: _get,
    commands.Basic.Reject: _reject,
    commands.Basic.Recover: _recover,
    commands.Basic.RecoverAsync: _recover_async,
    commands.Confirm.Select: _confirm_select,
    commands.Tx.Select: _transaction,
    commands.Tx.Commit: _transaction,
    commands.Tx.Rollback: _transaction,
    commands.Channel.Flow: _flow,
}
