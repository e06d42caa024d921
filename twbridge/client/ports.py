"""What a client's core and its surroundings know of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, Protocol

from twbridge.client.errors import NotConnected
from twbridge.errors import TwbridgeError

__all__ = ["Attempt", "Connection", "Connector", "Hooks", "Input", "Limits", "State"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may cost, and its patience.

    Attributes:
        publishes: how many may be without an answer. The bridge remembers 1,000 of a client.
        calls: how many may be without an answer. The bridge takes 100 of a client.
        publish_bytes: what those may take together, in bytes.
        send: bytes of the longest frame that is sent; less where the bridge takes less.
        receive: bytes of the longest frame that is taken; a longer one ends the connection.
        connect_seconds: for a connection to be there, its handshake and greeting included.
        close_seconds: for it to go in good order.
        pong_seconds: for a silent bridge to give a sign of life, once it is asked for one.
        stable_seconds: after so long the next loss of the connection is the first one again.
        retry_floor: seconds; the shortest wait before the next attempt.
        retry_cap: seconds; the longest one, reached by doubling.
        drain_cap: seconds; the longest wait that a bridge may ask for.
    """

    publishes: int = 1_000
    calls: int = 1_000
    publish_bytes: int = 16 << 20
    send: int = 1 << 20
    receive: int = 16 << 20
    connect_seconds: float = 10.0
    close_seconds: float = 3.0
    pong_seconds: float = 10.0
    stable_seconds: float = 10.0
    retry_floor: float = 0.5
    retry_cap: float = 30.0
    drain_cap: float = 300.0


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom a client tells of itself.

    Attributes:
        on_state: each new state.
        on_away: an attempt failed, or the connection is lost; says when the next attempt is.
        on_link: whether the bridge has its broker.
        on_error: a refusal that answers nothing that somebody waits for.
    """

    on_state: Callable[[State], object] | None = None
    on_away: Callable[[NotConnected], object] | None = None
    on_link: Callable[[bool], object] | None = None
    on_error: Callable[[TwbridgeError], object] | None = None


class Connection(Protocol):
    """An attempt to connect, and the socket that comes of it. Nothing here raises."""

    def send(self, payload: bytes, /) -> None:
        """Send a text message."""

    def close(self, code: int, /) -> None:
        """Send a close frame; the end comes later."""

    def abort(self) -> None:
        """End it at once, whatever it is at."""


class Connector(Protocol):
    """The way to the bridge."""

    def connect(self, attempt: Attempt, /) -> Connection:
        """Begin to connect. Tells the attempt of it later, never before this returns."""


class State(StrEnum):
    """Where a client is."""

    IDLE = auto()
    CONNECTING = auto()
    GREETING = auto()
    OPEN = auto()
    WAITING = auto()
    CLOSING = auto()
    CLOSED = auto()


class Input(Enum):
    """What can happen to it."""

    START = auto()
    OPENED = auto()
    HEARD = auto()
    RECEIVED = auto()
    LOST = auto()
    #: The time of the state is over.
    DUE = auto()
    CLOSE = auto()


class Attempt:
    """An attempt to connect and the socket that comes of it, as the connector tells of them.

    One that was given up is not listened to.
    """

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[Attempt, Input, Any], None]) -> None:
        self._tell = tell

    def opened(self, token: str | None = None) -> None:
        """The handshake is done; `token` is what the bridge is to be told."""
        self._tell(self, Input.OPENED, token)

    def heard(self) -> None:
        """Bytes came."""
        self._tell(self, Input.HEARD, None)

    def received(self, payload: bytes) -> None:
        """A message."""
        self._tell(self, Input.RECEIVED, payload)

    def lost(self, reason: NotConnected) -> None:
        """It came to nothing, or is gone. The last word."""
        self._tell(self, Input.LOST, reason)
