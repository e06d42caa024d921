"""A client without its socket (sans-I/O): what to send, and when to connect again.

=============  =================================================================
idle           nobody has asked for a connection
connecting     an attempt is under way
greeting       there is a socket; the bridge has not said ``welcome`` yet
open           usable
waiting        there is no connection; an attempt follows
closing        a close frame was sent
closed         for good
=============  =================================================================

``_TABLE`` has every pair of a state and an input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twbridge.client.backoff import Backoff
from twbridge.client.callbacks import Callbacks
from twbridge.client.calls import Calls
from twbridge.client.errors import NotConnected, refusal, sentence
from twbridge.client.frames import PING, read, request
from twbridge.client.ports import Attempt, Connection, Connector, Hooks, Input, Limits, State
from twbridge.client.publishes import Publishes
from twbridge.client.subscriptions import Subscriptions
from twbridge.errors import NotReady, TwbridgeError

__all__ = ["Core"]

_log = Logger()

#: The close codes with which a client is told to stay away.
_STAY_AWAY = range(4500, 5000)
_TOO_LARGE: Final = 1009
_NORMAL: Final = 1000
#: The id of the one ``auth`` of a connection.
_AUTH: Final = 0


class Core:
    """One client, over all its connections.

    Args:
        clock: the time.
        connector: the way to the bridge.
        uniform: a random number between two, for the delays.
        hooks: whom to tell.
        limits: what it may cost.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connector: Connector,
        uniform: Callable[[float, float], float],
        hooks: Hooks,
        limits: Limits,
    ) -> None:
        self.state = State.IDLE
        self.link_up = True
        #: Why there is no connection.
        self.reason: NotReady = NotReady("The client has not connected yet.")
        self.publishes = Publishes(
            clock,
            self.send,
            count=limits.publishes,
            size=limits.publish_bytes,
            longest=limits.send,
        )
        self.tell = Callbacks()
        self.calls = Calls(clock, self.send, self.tell, count=limits.calls, longest=limits.send)
        self.subscriptions = Subscriptions(self, self.tell)
        self._clock = clock
        self._connector = connector
        self._hooks = hooks
        self._limits = limits
        self._attempt: Attempt | None = None
        self._connection: Connection | None = None
        self._timer: IDelayedCall | None = None
        self._backoff = Backoff(uniform, limits)
        self._heartbeat = 25.0
        # Something came since it was last looked at, and whether a ping was the last look.
        self._heard = self._asked = False
        self._token: str | None = None
        self._openings: list[Deferred[None]] = []
        self._closings: list[Deferred[None]] = []

    # -- what the owner wants

    def start(self) -> None:
        """Connect, and stay connected; does nothing where that is so."""
        self._input(Input.START)

    def usable(self) -> None:
        """Raises NotReady where it is closed."""
        if self.state in (State.CLOSING, State.CLOSED):
            raise self.reason

    def opened(self) -> Deferred[None]:
        """Fires when it is open. Fails when it is closed, with the reason."""
        opening: Deferred[None] = Deferred(lambda this: self._openings.remove(this))
        if self.state is State.OPEN:
            opening.callback(None)
        elif self.state in (State.CLOSING, State.CLOSED):
            opening.errback(self.reason)
        else:
            self._openings.append(opening)
        return opening

    def close(self) -> Deferred[None]:
        """Give all up; fires when the connection is gone."""
        closing: Deferred[None] = Deferred()
        if self.state is State.CLOSED:
            closing.callback(None)
        else:
            self._closings.append(closing)
            self._input(Input.CLOSE)
        return closing

    # -- the port of what it keeps

    def send(self, frame: bytes, /) -> bool:
        """Send a frame, or say False where there is no open connection."""
        if self.state is not State.OPEN or self._connection is None:
            return False
        self._connection.send(frame)
        return True

    def later(self, tries: int, call: Callable[[], object], /) -> IDelayedCall:
        """Call after the delay of that many tries."""
        return self._clock.callLater(self._backoff.delay(tries), call)

    # -- inputs

    def _told(self, attempt: Attempt, what: Input, value: Any) -> None:
        if attempt is self._attempt:
            self._input(what, value)

    def _input(self, what: Input, *values: Any) -> None:
        _TABLE[self.state, what](self, *values)

    def _due(self) -> None:
        self._timer = None
        self._input(Input.DUE)

    def _enter(self, state: State, seconds: float | None = None) -> None:
        """A new state, of which Input.DUE is the end in so many seconds."""
        self._wait(seconds)
        if state is not self.state:
            self.state = state
            self.tell("the state", self._hooks.on_state, state)

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._clock.callLater(seconds, self._due)

    # -- actions

    def _ignore(self, *_values: Any) -> None:
        pass

    def _connect(self, *_values: Any) -> None:
        self._attempt = attempt = Attempt(self._told)
        self._connection = self._connector.connect(attempt)
        self._enter(State.CONNECTING, self._limits.connect_seconds)

    def _greet(self, token: str | None) -> None:
        self._token = token
        self.link_up = True
        self._enter(State.GREETING, self._limits.connect_seconds)

    def _greeted(self, payload: bytes) -> None:
        frame = read(payload)
        if frame is None:
            return
        if frame.op == "welcome":
            self._heartbeat = max(frame.heartbeat, 1.0)
            self.publishes.limited(frame.limit)
            self.calls.limited(frame.limit)
            if self._token is None or self._connection is None:
                self._open()
            else:
                self._connection.send(request("auth", id=_AUTH, token=self._token))
        elif frame.op == "link":
            self._tell_link(frame.state == "up")
        elif frame.id == _AUTH and frame.op == "error" and frame.code != "unknown_op":
            self._drop(NotConnected(f"The token was refused: {frame.message}"))
        elif frame.id == _AUTH:
            # The bridge knows the token, or has no users.
            self._open()

    def _open(self) -> None:
        self._token = None
        self._backoff.opened(self._clock.seconds())
        self._heard, self._asked = False, False
        self._enter(State.OPEN, self._heartbeat)
        self.subscriptions.opened()
        self.publishes.opened()
        self.calls.opened()
        openings, self._openings = self._openings, []
        for opening in openings:
            opening.callback(None)

    def _obey(self, payload: bytes) -> None:
        frame = read(payload)
        if frame is None or self.publishes.answered(frame) or self.calls.answered(frame):
            return
        if self.subscriptions.received(frame, payload):
            return
        if frame.op == "link":
            self._tell_link(frame.state == "up")
        elif frame.op == "drain":
            self._backoff.drain(frame.reconnect_after)
        elif frame.op == "error":
            self._tell_error(refusal(frame.code, frame.message))

    def _tell_link(self, up: bool) -> None:
        if up is self.link_up:
            return
        self.link_up = up
        self.tell("the link", self._hooks.on_link, up)
        if up:
            self.subscriptions.link_up()

    def _tell_error(self, error: TwbridgeError) -> None:
        if self._hooks.on_error is not None:
            self.tell("an error", self._hooks.on_error, error)
        else:
            _log.warn("The bridge says: {sentence}", sentence=sentence(error))

    def _hear(self, _nothing: None) -> None:
        self._heard = True

    def _check(self) -> None:
        """The bridge was silent for a while, or was not."""
        if self._heard:
            self._heard, self._asked = False, False
            self._wait(self._heartbeat)
        elif self._asked:
            self._drop(NotConnected("The bridge gave no sign of life."))
        else:
            self._asked = True
            self.send(PING)
            self._wait(self._limits.pong_seconds)

    def _give_up(self) -> None:
        self._drop(NotConnected(f"No answer came in {self._limits.connect_seconds:g} s."))

    def _drop(self, reason: NotConnected) -> None:
        """End the connection, and do as if it was lost."""
        connection, self._attempt = self._connection, None
        if connection is not None:
            connection.abort()
        self._lose(reason)

    def _lose(self, reason: NotConnected) -> None:
        self._attempt = self._connection = None
        self.reason = reason
        if reason.closed in _STAY_AWAY:
            self._finish(reason)
        else:
            self._retry(reason)
        self.tell("the loss of the connection", self._hooks.on_away, reason)

    def _retry(self, reason: NotConnected) -> None:
        reason.retry_in = self._backoff.lost(self._clock.seconds())
        # First: whoever is told of what follows may close the client.
        self._enter(State.WAITING, reason.retry_in)
        if reason.closed == _TOO_LARGE:
            self.publishes.too_large(str(reason))
        self.publishes.lost()
        self.calls.lost(str(reason))
        self.subscriptions.lost()

    def _hang_up(self) -> None:
        """Say goodbye, and wait for the end."""
        self.reason = NotReady("The client is closed.")
        connection = self._connection
        self._enter(State.CLOSING, self._limits.close_seconds)
        self._settle_all(None)
        if connection is not None:
            connection.close(_NORMAL)

    def _abandon(self, *_values: Any) -> None:
        """There is nobody to say goodbye to, or no more time for it."""
        connection, self._attempt, self._connection = self._connection, None, None
        if connection is not None:
            connection.abort()
        self._finish(None)

    def _finish(self, error: NotConnected | None) -> None:
        self.reason = error or NotReady("The client is closed.")
        self._attempt = self._connection = None
        self._enter(State.CLOSED)
        self._settle_all(error)
        closings, self._closings = self._closings, []
        for closing in closings:
            closing.callback(None)

    def _gone(self, _reason: NotConnected) -> None:
        self._finish(None)

    def _settle_all(self, error: NotConnected | None) -> None:
        self.publishes.end(str(self.reason))
        self.calls.end(str(self.reason))
        self.subscriptions.end(error)
        openings, self._openings = self._openings, []
        for opening in openings:
            opening.errback(self.reason)


_TABLE: dict[tuple[State, Input], Callable[..., None]] = {
    (State.IDLE, Input.START): Core._connect,
    (State.IDLE, Input.CLOSE): Core._abandon,
    (State.CONNECTING, Input.OPENED): Core._greet,
    (State.CONNECTING, Input.LOST): Core._lose,
    (State.CONNECTING, Input.DUE): Core._give_up,
    (State.CONNECTING, Input.CLOSE): Core._abandon,
    (State.GREETING, Input.RECEIVED): Core._greeted,
    (State.GREETING, Input.LOST): Core._lose,
    (State.GREETING, Input.DUE): Core._give_up,
    (State.GREETING, Input.CLOSE): Core._hang_up,
    (State.OPEN, Input.HEARD): Core._hear,
    (State.OPEN, Input.RECEIVED): Core._obey,
    (State.OPEN, Input.LOST): Core._lose,
    (State.OPEN, Input.DUE): Core._check,
    (State.OPEN, Input.CLOSE): Core._hang_up,
    (State.WAITING, Input.DUE): Core._connect,
    (State.WAITING, Input.CLOSE): Core._abandon,
    (State.CLOSING, Input.LOST): Core._gone,
    (State.CLOSING, Input.DUE): Core._abandon,
}
"""What each input does in each state; what is not here is nothing."""
_TABLE |= {
    (state, what): Core._ignore for state in State for what in Input if (state, what) not in _TABLE
}
