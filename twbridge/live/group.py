"""Those who get the same frames: encoded once, joined for each read of the broker (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import TwbridgeError

__all__ = ["Group", "Member", "Subscriber", "Take"]

_log = Logger()

#: Takes the frames of one read, and their routing keys.
Take = Callable[[Sequence[bytes], Sequence[str]], None]


class Member(Protocol):
    """Who gets frames: a session, or a subscription that chooses among them."""

    __slots__ = ()

    @property
    def encoder(self) -> Encoder:
        """Hashable; the same object for all that get the same bytes."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """What sends frames as they are; the shortest way to the socket."""

    @property
    def take(self) -> Take | None:
        """Called in place of ``send`` where it is not None: who may drop some wants each frame."""


class Subscriber(Member, Protocol):
    """What the hub needs of a session."""

    __slots__ = ()

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        """The subscription is over; there is no need to unsubscribe."""

    def interrupted(self, destination: Destination) -> None:
        """The subscription goes on, but messages may have been missed."""


class Group:
    """The subscribers of one destination, as it was written, with one encoder."""

    __slots__ = ("_takers", "_takes", "destination", "encode", "frames", "keys", "members", "sends")

    def __init__(self, destination: Destination, encoder: Encoder) -> None:
        self.destination = destination
        self.encode = encoder.encode
        self.members: dict[Any, None] = {}
        #: The frames of this read, not sent yet; and their routing keys, where somebody wants them.
        self.frames: list[bytes] = []
        self.keys: list[str] | None = None
        #: Where a frame goes; made anew on the first delivery after a change of the members.
        self.sends: list[Callable[[bytes], None]] | None = None
        self._takes: list[Take] = []
        self._takers = 0

    def join(self, member: Member) -> None:
        """Let it take part, from the next frame on."""
        self.flush()
        if member not in self.members:
            self.members[member] = None
            self._changed(member, 1)

    def leave(self, member: Member) -> None:
        """End its part; it gets what there is."""
        self.flush()
        # What it got may have been its end.
        if member in self.members:
            del self.members[member]
            self._changed(member, -1)

    def _changed(self, member: Member, by: int) -> None:
        self.sends = None
        if member.take is not None:
            self._takers += by
        self.keys = [] if self._takers else None

    def flush(self) -> None:
        """Send what there is to all members."""
        frames = self.frames
        if not frames:
            return
        self.frames = []
        chunk = frames[0] if len(frames) == 1 else b"".join(frames)
        keys = self.keys
        if keys is not None:
            self.keys = []
        sends = self.sends
        if sends is None:
            sends = self._sort()
        for send in sends:
            try:
                send(chunk)
            except Exception:
                self._broke()
        if keys is not None:
            for take in list(self._takes):
                try:
                    take(frames, keys)
                except Exception:
                    self._broke()

    def _sort(self) -> list[Callable[[bytes], None]]:
        self.sends = [member.send for member in self.members if member.take is None]
        self._takes = [member.take for member in self.members if member.take is not None]
        return self.sends

    def _broke(self) -> None:
        _log.failure("a subscriber of {destination} broke", destination=self.destination)
