"""The messages of a queue that wait, in the order of their delivery (sans-I/O).

One queue is a deque, which is what the hot path wants; where some messages go before others there
is a deque for each level. Both have the methods of :class:`Ready`.
"""

from __future__ import annotations

import bisect
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Protocol

from twbridge.broker.messages import Entry

__all__ = ["Levels", "Priorities", "Ready", "put_back"]

_position = attrgetter("position")


class Ready(Protocol):
    """What a queue asks of its messages that wait."""

    def append(self, entry: Entry, /) -> None:
        """Behind all others, or all others of its level."""

    def popleft(self) -> Entry:
        """Take the head."""

    def __getitem__(self, index: int, /) -> Entry:
        """The head; it is not asked for others."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Entry]: ...


def put_back(ready: Ready, back: Sequence[Entry]) -> None:
    """Entries that were taken go back to their places.

    Args:
        back: in the order of their positions.
    """
    if isinstance(ready, Levels):
        ready.put_back(back)
    elif isinstance(ready, deque):
        _put_back(ready, back)


def _put_back(ready: deque[Entry], back: Sequence[Entry]) -> None:
    if not ready or (back and back[-1].position < ready[0].position):
        ready.extendleft(reversed(back))
        return
    for entry in back:
        ready.insert(bisect.bisect(ready, entry.position, key=_position), entry)


class Levels:
    """Entries of a higher level before those of a lower one, first in first out in each."""

    def __init__(self) -> None:
        self._levels: defaultdict[int, deque[Entry]] = defaultdict(deque)
        #: Bit n is set where level n has entries.
        self._some = 0
        self._count = 0

    def level(self, entry: Entry) -> int:
        """Of an entry; always the same one while it waits."""
        raise NotImplementedError

    def append(self, entry: Entry) -> None:
        """Behind all others of its level."""
        level = self.level(entry)
        self._levels[level].append(entry)
        self._some |= 1 << level
        self._count += 1

    def popleft(self) -> Entry:
        """Take the head."""
        top = self._top
        entry = self._levels[top].popleft()
        if not self._levels[top]:
            self._some &= ~(1 << top)
        self._count -= 1
        return entry

    def put_back(self, back: Sequence[Entry]) -> None:
        """As :func:`put_back` does, each in its level."""
        by_level: defaultdict[int, list[Entry]] = defaultdict(list)
        for entry in back:
            by_level[self.level(entry)].append(entry)
        for level, entries in by_level.items():
            _put_back(self._levels[level], entries)
            self._some |= 1 << level
            self._count += len(entries)

    @property
    def _top(self) -> int:
        return self._some.bit_length() - 1

    def __getitem__(self, index: int) -> Entry:
        return self._levels[self._top][index]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for level in sorted(self._levels, reverse=True):
            yield from self._levels[level]


class Priorities(Levels):
    """By the priority of the message (https://www.rabbitmq.com/priority.html).

    Args:
        most: ``x-max-priority``; what is above counts as that.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def level(self, entry: Entry) -> int:
        """The priority."""
        return min(entry.message.priority, self._most)
