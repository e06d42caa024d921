"""``async for message in client.messages(...)``."""

from __future__ import annotations

from types import TracebackType

from twisted.internet.defer import Deferred

from twbridge.client.core import Core
from twbridge.client.inbox import Inbox
from twbridge.client.messages import Message
from twbridge.client.subscription import Options, Subscription, SubscriptionHooks

__all__ = ["Messages"]


class _Bell:
    """Wakes the loop that waits. Its own object: what holds it does not hold the loop."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] | None = None

    def ring(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)


class Messages:
    """The messages of one subscription, one at a time.

    The loop ends when the subscription does: with an error, where the bridge ended it. Leaving
    the loop ends the subscription; so does leaving ``async with``, which also subscribes before
    the first message is asked for.

    With ``ack="client"`` a message is acknowledged when the next one is asked for, or the
    ``async with`` is left without an exception. One that the loop is at when it is left otherwise,
    by ``break`` without ``async with`` too, goes back to its queue, unless it was acknowledged by
    hand.

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
    ) -> None:
        self._begun = False
        self._core = core
        self._bell = _Bell()
        self._inbox = Inbox(core.subscriptions, destination, options, hooks, self._bell.ring)
        self._acknowledge = options.ack == "client"
        self._current: Message | None = None

    @property
    def subscription(self) -> Subscription:
        """What is iterated over."""
        return self._inbox.subscription

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        inbox, bell = self._inbox, self._bell
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
            if bell.waiting is not None:
                raise RuntimeError("Two loops take the same messages.")
            bell.waiting = Deferred()
            try:
                await bell.waiting
            finally:
                bell.waiting = None

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
