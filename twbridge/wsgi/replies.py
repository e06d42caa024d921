"""What a worker says to bridges."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Link
from twbridge.errors import FrameError, TwbridgeError
from twbridge.wire import Content
from twbridge.wsgi.lanes import Work
from twbridge.wsgi.messages import Accepted, Failed, encode

__all__ = ["Replies"]

_log = Logger()

#: Seconds that a message may wait for the broker.
PATIENCE: Final = 30.0
#: The latest requests that have ended, of which it is remembered whose they were.
RECENT: Final = 256
_LOST: Final = "the connection of its worker to the broker was lost"


class Replies:
    """Publishes to the queues of bridges.

    No confirms are waited for: they would double what an answer costs. Instead, when a connection
    was lost, it is said of all answers that may have been lost with it that they are, also of the
    latest that had ended; a bridge that has one whole ignores that. What no bridge takes comes
    back: then nobody waits for that answer any more.

    Args:
        link: the way to the broker.
        worker: the worker's id.
        control: the name of the worker's control queue now; empty while there is none.
        on_hole: called with a request whose answer can't be completed.
        on_unwanted: called with the id of a request whose bridge is gone.
    """

    def __init__(
        self,
        link: Link,
        worker: str,
        control: Callable[[], str],
        on_hole: Callable[[Work], object],
        on_unwanted: Callable[[str], object],
    ) -> None:
        self._link = link
        self._on_unwanted = on_unwanted
        link.on_return(self._returned)
        self._accepted = encode(Accepted(worker))
        self._plain = {"delivery_mode": 1, "timestamp": None, "app_id": worker}
        self._control = control
        self._on_hole = on_hole
        self._recent: deque[tuple[str, str]] = deque(maxlen=RECENT)

    def say(self, work: Work, message: bytes) -> None:
        """What the application says."""
        work.told = work.answered = True
        self._publish(work.id, work.reply_to, message).addErrback(self._unsent, work)

    def accept(self, work: Work) -> None:
        """Say that it is here."""
        if not work.muted:
            work.told = True
            self._publish(work.id, work.reply_to, self._accepted).addErrback(_trap)

    def fail(self, work: Work, kind: Any, text: str) -> None:
        """There is no answer, or no more of it."""
        if not work.muted:
            work.muted = True
            self._fail(work.id, work.reply_to, kind, text)

    def ended(self, work: Work) -> None:
        """Its answer is complete."""
        self._recent.append((work.id, work.reply_to))

    def cut(self) -> None:
        """A connection was lost, and perhaps what was written last."""
        recent = list(self._recent)
        self._recent.clear()
        for id, reply_to in recent:
            self._fail(id, reply_to, "lost", _LOST)

    def lose(self, work: Work) -> None:
        """There may be a hole in its answer: it ends here."""
        if not work.muted:
            self.fail(work, "lost", _LOST)
            self._on_hole(work)

    def _unsent(self, failure: Failure, work: Work) -> None:
        failure.trap(TwbridgeError)
        _log.warn("{work}: the answer is lost: {error}", work=work, error=str(failure.value))
        self.lose(work)

    def _fail(self, id: str, reply_to: str, kind: Any, text: str) -> None:
        self._publish(id, reply_to, encode(Failed(kind, text))).addErrback(_trap)

    def _publish(self, id: str, reply_to: str, message: bytes) -> Deferred[None]:
        properties = {"correlation_id": id, "reply_to": self._control(), **self._plain}
        return self._link.publish(
            "", reply_to, message, properties, mandatory=True, timeout=PATIENCE, confirm=False
        )

    def _returned(self, content: Content) -> None:
        try:
            id = content.properties.get("correlation_id", "")
        except FrameError:
            return  # none of ours
        self._on_unwanted(id)


def _trap(failure: Failure) -> None:
    failure.trap(TwbridgeError)
