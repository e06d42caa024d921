"""Requests that are a session each: one command in, its answer out.

Rules, limits and back-pressure are those of every session. The connection lives on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twbridge.dialects.http import RequestCodec
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import BadFrame, TooLarge, TwbridgeError
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.ports import ISession, OpenSession
from twbridge.sockets.sides import Answer
from twbridge.web.entrance import (
    Entrance,
    Fields,
    Guest,
    JsonRefusal,
    Leaving,
    error_answer,
    full_answer,
)

__all__ = ["CLOSE_SECONDS", "Request", "Requests"]

#: What requests have for their answers when the bridge stops.
CLOSE_SECONDS: Final = 3.0


class Requests(ABC):
    """The requests for one path of one listener; see ``sides.ICallSide``.

    Args:
        open_session: makes the session of a request.
        entrance: who may ask.
        clock: the time.
        limit: bytes of a body.
    """

    def __init__(
        self,
        open_session: OpenSession,
        entrance: Entrance,
        *,
        clock: IReactorTime,
        limit: int = 1_048_576,
    ) -> None:
        self.open_session = open_session
        self.limit = limit
        self.clock = clock
        self.waiting: set[Request] = set()
        self._entrance = entrance
        self._closing: Deferred[None] | None = None

    #: Of the header of each answer that a session gives.
    fields: Fields = ()

    @abstractmethod
    def read(self, head: Head, guest: Guest) -> Callable[[bytes], RequestCodec]:
        """What makes a session's codec of the request's body.

        That raises BadFrame where the body can't be read.

        Raises:
            Refusal: the head says already that it is no such request.
        """

    @abstractmethod
    def status_of(self, error: TwbridgeError) -> int:
        """The status that tells of an error."""

    @abstractmethod
    def outcome_unknown(self) -> TwbridgeError:
        """What is told where the bridge stops before the answer is there."""

    def call(self, head: Head, client: Client, answer: Callable[[Answer], None]) -> Request:
        """Takes a request.

        Raises:
            Refusal: 403, 405; 503, the bridge stops; what `read` raises.
        """
        guest = self._entrance.enter(head, client)
        if self._closing is not None:
            raise JsonRefusal(Leaving(), guest.fields)
        return self.request(guest, self.read(head, guest), answer)

    def request(
        self,
        guest: Guest,
        read: Callable[[bytes], RequestCodec],
        answer: Callable[[Answer], None],
    ) -> Request:
        """One of them."""
        return Request(self, guest, read, answer)

    def gone(self, request: Request) -> None:
        """A request is over."""
        self.waiting.discard(request)
        if self._closing is not None and not self.waiting and not self._closing.called:
            self._closing.callback(None)

    def close_all(self) -> Deferred[None]:
        """Takes no more requests, and waits for the answers of those that are under way.

        Returns:
            Fires after ``CLOSE_SECONDS`` at the latest: nobody knows then what became of the rest.
        """
        done: Deferred[None] = Deferred()
        self._closing = done
        if not self.waiting:
            done.callback(None)
            return done
        give_up = self.clock.callLater(CLOSE_SECONDS, self._give_up)
        return done.addBoth(lambda _: give_up.cancel() if give_up.active() else None)

    def _give_up(self) -> None:
        """Nobody waits any longer."""
        for request in list(self.waiting):
            request.fail(self.outcome_unknown())


def _nothing(_frame: bytes) -> None:
    """Where deliveries go: nothing is subscribed to."""


class Request:
    """One request, the socket of its session.

    Args:
        side: its own.
        guest: who asks.
        read: makes the session's codec of the body.
        answer: takes the answer, once.
    """

    #: Nothing is delivered here.
    writable = True
    room = 0

    def __init__(
        self,
        side: Requests,
        guest: Guest,
        read: Callable[[bytes], RequestCodec],
        answer: Callable[[Answer], None],
    ) -> None:
        self._side = side
        self._guest = guest
        self._read = read
        self._answer: Callable[[Answer], None] | None = answer
        self._codec: RequestCodec | None = None
        self._session: ISession | None = None
        self._payload: bytes | None = None
        self.send_frame: Callable[[bytes], None] = _nothing

    def received(self, body: bytes) -> None:
        """The whole body is there: do what it says."""
        peer, _, fields = self._guest
        try:
            self._codec = self._read(body)
        except BadFrame as error:
            self._finish(error_answer(error, fields, 400))
            return
        self._side.waiting.add(self)
        self._session = self._side.open_session(peer, self._codec, self)
        self._session.opened()

    def refusal(self, refusal: Refusal) -> Refusal:
        """How the client is told that its body is none."""
        kind = TooLarge if refusal.status == 413 else BadFrame
        return JsonRefusal(kind(refusal.sentence), self._guest.fields, refusal.status)

    # -- what the session has of it

    def send(self, payload: bytes, binary: bool) -> None:
        """The answer, which `close` gives."""
        self._payload = payload

    def close(self, code: int, reason: str) -> None:
        """The session is over."""
        codec, payload = self._codec, self._payload
        if payload is None or codec is None:
            self.fail(TwbridgeError())
        else:
            fields = self._guest.fields + self._side.fields
            self._finish(full_answer(codec.status, payload, fields, codec.content_type))

    def fail(self, error: TwbridgeError) -> None:
        """There will be no better answer."""
        self._finish(error_answer(error, self._guest.fields, self._side.status_of(error)))

    def beat(self, send: float, expect: float, payload: bytes) -> None:
        """What is spoken here has no heart-beats of its own."""

    def encoder(self, encoder: Encoder) -> Encoder:
        """That one."""
        return encoder

    def pause_reading(self) -> None:
        """Nothing more is read before the answer."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    # -- the end

    def _finish(self, given: Answer) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            self.lost()
            answer(given)

    def lost(self) -> None:
        """The connection is gone, or the answer given."""
        self._answer = None
        session, self._session = self._session, None
        self._side.gone(self)
        if session is not None:
            session.lost()
