"""How many sockets there are, in all and of each address.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from twbridge.sockets.origins import neighbourhood

_LOBBY: Final = 64
"""Sockets past the limit in all that are still heard: to be told 503, or for a page or a health
check, so that a full server is not taken for a dead one."""

_PORCH: Final = 8
"""Sockets of one address past its limit that are still heard, to be told 503."""


class Census:
    """Counts the sockets, in all and of each neighbourhood. Listeners may share one.

    Args:
        limit: sockets in all.
        limit_per_address: sockets of one IPv4 address or IPv6 /64.
    """

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self.limit = limit
        self.limit_per_address = limit_per_address
        self.total = 0
        self.places: dict[str, int] = {}

    def of(self, address: str) -> int:
        """How many sockets the neighbourhood of `address` has."""
        return self.places.get(neighbourhood(address), 0)

    def enter(self) -> Lease:
        """Counts one more socket, of no address yet."""
        self.total += 1
        return Lease(self)

    @property
    def crowded(self) -> bool:
        """More sockets than the limit in all."""
        return self.total > self.limit

    @property
    def overrun(self) -> bool:
        """Not even the lobby has room."""
        return self.total > self.limit + _LOBBY


class Lease:
    """One socket's place in the census, given back once."""

    __slots__ = ("_census", "_place")

    def __init__(self, census: Census) -> None:
        self._census: Census | None = census
        self._place: str | None = None

    def settle(self, address: str) -> None:
        """Counts the socket for its address; a later call moves it to another one."""
        if self._census is None:
            return
        place, counts = neighbourhood(address), self._census.places
        if place != self._place:
            self._leave()
            self._place = place
            counts[place] = counts.get(place, 0) + 1

    @property
    def neighbours(self) -> int:
        """Sockets of the same neighbourhood, this one included; 0 before `settle`."""
        if self._census is None or self._place is None:
            return 0
        return self._census.places[self._place]

    @property
    def crowded(self) -> bool:
        """The neighbourhood has more than its limit."""
        return bool(self._census and self.neighbours > self._census.limit_per_address)

    @property
    def overrun(self) -> bool:
        """The neighbourhood has no room left even to be told so."""
        return bool(self._census and self.neighbours > self._census.limit_per_address + _PORCH)

    def release(self) -> None:
        """The socket is gone. A second call does nothing."""
        if self._census is not None:
            self._leave()
            self._census.total -= 1
            self._census = None

    def _leave(self) -> None:
        if self._census is not None and self._place is not None:
            counts = self._census.places
            left = counts[self._place] - 1
            if left:
                counts[self._place] = left
            else:
                del counts[self._place]
