"""Channels that callers publish to and subscribe to; tasks may publish to them too.

At most once: a message reaches who is subscribed and connected when it is published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Exchange, Link
from twbridge.errors import EncodeError, TwbridgeError
from twbridge.rpc.bodies import body_of, body_properties
from twbridge.rpc.messages import PUBSUB, check_channel
from twbridge.rpc.ownqueue import OwnQueue
from twbridge.rpc.serializers import Body, Serializers
from twbridge.topics import compile_pattern
from twbridge.wire import Delivery

__all__ = ["Callback", "PubSub", "RawCallback"]

_log = Logger()

#: What is called with the channel of a message and its value.
Callback = Callable[[str, Any], object]

#: The same, with the body as it travels.
RawCallback = Callable[[str, Body], object]


def _nothing() -> None:
    pass


@dataclass(slots=True, eq=False)
class _Subscriber:
    callback: Callable[[str, Any], object]
    raw: bool
    on_gap: Callable[[], object] = _nothing
    on_up: Callable[[], object] = _nothing
    on_end: Callable[[], object] = _nothing
    # None until the broker has had the subscription for the first time.
    stands: bool | None = None


class PubSub:
    """What one caller publishes and is subscribed to.

    Args:
        link: the way to the broker.
        clock: IReactorTime.
        serializers: make bodies of values, and values of bodies.
    """

    def __init__(self, link: Link, clock: Any, serializers: Serializers) -> None:
        self._link = link
        self._serializers = serializers
        self._exchange = Exchange(PUBSUB, "topic")
        self._queue = OwnQueue(
            link, clock, self._exchange, self._delivered, on_up=self._up, on_lost=self._lost
        )
        self._declared: Deferred[None] | None = None
        self._patterns: dict[str, tuple[Callable[[str], bool], list[_Subscriber]]] = {}

    def publish(self, channel: str, body: Any) -> Deferred[None]:
        """Send to whoever is subscribed now, nobody included; fires when the broker has it.

        Fails as ``Link.publish`` does, with EncodeError for a channel that is no routing key, and
        with what the serializer says of a body.
        """
        try:
            check_channel(channel)
            encoded = self._serializers.encode(body)
        except Exception:
            return fail(Failure())
        if self._declared is not None and self._declared.called:
            return self._publish(None, channel, encoded)
        sent: Deferred[None] = Deferred()
        self._declare().addCallback(self._publish, channel, encoded).addBoth(sent.callback)
        return sent

    def _publish(self, _: object, channel: str, body: Body) -> Deferred[None]:
        properties = body_properties(body) | {"delivery_mode": 1}
        return self._link.publish(PUBSUB, channel, body.data, properties)

    def _declare(self) -> Deferred[None]:
        """The exchange is there, before any subscriber too; fires at once while the link is down:
        it is declared then before anything is published.
        """
        told: Deferred[None] = Deferred()
        declared = self._declared
        if declared is None:
            declared = self._declared = self._link.declare(self._exchange)
            declared.addErrback(self._not_declared)  # at once where it has failed already
        declared.addBoth(_pass_on, told)
        return told

    def _not_declared(self, failure: Failure) -> Failure:
        self._declared = None
        return failure

    def subscribe(self, channel: str, callback: Callback) -> Deferred[None]:
        """Have ``callback(channel, value)`` called with each message from now on.

        Args:
            channel: a name, or a topic pattern: ``*`` is one word, ``#`` any number.
            callback: may be a coroutine function; what it raises is logged.

        Fires when the broker has the subscription, which is kept over reconnects. Fails, and
        nothing is subscribed, with ChannelClosed, with NotReady when the link is not up in time,
        or with EncodeError.
        """
        return self._subscribe(channel, _Subscriber(callback, False))

    def subscribe_raw(
        self,
        channel: str,
        callback: RawCallback,
        on_gap: Callable[[], object] = _nothing,
        on_up: Callable[[], object] = _nothing,
        on_end: Callable[[], object] = _nothing,
    ) -> Deferred[None]:
        """As `subscribe`, with bodies as they travel.

        Args:
            on_gap: called each time that messages may be missed from now on, until `on_up`. Some
                may come all the same.
            on_up: called each time that the broker has the subscription again. What could not be
                read is told with `on_gap` and, at once, `on_up`.
            on_end: called when `stop` has ended the subscription; nothing is called any more.
        """
        return self._subscribe(channel, _Subscriber(callback, True, on_gap, on_up, on_end))

    def _subscribe(self, channel: str, subscriber: _Subscriber) -> Deferred[None]:
        try:
            check_channel(channel)
        except EncodeError:
            return fail(Failure())
        known = self._patterns.get(channel)
        if known is None:
            self._patterns[channel] = (compile_pattern(channel), [subscriber])
        else:
            known[1].append(subscriber)
        started = self._queue.start()
        bound = self._queue.bind(channel)
        started.addErrback(lambda failure: failure.trap(TwbridgeError) and None)
        return bound.addCallbacks(
            partial(_stands, subscriber), partial(self._not_subscribed, channel, subscriber)
        )

    def _not_subscribed(self, channel: str, subscriber: _Subscriber, failure: Failure) -> Failure:
        self._drop(channel, subscriber.callback)
        if channel not in self._patterns:
            self._queue.unbind(channel)  # others that have left meanwhile had bound it
        return failure

    def unsubscribe(
        self, channel: str, callback: Callback | RawCallback | None = None
    ) -> Deferred[None]:
        """Take back one subscription, or all to that channel. It is not called any more.

        Fires when the broker has done it. Nothing happens where there is none.
        """
        if channel not in self._patterns:
            return succeed(None)
        self._drop(channel, callback)
        return succeed(None) if channel in self._patterns else self._queue.unbind(channel)

    def _drop(self, channel: str, callback: Callback | RawCallback | None) -> None:
        subscribers = self._patterns[channel][1] if channel in self._patterns else []
        for each in list(subscribers):
            if callback is None or each.callback == callback:
                subscribers.remove(each)
                if callback is not None:
                    break
        if not subscribers:
            self._patterns.pop(channel, None)

    def stop(self) -> Deferred[None]:
        """End all subscriptions. Never fails."""
        ended = [each for each in self._subscribers() if each.stands is not None]
        self._patterns.clear()
        self._declared = None
        stopped = self._queue.stop()
        for each in ended:
            _tell(each.on_end)
        return stopped

    def _delivered(self, delivery: Delivery) -> None:
        channel = delivery.routing_key
        called = [
            subscriber
            for matches, subscribers in self._patterns.values()
            if matches(channel)
            for subscriber in subscribers
        ]
        try:
            body = body_of(delivery)
        except Exception as error:
            _log.warn("A message on {channel} can't be read: {error}", channel=channel, error=error)
            for each in called:
                if each.stands:
                    _tell(each.on_gap)
                    _tell(each.on_up)
            return
        try:
            for each in called:
                if each.raw:
                    self._call(each.callback, channel, body)
            called = [each for each in called if not each.raw]
            value = self._serializers.decode(body) if called else None
        except Exception as error:
            _log.warn("A message on {channel} can't be read: {error}", channel=channel, error=error)
            return
        for each in called:
            self._call(each.callback, channel, value)

    def _subscribers(self) -> list[_Subscriber]:
        return [each for _, subscribers in self._patterns.values() for each in subscribers]

    def _lost(self) -> None:
        for each in self._subscribers():
            if each.stands is not None:
                each.stands = False
                _tell(each.on_gap)

    def _up(self) -> None:
        for each in self._subscribers():
            if each.stands is False:
                each.stands = True
                _tell(each.on_up)

    def _call(self, callback: Callable[[str, Any], object], channel: str, value: Any) -> None:
        try:
            result = callback(channel, value)
            if isawaitable(result):
                ensureDeferred(result).addErrback(_broke)  # type: ignore[arg-type]
        except Exception:
            _broke(Failure())


def _pass_on(result: Any, to: Deferred[None]) -> Any:
    """Give a result, or a failure, to one more."""
    if not to.called:
        to.callback(result)
    return None


def _stands(subscriber: _Subscriber, _result: None) -> None:
    subscriber.stands = True


def _tell(hook: Callable[[], object]) -> None:
    try:
        hook()
    except Exception:
        _broke(Failure())


def _broke(failure: Failure) -> None:
    _log.failure("A subscriber broke", failure)
