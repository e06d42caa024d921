"""One subscription, as its owner sees it (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from twbridge.client.messages import Message
from twbridge.destinations import parse
from twbridge.errors import TwbridgeError

if TYPE_CHECKING:
    from twbridge.client.subscriptions import Subscriptions

__all__ = ["Ack", "Gap", "Options", "Overflow", "Phase", "Subscription", "SubscriptionHooks"]

Overflow = Literal["close", "drop-oldest", "latest", "block"]
Ack = Literal["auto", "client", "manual"]

#: Where a stream that nothing has come from yet begins elsewhere each time.
_MOVING = (None, "next", "last")


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages are missing, or may be.

    Attributes:
        first: the first offset of a stream that is missing.
        resumed: the offset with which it goes on; not after `first` where the stream was made
            anew. Both are None where nobody knows whether anything is missing.
    """

    first: int | None = None
    resumed: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How to subscribe; None is the bridge's default.

    Attributes:
        ack: ``client`` and ``manual``: the broker keeps each message until it is acknowledged;
            with ``client`` that is done here.
        prefetch: messages without an answer.
        start: where a stream begins: ``first``, ``last``, ``next``, ``offset=N``,
            ``timestamp=SECONDS``.
        overflow: what becomes of messages that nobody reads in time.
    """

    ack: Ack | None = None
    prefetch: int | None = None
    start: str | None = None
    overflow: Overflow | None = None

    @property
    def acknowledged(self) -> bool:
        """Messages are kept until they are acknowledged."""
        return self.ack in ("client", "manual")


OnMessage = Callable[[Message], object]


@dataclass(frozen=True, slots=True)
class SubscriptionHooks:
    """Whom a subscription tells of what is not a message; None is a line in the log."""

    on_gap: Callable[[Gap], object] | None = None
    on_dropped: Callable[[int], object] | None = None
    on_ended: Callable[[TwbridgeError | None], object] | None = None


class Phase(Enum):
    """Where a subscription is."""

    AWAY = auto()
    ASKED = auto()
    ACTIVE = auto()
    PAUSED = auto()
    OVER = auto()


class Subscription:
    """One destination of one client."""

    def __init__(
        self,
        table: Subscriptions,
        destination: str,
        options: Options,
        on_message: OnMessage,
        hooks: SubscriptionHooks,
    ) -> None:
        self.destination = destination
        self.options = options
        self.kind = parse(destination).kind
        #: Why it is over; None while it is not, and where its owner wanted that.
        self.error: TwbridgeError | None = None
        self.on_message = on_message
        self.hooks = hooks
        self.phase = Phase.AWAY
        #: The next offset of a stream.
        self.resume_at: int | None = None
        self.refusals = 0
        self.retry: IDelayedCall | None = None
        #: Told that the connection is gone, and with it what was not acknowledged.
        self.on_lost: Callable[[], object] = lambda: None
        #: The number of its last request: a message of another has a meaningless delivery tag.
        self.asked = 0
        #: The bridge has accepted or refused it once.
        self.stood = False
        self.started: Deferred[Subscription] = Deferred(lambda _: table.cancelled(self))
        self._table = table

    def __repr__(self) -> str:
        return f"<Subscription {self.destination} {self.phase.name}>"

    @property
    def active(self) -> bool:
        """The bridge delivers at the moment."""
        return self.phase is Phase.ACTIVE

    @property
    def over(self) -> bool:
        """It has ended: by its owner, by the bridge (`error` says why), or with the client."""
        return self.phase is Phase.OVER

    @property
    def lossless(self) -> bool:
        """Nothing is missed while there is no connection."""
        if self.kind == "stream":
            return self.resume_at is not None or self.options.start not in _MOVING
        return self.kind not in ("topic", "exchange")

    def cancel_retry(self) -> None:
        """Ask no more for what was refused."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None

    def unsubscribe(self) -> Deferred[None]:
        """End it. No message comes any more; fires when the bridge knows.

        What was delivered and not acknowledged goes back to its queue.
        """
        return self._table.remove(self)
