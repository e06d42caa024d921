"""One client, whatever its transport and dialect: commands in, effects out (sans-I/O).

The states of a session, and what can happen to it::

    CONNECTING --opened--> OPEN --close--> CLOSING --lost--> GONE

``_TABLE`` has every pair of a state and an input. After the end a session hears nothing, and
nothing of it stays in the hub.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import Any

from twisted.logger import Logger

from twbridge import commands
from twbridge.commands import Event, Id
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder, ICodec
from twbridge.errors import BadFrame, TwbridgeError
from twbridge.flow import Budget
from twbridge.orders import Orders, State
from twbridge.policy import Peer
from twbridge.ports import UP, Services, Transport
from twbridge.subscriptions.named import NamedOutlet
from twbridge.subscriptions.ports import Outlet

__all__ = ["Input", "Session", "State"]

_log = Logger()


class Input(IntEnum):
    """What can happen to a session."""

    OPENED = auto()
    RECEIVED = auto()
    #: The login was granted.
    LOGGED_IN = auto()
    #: What commands waited for is there.
    RELEASED = auto()
    LINK_CHANGED = auto()
    #: The hub or the link has something to tell.
    TOLD = auto()
    RELIEVED = auto()
    #: The socket takes data again.
    WRITABLE = auto()
    CLOSE = auto()
    LOST = auto()


class Session(Orders):
    """One client.

    Args:
        services: what all sessions share.
        peer: who it is.
        codec: its dialect's codec.
        transport: its socket.
    """

    #: The hub hands it whole chunks.
    take = None

    __slots__ = ("_budget", "_link_up", "_number", "encoder", "send")

    def __init__(self, services: Services, peer: Peer, codec: ICodec, transport: Transport) -> None:
        super().__init__(services, peer, codec, transport)
        #: The hub's way to the socket; no step between.
        self.send: Callable[[bytes], None] = transport.send_frame
        #: Shared with all sessions that get the same frames for a message.
        self.encoder: Encoder = transport.encoder(codec.encoder)
        self._number = next(services.numbers)
        self._budget: Budget | None = None
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

    def outlet(self, command: commands.Subscribe) -> Outlet:
        """Itself, as the subscription is to see it."""
        if command.name is None and command.encoder is None:
            return self
        encoder = command.encoder or self._codec.encoder
        return NamedOutlet(self, command.name, self._transport.encoder(encoder))

    def released(self) -> None:
        """What commands waited for is there."""
        self._input(Input.RELEASED)

    def logged_in(self, user: str | None, identity: Id) -> None:
        """Its login is granted."""
        self._input(Input.LOGGED_IN, user, identity)

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
        if self._calls is not None:
            self._calls.cancel_all()

    def _write(self) -> None:
        self._held.writable(self)


_Step = tuple[State, Callable[..., None]]

#: Where each input leads from each state, and what it does.
_TABLE: dict[tuple[State, Input], _Step] = {
    (State.CONNECTING, Input.OPENED): (State.OPEN, Session._open),
    (State.CONNECTING, Input.RECEIVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.LOGGED_IN): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.RELEASED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.LINK_CHANGED): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.TOLD): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.RELIEVED): (State.CONNECTING, Session._misuse),
    (State.CONNECTING, Input.WRITABLE): (State.CONNECTING, Session._ignore),
    (State.CONNECTING, Input.CLOSE): (State.CLOSING, Session._close),
    (State.CONNECTING, Input.LOST): (State.GONE, Session._forget),
    (State.OPEN, Input.OPENED): (State.OPEN, Session._misuse),
    (State.OPEN, Input.RECEIVED): (State.OPEN, Session._receive),
    (State.OPEN, Input.LOGGED_IN): (State.OPEN, Session._log_in),
    (State.OPEN, Input.RELEASED): (State.OPEN, Session._go_on),
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
