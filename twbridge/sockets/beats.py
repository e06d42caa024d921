"""Heart-beats that a dialect speaks itself, beside WebSocket's pings (STOMP's)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["Beats"]

TOLERANCE = 2.0
"""How many times the promised interval a peer may be silent."""


class Beats:
    """Beats for one connection, and notices when the peer's stay away.

    Args:
        clock: the time.
        send: sends a beat.
        dead: called when the peer was silent for too long.
        deaf: says whether the peer is not read at the moment, so that nothing can be heard of it.
        every: seconds between our beats; 0: none.
        expect: seconds in which the peer has promised something; 0: it has not.
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[], object],
        dead: Callable[[], object],
        deaf: Callable[[], bool],
        *,
        every: float,
        expect: float,
    ) -> None:
        #: Set by the owner when anything has come.
        self.heard = True
        self._dead = dead
        self._deaf = deaf
        self._calls: list[LoopingCall] = []
        for call, seconds in ((send, every), (self._look, expect * TOLERANCE)):
            if seconds > 0:
                looping = LoopingCall(call)
                looping.clock = clock
                looping.start(seconds, now=False)
                self._calls.append(looping)

    def stop(self) -> None:
        """No more of it."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.stop()

    def _look(self) -> None:
        if self._deaf():
            self.heard = True  # what it has said meanwhile comes when it is read again
        elif self.heard:
            self.heard = False
        else:
            self.stop()
            self._dead()
