"""Live subscriptions: many sessions on few broker queues (sans-I/O).

The hub keeps one exclusive, server-named queue for each exchange whose type is known, bound with
every key that somebody subscribes to, and matches the keys itself. An exchange of another type
gets a queue for each destination, so that the broker matches. A delivery is routed by the consumer
that it came through, never by its exchange: over an exchange-to-exchange binding that is another.

Bindings are shared and counted, and undone a little after the last subscriber left. They live
through the reconnects of the link, which declares them again. A queue that the broker took away is
made again at once; where that is refused, its subscriptions are ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from twbridge.destinations import Destination
from twbridge.errors import BadDestination
from twbridge.live.fanout import Fanout, Subscriber
from twbridge.live.sources import Source
from twbridge.ports import UP, ConsumingLink
from twbridge.topics import words
from twbridge.wire import Delivery

__all__ = ["Hub", "Subscriber"]

#: The exchanges that RabbitMQ declares itself, and their types.
BUILT_IN = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
    "amq.rabbitmq.event": "topic",
    "amq.rabbitmq.log": "topic",
    "amq.rabbitmq.trace": "topic",
}
_MATCHED_HERE = frozenset(BUILT_IN.values())

#: The time that a match takes grows with the words of a pattern, and clients choose patterns.
MAX_HASHES, MAX_WORDS = 8, 32


class Hub:
    """All live subscriptions of an instance.

    Args:
        link: the way to the broker.
        clock: for delays.
        exchange_types: the types of the exchanges that the settings declare, by name. The
            ``amq.`` ones are known anyway; a type of a plugin (``x-...``) is left to the broker.
        unbind_delay: seconds from the last subscriber's end to the binding's, so that the reload
            of a page costs the broker nothing.
        timeout: seconds after which a subscription that the broker does not answer fails.
        on_delivery: sees every message that comes, once for each queue it comes through.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        *,
        exchange_types: Mapping[str, str] | None = None,
        unbind_delay: float = 5.0,
        timeout: float = 10.0,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.link = link
        self.clock = clock
        self.unbind_delay = unbind_delay
        self.idle = 0
        self.up = link.state in UP
        self._timeout = timeout
        self._types = BUILT_IN | dict(exchange_types or {})
        self._on_delivery = on_delivery
        self._sources: dict[tuple[str, str | None], Source] = {}
        self._stop_listening = (link.on_state(self._link_changed), link.on_read(self._flush))

    @property
    def queues(self) -> int:
        """The broker queues it has or wants."""
        return len(self._sources)

    @property
    def bindings(self) -> int:
        """The broker bindings it has or wants, those included that are about to go."""
        return sum(len(source.bindings) for source in self._sources.values())

    def subscribe(
        self, destination: Destination, subscriber: Subscriber, *, patient: bool = False
    ) -> Deferred[None]:
        """Send ``subscriber`` a frame for each message that matches, from the answer on.

        Fires when the broker has the binding; no frame comes before. A subscriber asks once for
        a destination, until it has unsubscribed. Cancelling the Deferred takes it back.

        Args:
            destination: an exchange or a topic.
            subscriber: who; see :class:`Subscriber`.
            patient: wait for the broker without limit.

        Errors:
            BadDestination: it is not live, or its pattern costs too much to match.
            ChannelClosed: the broker refused; 404 where the exchange is missing.
            NotReady: no answer of the broker within the timeout.
            Conflict: it was taken back.
        """
        name = self._name(destination)
        if not destination.live or not destination.exchange:
            return fail(BadDestination(f"{destination} is no exchange and no topic."))
        shared = name[1] is None
        kind = self._types[destination.exchange] if shared else "fanout"
        if kind == "topic":
            wanted = words(destination.key)
            if wanted.count("#") > MAX_HASHES:
                return fail(BadDestination(f"A pattern has at most {MAX_HASHES} words #."))
            if len(wanted) > MAX_WORDS and not {"*", "#"}.isdisjoint(wanted):
                return fail(BadDestination(f"A pattern has at most {MAX_WORDS} words."))
        source = self._sources.get(name)
        if source is None:
            fanout = Fanout(kind, self._on_delivery)
            source = self._sources[name] = Source(self, name, destination.exchange, fanout)
        return source.subscribe(destination, subscriber, None if patient else self._timeout)

    def unsubscribe(self, destination: Destination, subscriber: Subscriber) -> None:
        """Send it no more; nothing happens where it is not subscribed."""
        source = self._sources.get(self._name(destination))
        if source is not None:
            source.unsubscribe(destination, subscriber)

    def stop(self) -> None:
        """Stop all timers and let the link go. The broker's side ends with the connection."""
        for stop in self._stop_listening:
            stop()
        for source in self._sources.values():
            source.stop()
        self._sources.clear()

    def forget(self, source: Source) -> None:
        """A source has nothing left to do."""
        del self._sources[source.name]

    def _name(self, destination: Destination) -> tuple[str, str | None]:
        """One source for an exchange whose type we can match, else one for each binding key."""
        exchange = destination.exchange
        shared = self._types.get(exchange) in _MATCHED_HERE
        return exchange, None if shared else destination.key

    def _flush(self) -> None:
        for source in list(self._sources.values()):
            source.fanout.flush()

    def _link_changed(self, state: str) -> None:
        was, self.up = self.up, state in UP
        if self.up and not was:
            sources: Iterable[Source] = list(self._sources.values())
            for source in sources:
                source.drive()
