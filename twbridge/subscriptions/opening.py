"""Which kind of subscription a command asks for (sans-I/O).

=========  ====  ===================================================  ===========
kind       ack   overflow (the first is the default)                  may have
=========  ====  ===================================================  ===========
live       auto  ``close``, ``drop-oldest``, ``latest``
live       cl.   ``block``                                            prefetch
queue      auto  ``block``, ``close``, ``drop-oldest``, ``latest``    prefetch
queue      cl.   ``block``, ``close``                                 prefetch
stream     auto  ``block``, ``close``, ``drop-oldest``, ``latest``    prefetch, start
=========  ====  ===================================================  ===========
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from twisted.internet.interfaces import IReactorTime

from twbridge.commands import Overflow, Subscribe
from twbridge.destinations import Destination
from twbridge.errors import BadDestination, BadFrame
from twbridge.flow import Drops
from twbridge.hub import Hub
from twbridge.ports import ConsumingLink
from twbridge.starts import NEXT
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.live import LiveSubscription
from twbridge.subscriptions.once import OnceSubscription
from twbridge.subscriptions.ports import Outlet, Subscription
from twbridge.subscriptions.queue import QueueSubscription, as_asked, candidates, private
from twbridge.subscriptions.reads import Reads
from twbridge.subscriptions.streams import Streams

__all__ = ["Subscriptions"]

QUEUE_PREFETCH = 20
STREAM_PREFETCH = 100

_DROPPING = ("drop-oldest", "latest")


class Subscriptions:
    """Opens the subscriptions of all sessions.

    Args:
        link: the way to the broker.
        clock: for delays.
        hub: the live ones.
        instance: begins the names of queues that belong to a session.
        redeclare: declares a stream of the settings again, by name; None: nobody does.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        hub: Hub,
        *,
        instance: str,
        redeclare: Callable[[str], object] | None = None,
    ) -> None:
        self.hub = hub
        self.drops = Drops(clock)
        self._link = link
        self._clock = clock
        self._reads = Reads(link)
        self._streams = Streams(link, clock, self._reads, redeclare=redeclare)
        self._instance = instance
        self._numbers = count(1)

    def stop(self) -> None:
        """Stop all timers and let the link go. The broker's side ends with the connection."""
        self._streams.stop()
        self._reads.stop()
        self.drops.stop()

    def is_plain(self, command: Subscribe, max_prefetch: int) -> bool:
        """Whether it is a place in the hub and nothing else, which is what most are.

        Raises:
            BadDestination: nobody can subscribe to that.
            BadFrame: an option that this kind of subscription does not have.
        """
        destination = command.destination
        if destination.live and _has_queue(command):
            _allow(command, "a live subscription with acks", ("block",), max_prefetch)
        elif destination.live:
            _allow(command, "a live subscription", ("close", *_DROPPING), None)
            own = command.name is not None or command.encoder is not None
            return command.overflow in (None, "close") and not own
        elif destination.kind in ("queue", "amq-queue"):
            dropping = _DROPPING if command.ack == "auto" else ()
            kind = "a queue" if dropping else "a queue with acks"
            _allow(command, kind, ("block", "close", *dropping), max_prefetch)
        elif destination.kind == "stream":
            if command.ack == "client":
                raise BadFrame("A stream is read by offset: there is nothing to acknowledge.")
            _allow(command, "a stream", ("block", "close", *_DROPPING), max_prefetch, start=True)
        elif destination.kind != "temp-queue" or command.queue is None:
            raise BadDestination(f"Nobody can subscribe to a /{destination.kind} destination.")
        return False

    def open(self, command: Subscribe, outlet: Outlet) -> Subscription:
        """The subscription that the command asks for, not started yet. It is not a plain one."""
        destination = command.destination
        if destination.kind == "stream":
            return self._streams.subscription(
                outlet,
                destination,
                command.start or NEXT,
                prefetch=command.prefetch or STREAM_PREFETCH,
                overflow=command.overflow or "block",
                valve=self._valve(outlet, destination, command.overflow),
                patient=command.patient,
            )
        if destination.live and not _has_queue(command):
            return LiveSubscription(
                outlet,
                destination,
                self.hub,
                valve=self._valve(outlet, destination, command.overflow),
                patient=command.patient,
            )
        return self._queue(command, outlet)

    def _queue(self, command: Subscribe, outlet: Outlet) -> Subscription:
        destination, queue = command.destination, command.queue
        attempts = partial(candidates, destination)
        binding = (destination.exchange, destination.key) if destination.live else None
        if queue is not None:
            attempts = partial(as_asked, queue)
        elif destination.live:
            name = f"twbridge.subscription.{self._instance}.{next(self._numbers)}"
            attempts = partial(private, name)
        kind = OnceSubscription if command.once else QueueSubscription
        return kind(
            self._link,
            self._clock,
            self._reads,
            outlet,
            destination,
            attempts,
            binding=binding,
            private=destination.kind == "temp-queue" or (destination.live and queue is None),
            prefetch=command.prefetch or QUEUE_PREFETCH,
            client_acks=command.ack == "client",
            waits=command.overflow in (None, "block"),
            valve=self._valve(outlet, destination, command.overflow),
            patient=command.patient,
        )

    def _valve(
        self, outlet: Outlet, destination: Destination, overflow: Overflow | None
    ) -> Valve | None:
        if overflow not in _DROPPING:
            return None
        return Valve(outlet, destination, overflow == "latest", self.drops)


def _has_queue(command: Subscribe) -> bool:
    """Whether a live subscription has a queue of its own: for acks, or because it is durable."""
    return command.ack == "client" or command.queue is not None


def _allow(
    command: Subscribe,
    kind: str,
    overflows: tuple[str, ...],
    max_prefetch: int | None,
    start: bool = False,
) -> None:
    """Raises BadFrame where the command has an option that it can't have."""
    if command.overflow is not None and command.overflow not in overflows:
        raise BadFrame(f"The overflow of {kind} is {' or '.join(overflows)}.")
    if command.start is not None and not start:
        raise BadFrame(f"There is no from in {kind}: only streams keep what is past.")
    if command.prefetch is None:
        return
    if max_prefetch is None:
        raise BadFrame(f"There is no prefetch in {kind}: nothing is acknowledged.")
    if not 1 <= command.prefetch <= max_prefetch:
        raise BadFrame(f"A prefetch is a whole number from 1 to {max_prefetch}.")
