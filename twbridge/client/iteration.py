"""``async for message in client.messages(...)``."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final

from twisted.internet.defer import Deferred

from twbridge.client.core import Core
from twbridge.client.messages import Message
from twbridge.client.subscription import Options, Subscription, SubscriptionHooks
from twbridge.client.subscriptions import Subscriptions
from twbridge.errors import TooMany, TwbridgeError

__all__ = ["BUFFER", "Messages"]

BUFFER: Final = 1_000
"""Messages that may wait for the loop."""

_DROPPING = ("drop-oldest", "latest")


class _Inbox:
    """What came and was not taken. It does not know whether anybody takes it."""

    def __init__(
        self, table: Subscriptions, destination: str, options: Options, hooks: SubscriptionHooks
    ) -> None:
        self.messages: deque[Message] = deque()
        self.waiting: Deferred[None] | None = None
        self._table = table
        self._on_ended = hooks.on_ended
        hooks = SubscriptionHooks(hooks.on_gap, hooks.on_dropped, self._ended)
        self.subscription = Subscription(table, destination, options, self._put, hooks)
        if options.ack == "client":
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
        elif options.ack != "client":
            error = TooMany(f"{BUFFER} messages wait for the loop over {subscription.destination}.")
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

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)


class Messages:
    """The messages of one subscription, one at a time.

    The loop ends when the subscription does: with an error, where the bridge ended it. Leaving
    the loop ends the subscription; so does leaving ``async with``, which also subscribes before
    the first message is asked for.

    With ``ack="client"`` a message is acknowledged when the next one is asked for, or the
    ``async with`` is left without an exception; not if the loop has acknowledged it itself, has
    given it back, or has left by ``break`` or an exception without an ``async with``.

    1,000 messages may wait here. Then a stream is paused, and read again from where it was; with
    ``drop-oldest`` and ``latest`` the oldest are dropped and told; anything else that does not
    wait for acknowledgements ends with TooMany.
    """

    def __init__(
        self,
        core: Core,
        destination: str,
        options: Options,
        hooks: SubscriptionHooks,
        *,
        acknowledge: bool,
    ) -> None:
        self._begun = False
        self._core = core
        self._inbox = _Inbox(core.subscriptions, destination, options, hooks)
        self._acknowledge = acknowledge
        self._current: Message | None = None

    @property
    def subscription(self) -> Subscription:
        """What is iterated over."""
        return self._inbox.subscription

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        inbox = self._inbox
        self._dealt_with()
        await self._begin()
        while True:
            message = inbox.take()
            if message is not None:
                self._current = message
                return message
            if inbox.subscription.over:
                if inbox.subscription.error is not None:
                    raise inbox.subscription.error
                raise StopAsyncIteration
            if inbox.waiting is not None:
                raise RuntimeError("Two loops take the same messages.")
            inbox.waiting = Deferred()
            try:
                await inbox.waiting
            finally:
                inbox.waiting = None

    async def __aenter__(self) -> Messages:
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._dealt_with()
        await self.close()

    def close(self) -> Deferred[None]:
        """End the subscription; what waits is dropped, or goes back to its queue."""
        self._current = None
        self._inbox.messages.clear()
        return self._inbox.subscription.unsubscribe()

    def __del__(self) -> None:
        if self._begun and not self._inbox.subscription.over:
            self.close()

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._core.usable()
            self._core.start()
            await self._core.subscriptions.add(self._inbox.subscription)

    def _dealt_with(self) -> None:
        message, self._current = self._current, None
        if message is not None and self._acknowledge:
            message.ack()
