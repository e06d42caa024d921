"""A plugin for twbridge that speaks a third protocol: lines of text over TCP.

Each line that a connection sends is a message, to where the first route publishes. Each message
that arrives for clients is a line to every connection. What begins with ``!`` is from the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge.bus import AMQP2WS, listener
from twbridge.errors import TwbridgeError
from twbridge.interfaces import Bridge, Plugin
from twbridge.wire import Delivery

VARIABLE = "LINES_LISTEN"
"""The environment variable that says where it listens, as an endpoint string of Twisted."""
LISTEN = "tcp:7070:interface=127.0.0.1"
CONNECTIONS = 100
LENGTH = 16384
"""Bytes of a line, both ways; a longer one ends a connection, or is not shown."""
KEPT = 262_144
"""Bytes that are kept for a connection that does not read, beside the 64 KiB of the transport."""
PATIENCE = 60.0
"""Seconds for all that the transport has, once that is too much for it; then one is cut off.

The transport tells only when it has nothing any more: who reads 64 KiB in that time is safe, but a
line or two, and who reads less is cut off even if it never pauses.
"""
FAREWELL = 5.0
"""Seconds in which one that is ended has to read why."""


class Lines(Plugin):
    """Listens for connections while the bridge runs."""

    def __init__(self) -> None:
        self.connections: set[LineConnection] = set()

    async def start(self, bridge: Bridge) -> None:
        """Listen. A busy port is a failure, which the bridge logs."""
        where = os.environ.get(VARIABLE, LISTEN)
        make = partial(LineConnection, self.connections, self.send, bridge.reactor)
        factory = Factory.forProtocol(make)
        self._port = await serverFromString(bridge.reactor, where).listen(factory)
        super().start(bridge)  # Listens on the bus: nothing fails after that.

    async def stop(self) -> None:
        """Let nobody in any more, and say goodbye."""
        super().stop()
        await self._port.stopListening()
        for each in tuple(self.connections):
            each.end("the bridge stops")

    @listener(AMQP2WS)
    def arrived(self, delivery: Delivery) -> None:
        """Show a message to all: one line, and nothing that a terminal takes for an order."""
        text = f"! a message of {len(delivery.body)} bytes was left out"
        if len(delivery.body) <= LENGTH:
            body = delivery.body.decode(errors="replace")
            text = "".join(each if each.isprintable() else " " for each in body)
        for each in tuple(self.connections):
            each.show(text.encode())


@implementer(IPushProducer)
class Outgoing:
    """What a connection is to read. While the transport has enough it is kept, up to ``KEPT``."""

    def __init__(self, connection: LineConnection) -> None:
        self._connection = connection
        self._full = False
        self._kept: list[bytes] = []
        self._size = 0
        self._missed = 0

    def add(self, line: bytes) -> None:
        """Send a line, keep it, or leave it out and count it."""
        if not self._full:
            self._connection.sendLine(line)
        elif not self._missed and self._size + len(line) <= KEPT:
            self._kept.append(line)
            self._size += len(line)
        else:
            self._missed += 1

    def take(self) -> list[bytes]:
        """What is kept, and how much was left out behind it."""
        kept, missed = self._kept, self._missed
        self._kept, self._size, self._missed = [], 0, 0
        if missed:
            kept.append(b"! left out, you read too slowly: %d" % missed)
        return kept

    def pauseProducing(self) -> None:
        self._full = True
        self._connection.setTimeout(PATIENCE)

    def resumeProducing(self) -> None:
        self._full = False
        self._connection.setTimeout(None)
        for line in self.take():
            self.add(line)

    def stopProducing(self) -> None:
        self._full = True


class LineConnection(LineReceiver, TimeoutMixin):
    """One connection. Nothing is read while a line of it waits for the broker's confirm."""

    delimiter = b"\n"
    MAX_LENGTH = LENGTH

    def __init__(
        self,
        connections: set[LineConnection],
        send: Callable[[str], Deferred[None]],
        clock: IReactorTime,
    ) -> None:
        self.callLater = clock.callLater  # of TimeoutMixin
        self._connections = connections
        self._send = send
        self._outgoing = Outgoing(self)

    def connectionMade(self) -> None:
        if len(self._connections) >= CONNECTIONS:
            self.end("too many connections")
            return
        self._connections.add(self)
        self.transport.registerProducer(self._outgoing, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.discard(self)
        self.setTimeout(None)

    def lineReceived(self, line: bytes) -> None:
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            self.show(b"! not sent: it is not UTF-8")
            return
        self.pauseProducing()
        self._send(text).addErrback(self._not_sent).addBoth(self._go_on)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.end("a line is too long")

    def show(self, line: bytes) -> None:
        """Send a line, unless the connection is about to end."""
        if self in self._connections:
            self._outgoing.add(line)

    def end(self, why: str) -> None:
        """Say why, and hang up."""
        self._connections.discard(self)
        self.transport.unregisterProducer()
        for line in (*self._outgoing.take(), b"! " + why.encode()):
            self.sendLine(line)
        self.transport.loseConnection()
        self.setTimeout(FAREWELL)

    def timeoutConnection(self) -> None:
        self.transport.abortConnection()

    def _not_sent(self, failure: Failure) -> None:
        failure.trap(TwbridgeError)
        # Never the error itself: it may hold names of the inside.
        self.show(b"! not sent: " + failure.value.public.encode())

    def _go_on(self, result: object) -> object:
        if self in self._connections:
            self.resumeProducing()
        return result
