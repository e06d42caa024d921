"""A TCP proxy that misbehaves on request, between a client and a server under test.

::

    proxy = await Proxy.listen(reactor, "127.0.0.1", node.port)
    proxy.latency = 0.05          # seconds, each way
    proxy.stall(Way.UP)           # what the client says stays here; TCP itself looks healthy
    proxy.resume()
    proxy.cut_after(1000, Way.DOWN)
    proxy.reset()                 # RST on every connection
    proxy.forsake()               # the same for the client, while the server sees no end
    proxy.refuse(); proxy.accept()
    await proxy.close()
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class Way(enum.Enum):
    """A direction through the proxy."""

    UP = "client to server"
    DOWN = "server to client"


_BOTH = frozenset(Way)


class Proxy:
    """Listens on a loopback port and carries each connection to one target.

    ``latency`` is in seconds and may be changed at any time; bytes never overtake each other.
    ``carried`` counts the bytes passed on in each direction, ``accepted`` the connections, and
    ``tap``, when set, sees what is passed on: (number of the connection, direction, bytes).
    """

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self.reactor = reactor
        self.latency = 0.0
        self.accepted = 0
        self.carried = dict.fromkeys(Way, 0)
        self.tap: Callable[[int, Way, bytes], object] = lambda *_: None
        self.stalled: frozenset[Way] = frozenset()
        self.limits: dict[Way, int] = {}
        self.pairs: set[_Pair] = set()
        self.target = HostnameEndpoint(reactor, host, port)
        self.port = 0
        self._listening: IListeningPort | None = None

    @classmethod
    async def listen(cls, reactor: Any, host: str, port: int) -> Proxy:
        """A proxy in front of ``host``:``port``, on a port of its own (``.port``)."""
        proxy = cls(reactor, host, port)
        proxy.accept()
        return proxy

    def accept(self) -> None:
        """Listen, again on the same port after :meth:`refuse`."""
        if self._listening is None:
            listening = self.reactor.listenTCP(self.port, _Door(self), interface="127.0.0.1")
            address = listening.getHost()
            assert isinstance(address, IPv4Address)
            self.port = address.port
            self._listening = listening

    def refuse(self) -> Deferred[None]:
        """Stop listening: new connections are refused, those that exist stay."""
        listening, self._listening = self._listening, None
        if listening is None:
            return maybeDeferred(lambda: None)
        return maybeDeferred(listening.stopListening).addCallback(lambda _: None)

    def stall(self, *ways: Way) -> None:
        """Hold back what flows in these directions (both by default), without closing."""
        self.stalled = frozenset(ways) or _BOTH
        for pair in self.pairs:
            pair.throttle()

    def resume(self) -> None:
        """Let everything flow again, beginning with what was held back."""
        self.stalled = frozenset()
        for pair in self.pairs:
            pair.throttle()

    def cut_after(self, count: int, way: Way) -> None:
        """Abort the connection that carries the ``count``-th byte from now in this direction.

        The bytes up to there arrive; it happens once.
        """
        self.limits[way] = count

    def reset(self) -> None:
        """Send a RST on every connection, to both sides."""
        for pair in list(self.pairs):
            pair.abort()

    def forsake(self) -> None:
        """End every connection for the client only; the server believes that it is still there."""
        for pair in self.pairs:
            pair.forsake()

    async def close(self) -> None:
        """Stop listening and abort every connection; fires when all of them are gone."""
        await self.refuse()
        gone = [pair.gone for pair in self.pairs]
        self.reset()
        await gatherResults(gone)


class _Door(Factory):
    noisy = False

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, _address: IAddress | None) -> Protocol:
        return _Pair(self._proxy).sides[Way.UP]


class _Pair:
    """Both sockets of one connection: ``UP`` hears the client, ``DOWN`` the server."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.sides = {way: _Side(self, way) for way in Way}
        self.gone: Deferred[None] = Deferred()
        self._number = 0
        self._forsaken = False
        self._held: dict[Way, list[tuple[float, bytes]]] = {way: [] for way in Way}
        self._open = 0
        self._ended: set[Way] = set()

    def connected(self, way: Way) -> None:
        self._open += 1
        if way is Way.UP:
            self.proxy.accepted += 1
            self._number = self.proxy.accepted
            self.proxy.pairs.add(self)
            factory = Factory.forProtocol(lambda: self.sides[Way.DOWN])
            factory.noisy = False
            self._open += 1  # held by the attempt
            attempt = self.proxy.target.connect(factory)
            attempt.addErrback(lambda _: self.abort())
            attempt.addCallback(lambda _: self._release())
        elif self._ended:
            self.abort()
            return
        self.throttle()
        self._flush(Way.UP)

    def _release(self) -> None:
        self._open -= 1
        if self._open == 0 and self in self.proxy.pairs:
            self.proxy.pairs.discard(self)
            self.gone.callback(None)

    def lost(self, way: Way) -> None:
        self._ended.add(way)
        if not self.proxy.stalled and not self._forsaken:
            self._pass_end(way)
        self._release()

    def _pass_end(self, way: Way) -> None:
        other = self.sides[Way.DOWN if way is Way.UP else Way.UP]
        if other.transport is not None and other.connected:
            self._flush(way, now=True)
            other.transport.loseConnection()

    def abort(self) -> None:
        for side in self.sides.values():
            if side.transport is not None:
                side.transport.abortConnection()  # type: ignore[attr-defined]

    def forsake(self) -> None:
        self._forsaken = True
        client: Any = self.sides[Way.UP].transport
        client.abortConnection()

    def throttle(self) -> None:
        """Read from a stalled side no more, so that back-pressure reaches its peer."""
        for way, side in self.sides.items():
            transport: Any = side.transport
            if transport is None or not side.connected:
                continue
            if way in self.proxy.stalled:
                transport.pauseProducing()
            else:
                transport.resumeProducing()
                self._flush(way)
        if not self.proxy.stalled:
            for way in self._ended:
                self._pass_end(way)

    def heard(self, way: Way, data: bytes) -> None:
        due = self.proxy.reactor.seconds() + self.proxy.latency
        self._held[way].append((due, data))
        if self.proxy.latency:
            self.proxy.reactor.callLater(self.proxy.latency, self._flush, way)
        else:
            self._flush(way)

    def _flush(self, way: Way, *, now: bool = False) -> None:
        other: Any = self.sides[Way.DOWN if way is Way.UP else Way.UP].transport
        held = self._held[way]
        clock = self.proxy.reactor.seconds() + 0.0005
        while other and held and way not in self.proxy.stalled and (now or held[0][0] <= clock):
            _, data = held.pop(0)
            limit = self.proxy.limits.get(way)
            if limit is not None and limit <= len(data):
                data = data[:limit]
                del self.proxy.limits[way]
                self.proxy.reactor.callLater(0, self.abort)
            elif limit is not None:
                self.proxy.limits[way] = limit - len(data)
            self.proxy.carried[way] += len(data)
            self.proxy.tap(self._number, way, data)
            other.write(data)


class _Side(Protocol):
    def __init__(self, pair: _Pair, way: Way) -> None:
        self._pair = pair
        self._way = way

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)  # type: ignore[union-attr]
        self._pair.connected(self._way)

    def dataReceived(self, data: bytes) -> None:
        self._pair.heard(self._way, data)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.connected = 0
        self._pair.lost(self._way)
