"""What the bridge and the workers of a mount say to each other, over queues (sans-I/O).

A request goes to the queue of its mount, all other messages to the queue that the other side named
with ``reply_to``; ``correlation_id`` is the request's id. The body is one of these messages, as
MessagePack; a request has the header `UNTIL`. Bodies of HTTP travel in pieces of `PIECE` bytes at
most, numbered from 1 after the first one, and no faster than the other side allows: see `Grant` and
`Credit`.

==========  =====================================  =====================================
direction   at once                                then
==========  =====================================  =====================================
to worker   `Request`, first piece of the body     `Upload` (after a `Grant`), `Credit`, `Cancel`
to bridge   `Accepted` (see there)    `Grant`, `Start`, `Part`; `Failed` ends it
==========  =====================================  =====================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from twbridge.errors import TwbridgeError

__all__ = [
    "ATTEMPT",
    "BACKUP",
    "CONTENT_TYPE",
    "EXPIRES",
    "PIECE",
    "QUEUE",
    "SAFE",
    "UNTIL",
    "WINDOW",
    "Accepted",
    "BadMessage",
    "Cancel",
    "Credit",
    "Failed",
    "Grant",
    "Part",
    "Reason",
    "Request",
    "Start",
    "ToBridge",
    "ToWorker",
    "Upload",
    "encode",
    "is_safe",
    "queue_of",
    "read_to_bridge",
    "read_to_worker",
]

_T = TypeVar("_T")

#: What the names of the queues begin with.
QUEUE: Final = "twbridge.wsgi."
#: Milliseconds for which the queue of a mount outlives its last worker; what waits in it goes too.
EXPIRES: Final = 5_000
#: Bytes of one piece of a body.
PIECE: Final = 65_536
#: Bytes of an answer, and of an upload, that may be on their way at most.
WINDOW: Final = 4 * PIECE
#: Of the message properties.
CONTENT_TYPE: Final = "application/msgpack"
#: Methods of requests that do no harm when they are run twice (RFC 9110, section 9.2.1).
SAFE: Final = ("GET", "HEAD", "OPTIONS")
#: Header of a request that is sent again, because the worker that had it has died; a number.
ATTEMPT: Final = "twbridge-attempt"
#: Header of a request: when it leaves the queue at the latest, in milliseconds of Unix time by the
#: clock of the bridge. It goes with one that a worker gives back: its ``expiration`` begins anew.
#: Where there is none, or none that can be by the worker's own clock, the expiration alone counts.
UNTIL: Final = "twbridge-until"

#: Seconds past its timeout after which a worker ends by itself what neither it has heard of nor
#: anybody who waits for it.
BACKUP: Final = 90.0

Reason = Literal["gone", "deadline"]
"""Why nobody waits any more: the client has left, or has waited too long."""

Fields = list[tuple[str, str]]
"""Header fields in their order, each character a byte (latin-1)."""


class BadMessage(TwbridgeError):
    """Bytes that are none of these messages."""


# -- to a worker


class Request(Struct, array_like=True, tag=1):
    """A request.

    Args:
        method: ``GET``.
        mount: the path that the application is mounted at, ``/app``; empty for ``/``.
        path: the rest of the path, as sent: percent-encoded; empty, or begins with a slash.
        query: what follows the question mark, as sent.
        version: ``HTTP/1.1``.
        scheme: ``http`` or ``https``: what the client speaks.
        server: the name and the port that the client calls.
        client: its address, and its port or 0.
        fields: without those of the connection (hop-by-hop); names in small letters.
        length: bytes of the whole body; None: nobody knows.
        body: the first piece.
        more: pieces follow, as `Upload`.
        window: bytes of the answer's body that may be sent before the first `Credit`.
        timeout: seconds that the client waits for the application.
    """

    method: str
    mount: str
    path: str
    query: str
    version: str
    scheme: str
    server: tuple[str, int]
    client: tuple[str, int]
    fields: Fields
    length: int | None
    body: bytes
    more: bool
    window: int
    timeout: float


class Upload(Struct, array_like=True, tag=2):
    """A piece of the request's body, allowed by a `Grant`. The last has no ``more``."""

    number: int
    data: bytes
    more: bool


class Credit(Struct, array_like=True, tag=3):
    """So many bytes more of the answer's body may be sent."""

    size: int


class Cancel(Struct, array_like=True, tag=4):
    """Nobody waits any more. It may come again, which changes nothing."""

    reason: Reason


# -- to the bridge


class Accepted(Struct, array_like=True, tag=11):
    """A worker has the request.

    It says so if it has nothing else to say for 100 ms, and at once where the method is none of
    `SAFE`: then the bridge knows what may have run. It says so again when neither has said anything
    for 10 s: that comes back to it where the bridge is gone.
    """

    worker: str


class Grant(Struct, array_like=True, tag=12):
    """So many bytes more of the request's body may be sent."""

    size: int


class Start(Struct, array_like=True, tag=13):
    """The answer begins: its head, and the first piece of its body.

    Args:
        status: 200 to 599.
        reason: ``OK``.
        fields: without those of the connection. They may be anything that the application says.
        body: counts for the window, like those of `Part`.
        more: pieces follow.
    """

    status: int
    reason: str
    fields: Fields
    body: bytes
    more: bool


class Part(Struct, array_like=True, tag=14):
    """A piece of the answer's body. The last has no ``more``; it may be empty."""

    number: int
    data: bytes
    more: bool


class Failed(Struct, array_like=True, tag=15):
    """There is no answer, or it ends in the middle.

    Args:
        kind: ``app``, the application has failed (its worker's log says how); ``lost``, the worker
            has died, or got the request from one that has: the application may have run;
            ``deadline``; ``stopping``, nothing has run.
        text: why, for the log; nothing for clients.
    """

    kind: Literal["app", "lost", "deadline", "stopping"]
    text: str


ToWorker = Request | Upload | Credit | Cancel
ToBridge = Accepted | Grant | Start | Part | Failed

_encode = msgspec.msgpack.Encoder().encode
#: How they begin: an array of 15, the tag, the method.
_SAFE: Final = tuple(b"\x9f\x01" + _encode(method) for method in SAFE)
_to_worker: Callable[[bytes], ToWorker] = msgspec.msgpack.Decoder(ToWorker).decode
_to_bridge: Callable[[bytes], ToBridge] = msgspec.msgpack.Decoder(ToBridge).decode


def queue_of(mount: str) -> str:
    """The queue of a mount, ``twbridge.wsgi.app`` for ``/app``."""
    return QUEUE + mount.strip("/")


def encode(message: ToWorker | ToBridge) -> bytes:
    """A message as it is sent."""
    return _encode(message)


def is_safe(data: bytes) -> bool:
    """Whether a request as it is sent has one of the `SAFE` methods; it is not read for that."""
    return data.startswith(_SAFE)


def read_to_worker(data: bytes) -> ToWorker:
    """A message for a worker.

    Raises:
        BadMessage: it is none.
    """
    return _read(_to_worker, data, "a worker")


def read_to_bridge(data: bytes) -> ToBridge:
    """A message for the bridge.

    Raises:
        BadMessage: it is none.
    """
    return _read(_to_bridge, data, "the bridge")


def _read(decode: Callable[[bytes], _T], data: bytes, whom: str) -> _T:
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadMessage(f"not for {whom}: {error}") from None
