"""The door: what every accepted socket meets first.

A connection is counted, and its request is given to whoever it is for; see ``connection.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from twbridge.sockets.census import Census
from twbridge.sockets.connection import Front, State
from twbridge.sockets.heads import Head
from twbridge.sockets.origins import Client, Listener, Proxies, networks
from twbridge.sockets.sides import FindRelay, FrontLimits, ICallSide, IHTTPSide, ISocketSide
from twbridge.sockets.underway import UnderWay

__all__ = ["Front", "FrontFactory", "FrontLimits", "State"]


def _nobody(_head: Head, _client: Client) -> None:
    """Relays nothing."""


class FrontFactory(Factory[Front]):
    """Builds the door of every socket of one listener; give it to any endpoint.

    Args:
        websocket: takes the sockets that ask for WebSocket.
        site: takes the others. One request is read of each.
        streams: by path, who takes the sockets that ask for it.
        calls: by path, who answers the requests for it; their connections live on. A path that
            ends with a slash stands for all that have one segment behind it.
        relays: finds who answers a request, and streams its body and its answer; asked where
            nobody of the above is there for it. Their connections live on.
        listener: whose proxies are believed.
        limits: what a connection may cost.
        clock: for the deadline.
        census: shared where several listeners share the limits.
    """

    noisy = False

    def __init__(
        self,
        websocket: ISocketSide,
        site: IHTTPSide,
        *,
        streams: Mapping[str, ISocketSide] | None = None,
        calls: Mapping[str, ICallSide] | None = None,
        relays: FindRelay = _nobody,
        clock: IReactorTime,
        listener: Listener | None = None,
        limits: FrontLimits | None = None,
        census: Census | None = None,
    ) -> None:
        self.websocket = websocket
        self.site = site
        self.streams = streams or {}
        self.calls = calls or {}
        self.relays = relays
        self.clock = clock
        self.limits = limits or FrontLimits()
        self.proxies = Proxies(networks((listener or Listener()).proxies))
        self.census = census or Census(self.limits.connections, self.limits.connections_per_address)
        self.waiting: set[Front] = set()
        self.relaying = UnderWay(clock)
        self.stopped = False

    def buildProtocol(self, addr: IAddress | None) -> Front:
        front = Front()
        front.factory = self
        return front

    def call_side(self, path: str) -> ICallSide | None:
        """Who answers the requests for a path."""
        return self.calls.get(path) or self.calls.get(path[: path.rfind("/") + 1])

    def stopFactory(self) -> None:
        """The port is closed: nobody waits for a head any more, or for its rest."""
        self.stopped = True
        for front in list(self.waiting):
            front.abort()

    def close_all(self) -> Deferred[None]:
        """Waits for the answers of relayed requests; fires when there are no more of them."""
        self.stopped = True
        return self.relaying.close_all()
