"""The body of a request on its way to whoever wants it, no faster than it is wanted (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.sockets.bodies import BodyPieces
from twbridge.sockets.heads import Head, Refusal

__all__ = ["AHEAD", "CONTINUE", "PIECE", "Patience", "Uploading", "expects_continue"]

PIECE: Final = 65_536
"""Bytes of a piece at most."""
AHEAD: Final = 65_536
"""Bytes of further requests that are taken before this one is answered."""


CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def expects_continue(head: Head) -> bool:
    """Whether the client waits to be told to send its body.

    Raises:
        Refusal: 417, it expects something else.
    """
    expected = (head.one("expect") or "").lower()
    if expected not in ("", "100-continue"):
        raise Refusal(417, "Nothing but 100-continue can be expected.")
    return bool(expected) and head.version >= (1, 1)


class Patience:
    """How long a body is waited for: so many seconds for each `PIECE`, however steadily it drips.

    Time in which nobody waits for the client does not count.

    Args:
        clock: the time.
        seconds: for each `PIECE` bytes.
        late: called when they are over.
    """

    def __init__(self, clock: IReactorTime, seconds: float, late: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds = self._left = seconds
        self._late = late
        self._bytes = 0
        self._call: IDelayedCall | None = None

    def got(self, size: int) -> None:
        """So many bytes have come."""
        self._bytes += size
        if self._bytes >= PIECE:
            self._bytes %= PIECE
            self._left = self._seconds
            if self._call is not None:
                self._call.reset(self._seconds)

    def wait(self) -> None:
        """Time counts from now on."""
        if self._call is None:
            self._call = self._clock.callLater(self._left, self._over)

    def rest(self) -> None:
        """Time does not count any more."""
        call, self._call = self._call, None
        if call is not None:
            self._left = max(0.0, call.getTime() - self._clock.seconds())
            call.cancel()

    def _over(self) -> None:
        self._call = None
        self._late()


class Uploading:
    """Reads a body, keeps what is not wanted yet, and pauses the socket meanwhile.

    Args:
        pieces: reads it.
        transport: the socket.
        patience: for its client.
    """

    def __init__(self, pieces: BodyPieces, transport: Any, patience: Patience) -> None:
        self.length = pieces.length
        #: What was received behind the body.
        self.rest = b""
        #: Nothing of it is needed any more.
        self.given_up = False
        self._pieces: BodyPieces | None = pieces
        self._transport = transport
        self._patience = patience
        self._kept: list[bytes] = []
        self._size = 0
        self._first = True
        # Pieces that are wanted.
        self._wanted = 1
        self._finished = False
        self._paused = False

    @property
    def complete(self) -> bool:
        """The socket has given the whole body."""
        return self._pieces is None

    @property
    def ready(self) -> bool:
        """A piece that is wanted is there."""
        if not self._wanted or self._finished or self.given_up:
            return False
        if self._pieces is None or self._size >= PIECE:
            return True
        return self._size > 0 and not self._first

    def receive(self, data: bytes) -> None:
        """Takes bytes as they come; `regulate` comes next.

        Raises:
            Refusal: 400, it is none; 413, it is too large.
        """
        if self._pieces is None:
            self.rest += data
            return
        if self.given_up:
            return
        piece, rest = self._pieces.receive(data)
        if piece:
            self._kept.append(piece)
            self._size += len(piece)
            self._patience.got(len(piece))
        if rest is not None:
            self._pieces = None
            self.rest = rest

    def want(self) -> None:
        """One more piece is wanted."""
        self._wanted += 1

    def take(self) -> tuple[bytes, bool]:
        """The piece that is ready, and whether one follows."""
        self._wanted -= 1
        self._first = False
        kept = self._kept
        data = kept[0] if len(kept) == 1 else b"".join(kept)
        self._kept = []
        self._size = 0
        if len(data) > PIECE:
            self._kept.append(data[PIECE:])
            self._size = len(data) - PIECE
            data = data[:PIECE]
        self._finished = self._pieces is None and not self._size
        return data, not self._finished

    def regulate(self) -> None:
        """Pauses the socket, or lets it go on; counts the time, or not."""
        if self._pieces is None:
            paused, waits = len(self.rest) > AHEAD, False
        else:
            paused = self._size >= PIECE
            waits = self._wanted > 0 and not paused and not self.given_up
        if waits:
            self._patience.wait()
        else:
            self._patience.rest()
        if paused != self._paused:
            self._paused = paused
            (self._transport.pauseProducing if paused else self._transport.resumeProducing)()

    def give_up(self) -> None:
        """Nobody wants the rest, nor the time to count; the socket goes on."""
        self.given_up = True
        self._kept.clear()
        self._size = 0
        self.regulate()

    def let_go(self) -> None:
        """The request is over, and what follows is somebody else's."""
        self._patience.rest()
        if self._paused:
            self._paused = False
            self._transport.resumeProducing()
