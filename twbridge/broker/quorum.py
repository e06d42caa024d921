"""Quorum queues of the embedded broker (sans-I/O): what they do differently, without replicas.

They count how often a message came back: ``x-delivery-count`` tells it to the consumer, and past
``x-delivery-limit`` it is a dead letter. With a limit what comes back goes before all others;
without one it goes behind them, unless the consumer's channel ended. An exclusive consumer has
such a queue for itself no more than any other.

Source: https://www.rabbitmq.com/quorum-queues.html, and what RabbitMQ 3.10 does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from twbridge.broker import refusals, rewriting
from twbridge.broker.deadletters import Reason
from twbridge.broker.messages import Entry, Message
from twbridge.broker.queues import Queue
from twbridge.broker.ready import Levels, Ready

__all__ = ["PREFETCH", "QuorumQueue"]

#: What a consumer without a prefetch count holds at most.
PREFETCH = 2000
#: A queue that rejected publishes takes them again below this part of its maximum length.
LOW = 0.8

_COUNT = "x-delivery-count"


class QuorumEntry(Entry):
    """A message in a quorum queue.

    ``message`` is what is delivered, with the count; ``original`` is without.
    """

    __slots__ = ("deliveries", "first", "original")

    def __init__(self, message: Message, position: int) -> None:
        super().__init__(message, position)
        self.original = message
        #: How often it came back.
        self.deliveries = 0
        #: It goes before those that never came back.
        self.first = False

    def came_back(self, first: bool) -> None:
        """It was delivered, and is delivered again."""
        self.first = first
        self.redelivered = True
        self.deliveries += 1
        self.tell_count()

    def tell_count(self) -> None:
        """Deliver it with ``x-delivery-count``."""
        was = self.original
        count = {_COUNT: rewriting.long(self.deliveries)}
        self.message = Message(
            was.exchange,
            was.routing_key,
            rewriting.rewritten(was.raw_properties, count),
            was.body,
            {**was.headers, _COUNT: self.deliveries},
        )


class Returns(Levels):
    """First what came back to be the first."""

    def level(self, entry: Entry) -> int:
        """1 or 0."""
        return int(isinstance(entry, QuorumEntry) and entry.first)


class QuorumQueue(Queue):
    """One quorum queue; arguments as those of :class:`~twbridge.broker.queues.Queue`."""

    kind = "quorum"

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._limit: int | None = self.arguments.get("x-delivery-limit")
        # Of the ways to overflow it has two; RabbitMQ takes the third one for the first.
        self._rejects = self._limited and self._overflow == "reject-publish"
        self._blocked = False

    def _make_ready(self) -> Ready:
        return Returns()

    def push(self, message: Message) -> bool:
        """Append it, deliver what can be delivered, and keep to the maximum length.

        Returns:
            False when it is declared with ``x-overflow=reject-publish`` and has been over its
            maximum length; it has not taken the message then.
        """
        if self._blocked:
            return False
        entry = QuorumEntry(message, self._next_position)
        # At once means: within a millisecond.
        entry.expires = self._lifetimes.end_of(message, at_least=1)
        self._mortal = self._mortal or entry.expires is not None
        self._memory.hold(message)
        self.ready.append(entry)
        self.ready_bytes += len(message.body)
        self._next_position += 1
        self.drain()
        self._keep_to_limit()
        return True

    def get(self) -> Entry | None:
        """Take the head (basic.get), which is told even that it never came back."""
        entry = super().get()
        if isinstance(entry, QuorumEntry) and not entry.deliveries:
            entry.tell_count()
        return entry

    def requeue(self, entries: Iterable[Entry]) -> None:
        """Take entries back that a consumer did not want; see the module."""
        self._return(entries, first=self._limit is not None)

    def take_back(self, entries: Iterable[Entry]) -> None:
        """Take entries back from a channel that has ended: they are the first again."""
        self._return(entries, first=True)

    def refuse_deletion(self, flag: str) -> NoReturn:
        """Raise ConnectionClosed (540): it can't be deleted on a condition."""
        raise refusals.not_implemented(
            f"cannot delete queue '{self.name}' in vhost '/'. queue.delete operations with {flag} "
            "flag set are not supported by quorum queues"
        )

    def settle(self, entry: Entry) -> None:
        assert isinstance(entry, QuorumEntry)
        self._memory.release(entry.original)

    def _return(self, entries: Iterable[Entry], first: bool) -> None:
        for entry in entries:
            assert isinstance(entry, QuorumEntry)
            if self.deleted:
                self.settle(entry)
                continue
            entry.came_back(first)
            if self._limit is not None and entry.deliveries > self._limit:
                self._discard(entry, "delivery_limit")
            else:
                self.ready.append(entry)
                self.ready_bytes += len(entry.message.body)
        if not self.deleted:
            self.drain()
            self._keep_to_limit()

    def _discard(self, entry: Entry, reason: Reason) -> None:
        assert isinstance(entry, QuorumEntry)
        entry.message = entry.original
        super()._discard(entry, reason)

    def _pop(self) -> Entry:
        entry = super()._pop()
        if self._blocked and self._is_low():
            self._blocked = False
        return entry

    def _keep_to_limit(self) -> None:
        if self._rejects:
            self._blocked = self._blocked or self._overflows()
        elif self._limited:
            self._drop_head()

    def _is_low(self) -> bool:
        counts = ((len(self.ready), self._max_length), (self.ready_bytes, self._max_bytes))
        return all(most is None or count <= int(most * LOW) for count, most in counts)
