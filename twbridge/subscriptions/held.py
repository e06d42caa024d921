"""What one session is subscribed to (sans-I/O).

A place in the hub, which is what most sessions have and nothing more, is kept as its destination:
the hub knows the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twbridge.commands import Ack, Nack, Subscribe, Unsubscribe
from twbridge.destinations import Destination
from twbridge.errors import Conflict, NotFound, TooMany
from twbridge.live.group import Subscriber
from twbridge.policy import Peer
from twbridge.ports import Services
from twbridge.shared import Shared
from twbridge.subscriptions.ports import Outlet, Subscription
from twbridge.topics import inner_hashes

__all__ = ["Held", "Holder"]

#: What tells a subscription from the session's others: its name, or what it means.
_Key = Destination | str
#: A place in the hub, the wait for it, or something with a life of its own.
_Kept = Destination | Deferred[None] | Subscription


class Holder(Outlet, Subscriber, Protocol):
    """The session, as seen from here."""

    __slots__ = ()

    peer: Peer

    def outlet(self, command: Subscribe, /) -> Outlet:
        """The session as that subscription is to see it."""


class Held:
    """The subscriptions of one session. It keeps no way back to the session.

    Args:
        services: what all sessions share.
    """

    __slots__ = ("_ending", "_kept", "_replies", "_services")

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: dict[_Key, _Kept] = {}
        # What the client has ended and the broker has not let go yet.
        self._ending: set[_Key] | None = None
        self._replies: dict[_Key, Shared] | None = None

    @property
    def ending(self) -> bool:
        """Whether the broker has yet to let go of something that the client has ended."""
        return bool(self._ending)

    def is_early(self, command: Subscribe) -> bool:
        """Whether it has to wait for something that has not quite ended.

        A queue can go with its end, so that none is declared until then; there is at most one
        subscription with a name, or without one to a destination; and until it has ended, it
        counts among the session's subscriptions.
        """
        if not self._ending:
            return False
        if len(self._kept) + len(self._ending) >= self._services.limits.subscriptions:
            return True
        destination = command.destination
        lives_alone = command.queue is None and (destination.live or destination.kind == "stream")
        return not lives_alone or _key(command) in self._ending

    def __len__(self) -> int:
        return len(self._kept)

    def open(self, command: Subscribe, session: Holder) -> Deferred[None]:
        """Subscribe; fires when it stands.

        Raises:
            ClientError: it is not to be.
        """
        destination, services = command.destination, self._services
        plain = services.subscriptions.is_plain(command, services.limits.prefetch)
        key = _key(command)
        self._must_be_new(key)
        self._bound_number()
        self._bound_patterns(destination)
        services.policy.check("subscribe", destination, session.peer)
        if command.queue is not None:
            services.policy.check_queue(command.queue, destination, session.peer)
        if not plain:
            return self._start(key, command, session)
        waiting = services.hub.subscribe(destination, session, patient=command.patient)
        self._kept[key] = waiting
        return waiting.addCallbacks(
            self._stands, self._failed, callbackArgs=(key, destination), errbackArgs=(key,)
        )

    def reply(self, command: Subscribe, session: Holder) -> Deferred[None]:
        """A queue of the session's own for answers: made once, it stays with the session.

        Fires when it is there. Where it could not be made, or has ended, it is made again.

        Raises:
            ClientError: it is not to be.
        """
        key = _key(command)
        self.check_reply(command, set())
        known = None if self._replies is None else self._replies.get(key)
        if known is None:
            known = Shared(self._start(key, command, session))
            if not known.failed:
                self._replies = self._replies or {}
                self._replies[key] = known
        return known.wait()

    def check_reply(self, command: Subscribe, wanted: set[Destination | str]) -> None:
        """Check whether :meth:`reply` can be asked for it, and for all ``wanted``, to which it is
        added where it is not there yet.

        Raises:
            ClientError: it is not to be.
        """
        key, services = _key(command), self._services
        if key in wanted or (self._replies is not None and key in self._replies):
            return
        self._must_be_new(key)
        services.subscriptions.is_plain(command, services.limits.prefetch)
        self._bound_number(len(wanted))
        wanted.add(key)

    def end(self, command: Unsubscribe, session: Holder) -> Deferred[None] | None:
        """End one; None: it has ended, else it fires when it has, and never fails.

        Raises:
            NotFound: there is no such one.
        """
        key = _key(command)
        kept = self._kept.get(key)
        if kept is None:
            raise NotFound(f"You are not subscribed to {key}.")
        self.forget(key)
        ended = self._release(kept, session, command.delete)
        if ended is None or ended.called:
            return None
        self._ending = self._ending or set()
        self._ending.add(key)
        return ended.addCallback(lambda _: self._has_ended(key))

    def _has_ended(self, key: _Key) -> None:
        assert self._ending is not None
        self._ending.discard(key)

    def acknowledging(self, command: Ack | Nack) -> Subscription:
        """The one whose delivery an ack is about.

        Raises:
            NotFound: there is no such one, or nothing of it is acknowledged.
        """
        key = _key(command)
        kept = self._kept.get(key)
        if kept is None:
            raise NotFound(f"You are not subscribed to {key}.")
        if isinstance(kept, Destination | Deferred):
            raise NotFound(f"Messages of {key} are not acknowledged.")
        return kept

    def forget(self, key: Destination | str) -> None:
        """It has ended by itself."""
        self._kept.pop(key, None)
        if self._replies is not None:
            self._replies.pop(key, None)

    def writable(self, session: Holder) -> None:
        """The socket takes data again."""
        for key, kept in list(self._kept.items()):
            if isinstance(kept, Destination | Deferred):
                continue
            if not session.takes_data:
                return
            if self._kept.get(key) is not kept:
                continue
            # Whoever has had a turn goes behind the others.
            self._kept[key] = self._kept.pop(key)
            kept.writable()

    def close(self, session: Holder) -> None:
        """End all: nothing stays in the hub."""
        found, self._kept = self._kept, {}
        self._replies = None
        for kept in found.values():
            self._release(kept, session)

    def _start(self, key: _Key, command: Subscribe, session: Holder) -> Deferred[None]:
        subscription = self._services.subscriptions.open(command, session.outlet(command))
        self._kept[key] = subscription
        return subscription.start().addErrback(self._failed, key)

    def _stands(self, _result: None, key: _Key, destination: Destination) -> None:
        if key in self._kept:
            self._kept[key] = destination

    def _failed(self, failure: Failure, key: _Key) -> Failure:
        self.forget(key)
        return failure

    def _release(self, kept: _Kept, session: Holder, delete: bool = False) -> Deferred[None] | None:
        if isinstance(kept, Destination):
            self._services.hub.unsubscribe(kept, session)
        elif isinstance(kept, Deferred):
            kept.cancel()
        else:
            return kept.end(delete)
        return None

    def _must_be_new(self, key: _Key) -> None:
        if key in self._kept:
            raise Conflict(f"You are subscribed to {key} already.")

    def _bound_number(self, more: int = 0) -> None:
        limit = self._services.limits.subscriptions
        if len(self._kept) + more >= limit:
            raise TooMany(f"A session has at most {limit} subscriptions.")

    def _bound_patterns(self, destination: Destination) -> None:
        hashes = inner_hashes(destination.key)
        if hashes:
            hashes += sum(inner_hashes(each.key) for each in self._destinations())
            limit = self._services.limits.inner_hashes
            if hashes > limit:
                raise TooMany(f"The patterns of a session have at most {limit} words # within.")

    def _destinations(self) -> Iterator[Destination]:
        for key, kept in self._kept.items():
            if isinstance(key, Destination):
                yield key
            elif not isinstance(kept, Destination | Deferred):
                yield kept.destination


def _key(command: Subscribe | Unsubscribe | Ack | Nack) -> _Key:
    return command.destination if command.name is None else command.name
