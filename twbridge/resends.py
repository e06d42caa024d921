"""A publish that a client repeats is answered, not applied again (sans-I/O).

A client that lost its connection before the answer can't know whether its message was published.
It repeats it with the same id, in another session with the same ``?client=<UUID>`` as a rule, and
gets the answer of the first one. What is remembered is bounded in every direction, and only in
this instance: a ``message_id`` of client and id goes along, by which consumers can tell everywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twbridge.destinations import MAX_BYTES
from twbridge.errors import ChannelClosed, Nacked, TooLarge, TwbridgeError, Unroutable

__all__ = ["Resends", "message_id"]

#: The broker has said that it did not take it, and would say so again. After any other failure
#: (OutcomeUnknown, ConfirmTimeout, NotReady) it is published again.
_FINAL = (Nacked, Unroutable, ChannelClosed)

#: Ids with more characters are kept as a digest.
_SHORT = 40

_Id: TypeAlias = str | int
_Key: TypeAlias = tuple[str | int | bytes, int]
_Who: TypeAlias = tuple[str | None, str]


def message_id(client: str, identity: _Id) -> str:
    """The property of that name that tells consumers which publish it is: ``<client>/<id>``.

    Raises:
        TooLarge: AMQP can't carry it.
    """
    text = f"{client}/{identity}"
    if len(text.encode()) > MAX_BYTES:
        most = MAX_BYTES - len(client) - 1
        raise TooLarge(f"With ?client= the id of a publish has at most {most} bytes.")
    return text


class Resends:
    """The window of what was published lately, by user, client and id.

    Args:
        clock: the time.
        ids: remembered of one client; the oldest are forgotten.
        seconds: that an id is remembered.
        clients: remembered; those that published longest ago are forgotten.
        total: ids of all clients together; past it, those who published longest ago lose theirs.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ids: int = 1000,
        seconds: float = 300.0,
        clients: int = 10_000,
        total: int = 500_000,
    ) -> None:
        self._now = clock.seconds
        self._ids = ids
        self._seconds = seconds
        self._clients = clients
        self._total = total
        self._count = 0
        # In the order of their last publish.
        self._windows: OrderedDict[_Who, _Window] = OrderedDict()

    def __len__(self) -> int:
        """How many ids are remembered."""
        return self._count

    def publish(
        self,
        user: str | None,
        client: str,
        identity: _Id,
        content: Hashable,
        publish: Callable[[], Deferred[None]],
    ) -> Deferred[None]:
        """Call ``publish``, or give the answer of the first one with that id and content.

        Client and id go along in ``message_id``, for every subscriber to see: whoever publishes
        something else in another's name takes no place of its own messages.

        The Deferred that comes back is the caller's own. It fires with the first one's answer, at
        once where there is one already. What ``publish`` raises is raised here, and not remembered.
        """
        now = self._now()
        self._forget_idle(now)
        window = self._windows.get((user, client))
        key = _key(identity), hash(content)
        if window is not None:
            self._count -= window.prune(now - self._seconds)
            entry = window.entries.get(key)
            if entry is not None:
                return entry.answer()
        published = publish()
        entry = _Entry(now)
        answer = entry.answer()
        self._remember((user, client), key, entry)
        published.addBoth(self._settle, (user, client), key, entry)
        return answer

    def _remember(self, who: _Who, key: _Key, entry: _Entry) -> None:
        window = self._windows.setdefault(who, _Window())
        window.entries[key] = entry
        self._count += 1
        self._windows.move_to_end(who)
        if len(window.entries) > self._ids:
            window.forget_oldest()
            self._count -= 1
        if len(self._windows) > self._clients:
            self._forget_client()
        if self._count > self._total:
            self._forget_oldest()

    def _settle(self, result: Failure | None, who: _Who, key: _Key, entry: _Entry) -> None:
        error = result.value if isinstance(result, Failure) else None
        if error is not None and not isinstance(error, _FINAL):
            window = self._windows.get(who)
            if window is not None and window.entries.get(key) is entry:
                del window.entries[key]
                self._count -= 1
        entry.settle(error)

    # -- forgetting

    def _forget_idle(self, now: float) -> None:
        """Drop the clients that have published nothing for long, so that memory comes back."""
        while self._windows:
            window = next(iter(self._windows.values()))
            self._count -= window.prune(now - self._seconds)
            if window.entries:
                break
            self._windows.popitem(last=False)

    def _forget_client(self) -> None:
        _, window = self._windows.popitem(last=False)
        self._count -= len(window.entries)

    def _forget_oldest(self) -> None:
        who, window = next(iter(self._windows.items()))
        window.forget_oldest()
        self._count -= 1
        if not window.entries:
            del self._windows[who]


class _Window:
    """What one client has published, the oldest first."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[_Key, _Entry] = {}

    def forget_oldest(self) -> None:
        del self.entries[next(iter(self.entries))]

    def prune(self, before: float) -> int:
        """Drop those that began then or earlier, as far as they are answered; return how many."""
        old = []
        for key, entry in self.entries.items():
            if entry.begun > before or entry.waiting is not None:
                break
            old.append(key)
        for key in old:
            del self.entries[key]
        return len(old)


class _Entry:
    """One publish: who waits for its answer, or the answer."""

    __slots__ = ("begun", "error", "waiting")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.waiting: list[Deferred[None]] | None = []
        self.error: BaseException | None = None

    def answer(self) -> Deferred[None]:
        if self.waiting is not None:
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            return waiting
        return succeed(None) if self.error is None else fail(Failure(self.error))

    def settle(self, error: BaseException | None) -> None:
        if isinstance(error, TwbridgeError):
            # It may be kept for minutes: what it went through on its way is not.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        waiting, self.waiting, self.error = self.waiting, None, error
        for each in waiting or ():
            each.callback(None) if error is None else each.errback(Failure(error))


def _key(identity: _Id) -> str | int | bytes:
    if isinstance(identity, int) or len(identity) <= _SHORT:
        return identity
    return blake2b(identity.encode(), digest_size=16).digest()
