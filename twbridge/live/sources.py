"""The broker queues of the hub, and what waits for them (sans-I/O).

A source is one exclusive, server-named queue. The link declares it again after a reconnect, with
its bindings; a source steps in where that is not enough: when the broker took the queue away, or
refused a binding.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.destinations import Destination
from twbridge.errors import ChannelClosed, Conflict, EncodeError, NotReady, TwbridgeError
from twbridge.link.topology import Queue
from twbridge.live.fanout import Fanout, Subscriber
from twbridge.ports import Consumer, ConsumingLink

__all__ = ["Owner", "Source"]

_log = Logger()

#: Seconds before a queue is made again that was not made just now, and before one that was.
AGAIN, SLOWLY = 0.0, 1.0
#: What is "just now", in seconds.
RECENT = 5.0
#: Bindings that nobody needs any more and that wait for their end; past it they end at once.
MAX_IDLE = 1000


class Owner(Protocol):
    """What a source needs of the hub."""

    link: ConsumingLink
    clock: IReactorTime
    #: Whether the link consumes.
    up: bool
    #: Seconds from the last subscriber's end to the binding's.
    unbind_delay: float
    #: Bindings that nobody needs any more.
    idle: int

    def forget(self, source: Source, /) -> None:
        """The source has nothing left to do."""


class _Waiting:
    """A subscriber that waits for the broker."""

    __slots__ = ("answer", "destination", "subscriber", "timer")

    def __init__(self, destination: Destination, subscriber: Subscriber) -> None:
        self.destination = destination
        self.subscriber = subscriber
        self.answer: Deferred[None]
        self.timer: IDelayedCall | None = None


class _Binding:
    """A binding key of a source."""

    __slots__ = ("asked", "bound", "key", "timer", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        #: The consumer that was asked to bind it; it does so again by itself.
        self.asked: Consumer | None = None
        self.bound = False
        self.waiting: list[_Waiting] = []
        #: Runs while nobody needs it.
        self.timer: IDelayedCall | None = None


class Source:
    """One broker queue: the messages of an exchange, or of one binding to it."""

    __slots__ = (
        "_made",
        "_making",
        "_owner",
        "_timer",
        "bindings",
        "consumer",
        "exchange",
        "fanout",
        "name",
    )

    def __init__(
        self, owner: Owner, name: tuple[str, str | None], exchange: str, fanout: Fanout
    ) -> None:
        self._owner = owner
        self.name = name
        self.exchange = exchange
        self.fanout = fanout
        self.bindings: dict[str, _Binding] = {}
        self.consumer: Consumer | None = None
        self._making = False
        self._made = -RECENT
        self._timer: IDelayedCall | None = None

    # -- towards the broker

    def drive(self) -> None:
        """Do what is missing on the broker, if the link is up."""
        if not self._owner.up or not self.bindings:
            return
        if self.consumer is None:
            self._make()
            return
        consumer = self.consumer
        for binding in list(self.bindings.values()):
            self._drive(binding, consumer)

    def _drive(self, binding: _Binding, consumer: Consumer) -> None:
        if self.bindings.get(binding.key) is not binding:
            return
        if binding.bound:
            self._settle(binding)
        elif binding.asked is not consumer:
            self._bind(binding, consumer)

    def _make(self) -> None:
        if self._making or self._timer is not None:
            return
        self._making = True
        self._made = self._owner.clock.seconds()
        consuming = self._owner.link.consume(
            Queue(), self.fanout.deliver, no_ack=True, prefetch=0, on_end=self._ended
        )
        consuming.addCallbacks(self._consuming, self._not_consuming)
        consuming.addErrback(_broken)

    def _consuming(self, consumer: Consumer) -> None:
        self._making = False
        if not self.bindings:
            _neglect(consumer.cancel())
            return
        self.consumer = consumer
        self.drive()

    def _not_consuming(self, failure: Failure) -> None:
        self._making = False
        if not self.bindings:
            return
        if not _final(failure):
            self._later(SLOWLY)
            return
        for binding in list(self.bindings.values()):
            self._refuse(binding, failure)

    def _bind(self, binding: _Binding, consumer: Consumer) -> None:
        binding.asked = consumer
        bound = consumer.bind(self.exchange, binding.key)
        bound.addCallbacks(
            self._bound,
            self._not_bound,
            callbackArgs=(binding, consumer),
            errbackArgs=(binding, consumer),
        )
        bound.addErrback(_broken)

    def _bound(self, _result: object, binding: _Binding, consumer: Consumer) -> None:
        if binding.asked is not consumer or self.bindings.get(binding.key) is not binding:
            return
        binding.bound = True
        for destination, subscriber in self.fanout.subscribers(binding.key):
            subscriber.interrupted(destination)
        self._settle(binding)

    def _not_bound(self, failure: Failure, binding: _Binding, consumer: Consumer) -> None:
        if self.bindings.get(binding.key) is not binding or binding.asked is not consumer:
            return
        if consumer.ended is not None:
            return  # it says so itself, and all is made again
        if _final(failure):
            self._refuse(binding, failure)
        else:
            binding.asked = None
            self._later(SLOWLY)

    def _ended(self, error: TwbridgeError) -> None:
        """The broker took the queue or the channel away."""
        _log.warn("the queue on {exchange!r} is gone: {error}", exchange=self.exchange, error=error)
        self.consumer = None
        for binding in self.bindings.values():
            binding.bound = False
            binding.asked = None
        recent = self._owner.clock.seconds() - self._made < RECENT
        self._later(SLOWLY if recent else AGAIN)

    def _later(self, delay: float) -> None:
        if self._timer is None:
            self._timer = self._owner.clock.callLater(delay, self._again)

    def _again(self) -> None:
        self._timer = None
        self.drive()

    # -- towards the subscribers

    def _settle(self, binding: _Binding) -> None:
        # One by one: what an answer sets off may take others back.
        while binding.waiting:
            one = binding.waiting.pop(0)
            _stop(one.timer)
            self.fanout.join(one.destination, one.subscriber)
            one.answer.callback(None)

    def _refuse(self, binding: _Binding, failure: Failure) -> None:
        """The broker does not bind it: who waits and who was there is told."""
        subscribers = self.fanout.subscribers(binding.key)
        self._remove(binding)
        while binding.waiting:
            one = binding.waiting.pop(0)
            _stop(one.timer)
            one.answer.errback(failure)
        for destination, subscriber in subscribers:
            subscriber.ended(destination, failure.value)  # type: ignore[arg-type]

    def subscribe(
        self, destination: Destination, subscriber: Subscriber, timeout: float | None
    ) -> Deferred[None]:
        """Deliver what matches the destination's key, from the answer on.

        Fires when the broker has the binding. Fails with NotReady after ``timeout`` seconds (None:
        never), with Conflict when it is cancelled, with the broker's refusal.
        """
        binding = self.bindings.get(destination.key)
        if binding is None:
            binding = self.bindings[destination.key] = _Binding(destination.key)
        self._need(binding)
        if binding.bound and self._owner.up:
            self.fanout.join(destination, subscriber)
            return succeed(None)
        waiting = _Waiting(destination, subscriber)
        early = Conflict("It was unsubscribed before the broker had bound it.")
        waiting.answer = Deferred(lambda _answer: self._give_up(binding, waiting, early))
        if timeout is not None:
            late = NotReady("the broker did not bind it in time")
            call = self._owner.clock.callLater
            waiting.timer = call(timeout, self._give_up, binding, waiting, late)
        binding.waiting.append(waiting)
        answer = waiting.answer
        if self._owner.up:
            if self.consumer is None:
                self._make()
            else:
                self._drive(binding, self.consumer)
        return answer

    def _give_up(self, binding: _Binding, waiting: _Waiting, error: TwbridgeError) -> None:
        _stop(waiting.timer)
        binding.waiting.remove(waiting)
        self._release(binding)
        waiting.answer.errback(error)

    def unsubscribe(self, destination: Destination, subscriber: Subscriber) -> None:
        """Deliver it no longer; the binding goes a little later."""
        self.fanout.leave(destination, subscriber)
        binding = self.bindings.get(destination.key)
        if binding is not None:
            self._release(binding)

    def _release(self, binding: _Binding) -> None:
        """Undo the binding after a while if nobody needs it."""
        if binding.waiting or binding.timer is not None or self.fanout.has(binding.key):
            return
        if self.bindings.get(binding.key) is binding:
            self._owner.idle += 1
            delay = self._owner.unbind_delay if self._owner.idle <= MAX_IDLE else 0.0
            binding.timer = self._owner.clock.callLater(delay, self._unbind, binding)

    def _need(self, binding: _Binding) -> None:
        """Somebody wants it again."""
        if binding.timer is not None:
            self._owner.idle -= 1
            _stop(binding.timer)
            binding.timer = None

    def _unbind(self, binding: _Binding) -> None:
        consumer = self.consumer
        self._remove(binding)
        if consumer is not None and self.bindings:
            _neglect(consumer.unbind(self.exchange, binding.key))

    def _remove(self, binding: _Binding) -> None:
        self._need(binding)
        del self.bindings[binding.key]
        self.fanout.drop(binding.key)
        if not self.bindings:
            self.stop()
            self._owner.forget(self)
            if self.consumer is not None:
                _neglect(self.consumer.cancel())
                self.consumer = None

    def stop(self) -> None:
        """Stop all timers."""
        _stop(self._timer)
        self._timer = None
        for binding in self.bindings.values():
            _stop(binding.timer)
            for one in binding.waiting:
                _stop(one.timer)


def _final(failure: Failure) -> bool:
    """Whether asking again is no use: the broker has refused."""
    if not isinstance(failure.value, TwbridgeError):
        _log.failure("the link broke", failure)
    return isinstance(failure.value, ChannelClosed | EncodeError)


def _stop(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def _neglect(result: Deferred[Any]) -> None:
    """Whether it works or not: what it undoes goes with the connection too."""
    result.addErrback(lambda failure: failure.trap(TwbridgeError) and None)
    result.addErrback(_broken)


def _broken(failure: Failure) -> None:
    _log.failure("a source broke", failure)
