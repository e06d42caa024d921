"""The bridge's side of WSGI over queues: requests go to workers, answers come back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import EncodeError, FrameError, NotReady, TwbridgeError
from twbridge.rpc.ownqueue import OwnQueue
from twbridge.wire import Content, Delivery
from twbridge.wsgi.abandoned import Abandoned
from twbridge.wsgi.cancels import Cancels
from twbridge.wsgi.complaints import Complaints
from twbridge.wsgi.looks import Looks
from twbridge.wsgi.messages import (
    Accepted,
    BadMessage,
    Credit,
    Grant,
    Reason,
    Request,
    Start,
    ToBridge,
    Upload,
    read_to_bridge,
    read_to_worker,
)
from twbridge.wsgi.pending import Pending
from twbridge.wsgi.phases import Phase
from twbridge.wsgi.ports import Answering, Forwarded, GatewayError, Mount
from twbridge.wsgi.sending import Sending
from twbridge.wsgi.sentences import BUSY, LOST_BROKER, NO_BROKER, NOT_TAKEN, STOPPING

__all__ = ["HELD_MAX", "TICK", "Gateway"]

_log = Logger()

#: Seconds between looks at the deadlines of all requests: by so much they may be missed.
TICK: Final = 0.25
#: Requests that may wait for the queue of the answers; with a piece of a body each.
HELD_MAX: Final = 256
#: Seconds that a client may have waited whose request nobody knows any more: what a mount may
#: allow at most.
_LONGEST: Final = 3600.0


class Gateway:
    """Forwards HTTP requests to the workers of their mounts, over the broker.

    It has one queue for all answers, made with the first request.

    Args:
        link: the way to the broker; its owner starts and stops it.
        reactor: IReactorTime.
    """

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._sending = Sending(link)
        self._clock = reactor
        #: The time, as `Pending` needs it.
        self.seconds: Callable[[], float] = reactor.seconds
        self._prefix = f"{uuid.uuid4().hex[:12]}-"
        self._ids = count(1)
        self._pending: dict[str, Pending] = {}
        self._held: dict[str, Request] = {}
        self._waiting: dict[str, Pending] = {}
        self._replies = OwnQueue(
            link, reactor, None, self._delivered, on_up=self._up, on_lost=self._lost
        )
        self._reply_to = ""
        self._started = self._stopped = False
        self._timer: IDelayedCall | None = None
        self._looks = Looks(self._sending, self._pending, f"{self._prefix}look-", self._not_sent)
        self._cancels = Cancels(self._sending.tell, self.seconds, self._wake)
        self._abandoned = Abandoned()
        self._complaints = Complaints(reactor.seconds)
        self._forget = [
            link.on_pressure(self._pressure),
            link.on_return(self._returned),
            link.on_publishing_lost(self._cut),
            link.on_state(self._state),
        ]
        #: Since when the broker has been away, or has taken nothing.
        self._away_since: float | None = None
        self._state(link.state)

    # -- for whoever speaks HTTP ----------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many requests have not ended."""
        return len(self._pending)

    def forward(self, request: Request, mount: Mount, answer: Answering) -> Forwarded:
        """Take a request; it goes to a worker with the first call of ``upload``.

        A request that can't be taken now (the broker is busy, the bridge is about to stop) has its
        ``answer.failed`` called before this returns.

        Args:
            request: with an empty ``body``, and ``more``.
            mount: where its application is.
            answer: the client.
        """
        id = f"{self._prefix}{next(self._ids):x}"
        pending = Pending(id, request, mount, answer, self)
        self._pending[id] = pending
        if self._stopped or self._link.state in ("closing", "closed"):
            pending.fail(GatewayError(503, STOPPING))
        elif self._is_away:
            pending.fail(GatewayError(503, NO_BROKER))
        elif self._link.pressed or len(self._held) >= HELD_MAX:
            pending.fail(GatewayError(503, BUSY))
        elif self._abandoned.is_full(mount.queue, self.seconds()):
            pending.fail(GatewayError(503, "Too many requests wait that nobody waits for."))
        else:
            self._wake()
            if not self._started:
                self._started = True
                self._replies.start().addErrback(lambda failure: failure.trap(TwbridgeError))
        return pending

    def stop(self) -> Deferred[None]:
        """Fail what is pending with 503, tell its workers, and let the queue go. Never fails.

        Nothing is forwarded after it.
        """
        if self._stopped:
            return succeed(None)
        self._stopped = True
        for forget in self._forget:
            forget()
        for each in list(self._pending.values()):
            each.fail(GatewayError(503, STOPPING))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cancels.clear()
        self._reply_to = ""
        return self._replies.stop()

    @property
    def _is_away(self) -> bool:
        """Whether requests have waited for the broker in vain already."""
        since = self._away_since
        return since is not None and self.seconds() - since > self.patience

    # -- for its requests -----------------------------------------------------------------------

    @property
    def pressed(self) -> bool:
        """Whether nothing more should be published for now."""
        return self._link.pressed

    @property
    def patience(self) -> float:
        """Seconds that a request may wait for the broker."""
        return self._link.options.timeout

    def publish(self, pending: Pending, request: Request) -> None:
        """Send a request to the workers, now or when there is a queue for the answer."""
        if not self._reply_to:
            self._held[pending.id] = request
        else:
            self._send(pending, request)

    def _send(self, pending: Pending, request: Request) -> None:
        left = pending.left(self.seconds())
        sent = self._sending.request(pending.id, pending.queue, request, self._reply_to, left)
        sent.addCallbacks(self._sent, self._not_sent, (pending,), {}, (pending,))

    def tell(self, pending: Pending, message: Upload | Credit) -> None:
        """Send a message about a request to the worker that has it."""
        told = self._sending.tell(pending.id, pending.control, message)
        told.addErrback(self._not_told, pending)

    def cancel(self, pending: Pending, reason: Reason, control: str) -> None:
        """Tell the worker that has that queue that nobody waits, until it surely knows."""
        self._cancels.send(pending.id, control, reason, pending.mount.timeout)

    def wait(self, pending: Pending) -> None:
        """Call its ``want`` when there is room again."""
        self._waiting[pending.id] = pending

    def look(self, pending: Pending) -> None:
        """See, within this sweep, whether there is still somebody who could answer."""
        self._looks.ask(pending)

    def complain(self, pending: Pending, text: str) -> None:
        """Write to the log what a worker says wrong, or why it failed: once in a while."""
        self._complaints.add(f"{pending.mount.path}: {text}")

    def forget(self, pending: Pending, is_waiting: bool) -> None:
        """It has ended. ``is_waiting``: there may still be a request that waits in a queue."""
        del self._pending[pending.id]
        if self._held.pop(pending.id, None) is None and is_waiting:
            now = self.seconds()
            self._abandoned.add(pending.id, pending.queue, now + pending.left(now))
        if self._waiting:
            self._waiting.pop(pending.id, None)

    # -- what becomes of messages ---------------------------------------------------------------

    def _sent(self, _: object, pending: Pending) -> None:
        if pending.phase is Phase.HELD:
            pending.phase = Phase.SENT

    def _not_sent(self, failure: Failure, pending: Pending) -> None:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            _log.failure("A request could not be published", failure)
        if isinstance(error, EncodeError):
            pending.unserved()  # no queue has such a name, for any worker
        elif pending.phase is not Phase.OVER:
            self.complain(pending, str(error))
            pending.fail(GatewayError(503, NO_BROKER))

    def _not_told(self, failure: Failure, pending: Pending) -> None:
        if not failure.check(TwbridgeError):
            _log.failure("A worker could not be told", failure)
        elif pending.phase is not Phase.OVER:
            self.complain(pending, str(failure.value))
        pending.fail(GatewayError(502, NOT_TAKEN if failure.check(NotReady) else LOST_BROKER))

    def _returned(self, content: Content) -> None:
        """Nobody took a message, of this link's, whoever sent it."""
        try:
            id = content.properties.get("correlation_id", "")
            pending = self._pending.get(id)
            if pending is None:
                if not self._looks.returned(id):
                    self._abandoned.remove(id)
                return
            queue = content.method.routing_key
            if queue == pending.queue:
                pending.unserved()
                return
            message = read_to_worker(content.body)
        except (BadMessage, FrameError) as error:
            self._complaints.add(f"a message that came back: {error}")
            return
        for each in list(self._pending.values()):
            if each.control == queue:
                each.lose_worker()
        pending.untold(message)

    def _delivered(self, delivery: Delivery) -> None:
        id = control = ""
        try:
            properties = delivery.properties
            id, control = properties.get("correlation_id", ""), properties.get("reply_to", "")
            message = read_to_bridge(delivery.body)
        except (BadMessage, FrameError) as error:
            self._complaints.add(str(error))
            if id in self._pending:
                self._pending[id].fail(GatewayError(502, "The application's worker is broken."))
            return
        pending = self._pending.get(id)
        if pending is None or pending.phase < Phase.SENT:
            self._stray(id, control, message)
            return
        try:
            pending.take(message, control, properties.get("app_id", ""))
        except Exception:
            _log.failure("The answer to a request of {path} broke", path=pending.mount.path)
            pending.fail(GatewayError(502, "The answer can't be passed on."))

    def _stray(self, id: str, control: str, message: ToBridge) -> None:
        """A worker has begun with a request that has ended, as nobody could tell it before."""
        self._abandoned.remove(id)
        began = isinstance(message, Accepted | Grant) or (
            isinstance(message, Start) and message.more
        )
        if began and control and id.startswith(self._prefix):
            self._cancels.send(id, control, "gone", _LONGEST)

    # -- the link and the clock -----------------------------------------------------------------

    def _up(self) -> None:
        self._reply_to = self._replies.name
        held, self._held = self._held, {}
        for id, request in held.items():
            pending = self._pending.get(id)
            if pending is not None:
                self._send(pending, request)

    def _lost(self) -> None:
        self._reply_to = ""
        for each in list(self._pending.values()):
            # Those that wait at the link name the lost queue.
            if each.phase >= Phase.HELD and each.id not in self._held:
                each.fail(GatewayError(502, LOST_BROKER))

    def _cut(self) -> None:
        """What was written to the connection that is lost may have arrived or not."""
        self._cancels.cut()
        for each in list(self._pending.values()):
            if each.unsure:
                each.fail(GatewayError(502, LOST_BROKER))

    def _state(self, state: str) -> None:
        if state in ("ready", "idle"):  # nobody has started a link that is idle
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self.seconds()

    def _pressure(self, pressed: bool) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.want()

    def _wake(self) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(TICK, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self.seconds()
        for each in list(self._pending.values()):
            if each.looks_at <= now:
                each.look(now)
        self._abandoned.expire(now)
        self._looks.sweep(now)
        self._cancels.expire()
        if self._link.state == "ready":
            self._cancels.repeat()
        if self._pending or self._cancels.due:
            self._wake()
