"""One channel of the embedded broker (sans-I/O): its state, deliveries and errors.

What each method does is in ``topology_methods.py`` and ``basic_methods.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pamqp import base, commands

from twbridge import wire
from twbridge.broker import refusals
from twbridge.broker.consumers import Consumer, Held, Unacknowledged
from twbridge.broker.deliveries import deliver_frames, with_offset
from twbridge.broker.exchanges import AnyQueue
from twbridge.broker.messages import Entry, Message
from twbridge.broker.ports import Owner
from twbridge.broker.publishing import Confirms
from twbridge.broker.queues import Queue
from twbridge.broker.readers import Reader
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
        self.consumers: dict[str, Consumer | Reader] = {}
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

    @property
    def writable(self) -> bool:
        """Whether the socket takes more."""
        return self.owner.writable

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
        self.owner.write(
            deliver_frames(
                self.number,
                consumer.tag,
                tag,
                entry.redelivered,
                message,
                message.raw_properties,
                self.owner.frame_max,
            )
        )

    def deliver_from(self, reader: Reader, offset: int, messages: list[Message]) -> None:
        """Send messages of a stream with contiguous offsets, and remember that they were."""
        held = Held(None, None, reader)
        unacknowledged, number, frame_max = self.unacknowledged, self.number, self.owner.frame_max
        parts = []
        for at, message in enumerate(messages, offset):
            tag = unacknowledged.next_tag()
            unacknowledged.add(tag, held)
            properties = with_offset(message.raw_properties, at)
            parts.append(
                deliver_frames(number, reader.tag, tag, False, message, properties, frame_max)
            )
        self.owner.write(b"".join(parts))

    def consumer_ended(self, consumer: Consumer | Reader) -> None:
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
        """There is room again: let all consumers have what waits for them."""
        for source in {consumer.source: None for consumer in self.consumers.values()}:
            source.drain()

    def press(self) -> None:
        """Deliver what there is of streams, up to the prefetch, into a full socket as well."""
        for consumer in self.consumers.values():
            if isinstance(consumer, Reader):
                consumer.drain(pressed=True)

    # -- acknowledgements ---------------------------------------------------------------------

    def ack(self, tag: int, multiple: bool) -> None:
        """basic.ack. Raises ChannelClosed (406) for an unknown tag."""
        held = self.unacknowledged.take(tag, multiple)
        for one in held:
            if one.queue is not None and one.entry is not None:
                one.queue.settle(one.entry)
        self._refill(held)

    def reject(self, tag: int, multiple: bool, requeue: bool) -> None:
        """basic.nack and reject.

        Raises:
            ChannelClosed: 406, an unknown tag.
            ConnectionClosed: 540, a message of a stream.
        """
        held = self.unacknowledged.take(tag, multiple)
        for one in held:
            if isinstance(one.consumer, Reader):
                self.requeue(held)
                one.consumer.queue.refuse("basic.nack and basic.reject")
        if requeue:
            self.requeue(held)
        else:
            for one in held:
                if one.queue is not None and one.entry is not None:
                    one.queue.reject(one.entry)
        self._refill(held)

    def check_recover(self) -> None:
        """Raise ConnectionClosed (541) when a message of a stream would be requeued."""
        if any(isinstance(one.consumer, Reader) for one in self.unacknowledged):
            raise refusals.internal_error()

    def _refill(self, held: list[Held]) -> None:
        """These were given back: deliver what there is room for now."""
        if self.shared_prefetch:
            self.drain()
        else:
            for source in {one.consumer.source: None for one in held if one.consumer is not None}:
                source.drain()

    def requeue(self, held: Iterable[Held]) -> None:
        """Put deliveries back into their queues, as the client asked."""
        for queue, entries in _by_queue(held).items():
            queue.requeue(entries)

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """End the consumers and requeue what was not acknowledged. Nothing is sent."""
        for tag in list(self.consumers):
            self.cancel(tag)
        for queue, entries in _by_queue(self.unacknowledged.take_all()).items():
            queue.take_back(entries)

    # -- names --------------------------------------------------------------------------------

    def queue_name(self, name: str) -> str:
        """An empty name is the last queue that was declared on this channel."""
        if name:
            return name
        if not self.last_queue:
            raise refusals.no_previous_queue()
        return self.last_queue

    def queue(self, name: str) -> AnyQueue:
        """The queue that a method names. Raises ChannelClosed (404, 405)."""
        return self.vhost.queue(self.queue_name(name), self.owner)

    def answer(self, method: Any, reply: base.Frame) -> None:
        """Reply to a method, unless it came with ``no-wait``."""
        if not method.nowait:
            self.send(reply)


def _by_queue(held: Iterable[Held]) -> dict[Queue, list[Entry]]:
    by_queue: dict[Queue, list[Entry]] = defaultdict(list)
    for one in held:
        if one.queue is not None and one.entry is not None:
            by_queue[one.queue].append(one.entry)
    return by_queue
