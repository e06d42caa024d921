"""What a dialect is: the language that a session speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from zope.interface import Attribute, Interface

from twbridge.commands import Command, Event, Overflow
from twbridge.destinations import Destination
from twbridge.wire import Delivery

__all__ = ["Close", "Codec", "Encoder", "ICodec", "IDialect", "Route"]


class Route(Protocol):
    """What a dialect may want to know of a ``[[route]]`` of the settings."""

    @property
    def publish(self) -> str:
        """A destination."""

    @property
    def subscribe(self) -> str:
        """A destination."""

    @property
    def dialect(self) -> str:
        """What is spoken with a client that asks for no subprotocol: raw, json or stomp."""

    @property
    def on_error(self) -> str:
        """``close`` or ``ignore``: what becomes of a client whose publish failed."""

    @property
    def overflow(self) -> Overflow | None:
        """What becomes of messages for a client that reads too slowly; None: as the kind is."""


class Close(NamedTuple):
    """End the connection with a WebSocket close code and a reason (123 bytes at most)."""

    code: int
    reason: str


class Encoder(Protocol):
    """Makes messages into WebSocket frames.

    One object serves all sessions that get the same bytes for a message and destination: the hub
    encodes once for each (encoder, destination as subscribed).
    """

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """The message as one frame, ready for the socket (``frames.py``).

        Args:
            offset: its place in the stream that it was read from.
            delivery_tag: what the client acknowledges it by; None where it need not.
        """


class IDialect(Interface):
    """A language, chosen by the WebSocket subprotocol. Plugins provide more of them."""

    subprotocol: str | None = Attribute("The subprotocol's name; None: where none is asked for.")

    def codec(route: Route) -> ICodec:
        """How one session on ``route`` speaks it: its own object where that has a state.

        Raises:
            BadDestination: a destination of the route can't be read.
        """


class ICodec(Interface):
    """One session's way to read and write. It does no I/O."""

    encoder: Encoder = Attribute("An Encoder, shared with all sessions that get the same frames.")
    resends: bool = Attribute("Whether a publish repeated with its id is applied once.")
    ordered: bool = Attribute("Whether a publish waits for what was subscribed before it.")
    beats: tuple[float, float] | None = Attribute(
        "After Connected: seconds after which to send ``beat``, and after which to expect "
        "something; 0 for either: not at all. None: the dialect has no heart-beats of its own."
    )
    beat: bytes = Attribute("A payload that says that the connection lives.")

    def opening() -> Sequence[Command]:
        """What the session does by itself, before its client says anything."""

    def decode(payload: bytes, binary: bool) -> Sequence[Command]:
        """Read one WebSocket message, which may hold any number of commands.

        Raises:
            BadFrame: it can't be read. No input whatever makes it raise anything else.
        """

    def encode(event: Event) -> tuple[bytes, bool] | None:
        """The payload that tells of ``event`` and whether it is binary; None: it is not told."""

    def closing(event: Event) -> Close | None:
        """Whether the connection ends after ``event`` was told, and how."""


class Codec:
    """What most codecs have in common: inherit it, and write the rest of :class:`ICodec`."""

    __slots__ = ()

    resends = True
    ordered = False
    beats: tuple[float, float] | None = None
    beat = b""
