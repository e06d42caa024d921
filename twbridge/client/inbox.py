"""What came and was not taken yet, and callbacks that take it one at a time (sans-I/O)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from twbridge.client.callbacks import Callbacks
from twbridge.client.messages import Message
from twbridge.client.subscription import Options, Subscription, SubscriptionHooks
from twbridge.client.subscriptions import Subscriptions
from twbridge.errors import TooMany, TwbridgeError

__all__ = ["BUFFER", "Inbox", "Pump"]

BUFFER: Final = 1_000
"""Messages that may wait."""

_DROPPING = ("drop-oldest", "latest")


class Inbox:
    """What came and was not taken. It does not know whether anybody takes it.

    Args:
        table: the client's subscriptions.
        destination: where the messages come from.
        options: how to subscribe.
        hooks: whom to tell of what is no message.
        wake: called when there is something to take, or it has ended.
    """

    def __init__(
        self,
        table: Subscriptions,
        destination: str,
        options: Options,
        hooks: SubscriptionHooks,
        wake: Callable[[], None],
    ) -> None:
        self.messages: deque[Message] = deque()
        self._wake = wake
        self._table = table
        self._on_ended = hooks.on_ended
        hooks = SubscriptionHooks(hooks.on_gap, hooks.on_dropped, self._ended)
        self.subscription = Subscription(table, destination, options, self._put, hooks)
        if options.acknowledged:
            # They are back in their queue, and come again.
            self.subscription.on_lost = self.messages.clear

    def _put(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.messages) >= BUFFER:
            self._full()
        self._wake()

    def _full(self) -> None:
        """What does not wait at the broker must not grow here."""
        subscription, options = self.subscription, self.subscription.options
        if options.overflow in _DROPPING:
            self.messages.popleft()
            self._table.dropped(subscription, 1)
        elif subscription.kind == "stream":
            self._table.pause(subscription)
        elif not options.acknowledged:
            error = TooMany(
                f"{BUFFER} messages of {subscription.destination} wait to be dealt with."
            )
            self._table.fail(subscription, error)

    def take(self) -> Message | None:
        """The next message, if there is one."""
        if not self.messages:
            return None
        message = self.messages.popleft()
        if len(self.messages) <= BUFFER // 2:
            self._table.resume(self.subscription)
        return message

    def _ended(self, error: TwbridgeError | None) -> None:
        self._wake()
        if self._on_ended is not None:
            self._on_ended(error)


class Pump:
    """Gives messages to a callback: the next when the awaitable of the last one is done.

    Args:
        table: the client's subscriptions.
        run: runs callbacks.
        destination: where the messages come from.
        options: how to subscribe.
        hooks: whom to tell of what is no message.
        on_message: the callback.
    """

    def __init__(
        self,
        table: Subscriptions,
        run: Callbacks,
        destination: str,
        options: Options,
        hooks: SubscriptionHooks,
        on_message: Callable[[Message], object],
    ) -> None:
        self._inbox = Inbox(table, destination, options, hooks, self._pump)
        self._run = run
        self._on_message = on_message
        self._ack = options.ack
        self._busy = self._pumping = False

    @property
    def subscription(self) -> Subscription:
        """Whose messages they are."""
        return self._inbox.subscription

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        while not self._busy and (message := self._next()) is not None:
            outcome = self._run.run("a message", self._on_message, message)
            if isinstance(outcome, Deferred) and self._ack != "manual":
                self._busy = True
                outcome.addCallback(self._done, message)
            elif outcome is True:
                self._dealt_with(message)
        self._pumping = False

    def _next(self) -> Message | None:
        """The next message, unless its owner wants no more."""
        subscription = self._inbox.subscription
        wanted = not subscription.over or subscription.error is not None
        return self._inbox.take() if wanted else None

    def _done(self, well: bool, message: Message) -> None:
        self._busy = False
        if well:
            self._dealt_with(message)
        self._pump()

    def _dealt_with(self, message: Message) -> None:
        if self._ack == "client":
            message.ack()
