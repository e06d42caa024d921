"""The messages of a call, as values (pure)."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from twbridge.rpc.serializers import Body

__all__ = [
    "FAILURES",
    "REASONS",
    "Accepted",
    "Cancel",
    "CancelReason",
    "Control",
    "DeadLetter",
    "Failed",
    "FailureKind",
    "Inspect",
    "Progress",
    "Reply",
    "Request",
    "Result",
]

FailureKind: TypeAlias = Literal["failed", "timeout", "cancelled", "lost", "bad_request"]
FAILURES: Final[frozenset[str]] = frozenset(get_args(FailureKind))
CancelReason: TypeAlias = Literal["cancelled", "deadline"]
REASONS: Final[frozenset[str]] = frozenset(get_args(CancelReason))


class Request(Struct, frozen=True):
    """A call on its way to a worker.

    Attributes:
        id: the call's id, its caller's only.
        task: the task's name.
        caller: the caller's id; empty where it has none, and then nobody can cancel it.
        reply_to: the queue for the answers; None where nobody wants them.
        headers: the user's own.
        priority: 0 to 255; the queue's levels are fewer, so what is read is near what was sent.
        timeout: seconds that were left when it was sent; None for no limit.
        persistent: whether it outlives a restart of the broker.
        elsewhere: whether the user chose the queue of ``reply_to``; otherwise it is the caller's
            own, and goes with it.
    """

    id: str
    task: str
    caller: str
    body: Body
    reply_to: str | None = None
    headers: dict[str, Any] = {}
    priority: int = 0
    timeout: float | None = None
    persistent: bool = False
    elsewhere: bool = False


class Accepted(Struct, frozen=True):
    """A worker has the call; ``control`` is the queue where it hears of a cancel."""

    id: str
    worker: str
    control: str


class Progress(Struct, frozen=True):
    """What a task tells on its way; numbered 1, 2, 3 and so on."""

    id: str
    worker: str
    number: int
    body: Body


class Result(Struct, frozen=True):
    """What a task returned, and the headers that it set."""

    id: str
    worker: str
    body: Body
    headers: dict[str, Any] = {}


class Failed(Struct, frozen=True):
    """The call came to nothing at the worker.

    Attributes:
        kind: ``failed`` the task raised it; ``timeout`` it was ended at its deadline;
            ``cancelled`` as asked; ``lost`` its worker died under it; ``bad_request`` it was
            never run.
        type: the name of the exception's class.
        traceback: only where the task says that callers get it.
        public: whether the text is for everybody to read.
    """

    id: str
    worker: str
    kind: FailureKind
    type: str
    message: str
    traceback: str | None = None
    public: bool = False


class DeadLetter(Struct, frozen=True):
    """The request itself, back from its queue: ``expired``, ``rejected``, ``delivery_limit``."""

    id: str
    reason: str


class Cancel(Struct, frozen=True):
    """The call is to end.

    Attributes:
        reason: ``cancelled`` its caller wants it no more; ``deadline`` its time is over.
    """

    id: str
    caller: str
    reason: CancelReason = "cancelled"


class Inspect(Struct, frozen=True):
    """Somebody asks what a worker is and serves; answered to ``reply_to``."""

    id: str
    reply_to: str


Reply: TypeAlias = Accepted | Progress | Result | Failed | DeadLetter
Control: TypeAlias = Cancel | Inspect
