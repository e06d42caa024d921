"""One client, whatever its transport and dialect: commands in, effects out (sans-I/O).

The states of a session, and what can happen to it::

    CONNECTING --opened--> OPEN --close--> CLOSING --lost--> GONE

``_TABLE`` has every pair of a state and an input. After the end a session hears nothing, and
nothing of it stays in the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum, auto
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge import commands
from twbridge.commands import Command, Event, Id
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder, ICodec
from twbridge.errors import BadDestination, BadFrame, TwbridgeError, UnknownOperation
from twbridge.flow import Budget
from twbridge.policy import Peer
from twbridge.ports import UP, Services, Transport
from twbridge.publishes import publish
from twbridge.subscriptions.held import Held
from twbridge.subscriptions.named import NamedOutlet
from twbridge.subscriptions.ports import Outlet

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
    #: The login was granted.
    LOGGED_IN = auto()
    LINK_CHANGED = auto()
    #: The hub or the link has something to tell.
    TOLD = auto()
    RELIEVED = auto()
    #: The socket takes data again.
    WRITABLE = auto()
    CLOSE = auto()
    LOST = auto()


#: Why the socket is not read: bits of ``Session._paused``.
_BY_LINK, _BY_ANSWERS, _BY_LOGIN = 1, 2, 4

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
        "_later",
        "_leaving",
        "_link_up",
        "_login",
        "_nonsense",
        "_number",
        "_paused",
        "_pending",
        "_services",
        "_state",
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
        self._held = Held(services)
        self._budget: Budget | None = None
        # Commands that wait for the login, and who leaves when all publishes are settled.
        self._later: list[Command] | None = None
        self._leaving: commands.Disconnect | None = None
        self._login: Deferred[str | None] | None = None
        self._pending = 0
        self._nonsense = 0
        self._paused = 0
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

    def ended(
        self, destination: Destination, error: TwbridgeError, name: str | None = None
    ) -> None:
        """A subscription has ended by itself."""
        self._held.forget(destination if name is None else name)
        self.tell(commands.Unsubscribed(None, destination, error.public, name))

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
        self._say(commands.Welcome(self.id, services.instance, services.heartbeat, self.peer.user))
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
        self._later = None
        login, self._login = self._login, None
        if login is not None:
            login.cancel()
        self._held.close(self)

    # -- commands

    def _obey_all(self, some: Iterable[Command]) -> None:
        for command in some:
            if self._later is not None:
                self._later.append(command)
            # Any of them may have been the end.
            elif self._state is State.OPEN:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        carry_out, operation = _COMMANDS[type(command)]
        try:
            carry_out(self, command)
        except TwbridgeError as error:
            self._refuse(commands.Refused(command.id, error, operation))
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

    def _connect(self, command: commands.Connect) -> None:
        checker = self._services.checker
        self._later = []
        self._hold(_BY_LOGIN)
        if checker is None:
            login: Deferred[Any] = execute(self._services.policy.check_anonymous, self.peer)
        else:
            login = checker.check(command.user, command.password, local=self.peer.loopback)
        self._login = login
        login.addCallbacks(
            self._granted,
            self._not_granted,
            callbackArgs=(command.id,),
            errbackArgs=(command.id,),
        )

    def _granted(self, user: str | None, identity: Id) -> None:
        self._input(Input.LOGGED_IN, user, identity)

    def _not_granted(self, failure: Failure, identity: Id) -> None:
        if failure.check(CancelledError):
            return  # the client has gone
        error = self._answer_refused(failure, identity, "connect")
        self.close(error.close_code, error.public)

    def _log_in(self, user: str | None, identity: Id) -> None:
        self._login = None
        self.peer.user = user
        self._say(commands.Connected(identity, user))
        if self._codec.beats is not None:
            self._transport.beat(*self._codec.beats, self._codec.beat)
        later, self._later = self._later or (), None
        self._obey_all(later)
        if self._later is None:  # or there was another login among them
            self._let_go(_BY_LOGIN)

    def _disconnect(self, command: commands.Disconnect) -> None:
        self._leaving = command
        self._leave()

    def _leave(self) -> None:
        if not self._pending:
            leaving, self._leaving = self._leaving, None
            if leaving is not None:
                self.tell(commands.Disconnected(leaving.id))

    def _subscribe(self, command: commands.Subscribe) -> None:
        self._held.open(command, self).addCallbacks(
            self._subscribed,
            self._not_subscribed,
            callbackArgs=(command,),
            errbackArgs=(command.id,),
        )

    def outlet(self, command: commands.Subscribe) -> Outlet:
        """Itself, as the subscription is to see it."""
        if command.name is None and command.encoder is None:
            return self
        encoder = command.encoder or self._codec.encoder
        return NamedOutlet(self, command.name, self._transport.encoder(encoder))

    def _subscribed(self, _result: None, command: commands.Subscribe) -> None:
        self.tell(commands.Subscribed(command.id, command.destination, command.name))

    def _not_subscribed(self, failure: Failure, identity: Id) -> None:
        self._answer_refused(failure, identity, "subscribe")

    def _unsubscribe(self, command: commands.Unsubscribe) -> None:
        self._held.end(command, self)
        self._say(commands.Unsubscribed(command.id, command.destination, name=command.name))

    def _ack(self, command: commands.Ack) -> None:
        self._held.acknowledging(command).ack(command.delivery_tag, command.multiple)
        self._say(commands.Acknowledged(command.id))

    def _nack(self, command: commands.Nack) -> None:
        subscription = self._held.acknowledging(command)
        subscription.nack(command.delivery_tag, command.requeue, command.multiple)
        self._say(commands.Acknowledged(command.id))

    def _publish(self, command: commands.Publish) -> None:
        services = self._services
        if command.reply is None:
            published = publish(command, self.peer, services, self._codec.resends)
        else:
            published = self._held.reply(command.reply, self)
            published.addCallback(
                lambda _: publish(command, self.peer, services, self._codec.resends)
            )
        self._pending += 1
        published.addCallbacks(
            self._published,
            self._not_published,
            callbackArgs=(command.id,),
            errbackArgs=(command.id,),
        )
        if self._pending >= services.limits.publishes:
            self._hold(_BY_ANSWERS)
        if services.gate.shut:
            self._hold(_BY_LINK)
            services.gate.wait(self)

    def _published(self, _result: None, identity: Id) -> None:
        self._answered()
        self.tell(commands.Published(identity))
        self._leave()

    def _not_published(self, failure: Failure, identity: Id) -> None:
        self._answered()
        self._answer_refused(failure, identity, "publish")
        self._leave()

    def _answer_refused(self, failure: Failure, identity: Id, operation: str) -> TwbridgeError:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            what = "{session!r} could not {operation}"
            _log.failure(what, failure, session=self, operation=operation)
            error = TwbridgeError()
        self.tell(commands.Refused(identity, error, operation))
        return error

    # -- the socket

    def _write(self) -> None:
        self._held.writable(self)

    def _answered(self) -> None:
        self._pending -= 1
        # Half way down, so that a busy publisher is not stopped and started for each message.
        if self._paused & _BY_ANSWERS and self._pending <= self._services.limits.publishes // 2:
            self._let_go(_BY_ANSWERS)

    def _relieve(self) -> None:
        self._let_go(_BY_LINK)

    def _hold(self, why: int) -> None:
        if not self._paused:
            self._transport.pause_reading()
        self._paused |= why

    def _let_go(self, why: int) -> None:
        held, self._paused = self._paused, self._paused & ~why
        if held and not self._paused and self._state is State.OPEN:
            self._transport.resume_reading()


_COMMANDS: dict[type, tuple[Callable[[Session, Any], None], str]] = {
    commands.Subscribe: (Session._subscribe, "subscribe"),
    commands.Unsubscribe: (Session._unsubscribe, "unsubscribe"),
    commands.Publish: (Session._publish, "publish"),
    commands.Ack: (Session._ack, "ack"),
    commands.Nack: (Session._nack, "nack"),
    commands.Connect: (Session._connect, "connect"),
    commands.Disconnect: (Session._disconnect, "disconnect"),
    commands.Ping: (Session._ping, "ping"),
    commands.Invalid: (Session._invalid, ""),
}


_Step = tuple[State, Callable[..., None]]

#: Where each input leads from each state, and what it does.
_TABLE: dict[tuple[State, Input], _Step] = {
    (State.CONNECTING, Input.OPENED): (State.OPEN, Session._open),
    (State.CONNECTING, Input.RECEIVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.LOGGED_IN): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.LINK_CHANGED): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.TOLD): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.RELIEVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.WRITABLE): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.CLOSE): (State.CLOSING, Session._close),
    (State.CONNECTING, Input.LOST): (State.GONE, Session._forget),
    (State.OPEN, Input.OPENED): (State.OPEN, Session._misuse),
    (State.OPEN, Input.RECEIVED): (State.OPEN, Session._receive),
    (State.OPEN, Input.LOGGED_IN): (State.OPEN, Session._log_in),
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
