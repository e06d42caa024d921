"""What a worker and its children say to each other, and how it is framed (sans-I/O).

A frame is its length in 4 bytes, the highest first, and one message in msgpack. Both ends are of
one release and on one machine: there is no version in it.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct as Layout
from typing import Any, Final

import msgspec
from msgspec import Struct

from twbridge.rpc.pipes import Cutter, read
from twbridge.rpc.tasks import TaskOptions

__all__ = [
    "MAX_FRAME",
    "MAX_RESULT",
    "MAX_TEXT",
    "Begin",
    "Frames",
    "FromChild",
    "Heard",
    "Hello",
    "Leave",
    "Order",
    "Progressed",
    "Published",
    "Raised",
    "Returned",
    "Stop",
    "Stopped",
    "ToChild",
    "frame",
    "read_from_child",
    "read_to_child",
]

#: Bytes of one result, progress or publish of a task: what RabbitMQ 4 takes as one message.
MAX_RESULT: Final = 16 * 1024 * 1024
#: Bytes of one frame of a child: a result, and the headers or the text around it.
MAX_FRAME: Final = MAX_RESULT + 1024 * 1024
#: Characters of an exception's text, and of a traceback; the rest is left out.
MAX_TEXT: Final = 32 * 1024

_LENGTH = Layout(">I")
_encode = msgspec.msgpack.Encoder().encode


# -- to the child


class Begin(Struct, array_like=True, tag=1):
    """The first frame. ``parent``: the worker's process id; ``path``: its ``sys.path``."""

    parent: int
    path: list[str]
    settings: dict[str, Any]


class Order(Struct, array_like=True, tag=2):
    """Run a task. ``number`` names the call in the pipe; ``timeout``: seconds that are left."""

    number: int
    task: str
    call: str
    data: bytes
    content_type: str
    content_encoding: str | None
    headers: dict[str, Any]
    timeout: float | None
    redelivered: bool


class Stop(Struct, array_like=True, tag=3):
    """The call is cancelled or past its deadline."""

    number: int


class Leave(Struct, array_like=True, tag=4):
    """End in order; nothing runs, and nothing more comes."""


# -- from the child


class Hello(Struct, array_like=True, tag=10):
    """The module is imported, or ``error`` says in one line why it isn't."""

    tasks: list[TaskOptions]
    error: str | None = None
    traceback: str | None = None


class Heard(Struct, array_like=True, tag=11):
    """A `Stop` was read: the child is not stuck, whatever that one call does."""

    number: int


class Progressed(Struct, array_like=True, tag=12):
    """A task reports its progress."""

    number: int
    data: bytes
    content_type: str
    content_encoding: str | None


class Returned(Struct, array_like=True, tag=13):
    """A task has returned."""

    number: int
    data: bytes
    content_type: str
    content_encoding: str | None
    headers: dict[str, Any]


class Raised(Struct, array_like=True, tag=14):
    """A task has failed; ``name`` is the exception's class. See ``outcomes.Broke``."""

    number: int
    name: str
    message: str
    traceback: str | None
    public: bool
    final: bool


class Stopped(Struct, array_like=True, tag=15):
    """A task has ended because it was told to."""

    number: int


class Published(Struct, array_like=True, tag=16):
    """A task publishes to a channel."""

    channel: str
    data: bytes
    content_type: str
    content_encoding: str | None


ToChild = Begin | Order | Stop | Leave
FromChild = Hello | Heard | Progressed | Returned | Raised | Stopped | Published

_to_child: Callable[[bytes], ToChild] = msgspec.msgpack.Decoder(ToChild).decode
_from_child: Callable[[bytes], FromChild] = msgspec.msgpack.Decoder(FromChild).decode


def frame(message: ToChild | FromChild) -> bytes:
    """A message as it is written.

    Raises:
        TypeError: it holds a value that msgpack has no form for.
        OverflowError: it holds a number of more than 64 bits.
    """
    data = _encode(message)
    return _LENGTH.pack(len(data)) + data


def read_to_child(data: bytes) -> ToChild:
    """The message of a frame that the worker wrote."""
    return _to_child(data)


def read_from_child(data: bytes) -> FromChild:
    """The message of a frame that a child wrote.

    Raises:
        BadPipe: it is none.
    """
    return read(_from_child, data)


class Frames(Cutter):
    """Cuts what is read into frames.

    Args:
        most: bytes that one frame may have; None: any number.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__(_LENGTH.size, most)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that end in ``data``, without their lengths.

        Raises:
            BadPipe: a frame has more bytes than it may have.
        """
        data, found = self.cut(data)
        return [data[begin:end] for begin, end in found]
