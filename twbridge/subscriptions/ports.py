"""What subscriptions and sessions know of each other (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from twbridge.commands import Event
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import TwbridgeError
from twbridge.flow import Budget

__all__ = ["Outlet", "Subscription"]


class Outlet(Protocol):
    """A session, as its subscriptions see it."""

    __slots__ = ()

    @property
    def encoder(self) -> Encoder:
        """Shared with all sessions that get the same bytes."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """What sends frames as they are."""

    @property
    def takes_data(self) -> bool:
        """Whether the socket takes data now; ``Subscription.writable`` is called when it does."""

    @property
    def budget(self) -> Budget:
        """What its lanes may hold together."""

    def tell(self, event: Event, /) -> None:
        """Tell the client."""

    def overflowed(self) -> None:
        """The client reads too slowly (overflow policy ``close``): end it."""

    def ended(self, destination: Destination, error: TwbridgeError, /) -> None:
        """The subscription has ended by itself: forget it and tell the client."""

    def interrupted(self, destination: Destination, /) -> None:
        """The subscription goes on, but messages may have been missed."""


class Subscription(Protocol):
    """One subscription of a session."""

    def start(self) -> Deferred[None]:
        """Begin; fires when it stands. No message comes before.

        Fails with the broker's refusal, with NotReady, or with Conflict where :meth:`end` came
        first.
        """

    @property
    def destination(self) -> Destination:
        """As it was subscribed."""

    def end(self, delete: bool = False) -> Deferred[None] | None:
        """Deliver no more; what was not acknowledged goes back to its queue.

        Returns None where that is all, else what fires when the broker has let its queue go. It
        never fails.

        Args:
            delete: delete a queue that would stay.
        """

    def writable(self) -> None:
        """The socket takes data again."""

    def ack(self, tag: int, multiple: bool) -> None:
        """The client is done with a delivery. Raises NotFound where there is no such one."""

    def nack(self, tag: int, requeue: bool, multiple: bool) -> None:
        """The client refuses a delivery. Raises NotFound where there is no such one."""
