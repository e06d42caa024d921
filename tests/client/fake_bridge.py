"""A bridge that says what a test wants, on real sockets."""

from __future__ import annotations

import json
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

net: Any = reactor
SUBPROTOCOL = "v1.twbridge.json"


class Connection(WebSocketServerProtocol):
    """One connection: greets, and agrees to everything."""

    factory: Any

    def onConnect(self, request: Any) -> str | None:
        self.request = request
        return self.factory.subprotocol

    def onOpen(self) -> None:
        self.factory.bridge.connections.append(self)
        self.got: list[dict[str, Any]] = []
        if self.factory.greets:
            self.say("welcome", session="s", heartbeat=25)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        frame = json.loads(payload)
        self.got.append(frame)
        answer = self.factory.bridge.answers.get(frame["op"])
        if answer is not None:
            self.say(
                answer, **{name: frame[name] for name in ("id", "destination") if name in frame}
            )

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.end = code

    def end_with(self, code: int, reason: str) -> None:
        """Send any close frame."""
        self.sendCloseFrame(code=code, reasonUtf8=reason.encode())

    def say(self, op: str, **fields: Any) -> None:
        """Send a frame."""
        self.sendMessage(json.dumps({"op": op} | fields).encode())

    def processHandshake(self) -> None:
        if self.factory.status:
            self.sendData(f"HTTP/1.1 {self.factory.status} No\r\n\r\n".encode())
            self.dropConnection()
        else:
            super().processHandshake()


class FakeBridge:
    """Where it listens, and what it says."""

    def __init__(
        self,
        *,
        subprotocol: str | None = SUBPROTOCOL,
        greets: bool = True,
        status: int = 0,
    ) -> None:
        self.connections: list[Any] = []
        self.answers = {
            "publish": "published",
            "subscribe": "subscribed",
            "unsubscribe": "unsubscribed",
        }
        factory: Any = WebSocketServerFactory(protocols=[SUBPROTOCOL])
        self.factory = factory
        self.factory.protocol = Connection
        self.factory.noisy = False
        self.factory.bridge = self
        self.factory.subprotocol = subprotocol
        self.factory.greets = greets
        self.factory.status = status
        self.factory.setProtocolOptions(perMessageCompressionAccept=self._accept)
        self.port: IListeningPort | None = None

    def _accept(self, offers: list[Any]) -> Any:
        for offer in offers:
            if isinstance(offer, PerMessageDeflateOffer):
                return PerMessageDeflateOfferAccept(offer)
        return None

    def listen(self, interface: str = "127.0.0.1", tls: Any = None) -> int:
        """Listen on a free TCP port; gives it."""
        if tls is None:
            self.port = net.listenTCP(0, self.factory, interface=interface)
        else:
            self.port = net.listenSSL(0, self.factory, tls, interface=interface)
        return self.number

    @property
    def number(self) -> int:
        """Its TCP port."""
        assert self.port is not None
        return int(cast(Any, self.port.getHost()).port)

    def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket."""
        self.port = net.listenUNIX(path, self.factory)

    def close(self) -> Deferred[None] | None:
        """Listen no more, and drop all."""
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abortConnection()
        return None if self.port is None else self.port.stopListening()
