"""A model of RabbitMQ's streams, behind a link whose every step is the test's.

What was measured on RabbitMQ and is modelled: an offset past the end delivers nothing until that
offset exists, and nothing below it ever; ``last`` and timestamps begin with a chunk; deliveries go
as far as the prefetch; the answer to a synchronous method comes behind what could be delivered;
retention takes from the head; offsets may have holes; after the kill of a node nothing of a stream
comes for a while, though it is there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from twbridge.errors import ChannelClosed, ConnectionClosed, NotReady, TwbridgeError
from twbridge.link.topology import Queue
from twbridge.wire import Delivery, encode_properties

__all__ = ["Attached", "Log", "StreamLink"]


class Log:
    """One stream. ``generation`` tells it from those that had its name before."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.chunks: list[int] = []
        self.next = 0

    def append(self, count: int, time: int, hole: int = 0) -> None:
        """A chunk of messages, behind as many offsets that have none."""
        self.next += hole
        self.chunks.append(self.next)
        for _ in range(count):
            self.offsets.append(self.next)
            self.times.append(time)
            self.next += 1

    def truncate(self, count: int) -> None:
        """Retention: so many go from the head, never the last one."""
        count = min(count, len(self.offsets) - 1)
        if count > 0:
            del self.offsets[:count], self.times[:count]
            self.chunks = [each for each in self.chunks if each >= self.offsets[0]]
            if not self.chunks or self.chunks[0] != self.offsets[0]:
                self.chunks.insert(0, self.offsets[0])

    def place(self, where: Any) -> int:
        """The offset that a consumer begins with."""
        if isinstance(where, int):
            return where
        if where == "next" or not self.offsets:
            return self.next
        if where == "first":
            return self.offsets[0]
        if where == "last":
            return self.chunks[-1]
        assert isinstance(where, datetime), where
        found = bisect_left(self.times, where.timestamp())
        if found == len(self.offsets):
            return self.next
        return max(each for each in self.chunks if each <= self.offsets[found])

    def body(self, offset: int) -> bytes:
        """No two are the same in any stream."""
        return f"{self.generation}/{offset}".encode()


class Attached:
    """A consumer: the client's end, and the broker's."""

    def __init__(
        self,
        link: StreamLink,
        queue: Queue,
        on_delivery: Callable[[Delivery], None],
        on_end: Callable[[TwbridgeError], None],
        prefetch: int,
        arguments: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.started: Deferred[Attached] = Deferred()
        self.ended: TwbridgeError | None = None
        self.on_established: Callable[[], object] = lambda: None
        self.voided = 0
        self.to_broker: deque[tuple[Any, ...]] = deque([("declare",)])
        self.to_client: deque[tuple[Any, ...]] = deque()
        self.cancelled = False
        self._link = link
        self._on_delivery = on_delivery
        self._on_end = on_end
        self._arguments = arguments
        self._consuming = False
        self._last_tag = 0
        # The broker's end.
        self.log: Log | None = None
        self._next = 0
        self._tag = 0
        self._unacked: list[int] = []

    # -- what the bridge calls

    def ack(self, tag: int, multiple: bool = False) -> bool:
        assert tag <= self._last_tag, "acknowledged before it came"
        if not self._link.up or tag <= self.voided:
            return False
        self.to_broker.append(("ack", tag))
        return True

    def nack(self, tag: int, requeue: bool = True, multiple: bool = False) -> bool:
        raise AssertionError("RabbitMQ closes the connection (540)")

    def sync(self) -> Deferred[None]:
        if self.ended is not None or not self._link.up or not self._consuming:
            return fail(self.ended or ConnectionClosed(0, "the link is down"))
        answer: Deferred[None] = Deferred()
        self.to_broker.append(("sync", answer))
        return answer

    def cancel(self, delete: bool = False) -> Deferred[None]:
        assert not delete, "a stream is nobody's own"
        self.cancelled = True
        self._finish(ChannelClosed(0, "cancelled"), told=False)
        return succeed(None)

    def _finish(self, error: TwbridgeError, told: bool = True) -> None:
        if self.ended is not None:
            return
        self.ended = error
        self._link.consumers.remove(self)
        self._drop_answers(error)
        if not self.started.called:
            if told:
                self.started.errback(error)
        elif told:
            self._on_end(error)

    def _drop_answers(self, error: TwbridgeError) -> None:
        waiting = [each for each in (*self.to_broker, *self.to_client) if each[0] == "sync"]
        self.to_broker.clear()
        self.to_client.clear()
        self.log = None
        for each in waiting:
            each[1].errback(error)

    # -- what the test lets happen

    def lose(self) -> None:
        """The connection is lost."""
        self._consuming = False
        self._drop_answers(ConnectionClosed(0, "lost"))

    def establish(self) -> None:
        """There is a new connection."""
        self.voided = self._last_tag
        self._unacked.clear()
        self.to_broker.append(("declare",))

    def time_out(self) -> None:
        """The link was not up in time."""
        if not self.started.called:
            self._finish(NotReady("not in time"))

    def broker_step(self) -> None:
        """The broker hears one thing."""
        what, *values = self.to_broker.popleft()
        log = self._link.streams.get(self.queue.name)
        if what == "declare":
            self.to_client.append(("refused",) if log is None else ("declared",))
        elif what == "consume":
            if log is None:
                self.to_client.append(("refused",))
                return
            self.log, self._next = log, log.place(values[0])
            self.to_client.append(("consuming",))
            self.drain()
        elif what == "ack":
            self._unacked = [tag for tag in self._unacked if tag > values[0]]
            self.drain()
        else:
            self.drain()
            self.to_client.append(("sync", *values))

    def drain(self) -> None:
        """Deliver what there is."""
        log = self.log
        if log is None or self._link.recovering:
            return
        at = bisect_left(log.offsets, self._next)
        while at < len(log.offsets) and len(self._unacked) < self.prefetch:
            offset = log.offsets[at]
            self._tag += 1
            self._unacked.append(self._tag)
            self.to_client.append(("message", self._tag, offset, log.body(offset), log.times[at]))
            self._next = offset + 1
            at += 1

    def deleted(self) -> None:
        """Its stream is gone."""
        self.log = None
        self.to_client.append(("deleted",))

    def client_step(self) -> None:
        """The client hears one thing."""
        what, *values = self.to_client.popleft()
        if what == "declared":
            self._consuming = True
            self.to_broker.append(("consume", self._arguments()["x-stream-offset"]))
        elif what == "refused":
            self._finish(ChannelClosed(404, "NOT_FOUND"))
        elif what == "consuming":
            if self.started.called:
                self.on_established()
            else:
                self.started.callback(self)
        elif what == "message":
            tag, offset, body, time = values
            self._last_tag = tag
            raw = encode_properties({"headers": {"x-stream-offset": offset}, "timestamp": time})
            self._on_delivery(Delivery(1, "c", tag, False, "x", f"k{offset % 3}", raw, body))
        elif what == "sync":
            values[0].callback(None)
        else:
            self._finish(ChannelClosed(404, "the queue was deleted"))


class StreamLink:
    """A link to a broker that has nothing but streams."""

    def __init__(self) -> None:
        self.streams: dict[str, Log] = {}
        self.consumers: list[Attached] = []
        self.up = True
        #: A node that was killed: it answers, but delivers nothing of a stream for a while.
        self.recovering = False
        self._generations = 0
        self._readers: list[Callable[[], None]] = []

    # -- what the bridge calls

    @property
    def state(self) -> str:
        return "ready" if self.up else "connecting"

    def on_state(self, callback: Callable[[str], None]) -> Callable[[], None]:
        return lambda: None

    def on_read(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._readers.append(callback)
        return lambda: self._readers.remove(callback)

    def consume(
        self,
        queue: Queue,
        on_delivery: Callable[[Delivery], None],
        *,
        no_ack: bool = False,
        prefetch: int = 20,
        on_end: Callable[[TwbridgeError], None] | None = None,
        arguments: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Deferred[Any]:
        assert queue.passive, "streams are never declared for a client"
        assert not no_ack, "RabbitMQ refuses it"
        assert prefetch > 0, "RabbitMQ refuses it"
        assert on_end is not None
        assert arguments is not None
        consumer = Attached(self, queue, on_delivery, on_end, prefetch, arguments)
        if not self.up:
            consumer.to_broker.clear()
        self.consumers.append(consumer)
        return consumer.started

    # -- what the test does to the broker

    def make(self, name: str) -> Log:
        """A new stream, with no messages."""
        self._generations += 1
        log = self.streams[name] = Log(self._generations)
        return log

    def delete(self, name: str) -> None:
        """Delete a stream."""
        log = self.streams.pop(name)
        for consumer in list(self.consumers):
            if consumer.log is log:
                consumer.deleted()

    def publish(self, name: str, count: int = 1, *, time: int = 0, hole: int = 0) -> None:
        """A chunk."""
        self.streams[name].append(count, time, hole)
        for consumer in list(self.consumers):
            if consumer.log is self.streams[name]:
                consumer.drain()

    # -- and to the link

    def lose(self) -> None:
        """The connection is lost."""
        self.up = False
        for consumer in list(self.consumers):
            consumer.lose()

    def reconnect(self) -> None:
        """It is back."""
        self.up = True
        for consumer in list(self.consumers):
            consumer.establish()

    def recover(self) -> None:
        """The node knows again how far its streams go."""
        self.recovering = False
        for consumer in list(self.consumers):
            consumer.drain()

    def read(self, consumers: Iterator[Attached] | list[Attached] | None = None) -> None:
        """One read of the socket: one thing for each of these, or all that there is."""
        if consumers is None:
            for consumer in list(self.consumers):
                while consumer.to_client:
                    consumer.client_step()
        else:
            for consumer in consumers:
                if consumer.to_client:
                    consumer.client_step()
        for callback in list(self._readers):
            callback()

    def settle(self) -> None:
        """Let all happen that needs no time."""
        for _ in range(1000):
            busy = False
            for consumer in list(self.consumers):
                while self.up and consumer.to_broker:
                    busy = True
                    consumer.broker_step()
            if any(consumer.to_client for consumer in self.consumers):
                busy = True
                self.read()
            if not busy:
                return
        raise AssertionError("it never comes to rest")
