"""What is kept between BEGIN and COMMIT, and what is waited for after it (sans-I/O)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from twbridge.commands import Ack, Nack, Publish
from twbridge.destinations import shown
from twbridge.dialects.stomp.frames import Frame
from twbridge.dialects.stomp.refusals import Refusal
from twbridge.errors import BadFrame, TooMany

__all__ = [
    "Committed",
    "Kept",
    "TransactionLimits",
    "Transactions",
    "Waiting",
    "size_of",
    "transaction_of",
]

Kept: TypeAlias = Publish | Ack | Nack


@dataclass(frozen=True, slots=True)
class TransactionLimits:
    """What the transactions of a session may keep."""

    #: Transactions that have begun and not ended.
    open: int = 16
    #: Commands in all of them.
    commands: int = 1000
    #: Their size: bytes of the bodies, and characters of the headers.
    size: int = 4 << 20


@dataclass(slots=True)
class Committed:
    """A transaction whose commands are under way."""

    #: Of the COMMIT; None: it wants none.
    receipt: str | None
    #: How many commands have no answer yet.
    missing: int


@dataclass(slots=True)
class Waiting:
    """A command whose answer is more than the receipt in its id."""

    receipt: str | None
    #: The subscription that it makes.
    name: str | None = None
    committed: Committed | None = None


@dataclass(slots=True)
class _Open:
    commands: list[Kept] = field(default_factory=list)
    size: int = 0


class Transactions:
    """Those of one session that have begun."""

    __slots__ = ("_count", "_limits", "_open", "_size")

    def __init__(self, limits: TransactionLimits) -> None:
        self._limits = limits
        self._open: dict[str, _Open] = {}
        self._count = 0
        self._size = 0

    def begin(self, name: str) -> None:
        """Begin one.

        Raises:
            Refusal: there is one with that name.
            TooMany: there are as many as may be.
        """
        if name in self._open:
            raise _bad(f"A transaction {shown(name)} has begun already.")
        if len(self._open) >= self._limits.open:
            raise TooMany(f"A session has at most {self._limits.open} transactions.")
        self._open[name] = _Open()

    def keep(self, name: str, command: Kept, size: int) -> None:
        """Keep a command until the commit.

        Raises:
            Refusal: there is no such transaction.
            TooMany: it is one too many.
        """
        transaction = self._get(name)
        limits = self._limits
        if self._count >= limits.commands:
            raise TooMany(f"Transactions keep at most {limits.commands} frames.")
        if self._size + size > limits.size:
            raise TooMany(f"Transactions keep at most {limits.size} bytes.")
        transaction.commands.append(command)
        transaction.size += size
        self._count += 1
        self._size += size

    def end(self, name: str) -> list[Kept]:
        """End it; returns what it kept.

        Raises:
            Refusal: there is no such transaction.
        """
        transaction = self._get(name)
        del self._open[name]
        self._count -= len(transaction.commands)
        self._size -= transaction.size
        return transaction.commands

    def _get(self, name: str) -> _Open:
        try:
            return self._open[name]
        except KeyError:
            raise _bad(f"There is no transaction {shown(name)}.") from None


def _bad(text: str) -> Refusal:
    return Refusal("Bad transaction", BadFrame(text))


def transaction_of(frame: Frame) -> str:
    """The transaction that BEGIN, COMMIT or ABORT is about.

    Raises:
        Refusal: it isn't said.
    """
    name = frame.headers.get("transaction")
    if name is None:
        error = BadFrame(f"{frame.command} must include a transaction header.")
        raise Refusal("Missing transaction", error)
    return name


def size_of(frame: Frame) -> int:
    """What it counts for in a transaction."""
    return len(frame.body) + sum(len(name) + len(value) for name, value in frame.headers.items())
