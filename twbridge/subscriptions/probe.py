"""Where a stream ends (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import TwbridgeError
from twbridge.link.topology import Queue
from twbridge.ports import Consumer, ConsumingLink
from twbridge.wire import Delivery

__all__ = ["OFFSET", "Probe", "offset_of", "passive"]

_log = Logger()

OFFSET = "x-stream-offset"


def passive(name: str) -> Queue:
    """A stream as a queue that is consumed and never declared."""
    return Queue(name, passive=True, durable=True, exclusive=False, auto_delete=False)


def offset_of(delivery: Delivery) -> int | None:
    """The offset of a stream's message; None where it is no stream's."""
    offset = delivery.headers.get(OFFSET)
    return offset if isinstance(offset, int) else None


class Probe:
    """Looks at the last messages of a stream, or at the next one where it is empty.

    Args:
        link: the way to the broker.
        name: of the stream.
        on_found: called once with an offset that the stream has, in its last chunk.
        on_failure: called when the broker does not let it look.
    """

    def __init__(
        self,
        link: ConsumingLink,
        name: str,
        on_found: Callable[[int], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._on_found = on_found
        self._on_failure = on_failure
        self._over = False
        self._consumer: Consumer | None = None
        consuming = link.consume(
            passive(name),
            self._delivered,
            prefetch=1,
            on_end=self._failed,
            arguments=lambda: {OFFSET: "last"},
        )
        consuming.addCallbacks(self._consuming, self._not_consuming)
        consuming.addErrback(self._broke)

    def stop(self) -> None:
        """Look no more."""
        self._over = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            cancelled = consumer.cancel()
            cancelled.addErrback(lambda failure: failure.trap(TwbridgeError) and None)

    def _consuming(self, consumer: Consumer) -> None:
        self._consumer = consumer
        if self._over:
            self.stop()

    def _not_consuming(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            self._broke(failure)
            error = TwbridgeError()
        self._failed(error)

    def _failed(self, _error: TwbridgeError) -> None:
        self._consumer = None
        if not self._over:
            self._over = True
            self._on_failure()

    def _broke(self, failure: Failure) -> None:
        _log.failure("looking for the end of a stream broke", failure)

    def _delivered(self, delivery: Delivery) -> None:
        offset = offset_of(delivery)
        if not self._over and offset is not None:
            self.stop()
            self._on_found(offset)
