"""``GET /api/poll``: waits for one message, for those who can read no stream of events.

A request is a session with one subscription, which is over with the first message, at the timeout,
or when the client leaves. The connection lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.dialects.http import RequestCodec, status_of
from twbridge.dialects.poll import PollCodec, first_of, read_poll
from twbridge.errors import ClientError, NotReady, TwbridgeError
from twbridge.sockets.admission import Admission
from twbridge.sockets.heads import Head
from twbridge.sockets.ports import OpenSession
from twbridge.sockets.sides import Answer
from twbridge.web.entrance import (
    COMMON,
    Entrance,
    Fields,
    Guest,
    JsonRefusal,
    Leaving,
    check_taking,
    full_answer,
)
from twbridge.web.requests import Request, Requests

__all__ = ["MISSED", "PATH", "PollCalls"]

PATH: Final = "/api/poll"
#: How many messages are missing before the one that is told.
MISSED: Final = "Twbridge-Missed"


class PollCalls(Requests):
    """The polls by one listener.

    Args:
        open_session: makes the session of a request.
        admission: the listener's rules.
        clock: the time.
    """

    def __init__(
        self, open_session: OpenSession, *, admission: Admission, clock: IReactorTime
    ) -> None:
        entrance = Entrance(admission, "GET", "cache-control", f"{MISSED}, Retry-After")
        super().__init__(open_session, entrance, clock=clock, limit=0)

    def read(self, head: Head, guest: Guest) -> Callable[[bytes], RequestCodec]:
        """All is in its URL.

        Raises:
            Refusal: 403, see `check_taking`; 422, the URL means no subscription.
        """
        try:
            subscribe, timeout = read_poll(guest.parameters)
            check_taking(head, subscribe.destination)
        except ClientError as error:
            raise JsonRefusal(error, guest.fields) from None
        return lambda _body: PollCodec(subscribe, timeout)

    def request(
        self,
        guest: Guest,
        read: Callable[[bytes], RequestCodec],
        answer: Callable[[Answer], None],
    ) -> Poll:
        """One of them."""
        return Poll(self, guest, read, answer, self.clock)

    def status_of(self, error: TwbridgeError) -> int:
        """As of everything that is subscribed."""
        return status_of(error)

    def outcome_unknown(self) -> TwbridgeError:
        """What is told to those that still wait when the bridge stops."""
        return Leaving()

    def link_changed(self, state: str) -> None:
        """The link is in another state: every session hears of it."""
        for request in list(self.waiting):
            if isinstance(request, Poll):
                request.link_changed(state)

    def close_all(self) -> Deferred[None]:
        """Takes no more, and answers those that wait."""
        done = super().close_all()
        self._give_up()
        return done


class Poll(Request):
    """One request."""

    def __init__(
        self,
        side: PollCalls,
        guest: Guest,
        read: Callable[[bytes], RequestCodec],
        answer: Callable[[Answer], None],
        clock: IReactorTime,
    ) -> None:
        super().__init__(side, guest, read, answer)
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self.send_frame = self._tell

    @property
    def _poll(self) -> PollCodec:
        assert isinstance(self._codec, PollCodec)
        return self._codec

    def received(self, body: bytes) -> None:
        """Wait from now on."""
        super().received(body)
        if self._answer is not None:
            self._timer = self._clock.callLater(self._poll.timeout, self._late)

    def link_changed(self, state: str) -> None:
        """Tells the session that the link is in another state."""
        if self._session is not None:
            self._session.link_changed(state)

    def close(self, code: int, reason: str) -> None:
        """The session is over before there was a message."""
        self.fail(self._poll.refusal or TwbridgeError())

    def lost(self) -> None:
        """The connection is gone, or the answer given."""
        self._forget_timer()
        super().lost()

    def _tell(self, frames: bytes) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        self._forget_timer()
        # Not at once: who delivers may be in the midst of a broadcast, and acknowledges then.
        self._clock.callLater(0, self.lost)
        answer(full_answer(200, first_of(frames), self._fields()))

    def _late(self) -> None:
        if self._poll.standing:
            self._finish(Answer(204, b"", (*COMMON, *self._fields())))
        else:
            self.fail(NotReady())

    def _fields(self) -> Fields:
        fields, missed = self._guest.fields, self._poll.missed
        if not missed:
            return fields
        return (*fields, (MISSED, missed))

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
