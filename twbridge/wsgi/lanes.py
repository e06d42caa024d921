"""Lanes: each runs one request at a time, in a thread of a child process."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

from twbridge.rpc.executors.channel import Channel
from twbridge.rpc.pipes import BadPipe
from twbridge.rpc.slots import Lease
from twbridge.wire import Properties
from twbridge.wsgi.messages import BadMessage, Request, read_to_worker
from twbridge.wsgi.pipe import DONE, HELLO, LAST, MESSAGE, Frames, frame

if TYPE_CHECKING:
    from twbridge.wsgi.process import Child

__all__ = ["Lane", "Lanes", "Listener", "Work"]

#: Seconds that a request is given by a bridge that does not say how many.
TIMEOUT: Final = 30.0


class Work:
    """A request that this worker has.

    Attributes:
        id: the bridge's.
        reply_to: the bridge's queue.
        lease: its delivery.
        properties: of the delivery.
        since: when it came, by the clock.
        begun: when it was given to a lane.
        heard: when something was last said to or by its lane.
        accepted: when its bridge was last told that it is here; no earlier than it came.
        lane: what runs it; None while it waits.
        told: whether the bridge knows by a message that it is here.
        answered: whether the application has said something.
        muted: whether what its lane says is for nobody any more.
        over: whether the broker has been told that it is done with.
        until: when it is to be ended because nobody waits for it; None: somebody does.
    """

    __slots__ = (
        "_patience",
        "accepted",
        "answered",
        "begun",
        "heard",
        "id",
        "lane",
        "lease",
        "muted",
        "over",
        "properties",
        "reply_to",
        "since",
        "told",
        "until",
    )

    def __init__(
        self, id: str, reply_to: str, lease: Lease, properties: Properties, since: float
    ) -> None:
        self.id = id
        self.reply_to = reply_to
        self.lease = lease
        self.properties = properties
        self.since = self.begun = self.heard = self.accepted = since
        self.lane: Lane | None = None
        self.told = self.answered = self.muted = self.over = False
        self.until: float | None = None
        self._patience: float | None = None

    @property
    def timeout(self) -> float:
        """Seconds that it might have waited in its queue, this time."""
        try:
            return int(self.properties["expiration"]) / 1000
        except (KeyError, ValueError):
            return TIMEOUT

    @property
    def patience(self) -> float:
        """Seconds that the client waits for the application, once that has begun."""
        if self._patience is None:
            request = self.request
            self._patience = self.timeout if request is None else request.timeout
        return self._patience

    @property
    def request(self) -> Request | None:
        """What is asked; None where it can't be read."""
        try:
            message = read_to_worker(self.lease.delivery.body)
        except BadMessage:
            return None
        return message if isinstance(message, Request) else None

    def __str__(self) -> str:
        request = self.request
        if request is None:
            return self.id
        return f"{request.method} {request.mount}{request.path}"


class Listener(Protocol):
    """Who has the requests that run."""

    def next(self) -> Work | None:
        """A request that waits for a lane."""

    def said(self, work: Work, message: bytes) -> None:
        """A message for the bridge."""

    def ended(self, work: Work) -> None:
        """It has ended; its lane is free."""

    def lost(self, work: Work, text: str, is_untouched: bool) -> None:
        """Its process is gone.

        Args:
            text: one sentence.
            is_untouched: the process has read nothing of it.
        """

    def ready(self) -> None:
        """A process has started: there are more lanes than before."""


class Lane:
    """One thread of a child, as the worker sees it.

    Args:
        reactor: the reactor.
        end: our end of the pair of sockets; it is closed with this.
        child: whose it is.
        listener: who has the requests.
    """

    def __init__(self, reactor: Any, end: socket.socket, child: Child, listener: Listener) -> None:
        self.child = child
        self.work: Work | None = None
        #: Whether nothing has been said to the request that runs.
        self._is_alone = True
        self._listener = listener
        self._frames = Frames()
        self._channel = Channel(reactor, end, self._take, child.closed)
        self.close = self._channel.close
        self.drain = self._channel.drain

    def begin(self, work: Work) -> None:
        """Run a request; the lane must be free."""
        self.work = work
        work.lane = self
        self._is_alone = True
        self._channel.send_now(frame(MESSAGE, work.lease.delivery.body))

    def tell(self, message: bytes) -> None:
        """Something more for the request that runs."""
        self._is_alone = False
        self._channel.send(frame(MESSAGE, message))

    @property
    def is_untouched(self) -> bool:
        """Whether the child has surely not read the request that runs: it has ended before."""
        # The request is the last that it was sent.
        return self._is_alone and self._channel.unread

    def send(self, data: bytes) -> None:
        """Write a frame."""
        self._channel.send_now(data)

    def _take(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                if kind == HELLO:
                    self.child.hello(payload)
                else:
                    self._heard(kind, payload)
        except BadPipe as error:
            self.child.kill(f"the application wrote to the worker's pipe: {error}")

    def _heard(self, kind: int, payload: bytes) -> None:
        work = self.work
        if work is None:
            raise BadPipe("a frame of a lane that is free")
        if kind == MESSAGE:
            self._listener.said(work, payload)
            return
        if kind not in (DONE, LAST):
            raise BadPipe(f"there is no frame of kind {kind}")
        self.work = work.lane = None
        # First of all the child has something to do again.
        self.child.freed(self)
        if kind == LAST:
            self._listener.said(work, payload)
        self._listener.ended(work)


class Lanes(Protocol):
    """What runs the requests: `crew.Crew`."""

    listener: Listener

    @property
    def free(self) -> list[Lane]: ...

    @property
    def able(self) -> int: ...

    @property
    def left_over(self) -> int: ...

    def end(self, work: Work) -> None: ...
