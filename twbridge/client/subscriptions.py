"""Subscriptions that outlive connections (sans-I/O).

On every new connection each is asked for again. A stream goes on with the offset after the last
message; where messages may be missing, the subscriber is told of a gap. What the bridge had to
say for itself about gaps is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twbridge.client.callbacks import Callbacks
from twbridge.client.errors import Refused, refusal, sentence
from twbridge.client.frames import Frame, request
from twbridge.client.messages import Message
from twbridge.client.subscription import Gap, Phase, Subscription
from twbridge.errors import Conflict, NotReady, TwbridgeError

__all__ = ["Port", "Subscriptions"]

_log = Logger()

#: Refusals that pass by themselves: what was refused is asked for again.
_PASSING = frozenset({"not_ready", "timeout", "unknown", "internal", "rate_limited"})


class Port(Protocol):
    """What subscriptions need of the connection."""

    def send(self, frame: bytes, /) -> bool:
        """Send a frame, or say False where there is no connection."""

    def later(self, tries: int, call: Callable[[], object], /) -> IDelayedCall:
        """Call after a while that grows with the tries."""


class Subscriptions:
    """All of a client."""

    def __init__(self, port: Port, tell: Callbacks) -> None:
        self._port = port
        self._callback = tell
        self._all: dict[str, Subscription] = {}
        #: Unsubscribed, and the bridge has not answered: to the same one is not subscribed yet.
        self._leaving: dict[str, list[Deferred[None]]] = {}
        self._requests: dict[int, tuple[Callable[[Frame, Any], None], Any]] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._all)

    # -- what the owner wants

    def add(self, subscription: Subscription) -> Deferred[Subscription]:
        """Subscribe now and on every connection to come.

        Raises:
            Conflict: there is one to this destination.
        """
        if subscription.destination in self._all:
            raise Conflict(f"There is a subscription to {subscription.destination} already.")
        self._all[subscription.destination] = subscription
        self._ask(subscription)
        return subscription.started

    def remove(self, subscription: Subscription) -> Deferred[None]:
        """See ``Subscription.unsubscribe``."""
        return self.fail(subscription, None)

    def fail(self, subscription: Subscription, error: TwbridgeError | None) -> Deferred[None]:
        """End it for a reason of our own."""
        if subscription.over:
            return succeed(None)
        left = self._forget(subscription)
        self._over(subscription, error)
        return left

    def cancelled(self, subscription: Subscription) -> None:
        """Nobody waits for its start any more."""
        subscription.stood = True
        self._forget(subscription)
        subscription.phase = Phase.OVER

    def _forget(self, subscription: Subscription) -> Deferred[None]:
        known = subscription.phase in (Phase.ASKED, Phase.ACTIVE)
        if self._all.get(subscription.destination) is subscription:
            del self._all[subscription.destination]
        return self._leave(subscription.destination) if known else succeed(None)

    def pause(self, subscription: Subscription) -> None:
        """Have the bridge deliver no more of a stream, until `resume`."""
        if subscription.phase is Phase.ACTIVE:
            subscription.phase = Phase.PAUSED
            self._leave(subscription.destination)

    def resume(self, subscription: Subscription) -> None:
        """Go on with the next offset."""
        if subscription.phase is Phase.PAUSED:
            subscription.phase = Phase.AWAY
            self._ask(subscription)

    def _leave(self, destination: str) -> Deferred[None]:
        left: Deferred[None] = Deferred()
        if not self._request("unsubscribe", self._left, destination, destination=destination):
            return succeed(None)
        self._leaving.setdefault(destination, []).append(left)
        return left

    def _ask(self, subscription: Subscription) -> None:
        options = subscription.options
        start = options.start
        if subscription.resume_at is not None:
            start = f"offset={subscription.resume_at}"
        fields: dict[str, Any] = {
            "destination": subscription.destination,
            "ack": "client" if options.acknowledged else options.ack,
            "prefetch": options.prefetch,
            "from": start,
            "overflow": options.overflow,
        }
        if subscription.phase is not Phase.AWAY or subscription.destination in self._leaving:
            return
        number = self._request("subscribe", self._asked, subscription, **fields)
        if number:
            subscription.asked, subscription.phase = number, Phase.ASKED

    def _request(
        self, op: str, answered: Callable[[Frame, Any], None], what: object, **fields: Any
    ) -> int:
        """The number of a request, which is its id; 0 where there is no connection."""
        number = next(self._numbers)
        if not self._port.send(request(op, id=number, **fields)):
            return 0
        self._requests[number] = (answered, what)
        return number

    # -- what the bridge says

    def opened(self) -> None:
        """There is a connection."""
        for subscription in list(self._all.values()):
            self._ask(subscription)

    def lost(self) -> None:
        """The connection is gone."""
        self._requests.clear()
        leaving, self._leaving = self._leaving, {}
        for subscription in self._all.values():
            if subscription.phase is not Phase.PAUSED:
                subscription.phase = Phase.AWAY
            subscription.cancel_retry()
            subscription.on_lost()
        for waiting in leaving.values():
            for left in waiting:
                left.callback(None)

    def link_up(self) -> None:
        """The broker was away, and live subscriptions were without it; others waited for it."""
        for subscription in list(self._all.values()):
            if subscription.active and subscription.kind in ("topic", "exchange"):
                self._gap(subscription, Gap())
            elif subscription.retry is not None:
                subscription.cancel_retry()
                self._ask(subscription)

    def end(self, error: TwbridgeError | None) -> None:
        """No connection will come any more."""
        self.lost()
        for subscription in list(self._all.values()):
            self._over(subscription, error)

    def received(self, frame: Frame, payload: bytes) -> bool:
        """Whether a frame was for one of these."""
        take = self._TAKES.get(frame.op)
        if take is not None and frame.id is None:
            subscription = self._all.get(frame.destination)
            # One that was left a moment ago is none of this one's.
            if subscription is not None and subscription.active:
                take(self, subscription, frame, payload)
            return True
        if isinstance(frame.id, int):
            request = self._requests.pop(frame.id, None)
            if request is not None:
                answered, what = request
                answered(frame, what)
                return True
        return False

    def _message(self, subscription: Subscription, frame: Frame, payload: bytes) -> None:
        if frame.offset is not None:
            subscription.resume_at = frame.offset + 1
        message = Message(frame, payload, subscription.asked, self._settle)
        self._callback("a message", subscription.on_message, message)

    def _missed(self, subscription: Subscription, frame: Frame, _payload: bytes) -> None:
        if frame.resumed is not None:
            subscription.resume_at = frame.resumed
        self._gap(subscription, Gap(frame.first, frame.resumed))

    def _dropped(self, subscription: Subscription, frame: Frame, _payload: bytes) -> None:
        self.dropped(subscription, frame.count)

    def _ended(self, subscription: Subscription, frame: Frame, _payload: bytes) -> None:
        reason = frame.reason or f"The bridge has ended the subscription {frame.destination}."
        self._over(subscription, Refused("unsubscribed", reason))

    _TAKES: dict[str, Callable[[Subscriptions, Subscription, Frame, bytes], None]] = {
        "message": _message,
        "gap": _missed,
        "dropped": _dropped,
        "unsubscribed": _ended,
    }

    def _asked(self, frame: Frame, subscription: Subscription) -> None:
        if subscription.phase is not Phase.ASKED or subscription.asked != frame.id:
            return
        if frame.op == "error":
            self._refused(subscription, refusal(frame.code, frame.message))
            return
        subscription.phase, subscription.refusals = Phase.ACTIVE, 0
        if not subscription.stood:
            subscription.stood = True
            subscription.started.callback(subscription)
        elif not subscription.lossless:
            self._gap(subscription, Gap())

    def _refused(self, subscription: Subscription, error: TwbridgeError) -> None:
        if error.code in _PASSING:
            subscription.phase = Phase.AWAY
            subscription.refusals += 1
            subscription.retry = self._port.later(
                subscription.refusals, lambda: self._again(subscription)
            )
        else:
            self._over(subscription, error)

    def _again(self, subscription: Subscription) -> None:
        subscription.retry = None
        self._ask(subscription)

    def _left(self, _frame: Frame, destination: str) -> None:
        for left in self._leaving.pop(destination, ()):
            left.callback(None)
        subscription = self._all.get(destination)
        if subscription is not None:
            self._ask(subscription)

    def _over(self, subscription: Subscription, error: TwbridgeError | None) -> None:
        if self._all.get(subscription.destination) is subscription:
            del self._all[subscription.destination]
        subscription.phase, subscription.error = Phase.OVER, error
        subscription.cancel_retry()
        if subscription.stood:
            self._tell("ended", subscription.hooks.on_ended, subscription, error)
        else:
            subscription.stood = True
            subscription.started.errback(error or NotReady("The subscription was given up."))

    # -- the subscriber

    def dropped(self, subscription: Subscription, number: int) -> None:
        """Tell that messages were dropped."""
        self._tell("dropped", subscription.hooks.on_dropped, subscription, number)

    def _gap(self, subscription: Subscription, gap: Gap) -> None:
        self._tell("gap", subscription.hooks.on_gap, subscription, gap)

    def _tell(
        self,
        what: str,
        callback: Callable[[Any], object] | None,
        subscription: Subscription,
        value: Any,
    ) -> None:
        self._callback(f"what is {what}", callback, value)
        if callback is None and value is not None:
            _log.warn(
                "The subscription to {destination}: {what} {value}",
                destination=subscription.destination,
                what=what,
                value=sentence(value) if isinstance(value, TwbridgeError) else value,
            )

    def _settle(self, message: Message, op: str, requeue: bool | None) -> bool:
        subscription = self._all.get(message.destination)
        if subscription is None or not subscription.active or subscription.asked != message.asked:
            return False
        return self._port.send(
            request(
                op,
                destination=message.destination,
                delivery_tag=message.delivery_tag,
                requeue=requeue,
            )
        )
