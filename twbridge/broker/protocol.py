"""The embedded broker's side of a socket (Twisted): heartbeats, deadlines and back-pressure.

Deliveries stop while the transport's buffer is full, so a consumer that does not read costs that
buffer and no more. Answers can't be withheld: where a client asks without reading, its socket is
not read either past :data:`MAX_UNREAD_ANSWERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge import wire
from twbridge.broker.connection import Connection
from twbridge.broker.limits import Limits
from twbridge.broker.vhost import VirtualHost

__all__ = ["BrokerProtocol"]

_log = Logger()

#: Seconds to the end of the login (RabbitMQ's handshake_timeout).
LOGIN_TIMEOUT = 10.0
#: Seconds that a close may take to be read and answered.
CLOSE_TIMEOUT = 5.0
#: Bytes of answers written to a full socket before its client is not read any more.
MAX_UNREAD_ANSWERS = 1024 * 1024


class _Socket(ITCPTransport, IConsumer, IPushProducer):
    """What a TCP transport gives."""


@implementer(IPushProducer)
class BrokerProtocol(Protocol):
    """One client.

    Args:
        clock: for heartbeats and deadlines.
        vhost, limits, users: see :class:`~twbridge.broker.connection.Connection`.
        on_lost: called with this protocol when the socket is gone.
    """

    transport: _Socket

    def __init__(
        self,
        clock: IReactorTime,
        vhost: VirtualHost,
        limits: Limits,
        users: Mapping[str, str],
        on_lost: Callable[[BrokerProtocol], None],
    ) -> None:
        self.connection = Connection(self, vhost, limits, users)
        self._clock = clock
        self._on_lost = on_lost
        self._deadline: IDelayedCall | None = None
        self._ticks: LoopingCall | None = None
        self._silent_ticks = 0
        self._wrote = False
        self._full = False
        self._unread_answers = 0
        #: Why the socket is not read; empty while it is.
        self._not_reading: set[str] = set()

    # -- Twisted ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)  # answers are small and waited for
        self.transport.registerProducer(cast(IPushProducer, self), True)
        self._deadline = self._clock.callLater(LOGIN_TIMEOUT, self.abort)

    def dataReceived(self, data: bytes) -> None:
        self._silent_ticks = 0
        self.connection.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timers()
        self.connection.lost()
        self._on_lost(self)

    def pauseProducing(self) -> None:
        self._full = True
        self.connection.pause_deliveries()

    def resumeProducing(self) -> None:
        self._full = False
        self._unread_answers = 0
        self._read_again("answers")
        self.connection.resume_deliveries()

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""

    # -- for the connection -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send it; see the module about a full socket."""
        self._wrote = True
        if self._full:
            self._unread_answers += len(data)
            if self._unread_answers > MAX_UNREAD_ANSWERS:
                self._stop_reading("answers")
        self.transport.write(data)

    def negotiated(self, heartbeat: int) -> None:
        """The login is over: end its deadline and begin with heartbeats."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if heartbeat:
            self._ticks = LoopingCall(self._tick)
            self._ticks.clock = self._clock
            self._ticks.start(heartbeat / 2, now=False)

    def closing(self) -> None:
        """A close was sent: wait for its answer, not for ever."""
        self._stop_timers()
        for reason in list(self._not_reading):
            self._read_again(reason)
        self._deadline = self._clock.callLater(CLOSE_TIMEOUT, self.abort)

    def close(self) -> None:
        """Close when everything is written, or when that takes too long."""
        self.closing()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Drop the socket."""
        self._deadline = None
        self.transport.abortConnection()

    def pause_reading(self) -> None:
        """Read nothing more from this publisher."""
        self._stop_reading("memory")

    def resume_reading(self) -> None:
        """Read from it again."""
        self._read_again("memory")

    # -- inside -------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Twice a heartbeat interval: send one if we were silent, give up if the client was."""
        if not self._wrote:
            self.transport.write(wire.HEARTBEAT)
        self._wrote = False
        self._silent_ticks = 0 if self._not_reading else self._silent_ticks + 1
        if self._silent_ticks > 4:
            _log.warn("a client missed its heartbeats: its connection is dropped")
            self.transport.abortConnection()

    def _stop_reading(self, reason: str) -> None:
        if not self._not_reading:
            self.transport.pauseProducing()
        self._not_reading.add(reason)

    def _read_again(self, reason: str) -> None:
        if reason in self._not_reading:
            self._not_reading.discard(reason)
            if not self._not_reading:
                self.transport.resumeProducing()

    def _stop_timers(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._ticks is not None and self._ticks.running:
            self._ticks.stop()
