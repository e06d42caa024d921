"""The socket of a client: Autobahn over TCP, TLS or a Unix socket."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from autobahn.websocket.types import ConnectingRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge import __version__
from twbridge.client.addresses import Address
from twbridge.client.errors import NotConnected
from twbridge.client.ports import Attempt, Limits
from twbridge.errors import SettingsError

__all__ = ["Token", "WebSocketConnector"]

_log = Logger()

SUBPROTOCOL: Final = "v1.twbridge.json"
#: The bridge or a proxy before it; Autobahn has it in a sentence only.
_STATUS = re.compile(r"upgrade failed \[(\d{3})\]: ?(.*)")

#: Autobahn's way to say so.
_NO_WORD: Final = "peer dropped"

Token: TypeAlias = "str | Callable[[], str | Awaitable[str]]"


class _Silent:
    """A log that keeps silent: what matters is told to the core."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return _nothing


def _nothing(*_: object, **__: object) -> None:
    pass


class _Protocol(WebSocketClientProtocol):
    """One WebSocket."""

    log = _Silent()
    factory: Any
    transport: Any
    _linger: IDelayedCall | None = None

    def __init__(self, attempt: Attempt, ready: Callable[[], None]) -> None:
        super().__init__()
        self._attempt = attempt
        self._ready = ready

    def onConnecting(self, transport_details: object) -> ConnectingRequest:
        """As Autobahn would do by itself, but for the brackets of IPv6."""
        factory = self.factory
        return ConnectingRequest(
            host=f"[{factory.host}]" if ":" in factory.host else factory.host,
            port=factory.port,
            resource=factory.resource,
            headers=factory.headers,
            useragent=factory.useragent,
            protocols=factory.protocols,
        )

    def onOpen(self) -> None:
        if self.websocket_protocol_in_use == SUBPROTOCOL:
            self._ready()
        else:
            self.wasNotCleanReason = f"The server does not speak {SUBPROTOCOL}."
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        self._attempt.heard()
        super().dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            if not isBinary:
                self._attempt.received(payload)
        except Exception:
            _log.failure("A frame of the bridge could not be dealt with")
            self.wasNotCleanReason = "A frame of the bridge could not be dealt with."
            self.abort()

    def onCloseFrame(self, code: Any, reasonRaw: Any) -> None:
        super().onCloseFrame(code, reasonRaw)
        # The answer is sent. The server need not end the connection first (RFC 6455,
        # section 7.1.1), and one that never does it is not waited for.
        if self._linger is None and self.transport is not None:
            self.transport.loseConnection()
            seconds = self.factory.limits.close_seconds
            self._linger = self.factory.reactor.callLater(seconds, self.abort)

    def send(self, payload: bytes) -> None:
        """Send a text message."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(payload)  # type: ignore[no-untyped-call]

    def close(self, code: int) -> None:
        """Send a close frame."""
        if self.state == self.STATE_OPEN:
            self.sendClose(code)

    def abort(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        super().connectionLost(reason)
        self._attempt.lost(self._why(reason))

    def _why(self, reason: Failure) -> NotConnected:
        if self.failedByMe:
            # Its close code is but the answer to ours.
            # Bytes, whatever its annotation says.
            said = (self.localCloseReason or b"").decode(errors="replace")
            return NotConnected(f"The connection was closed ({self.localCloseCode}: {said}).")
        code = self.remoteCloseCode
        if code is not None:
            said = f": {self.remoteCloseReason}" if self.remoteCloseReason else ""
            return NotConnected(f"The bridge closed the connection ({code}{said}).", closed=code)
        said = self.wasNotCleanReason or ""
        refused = _STATUS.search(said)
        if refused is not None:
            status, phrase = int(refused[1]), refused[2]
            text = f"The handshake was refused: {status} {phrase}".rstrip()
            return NotConnected(f"{text}.", status=status)
        if reason.check(ConnectionDone) and (not said or said.startswith(_NO_WORD)):
            return NotConnected("The connection was closed without a word.")
        return NotConnected(_sentence(said or reason.value))


class _Factory(WebSocketClientFactory):
    """Autobahn's options, in one place. Its timers run on the global reactor: none is used."""

    log: Any = _Silent()
    noisy = False

    def __init__(
        self, reactor: Any, address: Address, client: str, limits: Limits, compress: bool
    ) -> None:
        self.limits = limits
        super().__init__(  # type: ignore[no-untyped-call]
            address.url,
            protocols=[SUBPROTOCOL],
            useragent=f"twbridge/{__version__}",
            reactor=reactor,
        )
        self.resource = address.resource_for(client)
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            version=18,
            utf8validateIncoming=True,
            acceptMaskedServerFrames=False,
            maskClientFrames=True,
            applyMask=True,
            maxFramePayloadSize=limits.receive,
            maxMessagePayloadSize=limits.receive,
            autoFragmentSize=0,
            failByDrop=False,
            echoCloseCodeReason=True,
            serverConnectionDropTimeout=0,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            tcpNoDelay=True,
            perMessageCompressionOffers=[PerMessageDeflateOffer()] if compress else [],
            perMessageCompressionAccept=self._accept,
            autoPingInterval=0,
            autoPingTimeout=0,
        )

    def _accept(self, response: object) -> PerMessageDeflateResponseAccept | None:
        if isinstance(response, PerMessageDeflateResponse):
            return PerMessageDeflateResponseAccept(response, max_message_size=self.limits.receive)
        return None


class WebSocketConnector:
    """The way to a bridge.

    Args:
        reactor: for sockets and timers.
        address: where it is.
        client: the client's UUID.
        token: what to tell the bridge, or whoever knows it; asked before each attempt.
        tls: how to verify a ``wss`` bridge; by the system's authorities if None.
        compress: offer permessage-deflate.
        limits: sizes and times.

    Raises:
        SettingsError: the host can't be verified.
    """

    def __init__(
        self,
        reactor: Any,
        address: Address,
        client: str,
        *,
        token: Token | None = None,
        tls: IOpenSSLClientConnectionCreator | None = None,
        compress: bool = False,
        limits: Limits,
    ) -> None:
        self.reactor = reactor
        self.token = token
        self.endpoint = _endpoint(reactor, address, tls, limits.connect_seconds)
        try:
            self.factory = _Factory(reactor, address, client, limits, compress)
        except ValueError as error:
            raise SettingsError(f"{address} can't be connected to: {error}.") from None

    def connect(self, attempt: Attempt, /) -> _Connection:
        """Begin to connect."""
        connection = _Connection(self, attempt)
        connection.begin()
        return connection


class _Connection:
    """One attempt, and the socket that comes of it."""

    def __init__(self, connector: WebSocketConnector, attempt: Attempt) -> None:
        self._connector = connector
        self._attempt = attempt
        self._protocol: _Protocol | None = None
        self._trying: Deferred[Any] | None = None
        self._begin: IDelayedCall | None = None
        self._token: str | None = None

    def begin(self) -> None:
        """In the next turn of the reactor: nothing is told before `connect` has returned."""
        self._begin = self._connector.reactor.callLater(0, self._try)

    def _try(self) -> None:
        self._begin = None
        self._trying = Deferred.fromCoroutine(self._connect())
        self._trying.addErrback(self._failed)

    async def _connect(self) -> None:
        token = self._connector.token
        if callable(token):
            found = token()
            token = found if isinstance(found, str) else await found
        self._token = token
        self._protocol = protocol = _Protocol(self._attempt, self._ready)
        protocol.factory = self._connector.factory
        await self._connector.endpoint.connect(_One(protocol))
        self._trying = None

    def _ready(self) -> None:
        self._attempt.opened(self._token)

    def _failed(self, failure: Failure) -> None:
        self._trying = self._protocol = None
        if failure.check(CancelledError) is None:
            self._attempt.lost(NotConnected(_sentence(failure.value)))

    def send(self, payload: bytes, /) -> None:
        """Send a text message."""
        if self._protocol is not None:
            self._protocol.send(payload)

    def close(self, code: int, /) -> None:
        """Send a close frame."""
        if self._protocol is not None:
            self._protocol.close(code)

    def abort(self) -> None:
        """End it at once."""
        if self._begin is not None:
            self._begin.cancel()
            self._begin = None
        if self._trying is not None:
            self._trying.cancel()
        if self._protocol is not None:
            self._protocol.abort()


class _One(Factory):
    """Gives out one protocol that is there already."""

    noisy = False

    def __init__(self, protocol: _Protocol) -> None:
        # Not Autobahn's: its own factory is the protocol's.
        self._only = protocol

    def buildProtocol(self, addr: object) -> _Protocol:
        return self._only


def _endpoint(
    reactor: Any,
    address: Address,
    tls: IOpenSSLClientConnectionCreator | None,
    seconds: float,
) -> IStreamClientEndpoint:
    if address.socket is not None:
        return UNIXClientEndpoint(reactor, address.socket, timeout=seconds)
    plain = HostnameEndpoint(reactor, address.host, address.port, timeout=seconds)
    if not address.secure:
        return plain
    try:
        return wrapClientTLS(tls or optionsForClientTLS(address.host), plain)
    except ValueError:
        raise SettingsError(f"{address.host!r} can't be verified as a host name.") from None


def _sentence(error: object) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    return f"{text}."
