"""Exchanges of the embedded broker: which bindings a message follows (sans-I/O).

Source: AMQP 0-9-1 section 3.1.3; https://www.rabbitmq.com/tutorials/amqp-concepts.html;
https://www.rabbitmq.com/ae.html (alternate exchanges).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from twbridge.broker.header_matching import fits
from twbridge.broker.queues import Queue
from twbridge.broker.streams import Stream

__all__ = ["TYPES", "AnyQueue", "Binding", "Destination", "Exchange", "route"]

Headers = Mapping[str, Any]


class Matcher(Protocol):
    """The part of an exchange that its type decides."""

    def add(self, binding: Binding) -> None: ...

    def remove(self, binding: Binding) -> None: ...

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]: ...


class Exchange:
    """One exchange.

    Args:
        name: unique in its virtual host; ``""`` is the default exchange.
        type: one of :data:`TYPES`.
        durable, auto_delete, internal, arguments: as declared. ``alternate-exchange`` acts.
    """

    def __init__(
        self,
        name: str,
        type: str = "direct",
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Mapping[str, Any] = arguments or {}
        self.alternate: str | None = self.arguments.get("alternate-exchange")
        #: Those that start here, in the order of their making.
        self.bindings: dict[object, Binding] = {}
        self._matcher = TYPES[type]()

    def bind(self, binding: Binding) -> bool:
        """Add it; return False when it was there already."""
        if binding.identity in self.bindings:
            return False
        self.bindings[binding.identity] = binding
        self._matcher.add(binding)
        return True

    def unbind(self, binding: Binding) -> bool:
        """Remove it; return False when there was none."""
        known = self.bindings.pop(binding.identity, None)
        if known is None:
            return False
        self._matcher.remove(known)
        return True

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        """The destinations of one message; some may come twice."""
        return self._matcher.match(routing_key, headers)


#: What keeps messages.
AnyQueue = Queue | Stream
Destination = AnyQueue | Exchange


class Binding:
    """A way from an exchange to a queue or to another exchange."""

    __slots__ = ("arguments", "destination", "identity", "routing_key")

    def __init__(
        self, destination: Destination, routing_key: str, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.destination = destination
        self.routing_key = routing_key
        self.arguments: Mapping[str, Any] = arguments or {}
        #: Two bindings with equal identities are one.
        self.identity = (destination, routing_key, _frozen(self.arguments))


def route(
    start: Exchange,
    routing_keys: Iterable[str],
    headers: Headers,
    exchanges: Mapping[str, Exchange],
) -> list[AnyQueue]:
    """The queues that get a message published to ``start``, each once.

    Args:
        routing_keys: the message's own and those of ``CC`` and ``BCC``.
        exchanges: where alternate exchanges are found by name.
    """
    keys = tuple(routing_keys)
    queues: dict[AnyQueue, None] = {}
    seen: set[Exchange] = {start}
    todo = [start]
    for exchange in todo:
        found: list[Destination] = []
        for key in keys:
            found.extend(exchange.match(key, headers))
        if not found and exchange.alternate is not None:
            alternate = exchanges.get(exchange.alternate)
            found = [alternate] if alternate is not None else []
        for destination in found:
            if not isinstance(destination, Exchange):
                queues[destination] = None
            elif destination not in seen:
                seen.add(destination)
                todo.append(destination)
    return list(queues)


# -- the types --------------------------------------------------------------------------------


class _Direct:
    """The binding key equals the routing key."""

    def __init__(self) -> None:
        self._keys: dict[str, Counter[Destination]] = {}

    def add(self, binding: Binding) -> None:
        self._keys.setdefault(binding.routing_key, Counter())[binding.destination] += 1

    def remove(self, binding: Binding) -> None:
        destinations = self._keys[binding.routing_key]
        _decrement(destinations, binding.destination)
        if not destinations:
            del self._keys[binding.routing_key]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return self._keys.get(routing_key, ())


class _Fanout:
    """Every binding, whatever the key."""

    def __init__(self) -> None:
        self._destinations: Counter[Destination] = Counter()

    def add(self, binding: Binding) -> None:
        self._destinations[binding.destination] += 1

    def remove(self, binding: Binding) -> None:
        _decrement(self._destinations, binding.destination)

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return self._destinations


class _Node:
    """A word of a topic pattern: what follows it, and what is bound where it is the last."""

    __slots__ = ("destinations", "is_hash", "next")

    def __init__(self, word: str = "") -> None:
        self.is_hash = word == "#"
        self.next: dict[str, _Node] = {}
        self.destinations: Counter[Destination] = Counter()


class _Topic:
    """Patterns of words between dots: ``*`` stands for one word, ``#`` for any number of them.

    All patterns share one tree, so a message costs its own words and not the number of bindings.
    """

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, binding: Binding) -> None:
        node = self._root
        for word in _words(binding.routing_key):
            if word not in node.next:
                node.next[word] = _Node(word)
            node = node.next[word]
        node.destinations[binding.destination] += 1

    def remove(self, binding: Binding) -> None:
        path = [self._root]
        words = _words(binding.routing_key)
        for word in words:
            path.append(path[-1].next[word])
        _decrement(path[-1].destinations, binding.destination)
        for word in reversed(words):
            node = path.pop()
            if node.next or node.destinations:
                return
            del path[-1].next[word]

    def match(self, routing_key: str, headers: Headers) -> Iterator[Destination]:
        # Walked as a set of nodes: a pattern like #.#.# would otherwise multiply the paths.
        nodes = _with_hashes([self._root])
        for word in _words(routing_key):
            reached = []
            for node in nodes:
                if node.is_hash:
                    reached.append(node)
                for name in (word, "*"):
                    if (following := node.next.get(name)) is not None:
                        reached.append(following)
            nodes = _with_hashes(reached)
        for node in nodes:
            yield from node.destinations


def _with_hashes(nodes: Iterable[_Node]) -> dict[_Node, None]:
    """Those nodes and the ones behind them through any ``#`` that stands for no word."""
    found = dict.fromkeys(nodes)
    todo = list(found)
    for node in todo:
        following = node.next.get("#")
        if following is not None and following not in found:
            found[following] = None
            todo.append(following)
    return found


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


class _Headers:
    """The binding's arguments are compared with the message's headers."""

    def __init__(self) -> None:
        self._bindings: dict[object, Binding] = {}

    def add(self, binding: Binding) -> None:
        self._bindings[binding.identity] = binding

    def remove(self, binding: Binding) -> None:
        del self._bindings[binding.identity]

    def match(self, routing_key: str, headers: Headers) -> Iterator[Destination]:
        for binding in self._bindings.values():
            if fits(binding.arguments, headers):
                yield binding.destination


def _decrement(counter: Counter[Destination], destination: Destination) -> None:
    counter[destination] -= 1
    if not counter[destination]:
        del counter[destination]


def _frozen(value: Any) -> object:
    """A hashable stand-in for a field value: equal exactly where type and value are."""
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return (type(value), value)


#: The exchange types, by name.
TYPES: Mapping[str, type[Matcher]] = {
    "direct": _Direct,
    "fanout": _Fanout,
    "topic": _Topic,
    "headers": _Headers,
}
