"""Back-pressure, both ways (sans-I/O).

:class:`Outbox` is between a session and its socket: what the socket does not take is kept up to a
limit, past which its owner is told once. :class:`Lane` is before it, for a subscription whose
messages may be dropped. :class:`Gate` is between the sessions that publish and the link: while the
link takes no more, their reading is paused.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

__all__ = ["Budget", "Drops", "Gate", "Lane", "Outbox", "Pressing", "Reader", "Writer"]


_log = Logger()


class Writer(Protocol):
    """What an outbox needs of a transport."""

    def write(self, data: bytes, /) -> None:
        """Send, now or soon."""


@implementer(IPushProducer)
class Outbox:
    """The way out to one socket; the push producer that its transport pauses and resumes.

    While the transport takes data, frames go straight through. While it is paused they wait here,
    in order. Past ``limit`` bytes waiting, all are dropped, ``on_overflow`` is called, once,
    and nothing is taken any more: the owner closes the connection (1013).

    Args:
        transport: where the frames go.
        limit: how many bytes may wait. A frame that makes it more is the overflow, unless
            nothing else waits: a client is not slow because one message is large.
        on_overflow: called without arguments.
    """

    __slots__ = ("_closed", "_frames", "_limit", "_on_overflow", "_paused", "_transport", "queued")

    def __init__(self, transport: Writer, limit: int, on_overflow: Callable[[], None]) -> None:
        self._transport = transport
        self._limit = limit
        self._on_overflow = on_overflow
        self._paused = False
        self._closed = False
        # None as long as nothing ever waited, which is the life of most sockets.
        self._frames: deque[bytes] | None = None
        #: The bytes that wait here, exactly; what the transport buffers itself is not among them.
        self.queued = 0

    def send(self, frame: bytes) -> None:
        """Send a frame, now or when the socket takes it; dropped after the end."""
        if not self._paused:
            self._transport.write(frame)
        elif not self._closed:
            self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        if self.queued and self.queued + len(frame) > self._limit:
            self.close()
            self._on_overflow()
            return
        if self._frames is None:
            self._frames = deque()
        self._frames.append(frame)
        self.queued += len(frame)

    def close(self) -> None:
        """Drop what waits and take no more."""
        self._closed = self._paused = True
        self._frames = None
        self.queued = 0

    @property
    def paused(self) -> bool:
        """Whether frames have to wait (or are dropped, after the end)."""
        return self._paused

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """The transport's buffer is full: frames wait here."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport takes data again: send what waited, as far as it goes."""
        if self._closed:
            return
        self._paused = False
        while self._frames and not self._paused:
            frame = self._frames.popleft()
            self.queued -= len(frame)
            self._transport.write(frame)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.close()


class Budget:
    """Bytes that the lanes of a session may hold together."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


class Lane:
    """Frames of one subscription that wait for a slow socket, and may be dropped.

    Args:
        latest: keep only the newest frame of each routing key; else drop the oldest frames when
            there is no room.
        budget: the bytes that may wait, shared with the session's other lanes.
    """

    __slots__ = ("_budget", "_count", "_frames", "_latest", "_size", "dropped")

    def __init__(self, latest: bool, budget: Budget) -> None:
        self._latest = latest
        self._budget = budget
        self._count = 0
        self._size = 0
        self._frames: OrderedDict[str | int, bytes] = OrderedDict()
        #: How many were dropped since this was last reset by the owner, who tells the client.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, frame: bytes, key: str) -> None:
        """Let it wait; what has to give way to it is dropped."""
        name: str | int = key
        if self._latest:
            self._drop(key)
        else:
            self._count += 1
            name = self._count
        if self._budget.left + self._size < len(frame):
            self.dropped += 1  # other lanes hold all there is, or it is too large for any
            return
        while self._budget.left < len(frame):
            self._drop(next(iter(self._frames)))
        self._take(len(frame))
        self._frames[name] = frame

    def pop(self) -> bytes:
        """The frame that waits longest."""
        _, frame = self._frames.popitem(last=False)
        self._take(-len(frame))
        return frame

    def drop_all(self) -> int:
        """Drop everything; return how much that is."""
        count = len(self._frames)
        self.dropped += count
        self._let_go()
        return count

    def clear(self) -> None:
        """Let everything go, uncounted: the subscription is over."""
        self.dropped = 0
        self._let_go()

    def _let_go(self) -> None:
        self._take(-self._size)
        self._frames.clear()

    def _drop(self, name: str | int) -> None:
        frame = self._frames.pop(name, None)
        if frame is not None:
            self._take(-len(frame))
            self.dropped += 1

    def _take(self, size: int) -> None:
        self._size += size
        self._budget.left -= size


class Drops:
    """Counts what is dropped for slow clients, and says all of it in the log: at once, then once a
    minute at most.

    Args:
        clock: the time.
    """

    EVERY = 60.0

    def __init__(self, clock: IReactorTime) -> None:
        self.count = 0
        self._clock = clock
        self._logged = 0
        self._timer: IDelayedCall | None = None

    def add(self, count: int) -> None:
        """So many more."""
        self.count += count
        if self._timer is None:
            self._tell()

    def stop(self) -> None:
        """Say the rest, and stop the timer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._log()

    def _tell(self) -> None:
        self._timer = self._clock.callLater(self.EVERY, self._tell) if self._log() else None

    def _log(self) -> int:
        count, self._logged = self.count - self._logged, self.count
        if count:
            words = "Messages dropped for clients that read too slowly: {count}"
            _log.warn(words, count=count)
        return count


class Pressing(Protocol):
    """What a gate needs of the link."""

    @property
    def pressed(self) -> bool:
        """Whether it takes no more for now."""

    def on_pressure(self, callback: Callable[[bool], None], /) -> Callable[[], None]:
        """Call back with each change of ``pressed``; returns the way to stop that."""


class Reader(Protocol):
    """What waits at a gate."""

    def relieved(self) -> None:
        """The link takes data again."""


class Gate:
    """Who has to wait for the link. One for all sessions: a session costs nothing that reads on.

    Args:
        link: what presses.
    """

    __slots__ = ("_link", "_stop", "_waiting")

    def __init__(self, link: Pressing) -> None:
        self._link = link
        # A dict as an ordered set: who waits longest goes first.
        self._waiting: dict[Reader, None] = {}
        self._stop = link.on_pressure(self._changed)

    @property
    def shut(self) -> bool:
        """Whether who publishes has to wait."""
        return self._link.pressed

    def wait(self, reader: Reader) -> None:
        """Call ``reader.relieved()`` once, when the link takes data again."""
        self._waiting[reader] = None

    def leave(self, reader: Reader) -> None:
        """Wait no more; nothing happens where it does not wait."""
        self._waiting.pop(reader, None)

    def stop(self) -> None:
        """Let the link go."""
        self._stop()

    def _changed(self, pressed: bool) -> None:
        if not pressed:
            self._open()

    def _open(self) -> None:
        # Each one let through may fill the link again: who comes after it waits on.
        while self._waiting and not self._link.pressed:
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            reader.relieved()
