"""Messages for a client that reads too slowly: the overflow policies that drop (sans-I/O).

Nothing is dropped while the socket takes data. What waits is bounded by the session's budget;
what is dropped is counted, and the client told, before the frames that are left.
"""

from __future__ import annotations

from collections.abc import Sequence

from twbridge.commands import Dropped
from twbridge.destinations import Destination
from twbridge.flow import Drops, Lane
from twbridge.subscriptions.ports import Outlet

__all__ = ["Valve"]


class Valve:
    """The way of one subscription to its socket, with a lane beside it.

    Args:
        outlet: the session.
        destination: as it was subscribed.
        latest: keep the newest of each routing key; else drop the oldest.
        drops: counts them all.
    """

    __slots__ = ("_destination", "_drops", "_lane", "_outlet")

    def __init__(
        self, outlet: Outlet, destination: Destination, latest: bool, drops: Drops
    ) -> None:
        self._outlet = outlet
        self._destination = destination
        self._lane = Lane(latest, outlet.budget)
        self._drops = drops

    def take(self, frames: Sequence[bytes], keys: Sequence[str]) -> None:
        """Send them, or keep what there is room for until :meth:`writable`."""
        if not self._lane and self._outlet.takes_data:
            self._outlet.send(b"".join(frames))
            return
        before = self._lane.dropped
        for frame, key in zip(frames, keys, strict=True):
            self._lane.keep(frame, key)
        if self._lane.dropped > before:
            self._drops.add(self._lane.dropped - before)

    def writable(self) -> None:
        """The socket takes data: tell what was dropped, and send what is left."""
        if self._outlet.takes_data:
            self._tell_dropped()
        while self._lane and self._outlet.takes_data:
            self._outlet.send(self._lane.pop())

    def skip(self) -> None:
        """Drop what waits, and tell it: what comes next does not belong behind it."""
        count = self._lane.drop_all()
        if count:
            self._drops.add(count)
        self._tell_dropped()

    def close(self) -> None:
        """Let go of what waits."""
        self._lane.clear()

    def _tell_dropped(self) -> None:
        if self._lane.dropped:
            count, self._lane.dropped = self._lane.dropped, 0
            self._outlet.tell(Dropped(self._destination, count))
