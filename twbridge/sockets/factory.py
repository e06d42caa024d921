"""The WebSockets of one listener: who comes in, and Autobahn's options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import random
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twbridge.deflate import Extension, agree
from twbridge.dialects.interfaces import IDialect, Route
from twbridge.sockets.admission import Admission
from twbridge.sockets.census import Lease
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.keepalive import Keepalive
from twbridge.sockets.lean import DEFAULTS, Hush
from twbridge.sockets.origins import Client, Listener
from twbridge.sockets.ports import Opening, OpenSession, SocketOptions
from twbridge.sockets.protocol import BridgeProtocol

#: The subprotocol of what a route speaks with a client that asks for none.
_UNASKED: Final[Mapping[str, str | None]] = {
    "raw": None,
    "json": "v1.twbridge.json",
    "stomp": "v12.stomp",
}
_VERSION: Final = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"))
#: Byte 85.
_NEXT_LINE: Final = "\x85"


class BridgeFactory(WebSocketServerFactory):
    """The WebSockets of one listener.

    Args:
        open_session: makes the session of a connection; may call its socket at once.
        dialects: what is spoken; the one whose subprotocol is None is spoken with clients that
            ask for none.
        routes: by path; what has no route is 404.
        listener: whose pages may connect.
        options: limits and times.
        clock: the time.
        random: a number from 0 to 1, for delays.
    """

    log: Any = Hush()
    noisy = False

    def __init__(
        self,
        open_session: OpenSession,
        *,
        dialects: Iterable[IDialect],
        routes: Mapping[str, Route],
        clock: IReactorTime,
        listener: Listener | None = None,
        options: SocketOptions | None = None,
        random: Callable[[], float] = random,
    ) -> None:
        self.open_session = open_session
        self.clock = clock
        self._random = random
        self.options = options = options or SocketOptions()
        self.connections: set[BridgeProtocol] = set()
        self._dialects = {dialect.subprotocol: dialect for dialect in dialects}
        self._routes = routes
        self._admission = Admission(listener or Listener(), clock)
        self._refusing: Refusal | None = None
        self._waiting: list[Deferred[None]] = []
        self.keepalive = Keepalive(
            clock,
            interval=options.ping_interval,
            timeout=options.ping_timeout,
            close_timeout=options.close_timeout,
        )
        super().__init__(reactor=clock, server=None)  # type: ignore[no-untyped-call]
        self._set_options()

    def _set_options(self) -> None:
        """Every option of Autobahn, in one call: what a call leaves out may change
        (``allowNullOrigin``). The protocol class gets them too, so that no instance has a copy.
        """
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            versions=[13],
            webStatus=False,
            utf8validateIncoming=True,
            maskServerFrames=False,
            requireMaskedClientFrames=True,
            applyMask=True,
            maxFramePayloadSize=self.options.frame,
            maxMessagePayloadSize=self.options.message,
            autoFragmentSize=0,
            failByDrop=False,
            echoCloseCodeReason=False,
            openHandshakeTimeout=0,  # front.py's deadline
            closeHandshakeTimeout=0,  # keepalive.py's
            tcpNoDelay=True,
            perMessageCompressionAccept=self._accept_compression,
            autoPingInterval=0,  # keepalive.py pings
            autoPingTimeout=0,
            autoPingSize=12,
            autoPingRestartOnAnyTraffic=True,
            serveFlashSocketPolicy=False,
            flashSocketPolicy="",
            allowedOrigins=["*"],  # `admit` has checked it
            allowNullOrigin=False,
            maxConnections=0,  # the census counts them
            trustXForwardedFor=0,
        )
        shared = DEFAULTS | {name: getattr(self, name) for name in BridgeProtocol.CONFIG_ATTRS}
        # All are there: Autobahn would look at each, and pretty-print them for a log that is
        # silent, which is half of what a connection costs.
        shared["CONFIG_ATTRS"] = ()
        shared["factory"] = self
        shared["perMessageCompressionAccept"] = staticmethod(self._accept_compression)
        self._kind: type[BridgeProtocol] = type("BridgeProtocol", (BridgeProtocol,), shared)

    def extensions(self, offered: list[Extension]) -> list[Extension]:
        """What Autobahn shall know of the extensions that a client offers: one offer that is met,
        or none. It would refuse the whole handshake for one that it can't read.
        """
        bits = agree(offered) if self.options.deflate else None
        if bits is None:
            return []
        parameters: dict[str, list[Any]] = {"server_no_context_takeover": [True]}
        if bits < 15:
            parameters["server_max_window_bits"] = [str(bits)]
        return [("permessage-deflate", parameters)]

    def _accept_compression(
        self, offers: list[PerMessageDeflateOffer]
    ) -> PerMessageDeflateOfferAccept:
        """Takes the offer that `extensions` has left; no context is kept between messages."""
        return PerMessageDeflateOfferAccept(
            offers[0],
            request_no_context_takeover=True,
            max_message_size=self.options.message,
        )

    def admit(self, head: Head, client: Client, lease: Lease) -> BridgeProtocol:
        """Builds the protocol for a socket that sent `head`; see ``sides.ISocketSide``.

        Raises:
            Refusal: 400, 403, 404, 426 or 503.
        """
        if self._refusing is not None:
            raise self._refusing
        route = self._routes.get(head.path)
        if route is None:
            raise Refusal(404, "There is no WebSocket here.")
        if head.one("sec-websocket-version") != "13":
            raise Refusal(426, "Only version 13 of WebSocket is spoken here.", _VERSION)
        _check_lines(head)
        self._admission.origin(head, client)
        offered = head.items("sec-websocket-protocol")
        dialect = self._choose(offered or [_UNASKED[route.dialect]])
        peer = self._admission.peer(head, client)
        chosen = dialect.subprotocol if offered else None
        opening = Opening(peer, dialect.codec(route), chosen)
        return self._kind(self, opening, lease)

    def _choose(self, names: Sequence[str | None]) -> IDialect:
        """The first of the dialects that is spoken here.

        Raises:
            Refusal: 400.
        """
        for name in names:
            if name in self._dialects:
                return self._dialects[name]
        known = ", ".join(sorted(name for name in self._dialects if name))
        raise Refusal(400, f"None of the subprotocols is spoken here; these are: {known}.")

    def opened(self, protocol: BridgeProtocol) -> None:
        """A handshake is done."""
        self.connections.add(protocol)
        self.keepalive.add(protocol)

    def gone(self, protocol: BridgeProtocol) -> None:
        """A connection is lost."""
        self.keepalive.remove(protocol)
        self.connections.discard(protocol)
        if not self.connections:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def link_changed(self, state: str) -> None:
        """The link is in another state: every session hears of it."""
        for protocol in list(self.connections):
            protocol.link_changed(state)

    def _back_after(self) -> float:
        """When one of many clients should be back: not all at once."""
        first = 0.5
        spread = max(self.options.reconnect_spread - first, 0.0)
        return round(first + spread * self._random(), 3)

    def close_all(self, code: int = 1001, reason: str = "going away") -> Deferred[None]:
        """Lets nobody in any more, tells clients when to be back and closes every connection.

        Returns:
            Fires when all are gone: after ``close_timeout`` and a second at the latest.
        """
        self._refusing = Refusal(503, "The server is shutting down.", (("Retry-After", "5"),))
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        for protocol in list(self.connections):
            protocol.send_away(code, reason, self._back_after())
        if not self.connections:
            self._waiting.remove(done)
            done.callback(None)
        return done


def _check_lines(head: Head) -> None:
    """Lets nothing pass that is one line to us and two to Autobahn, which reads the head again.

    Raises:
        Refusal: 400.
    """
    if any(_NEXT_LINE in text for text in (head.target, *(value for _, value in head.fields()))):
        raise Refusal(400, "The head of a WebSocket's request must not have the byte 85.")
