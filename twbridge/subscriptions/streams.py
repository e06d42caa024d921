"""All streams that are read on this instance (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.commands import Overflow
from twbridge.destinations import Destination
from twbridge.ports import ConsumingLink
from twbridge.starts import Start
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.ports import Outlet
from twbridge.subscriptions.reader import Reader, Sink
from twbridge.subscriptions.reads import Reads
from twbridge.subscriptions.stream import StreamSubscription
from twbridge.subscriptions.tail import Tail

__all__ = ["Streams"]

#: Seconds that the end of a stream is followed without followers: a page that is reloaded.
LINGER = 5.0


class Streams:
    """Their ends, and readers.

    Args:
        link: the way to the broker.
        clock: for delays.
        reads: when to send what a read has brought.
        redeclare: called with the name of a stream that was deleted.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        reads: Reads,
        *,
        redeclare: Callable[[str], object] | None = None,
    ) -> None:
        self.clock = clock
        self.reads = reads
        self._link = link
        self._redeclare = redeclare
        self._tails: dict[str, Tail] = {}
        self._lingering: dict[Tail, IDelayedCall] = {}

    @property
    def open(self) -> int:
        """How many streams are followed."""
        return len(self._tails)

    def subscription(
        self,
        outlet: Outlet,
        destination: Destination,
        start: Start,
        *,
        prefetch: int,
        overflow: Overflow,
        valve: Valve | None,
        patient: bool,
    ) -> StreamSubscription:
        """A subscription, not started."""
        return StreamSubscription(
            self,
            outlet,
            destination,
            start,
            prefetch=prefetch,
            overflow=overflow,
            valve=valve,
            patient=patient,
        )

    def tail(self, name: str, user: StreamSubscription) -> Tail:
        """See ``stream.Library``."""
        tail = self._tails.get(name)
        if tail is None:
            tail = self._tails[name] = Tail(
                self._link, self.clock, self.reads, name, self._ended, self._redeclare
            )
            tail.users[user] = None
            tail.begin()
        timer = self._lingering.pop(tail, None)
        if timer is not None:
            timer.cancel()
        tail.users[user] = None
        return tail

    def leave(self, tail: Tail, user: StreamSubscription) -> None:
        """See ``stream.Library``."""
        tail.unfollow(user)
        tail.users.pop(user, None)
        if not tail.users and self._tails.get(tail.name) is tail and tail not in self._lingering:
            self._lingering[tail] = self.clock.callLater(LINGER, self._stop, tail)

    def reader(
        self, name: str, sink: Sink, start: Start, position: int | None, prefetch: int
    ) -> Reader:
        """See ``stream.Library``."""
        return Reader(
            self._link,
            self.clock,
            name,
            sink,
            start=start,
            position=position,
            prefetch=prefetch,
            redeclare=self._redeclare,
        )

    def stop(self) -> None:
        """Stop all timers, and read no more."""
        for tail in list(self._tails.values()):
            timer = self._lingering.pop(tail, None)
            if timer is not None:
                timer.cancel()
            tail.stop()
        self._tails.clear()

    def _stop(self, tail: Tail) -> None:
        self._lingering.pop(tail, None)
        self._tails.pop(tail.name, None)
        tail.stop()

    def _ended(self, tail: Tail) -> None:
        if self._tails.get(tail.name) is tail:
            del self._tails[tail.name]
        timer = self._lingering.pop(tail, None)
        if timer is not None:
            timer.cancel()
