"""``POST /api/publish``: one message in, the broker's confirm out.

A request is a session that publishes once: rules, limits, resending by id and back-pressure are
those of every session. The connection lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twbridge.dialects.http import PublishCodec
from twbridge.dialects.interfaces import Encoder
from twbridge.dialects.json import read_publish
from twbridge.errors import BadFrame, ConfirmTimeout, TooLarge, TwbridgeError
from twbridge.sockets.admission import Admission
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.ports import ISession, OpenSession
from twbridge.sockets.sides import Answer
from twbridge.web.entrance import (
    Entrance,
    Guest,
    JsonRefusal,
    Leaving,
    error_answer,
    json_answer,
)

PATH: Final = "/api/publish"


class PublishCalls:
    """The requests of one listener; see ``sides.ICallSide``.

    Args:
        open_session: makes the session of a request.
        admission: the listener's rules.
        clock: the time.
        limit: bytes of a body.
        close_seconds: that requests have for their answers when the bridge stops.
    """

    def __init__(
        self,
        open_session: OpenSession,
        *,
        admission: Admission,
        clock: IReactorTime,
        limit: int = 1_048_576,
        close_seconds: float = 3.0,
    ) -> None:
        self.open_session = open_session
        self.limit = limit
        self.waiting: set[PublishCall] = set()
        self._entrance = Entrance(admission, "POST", "content-type")
        self._clock = clock
        self._close_seconds = close_seconds
        self._closing: Deferred[None] | None = None

    def call(self, head: Head, client: Client, answer: Callable[[Answer], None]) -> PublishCall:
        """Takes a request.

        Raises:
            Refusal: 403, 405; 415, its body is not JSON; 503, the bridge stops.
        """
        guest = self._entrance.enter(head, client)
        if self._closing is not None:
            raise JsonRefusal(Leaving(), guest.fields)
        if guest.parameters.keys() - {"client"}:
            raise JsonRefusal(BadFrame("The only parameter here is client."), guest.fields)
        kind = (head.one("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json" or head.values("content-encoding"):
            error = BadFrame("The body must be application/json, as it is.")
            raise JsonRefusal(error, guest.fields, 415)
        return PublishCall(self, guest, answer)

    def gone(self, call: PublishCall) -> None:
        """A request is over."""
        self.waiting.discard(call)
        if self._closing is not None and not self.waiting and not self._closing.called:
            self._closing.callback(None)

    def close_all(self) -> Deferred[None]:
        """Takes no more requests, and waits for the answers of those that are under way.

        Returns:
            Fires after ``close_seconds`` at the latest: nobody knows then what became of the rest.
        """
        done: Deferred[None] = Deferred()
        self._closing = done
        if not self.waiting:
            done.callback(None)
            return done
        give_up = self._clock.callLater(self._close_seconds, self._give_up)
        return done.addBoth(lambda _: give_up.cancel() if give_up.active() else None)

    def _give_up(self) -> None:
        for call in list(self.waiting):
            call.fail(ConfirmTimeout())


def _nothing(_frame: bytes) -> None:
    """Where deliveries go: nothing is subscribed to."""


class PublishCall:
    """One request, the socket of its session.

    Args:
        side: its own.
        guest: who asks.
        answer: takes the answer, once.
    """

    #: Nothing is delivered here.
    writable = True
    room = 0

    def __init__(self, side: PublishCalls, guest: Guest, answer: Callable[[Answer], None]) -> None:
        self._side = side
        self._guest = guest
        self._answer: Callable[[Answer], None] | None = answer
        self._codec: PublishCodec | None = None
        self._session: ISession | None = None
        self._payload: bytes | None = None
        self.send_frame: Callable[[bytes], None] = _nothing

    def received(self, body: bytes) -> None:
        """The whole body is there: publish what it says."""
        peer, _, fields = self._guest
        try:
            command = read_publish(body)
        except BadFrame as error:
            self._finish(error_answer(error, fields, 400))
            return
        self._codec = PublishCodec(command)
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
        if self._payload is None or self._codec is None:
            self.fail(TwbridgeError())
        else:
            self._finish(json_answer(self._codec.status, self._payload, self._guest.fields))

    def fail(self, error: TwbridgeError) -> None:
        """There will be no better answer."""
        self._finish(error_answer(error, self._guest.fields))

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
