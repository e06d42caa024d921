"""Requests that were given up: to look at, and to make requests again."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Consumer, Link, Queue
from twbridge.errors import NotFound, TwbridgeError, UnknownTask, Unroutable
from twbridge.rpc.inspection import count, ready
from twbridge.rpc.names import check_task_name, dead_queue, task_queue
from twbridge.wire import Delivery

__all__ = ["MOST", "Letter", "Replayed", "letters", "replay"]

_log = Logger()

#: Letters that can be looked at at a time: they are in memory then.
MOST: Final = 1000
#: Seconds without a letter after which no more are waited for: somebody else has them.
QUIET: Final = 2.0
#: Letters that are on their way back at a time.
WINDOW: Final = 50
#: Headers of the life that is over.
_GONE: Final = (
    "twbridge-caller",
    "twbridge-timeout",
    "twbridge-attempt",
    "x-death",
    "x-delivery-count",
)
_OF_A_DEATH: Final = ("x-first-death-", "x-last-death-")


class Letter(Struct, frozen=True, kw_only=True):
    """A request that was given up.

    Attributes:
        id: the call's.
        caller: the caller's id.
        reason: ``rejected`` (it failed for good) or ``delivery_limit`` (it came back as often as
            it may: its workers died under it).
        died: when, by the broker's clock; None where the broker does not say.
        content_type: of the body.
        content_encoding: ``gzip`` where the body is compressed.
        body: as it was sent.
    """

    id: str
    caller: str
    reason: str
    died: datetime | None
    content_type: str
    content_encoding: str | None
    body: bytes


class Replayed(Struct, frozen=True):
    """How a replay ended.

    Attributes:
        count: letters that are requests again.
        error: why it ended early; None where it did not.
    """

    count: int
    error: TwbridgeError | None = None


async def letters(link: Link, clock: Any, name: str, limit: int = MOST) -> list[Letter]:
    """The oldest dead letters of a task. They stay where they are.

    Args:
        clock: IReactorTime.
        limit: so many at most; 1 to MOST.

    Raises:
        BadTask: it is no name of a task.
        NotFound: no dead letters are kept for it.
        LinkError: the broker can't be asked.
    """
    reading = _Reading(link, clock, name, min(limit, MOST, await _there(link, clock, name)))
    await reading.run(reading.wanted)
    return reading.found


async def replay(link: Link, clock: Any, name: str, limit: int | None = None) -> Replayed:
    """Make dead letters requests again, the oldest first: of those that are there now, no more.

    A letter goes when the broker has confirmed its request. Where that is in doubt both are
    there: at least once.

    Args:
        clock: IReactorTime.
        limit: so many at most.

    Raises:
        BadTask, NotFound, LinkError: as :func:`letters`; nothing was replayed.
    """
    there = await _there(link, clock, name)
    replaying = _Replaying(link, clock, name, there if limit is None else min(there, limit))
    try:
        await replaying.run(WINDOW)
    except TwbridgeError as error:
        return Replayed(replaying.done, error)
    return Replayed(replaying.done)


async def _there(link: Link, clock: Any, name: str) -> int:
    check_task_name(name)
    await ready(link, clock)
    messages = await count(link, dead_queue(name))
    if messages is None:
        raise NotFound(f"there are no dead letters of {name!r}: no such queue")
    return messages


class _Reading:
    """Takes the letters of a task and looks at them.

    Args:
        wanted: how many.
    """

    def __init__(self, link: Link, clock: Any, name: str, wanted: int) -> None:
        self.wanted = wanted
        self.found: list[Letter] = []
        self._link = link
        self._clock = clock
        self._name = name
        self._error: TwbridgeError | None = None
        self._moved: Deferred[None] = Deferred()
        self._consumer: Consumer | None = None

    async def run(self, window: int) -> None:
        """Take them, ``window`` at a time. What was not acknowledged goes back at the end.

        Raises:
            TwbridgeError: what ended it early.
        """
        if not self.wanted:
            return
        queue = Queue(dead_queue(self._name), exclusive=False, auto_delete=False, passive=True)
        prefetch = min(window, self.wanted)
        consuming = self._link.consume(
            queue, self._take, prefetch=prefetch, on_end=self._has_failed
        )
        self._consumer = await consuming
        try:
            while not self._is_done() and await self._moves():
                pass
        finally:
            await self._consumer.cancel()
        if self._error is not None:
            raise self._error

    def _take(self, delivery: Delivery) -> None:
        if len(self.found) < self.wanted:
            self.found.append(_letter(delivery))
            self._has_moved()

    def _is_done(self) -> bool:
        return self._error is not None or len(self.found) >= self.wanted

    def _is_busy(self) -> bool:
        return False

    def _has_failed(self, error: TwbridgeError) -> None:
        self._error = self._error or error
        self._has_moved()

    def _has_moved(self) -> None:
        if not self._moved.called:
            self._moved.callback(None)

    async def _moves(self) -> bool:
        """Wait for something to happen; False where nothing will."""
        self._moved = moved = Deferred[None]()
        moved.addTimeout(QUIET, self._clock)
        try:
            await moved
        except TimeoutError:
            return self._is_busy()
        return True


class _Replaying(_Reading):
    """Takes the letters of a task and publishes them as requests."""

    def __init__(self, link: Link, clock: Any, name: str, wanted: int) -> None:
        super().__init__(link, clock, name, wanted)
        self.done = 0
        self._begun = 0

    def _take(self, delivery: Delivery) -> None:
        if self._begun >= self.wanted or self._error is not None:
            return
        self._begun += 1
        sent = self._link.publish(
            "", task_queue(self._name), delivery.body, _revived(delivery), mandatory=True
        )
        sent.addCallback(self._confirmed, delivery.delivery_tag)
        sent.addErrback(self._refused)

    def _is_done(self) -> bool:
        if self._error is not None:
            return not self._is_busy()
        return self.done >= self.wanted

    def _is_busy(self) -> bool:
        return self._begun > self.done

    def _confirmed(self, _: None, tag: int) -> None:
        self.done += 1
        if self._consumer is not None:
            self._consumer.ack(tag)
        self._has_moved()

    def _refused(self, failure: Failure) -> None:
        self._begun -= 1
        error = failure.value
        if isinstance(error, Unroutable):
            error = UnknownTask(self._name)
        elif not isinstance(error, TwbridgeError):
            _log.failure("A dead letter can't be replayed", failure)
            error = TwbridgeError(str(error))
        self._has_failed(error)


def _letter(delivery: Delivery) -> Letter:
    properties, headers = delivery.properties, delivery.headers
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    died = last.get("time") if isinstance(last, dict) else None
    return Letter(
        id=properties.get("correlation_id", ""),
        caller=str(headers.get("twbridge-caller", "")),
        reason=str(headers.get("x-first-death-reason", "")),
        died=died if isinstance(died, datetime) else None,
        content_type=properties.get("content_type", ""),
        content_encoding=properties.get("content_encoding"),
        body=delivery.body,
    )


def _revived(delivery: Delivery) -> dict[str, Any]:
    """The properties of a letter that becomes a request again.

    Its deadline is over, and its next death must be told as the first. It is its caller's no more:
    who called has heard of its end, and could only end it again. So it has another id, but for one
    who waits for the answer in a queue of another kind than a caller's own, and knows it by its id.
    The task is told that it may have run before. A broker takes nobody else's ``user_id``.
    """
    properties: dict[str, Any] = {**delivery.properties}
    for name in ("expiration", "user_id"):
        properties.pop(name, None)
    headers = delivery.headers
    elsewhere = headers.get("twbridge-elsewhere") is True or "twbridge-caller" not in headers
    if not properties.get("reply_to") or not elsewhere:
        properties.pop("reply_to", None)
        properties["correlation_id"] = uuid.uuid4().hex
    properties["headers"] = {
        name: value
        for name, value in headers.items()
        if name not in _GONE and not name.startswith(_OF_A_DEATH)
    }
    properties["headers"]["twbridge-replayed"] = True
    return properties
