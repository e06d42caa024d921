"""The consumers of one task's queue: together they hold as many requests as may run at once.

As a rule that is one consumer. But a broker takes back what is not acknowledged in time (RabbitMQ:
30 minutes), so a call that runs for long is acknowledged early, and the broker would send one more
in its place. Then, and when a connection is lost under calls that go on running, a consumer takes
no more, and as its calls end their slots go to a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Consumer, Link, Queue
from twbridge.errors import NotReady, TwbridgeError
from twbridge.wire import Delivery

__all__ = ["Lease", "Slots"]

_log = Logger()

#: Seconds in which slots that become free are gathered for one new consumer.
GATHER: Final = 0.1
#: Seconds until it is tried again after a refusal of the broker.
RETRY: Final = 1.0
#: Seconds that the broker has to end a consumer.
LEAVE: Final = 5.0


class Lease:
    """A delivery that has to be answered, and the slot that it takes until `end`."""

    __slots__ = ("_holder", "_slots", "answered", "delivery")

    def __init__(self, slots: Slots, holder: _Holder, delivery: Delivery) -> None:
        self._slots = slots
        self._holder = holder
        self.delivery = delivery
        self.answered = False

    @property
    def void(self) -> bool:
        """Whether the broker has taken it back, with a lost connection: others may get it."""
        return not self.answered and self._holder.gone

    def ack(self) -> None:
        """Done with; the slot is free."""
        if not self.answered:
            self.answered = True
            self._holder.consumer.ack(self.delivery.delivery_tag)
        self._slots.freed(self._holder)

    def nack(self, requeue: bool) -> None:
        """Given up, or for another try; the slot is free."""
        if not self.answered:
            self.answered = True
            self._holder.consumer.nack(self.delivery.delivery_tag, requeue)
        self._slots.freed(self._holder)

    def ack_early(self) -> None:
        """Done with as far as the broker knows; the slot stays taken until ``ack``."""
        if self.answered or self._holder.gone:
            return
        holder, tag = self._holder, self.delivery.delivery_tag
        self.answered = True
        # Not before the broker has heard that it is to send no more.
        self._slots.leave(holder).addCallback(lambda _: holder.consumer.ack(tag))


class _Holder:
    """A consumer, the slots that it may fill, and how many are."""

    def __init__(self, room: int) -> None:
        self.consumer: Consumer
        self.room = room
        self.busy = 0
        #: Set when it takes no more: fires when none can come any more.
        self.left: Deferred[None] | None = None
        #: Whether its free slots were given back.
        self.settled = False
        #: Whether its deliveries can't be answered any more.
        self.gone = False


class Slots:
    """Takes the requests of one task.

    Args:
        link: the way to the broker.
        clock: IReactorTime.
        queue: the task's.
        room: how many calls may run at once.
        on_lease: called with each request.
        gather: seconds in which slots that become free are gathered for one new consumer.
    """

    def __init__(
        self,
        link: Link,
        clock: Any,
        queue: Queue,
        room: int,
        on_lease: Callable[[Lease], object],
        gather: float = GATHER,
    ) -> None:
        self.room = room
        self._link = link
        self._clock = clock
        self._queue = queue
        self._on_lease = on_lease
        self._gather = gather
        self._holders: list[_Holder] = []
        self._owed = 0
        self._refill: IDelayedCall | None = None
        self._filling: Deferred[None] | None = None
        self._stopped = False
        self._complaint = ""

    async def start(self) -> None:
        """Consume; from then on it goes on by itself.

        Raises:
            ChannelClosed: the broker refuses the queue.
        """
        while not self._stopped:
            try:
                await self._consume(self.room)
            except NotReady:
                continue  # it has waited for a while
            return

    @property
    def is_consuming(self) -> bool:
        """Whether there is a consumer that takes more, or would if it had a slot free."""
        return any(each.left is None for each in self._holders)

    def resize(self, room: int) -> None:
        """Have another number of slots.

        Where it is a smaller one all consumers take no more, so that nothing comes that there is
        no room for; as requests end, and there is room again, new consumers come.
        """
        more, self.room = room - self.room, room
        self._owe(more)
        self._trim()

    def _trim(self) -> None:
        if self._owed < 0:
            for holder in list(self._holders):
                self.leave(holder)

    async def stop(self) -> None:
        """Take no more, and fire when none can come any more. What there is can be answered."""
        self._stopped = True
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if self._filling is not None:
            self._filling.cancel()
        await DeferredList([self.leave(each) for each in list(self._holders)])

    # -- for leases -------------------------------------------------------------------------

    def freed(self, holder: _Holder) -> None:
        """A call has ended."""
        holder.busy -= 1
        if holder.settled:
            self._owe(1)
            self._drop_if_idle(holder)

    def leave(self, holder: _Holder) -> Deferred[None]:
        """Have a consumer take no more; fires when none can come any more."""
        done: Deferred[None] = Deferred()
        if holder.left is None:
            holder.left = Deferred()
            asked = holder.consumer.leave().addTimeout(LEAVE, self._clock)
            asked.addErrback(lambda failure: failure.trap(TimeoutError, TwbridgeError))
            asked.addCallback(lambda _: self._has_left(holder))
        holder.left.addCallback(_pass_on, done)
        return done

    def _has_left(self, holder: _Holder) -> None:
        self._settle(holder)
        assert holder.left is not None
        if not holder.left.called:
            holder.left.callback(None)
        self._drop_if_idle(holder)

    def _settle(self, holder: _Holder) -> None:
        """It gets no more: its free slots are for another, and the others when they are free."""
        if not holder.settled:
            holder.settled = True
            self._owe(holder.room - holder.busy)

    def _drop_if_idle(self, holder: _Holder) -> None:
        if not holder.busy and holder in self._holders:
            self._holders.remove(holder)
            holder.consumer.cancel()

    # -- consumers --------------------------------------------------------------------------

    async def _consume(self, room: int) -> None:
        holder = _Holder(room)

        def deliver(delivery: Delivery) -> None:
            holder.busy += 1
            self._on_lease(Lease(self, holder, delivery))

        consumer = await self._link.consume(
            self._queue, deliver, prefetch=room, on_end=lambda error: self._ended(holder, error)
        )
        self._complaint = ""
        holder.consumer = consumer
        consumer.on_lost = lambda: self._lost(holder)
        self._holders.append(holder)
        if self._stopped:
            self.leave(holder)

    def _lost(self, holder: _Holder) -> None:
        """Its connection is gone: what it had is back in the queue, but goes on running here."""
        if holder.gone:
            return
        holder.gone = True
        if holder.left is None:
            holder.left = Deferred()
        holder.consumer.cancel()  # it is not to be resumed
        self._has_left(holder)

    def _ended(self, holder: _Holder, error: Exception) -> None:
        self._complain(error)
        self._lost(holder)

    def _owe(self, slots: int) -> None:
        self._owed += slots
        if self._owed > 0:
            self._refill_in(self._gather)

    def _refill_in(self, seconds: float) -> None:
        if self._refill is None and self._filling is None and not self._stopped:
            self._refill = self._clock.callLater(seconds, self._fill)

    def _fill(self) -> None:
        self._refill = None
        if self._owed <= 0:
            return
        room, self._owed = self._owed, 0
        self._filling = Deferred.fromCoroutine(self._consume(room))
        self._filling.addCallbacks(self._filled, self._not_filled, errbackArgs=(room,))

    def _filled(self, _: None) -> None:
        self._filling = None
        self._owe(0)  # more may have become free meanwhile
        self._trim()

    def _not_filled(self, failure: Failure, room: int) -> None:
        self._filling = None
        self._owed += room
        if failure.check(CancelledError):
            return
        if failure.check(NotReady):
            self._refill_in(self._gather)
            return
        if failure.check(TwbridgeError):
            self._complain(failure.value)
        else:
            _log.failure("Consuming {queue} failed", failure, queue=self._queue.name)
        self._refill_in(RETRY)

    def _complain(self, error: object) -> None:
        if str(error) != self._complaint:
            self._complaint = str(error)
            _log.error(
                "Requests from {queue} stopped: {error}; trying again",
                queue=self._queue.name,
                error=str(error),
            )


def _pass_on(result: None, to: Deferred[None]) -> None:
    to.callback(result)
