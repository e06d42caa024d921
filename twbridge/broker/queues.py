"""Classic queues of the embedded broker (sans-I/O).

A queue hands its head to its consumers in turn, skipping those that can't take a message now, and
keeps what nobody takes. Whoever makes room in a consumer (an acknowledgement, a socket that drains)
calls :meth:`Queue.drain`.

Source: https://www.rabbitmq.com/queues.html, https://www.rabbitmq.com/maxlength.html.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Protocol

from twbridge.broker.expiry import Expiry
from twbridge.broker.messages import Entry, Memory, Message

__all__ = ["Queue", "Taker"]

_position = attrgetter("position")


class Taker(Protocol):
    """A consumer, as its queue sees it."""

    def has_room(self) -> bool:
        """Whether :meth:`take` may be called now."""

    def take(self, entry: Entry) -> None:
        """Deliver it. The taker gives it back with ``settle`` or ``requeue`` of its queue."""

    def queue_deleted(self) -> None:
        """The queue is gone; no entry follows."""


class Queue:
    """One queue.

    Args:
        name: unique in its virtual host.
        memory: where its messages are counted.
        durable: only kept to be compared: nothing survives the process.
        auto_delete: it goes with its last consumer.
        owner: the connection that it is exclusive to, or None.
        arguments: checked by ``arguments.py`` before.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        owner: object | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments: Mapping[str, Any] = arguments or {}
        self.ready: deque[Entry] = deque()
        self.ready_bytes = 0
        #: In the order of their next turn.
        self.consumers: deque[Taker] = deque()
        #: One consumer has the queue for itself.
        self.exclusive = False
        self.deleted = False
        #: Set where it is declared with ``x-expires``.
        self.expiry: Expiry | None = None
        self._memory = memory
        self._next_position = 0
        self._max_length: int | None = self.arguments.get("x-max-length")
        self._max_bytes: int | None = self.arguments.get("x-max-length-bytes")
        self._rejects = self.arguments.get("x-overflow") == "reject-publish"

    def __len__(self) -> int:
        return len(self.ready)

    def __bool__(self) -> bool:
        return True  # an empty queue is still a queue

    @property
    def message_count(self) -> int:
        """How many messages wait."""
        return len(self.ready)

    @property
    def consumer_count(self) -> int:
        """How many consumers it has."""
        return len(self.consumers)

    def touch(self) -> None:
        """It was used: the time until it expires begins again."""
        if self.expiry is not None:
            self.expiry.touch()

    def stop(self) -> None:
        """Leave nothing to the clock."""
        if self.expiry is not None:
            self.expiry.stop()

    # -- messages in --------------------------------------------------------------------------

    def push(self, message: Message) -> bool:
        """Append it, deliver what can be delivered, and keep to the maximum length.

        Returns:
            False when the queue is full and declared with ``x-overflow=reject-publish``; it has
            not taken the message then.
        """
        if self._rejects and self._overflows(1, len(message.body)):
            return False
        self._memory.hold(message)
        self.ready.append(Entry(message, self._next_position))
        self.ready_bytes += len(message.body)
        self._next_position += 1
        self.drain()
        self._drop_head()
        return True

    def requeue(self, entries: Iterable[Entry]) -> None:
        """Put taken entries back to their places, marked as redelivered, and deliver them again."""
        back = sorted(entries, key=_position)
        if self.deleted:
            for entry in back:
                self.settle(entry)
            return
        for entry in back:
            entry.redelivered = True
            self.ready_bytes += len(entry.message.body)
        if not self.ready or (back and back[-1].position < self.ready[0].position):
            self.ready.extendleft(reversed(back))
        else:
            for entry in back:
                self.ready.insert(bisect.bisect(self.ready, entry.position, key=_position), entry)
        self.drain()
        self._drop_head()

    # -- messages out -------------------------------------------------------------------------

    def drain(self) -> None:
        """Deliver from the head while a consumer has room."""
        while self.ready and (consumer := self._next_consumer()) is not None:
            consumer.take(self._pop())

    def get(self) -> Entry | None:
        """Take the head (basic.get). Give it back with :meth:`settle` or :meth:`requeue`."""
        self.touch()
        return self._pop() if self.ready else None

    def settle(self, entry: Entry) -> None:
        """Be done with a taken entry: it was acknowledged, rejected, or needed neither."""
        self._memory.release(entry.message)

    def purge(self) -> int:
        """Drop every message that waits; return how many those were."""
        count = len(self.ready)
        while self.ready:
            self.settle(self._pop())
        return count

    def delete(self) -> int:
        """Drop everything and tell the consumers; return how many messages waited."""
        self.deleted = True
        self.stop()
        count = self.purge()
        for consumer in list(self.consumers):
            consumer.queue_deleted()
        self.consumers.clear()
        return count

    # -- consumers ----------------------------------------------------------------------------

    def add_consumer(self, consumer: Taker, exclusive: bool = False) -> None:
        """Let it take part. Call :meth:`drain` when it may be delivered to."""
        self.consumers.append(consumer)
        self.exclusive = exclusive

    def remove_consumer(self, consumer: Taker) -> None:
        """End its part; what it holds stays with it."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
            self.touch()
        self.exclusive = self.exclusive and bool(self.consumers)

    # -- inside -------------------------------------------------------------------------------

    def _next_consumer(self) -> Taker | None:
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room():
                return consumer
        return None

    def _pop(self) -> Entry:
        entry = self.ready.popleft()
        self.ready_bytes -= len(entry.message.body)
        return entry

    def _overflows(self, more: int = 0, more_bytes: int = 0) -> bool:
        return (self._max_length is not None and len(self.ready) + more > self._max_length) or (
            self._max_bytes is not None and self.ready_bytes + more_bytes > self._max_bytes
        )

    def _drop_head(self) -> None:
        # A queue that rejects instead may grow past its limit by requeued messages.
        while self.ready and not self._rejects and self._overflows():
            self.settle(self._pop())
