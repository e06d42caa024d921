"""A subscription to a queue: a consumer and a channel of its own (sans-I/O).

At least once: what the client has not got, or has not acknowledged, goes back to the queue when it
leaves, and comes again marked ``redelivered``. With ``ack: auto`` a message is acknowledged when
the socket has taken it; while the socket takes nothing, the broker keeps what is over the prefetch.

The tags that the client sees count on through reconnects of the link. What was delivered before
one was requeued by the broker, and an ack for it is ``not_found``.

A queue that is missing after a reconnect (a broker that lost it, or a private one that expired) is
made again, and the client told of a gap. One that somebody deletes is not, unless it is private:
the subscription ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.destinations import Destination
from twbridge.errors import (
    AckTimeout,
    ChannelClosed,
    Conflict,
    NotFound,
    NotReady,
    QueueDeleted,
    TwbridgeError,
)
from twbridge.link.topology import Queue
from twbridge.ports import UP, Consumer, ConsumingLink
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.ports import Outlet
from twbridge.subscriptions.reads import Reads
from twbridge.wire import Delivery

__all__ = ["QueueSubscription", "as_asked", "candidates", "private"]

_log = Logger()

#: Seconds before a patient subscription tries again.
AGAIN = 1.0
#: Milliseconds that a session's own queue lives without its consumer: time for the link to come
#: back after a broker's restart, and the end of it where the bridge was killed.
PRIVATE_EXPIRES = 60_000

_STREAM_HEADER = b"x-stream-offset"

Attempts = Callable[[], Iterator[Queue]]


def candidates(destination: Destination) -> Iterator[Queue]:
    """What to declare, in turn, until the broker has it.

    A queue that exists is used as it is, whatever its arguments. ``/queue`` makes it durable where
    there is none; between the two attempts somebody else may have made another.
    """
    queue = Queue(destination.name, durable=True, exclusive=False, auto_delete=False)
    if destination.kind == "queue":
        yield from as_asked(queue)
    else:
        yield replace(queue, passive=True)


def as_asked(queue: Queue) -> Iterator[Queue]:
    """A queue with a name is used as it is where it exists; else it is made as it was asked for."""
    if queue.name:
        yield replace(queue, passive=True)
    yield queue
    if queue.name:
        yield replace(queue, passive=True)


def private(name: str) -> Iterator[Queue]:
    """A queue of a session's own, that outlives a loss of the link."""
    yield Queue(
        name,
        durable=True,
        exclusive=False,
        auto_delete=False,
        arguments={"x-expires": PRIVATE_EXPIRES},
    )


def _says_why(failure: Failure | None) -> bool:
    error = None if failure is None else failure.value
    return isinstance(error, ChannelClosed) and error.reply_code != 404


class QueueSubscription:
    """One.

    Args:
        link: the way to the broker.
        clock: for patience.
        reads: when to send what a read has brought.
        outlet: the session.
        destination: as it was subscribed.
        attempts: what to declare.
        binding: exchange and key that the queue is bound to.
        private: it is the session's own, and goes with the subscription.
        prefetch: how many deliveries may be unacknowledged.
        client_acks: the client acknowledges; else the socket's taking them does.
        waits: the client may be as slow as it likes; else it is closed when more waits here for the
            socket than the session's budget has room for. What waits is unacknowledged.
        valve: drop what the socket does not take.
        patient: wait for the broker without limit.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        reads: Reads,
        outlet: Outlet,
        destination: Destination,
        attempts: Attempts,
        *,
        binding: tuple[str, str] | None = None,
        private: bool = False,
        prefetch: int = 20,
        client_acks: bool = False,
        waits: bool = True,
        valve: Valve | None = None,
        patient: bool = False,
    ) -> None:
        self._link = link
        self._clock = clock
        self._reads = reads
        self._outlet = outlet
        self.destination = destination
        self._attempts = attempts
        self._binding = binding
        self._private = private
        self._prefetch = prefetch
        self._client_acks = client_acks
        self._waits = waits
        self._valve = valve
        self._patient = patient
        self._answer: Deferred[None] = Deferred()
        self._consumer: Consumer | None = None
        # Set while the broker is asked for one.
        self._trying: Deferred[Consumer] | None = None
        self._over = False
        # Fires when the broker has let the queue go.
        self._gone: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        # What came in this read, or waits for the socket.
        self._frames: list[bytes] = []
        self._keys: list[str] = []
        self._last_tag = 0
        # What is added to the consumer's tags, so that those of a new consumer go on.
        self._base = 0
        self._missed = False
        # Tags of deliveries that the client has to acknowledge.
        self._held: dict[int, None] = {}
        # A stream can be consumed like a queue, but a nack closes the connection (540).
        self._is_stream = False
        self._flushing = False

    # -- the beginning

    def start(self) -> Deferred[None]:
        """See ``ports.Subscription``."""
        self._try(self._attempts())
        return self._answer

    def _try(self, attempts: Iterator[Queue], error: Failure | None = None) -> None:
        """Consume the next of them; ``error`` is what is told where there is none left."""
        queue = next(attempts, None)
        if queue is None:
            assert error is not None
            self._refused(error)
            return
        consuming = self._trying = self._link.consume(
            queue, self._deliver, prefetch=self._prefetch, on_end=self._ended_by_broker
        )
        consuming.addCallbacks(self._bind, partial(self._not_consuming, attempts, error))
        consuming.addCallbacks(self._started, self._refused)
        consuming.addErrback(self._broke)

    def _not_consuming(
        self, attempts: Iterator[Queue], before: Failure | None, failure: Failure
    ) -> None:
        self._trying = None
        if self._over:
            self._let_go()
            return
        # Missing, or there with other properties: what comes next may fit.
        error = failure.value
        if isinstance(error, ChannelClosed) and error.passes:
            self._refused(Failure(NotReady(str(error))))
        elif isinstance(error, ChannelClosed) and error.reply_code in (404, 406):
            # That it is missing says less than why it could not be made.
            self._try(attempts, before if _says_why(before) else failure)
        else:
            self._refused(failure)

    def _bind(self, consumer: Consumer) -> Deferred[None] | None:
        self._consumer = consumer
        self._trying = None
        if self._over:
            self._cancel().addCallback(self._let_go)
            return None
        return None if self._binding is None else consumer.bind(*self._binding)

    def _started(self, _result: None) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        if consumer.queue.name:
            consumer.queue = replace(consumer.queue, passive=True)
        if not self._answer.called:
            self._answer.callback(None)
        if self._missed:
            self._missed = False
            self._outlet.interrupted(self.destination)
        self._flush()

    def _refused(self, failure: Failure) -> None:
        if self._over:
            return
        self._cancel()
        if failure.check(NotReady) and (self._patient or self._answer.called):
            self._again()
        elif self._answer.called:
            self._end_with(failure.value)
        else:
            self._over = True
            self._answer.errback(failure)

    def _again(self) -> None:
        self._timer = self._clock.callLater(AGAIN, lambda: self._try(self._attempts()))

    def _broke(self, failure: Failure) -> None:
        _log.failure("a subscription to {queue} broke", failure, queue=self.destination)

    # -- the end

    def end(self, delete: bool = False) -> Deferred[None] | None:
        """See ``ports.Subscription``."""
        if self._over:
            return None
        self._over = True
        self._private = self._private or delete
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        gone = self._cancel()
        if self._trying is not None:
            if self._link.state in UP:
                gone = self._gone = Deferred()
            else:
                self._trying.cancel()
        self._forget()
        if not self._answer.called:
            self._answer.errback(Conflict("It was unsubscribed before the broker had answered."))
        return gone

    def _let_go(self, _result: None = None) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone.callback(None)

    def _cancel(self) -> Deferred[None]:
        """Give back what is unacknowledged, and end the consumer; never fails."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return succeed(None)
        # The highest that is open: RabbitMQ refuses a tag that was settled, also with multiple.
        newest = self._last_tag if self._frames else 0
        if self._held:
            newest = next(reversed(self._held)) - self._base
        if newest > consumer.voided and not self._is_stream:
            consumer.nack(newest, requeue=True, multiple=True)
        cancelled = consumer.cancel(delete=self._private)
        return cancelled.addErrback(lambda failure: failure.trap(TwbridgeError) and None)

    def _ended_by_broker(self, error: TwbridgeError) -> None:
        self._consumer = None
        if self._over:
            return
        _log.info("{queue} ended: {error}", queue=self.destination, error=error)
        if isinstance(error, ChannelClosed) and error.is_ack_timeout:
            error = AckTimeout()
        passes = isinstance(error, ChannelClosed) and error.passes
        if passes or self._is_made_again(error):
            self._missed = self._missed or not passes
            self._forget()
            self._base += self._last_tag
            self._last_tag = 0
            self._again()
        else:
            self._end_with(error)

    def _is_made_again(self, error: TwbridgeError) -> bool:
        if not isinstance(error, ChannelClosed) or error.reply_code != 404:
            return False
        if self._private:
            return True
        declared = self._binding is not None or self.destination.kind == "queue"
        return declared and not isinstance(error, QueueDeleted)

    def _end_with(self, error: BaseException | None) -> None:
        """It has ended by itself."""
        self._over = True
        self._forget()
        known = error if isinstance(error, TwbridgeError) else TwbridgeError()
        if self._answer.called:
            self._outlet.ended(self.destination, known)
        else:
            self._answer.errback(known)

    def _forget(self) -> None:
        self._frames.clear()
        self._keys.clear()
        self._held.clear()
        if self._valve is not None:
            self._valve.close()

    # -- messages

    def _deliver(self, delivery: Delivery) -> None:
        if self._over:
            return
        tag = delivery.delivery_tag
        self._is_stream = self._is_stream or _STREAM_HEADER in delivery.raw_properties
        self._forget_voided()
        shown = self._base + tag if self._client_acks else None
        try:
            frame = self._outlet.encoder.encode(self.destination, delivery, delivery_tag=shown)
        except Exception:
            # It can't be shown to anybody: with requeue it would come for ever.
            _log.failure("{delivery!r} can't be encoded", delivery=delivery)
            self._throw_away(tag)
            return
        self._last_tag = tag
        if shown is not None:
            self._held[shown] = None
        self._frames.append(frame)
        self._keys.append(delivery.routing_key)
        if not self._flushing:
            self._flushing = True
            self._reads.then(self._read_done)

    def _throw_away(self, tag: int) -> None:
        if self._consumer is None:
            return
        if self._is_stream:
            self._consumer.ack(tag)
        else:
            self._consumer.nack(tag, requeue=False)

    def _forget_voided(self) -> None:
        """What a reconnect has requeued is not sent, as far as it waits here, nor held."""
        voided = 0 if self._consumer is None else self._consumer.voided
        gone = self._base + voided
        if self._held and next(iter(self._held)) <= gone:
            for tag in [tag for tag in self._held if tag <= gone]:
                del self._held[tag]
        if self._frames and self._last_tag <= voided:
            self._frames.clear()
            self._keys.clear()

    def _read_done(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        self._forget_voided()
        if not self._frames or self._consumer is None or not self._answer.called:
            return
        if self._valve is None and not self._outlet.takes_data:
            self._look_how_much_waits()
            return
        frames, self._frames = self._frames, []
        keys, self._keys = self._keys, []
        if self._valve is not None:
            self._valve.take(frames, keys)
        else:
            self._outlet.send(frames[0] if len(frames) == 1 else b"".join(frames))
        self._sent()

    def _sent(self) -> None:
        """The socket has taken all that came."""
        # The outlet may have been closed by it.
        if not self._client_acks and self._consumer is not None:
            self._consumer.ack(self._last_tag, multiple=True)

    def _look_how_much_waits(self) -> None:
        # A client is not slow because one message is large.
        if self._waits or len(self._frames) == 1:
            return
        if sum(map(len, self._frames)) > self._outlet.budget.left:
            self._outlet.overflowed()

    def writable(self) -> None:
        """See ``ports.Subscription``."""
        if self._valve is not None:
            self._valve.writable()
        self._flush()

    # -- acknowledgements

    def ack(self, tag: int, multiple: bool) -> None:
        """See ``ports.Subscription``."""
        self._take(tag, multiple).ack(tag - self._base, multiple)

    def nack(self, tag: int, requeue: bool, multiple: bool) -> None:
        """See ``ports.Subscription``."""
        if self._is_stream:
            raise Conflict(f"{self.destination} is a stream: its messages can't be refused.")
        self._take(tag, multiple).nack(tag - self._base, requeue, multiple)

    def _take(self, tag: int, multiple: bool) -> Consumer:
        self._forget_voided()
        if self._consumer is None or tag not in self._held:
            raise NotFound(
                f"There is no delivery {tag} of {self.destination} to acknowledge: it was never "
                "there, is done with, or went back to its queue with a lost connection."
            )
        if multiple:
            for each in [each for each in self._held if each <= tag]:
                del self._held[each]
        else:
            del self._held[tag]
        return self._consumer
