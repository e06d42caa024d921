"""Who may come in by a listener, and who it is: what WebSockets and HTTP have in common."""

from __future__ import annotations

import re
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twbridge.policy import Peer
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client, Listener, OriginRule

_log = Logger()

_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TELL_SECONDS: Final = 60.0


def client_id(head: Head) -> str | None:
    """The UUID in ``?client=``, in lower case; None where there is none.

    Raises:
        Refusal: 400, it is no UUID, or there are two.
    """
    given = head.parameter("client")
    if given is not None and not _UUID.fullmatch(given):
        raise Refusal(400, "The parameter client must be a UUID.")
    return given and given.lower()


class Admission:
    """The rules of one listener.

    Args:
        listener: whose pages may come in.
        clock: the time.
    """

    def __init__(self, listener: Listener, clock: IReactorTime) -> None:
        self._listener = listener
        self._origins = OriginRule(listener.origins)
        self._clock = clock
        self._told = float("-inf")

    def origin(self, head: Head, client: Client) -> str | None:
        """The origin of the page that asks, None where no page does.

        Raises:
            Refusal: 403, its pages may not come in; the log says so, once a minute, because a
                client chooses the words.
        """
        origin = head.one("origin")
        try:
            self._origins.check(origin, client)
        except Refusal:
            if self._clock.seconds() - self._told >= _TELL_SECONDS:
                self._told = self._clock.seconds()
                _log.info(
                    "A page of {origin} may not connect: listen.origins does not name it",
                    origin=repr((origin or "")[:100]),
                )
            raise
        return origin

    def peer(self, head: Head, client: Client) -> Peer:
        """Who asks.

        Raises:
            Refusal: 400, its ``?client=`` is no UUID.
        """
        # One that comes through a proxy is not here, wherever the proxy is.
        loopback = self._listener.loopback and client.local
        return Peer(None, loopback, client.address, client_id(head))
