"""Streams of the embedded broker (sans-I/O): queues that are read and not emptied.

Each consumer reads on from a place of its own (``readers.py``). What RabbitMQ's streams have and
these do not: a disk, replicas, chunks. So ``last`` is the last message, a timestamp the first
message at or after it, and retention drops message by message where RabbitMQ drops whole segments:
as soon as they are too many bytes (of bodies and properties), within a second or so when they are
too old; never the newest.

Source: https://www.rabbitmq.com/streams.html, and what RabbitMQ 3.10 answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge import wire
from twbridge.broker import arguments as rules
from twbridge.broker import refusals
from twbridge.broker.log import Log
from twbridge.broker.messages import Memory, Message
from twbridge.errors import EncodeError

__all__ = ["OFFSET_HEADER", "ReadsOn", "Stream"]

OFFSET_HEADER = "x-stream-offset"

#: Seconds between two looks for messages that are too old, at least and at most.
_SOONEST, _LATEST = 1.0, 86400.0


class ReadsOn(Protocol):
    """A consumer, as its stream sees it."""

    def drain(self) -> None:
        """There may be something to read."""

    def queue_deleted(self) -> None:
        """The stream is gone; there is nothing more to read."""


class Stream:
    """One stream.

    Args:
        name: unique in its virtual host.
        memory: where its messages are counted, until retention drops them.
        clock: tells the age of messages.
        arguments: checked by ``arguments.py`` before. ``x-max-age`` and ``x-max-length-bytes`` act.
    """

    durable = True
    auto_delete = False
    exclusive = False
    owner = None
    #: RabbitMQ answers a declaration of a stream with these, whatever is in it.
    message_count = 0
    consumer_count = 0

    def __init__(
        self,
        name: str,
        memory: Memory,
        clock: IReactorTime,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.arguments: Mapping[str, Any] = arguments or {}
        self.log = Log()
        self.deleted = False
        #: In the order of their coming.
        self.consumers: dict[ReadsOn, None] = {}
        self._memory = memory
        self._clock = clock
        self._max_bytes: int | None = self.arguments.get("x-max-length-bytes")
        age = self.arguments.get("x-max-age")
        self._max_age = None if age is None else rules.seconds(age)
        self._look: IDelayedCall | None = None

    # -- messages -----------------------------------------------------------------------------

    def push(self, message: Message) -> bool:
        """Append it, let the consumers read on, and drop from the head what is too much.

        Returns:
            True: a stream takes everything.
        """
        if OFFSET_HEADER in message.headers:
            message = _without_offset(message)
        self._memory.hold(message)
        self.log.append(message, self._clock.seconds())
        for consumer in list(self.consumers):
            consumer.drain()
        if self._max_bytes is not None:
            while len(self.log) > 1 and self.log.size > self._max_bytes:
                self._memory.release(self.log.drop())
        self._watch_age()
        return True

    def purge(self) -> NoReturn:
        """Raise ConnectionClosed (540), as RabbitMQ does."""
        self.refuse("queue.purge")

    def refuse(self, what: str) -> NoReturn:
        """Raise ConnectionClosed (540): ``what`` is not for streams."""
        raise refusals.not_implemented(
            f"{what} not supported by stream queues queue '{self.name}' in vhost '/'"
        )

    def delete(self) -> int:
        """Drop everything and tell the consumers; return :attr:`message_count`."""
        self.deleted = True
        self.stop()
        while len(self.log):
            self._memory.release(self.log.drop())
        for consumer in list(self.consumers):
            consumer.queue_deleted()
        self.consumers.clear()
        return self.message_count

    def touch(self) -> None:
        """Streams do not expire."""

    def stop(self) -> None:
        """Leave nothing to the clock."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    # -- consumers ----------------------------------------------------------------------------

    def place(self, start: rules.Start) -> int:
        """The offset at which a consumer begins; there may be no such message yet."""
        log = self.log
        if start.where == "offset":
            return int(start.value)
        if start.where == "timestamp":
            return log.at(start.value)
        if start.where == "age":
            return log.at(self._clock.seconds() - start.value)
        if start.where == "last":
            return max(log.first, log.next - 1)
        return log.first if start.where == "first" else log.next

    def add_consumer(self, consumer: ReadsOn) -> None:
        """Tell it of new messages from now on."""
        self.consumers[consumer] = None

    def remove_consumer(self, consumer: Any) -> None:
        """Undo that."""
        self.consumers.pop(consumer, None)

    # -- age ----------------------------------------------------------------------------------

    def _watch_age(self) -> None:
        if self._max_age is not None and self._look is None and len(self.log) > 1:
            wait = self.log.oldest + self._max_age - self._clock.seconds()
            self._look = self._clock.callLater(
                min(max(wait, _SOONEST), _LATEST), self._drop_old, self._max_age
            )

    def _drop_old(self, max_age: float) -> None:
        self._look = None
        too_old = self._clock.seconds() - max_age
        while len(self.log) > 1 and self.log.oldest <= too_old:
            self._memory.release(self.log.drop())
        self._watch_age()


def _without_offset(message: Message) -> Message:
    """It was read from a stream and is published again: the offset is that of another stream."""
    properties = wire.decode_properties(message.raw_properties)
    headers = {key: value for key, value in message.headers.items() if key != OFFSET_HEADER}
    with contextlib.suppress(EncodeError):
        raw = wire.encode_properties({**properties, "headers": headers})
        return Message(message.exchange, message.routing_key, raw, message.body, headers)
    # A property that is not UTF-8. The header will be there twice, and the last one counts.
    return message
