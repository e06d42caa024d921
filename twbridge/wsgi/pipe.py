"""What a WSGI worker and its child processes say to each other, and how it is framed (sans-I/O).

There is one pair of sockets for each thread of a child: a *lane*, on which one request runs at a
time. A frame is the length of its payload in 4 bytes, the highest first, its kind in one byte, and
the payload. Messages of queues go through as they are. Both ends are of one release and on one
machine: there is no version in it.

=========  ===========  =====================================================================
direction  kind         payload
=========  ===========  =====================================================================
to child   ``BEGIN``    `Begin`, the first frame of the first lane
to child   ``MESSAGE``  a ``ToWorker``: a request for a free lane, else for the one that runs
to child   ``END``      none, on the first lane: it is to end in order; there is nothing more
to worker  ``HELLO``    `Hello`, the first frame of the first lane
to worker  ``MESSAGE``  a ``ToBridge``, to be published
to worker  ``DONE``     none: the lane is free
to worker  ``LAST``     a ``ToBridge``, to be published; and the lane is free
=========  ===========  =====================================================================

What belongs to a request that has ended may still arrive on its lane: a child forgets it.
"""

from __future__ import annotations

import signal
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from twbridge.rpc.pipes import Cutter, read

__all__ = [
    "BEGIN",
    "DONE",
    "END",
    "HELLO",
    "LAST",
    "MAX_FRAME",
    "MESSAGE",
    "TELL",
    "Begin",
    "Frames",
    "Hello",
    "frame",
    "pack_begin",
    "pack_hello",
    "read_begin",
    "read_hello",
]

#: The signal at which a child writes to stderr where each of its threads is.
TELL: Final = signal.SIGUSR2

#: Kinds of frames to a child.
BEGIN: Final = 0
END: Final = 2
#: Both ways: a message of a queue.
MESSAGE: Final = 1
#: Kinds of frames to the worker.
HELLO: Final = 0
DONE: Final = 2
LAST: Final = 3

#: Bytes of the payload of one frame: a piece of a body, and the largest head beside it.
MAX_FRAME: Final = 4 * 1024 * 1024

_LAYOUT = Layout(">IB")
_pack = _LAYOUT.pack
_encode = msgspec.msgpack.Encoder().encode


class Begin(Struct, array_like=True):
    """How a child is to be.

    Args:
        parent: the worker's process id.
        path: its ``sys.path``.
        app: ``module:attribute``, the application.
        worker: the worker's id.
        threads: how many lanes it has.
    """

    parent: int
    path: list[str]
    app: str
    worker: str
    threads: int


class Hello(Struct, array_like=True):
    """The application is imported; or ``error`` says in one line why it isn't."""

    error: str | None = None
    traceback: str | None = None


_begin = msgspec.msgpack.Decoder(Begin).decode
_hello = msgspec.msgpack.Decoder(Hello).decode


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame as it is written."""
    return _pack(len(payload), kind) + payload


def pack_begin(begin: Begin) -> bytes:
    """The frame of a `Begin`."""
    return frame(BEGIN, _encode(begin))


def pack_hello(hello: Hello) -> bytes:
    """The frame of a `Hello`."""
    return frame(HELLO, _encode(hello))


def read_begin(payload: bytes) -> Begin:
    """The `Begin` of a frame.

    Raises:
        BadPipe: it is none.
    """
    return read(_begin, payload)


def read_hello(payload: bytes) -> Hello:
    """The `Hello` of a frame.

    Raises:
        BadPipe: it is none.
    """
    return read(_hello, payload)


class Frames(Cutter):
    """Cuts what is read into frames.

    Args:
        most: bytes that the payload of one frame may have.
    """

    def __init__(self, most: int = MAX_FRAME) -> None:
        super().__init__(_LAYOUT.size, most)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that end in ``data``: their kinds and payloads, in order.

        Raises:
            BadPipe: a frame has more bytes than it may have.
        """
        data, found = self.cut(data)
        return [(data[begin - 1], data[begin:end]) for begin, end in found]
