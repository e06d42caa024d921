"""Consuming any queue with a callback."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Consumer, Link, Queue
from twbridge.errors import ProtocolClosed, TwbridgeError
from twbridge.wire import Delivery

__all__ = ["RETRY", "Consuming"]

_log = Logger()

#: Seconds until it is tried again when the broker has ended it.
RETRY: Final = 1.0


class Consuming:
    """A queue whose messages go to a callback, each acknowledged after it was done.

    When the broker ends it (the queue was deleted, an acknowledgement came too late) it is tried
    again, once a second, until it consumes or is cancelled.

    Args:
        link: the way to the broker.
        clock: IReactorTime.
        queue: must be there.
        callback: called with each message; what it returns may be awaited. A message on which it
            fails is given back once, and rejected when it fails again.
        prefetch: messages without an acknowledgement.
    """

    def __init__(
        self,
        link: Link,
        clock: Any,
        queue: str,
        callback: Callable[[Delivery], object],
        prefetch: int,
    ) -> None:
        self.cancelled = False
        self._link = link
        self._clock = clock
        self._queue = queue
        self._callback = callback
        self._prefetch = prefetch
        self._consumer: Consumer | None = None
        self._beginning: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._early: list[Delivery] = []
        self._complaint = ""

    def begin(self) -> Deferred[Consuming]:
        """Consume; fires with itself when it does.

        Fails with ChannelClosed (404: no such queue) or NotReady; it is not tried again then.
        """
        return self._begin().addCallback(lambda _: self)

    def cancel(self) -> Deferred[None]:
        """End it; fires when the broker has. Messages without an acknowledgement go back."""
        self.cancelled = True
        self._early.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beginning is not None:
            self._beginning.cancel()
        consumer, self._consumer = self._consumer, None
        return succeed(None) if consumer is None else consumer.cancel()

    # -- its life ---------------------------------------------------------------------------

    def _begin(self) -> Deferred[None]:
        existing = Queue(
            self._queue, passive=True, durable=True, exclusive=False, auto_delete=False
        )
        consuming = self._link.consume(
            existing, self._delivered, prefetch=self._prefetch, on_end=self._ended
        )
        self._beginning = begun = consuming.addCallbacks(self._began, self._not_begun)
        return begun

    def _began(self, consumer: Consumer) -> None:
        self._beginning = None
        self._complaint = ""
        self._consumer = consumer
        early, self._early = self._early, []
        for delivery in early:
            self._take(consumer, delivery)

    def _not_begun(self, failure: Failure) -> Failure:
        self._beginning = None
        self._early.clear()
        return failure

    def _ended(self, error: ProtocolClosed) -> None:
        self._consumer = None
        self._try_later(error)

    def _try_later(self, error: Exception) -> None:
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.error(
                "The queue {queue} is not consumed, and tried again: {why}",
                queue=self._queue,
                why=self._complaint,
            )
        self._timer = self._clock.callLater(RETRY, self._try)

    def _try(self) -> None:
        self._timer = None
        self._begin().addErrback(self._refused)

    def _refused(self, failure: Failure) -> None:
        if failure.trap(TwbridgeError, CancelledError) is TwbridgeError and not self.cancelled:
            self._try_later(failure.value)  # type: ignore[arg-type]

    # -- messages ---------------------------------------------------------------------------

    def _delivered(self, delivery: Delivery) -> None:
        # The first may come before the answer that consuming has begun.
        if self._consumer is not None:
            self._take(self._consumer, delivery)
        elif not self.cancelled:
            self._early.append(delivery)

    def _take(self, consumer: Consumer, delivery: Delivery) -> None:
        tag = delivery.delivery_tag
        try:
            result = self._callback(delivery)
            if not isawaitable(result):
                consumer.ack(tag)
                return
            done: Deferred[Any] = ensureDeferred(result)  # type: ignore[arg-type]
        except Exception:
            self._failed(Failure(), consumer, delivery)
        else:
            done.addCallback(lambda _: consumer.ack(tag))
            done.addErrback(self._failed, consumer, delivery)

    def _failed(self, failure: Failure, consumer: Consumer, delivery: Delivery) -> None:
        again = not delivery.redelivered
        _log.failure(
            "The callback of {queue} failed; the message is {fate}",
            failure,
            queue=self._queue,
            fate="given back once" if again else "rejected",
        )
        consumer.nack(delivery.delivery_tag, requeue=again)
