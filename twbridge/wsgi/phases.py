"""How far a request has come, how long that may take, what it needs of the gateway (sans-I/O)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from twbridge.wsgi.messages import Credit, Reason, Request, Upload

if TYPE_CHECKING:
    from twbridge.wsgi.pending import Pending

__all__ = ["AWAY_SECONDS", "BODY_SECONDS", "LOOK_SECONDS", "TAKE_SECONDS", "Phase", "Way"]

#: Seconds that a client has for the next piece of its body.
BODY_SECONDS: Final = 30.0
#: Seconds in which a client takes something of an answer that is there.
TAKE_SECONDS: Final = 60.0
#: Seconds between two looks whether there is still somebody who could answer.
LOOK_SECONDS: Final = 1.0
#: Seconds for which a worker that has a request may be without a queue: away from the broker.
AWAY_SECONDS: Final = 2.0


class Phase(IntEnum):
    """How far a request has come."""

    #: The first piece of its body is not there.
    NEW = 0
    #: It waits for the queue that its answer is to come to.
    HELD = 1
    #: It waits in the queue of its mount, or did when last heard of.
    SENT = 2
    #: A worker has it.
    ACCEPTED = 3
    #: The answer has begun.
    STARTED = 4
    #: It has ended, one way or the other.
    OVER = 5


class Way(Protocol):
    """What a request needs of the gateway."""

    @property
    def pressed(self) -> bool:
        """Whether nothing more should be published for now."""

    @property
    def patience(self) -> float:
        """Seconds that a request may wait for the broker."""

    def seconds(self) -> float:
        """The time."""

    def publish(self, pending: Pending, request: Request) -> None:
        """Send a request to the workers, now or when that is possible."""

    def tell(self, pending: Pending, message: Upload | Credit) -> None:
        """Send a message about a request to the worker that has it."""

    def cancel(self, pending: Pending, reason: Reason, control: str) -> None:
        """Tell the worker that has that queue that nobody waits, until it surely knows."""

    def wait(self, pending: Pending) -> None:
        """Call its ``want`` when `pressed` is over."""

    def look(self, pending: Pending) -> None:
        """Nothing was heard of it for a while: is there still somebody who could answer?"""

    def complain(self, pending: Pending, text: str) -> None:
        """Write to the log, not too often."""

    def forget(self, pending: Pending, is_waiting: bool) -> None:
        """It has ended. ``is_waiting``: there may still be a request that waits in a queue."""
