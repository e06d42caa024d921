"""Publishing with confirms: one confirm channel per exchange, one bounded window.

What is published without has a channel per exchange of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.codec.properties import short
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    ConnectionClosed,
    EncodeError,
    LinkError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    ProtocolClosed,
    Unroutable,
)
from twbridge.link.channel import Channel
from twbridge.link.connection import Connection
from twbridge.link.lanes import Lane, Name, Publish, Stamp
from twbridge.wire import Confirm, Content, publish_frames

_log = Logger()

#: Bytes of bodies that wait to be sent from which on publishers should pause.
PRESSING = 8 * 1024 * 1024
#: Bytes of bodies that may wait to be sent; a publish past it fails at once.
WAITING_MAX = 32 * 1024 * 1024


class Publisher:
    """Sends messages, and says what became of each.

    Args:
        seconds: the clock for deadlines.
        timeout: seconds that a publish may take by default.
        window: how many messages may be unconfirmed.
        channels: how many exchanges keep a channel open when idle.
        confirmations: False publishes without confirms: success then means "written".
        on_pressure: called with True when publishers should pause, with False when they may go on.
        on_return: called with each basic.return.
        why: says why the link is not ready.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        timeout: float,
        window: int,
        channels: int,
        confirmations: bool,
        app_id: str,
        on_pressure: Callable[[bool], object],
        on_return: Callable[[Content], object],
        why: Callable[[], str],
    ) -> None:
        self.pressed = False
        self.blocked = False
        self.in_flight = 0
        self.waiting = 0
        self._waiting_bytes = 0
        self._seconds = seconds
        self._timeout = timeout
        self._window = window
        self._channels = channels
        self._confirmations = confirmations
        self._stamp = Stamp(app_id)
        self._on_pressure = on_pressure
        self._on_return = on_return
        self._why = why
        self._connection: Connection | None = None
        self._lanes: OrderedDict[Name, Lane] = OrderedDict()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None,
        mandatory: bool,
        timeout: float | None,
        confirm: bool,
    ) -> Deferred[None]:
        """See ``Link.publish``."""
        if self.waiting and self._waiting_bytes + len(body) > WAITING_MAX:
            return fail(NotReady(f"over {WAITING_MAX} bytes wait to be published already"))
        deadline = self._seconds() + (self._timeout if timeout is None else timeout)
        name = exchange, confirm
        lane = self._lanes.get(name)
        try:
            message_id, raw = self._stamp(properties or {})
            message = Publish(routing_key, raw, body, mandatory, message_id, deadline)
            deferred = message.deferred
            if lane is not None and lane.channel is not None and not lane.waiting and self._free():
                self._lanes.move_to_end(name)
                self._send(lane, lane.channel, message)
            else:
                self._keep(name, message)
        except EncodeError as error:
            return fail(error)
        if not self.pressed and (
            self.waiting + self.in_flight >= self._window or self._waiting_bytes >= PRESSING
        ):
            self.pressed = True
            self._on_pressure(True)
        assert deferred is not None
        return deferred

    def _keep(self, name: Name, message: Publish) -> None:
        """Let it wait for its turn.

        Raises:
            EncodeError: a name that AMQP can't carry; what is sent at once learns it by that.
        """
        short(message.routing_key, "routing key")
        short(name[0], "exchange")
        lane = self._lane(name)
        lane.waiting.append(message)
        self.waiting += 1
        self._waiting_bytes += len(message.body)
        self._open(lane)

    # -- the connection ---------------------------------------------------------------------

    def attach(self, connection: Connection) -> None:
        """There is a connection: what waits is sent."""
        self._connection = connection
        connection.on_writable = self.pump
        self.pump()

    def detach(self) -> None:
        """The connection is gone. Its channels have failed what was on them already."""
        self._connection = None
        self.blocked = False

    def block(self, blocked: bool) -> None:
        """The broker takes no messages for now, or again."""
        self.blocked = blocked
        self.pump()

    def pump(self) -> None:
        """Send what may be sent."""
        if self.waiting and self._connection is not None:
            for lane in [lane for lane in self._lanes.values() if lane.waiting]:
                if lane.channel is None:
                    self._open(lane)
                while lane.waiting and lane.channel is not None and self._free():
                    message = self._next(lane)
                    if message.deferred is not None:
                        self._send(lane, lane.channel, message)
        self._relieve()

    def expire(self) -> None:
        """Fail what is past its deadline. Called now and then, not for each message."""
        now = self._seconds()
        if len(self._lanes) > self._channels:
            self._evict()  # a burst has left more than there were idle ones to close
        # Copies: who is told may publish again, or close.
        for lane in list(self._lanes.values()):
            for message in list(lane.unconfirmed.values()):
                if message.deadline <= now:
                    message.settle(ConfirmTimeout("no confirm in time"))
            while lane.waiting and lane.waiting[0].deadline <= now:
                self._next(lane).settle(NotReady(f"the link was not ready in time: {self._why()}"))
            for message in list(lane.waiting):
                if message.deadline <= now:
                    message.settle(NotReady(f"the link was not ready in time: {self._why()}"))
        self._relieve()

    def give_up(self, reason: str) -> None:
        """Fail everything that is not settled."""
        for lane in list(self._lanes.values()):
            for message in list(lane.unconfirmed.values()):
                message.settle(OutcomeUnknown(reason))
            self._settle_waiting(lane, NotReady(reason))
        self._relieve()

    def _settle_waiting(self, lane: Lane, error: LinkError) -> None:
        """Fail those that wait now; who publishes again when told is judged anew."""
        for message in [self._next(lane) for _ in range(len(lane.waiting))]:
            message.settle(error)

    # -- lanes --------------------------------------------------------------------------------

    def _lane(self, name: Name) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, name[1] and self._confirmations)
            if len(self._lanes) > self._channels:
                self._evict(lane)
        else:
            self._lanes.move_to_end(name)
        return lane

    def _evict(self, new: Lane | None = None) -> None:
        """Close idle lanes, those used least recently first, until there are few enough."""
        over = len(self._lanes) - self._channels
        idle = [each for each in self._lanes.values() if each.idle and each is not new]
        for lane in idle[: max(over, 0)]:
            del self._lanes[lane.name]
            if lane.channel is not None:
                lane.channel.close("idle")

    def _open(self, lane: Lane) -> None:
        connection = self._connection
        if connection is None or lane.opening or lane.channel is not None:
            return
        lane.opening = True
        opened = Deferred.fromCoroutine(self._opened(lane, connection))
        opened.addErrback(self._not_opened, lane)

    async def _opened(self, lane: Lane, connection: Connection) -> None:
        channel = await connection.open_channel()
        try:
            if lane.exchange:
                # So that a missing exchange is known before anything is published to it.
                await channel.exchange_declare(exchange=lane.exchange, passive=True)
            if lane.confirms:
                await channel.confirm_select()
        except EncodeError:
            channel.close("it was not used")
            raise
        lane.opening = False
        lane.channel, lane.first_tag, lane.next_tag = channel, 1, 1
        channel.on_confirm = lambda confirm: self._confirmed(lane, confirm)
        channel.on_return = lambda content: self._returned(lane, content)
        channel.on_closed = lambda error: self._closed(lane, error)
        self.pump()

    def _not_opened(self, failure: Failure, lane: Lane) -> None:
        lane.opening = False
        error = failure.value
        if isinstance(error, ConnectionClosed):
            return  # it waits for the next connection, or for its deadline
        if not isinstance(error, LinkError):
            _log.failure("No channel could be opened", failure)
            error = NotReady("no channel could be opened")
        self._settle_waiting(lane, error)
        self._relieve()

    def _closed(self, lane: Lane, error: ProtocolClosed) -> None:
        """The broker closed the channel, or the connection is gone."""
        lane.channel = None
        unconfirmed, lane.unconfirmed = lane.unconfirmed, {}
        self.in_flight -= len(unconfirmed)
        # A single message in flight is the one that was refused; of several, nobody knows.
        refused = isinstance(error, ChannelClosed) and len(unconfirmed) == 1
        for message in unconfirmed.values():
            message.settle(error if refused else OutcomeUnknown(str(error)))
        self.pump()

    # -- messages -----------------------------------------------------------------------------

    def _free(self) -> bool:
        connection = self._connection
        return (
            self.in_flight < self._window
            and not self.blocked
            and connection is not None
            and connection.writable
        )

    def _next(self, lane: Lane) -> Publish:
        message = lane.waiting.popleft()
        self.waiting -= 1
        self._waiting_bytes -= len(message.body)
        return message

    def _send(self, lane: Lane, channel: Channel, message: Publish) -> None:
        connection = channel.client
        try:
            frames = publish_frames(
                channel.id,
                lane.exchange,
                message.routing_key,
                message.raw_properties,
                message.body,
                message.mandatory,
                connection.frame_max,
            )
        except EncodeError:
            deferred, message.deferred = message.deferred, None
            if deferred is not None:
                deferred.errback(Failure())
            return
        connection.write(frames)
        if not lane.confirms:
            message.settle(None)
            return
        message.body = b""  # written: it is the socket's now
        lane.unconfirmed[lane.next_tag] = message
        lane.next_tag += 1
        self.in_flight += 1

    def _confirmed(self, lane: Lane, confirm: Confirm) -> None:
        tag = confirm.delivery_tag
        if not confirm.multiple:
            message = lane.unconfirmed.pop(tag, None)
            if message is not None:
                self.in_flight -= 1
                self._outcome(message, confirm.ack)
        else:
            sent = lane.next_tag - 1
            last = min(tag or sent, sent)  # 0 means all so far
            for each in range(lane.first_tag, last + 1):
                message = lane.unconfirmed.pop(each, None)
                if message is not None:
                    self.in_flight -= 1
                    self._outcome(message, confirm.ack)
            lane.first_tag = last + 1
        if self.waiting:
            self.pump()
        elif self.pressed:
            self._relieve()

    def _outcome(self, message: Publish, ack: bool) -> None:
        if message.returned is not None:
            message.settle(message.returned)
        elif ack:
            message.settle(None)
        else:
            message.settle(Nacked("the broker refused the message (basic.nack)"))

    def _returned(self, lane: Lane, content: Content) -> None:
        """Returns come in publish order, each before its own ack."""
        key, message_id = content.method.routing_key, content.properties.get("message_id")
        for message in lane.unconfirmed.values():
            if (
                message.mandatory
                and message.returned is None
                and message.routing_key == key
                and message.message_id == message_id
            ):
                message.returned = Unroutable(content.method.reply_code, content.method.reply_text)
                break
        self._on_return(content)

    def _relieve(self) -> None:
        if (
            self.pressed
            and self.waiting + self.in_flight <= self._window // 2
            and self._waiting_bytes <= PRESSING // 2
        ):
            self.pressed = False
            self._on_pressure(False)
