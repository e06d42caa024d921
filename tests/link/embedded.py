"""The embedded broker at the other end of an in-memory network: no sockets, no real time."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from zope.interface import implementer

from twbridge.broker import EmbeddedBroker

__all__ = ["Network"]


class Network:
    """Connects clients to an embedded broker."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.broker = EmbeddedBroker(clock)
        self._pumps: list[IOPump] = []

    def endpoint(self, *_where: object) -> Endpoint:
        """What ``Link(connect=...)`` wants."""
        return Endpoint(self)

    def join(self, factory: IProtocolFactory) -> IProtocol:
        """Connect a client."""
        client: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        server = self.broker.factory.buildProtocol(None)
        ends = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
        self._pumps.append(connect(server, ends[0], client, ends[1], greet=False, clock=self.clock))
        joined: IProtocol = client
        return joined

    def pump(self) -> None:
        """Move bytes until nothing moves any more."""
        while any(pump.flush(advanceClock=False) for pump in list(self._pumps)):
            pass

    def advance(self, seconds: float) -> None:
        """Let time pass, with bytes moving."""
        self.pump()
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            self.pump()


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects to the embedded broker."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return succeed(self._network.join(protocolFactory))
