"""The end of a stream: one consumer for all who follow it, on this instance (sans-I/O).

It begins with the last message there is, so that its position is known: whoever has read up to it
can follow, and misses nothing; whoever has read further waits until it has passed that place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import TwbridgeError
from twbridge.live.group import Group, Member
from twbridge.ports import ConsumingLink
from twbridge.starts import Start
from twbridge.subscriptions.reader import Reader
from twbridge.subscriptions.reads import Reads
from twbridge.wire import Delivery

__all__ = ["Follower", "Tail"]

_log = Logger()

PREFETCH = 500


class Follower(Member, Protocol):
    """A subscription, as the tail sees it."""

    @property
    def destination(self) -> Destination:
        """As it was subscribed."""

    def tail_begins(self, offset: int) -> None:
        """The stream was not empty. All of it is read; the next that was published is this."""

    def tail_gap(self, first: int, resumed: int) -> None:
        """Messages are missing at the end of the stream, or the stream was made anew."""

    def tail_ended(self, error: TwbridgeError) -> None:
        """The stream can't be read any more."""


class Tail:
    """The shared reader of one stream.

    Args:
        link: the way to the broker.
        clock: for delays.
        reads: when to send what a read has brought.
        name: of the stream.
        on_ended: called when it has ended by itself.
        redeclare: see :class:`Reader`.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        reads: Reads,
        name: str,
        on_ended: Callable[[Tail], None],
        redeclare: Callable[[str], object] | None = None,
    ) -> None:
        self.name = name
        #: Everybody who needs it: who follows, and who reads or waits and will.
        self.users: dict[Follower, None] = {}
        #: What had been sent to the followers when the last read was over.
        self.flushed = -1
        #: How often the followers were told that the stream was made anew.
        self.renewals = 0
        # The last message of which the groups have a frame.
        self._framed = -1
        self._settled = False
        self._error: TwbridgeError | None = None
        self._reads = reads
        self._on_ended = on_ended
        self._waiting: list[Deferred[None]] = []
        self._groups: dict[tuple[Encoder, str], Group] = {}
        # Who has read further already, by the offset that they have.
        self._ahead: dict[Follower, int] = {}
        self._flushing = False
        self._sending = False
        self._reader = Reader(
            link,
            clock,
            name,
            self,
            start=Start("last"),
            prefetch=PREFETCH,
            redeclare=redeclare,
            on_beginning=self._begins,
        )

    def begin(self) -> None:
        """Attach to the stream."""
        begun = self._reader.begin()
        begun.addErrback(self._not_begun)

    def _not_begun(self, failure: Failure) -> None:
        error = failure.value
        self.ended(error if isinstance(error, TwbridgeError) else TwbridgeError())

    def stop(self) -> None:
        """Let the stream go."""
        self._reader.stop()

    @property
    def position(self) -> int:
        """The offset of the last message that it has seen; -1: the stream is empty."""
        return -1 if self._reader.position is None else self._reader.position

    @property
    def last(self) -> Delivery | None:
        """That message; None where the stream was empty."""
        return self._reader.last

    @property
    def is_settled(self) -> bool:
        """Whether its position is known, so that somebody can follow."""
        return self._settled and self._reader.position is not None

    def when_settled(self) -> Deferred[None]:
        """Fires when somebody can follow; fails with what prevents it."""
        if self._error is not None:
            return fail(self._error)
        if self.is_settled:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def catch_up(self) -> Deferred[None]:
        """Fires when :attr:`position` is that of the broker, or that can't be known."""
        return self._reader.catch_up()

    def follow(self, follower: Follower, floor: int) -> None:
        """Deliver to it what comes after the offset ``floor``, which it has."""
        if floor > self.position:
            self._ahead[follower] = floor
            return
        self._send()
        name = (follower.encoder, str(follower.destination))
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(follower.destination, follower.encoder)
        group.join(follower)

    def unfollow(self, follower: Follower) -> None:
        """Deliver no more; nothing happens where it does not follow."""
        self._ahead.pop(follower, None)
        self._send()
        name = (follower.encoder, str(follower.destination))
        group = self._groups.get(name)
        if group is None or follower not in group.members:
            return
        group.leave(follower)
        if not group.members:
            del self._groups[name]

    # -- told by the reader

    def message(self, offset: int, delivery: Delivery) -> None:
        """Encode it once for each group; it leaves at the end of the read."""
        if self._ahead:
            self._admit(offset)
        for group in self._groups.values():
            try:
                frame = group.encode(group.destination, delivery, offset=offset)
            except Exception:
                _log.failure("{delivery!r} can't be encoded", delivery=delivery)
                continue
            group.frames.append(frame)
            if group.keys is not None:
                group.keys.append(delivery.routing_key)
        self._framed = offset
        self._flush_later()

    def _admit(self, offset: int) -> None:
        for follower, floor in list(self._ahead.items()):
            if floor < offset:
                del self._ahead[follower]
                self.follow(follower, -1)

    def _flush_later(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._reads.then(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._send()
        self._reader.ack()

    def _send(self) -> None:
        """Send what the groups have, all of it: whoever parks then knows its place."""
        if self._sending or self.flushed == self._framed:
            return
        self._sending = True
        for group in list(self._groups.values()):
            group.flush()
        self._sending = False
        self.flushed = self._framed

    def _begins(self, offset: int) -> None:
        for follower in list(self.users):
            follower.tail_begins(offset)

    def gap(self, first: int, resumed: int) -> None:
        """Everybody is told, and goes on from there."""
        self._send()
        self.flushed = self._framed = resumed - 1
        if resumed <= first:
            self.renewals += 1
            ahead, self._ahead = self._ahead, {}
            for follower in ahead:
                self.follow(follower, -1)
        for follower in list(self.users):
            follower.tail_gap(first, resumed)

    def settled(self) -> None:
        """The position is known."""
        if not self._settled:
            self._settled = True
            self.flushed = self._framed = self.position
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def ended(self, error: TwbridgeError) -> None:
        """Nobody can follow any more."""
        self._error = error
        self.stop()
        self._on_ended(self)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(Failure(error))
        for follower in list(self.users):
            follower.tail_ended(error)
