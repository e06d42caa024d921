"""One client, whatever its transport and dialect: commands in, effects out (sans-I/O).

The states of a session, and what can happen to it::

    CONNECTING --opened--> OPEN --close--> CLOSING --lost--> GONE

``_TABLE`` has every pair of a state and an input. After the end a session hears nothing, and
nothing of it stays in the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum, auto
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge import commands
from twbridge.commands import Command, Event, Id
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder, ICodec
from twbridge.errors import (
    BadDestination,
    BadFrame,
    Conflict,
    NotFound,
    TooMany,
    TwbridgeError,
    UnknownOperation,
)
from twbridge.flow import Budget
from twbridge.policy import Peer
from twbridge.ports import UP, Services, Transport
from twbridge.resends import message_id
from twbridge.screening import screen
from twbridge.subscriptions.ports import Subscription
from twbridge.topics import inner_hashes

__all__ = ["Input", "Session", "State"]

_log = Logger()


class State(IntEnum):
    """Where a session is."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    GONE = auto()


class Input(IntEnum):
    """What can happen to a session."""

    OPENED = auto()
    RECEIVED = auto()
    LINK_CHANGED = auto()
    #: The hub or the link has something to tell.
    TOLD = auto()
    RELIEVED = auto()
    #: The socket takes data again.
    WRITABLE = auto()
    CLOSE = auto()
    LOST = auto()


#: Why the socket is not read: bits of ``Session._held``.
_BY_LINK, _BY_ANSWERS = 1, 2

_NONSENSE = (BadFrame, BadDestination, UnknownOperation)


class Session:
    """One client.

    Args:
        services: what all sessions share.
        peer: who it is.
        codec: its dialect's codec.
        transport: its socket.
    """

    #: The hub hands it whole chunks.
    take = None

    __slots__ = (
        "_budget",
        "_codec",
        "_held",
        "_link_up",
        "_nonsense",
        "_number",
        "_pending",
        "_services",
        "_state",
        "_subscriptions",
        "_transport",
        "encoder",
        "peer",
        "send",
    )

    def __init__(self, services: Services, peer: Peer, codec: ICodec, transport: Transport) -> None:
        #: The hub's way to the socket; no step between.
        self.send: Callable[[bytes], None] = transport.send_frame
        #: Shared with all sessions that get the same frames for a message.
        self.encoder: Encoder = transport.encoder(codec.encoder)
        self.peer = peer
        self._services = services
        self._codec = codec
        self._transport = transport
        self._state = State.CONNECTING
        self._number = next(services.numbers)
        # By what it means: of a place in the hub the destination as it was subscribed, or the
        # wait for the broker.
        self._subscriptions: dict[Destination, Destination | Deferred[None] | Subscription] = {}
        self._budget: Budget | None = None
        self._pending = 0
        self._nonsense = 0
        self._held = 0
        self._link_up = True

    def __repr__(self) -> str:
        return f"<Session {self.id} {self._state.name} {self.peer!r}>"

    @property
    def id(self) -> str:
        """Its name in logs and in ``welcome``; unique in the instance's life."""
        return f"{self._services.instance}.{self._number}"

    @property
    def state(self) -> State:
        """Where it is."""
        return self._state

    @property
    def takes_data(self) -> bool:
        """Whether the socket takes data now."""
        return self._transport.writable

    @property
    def budget(self) -> Budget:
        """What the lanes of its subscriptions may hold together."""
        if self._budget is None:
            self._budget = Budget(self._transport.room)
        return self._budget

    # -- inputs, of the transport

    def opened(self) -> None:
        """The handshake is done: greet, and do what the dialect does by itself."""
        self._input(Input.OPENED)

    def received(self, payload: bytes, binary: bool) -> None:
        """A message of the client."""
        self._input(Input.RECEIVED, payload, binary)

    def close(self, code: int, reason: str) -> None:
        """End it: unsubscribe all at once and close the socket."""
        self._input(Input.CLOSE, code, reason)

    def overflowed(self) -> None:
        """The client reads too slowly for what it subscribed to (overflow policy ``close``)."""
        self.close(1013, "You read too slowly for your subscriptions.")

    def writable(self) -> None:
        """The socket takes data again."""
        self._input(Input.WRITABLE)

    def draining(self, seconds: float) -> None:
        """The bridge is about to stop; the client should come back after so many seconds."""
        self.tell(commands.Drain(seconds))

    def lost(self) -> None:
        """The socket is gone."""
        self._input(Input.LOST)

    # -- inputs, of the inside

    def link_changed(self, state: str) -> None:
        """The link is in another state; the client hears of it when that is up or down."""
        self._input(Input.LINK_CHANGED, state in UP)

    def relieved(self) -> None:
        """The link takes data again (``flow.Gate``)."""
        self._input(Input.RELIEVED)

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        """A subscription has ended by itself."""
        self._subscriptions.pop(destination, None)
        self.tell(commands.Unsubscribed(None, destination, error.public))

    def interrupted(self, destination: Destination) -> None:
        """A subscription goes on, but may have missed messages."""
        self.tell(commands.Gap(destination))

    def tell(self, event: Event) -> None:
        """Tell the client, if it is still there."""
        self._input(Input.TOLD, event)

    def _input(self, what: Input, *values: Any) -> None:
        self._state, action = _TABLE[self._state, what]
        try:
            action(self, *values)
        except Exception:
            _log.failure("{session!r} broke on: {what}", session=self, what=what.name)
            if what is not Input.CLOSE:
                self.close(1011, "Something went wrong inside the bridge.")

    # -- actions

    def _ignore(self, *_values: Any) -> None:
        pass

    def _misuse(self, *_values: Any) -> None:
        raise RuntimeError(f"{self!r} was opened twice, or received something before")

    def _open(self) -> None:
        services = self._services
        instance, heartbeat, limit = services.instance, services.heartbeat, services.limits.frame
        self._say(commands.Welcome(self.id, instance, heartbeat, self.peer.user, limit))
        self._tell_link(services.link.state in UP)
        self._obey_all(self._codec.opening())

    def _receive(self, payload: bytes, binary: bool) -> None:
        try:
            decoded = self._codec.decode(payload, binary)
        except BadFrame as error:
            self._refuse(commands.Refused(None, error))
            return
        self._obey_all(decoded)

    def _tell_link(self, up: bool) -> None:
        if up is not self._link_up:
            self._link_up = up
            self._say(commands.LinkChanged(up))

    def _say(self, event: Event) -> None:
        message = self._codec.encode(event)
        if message is not None:
            self._transport.send(*message)
        end = self._codec.closing(event)
        if end is not None:
            self.close(*end)

    def _close(self, code: int, reason: str) -> None:
        self._forget()
        self._transport.close(code, reason.encode()[:123].decode(errors="ignore"))

    def _forget(self) -> None:
        """Leave nothing in the hub and at the gate."""
        self._services.gate.leave(self)
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            self._release(subscription)

    # -- commands

    def _obey_all(self, some: Iterable[Command]) -> None:
        for command in some:
            # Any of them may have been the end.
            if self._state is State.OPEN:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        carry_out, operation = _COMMANDS[type(command)]
        try:
            carry_out(self, command)
        except TwbridgeError as error:
            named = getattr(command, "destination", None)
            self._refuse(commands.Refused(command.id, error, operation, named))
        else:
            self._nonsense = 0

    def _refuse(self, refused: commands.Refused) -> None:
        self._say(refused)
        if isinstance(refused.error, _NONSENSE):
            self._nonsense += 1
            if self._nonsense >= self._services.limits.nonsense:
                self.close(1008, f"{self._nonsense} frames in a row made no sense.")

    def _invalid(self, command: commands.Invalid) -> None:
        raise command.error

    def _ping(self, command: commands.Ping) -> None:
        self._say(commands.Pong(command.id))

    def _subscribe(self, command: commands.Subscribe) -> None:
        destination, services = command.destination, self._services
        plain = services.subscriptions.is_plain(command, services.limits.prefetch)
        if destination in self._subscriptions:
            raise Conflict(f"You are subscribed to {destination} already.")
        limit = services.limits.subscriptions
        if len(self._subscriptions) >= limit:
            raise TooMany(f"A session has at most {limit} subscriptions.")
        self._bound_patterns(destination)
        services.policy.check("subscribe", destination, self.peer)
        if plain:
            waiting = services.hub.subscribe(destination, self, patient=command.patient)
            self._subscriptions[destination] = waiting
        else:
            subscription = services.subscriptions.open(command, self)
            self._subscriptions[destination] = subscription
            waiting = subscription.start()
        waiting.addCallbacks(
            self._subscribed,
            self._not_subscribed,
            callbackArgs=(command.id, destination),
            errbackArgs=(command.id, destination),
        )

    def _bound_patterns(self, destination: Destination) -> None:
        hashes = inner_hashes(destination.key)
        if hashes:
            hashes += sum(inner_hashes(each.key) for each in self._subscriptions)
            limit = self._services.limits.inner_hashes
            if hashes > limit:
                raise TooMany(f"The patterns of a session have at most {limit} words # within.")

    def _subscribed(self, _result: None, identity: Id, destination: Destination) -> None:
        if isinstance(self._subscriptions.get(destination), Deferred):
            self._subscriptions[destination] = destination
        self.tell(commands.Subscribed(identity, destination))

    def _not_subscribed(self, failure: Failure, identity: Id, destination: Destination) -> None:
        self._subscriptions.pop(destination, None)
        self._answer_refused(failure, identity, "subscribe", destination)

    def _unsubscribe(self, command: commands.Unsubscribe) -> None:
        subscription = self._subscriptions.pop(command.destination, None)
        if subscription is None:
            raise NotFound(f"You are not subscribed to {command.destination}.")
        self._release(subscription)
        self._say(commands.Unsubscribed(command.id, command.destination))

    def _release(self, subscription: Destination | Deferred[None] | Subscription) -> None:
        if isinstance(subscription, Destination):
            self._services.hub.unsubscribe(subscription, self)
        elif isinstance(subscription, Deferred):
            subscription.cancel()
        else:
            subscription.end()

    def _ack(self, command: commands.Ack) -> None:
        self._acknowledging(command.destination).ack(command.delivery_tag, command.multiple)

    def _nack(self, command: commands.Nack) -> None:
        subscription = self._acknowledging(command.destination)
        subscription.nack(command.delivery_tag, command.requeue, command.multiple)

    def _acknowledging(self, destination: Destination) -> Subscription:
        subscription = self._subscriptions.get(destination)
        if subscription is None:
            raise NotFound(f"You are not subscribed to {destination}.")
        if isinstance(subscription, Destination | Deferred):
            raise NotFound(f"Messages of {destination} are not acknowledged.")
        return subscription

    def _publish(self, command: commands.Publish) -> None:
        services = self._services
        published = self._publishing(command)
        self._pending += 1
        published.addCallbacks(
            self._published,
            self._not_published,
            callbackArgs=(command.id,),
            errbackArgs=(command.id, command.destination),
        )
        if self._pending >= services.limits.publishes:
            self._hold(_BY_ANSWERS)
        if services.gate.shut:
            self._hold(_BY_LINK)
            services.gate.wait(self)

    def _publishing(self, command: commands.Publish) -> Deferred[None]:
        services, destination = self._services, command.destination
        client, identity = self.peer.client, command.id
        if client is not None and identity is not None:
            command.properties.setdefault("message_id", message_id(client, identity))
        mandatory = screen(command, services.limits.message, services.limits.headers)
        services.policy.check("publish", destination, self.peer)
        publish = partial(
            services.link.publish,
            destination.exchange,
            destination.routing_key,
            command.body,
            command.properties,
            mandatory=mandatory,
        )
        if client is None or identity is None:
            return publish()
        content = (destination.exchange, destination.routing_key, command.body)
        return services.resends.publish(self.peer.user, client, identity, content, publish)

    def _published(self, _result: None, identity: Id) -> None:
        self._answered()
        self.tell(commands.Published(identity))

    def _not_published(self, failure: Failure, identity: Id, destination: Destination) -> None:
        self._answered()
        self._answer_refused(failure, identity, "publish", destination)

    def _answer_refused(
        self, failure: Failure, identity: Id, operation: str, destination: Destination
    ) -> None:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            what = "{session!r} could not {operation}"
            _log.failure(what, failure, session=self, operation=operation)
            error = TwbridgeError()
        self.tell(commands.Refused(identity, error, operation, destination))

    # -- the socket

    def _write(self) -> None:
        for destination, subscription in list(self._subscriptions.items()):
            if isinstance(subscription, Destination | Deferred):
                continue
            if not self.takes_data:
                return
            if self._subscriptions.get(destination) is not subscription:
                continue
            # Whoever has had a turn goes behind the others.
            self._subscriptions[destination] = self._subscriptions.pop(destination)
            subscription.writable()

    def _answered(self) -> None:
        self._pending -= 1
        # Half way down, so that a busy publisher is not stopped and started for each message.
        if self._held & _BY_ANSWERS and self._pending <= self._services.limits.publishes // 2:
            self._let_go(_BY_ANSWERS)

    def _relieve(self) -> None:
        self._let_go(_BY_LINK)

    def _hold(self, why: int) -> None:
        if not self._held:
            self._transport.pause_reading()
        self._held |= why

    def _let_go(self, why: int) -> None:
        held, self._held = self._held, self._held & ~why
        if held and not self._held and self._state is State.OPEN:
            self._transport.resume_reading()


_COMMANDS: dict[type, tuple[Callable[[Session, Any], None], str]] = {
    commands.Subscribe: (Session._subscribe, "subscribe"),
    commands.Unsubscribe: (Session._unsubscribe, "unsubscribe"),
    commands.Publish: (Session._publish, "publish"),
    commands.Ack: (Session._ack, "ack"),
    commands.Nack: (Session._nack, "nack"),
    commands.Ping: (Session._ping, "ping"),
    commands.Invalid: (Session._invalid, ""),
}

_Step = tuple[State, Callable[..., None]]

#: Where each input leads from each state, and what it does.
_TABLE: dict[tuple[State, Input], _Step] = {
    (State.CONNECTING, Input.OPENED): (State.OPEN, Session._open),
    (State.CONNECTING, Input.RECEIVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.LINK_CHANGED): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.TOLD): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.RELIEVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.WRITABLE): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.CLOSE): (State.CLOSING, Session._close),
    (State.CONNECTING, Input.LOST): (State.GONE, Session._forget),
    (State.OPEN, Input.OPENED): (State.OPEN, Session._misuse),
    (State.OPEN, Input.RECEIVED): (State.OPEN, Session._receive),
    (State.OPEN, Input.LINK_CHANGED): (State.OPEN, Session._tell_link),
    (State.OPEN, Input.TOLD): (State.OPEN, Session._say),
    (State.OPEN, Input.RELIEVED): (State.OPEN, Session._relieve),
    (State.OPEN, Input.WRITABLE): (State.OPEN, Session._write),
    (State.OPEN, Input.CLOSE): (State.CLOSING, Session._close),
    (State.OPEN, Input.LOST): (State.GONE, Session._forget),
    (State.CLOSING, Input.LOST): (State.GONE, Session._ignore),
}
_TABLE |= {
    (state, what): (state, Session._ignore)
    for state in (State.CLOSING, State.GONE)
    for what in Input
    if (state, what) not in _TABLE
}
