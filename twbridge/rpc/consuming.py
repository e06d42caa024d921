"""Consuming any queue with a callback."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Consumer, Link, Queue
from twbridge.wire import Delivery

__all__ = ["Consuming"]

_log = Logger()


class Consuming:
    """A queue whose messages go to a callback, each acknowledged after it was done.

    Args:
        callback: called with each message; what it returns may be awaited. A message on which it
            fails is given back once, and rejected when it fails again.
    """

    def __init__(self, callback: Callable[[Delivery], object]) -> None:
        self._callback = callback
        self._consumer: Consumer | None = None
        self._early: list[Delivery] = []

    def begin(self, link: Link, queue: str, prefetch: int) -> Deferred[Consumer]:
        """Consume; the queue must be there."""
        existing = Queue(queue, passive=True, durable=True, exclusive=False, auto_delete=False)
        consuming = link.consume(existing, self._delivered, prefetch=prefetch)
        return consuming.addCallback(self._began)

    def _began(self, consumer: Consumer) -> Consumer:
        self._consumer = consumer
        early, self._early = self._early, []
        for delivery in early:
            self._take(consumer, delivery)
        return consumer

    def _delivered(self, delivery: Delivery) -> None:
        # The first may come before the answer that consuming has begun.
        if self._consumer is None:
            self._early.append(delivery)
        else:
            self._take(self._consumer, delivery)

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
            queue=consumer.queue_name,
            fate="given back once" if again else "rejected",
        )
        consumer.nack(delivery.delivery_tag, requeue=again)
