"""Calling tasks, publishing and subscribing, consuming queues."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import count
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, fail, succeed
from twisted.python.failure import Failure

from twbridge.amqp import Link, LinkOptions, parse
from twbridge.errors import EncodeError, NotReady
from twbridge.rpc.bodies import body_of
from twbridge.rpc.consuming import Consuming
from twbridge.rpc.messages import (
    MAX_PRIORITY,
    Result,
    check_headers,
    check_task_name,
    check_timeout,
)
from twbridge.rpc.pending import Call
from twbridge.rpc.pubsub import Callback, PubSub, RawCallback
from twbridge.rpc.requests import NOT_STARTED, Requests
from twbridge.rpc.serializers import Body, Serializers
from twbridge.wire import Delivery

__all__ = ["DEFAULT", "Caller", "Timeout", "gather"]

#: Names of tasks that are known to be good.
_NAMES: Final = 1000


class _Default(Enum):
    DEFAULT = "the caller's"


#: The caller's own timeout.
DEFAULT: Final = _Default.DEFAULT
#: Seconds; None: any time.
Timeout: TypeAlias = float | _Default | None


class Caller:
    """Calls tasks by name, from a program with a Twisted reactor.

    ::

        async with Caller("amqp://localhost") as caller:
            assert await caller.call("add", [1, 2]) == 3

    Args:
        broker: an AMQP URL, or a link that its owner starts and stops.
        reactor: the running one if None.
        timeout: seconds that a call may take where it does not say; None: any time.
        pickle: whether a result may be a pickle. Who can send one can run anything here.
        id: how workers and dead letters know this caller; no two callers may have the same.

    Raises:
        ValueError: not a URL, or an `id` that is not a text of 1 to 255 bytes.
        SettingsError: a certificate file of the URL can't be used.
    """

    def __init__(
        self,
        broker: str | Link,
        *,
        reactor: Any = None,
        timeout: float | None = 30.0,
        pickle: bool = False,
        id: str | None = None,
    ) -> None:
        if reactor is None:
            from twbridge.service import global_reactor

            reactor = global_reactor()
        if id is not None and not 0 < len(id.encode()) <= 255:
            raise ValueError("the id of a caller is a text of 1 to 255 bytes")
        self.id = id or uuid.uuid4().hex
        self.timeout = _checked(timeout)
        self.serializers = Serializers(pickle=pickle)
        self._clock = reactor
        self._own = isinstance(broker, str)
        if isinstance(broker, str):
            options = LinkOptions(name="twbridge caller")
            broker = Link(reactor, parse(broker), options=options)
        self.link = broker
        self._requests = Requests(broker, reactor, self.id)
        self._pubsub = PubSub(broker, reactor, self.serializers)
        self._consuming: list[Consuming] = []
        self._started = False
        # Unique among all callers: a worker may know calls by nothing else.
        self._prefix = uuid.uuid4().hex[:12]
        self._ids = count(1)
        self._names: set[str] = set()

    # -- life -------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Connect, if the link is its own, and have a queue for the replies; fires when it is
        there.

        Calls may be made at once: they wait for it, up to their timeouts. It fails with NotReady
        when the broker is not there within the link's timeout (10 s), or with what the broker
        refused; it goes on trying all the same, until :meth:`stop`.
        """
        if not self._started:
            self._started = True
            if self._own:
                self.link.start()
        return self._requests.start()

    def stop(self) -> Deferred[None]:
        """Fail what is pending with CallLost, tell the workers, and let everything go.

        Fires when the link is closed, if it is its own. Never fails. :meth:`start` begins anew.
        """
        if not self._started:
            return succeed(None)
        self._started = False
        consuming, self._consuming = self._consuming, []
        gone = [each.cancel() for each in consuming]
        gone += [self._pubsub.stop(), self._requests.stop()]
        if self._own:
            gone.append(self.link.stop())
        done: Deferred[Any] = DeferredList(gone, consumeErrors=True)
        return done.addCallback(lambda _: None)

    async def __aenter__(self) -> Caller:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __len__(self) -> int:
        """How many calls have not ended."""
        return len(self._requests)

    def __bool__(self) -> bool:
        return True

    @property
    def strays(self) -> int:
        """How many replies came for calls that had ended, or never were."""
        return self._requests.strays

    # -- calling ----------------------------------------------------------------------------

    def call(
        self,
        name: str,
        body: Any = None,
        *,
        priority: int = 0,
        timeout: Timeout = DEFAULT,
        persistent: bool = False,
        headers: Mapping[str, Any] | None = None,
        compress: bool | None = None,
        content_type: str | None = None,
        reply_to: str | None = None,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Deferred[Any]:
        """Call a task; fires with what it returned.

        To cancel the Deferred ends the call: it fails with CallCancelled, and the worker is told.

        Args:
            body: what the task is called with, as a whole or, in a list or a dictionary, as its
                parameters.
            priority: 0 to 255; higher ones are taken first. RabbitMQ has ten levels of it.
            timeout: seconds until it fails, waiting for the broker included; None: never.
            persistent: whether the request survives a restart of the broker.
            headers: what the task reads in its context.
            compress: the body; None: when it has over 32,768 bytes.
            content_type: ``application/msgpack`` or ``application/x-python-pickle``.
            reply_to: a queue that gets the answer; the Deferred fires with None when the broker
                has the request.
            on_progress: called with each progress that the task sends, in order.

        Fails with UnknownTask (at once), ExpirationError (no worker took it in time), TimeoutError
        (no result in time), CallCancelled, CallLost (the connection or the worker was lost: it
        may have run), TaskError (the task raised), NotReady (it was not sent), or ValueError.
        """
        try:
            encoded = self.serializers.encode(body, compress=compress, content_type=content_type)
            call = self._new(name, encoded, timeout, headers, priority, persistent)
        except Exception:
            return fail(Failure())
        call.reply_to = reply_to
        call.decode = self.serializers.decode
        call.on_progress = on_progress
        return self._requests.begin(call)

    def call_raw(
        self,
        name: str,
        body: Body,
        *,
        timeout: Timeout = DEFAULT,
        headers: Mapping[str, Any] | None = None,
        on_progress: Callable[[Body], None] | None = None,
        priority: int = 0,
        persistent: bool = False,
        on_settled: Callable[[], object] | None = None,
    ) -> Deferred[Result]:
        """As :meth:`call`, with bodies as they travel: fires with the whole ``Result``.

        Args:
            on_settled: called once, when nothing of the call waits at the broker any more, as far
                as is known here: at its end, just before the Deferred fires. Later where it was
                cancelled before a worker took it: when one does, and is told, or when the broker
                drops the request, or is lost.
        """
        try:
            call = self._new(name, body, timeout, headers, priority, persistent)
        except Exception:
            if on_settled is not None:
                on_settled()
            return fail(Failure())
        call.on_progress = on_progress
        call.on_settled = on_settled
        return self._requests.begin(call)

    def _new(
        self,
        name: str,
        body: Body,
        timeout: Timeout,
        headers: Mapping[str, Any] | None,
        priority: int,
        persistent: bool,
    ) -> Call:
        if name not in self._names:
            check_task_name(name)
            if len(self._names) >= _NAMES:
                self._names.clear()
            self._names.add(name)
        if headers:
            check_headers(headers)
        if not isinstance(priority, int) or not 0 <= priority <= MAX_PRIORITY:
            raise EncodeError(f"the priority is a whole number from 0 to {MAX_PRIORITY}")
        return Call(
            f"{self._prefix}-{next(self._ids):x}",
            name,
            body,
            self._clock.seconds(),
            self.timeout if timeout is DEFAULT else _checked(timeout),
            headers=dict(headers) if headers else {},
            priority=priority,
            persistent=persistent,
        )

    # -- channels and queues ----------------------------------------------------------------

    def publish(self, channel: str, body: Any = None) -> Deferred[None]:
        """Send to all that are subscribed to a channel; see ``PubSub.publish``."""
        if not self._started:
            return fail(NotReady(NOT_STARTED))
        return self._pubsub.publish(channel, body)

    def subscribe(self, channel: str, callback: Callback) -> Deferred[None]:
        """Have ``callback(channel, value)`` called with what is published to a channel, or to all
        that a pattern matches; see ``PubSub.subscribe``.
        """
        if not self._started:
            return fail(NotReady(NOT_STARTED))
        return self._pubsub.subscribe(channel, callback)

    def subscribe_raw(
        self,
        channel: str,
        callback: RawCallback,
        *,
        on_gap: Callable[[], object] = lambda: None,
        on_up: Callable[[], object] = lambda: None,
        on_end: Callable[[], object] = lambda: None,
    ) -> Deferred[None]:
        """As :meth:`subscribe`, with each body as it travels; see ``PubSub.subscribe_raw``."""
        if not self._started:
            return fail(NotReady(NOT_STARTED))
        return self._pubsub.subscribe_raw(channel, callback, on_gap, on_up, on_end)

    def unsubscribe(
        self, channel: str, callback: Callback | RawCallback | None = None
    ) -> Deferred[None]:
        """Take back one subscription, or all to that channel or pattern."""
        return self._pubsub.unsubscribe(channel, callback)

    def consume(
        self, queue: str, callback: Callable[[Delivery], object], *, prefetch: int = 20
    ) -> Deferred[Consuming]:
        """Have ``callback(delivery)`` called with each message of a queue that exists.

        A message is acknowledged when the callback has returned, or when what it returned (a
        coroutine, a Deferred) is done. One on which it fails is given back once, and rejected
        when it fails again. ``decode(delivery)`` makes a value of a message.

        Fires when it consumes, with what ``cancel()`` ends it. Fails with ChannelClosed (404: no
        such queue) or NotReady. Once it consumes it goes on over reconnects; when the queue is
        deleted it is tried again every second.
        """
        if not self._started:
            return fail(NotReady(NOT_STARTED))
        consuming = Consuming(self.link, self._clock, queue, callback, prefetch)
        self._consuming = [each for each in self._consuming if not each.cancelled] + [consuming]
        return consuming.begin().addErrback(self._not_consuming, consuming)

    def _not_consuming(self, failure: Failure, consuming: Consuming) -> Failure:
        consuming.cancelled = True
        return failure

    def decode(self, delivery: Delivery) -> Any:
        """The value of a message, by its content type.

        Raises:
            BadBody: it can't be read.
        """
        return self.serializers.decode(body_of(delivery))


def gather(*calls: Any) -> Deferred[list[Any]]:
    """Wait for calls (Deferreds or coroutines) that run at the same time.

    Fires with their results in the order in which they were given; one that failed has its
    exception there. Never fails. To cancel it cancels them all.
    """
    return Deferred.fromCoroutine(_gather([ensureDeferred(each) for each in calls]))


async def _gather(calls: list[Deferred[Any]]) -> list[Any]:
    results: Any = await DeferredList(calls, consumeErrors=True)
    return [result if ok else result.value for ok, result in results]


def _checked(timeout: float | None) -> float | None:
    if timeout is not None:
        check_timeout(timeout)
    return timeout
