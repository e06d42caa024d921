"""Consumers of streams (sans-I/O)."""

from __future__ import annotations

from typing import Protocol

from twbridge.broker.messages import Message
from twbridge.broker.streams import Stream

__all__ = ["Reader"]

#: Messages and bytes that are sent to one consumer in one piece.
BATCH = 256
BATCH_SIZE = 64 * 1024


class Outlet(Protocol):
    """A channel, as the readers on it see it."""

    @property
    def writable(self) -> bool:
        """Whether the socket takes more."""

    def deliver_from(self, reader: Reader, offset: int, messages: list[Message]) -> None:
        """Send messages with contiguous offsets, and remember that they were."""

    def consumer_ended(self, consumer: Reader) -> None:
        """Its stream was deleted: forget it and tell the client."""


class Reader:
    """One consumer of a stream: a place in its log, and how far it may go on.

    Args:
        outlet: its channel.
        prefetch: deliveries without acknowledgement, at most; not 0.
        offset: where it begins. Lower ones are not delivered, even if there are none as high yet.
    """

    __slots__ = ("_outlet", "held", "offset", "prefetch", "queue", "tag")

    def __init__(
        self, outlet: Outlet, stream: Stream, tag: str, *, prefetch: int, offset: int
    ) -> None:
        self._outlet = outlet
        self.queue = stream
        self.tag = tag
        self.prefetch = prefetch
        #: Of the next message that it gets.
        self.offset = offset
        #: Delivered to it and not acknowledged.
        self.held = 0

    @property
    def source(self) -> Reader:
        """What delivers when there is room again."""
        return self

    def drain(self, pressed: bool = False) -> None:
        """Deliver what there is while the prefetch and the socket allow it.

        Args:
            pressed: do not ask the socket.
        """
        while (
            self in self.queue.consumers
            and (room := self.prefetch - self.held) > 0
            and (pressed or self._outlet.writable)
        ):
            offset, messages = self.queue.log.read(self.offset, min(room, BATCH), BATCH_SIZE)
            if not messages:
                return
            self.offset = offset + len(messages)
            self._outlet.deliver_from(self, offset, messages)

    def queue_deleted(self) -> None:
        self._outlet.consumer_ended(self)
