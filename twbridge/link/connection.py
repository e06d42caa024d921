"""One AMQP connection: txAMQP's client, delegate and factory over the codec of ``wire``.

What is used of txAMQP: the life cycle and the login of ``AMQClient``, the callbacks of
``TwistedDelegate``, the generated channel methods. What is replaced: encoding and decoding,
consumer queues, heartbeat timers and back-pressure (docs/txamqp.md says why, trap by trap).
Only modules of this package import txAMQP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed
from txamqp.message import Message
from txamqp.protocol import AMQClient
from zope.interface import implementer

from twbridge import wire
from twbridge.codec.tables import encode_table
from twbridge.direct import write_soon
from twbridge.errors import ConnectionClosed, FrameError, ProtocolClosed
from twbridge.link.channel import Channel, ignore
from twbridge.link.delegate import Delegate
from twbridge.link.spec import amqp_spec
from twbridge.link.uri import Parameters

_log = Logger()

#: RabbitMQ 4.1 refuses less than 8192.
FRAME_MAX = 131072
#: Seconds that a broker may take to answer a close.
CLOSE_WITHIN = 3.0


@implementer(IPushProducer)
class Connection(AMQClient):
    """One connection to the broker.

    Args:
        clock: for heartbeats and timeouts.
        name: how the broker's management shows the connection.

    Attributes:
        on_blocked: called with the broker's reason when it stops reading (connection.blocked) and
            with None when it reads again.
        on_read: called after the deliveries of each read.
        on_writable: called when the socket takes bytes again.
        on_lost: called once with ConnectionClosed.
        writable: False while the socket does not drain. Publishing then is the caller's risk.
    """

    channelClass = Channel
    transport: Any

    def __init__(self, clock: IReactorTime, parameters: Parameters, name: str) -> None:
        super().__init__(Delegate(), parameters.vhost, amqp_spec(), clock=clock)  # type: ignore[no-untyped-call]
        self.parameters = parameters
        self.name = name
        self.frame_max, self.channel_max = FRAME_MAX, 2047
        self.heartbeatInterval = parameters.heartbeat
        self.writable = True
        self.on_blocked: Callable[[str | None], object] = ignore
        self.on_read: Callable[[], object] = lambda: None
        self.on_writable: Callable[[], object] = lambda: None
        self.on_lost: Callable[[ConnectionClosed], object] = ignore
        self.lost: ConnectionClosed | None = None
        # Limited before the broker has named its limit too: it may be no broker at all.
        self._reader = wire.FrameReader(FRAME_MAX)
        self._idle_in = 0
        self._sent = self._received = False
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock
        self._abort: IDelayedCall | None = None

    # -- life -------------------------------------------------------------------------------

    async def login(self) -> None:
        """Log in and open the virtual host.

        Raises:
            ConnectionClosed: with the broker's code and text: 403 a wrong password, 530 no such
                virtual host; 0 where the socket just ended or time ran out.
        """
        give_up = self.clock.callLater(
            self.parameters.connection_timeout,
            lambda: self.fail(ConnectionClosed(0, "the broker did not answer the login in time")),
        )
        try:
            await self.authenticate(
                self.parameters.username,
                self.parameters.password,
                mechanism=self.parameters.auth_mechanism,
            )
        except (Closed, ProtocolClosed):
            raise self.lost or ConnectionClosed(0, "the login failed") from None
        finally:
            if give_up.active():
                give_up.cancel()

    def authenticate(
        self, username: str, password: str, mechanism: str = "PLAIN", locale: str = "en_US"
    ) -> Deferred[Any]:
        if mechanism == "AMQPLAIN":
            response = encode_table({"LOGIN": username, "PASSWORD": password})[4:]
        elif mechanism == "PLAIN":
            response = b"\0" + username.encode() + b"\0" + password.encode()
        else:
            response = b""  # EXTERNAL: the TLS certificate says who we are
        result: Deferred[Any] = self.start(response, mechanism, locale)
        return result

    def start(self, response: bytes, mechanism: str = "PLAIN", locale: str = "en_US") -> Any:
        """As txAMQP's, without what Twisted has deprecated."""
        self.response, self.mechanism, self.locale = response, mechanism, locale
        started: Deferred[Any] = self.started.wait()
        return started.addCallback(lambda _: self.channels[0].connection_open(self.vhost))

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.transport.write(wire.PROTOCOL_HEADER)

    def tuned(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        """The broker named its limits. 0 means none for the first two, off for the heartbeat."""
        self.channel_max = min(channel_max or 65535, 65535)
        self.frame_max = self._reader.frame_max = min(frame_max, FRAME_MAX) if frame_max else 0
        if heartbeat and self.heartbeatInterval:
            self.heartbeatInterval = min(heartbeat, self.heartbeatInterval)
        if self.heartbeatInterval:
            self._ticks.start(self.heartbeatInterval / 4, now=False)

    def _tick(self) -> None:
        """A quarter of a heartbeat has passed: send one if nothing went out, miss those of it."""
        if not self._sent:
            self.transport.write(wire.HEARTBEAT)
        self._idle_in = 0 if self._received else self._idle_in + 1
        self._sent = self._received = False
        if self._idle_in >= 7:  # of the eight in two heartbeats, the first having been partial
            self.fail(ConnectionClosed(0, "the broker missed two heartbeats"), abort=True)

    def fail(self, error: ConnectionClosed, abort: bool = False) -> None:
        """The connection is over: settle everything on it with ``error`` and let the socket go."""
        if self.lost is not None:
            return
        self.lost = error
        self.closed = True
        if self._ticks.running:
            self._ticks.stop()
        if not abort:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._abort = self.clock.callLater(CLOSE_WITHIN, self.transport.abortConnection)
        self.started.fail_if_not_fired(Closed(error))
        for channel in list(self.channels.values()):
            channel.settle(error)
            channel.close_agreed()
        on_lost, self.on_lost = self.on_lost, ignore
        on_lost(error)
        if abort:
            self.transport.abortConnection()

    def shutdown(self) -> Deferred[None]:
        """Close in order: connection.close, its answer, the socket. Never fails."""
        gone: Deferred[None] = self.disconnected.wait().addCallback(lambda _: None)
        if self.lost is None:
            agreed = self.channels[0].connection_close(200, "goodbye", 0, 0)
            agreed.addTimeout(CLOSE_WITHIN, self.clock)
            agreed.addBoth(lambda _: self.fail(ConnectionClosed(200, "closed by us")))
        return gone

    def do_close(self, reason: object) -> None:
        """The way in which txAMQP ends a connection."""
        self.fail(ConnectionClosed(0, str(reason)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.fail(ConnectionClosed(0, reason.getErrorMessage().rstrip(".")))
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self.disconnected.fire()

    # -- channels ---------------------------------------------------------------------------

    async def open_channel(self) -> Channel:
        """A new channel with the lowest free id.

        Raises:
            ConnectionClosed: the connection is gone, or has no free channel.
        """
        if self.lost is not None:
            raise self.lost
        free = (id for id in range(1, self.channel_max + 1) if id not in self.channels)
        id = next(free, None)
        if id is None:
            raise ConnectionClosed(504, f"all {self.channel_max} channels are in use")
        channel: Channel = self.channelFactory(id, None, self)
        self.channels[id] = channel
        await channel.channel_open()
        return channel

    def forget(self, channel: Channel) -> None:
        """The channel's id is free again."""
        if self.channels.get(channel.id) is channel:
            del self.channels[channel.id]

    # -- bytes ------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write whole frames, at the end of the turn or before: the broker can begin on them."""
        self._sent = True
        write_soon(self.transport, data)

    def dataReceived(self, data: bytes) -> None:
        if self.lost is not None:
            return  # TLS goes on reading until the peer's close
        self._received = True
        channels = self.channels
        delivered = False
        try:
            for event in self._reader.receive(data):
                if self.lost is not None:
                    break
                if type(event) is wire.Delivery:
                    delivered = True
                    channel = channels.get(event.channel)
                    if channel is None:
                        continue
                    callback = channel.consumers.get(event.consumer_tag)
                    if callback is not None:
                        try:
                            callback(event)
                        except Exception:
                            _log.failure("A consumer failed on {delivery}", delivery=event)
                elif type(event) is wire.Confirm:
                    channel = channels.get(event.channel)
                    if channel is not None:
                        channel.on_confirm(event)
                else:
                    self._rare(event)
        except FrameError as error:
            _log.error("The broker sent what is not AMQP: {error}", error=error)
            self.fail(ConnectionClosed(error.reply_code, error.reply_text), abort=True)
        except Exception:
            _log.failure("Reading from the broker failed")
            self.fail(ConnectionClosed(541, "internal error"), abort=True)

        if delivered:
            self.on_read()

    def _rare(self, event: wire.Event) -> None:
        """Everything that does not come by the thousand."""
        if isinstance(event, wire.Heartbeat):
            return
        channel = self.channels.get(event.channel)
        if channel is None:
            if event.channel != 0:
                return  # a late word for a channel that we closed
            channel = self.channels[0] = self.channelFactory(0, None, self)
        if isinstance(event, wire.Content):
            channel.on_return(event)
        elif isinstance(event, wire.Method):
            self._method(channel, event.method)

    def _method(self, channel: Channel, command: Any) -> None:
        message = _message(command)
        if command.name == "Channel.CloseOk":
            channel.close_agreed()
        elif channel.closed and command.name != "Channel.Close":
            pass  # a word that crossed our close
        elif message.method.response:
            channel.answered(message)
        else:
            self.delegate.dispatch(channel, message)

    # -- IPushProducer: how the socket says that it does not drain -----------------------------

    def pauseProducing(self) -> None:
        self.writable = False

    def resumeProducing(self) -> None:
        self.writable = True
        self.on_writable()

    def stopProducing(self) -> None:
        self.writable = False


def _message(command: Any) -> Message:
    klass = amqp_spec().classes.byid[command.index >> 16]
    method = klass.methods.byid[command.index & 0xFFFF]
    return Message(method, [getattr(command, name, None) for name in command.__slots__])


class ConnectionFactory(Factory):
    """Builds the one Connection of one attempt to connect."""

    noisy = False

    def __init__(self, clock: IReactorTime, parameters: Parameters, name: str) -> None:
        self._build = lambda: Connection(clock, parameters, name)

    def buildProtocol(self, addr: object) -> Connection:
        return self._build()  # type: ignore[no-untyped-call]
