"""What the inside of the bridge needs around it: the link, a socket, what sessions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from twbridge.errors import TwbridgeError
from twbridge.flow import Gate, Pressing
from twbridge.link.topology import Queue
from twbridge.wire import Delivery

if TYPE_CHECKING:
    from twbridge.auth.interfaces import Checker
    from twbridge.dialects.interfaces import Encoder
    from twbridge.hub import Hub
    from twbridge.policy import Policy
    from twbridge.publishes import Declarer
    from twbridge.resends import Resends
    from twbridge.rpc.serializers import Body
    from twbridge.subscriptions.opening import Subscriptions

__all__ = [
    "UP",
    "CallResult",
    "Calling",
    "Consumer",
    "ConsumingLink",
    "DeclaringLink",
    "Limits",
    "Link",
    "Publishing",
    "Services",
    "Transport",
]

#: The link's states in which it consumes.
UP = frozenset({"ready", "blocked"})


class Consumer(Protocol):
    """What the hub needs of a consumer of the link. It is bound again after each reconnect."""

    #: Called each time that it consumes again after a reconnect.
    on_established: Callable[[], object]
    #: What is declared then.
    queue: Queue

    @property
    def ended(self) -> TwbridgeError | None:
        """Why it has ended, if it has."""

    def bind(self, exchange: str, key: str, /) -> Deferred[None]:
        """Fires when the broker has the binding."""

    def unbind(self, exchange: str, key: str, /) -> Deferred[None]:
        """Undo it."""

    def cancel(self, delete: bool = False) -> Deferred[None]:
        """Consume no more; an exclusive queue goes with its consumer, any other if ``delete``."""

    def leave(self) -> Deferred[None]:
        """Take no more messages; fires when none can come. What came can still be answered, until
        :meth:`cancel`, which has to follow.
        """

    def ack(self, tag: int, multiple: bool = False) -> bool:
        """Be done with a delivery. False: the broker has taken it back."""

    def nack(self, tag: int, requeue: bool = True, multiple: bool = False) -> bool:
        """Refuse a delivery. False: the broker has taken it back."""

    def sync(self) -> Deferred[None]:
        """Fires when all has come that the broker had for it, as far as the prefetch goes.

        Fails with ConnectionClosed or what ended the consumer.
        """

    @property
    def voided(self) -> int:
        """Deliveries with tags up to this one were taken back by the broker, with a connection."""


class ConsumingLink(Protocol):
    """What the hub needs of the link."""

    @property
    def state(self) -> str:
        """One of the link's states; those in :data:`UP` consume."""

    def on_state(self, callback: Callable[[str], None], /) -> Callable[[], None]:
        """Call back with each new state; up means that what was declared is there again."""

    def on_read(self, callback: Callable[[], None], /) -> Callable[[], None]:
        """Call back after the deliveries of each read from the broker."""

    def consume(
        self,
        queue: Queue,
        on_delivery: Callable[[Delivery], None],
        *,
        no_ack: bool = False,
        prefetch: int = 20,
        on_end: Callable[[TwbridgeError], None] | None = None,
        arguments: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Deferred[Any]:
        """Declare a queue and consume it; fires with a :class:`Consumer`.

        ``arguments`` is asked for those of basic.consume each time that the consumer is made.
        """


class Transport(Protocol):
    """What a session needs of its socket. Nothing here raises, whatever state the socket is in."""

    def send_frame(self, frame: bytes, /) -> None:
        """Send bytes that are a WebSocket frame already (the hub's way to many sockets)."""

    def send(self, payload: bytes, binary: bool, /) -> None:
        """Send one message."""

    def close(self, code: int, reason: str, /) -> None:
        """Send a close frame; the reason has at most 123 bytes. ``Session.lost`` comes later."""

    def pause_reading(self) -> None:
        """Read no more; what was read already may still come."""

    def resume_reading(self) -> None:
        """Read again."""

    def encoder(self, encoder: Encoder, /) -> Encoder:
        """The encoder whose frames suit this socket: that one, or one that compresses.

        It is the same object for all sockets that get the same bytes.
        """

    def beat(self, send: float, expect: float, payload: bytes, /) -> None:
        """Send the payload every ``send`` seconds, and close after a time without anything of the
        client that promised something every ``expect`` seconds; 0: not at all.
        """

    @property
    def writable(self) -> bool:
        """Whether the socket takes data; else it waits. ``Session.writable`` says when it does
        again.
        """

    @property
    def room(self) -> int:
        """How many bytes of messages that may be dropped can wait for the socket."""


class DeclaringLink(Protocol):
    """What whoever declares needs of the link."""

    @property
    def state(self) -> str:
        """One of the link's states; in those in :data:`UP` it declares."""

    def on_state(self, callback: Callable[[str], None], /) -> Callable[[], None]:
        """Call back with each new state; returns the way to stop that."""

    def declare(self, what: Queue, /, *, remember: bool) -> Deferred[None]:
        """Declare a queue now; with ``remember`` after each reconnect too."""


class Publishing(Protocol):
    """What whoever publishes needs of the link."""

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: dict[str, Any] | None = None,
        *,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Publish; fires when the broker has confirmed it."""


class Link(Pressing, Publishing, Protocol):
    """What sessions need of the link."""

    @property
    def state(self) -> str:
        """``ready`` and ``blocked`` are up."""


class CallResult(Protocol):
    """What a task answered."""

    @property
    def body(self) -> Body:
        """What it returned."""

    @property
    def headers(self) -> Mapping[str, Any]:
        """What it set beside it."""


class Calling(Protocol):
    """What sessions need of a caller (``rpc/caller.py``)."""

    def call_raw(
        self,
        name: str,
        body: Body,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None,
        on_progress: Callable[[Body], None] | None,
        on_settled: Callable[[], object] | None,
    ) -> Deferred[Any]:
        """Call a task; fires with a :class:`CallResult`. Cancelling it cancels the call.

        ``on_settled`` is called once, when nothing of it waits at the broker any more: before the
        Deferred fires, or, of a call that is cancelled, perhaps later.
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may have."""

    #: The longest body in bytes.
    message: int = 1 << 20
    #: The longest frame in bytes. The socket keeps it; here it is for clients to know.
    frame: int = 1 << 20
    #: The longest properties and headers, encoded, in bytes. They must fit into an AMQP frame.
    headers: int = 32 << 10
    subscriptions: int = 128
    #: Deliveries of a queue without an ack, and messages of a stream that are read ahead.
    prefetch: int = 1000
    #: Words "#" with words behind, in all patterns of a session: they cost time to match.
    inner_hashes: int = 8
    #: Publishes without an answer; past it the socket is not read.
    publishes: int = 100
    #: Calls under way; more are refused.
    calls: int = 100
    #: Frames in a row that make no sense; with this many the session is closed (1008).
    nonsense: int = 20


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions of an instance share."""

    hub: Hub
    subscriptions: Subscriptions
    resends: Resends
    declarer: Declarer
    link: Link
    policy: Policy
    #: The instance's id, shown to clients.
    instance: str
    limits: Limits = Limits()
    #: None: no task may be called.
    calls: Calling | None = None
    #: None: everybody is nobody in particular.
    checker: Checker | None = None
    #: The interval of the WebSocket pings in seconds, told to clients.
    heartbeat: float = 25.0
    gate: Gate = field(init=False)
    numbers: count[int] = field(init=False, default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", Gate(self.link))
