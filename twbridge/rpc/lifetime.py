"""How a worker begins and ends, whatever it serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import TwbridgeError

__all__ = ["Lifetime", "StartError", "UnderWay"]

_log = Logger()


class StartError(TwbridgeError):
    """A worker can't begin to serve. The text is one line that says why."""


class UnderWay(Sized, Protocol):
    """What runs in a worker."""

    def when_idle(self) -> Deferred[None]:
        """Fires when nothing does any more."""


class Lifetime(ABC):
    """A worker's life.

    Args:
        link: the way to the broker; the worker starts and stops it.
        clock: IReactorTime.
        drain: seconds that what runs has to end at the stop.
    """

    def __init__(self, link: Link, clock: Any, drain: float) -> None:
        self._link = link
        self._clock = clock
        self._drain = drain
        #: What ``start`` has given out, while it may be cancelled.
        self._starting: Deferred[Any] | None = None
        self._stopping: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._hurry: Deferred[None] = Deferred()

    async def _connected(self) -> None:
        """Wait until the link is there, whether or not the broker takes messages."""
        up: Deferred[None] = Deferred()

        def look(_state: str = "") -> None:
            if self._link.state in ("ready", "blocked") and not up.called:
                up.callback(None)

        forget = self._link.on_state(look)
        look()
        try:
            await up
        finally:
            forget()

    def stop(self) -> Deferred[None]:
        """Take no more, let what runs end, then close the link. Never fails.

        What has not ended after the drain time is killed, and who waits for it is told; what may
        be run again goes back to its queue.
        """
        stopped: Deferred[None] = Deferred()
        self._waiting.append(stopped)
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._end())
            self._stopping.addErrback(_log_failure).addCallback(self._stopped)
        elif self._stopping.called:
            self._stopped(None)
        return stopped

    def hurry(self) -> None:
        """Stop without waiting for what runs."""
        if not self._hurry.called:
            self._hurry.callback(None)

    def _stopped(self, _: None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def _end(self) -> None:
        if self._starting is not None:
            self._starting.addErrback(lambda failure: failure.trap(CancelledError) and None)
            self._starting.cancel()
        await self._stop()

    @abstractmethod
    async def _stop(self) -> None:
        """What there is to do in order, once it does not begin any more."""

    async def _drained(self, running: UnderWay) -> None:
        """Wait until nothing runs, the drain time is over, or somebody is in a hurry."""
        idle = running.when_idle()
        if idle.called or self._hurry.called:
            return
        _log.info(
            "Waiting for what is under way: {count}, {drain:g} s at most",
            count=len(running),
            drain=self._drain,
        )
        over: Deferred[None] = Deferred()

        def end(_: None) -> None:
            if not over.called:
                over.callback(None)

        idle.addCallback(end)
        self._hurry.addCallback(end)
        timer = self._clock.callLater(self._drain, end, None)
        await over
        if timer.active():
            timer.cancel()
        if len(running):
            _log.warn("What had not ended: {count}", count=len(running))


def _log_failure(failure: Failure) -> None:
    _log.failure("The worker could not stop in order", failure)
