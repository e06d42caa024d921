"""The fan-out of one source of messages: who gets what, encoded once (sans-I/O).

The hot path of the bridge. A delivery costs one look-up by routing key and one encoding for each
group, which is the subscribers of one destination that share an encoder. The frames of one read
from the broker are joined, so that a read costs one call for each subscriber, however many
messages it brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from twisted.logger import Logger

from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import FrameError
from twbridge.live.group import Group, Subscriber
from twbridge.topics import Trie
from twbridge.wire import Delivery

__all__ = ["Fanout", "Subscriber"]

_log = Logger()

#: Routing keys are chosen by whoever publishes: so much is remembered of them for each source,
#: counted in keys and groups found.
CACHE = 32_768

# The name of the header "CC" with its length, and the type of its value, an array.
_CC = b"\x02CCA"


class _Groups(dict[tuple[Encoder, str], Group]):
    """All groups of one binding key. Compared by identity, so that it can be a dict's key."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


class _Routes(Protocol):
    """The groups by binding key, and which of them a routing key finds."""

    def add(self, pattern: str, value: _Groups, /) -> None: ...

    def remove(self, pattern: str, /) -> None: ...

    def match(self, key: str, /) -> Iterable[_Groups]: ...


class _Direct(dict[str, _Groups]):
    """A direct exchange: the binding key is the routing key."""

    add = dict.__setitem__
    remove = dict.__delitem__

    def match(self, key: str) -> Iterable[_Groups]:
        found = self.get(key)
        return () if found is None else (found,)


class _Everything(_Direct):
    """A fanout exchange, a headers exchange (bound without arguments), or one binding alone."""

    def match(self, key: str) -> Iterable[_Groups]:
        return list(self.values())


_ROUTES: dict[str, Callable[[], _Routes]] = {
    "topic": Trie,
    "direct": _Direct,
    "fanout": _Everything,
    "headers": _Everything,
}


class Fanout:
    """The subscribers of one source by binding key.

    Args:
        exchange_type: ``topic``, ``direct``, ``fanout`` or ``headers``; what decides which binding
            keys a routing key finds. A source with one binding is a ``fanout``.
        on_delivery: sees every delivery before the subscribers do.
    """

    __slots__ = ("_cache", "_cost", "_filled", "_keys", "_on_delivery", "_routes")

    def __init__(
        self, exchange_type: str, on_delivery: Callable[[Delivery], None] | None = None
    ) -> None:
        self._routes = _ROUTES[exchange_type]()
        self._keys: dict[str, _Groups] = {}
        self._cache: dict[str, Sequence[Group]] = {}
        self._cost = 0
        #: The groups that have frames to send.
        self._filled: list[Group] = []
        self._on_delivery = on_delivery

    def join(self, destination: Destination, subscriber: Subscriber) -> None:
        """Deliver to ``subscriber`` what matches the destination's key."""
        key = destination.key
        groups = self._keys.get(key)
        if groups is None:
            groups = self._keys[key] = _Groups()
            self._routes.add(key, groups)
        name = (subscriber.encoder, str(destination))
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(destination, subscriber.encoder)
            self._forget()
        group.join(subscriber)

    def leave(self, destination: Destination, subscriber: Subscriber) -> None:
        """Undo :meth:`join`; nothing happens where it was not called."""
        groups = self._keys.get(destination.key, _Groups())
        name = (subscriber.encoder, str(destination))
        group = groups.get(name)
        if group is None or subscriber not in group.members:
            return
        group.leave(subscriber)
        if not group.members:
            del groups[name]
            self._forget()
        if not groups:
            self._remove(destination.key)

    def has(self, key: str) -> bool:
        """Whether anybody is subscribed with this binding key."""
        return key in self._keys

    def subscribers(self, key: str) -> list[tuple[Destination, Subscriber]]:
        """Who is subscribed with this binding key, and to what."""
        groups = self._keys.get(key, _Groups())
        return [(group.destination, one) for group in groups.values() for one in group.members]

    def drop(self, key: str) -> None:
        """Forget all subscribers of this binding key."""
        if key in self._keys:
            self.flush()
            self._remove(key)

    def _remove(self, key: str) -> None:
        del self._keys[key]
        self._routes.remove(key)
        self._forget()

    def _forget(self) -> None:
        self._cache.clear()
        self._cost = 0

    def deliver(self, delivery: Delivery) -> None:
        """Encode a message for all whom it concerns, once for each subscription. Never raises.

        It leaves with the next :meth:`flush`.
        """
        if self._on_delivery is not None:
            try:
                self._on_delivery(delivery)
            except Exception:
                _log.failure("a listener broke on {delivery!r}", delivery=delivery)
        groups = self._cache.get(delivery.routing_key)
        if groups is None:
            groups = self._look_up(delivery.routing_key)
        if _CC in delivery.raw_properties:
            groups = self._with_copies(delivery, groups)
        for group in groups:
            try:
                frame = group.encode(group.destination, delivery)
            except Exception:
                _log.failure("{delivery!r} can't be encoded", delivery=delivery)
                continue
            if not group.frames:
                self._filled.append(group)
            group.frames.append(frame)
            if group.keys is not None:
                group.keys.append(delivery.routing_key)

    def flush(self) -> None:
        """The end of a read from the broker: send what it brought."""
        if self._filled:
            filled, self._filled = self._filled, []
            for group in filled:
                group.flush()

    def _look_up(self, key: str) -> Sequence[Group]:
        found = [group for groups in self._routes.match(key) for group in groups.values()]
        self._cost += 1 + len(found)
        if self._cost > CACHE:
            self._forget()
        self._cache[key] = found
        return found

    def _with_copies(self, delivery: Delivery, groups: Sequence[Group]) -> Sequence[Group]:
        """The groups of the keys in the header ``CC`` too, each once (RabbitMQ's extension)."""
        try:
            keys = delivery.headers.get("CC")
        except FrameError:
            return groups
        if not isinstance(keys, list):
            return groups
        found = dict.fromkeys(groups)
        for key in keys:
            if isinstance(key, str):
                found.update(dict.fromkeys(self._cache.get(key) or self._look_up(key)))
        return list(found)
