"""A plugin for twbridge that speaks a third protocol: lines of text over TCP.

Each line that a connection sends is a message, to where the first route publishes. Each message
that arrives for clients is a line to every connection. What begins with ``!`` is from the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
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


class Lines(Plugin):
    """Listens for connections while the bridge runs."""

    def __init__(self) -> None:
        self.connections: set[LineConnection] = set()

    async def start(self, bridge: Bridge) -> None:
        """Listen. A busy port is a failure, which the bridge logs."""
        where = os.environ.get(VARIABLE, LISTEN)
        factory = Factory.forProtocol(lambda: LineConnection(self.connections, self.send))
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
    """Whether a connection reads what it is sent: the transport says so."""

    def __init__(self, connection: LineConnection) -> None:
        self.full = False
        self.missed = 0
        self._connection = connection

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False
        if self.missed:
            missed, self.missed = self.missed, 0
            self._connection.show(b"! %d messages were left out, you read too slowly" % missed)

    def stopProducing(self) -> None:
        self.full = True


class LineConnection(LineReceiver):
    """One connection. Nothing is read while a line of it waits for the broker's confirm."""

    delimiter = b"\n"
    MAX_LENGTH = LENGTH

    def __init__(
        self, connections: set[LineConnection], send: Callable[[str], Deferred[None]]
    ) -> None:
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

    def lineReceived(self, line: bytes) -> None:
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            self.show(b"! not sent: it is not UTF-8")
            return
        self.pauseProducing()
        self._send(text).addErrback(self._not_sent).addCallback(lambda _: self.resumeProducing())

    def lineLengthExceeded(self, line: bytes) -> None:
        self.end("a line is too long")

    def show(self, line: bytes) -> None:
        """Send a line, unless the other end does not read."""
        if self._outgoing.full:
            self._outgoing.missed += 1
        else:
            self.sendLine(line)

    def end(self, why: str) -> None:
        """Say why, and hang up."""
        self.sendLine(b"! " + why.encode())
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _not_sent(self, failure: Failure) -> None:
        failure.trap(TwbridgeError)
        # Never the error itself: it may hold names of the inside.
        self.show(b"! not sent: " + failure.value.public.encode())
