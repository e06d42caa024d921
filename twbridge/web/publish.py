"""``POST /api/publish``: one message in, the broker's confirm out.

A request is a session that publishes once; what is repeated with its id is applied once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from twbridge.dialects.http import PublishCodec, RequestCodec, status_of
from twbridge.dialects.json import read_publish
from twbridge.errors import BadFrame, ConfirmTimeout, TwbridgeError
from twbridge.sockets.admission import Admission
from twbridge.sockets.heads import Head
from twbridge.sockets.ports import OpenSession
from twbridge.web.entrance import Entrance, Guest, JsonRefusal
from twbridge.web.requests import Requests

PATH: Final = "/api/publish"


class PublishCalls(Requests):
    """The publishes by one listener.

    Args:
        open_session: makes the session of a request.
        admission: the listener's rules.
        clock: the time.
        limit: bytes of a body.
    """

    def __init__(
        self,
        open_session: OpenSession,
        *,
        admission: Admission,
        clock: IReactorTime,
        limit: int = 1_048_576,
    ) -> None:
        entrance = Entrance(admission, "POST", "content-type")
        super().__init__(open_session, entrance, clock=clock, limit=limit)

    def read(self, head: Head, guest: Guest) -> Callable[[bytes], RequestCodec]:
        """Its body is the JSON dialect's object.

        Raises:
            Refusal: 415, it is not; 422, the URL makes no sense.
        """
        if guest.parameters.keys() - {"client"}:
            raise JsonRefusal(BadFrame("The only parameter here is client."), guest.fields)
        kind = (head.one("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json" or head.values("content-encoding"):
            error = BadFrame("The body must be application/json, as it is.")
            raise JsonRefusal(error, guest.fields, 415)
        return _codec

    def status_of(self, error: TwbridgeError) -> int:
        """503 and 504 tell whether it may be published."""
        return status_of(error)

    def outcome_unknown(self) -> TwbridgeError:
        """It may be published."""
        return ConfirmTimeout()


def _codec(body: bytes) -> RequestCodec:
    return PublishCodec(read_publish(body))
