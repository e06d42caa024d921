"""One client's connection to the embedded broker (sans-I/O): bytes in, bytes out.

::

    HEADER --header--> STARTING --start-ok--> TUNING --tune-ok--> OPENING --open--> RUNNING
    any --our close--> CLOSING --close-ok--> CLOSED        any --client's close--> CLOSED

Source: AMQP 0-9-1 section 2.2.4 and its reference, class connection; login by RabbitMQ's PLAIN and
AMQPLAIN (https://www.rabbitmq.com/access-control.html#mechanisms).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from pamqp import base, commands
from twisted.logger import Logger

from twbridge import wire
from twbridge.broker import login, refusals, replies
from twbridge.broker.basic_methods import METHODS as BASIC_METHODS
from twbridge.broker.basic_methods import publish
from twbridge.broker.channel import Channel
from twbridge.broker.limits import Limits
from twbridge.broker.ports import Transport
from twbridge.broker.topology_methods import METHODS as TOPOLOGY_METHODS
from twbridge.broker.vhost import VirtualHost
from twbridge.errors import ChannelClosed, ConnectionClosed, FrameError, ProtocolClosed

__all__ = ["Connection", "State"]

_log = Logger()

_METHODS = {**TOPOLOGY_METHODS, **BASIC_METHODS}
_ChannelEvent = wire.Delivery | wire.Content | wire.Confirm | wire.Method
_PUBLISH = commands.Basic.Publish.index


class State(enum.Enum):
    """How far the connection is. The values are RabbitMQ's words."""

    HEADER = "pre_init"
    STARTING = "starting"
    TUNING = "tuning"
    OPENING = "opening"
    RUNNING = "running"
    CLOSING = "closing"
    CLOSED = "closed"


class Connection:
    """One connection.

    Args:
        transport: the socket's side.
        vhost: the only virtual host, named ``/``.
        limits: what is proposed to the client and not exceeded.
        users: passwords by user name.
    """

    def __init__(
        self, transport: Transport, vhost: VirtualHost, limits: Limits, users: Mapping[str, str]
    ) -> None:
        self.state = State.HEADER
        self.user = ""
        self.frame_max = limits.frame_max
        self.capabilities: frozenset[str] = frozenset()
        self.channels: dict[int, Channel] = {}
        self._transport = transport
        self._vhost = vhost
        self._limits = limits
        self._users = users
        self._header = b""
        #: Bodies are taken once the login is over.
        self._reader = wire.FrameReader(limits.frame_max, max_body=1)
        self._channel_max = limits.channel_max
        self._socket_full = False
        self._blocked = False
        #: Channels with confirms to send after this read.
        self._published: dict[Channel, None] = {}

    # -- from the socket ----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Whatever the socket gave."""
        if self.state is State.HEADER:
            data = self._receive_header(data)
        if not data or self.state is State.CLOSED:
            return
        try:
            for event in self._reader.receive(data):
                self._event(event)
        except FrameError as error:
            self._fail(refusals.hard(error.reply_code, error.reply_text))
        for channel in self._published:
            channel.flush_confirms()
        self._published.clear()

    def lost(self) -> None:
        """The socket is gone: requeue what it held and delete its exclusive queues."""
        self.state = State.CLOSED
        self._tear_down()

    def pause_deliveries(self) -> None:
        """The socket's buffer is full: no consumer of this connection has room."""
        self._socket_full = True

    def resume_deliveries(self) -> None:
        """It has drained."""
        self._socket_full = False
        for channel in list(self.channels.values()):
            channel.drain()

    def unblock(self) -> None:
        """The memory alarm is over: read from this publisher again."""
        if self._blocked:
            self._blocked = False
            if "connection.blocked" in self.capabilities and self.state is State.RUNNING:
                self._send(commands.Connection.Unblocked())
            self._transport.resume_reading()

    def force_close(self, text: str) -> None:
        """Close it from this side with 320, as an operator does."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self._fail(refusals.hard(320, f"broker forced connection closure with reason '{text}'"))

    # -- for the channels ---------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether the socket takes deliveries now."""
        return not self._socket_full and self.state is State.RUNNING

    def write(self, data: bytes) -> None:
        """Frames for the client."""
        self._transport.write(data)

    def _send(self, method: base.Frame) -> None:
        self._transport.write(wire.method_frame(0, method))

    # -- negotiation --------------------------------------------------------------------------

    def _receive_header(self, data: bytes) -> bytes:
        """Take the protocol header (section 4.2.2); return what follows it."""
        self._header += data
        header, rest = self._header[:8], self._header[8:]
        if not wire.PROTOCOL_HEADER.startswith(header):
            self._transport.write(wire.PROTOCOL_HEADER)
            self._close()
            return b""
        if len(header) < 8:
            return b""
        self.state = State.STARTING
        self._send(commands.Connection.Start(0, 9, login.SERVER_PROPERTIES, login.MECHANISMS))
        return rest

    def _start_ok(self, method: commands.Connection.StartOk) -> None:
        announced = method.client_properties.get("capabilities")
        if isinstance(announced, dict):
            self.capabilities = frozenset(name for name, on in announced.items() if on)
        user = login.user(method.mechanism, method.response, self._users)
        if user is None:
            _log.warn("login with {mechanism} was refused", mechanism=method.mechanism)
            if "authentication_failure_close" in self.capabilities:
                self.state = State.OPENING  # so that the refusal is told
            raise refusals.login_refused(method.mechanism)
        self.user = user
        self.state = State.TUNING
        limits = self._limits
        self._send(commands.Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat))

    def _tune_ok(self, method: commands.Connection.TuneOk) -> None:
        self._limits.check(method.channel_max, method.frame_max)
        self._channel_max = method.channel_max
        self.frame_max = self._reader.frame_max = method.frame_max
        self.state = State.OPENING
        self._transport.negotiated(method.heartbeat)

    def _open(self, method: commands.Connection.Open) -> None:
        if method.virtual_host != "/":
            raise refusals.hard(530, f"vhost {method.virtual_host} not found")
        self.state = State.RUNNING
        self._reader.max_body = self._limits.max_body
        self._send(commands.Connection.OpenOk())

    def _client_close(self, _method: commands.Connection.Close) -> None:
        self.state = State.CLOSING
        self._tear_down()
        self._send(commands.Connection.CloseOk())
        self._close()

    def _close_ok(self, _method: commands.Connection.CloseOk) -> None:
        self._close()

    # -- events -------------------------------------------------------------------------------

    def _event(self, event: wire.Event) -> None:
        if isinstance(event, wire.Heartbeat) or self.state is State.CLOSED:
            return
        try:
            if event.channel == 0:
                self._connection_event(event)
            elif self.state is State.RUNNING:
                self._channel_event(event)
            elif self.state is not State.CLOSING:
                raise refusals.hard(504, f"unexpected method in connection state {self._word}")
        except ChannelClosed as error:
            self._fail_channel(event, error)
        except ConnectionClosed as error:
            self._fail(error, event)
        except FrameError as error:
            self._fail(refusals.hard(error.reply_code, error.reply_text), event)
        except Exception:
            _log.failure("a client's {event} failed", event=event)
            self._fail(refusals.hard(541, "an error inside the embedded broker"), event)

    @property
    def _word(self) -> str:
        return str(self.state.value)

    def _connection_event(self, event: wire.Event) -> None:
        method = event.method if isinstance(event, wire.Method) else None
        accept = _ACCEPTED[self.state].get(type(method))
        if accept is not None:
            accept(self, method)
        elif self.state is not State.CLOSING:
            raise refusals.hard(504, f"unexpected method in connection state {self._word}")

    def _channel_event(
        self, event: wire.Delivery | wire.Content | wire.Confirm | wire.Method
    ) -> None:
        channel = self.channels.get(event.channel)
        if isinstance(event, wire.Method) and self._open_or_close(event, channel):
            return
        if channel is None:
            raise refusals.hard(504, "expected 'channel.open'")
        if channel.closing:
            return
        if isinstance(event, wire.Content) and event.method.index == _PUBLISH:
            self._published[channel] = None
            publish(channel, event)
            self._block_if_alarmed()
        elif isinstance(event, wire.Confirm):
            if event.ack:
                channel.ack(event.delivery_tag, event.multiple)
            else:
                channel.reject(event.delivery_tag, event.multiple, event.requeue)
        elif isinstance(event, wire.Method) and type(event.method) in _METHODS:
            _METHODS[type(event.method)](channel, event.method)
        else:
            raise refusals.hard(503, "unimplemented method")

    def _block_if_alarmed(self) -> None:
        if self._vhost.memory.alarmed and not self._blocked:
            self._blocked = True
            if "connection.blocked" in self.capabilities:
                self._send(commands.Connection.Blocked("low on memory"))
            self._transport.pause_reading()

    # -- channels -----------------------------------------------------------------------------

    def _open_or_close(self, event: wire.Method, channel: Channel | None) -> bool:
        """Handle channel.open, close and close-ok; return False for any other method."""
        method = event.method
        if isinstance(method, commands.Channel.Open):
            self._open_channel(event.channel, channel)
        elif isinstance(method, commands.Channel.Close) and channel is not None:
            channel.flush_confirms()
            channel.close()
            del self.channels[event.channel]
            channel.send(commands.Channel.CloseOk())
        elif isinstance(method, commands.Channel.CloseOk):
            # Of an unknown channel: both sides closed it at the same time.
            if channel is not None and channel.closing:
                del self.channels[event.channel]
        else:
            return False
        return True

    def _open_channel(self, number: int, channel: Channel | None) -> None:
        if channel is not None:
            if channel.closing:
                return
            raise refusals.hard(504, "second 'channel.open' seen")
        if self._channel_max and len(self.channels) >= self._channel_max:
            raise refusals.hard(
                530,
                f"number of channels opened ({len(self.channels)}) has reached the negotiated "
                f"channel_max ({self._channel_max})",
            )
        channel = self.channels[number] = Channel(number, self, self._vhost)
        channel.send(replies.channel_open_ok())

    # -- the end ------------------------------------------------------------------------------

    def _fail_channel(self, event: _ChannelEvent, error: ChannelClosed) -> None:
        channel = self.channels[event.channel]
        channel.flush_confirms()
        channel.closing = True
        channel.close()
        channel.send(commands.Channel.Close(*refusals.close_arguments(error, event)))

    def _fail(self, error: ProtocolClosed, event: wire.Event | None = None) -> None:
        if self.state is State.CLOSING:
            return
        _log.info("closing a client's connection: {error}", error=error)
        handshake = self.state in (State.HEADER, State.STARTING, State.TUNING)
        self.state = State.CLOSING
        self._tear_down()
        if handshake:
            # As RabbitMQ does: before the login nothing is explained.
            self._close()
            return
        self._send(commands.Connection.Close(*refusals.close_arguments(error, event)))
        self._transport.closing()

    def _tear_down(self) -> None:
        for channel in self.channels.values():
            channel.flush_confirms()
            channel.closing = True
            channel.close()
        self.channels.clear()
        self._vhost.connection_lost(self)

    def _close(self) -> None:
        self.state = State.CLOSED
        self._transport.close()


_Accept = Callable[[Connection, Any], None]
_ENDS: Mapping[type, _Accept] = {commands.Connection.Close: Connection._client_close}
_ACCEPTED: Mapping[State, Mapping[type, _Accept]] = {
    State.HEADER: {},
    State.STARTING: {commands.Connection.StartOk: Connection._start_ok, **_ENDS},
    State.TUNING: {commands.Connection.TuneOk: Connection._tune_ok, **_ENDS},
    State.OPENING: {commands.Connection.Open: Connection._open, **_ENDS},
    State.RUNNING: _ENDS,
    State.CLOSING: {commands.Connection.CloseOk: Connection._close_ok, **_ENDS},
    State.CLOSED: {},
}
