"""What was published and has no answer yet (sans-I/O).

A publish is kept until the bridge has answered it, and is sent again with the same id on every
new connection: the bridge applies it once.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.client.errors import refusal
from twbridge.client.frames import Frame
from twbridge.errors import (
    ConfirmTimeout,
    Conflict,
    NotReady,
    OutcomeUnknown,
    TooLarge,
    TooMany,
    TwbridgeError,
)

__all__ = ["Publishes"]


class _Publish:
    __slots__ = ("answer", "attempted", "deadline", "frame", "on_wire")

    def __init__(self, frame: bytes, answer: Deferred[None]) -> None:
        self.frame = frame
        self.answer = answer
        #: Sent on the connection that there is.
        self.on_wire = False
        #: Sent on any connection: the bridge may have it.
        self.attempted = False
        self.deadline: IDelayedCall | None = None


class Publishes:
    """Those without an answer, in the order in which they were made.

    Args:
        clock: for the timeouts.
        send: sends a frame, or says False where there is no connection.
        count: so many may wait.
        size: so many bytes may wait.
        longest: bytes of one frame.
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[bytes], bool],
        *,
        count: int,
        size: int,
        longest: int,
    ) -> None:
        self._clock = clock
        self._send = send
        self._count = count
        self._size = size
        self._longest = self._most = longest
        self._waiting: dict[str, _Publish] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, identity: str, frame: bytes, timeout: float | None) -> Deferred[None]:
        """Send it now, or when there is a connection; fires on the confirm.

        Raises:
            Conflict: another one with this id waits.
            TooLarge: the frame is longer than the bridge takes.
            TooMany: too much waits already.
        """
        self._check(identity, len(frame))
        answer: Deferred[None] = Deferred(lambda _: self._forget(identity))
        publish = self._waiting[identity] = _Publish(frame, answer)
        self._bytes += len(frame)
        if timeout is not None:
            publish.deadline = self._clock.callLater(timeout, self._late, identity, timeout)
        self._transmit(publish)
        return answer

    def _check(self, identity: str, length: int) -> None:
        if identity in self._waiting:
            raise Conflict(f"A publish with the id {identity} waits for its answer already.")
        if length > self._longest:
            raise self._too_large(length)
        if len(self._waiting) >= self._count:
            raise TooMany(f"{self._count} publishes wait for their answers already.")
        if self._bytes + length > self._size:
            raise TooMany(f"The publishes that wait would take more than {self._size} bytes.")

    def _too_large(self, length: int) -> TooLarge:
        return TooLarge(f"The message takes {length} bytes as JSON, {self._longest} are the limit.")

    def _transmit(self, publish: _Publish) -> None:
        if not publish.on_wire and self._send(publish.frame):
            publish.on_wire = publish.attempted = True

    def answered(self, frame: Frame) -> bool:
        """Whether a frame is the answer to one of these, which is settled then."""
        if not isinstance(frame.id, str) or frame.op not in ("published", "error"):
            return False
        publish = self._take(frame.id)
        if publish is None:
            return False
        if frame.op == "published":
            publish.answer.callback(None)
        else:
            publish.answer.errback(refusal(frame.code, frame.message))
        return True

    def limited(self, limit: int | None) -> None:
        """The bridge takes frames of so many bytes, or has not said how long they may be."""
        self._longest = self._most if limit is None else min(self._most, limit)

    def opened(self) -> None:
        """There is a connection: send what was not sent on it, and refuse what is too long."""
        long = []
        for identity, publish in self._waiting.items():
            if len(publish.frame) > self._longest:
                long.append((identity, publish))
            else:
                self._transmit(publish)
        for identity, publish in long:
            error = self._too_large(len(publish.frame))
            self._fail(identity, OutcomeUnknown(str(error)) if publish.attempted else error)

    def lost(self) -> None:
        """The connection is gone."""
        for publish in self._waiting.values():
            publish.on_wire = False

    def too_large(self, reason: str) -> None:
        """The bridge has closed the connection over a frame that is too long for it.

        It does not say which: the longest is refused, or it would be sent for ever.
        """
        sent = [identity for identity, each in self._waiting.items() if each.on_wire]
        if sent:
            longest = max(sent, key=lambda each: len(self._waiting[each].frame))
            self._fail(longest, TooLarge(reason or "The message is too large for the bridge."))

    def end(self, reason: str) -> None:
        """No connection will come any more."""
        for identity in list(self._waiting):
            publish = self._waiting.get(identity)
            if publish is not None:
                kind = OutcomeUnknown if publish.attempted else NotReady
                self._fail(identity, kind(reason))

    def _late(self, identity: str, timeout: float) -> None:
        publish = self._waiting[identity]
        publish.deadline = None
        if publish.attempted:
            self._fail(identity, ConfirmTimeout(f"No confirm came in {timeout:g} s."))
        else:
            self._fail(identity, NotReady(f"There was no connection in {timeout:g} s."))

    def _fail(self, identity: str, error: TwbridgeError) -> None:
        publish = self._take(identity)
        if publish is not None:
            publish.answer.errback(error)

    def _forget(self, identity: str) -> None:
        self._take(identity)

    def _take(self, identity: str) -> _Publish | None:
        publish = self._waiting.pop(identity, None)
        if publish is not None:
            self._bytes -= len(publish.frame)
            if publish.deadline is not None:
                publish.deadline.cancel()
        return publish
