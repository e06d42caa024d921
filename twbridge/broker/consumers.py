"""Consumers, and what is delivered and not yet acknowledged (sans-I/O)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from twbridge.broker import refusals
from twbridge.broker.messages import Entry
from twbridge.broker.queues import Queue
from twbridge.broker.readers import Reader

__all__ = ["Consumer", "Held", "Unacknowledged"]


class Outlet(Protocol):
    """A channel, as its consumers see it."""

    def can_deliver(self, no_ack: bool) -> bool:
        """Whether the socket takes more and, where acknowledged, the shared prefetch allows it."""

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send it, and remember it unless the consumer is ``no_ack``."""

    def consumer_ended(self, consumer: Consumer) -> None:
        """Its queue was deleted: forget it and tell the client."""


class Consumer:
    """One consumer of a classic queue.

    ``prefetch`` 0 means no limit; ``no_ack`` ignores it, as RabbitMQ does.
    """

    __slots__ = ("_outlet", "held", "no_ack", "prefetch", "queue", "tag")

    def __init__(
        self, outlet: Outlet, queue: Queue, tag: str, *, no_ack: bool = False, prefetch: int = 0
    ) -> None:
        self._outlet = outlet
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.prefetch = prefetch
        #: Delivered to it and not acknowledged.
        self.held = 0

    @property
    def source(self) -> Queue:
        """What delivers when there is room again."""
        return self.queue

    def has_room(self) -> bool:
        return self._outlet.can_deliver(self.no_ack) and (
            self.no_ack or not self.prefetch or self.held < self.prefetch
        )

    def take(self, entry: Entry) -> None:
        self._outlet.deliver(self, entry)

    def queue_deleted(self) -> None:
        self._outlet.consumer_ended(self)


class Held(NamedTuple):
    """A delivered entry; without a consumer it came by basic.get.

    Without an entry and a queue it is a message of a stream, which keeps it anyway.
    """

    entry: Entry | None
    queue: Queue | None
    consumer: Consumer | Reader | None


class Unacknowledged:
    """The deliveries of one channel by delivery tag, oldest first."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._last_tag = 0
        #: How many of them count for the channel's prefetch count: none of streams.
        self.consumed = 0

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def next_tag(self) -> int:
        """A new delivery tag."""
        self._last_tag += 1
        return self._last_tag

    def add(self, tag: int, held: Held) -> None:
        """Remember it until its tag is taken."""
        self._held[tag] = held
        if held.consumer is not None:
            held.consumer.held += 1
            self.consumed += held.queue is not None

    def take(self, tag: int, multiple: bool = False) -> list[Held]:
        """Remove what a client settles with ``tag``, oldest first.

        Raises:
            ChannelClosed: 406, the tag is unknown.
        """
        if multiple and tag == 0:
            return self.take_all()
        if tag not in self._held:
            raise refusals.precondition_failed(f"unknown delivery tag {tag}")
        if not multiple:
            return [self._counted(self._held.pop(tag))]
        taken = []
        while True:
            current, held = self._held.popitem(last=False)
            taken.append(self._counted(held))
            if current == tag:
                return taken

    def take_all(self) -> list[Held]:
        """Remove all of them, oldest first."""
        taken = [self._counted(held) for held in self._held.values()]
        self._held.clear()
        return taken

    def _counted(self, held: Held) -> Held:
        if held.consumer is not None:
            held.consumer.held -= 1
            self.consumed -= held.queue is not None
        return held
