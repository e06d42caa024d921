"""What a connection and the session on it know of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twbridge.dialects.interfaces import Encoder, ICodec
from twbridge.policy import Peer


@dataclass(frozen=True)
class SocketOptions:
    """What one WebSocket may do, and how it is kept.

    Attributes:
        frame: bytes of one frame.
        message: bytes of one message, after inflation.
        fragments: frames of one message.
        send_buffer: bytes that may wait for a peer that reads slowly.
        ping_interval: seconds of silence after which a peer is pinged.
        ping_timeout: seconds it has to answer.
        close_timeout: seconds it has to close.
        reconnect_spread: seconds over which clients are asked to come back, when all are sent away.
        deflate: compress messages, and take compressed ones (permessage-deflate, RFC 7692).
    """

    frame: int = 1_048_576
    message: int = 1_048_576
    fragments: int = 1_000
    send_buffer: int = 1_048_576
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    close_timeout: float = 3.0
    reconnect_spread: float = 5.0
    deflate: bool = False


class ISession(Protocol):
    """What lives on a connection."""

    def opened(self) -> None:
        """The connection is open."""

    def received(self, payload: bytes, binary: bool, /) -> None:
        """A message came."""

    def overflowed(self) -> None:
        """The peer reads too slowly: what waited for it is dropped. The connection is closed."""

    def link_changed(self, state: str, /) -> None:
        """The link is in another state."""

    def writable(self) -> None:
        """The socket took no more data for a while; now all that waited is sent."""

    def draining(self, seconds: float, /) -> None:
        """The connection is about to be closed; the client should be back after so many seconds."""

    def lost(self) -> None:
        """The connection is gone or going: nothing can be sent any more. Called once."""


class Socket(Protocol):
    """What a session has of its connection. None of it raises, whatever its state."""

    @property
    def writable(self) -> bool:
        """Open, and nothing waits for the peer: what is sent leaves at once."""

    @property
    def room(self) -> int:
        """How many bytes may wait for a peer that reads slowly."""

    def encoder(self, encoder: Encoder) -> Encoder:
        """The encoder whose frames suit this connection: the same object for all that get the
        same bytes.
        """

    send_frame: Callable[[bytes], None]
    """Send frames that are ready for the socket (``frames.py``)."""

    def send(self, payload: bytes, binary: bool) -> None:
        """Send a message."""

    def close(self, code: int, reason: str) -> None:
        """Close with a code and a reason; what waits for a slow reader is dropped."""

    def beat(self, send: float, expect: float, payload: bytes) -> None:
        """Heart-beats of the dialect: see ``twbridge.ports.Transport``."""

    def pause_reading(self) -> None:
        """Receive nothing more for now; the peer has to wait."""

    def resume_reading(self) -> None:
        """Receive again."""


OpenSession = Callable[[Peer, ICodec, Socket], ISession]


class Opening(NamedTuple):
    """What was decided by the head of a request, before Autobahn got it."""

    peer: Peer
    codec: ICodec
    subprotocol: str | None
