"""A subscription to a stream (sans-I/O).

::

    STARTING --the end of the stream is known--> READING or FOLLOWING
    READING    with a consumer of its own, as fast as the socket takes it
       --everything read--> FOLLOWING
    FOLLOWING  the shared end of the stream
       --the socket takes no more (overflow ``block``)--> PARKED
    PARKED     with nothing but its place
       --the socket takes data--> READING

Overflow policies other than ``block`` act while it follows: what is past is always read at the
client's pace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.commands import Gap, Overflow
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import ChannelClosed, Conflict, NotFound, NotReady, TwbridgeError
from twbridge.live.group import Take
from twbridge.starts import Start
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.ports import Outlet
from twbridge.subscriptions.reader import Reader, Sink
from twbridge.subscriptions.reads import Reads
from twbridge.subscriptions.tail import Tail
from twbridge.wire import Delivery

__all__ = ["Library", "StreamSubscription"]

_log = Logger()

#: Seconds before a patient subscription, or one that stood already, tries again.
AGAIN = 1.0
#: Seconds that any other waits for the end of the stream to be known.
TIMEOUT = 10.0


class State(Enum):
    """Where a subscription is."""

    STARTING = auto()
    READING = auto()
    FOLLOWING = auto()
    PARKED = auto()
    OVER = auto()


class Library(Protocol):
    """What a subscription needs of all streams."""

    clock: IReactorTime
    reads: Reads

    def tail(self, name: str, user: StreamSubscription, /) -> Tail:
        """The shared end of a stream; it stays while it has users."""

    def leave(self, tail: Tail, user: StreamSubscription, /) -> None:
        """Be no user of it any more."""

    def reader(
        self, name: str, sink: Sink, start: Start, position: int | None, prefetch: int, /
    ) -> Reader:
        """A reader of its own, not begun."""


class StreamSubscription:
    """One.

    Args:
        library: where the streams are.
        outlet: the session.
        destination: as it was subscribed.
        start: where to begin.
        prefetch: how many messages are read ahead of the socket.
        overflow: what happens while it follows and the socket takes no more.
        valve: drops, where the policy does.
        patient: wait for the broker without limit.
    """

    def __init__(
        self,
        library: Library,
        outlet: Outlet,
        destination: Destination,
        start: Start,
        *,
        prefetch: int,
        overflow: Overflow,
        valve: Valve | None,
        patient: bool,
    ) -> None:
        self.destination = destination
        self.encoder: Encoder = outlet.encoder
        self.send: Callable[[bytes], None] = outlet.send
        self.take: Take | None = self._take_or_park if overflow == "block" else None
        if valve is not None:
            self.take = valve.take
        self._library = library
        self._outlet = outlet
        self._start = start
        self._prefetch = prefetch
        self._valve = valve
        self._patient = patient
        self._state = State.STARTING
        self._answer: Deferred[None] = Deferred()
        self._tail: Tail | None = None
        self._reader: Reader | None = None
        self._timer: IDelayedCall | None = None
        self._settling: Deferred[None] | None = None
        # What its reader has brought and the socket has not taken.
        self._pending: list[bytes | Gap] = []
        self._flushing = False
        # What it had when it began to follow, and when it was parked; the gap to tell before it
        # goes on. How often the stream had been made anew when its reader began.
        self._floor = self._place = -1
        self._gap: Gap | None = None
        self._renewals = 0

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state

    # -- the beginning

    def start(self) -> Deferred[None]:
        """See ``ports.Subscription``."""
        # In a turn of its own: whoever asked hears of the answer before the first message.
        self._timer = self._library.clock.callLater(0, self._begin)
        return self._answer

    def _begin(self) -> None:
        self._tail = self._library.tail(self.destination.name, self)
        settling = self._settling = self._tail.when_settled()
        if not self._patient:
            settling.addTimeout(TIMEOUT, self._library.clock)
        settling.addCallbacks(lambda _: self._locate(), self._refused)
        settling.addErrback(self._broke)

    def _locate(self) -> None:
        """The end is known: follow it from there, or read what is before it."""
        if self._state is not State.STARTING or self._tail is None:
            return
        start, end = self._start, self._tail.position
        if start.where == "next":
            self._tail.catch_up().addCallback(self._begin_with_next).addErrback(self._broke)
        elif start.where == "offset":
            if start.value - 1 == end:
                self._answered_then_follow(end)
            else:
                self._read(start, start.value - 1)
        elif end == -1 and start.where != "timestamp":
            self._answered_then_follow(end)
        elif start.where == "last":
            self._answered_then_follow(end, self._tail.last)
        else:
            self._read(start, None)

    def _begin_with_next(self, _result: None) -> None:
        if self._state is State.STARTING and self._tail is not None:
            self._answered_then_follow(self._tail.position)

    def _answered_then_follow(self, floor: int, last: Delivery | None = None) -> None:
        self._answer.callback(None)
        if self._state is not State.STARTING:
            return
        frame = None if last is None else self._encode(floor, last)
        if frame is not None:
            self.send(frame)
        # Its sending may have been the end.
        if self._state is State.STARTING:
            self._follow(floor)

    def _encode(self, offset: int, delivery: Delivery) -> bytes | None:
        try:
            return self.encoder.encode(self.destination, delivery, offset=offset)
        except Exception:
            _log.failure("{delivery!r} can't be encoded", delivery=delivery)
            return None

    def _refused(self, failure: Failure) -> None:
        if self._state is not State.STARTING:
            return
        if failure.check(TimeoutError):
            failure = Failure(NotReady("the end of the stream was not known in time"))
        if self._patient and failure.check(NotReady):
            self._let_go()
            self._again(self._begin)
            return
        self._over()
        self._answer.errback(failure)

    def _again(self, what: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._library.clock.callLater(AGAIN, what)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _broke(self, failure: Failure) -> None:
        _log.failure("a subscription to {stream} broke", failure, stream=self.destination)

    # -- the end

    def end(self, delete: bool = False) -> None:
        """See ``ports.Subscription``."""
        if self._state is State.OVER:
            return
        self._over()
        if not self._answer.called:
            self._answer.errback(Conflict("It was unsubscribed before the broker had answered."))

    def _over(self) -> None:
        self._state = State.OVER
        self._stop_timer()
        self._let_go()
        self._pending.clear()
        if self._valve is not None:
            self._valve.close()

    def _let_go(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.cancel()
        tail, self._tail = self._tail, None
        if tail is not None:
            self._library.leave(tail, self)

    def _end_with(self, error: TwbridgeError) -> None:
        """It has ended by itself."""
        if self._state is State.OVER:
            return
        self._over()
        if self._answer.called:
            self._outlet.ended(self.destination, error)
        else:
            self._answer.errback(Failure(error))

    # -- reading

    def _read(self, start: Start, position: int | None) -> None:
        assert self._tail is not None
        self._renewals = self._tail.renewals
        reader = self._reader = self._library.reader(
            self.destination.name, self, start, position, self._prefetch
        )
        reader.begin().addCallbacks(self._reading, self._not_reading).addErrback(self._broke)

    def _reading(self, _result: None) -> None:
        if self._state is not State.OVER:
            self._state = State.READING
            if not self._answer.called:
                self._answer.callback(None)

    def _not_reading(self, failure: Failure) -> None:
        self._reader = None
        if not self._answer.called:
            self._refused(failure)
        elif failure.check(NotReady, ChannelClosed):
            # It stood already: if the stream is gone, its end says so when there is no new one.
            self._again(self.writable)
        else:
            self._end_with(failure.value)  # type: ignore[arg-type]

    def message(self, offset: int, delivery: Delivery) -> None:
        """Told by its own reader."""
        self._flush_later()
        if not self._is_too_early(delivery):
            frame = self._encode(offset, delivery)
            if frame is not None:
                self._pending.append(frame)

    def _is_too_early(self, delivery: Delivery) -> bool:
        """A timestamp finds the chunk; what is before it in there was not asked for."""
        if self._start.where != "timestamp":
            return False
        published = delivery.properties.get("timestamp")
        if published is not None and published < self._start.value:
            return True
        self._start = Start("next")  # found; what comes is not looked at
        return False

    def _flush_later(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._library.reads.then(self._read_done)

    def _read_done(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        if self._state is not State.READING or (self._pending and not self._outlet.takes_data):
            return
        self._send_all()
        if self._reader is not None:
            self._reader.ack()
            self._follow_if_done()

    def _send_all(self) -> None:
        pending, self._pending = self._pending, []
        frames: list[bytes] = []
        for each in pending:
            if isinstance(each, bytes):
                frames.append(each)
                continue
            self._send_chunk(frames)
            frames = []
            self._outlet.tell(each)
        self._send_chunk(frames)

    def _send_chunk(self, frames: list[bytes]) -> None:
        if frames:
            self.send(frames[0] if len(frames) == 1 else b"".join(frames))

    def _follow_if_done(self) -> None:
        """Whoever has what the end has seen can follow it."""
        tail, reader = self._tail, self._reader
        if tail is None or reader is None or not tail.is_settled:
            return
        position = reader.caught_up_to
        if position is None or self._start.where == "timestamp":
            return
        if position >= tail.position:
            reader.stop()
            self._reader = None
            self._follow(position)

    def gap(self, first: int, resumed: int) -> None:
        """Told by its own reader."""
        self._pending.append(Gap(self.destination, first, resumed))
        self._flush_later()

    def settled(self) -> None:
        """Told by its own reader: there is no more for now."""
        self._flush()

    def ended(self, error: TwbridgeError) -> None:
        """Told by its own reader."""
        self._reader = None
        self._end_with(error)

    # -- following

    def _follow(self, floor: int) -> None:
        assert self._tail is not None
        self._state = State.FOLLOWING
        self._floor = floor
        self._tail.follow(self, floor)

    def _take_or_park(self, frames: Sequence[bytes], _keys: Sequence[str]) -> None:
        """The overflow policy ``block``."""
        if self._state is not State.FOLLOWING or self._tail is None:
            return  # it ends, and leaves the others in the midst of a read
        if self._outlet.takes_data:
            self.send(b"".join(frames))
            return
        self._state = State.PARKED
        self._place = max(self._tail.flushed, self._floor)
        self._tail.unfollow(self)

    def tail_begins(self, offset: int) -> None:
        """Told by the end of the stream."""
        if self._state is State.FOLLOWING and self._start.where in ("next", "last"):
            assert self._tail is not None
            self._tail.unfollow(self)
            self._follow(max(offset - 1, self._floor))

    def tail_gap(self, first: int, resumed: int) -> None:
        """Told by the end of the stream."""
        anew = resumed <= first
        if self._state is State.FOLLOWING:
            if anew or resumed > self._floor + 1:
                self._tell_tail_gap(max(first, self._floor + 1), resumed)
        elif anew and self._reader is not None:
            # It sees that itself, unless the new stream was there when it began.
            assert self._tail is not None
            if self._reader.renewals < self._tail.renewals - self._renewals:
                self._reader.renew()
        elif anew and self._state is State.PARKED:
            # The old place means nothing.
            before = self._place + 1 if self._gap is None else self._gap.first
            self._gap = Gap(self.destination, before, resumed)
            self._place = resumed - 1

    def _tell_tail_gap(self, first: int, resumed: int) -> None:
        if self._valve is not None:
            self._valve.skip()
        self._floor = resumed - 1
        self._outlet.tell(Gap(self.destination, first, resumed))

    def tail_ended(self, error: TwbridgeError) -> None:
        """Told by the end of the stream."""
        # Who waits for the end to be known hears of it there.
        if self._state is not State.STARTING or self._reader is not None:
            self._end_with(error)

    # -- the socket

    def writable(self) -> None:
        """See ``ports.Subscription``."""
        if self._valve is not None:
            self._valve.writable()
        if self._state is State.PARKED and self._reader is None:
            gap, self._gap = self._gap, None
            if gap is not None:
                self._outlet.tell(gap)
            self._read(Start("first"), self._place)
        else:
            self._flush()

    def ack(self, tag: int, multiple: bool) -> None:
        """There is nothing to acknowledge."""
        raise NotFound("Messages of a stream are not acknowledged.")

    def nack(self, tag: int, requeue: bool, multiple: bool) -> None:
        """There is nothing to acknowledge."""
        raise NotFound("Messages of a stream are not acknowledged.")
