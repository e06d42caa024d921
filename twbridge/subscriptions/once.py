"""One message of a queue (sans-I/O)."""

from __future__ import annotations

from twisted.python.failure import Failure

from twbridge.errors import TwbridgeError
from twbridge.ports import Consumer
from twbridge.subscriptions.queue import QueueSubscription

__all__ = ["OnceSubscription"]


class OnceSubscription(QueueSubscription):
    """A subscription to a queue that is over with the first message that the socket has taken.

    That one is acknowledged when no other can come any more: after an acknowledgement before, the
    broker would send the next, and mark it ``redelivered`` when it got it back. Where the
    connection is lost in between, the message comes again. The prefetch is 1.
    """

    def _sent(self) -> None:
        consumer, self._consumer = self._consumer, None
        # The outlet may have been closed by it.
        if consumer is None:
            return
        self._over = True
        left = consumer.leave()
        left.addBoth(self._left, consumer, self._last_tag).addErrback(self._broke)

    def _left(self, result: Failure | None, consumer: Consumer, tag: int) -> object:
        if isinstance(result, Failure):
            result.trap(TwbridgeError)
        consumer.ack(tag)
        return consumer.cancel().addErrback(lambda failure: failure.trap(TwbridgeError) and None)
