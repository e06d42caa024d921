"""One channel of the embedded broker (sans-I/O): its state, deliveries and errors.

What each method does is in ``topology_methods.py`` and ``basic_methods.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pamqp import base, commands

from twbridge import wire
from twbridge.broker import refusals, replies
from twbridge.broker.consumers import Consumer, Held, Unacknowledged
from twbridge.broker.messages import Entry
from twbridge.broker.ports import Owner
from twbridge.broker.publishing import Confirms
from twbridge.broker.queues import Queue
from twbridge.broker.vhost import VirtualHost

__all__ = ["Channel"]


class Channel:
    """An open channel.

    Args:
        number: not 0.
        owner: its connection.
        vhost: what its methods act on.
    """

    def __init__(self, number: int, owner: Owner, vhost: VirtualHost) -> None:
        self.number = number
        self.owner = owner
        self.vhost = vhost
        #: An error was sent; everything up to the client's close-ok is ignored.
        self.closing = False
        self.consumers: dict[str, Consumer] = {}
        self.unacknowledged = Unacknowledged()
        #: For the consumers made from now on; 0: no limit.
        self.prefetch = 0
        #: Over all consumers of the channel; 0: no limit.
        self.shared_prefetch = 0
        #: None outside confirm mode.
        self.confirms: Confirms | None = None
        #: The queue that an empty name stands for.
        self.last_queue = ""

    # -- to the client ------------------------------------------------------------------------

    def send(self, method: base.Frame) -> None:
        """Send a method without content."""
        self.owner.write(wire.method_frame(self.number, method))

    def send_content(self, method: base.Frame, raw_properties: bytes, body: bytes) -> None:
        """Send a method with content."""
        self.owner.write(
            wire.content_frames(self.number, method, raw_properties, body, self.owner.frame_max)
        )

    def flush_confirms(self) -> None:
        """Send the confirms of what was published since the last call."""
        if self.confirms is not None and (frames := self.confirms.frames()):
            self.owner.write(frames)

    # -- consumers ----------------------------------------------------------------------------

    def can_deliver(self, no_ack: bool) -> bool:
        """Whether the socket takes more and, where acknowledged, the shared prefetch allows it."""
        return self.owner.writable and (
            no_ack
            or not self.shared_prefetch
            or self.unacknowledged.consumed < self.shared_prefetch
        )

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send it, and remember it unless the consumer is ``no_ack``."""
        tag = self.unacknowledged.next_tag()
        message = entry.message
        if consumer.no_ack:
            consumer.queue.settle(entry)
        else:
            self.unacknowledged.add(tag, Held(entry, consumer.queue, consumer))
        self.send_content(
            replies.deliver(consumer.tag, tag, entry),
            message.raw_properties,
            message.body,
        )

    def consumer_ended(self, consumer: Consumer) -> None:
        """Its queue was deleted: forget it and tell the client, if it can be told."""
        self.consumers.pop(consumer.tag, None)
        if "consumer_cancel_notify" in self.owner.capabilities and not self.closing:
            self.send(commands.Basic.Cancel(consumer.tag, nowait=True))

    def cancel(self, tag: str) -> None:
        """End a consumer; what it holds stays with the channel."""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            self.vhost.remove_consumer(consumer.queue, consumer)

    def drain(self) -> None:
        """There is room again: let the queues of all consumers deliver."""
        for queue in {consumer.queue: None for consumer in self.consumers.values()}:
            queue.drain()

    # -- acknowledgements ---------------------------------------------------------------------

    def settle(self, tag: int, multiple: bool, requeue: bool) -> None:
        """basic.ack, nack and reject. Raises ChannelClosed (406) for an unknown tag."""
        held = self.unacknowledged.take(tag, multiple)
        if requeue:
            self.requeue(held)
        else:
            for one in held:
                one.queue.settle(one.entry)
        if self.shared_prefetch:
            self.drain()
        else:
            for queue in {one.queue: None for one in held if one.consumer is not None}:
                queue.drain()

    def requeue(self, held: Iterable[Held]) -> None:
        """Put deliveries back into their queues."""
        by_queue: dict[Queue, list[Entry]] = defaultdict(list)
        for one in held:
            by_queue[one.queue].append(one.entry)
        for queue, entries in by_queue.items():
            queue.requeue(entries)

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """End the consumers and requeue what was not acknowledged. Nothing is sent."""
        for tag in list(self.consumers):
            self.cancel(tag)
        self.requeue(self.unacknowledged.take_all())

    # -- names --------------------------------------------------------------------------------

    def queue_name(self, name: str) -> str:
        """An empty name is the last queue that was declared on this channel."""
        if name:
            return name
        if not self.last_queue:
            raise refusals.no_previous_queue()
        return self.last_queue

    def queue(self, name: str) -> Queue:
        """The queue that a method names. Raises ChannelClosed (404, 405)."""
        return self.vhost.queue(self.queue_name(name), self.owner)

    def answer(self, method: Any, reply: base.Frame) -> None:
        """Reply to a method, unless it came with ``no-wait``."""
        if not method.nowait:
            self.send(reply)
