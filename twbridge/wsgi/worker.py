"""A worker: it takes the requests of a mount from their queue, and has an application run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from twbridge.amqp import Link, Queue
from twbridge.errors import ChannelClosed, TwbridgeError
from twbridge.rpc.lifetime import Lifetime, StartError
from twbridge.rpc.ownqueue import OwnQueue
from twbridge.rpc.slots import Slots
from twbridge.wsgi.lanes import Lanes
from twbridge.wsgi.messages import EXPIRES, queue_of
from twbridge.wsgi.running import Running

__all__ = ["DRAIN", "Crew", "Worker", "WorkerOptions"]

#: Seconds that requests that run have to end at the stop.
DRAIN: Final = 30.0
#: Seconds in which slots that become free are gathered for one new consumer.
GATHER: Final = 0.005
#: Seconds between two words to the broker that the queue of the mount is in use, while nothing
#: is taken from it: less than half of the time after which it would be deleted.
IN_USE: Final = 2.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker behaves.

    Args:
        mount: where the application is mounted: ``/app``, or ``/``.
        drain: seconds that the requests that run have to end at the stop.
    """

    mount: str
    drain: float = DRAIN


class Crew(Lanes, Protocol):
    """What the worker needs of `crew.Crew`."""

    lanes: int

    def start(self) -> Deferred[None]: ...

    def no_more(self) -> None: ...

    def stop(self) -> Deferred[None]: ...

    def kill(self) -> None: ...


class Worker(Lifetime):
    """Serves one mount.

    Args:
        link: the way to the broker; the worker starts and stops it.
        crew: what runs the application.
        id: of this worker, like no other's.
        clock: IReactorTime.
    """

    def __init__(
        self, link: Link, crew: Crew, *, id: str, clock: Any, options: WorkerOptions
    ) -> None:
        super().__init__(link, clock, options.drain)
        self.id = id
        self.options = options
        self.queue = Queue(
            queue_of(options.mount),
            durable=True,
            exclusive=False,
            auto_delete=False,
            arguments={"x-expires": EXPIRES},
        )
        self._crew = crew
        self._running = Running(
            link,
            crew,
            queue=self.queue.name,
            worker=id,
            clock=clock,
            control=lambda: self._control.name,
        )
        self._control = OwnQueue(
            link, clock, None, self._running.told, on_up=self._running.accept_again
        )
        self._slots = Slots(link, clock, self.queue, crew.lanes, self._running.take, GATHER)
        self._in_use = LoopingCall(self._keep_queue)
        self._in_use.clock = clock

    # -- the beginning ----------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Begin to serve; fires when requests come.

        While the broker is away it waits, for ever. Fails with LoadError (the application), with
        StartError (the broker refuses a queue), or with CancelledError when it is stopped before.
        """
        self._starting = Deferred.fromCoroutine(self._start())
        return self._starting

    async def _start(self) -> None:
        await self._crew.start()
        self._link.start()
        await self._connected()
        self._link.on_state(self._look_link)
        # It may be lost when the link is no more ready already, because of another connection.
        self._link.on_publishing_lost(self._running.cut)
        await self._control.start().addErrback(_trap)
        try:
            await self._slots.start()
        except ChannelClosed as error:
            raise StartError(f"the broker refuses the queue {self.queue.name}: {error}") from None
        self._running.room.slots = self._slots
        self._in_use.start(IN_USE, now=False)

    def _look_link(self, state: str) -> None:
        if state == "connecting":
            self._running.cut()

    def _keep_queue(self) -> None:
        """Where all lanes are busy for long there may be no consumer; the queue has to stay.

        Not where there is no lane: then clients are not to wait for this worker.
        """
        if self._crew.able and not self._slots.is_consuming:
            self._link.declare(self.queue, remember=False).addErrback(_trap)

    # -- the end ----------------------------------------------------------------------------

    async def _stop(self) -> None:
        if self._in_use.running:
            self._in_use.stop()
        self._crew.no_more()
        self._running.stop()
        await Deferred.fromCoroutine(self._slots.stop())
        await self._drained(self._running)
        self._running.give_up()
        ended = self._crew.stop()
        self._hurry.addCallback(lambda _: self._crew.kill())
        await ended
        await self._control.stop()
        await self._link.stop()


def _trap(failure: Failure) -> None:
    failure.trap(TwbridgeError)
