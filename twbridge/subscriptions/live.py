"""Live subscriptions that the session can't hold in the hub itself (sans-I/O).

Those with an overflow policy that drops, and those that have a name: a session may have several to
one destination.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import NotFound, TwbridgeError
from twbridge.hub import Hub
from twbridge.live.group import Take
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.ports import Outlet

__all__ = ["LiveSubscription"]


class LiveSubscription:
    """One that is more than a place of its session in the hub: it is the hub's subscriber itself.

    Args:
        outlet: the session.
        destination: as it was subscribed.
        hub: where all are.
        valve: drops what a slow socket does not take; None: such a client is closed.
        patient: wait for the broker without limit.
    """

    def __init__(
        self,
        outlet: Outlet,
        destination: Destination,
        hub: Hub,
        *,
        valve: Valve | None,
        patient: bool,
    ) -> None:
        self.encoder: Encoder = outlet.encoder
        self.send: Callable[[bytes], None] = outlet.send
        self._outlet = outlet
        self.destination = destination
        self._hub = hub
        self._valve = valve
        self.take: Take | None = None if valve is None else valve.take
        self._patient = patient
        self._starting: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """See ``ports.Subscription``."""
        self._starting = self._hub.subscribe(self.destination, self, patient=self._patient)
        return self._starting

    def end(self, delete: bool = False) -> None:
        """See ``ports.Subscription``."""
        if self._starting is not None and not self._starting.called:
            self._starting.cancel()
        else:
            self._hub.unsubscribe(self.destination, self)
        # Who leaves in the midst of a read gets what there is.
        self._close()

    def writable(self) -> None:
        """See ``ports.Subscription``."""
        if self._valve is not None:
            self._valve.writable()

    def _close(self) -> None:
        if self._valve is not None:
            self._valve.close()

    def ack(self, tag: int, multiple: bool) -> None:
        """There is nothing to acknowledge."""
        raise NotFound("Messages of this subscription are not acknowledged.")

    def nack(self, tag: int, requeue: bool, multiple: bool) -> None:
        """There is nothing to acknowledge."""
        raise NotFound("Messages of this subscription are not acknowledged.")

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        """The hub has ended it."""
        self._close()
        self._outlet.ended(destination, error)

    def interrupted(self, destination: Destination) -> None:
        """It goes on, but messages may have been missed."""
        self._outlet.interrupted(destination)
