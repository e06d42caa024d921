"""The turns of one client's commands, and when its socket is read (sans-I/O)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum, auto

from twbridge.commands import Command
from twbridge.ports import Transport

__all__ = ["BY_ANSWERS", "BY_LINK", "State", "Turns"]


class State(IntEnum):
    """Where a session is."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    GONE = auto()


#: Why the socket is not read: bits of ``Turns._paused``.
BY_LINK, BY_ANSWERS, _BY_TURN = 1, 2, 4


class Turns(ABC):
    """The part of a session that lets one command wait, and all that follows behind it.

    Meanwhile the client is not read, so that no more waits here than what was read already.

    Args:
        transport: its socket.
    """

    __slots__ = ("_going", "_later", "_paused", "_state", "_transport", "_waits")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._state = State.CONNECTING
        # Commands that wait, None: none has to; whether the first of them does, or what came
        # before it; and whether they are being carried out.
        self._later: deque[Command] | None = None
        self._waits = False
        self._going = False
        self._paused = 0

    @abstractmethod
    def _obey(self, command: Command) -> None:
        """Carry it out, or :meth:`_wait` with it."""

    def _obey_all(self, some: Iterable[Command]) -> None:
        for command in some:
            if self._later is not None:
                self._later.append(command)
            # Any of them may have been the end.
            elif self._state is State.OPEN:
                self._obey(command)

    def _obey_first(self, some: Sequence[Command]) -> None:
        """Before all that waits."""
        if self._later is None:
            self._later = deque()
        self._later.extendleft(reversed(some))
        self._go_on()

    def _wait(self, *some: Command) -> None:
        """Carry nothing out until ``_go_on``, and then those first."""
        if self._later is None:
            self._later = deque()
        self._later.extendleft(reversed(some))
        self._waits = True
        self._hold(_BY_TURN)

    def _go_on(self) -> None:
        self._waits = False
        if self._going:
            return  # it does, when this command is done
        self._going = True
        later = self._later
        while later and not self._waits and self._state is State.OPEN:
            self._obey(later.popleft())
        self._going = False
        if not self._waits:
            self._later = None
            self._let_go(_BY_TURN)

    def _hold(self, why: int) -> None:
        if not self._paused:
            self._transport.pause_reading()
        self._paused |= why

    def _let_go(self, why: int) -> None:
        held, self._paused = self._paused, self._paused & ~why
        if held and not self._paused and self._state is State.OPEN:
            self._transport.resume_reading()
