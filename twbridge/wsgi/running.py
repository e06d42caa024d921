"""The requests that a worker has: those that wait for a lane, and those that run.

Where one waits in vain for `WAIT` seconds, all that wait are given back to the queue, so that
others may take them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from twbridge.amqp import Link
from twbridge.errors import FrameError
from twbridge.rpc.slots import Lease
from twbridge.wire import Delivery
from twbridge.wsgi.lanes import Lanes, Work
from twbridge.wsgi.messages import (
    BACKUP,
    BadMessage,
    Cancel,
    Request,
    encode,
    is_safe,
    read_to_worker,
)
from twbridge.wsgi.replies import Replies
from twbridge.wsgi.returning import Returning
from twbridge.wsgi.room import Room
from twbridge.wsgi.sweeps import Sweeps

__all__ = ["Running"]

_log = Logger()

#: Seconds that a request may run before the bridge is told that a worker has it.
ACCEPT: Final = 0.1
#: Seconds without a word of a request, or for it, after which its bridge is told again that it
#: is here: that comes back where the bridge is no more.
QUIET: Final = 10.0
#: Seconds that a request may wait for a lane.
WAIT: Final = 0.05
#: Seconds after which one that runs is acknowledged: the broker takes back what is not after its
#: consumer_timeout, 30 minutes by default.
ACK: Final = 600.0


class Running:
    """The requests of one worker.

    Args:
        link: the way to the broker.
        lanes: what runs them.
        queue: the name of the mount's.
        worker: the worker's id.
        clock: IReactorTime.
        control: the name of the worker's control queue now; empty while there is none.
    """

    def __init__(
        self,
        link: Link,
        lanes: Lanes,
        *,
        queue: str,
        worker: str,
        clock: Any,
        control: Callable[[], str],
    ) -> None:
        self._lanes = lanes
        self._seconds = clock.seconds
        self._replies = Replies(link, worker, control, self._hole, self._unwanted)
        self.room = Room(lambda: (lanes.able, lanes.left_over))
        self._works: dict[str, Work] = {}
        self._waiting: deque[Work] = deque()
        self._returning = Returning(link, queue, clock.seconds, self._look_idle)
        self._is_stopped = False
        self._idle: list[Deferred[None]] = []
        self._sweeps = Sweeps(clock, self._sweep)
        lanes.listener = self

    def __len__(self) -> int:
        """How many requests are here."""
        return len(self._works) + self._returning.count

    # -- from the broker --------------------------------------------------------------------

    def take(self, lease: Lease) -> None:
        """A request has come."""
        delivery = lease.delivery
        if not delivery.body:
            lease.ack()  # a bridge has asked whether there is a queue
            return
        try:
            properties = delivery.properties
            id, reply_to = properties["correlation_id"], properties["reply_to"]
        except (FrameError, KeyError) as error:
            _log.warn("A message that is no request was dropped: {error!r}", error=error)
            lease.nack(requeue=False)
            return
        work = Work(id, reply_to, lease, properties, self._seconds())
        if (delivery.redelivered or id in self._works) and not self._is_new(work):
            return
        if self._is_stopped:
            self._give_back(work)
            return
        self._works[id] = work
        free = self._lanes.free
        if free:
            self._begins(work)
            free.pop().begin(work)
        else:
            self._waiting.append(work)
        self._sweeps.wake()

    def _begins(self, work: Work) -> None:
        """What may not run twice is told before it runs, so that nobody takes it for waiting."""
        if not work.told and not is_safe(work.lease.delivery.body):
            self._replies.accept(work)

    def _is_new(self, work: Work) -> bool:
        """Whether one that was delivered before has to run; else it is done with."""
        id = work.id
        known = self._works.get(id)
        if known is not None:
            # It runs here: from now on this is the delivery that is to be answered.
            known.lease, old = work.lease, known.lease
            old.ack()
        elif self._returning.is_done(work):
            work.lease.ack()
        elif self._returning.is_fresh(work):
            return True
        elif not self._returning.repeat(work):
            self._replies.fail(work, "lost", "the worker that had it has died")
            work.lease.ack()
        return False

    def told(self, delivery: Delivery) -> None:
        """A message for a request that is here."""
        try:
            work = self._works.get(delivery.properties.get("correlation_id", ""))
            if work is None:
                return
            message = read_to_worker(delivery.body)
        except (FrameError, BadMessage) as error:
            _log.warn("A word of a bridge was refused: {error}", error=str(error))
            return
        if isinstance(message, Cancel):
            self._cancel(work, message.reason, delivery.body)
        elif work.lane is not None and not isinstance(message, Request):
            work.heard = self._seconds()
            work.lane.tell(delivery.body)

    def _cancel(self, work: Work, reason: str, body: bytes) -> None:
        if work.lane is None:
            self._waiting.remove(work)
            self._forget(work)
        elif reason == "gone":
            self._leave(work, body)
        else:
            self._end(work)

    # -- from the lanes ---------------------------------------------------------------------

    def next(self) -> Work | None:
        """What runs on a lane that has become free."""
        waiting = self._waiting
        while waiting:
            work = waiting.popleft()
            if not work.lease.void:
                work.begun = work.heard = self._seconds()
                self._begins(work)
                return work
            self._give_back(work)
        return None

    def said(self, work: Work, message: bytes) -> None:
        """A message for the bridge."""
        if not work.muted:
            if work.lane is not None:
                work.heard = self._seconds()
            self._replies.say(work, message)

    def ended(self, work: Work) -> None:
        """It has ended."""
        if work.over:
            return
        now = self._seconds()
        self._forget(work)
        self._replies.ended(work)
        self.room.took(now - work.begun, now)

    def lost(self, work: Work, text: str, is_untouched: bool) -> None:
        """Its process is gone."""
        if work.over:
            return
        is_silent = not (work.answered or work.muted or work.lease.answered)
        if is_silent and is_untouched:
            self._give_back(work)
        elif is_silent and not work.lease.void and self._returning.repeat(work):
            self._works.pop(work.id, None)
            _log.info("{work} is run again by whoever is free", work=work)
        else:
            self._replies.fail(work, "lost", text)
            self._forget(work)

    def ready(self) -> None:
        """There may be more lanes than before."""
        self.room.grow()

    # -- the connection ---------------------------------------------------------------------

    def cut(self) -> None:
        """A connection to the broker was lost, and perhaps what was said last."""
        self._replies.cut()
        for work in list(self._works.values()):
            if work.answered:
                self._replies.lose(work)

    def accept_again(self) -> None:
        """There is a new control queue: bridges hear of it."""
        for work in self._works.values():
            if work.told:
                self._replies.accept(work)

    # -- ends -------------------------------------------------------------------------------

    def _leave(self, work: Work, cancel: bytes) -> None:
        """Nobody waits for it: it may end by itself, for as long as the client would wait."""
        work.muted = True
        if work.lane is not None and work.until is None:
            work.until = self._seconds() + work.patience
            work.lane.tell(cancel)

    def _unwanted(self, id: str) -> None:
        """Its bridge is gone, or has lost its connection: what it asked is in vain."""
        work = self._works.get(id)
        if work is None or work.muted:
            return
        if work.lane is None:
            self._waiting.remove(work)
            self._forget(work)
        else:
            self._leave(work, encode(Cancel("gone")))

    def _hole(self, work: Work) -> None:
        """The rest of its answer is of no use."""
        if not work.over:
            self._leave(work, encode(Cancel("gone")))

    def _end(self, work: Work) -> None:
        """End it, whatever it does."""
        work.muted = True
        self._forget(work)
        self._lanes.end(work)

    def _forget(self, work: Work) -> None:
        """The broker is told that it is done with."""
        work.over = True
        self._works.pop(work.id, None)
        self._returning.ended(work)
        work.lease.ack()
        self._look_idle()

    def _give_back(self, work: Work) -> None:
        """Others may have it: it has not begun."""
        self._works.pop(work.id, None)
        self._returning.give_back(work)
        self._look_idle()

    # -- looks ------------------------------------------------------------------------------

    def _sweep(self) -> bool:
        if not self._works:
            return False
        now = self._seconds()
        for work in [each for each in self._works.values() if each.lane is not None]:
            self._look(work, now)
        if self._waiting and now - self._waiting[0].since > WAIT:
            self._look_waiting(now)
        return True

    def _look(self, work: Work, now: float) -> None:
        """Look at one that runs."""
        if not work.told and now - work.begun > ACCEPT:
            self._accept(work, now)
        if work.until is not None and now > work.until:
            self._end(work)
        elif now - work.heard > BACKUP and now - work.heard > work.patience + BACKUP:
            _log.warn("{work}: nothing was heard of it, nor of who waits for it", work=work)
            self._replies.fail(work, "deadline", "nothing was heard of it")
            self._end(work)
        else:
            if now - work.heard > QUIET and now - work.accepted > QUIET:
                self._accept(work, now)
            if now - work.begun > ACK and not work.lease.answered:
                work.lease.ack_early()

    def _accept(self, work: Work, now: float) -> None:
        work.accepted = now
        self._replies.accept(work)

    def _look_waiting(self, now: float) -> None:
        """One has waited for too long: no more are fetched than can run, and others get these."""
        self.room.shrink(now)
        self._give_all_back()

    def _give_all_back(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for work in waiting:
            self._give_back(work)

    # -- the end ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Give back what waits, and whatever comes from now on."""
        self._is_stopped = True
        self._give_all_back()

    def when_idle(self) -> Deferred[None]:
        """Fires when nothing is here any more."""
        if not len(self):
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        return idle

    def give_up(self) -> None:
        """Nobody gets answers any more; what runs goes on until its process is killed."""
        for work in list(self._works.values()):
            self._replies.fail(work, "lost", "its worker was told to end")
            self._forget(work)
        self._sweeps.stop()

    def _look_idle(self) -> None:
        if self._idle and not len(self):
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
