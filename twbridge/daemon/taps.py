"""What the bus has to do with messages: plugins see those that arrive, and send some (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.bus import AMQP2WS, WS2AMQP, Bus
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import TwbridgeError
from twbridge.hub import Hub
from twbridge.ports import Publishing
from twbridge.wire import Delivery

_log = Logger()

AGAIN = 5.0
"""Seconds until a subscription that the broker ended is asked for again."""
TEXT = "text/plain; charset=utf-8"


class _NoFrame:
    """An encoder for nobody: a tap is on the bus, not on a socket."""

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """Nothing."""
        return b""


class Taps:
    """Joins the bus to the hub and the link.

    While nobody listens on ``amqp2ws`` it costs nothing. With the first listener it subscribes to
    what the routes deliver, for good, so that listeners see every message, whoever is connected.

    Args:
        bus: whose channels.
        link: publishes what comes on ``ws2amqp``.
        clock: for trying again.
        subscribed: the destinations that routes deliver.
        default: where ``ws2amqp`` goes that names no destination.
    """

    encoder: Encoder = _NoFrame()
    take = None

    def __init__(
        self,
        bus: Bus,
        link: Publishing,
        clock: IReactorTime,
        subscribed: Iterable[Destination],
        default: Destination,
    ) -> None:
        self._bus = bus
        self._link = link
        self._clock = clock
        self._wanted = tuple(dict.fromkeys(subscribed))
        self._default = default
        self._hub: Hub | None = None
        self._again: set[IDelayedCall] = set()
        self.send: Callable[[bytes], None] = lambda frame: None
        bus.subscribe(WS2AMQP, self._publish)

    def delivered(self, delivery: Delivery) -> None:
        """A message has arrived. A listener that fails is logged and hurts nothing."""
        if self._bus.has(AMQP2WS):
            self._bus.tell(AMQP2WS, delivery)

    def open(self, hub: Hub) -> None:
        """Subscribe to what the routes deliver; a second call does nothing."""
        if self._hub is None:
            self._hub = hub
            for destination in self._wanted:
                self._subscribe(hub, destination)

    def stop(self) -> None:
        """Try nothing again."""
        again, self._again = self._again, set()
        for call in again:
            call.cancel()

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        """The hub has ended a subscription: ask again in a while."""
        _log.warn("The bus misses {to}: {error}", to=str(destination), error=str(error))

        def again() -> None:
            self._again.discard(call)
            if self._hub is not None:
                self._subscribe(self._hub, destination)

        call = self._clock.callLater(AGAIN, again)
        self._again.add(call)

    def interrupted(self, destination: Destination) -> None:
        """The subscription goes on, but messages may have been missed."""
        _log.warn("The bus may have missed messages of {to}", to=str(destination))

    def _subscribe(self, hub: Hub, destination: Destination) -> None:
        waiting = hub.subscribe(destination, self, patient=True)
        waiting.addErrback(self._refused, destination)

    def _refused(self, failure: Failure, destination: Destination) -> None:
        error = failure.value
        self.ended(destination, error if isinstance(error, TwbridgeError) else TwbridgeError(error))

    def _publish(
        self, body: bytes | str, destination: Destination | str | None = None
    ) -> Deferred[None]:
        """The listener of ``ws2amqp``. The Deferred fires on the broker's ack."""
        to = parse(destination) if isinstance(destination, str) else destination or self._default
        data, properties = (
            (body.encode(), {"content_type": TEXT})
            if isinstance(body, str)
            else (
                body,
                None,
            )
        )
        return self._link.publish(
            to.exchange, to.routing_key, data, properties, mandatory=not to.live
        )
