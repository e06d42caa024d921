"""The virtual host of the embedded broker: all exchanges and queues by name (sans-I/O).

Operations raise :class:`~twbridge.errors.ChannelClosed` or
:class:`~twbridge.errors.ConnectionClosed` with what RabbitMQ would answer (``refusals.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from twbridge.broker import arguments as argument_rules
from twbridge.broker import refusals
from twbridge.broker.deadletters import DeadLetters
from twbridge.broker.exchanges import TYPES, AnyQueue, Binding, Destination, Exchange, route
from twbridge.broker.making import Asked, Maker, forbid_reserved
from twbridge.broker.messages import Memory, Message

__all__ = ["Outcome", "VirtualHost"]

Arguments = Mapping[str, Any]

_PREDEFINED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}


class Outcome(NamedTuple):
    """What became of a publish."""

    #: At least one queue was found for it.
    routed: bool
    #: At least one full queue did not take it (``x-overflow=reject-publish``).
    refused: bool


class VirtualHost:
    """Exchanges, queues and their bindings.

    Args:
        clock: tells how old messages are and how long queues were not used.
        memory: where messages are counted.
    """

    def __init__(self, clock: IReactorTime, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.queues: dict[str, AnyQueue] = {}
        self.exchanges: dict[str, Exchange] = {}
        for name, kind in _PREDEFINED.items():
            self.exchanges[name] = Exchange(name, kind, durable=True)
        #: Where each destination is bound from, so that deleting it finds its bindings.
        self._sources: dict[Destination, Counter[Exchange]] = {}
        letters = DeadLetters(self._route_letter, clock.seconds)
        self._maker = Maker(self.memory, clock, letters, self.delete_queue)

    # -- exchanges ----------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """Raise ChannelClosed (404) when there is none."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise refusals.not_found("exchange", name) from None

    def declare_exchange(
        self,
        name: str,
        kind: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments | None = None,
    ) -> Exchange:
        """Make it, or check that the one there is equivalent."""
        given = arguments or {}
        if kind not in TYPES:
            raise refusals.hard(503, f"unknown exchange type '{kind}'")
        _forbid_default(name)
        known = self.exchanges.get(name)
        if known is None:
            forbid_reserved("exchange", name)
            argument_rules.check_exchange(name, given)
            made = Exchange(
                name,
                kind,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=given,
            )
            self.exchanges[name] = made
            return made
        argument_rules.check_same(
            "exchange",
            name,
            {"type": kind, "durable": durable, "auto_delete": auto_delete, "internal": internal},
            {
                "type": known.type,
                "durable": known.durable,
                "auto_delete": known.auto_delete,
                "internal": known.internal,
            },
            given,
            known.arguments,
        )
        return known

    def find_exchange(self, name: str) -> Exchange:
        """Passive declaration: it must be there, whatever its type."""
        _forbid_default(name)
        return self.exchange(name)

    def delete_exchange(self, name: str, if_unused: bool = False) -> None:
        """Delete it with all bindings from and to it; one that is not there is fine."""
        _forbid_default(name)
        if name in _PREDEFINED:
            raise refusals.access_refused(
                f"deletion of system exchange '{name}' in vhost '/' not allowed"
            )
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise refusals.precondition_failed(f"exchange '{name}' in vhost '/' in use")
        self._drop_exchange(exchange)

    def _drop_exchange(self, exchange: Exchange) -> None:
        self.exchanges.pop(exchange.name, None)
        for binding in exchange.bindings.values():
            self._forget(binding.destination, exchange)
        exchange.bindings.clear()
        self._unbind_all(exchange)

    # -- bindings -----------------------------------------------------------------------------

    def bind(
        self, destination: Destination, source: str, routing_key: str, arguments: Arguments
    ) -> None:
        """Bind a queue or an exchange to the exchange ``source``; twice is once."""
        _forbid_default(source)
        exchange = self.exchange(source)
        argument_rules.check_binding(exchange.type, arguments)
        if exchange.bind(Binding(destination, routing_key, arguments)):
            self._sources.setdefault(destination, Counter())[exchange] += 1

    def unbind(
        self, destination: Destination, source: str, routing_key: str, arguments: Arguments
    ) -> None:
        """Undo one binding; one that is not there is fine."""
        _forbid_default(source)
        exchange = self.exchanges.get(source)
        if exchange is not None and exchange.unbind(Binding(destination, routing_key, arguments)):
            self._forget(destination, exchange)
            self._drop_if_unused(exchange)

    def _unbind_all(self, destination: Destination) -> None:
        for exchange in self._sources.pop(destination, ()):
            for binding in list(exchange.bindings.values()):
                if binding.destination is destination:
                    exchange.unbind(binding)
            self._drop_if_unused(exchange)

    def _forget(self, destination: Destination, exchange: Exchange) -> None:
        sources = self._sources[destination]
        sources[exchange] -= 1
        if not sources[exchange]:
            del sources[exchange]
        if not sources:
            del self._sources[destination]

    def _drop_if_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.bindings and exchange.name in self.exchanges:
            self._drop_exchange(exchange)

    # -- queues -------------------------------------------------------------------------------

    def queue(self, name: str, asker: object) -> AnyQueue:
        """Raise ChannelClosed: 404 when there is none, 405 when it is another connection's."""
        queue = self.queues.get(name)
        if queue is None:
            raise refusals.not_found("queue", name)
        if queue.owner is not None and queue.owner is not asker:
            raise refusals.locked(name)
        return queue

    def declare_queue(
        self,
        name: str,
        asker: object,
        *,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments | None = None,
    ) -> AnyQueue:
        """Make it, or check that the one there is equivalent. ``""`` makes a name."""
        given = arguments or {}
        known = self.queues.get(name) if name else None
        owner = asker if exclusive else None
        if known is None:
            queue = self._maker.make(Asked(name, durable, auto_delete, owner, given))
            self.queues[queue.name] = queue
            self.exchanges[""].bind(Binding(queue, queue.name))
            return queue
        if known.owner is not owner:
            raise refusals.locked(name)
        argument_rules.check_same(
            "queue",
            name,
            {"durable": durable, "auto_delete": auto_delete},
            {"durable": known.durable, "auto_delete": known.auto_delete},
            given,
            known.arguments,
        )
        return known

    def stop(self) -> None:
        """Leave nothing to the clock."""
        for queue in self.queues.values():
            queue.stop()

    def delete_queue(self, queue: AnyQueue) -> int:
        """Delete it, its bindings and messages; return how many messages waited."""
        del self.queues[queue.name]
        self.exchanges[""].unbind(Binding(queue, queue.name))
        self._unbind_all(queue)
        return queue.delete()

    def remove_consumer(self, queue: AnyQueue, consumer: Any) -> None:
        """End a consumer, and with the last one an auto-delete queue."""
        queue.remove_consumer(consumer)
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.delete_queue(queue)

    def connection_lost(self, asker: object) -> None:
        """Delete the queues that were exclusive to it."""
        for queue in [queue for queue in self.queues.values() if queue.owner is asker]:
            self.delete_queue(queue)

    # -- messages -----------------------------------------------------------------------------

    def publish(self, exchange: Exchange, message: Message) -> Outcome:
        """Give a message to every queue that its keys and headers lead to."""
        queues = self._route(exchange, message)
        refused = False
        for queue in queues:
            refused = not queue.push(message) or refused
        return Outcome(bool(queues), refused)

    def _route(self, exchange: Exchange, message: Message) -> list[AnyQueue]:
        keys = (message.routing_key, *message.more_keys)
        return route(exchange, keys, message.headers, self.exchanges)

    def _route_letter(self, exchange: str, message: Message) -> list[AnyQueue] | None:
        known = self.exchanges.get(exchange)
        return None if known is None else self._route(known, message)


def _forbid_default(name: str) -> None:
    if not name:
        raise refusals.default_exchange()
