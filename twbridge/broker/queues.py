"""Classic queues of the embedded broker (sans-I/O).

A queue hands its head to its consumers in turn, skipping those that can't take a message now, and
keeps what nobody takes. Whoever makes room in a consumer (an acknowledgement, a socket that drains)
calls :meth:`Queue.drain`.

What a queue does not keep (expired, rejected, too much) goes where its dead letters go.

Source: https://www.rabbitmq.com/queues.html, https://www.rabbitmq.com/maxlength.html.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from twbridge.broker.deadletters import Reason, Way
from twbridge.broker.expiry import Expiry
from twbridge.broker.lifetimes import Lifetimes
from twbridge.broker.messages import Entry, Memory, Message
from twbridge.broker.ready import Priorities, Ready, put_back

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
        clock: tells when they expire.
        durable: only kept to be compared: nothing survives the process.
        auto_delete: it goes with its last consumer.
        owner: the connection that it is exclusive to, or None.
        arguments: checked by ``arguments.py`` before.
    """

    #: Its type.
    kind = "classic"

    def __init__(
        self,
        name: str,
        memory: Memory,
        clock: IReactorTime,
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
        self.ready: Ready = self._make_ready()
        self.ready_bytes = 0
        #: In the order of their next turn.
        self.consumers: deque[Taker] = deque()
        #: One consumer has the queue for itself.
        self.exclusive = False
        self.deleted = False
        #: Set where it is declared with ``x-expires``.
        self.expiry: Expiry | None = None
        #: Set where it is declared with ``x-dead-letter-exchange``.
        self.dead_letters: Way | None = None
        self._memory = memory
        self._next_position = 0
        self._max_length: int | None = self.arguments.get("x-max-length")
        self._max_bytes: int | None = self.arguments.get("x-max-length-bytes")
        self._limited = self._max_length is not None or self._max_bytes is not None
        self._overflow = self.arguments.get("x-overflow", "drop-head")
        self._rejects = self._limited and self._overflow != "drop-head"
        self._ttl: int | None = self.arguments.get("x-message-ttl")
        self._lifetimes = Lifetimes(clock, self._ttl, self.drain)
        #: Some of its messages may expire.
        self._mortal = False

    def _make_ready(self) -> Ready:
        most = self.arguments.get("x-max-priority")
        return deque() if most is None else Priorities(most)

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
        self._lifetimes.stop()
        if self.expiry is not None:
            self.expiry.stop()

    # -- messages in --------------------------------------------------------------------------

    def push(self, message: Message) -> bool:
        """Append it, deliver what can be delivered, and keep to the maximum length.

        Returns:
            False when the queue is full and declared with ``x-overflow=reject-publish`` or
            ``reject-publish-dlx``; it has not taken the message then.
        """
        if self._rejects and self._overflows(1, len(message.body)):
            if self._overflow == "reject-publish-dlx":
                self._bury(message, "maxlen")
            return False
        entry = Entry(message, self._next_position)
        if message.ttl is not None or self._ttl is not None:
            entry.expires = self._lifetimes.end_of(message)
            self._mortal = True
        self._memory.hold(message)
        self.ready.append(entry)
        self.ready_bytes += len(message.body)
        self._next_position += 1
        # What comes to an idle consumer is delivered even if it is to expire at once.
        self._deliver()
        if self._limited:
            self._drop_head()
        if self._mortal:
            self._drop_expired()
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
        put_back(self.ready, back)
        self._drop_head()
        self.drain()

    def take_back(self, entries: Iterable[Entry]) -> None:
        """As :meth:`requeue`, where nobody asked for it: their channel has ended."""
        self.requeue(entries)

    # -- messages out -------------------------------------------------------------------------

    def drain(self) -> None:
        """Deliver from the head while a consumer has room."""
        if self._mortal:
            self._drop_expired()
        self._deliver()

    def get(self) -> Entry | None:
        """Take the head (basic.get). Give it back with :meth:`settle` or :meth:`requeue`."""
        self.touch()
        if self._mortal:
            self._drop_expired()
        entry = self._pop() if self.ready else None
        if self._mortal:
            self._drop_expired()
        return entry

    def settle(self, entry: Entry) -> None:
        """Be done with a taken entry: it was acknowledged, or needed no acknowledgement."""
        self._memory.release(entry.message)

    def reject(self, entry: Entry) -> None:
        """Be done with a taken entry that a consumer does not want."""
        self._discard(entry, "rejected")

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

    def _deliver(self) -> None:
        while self.ready and (consumer := self._next_consumer()) is not None:
            consumer.take(self._pop())
            if self._mortal:
                self._drop_expired()

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
            self._discard(self._pop(), "maxlen")

    def _drop_expired(self) -> None:
        while self.ready and self._lifetimes.is_over(self.ready[0]):
            self._discard(self._pop(), "expired")
        if self.ready:
            self._lifetimes.watch(self.ready[0])

    def _discard(self, entry: Entry, reason: Reason) -> None:
        try:
            self._bury(entry.message, reason)
        finally:
            self.settle(entry)

    def _bury(self, message: Message, reason: Reason) -> None:
        if self.dead_letters is not None and not self.deleted:
            self.dead_letters.send(message, reason)
