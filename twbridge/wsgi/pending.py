"""One request on its way to a worker and back, as the bridge sees it (sans-I/O).

Nothing that a worker says raises here: what it may not say ends the request with 502, with a word
to the log and one to the worker.
"""

from __future__ import annotations

from typing import Final

from twbridge.wsgi import sentences
from twbridge.wsgi.messages import (
    SAFE,
    Credit,
    Failed,
    Grant,
    Part,
    Reason,
    Request,
    Start,
    ToBridge,
    ToWorker,
    Upload,
)
from twbridge.wsgi.phases import AWAY_SECONDS, BODY_SECONDS, LOOK_SECONDS, TAKE_SECONDS, Phase, Way
from twbridge.wsgi.ports import Answering, GatewayError, Mount
from twbridge.wsgi.windows import AnswerBody, RequestBody

__all__ = ["Pending"]

#: What the client is told at the deadline, with a worker and before one has it.
_SILENT: Final = (504, sentences.LATE)
_LATE: Final = {Phase.HELD: (503, sentences.NO_BROKER), Phase.SENT: (504, sentences.NOT_FREE)}


class Pending:
    """One request.

    Args:
        id: its correlation id.
        request: without the first piece of its body.
        mount: where its application is.
        answer: the client.
        way: the gateway.
    """

    __slots__ = (
        "_answer",
        "_asked",
        "_away_since",
        "_body",
        "_method",
        "_repeatable",
        "_request",
        "_since",
        "_uploads",
        "_wanting",
        "_way",
        "_worker",
        "control",
        "had_worker",
        "id",
        "looks_at",
        "mount",
        "phase",
        "queue",
    )

    def __init__(
        self, id: str, request: Request, mount: Mount, answer: Answering, way: Way
    ) -> None:
        self.id = id
        self.mount = mount
        #: Of the mount.
        self.queue = mount.queue
        self.phase = Phase.NEW
        #: The queue of the worker that has it; empty: there is none, or not at the moment.
        self.control = ""
        self._worker = ""
        self.had_worker = False  # one that is no more
        self._answer = answer
        self._way = way
        self._method = request.method
        self._request: Request | None = request
        #: Whether another worker may get it after the first.
        self._repeatable = False
        self._uploads = RequestBody()
        self._body = AnswerBody(request.window)
        #: Whether the client is to give a piece of its body.
        self._asked = True
        self._wanting = False
        #: Since when the one who is waited for, client or application, has been waited for.
        self._since = way.seconds()
        #: Since when that worker's queue has been gone.
        self._away_since: float | None = None
        #: When `look` is to be called.
        self.looks_at = self._since + min(mount.timeout, LOOK_SECONDS)

    # -- the client ---------------------------------------------------------------------------

    def upload(self, data: bytes, more: bool) -> None:
        """See ``Forwarded``.

        Raises:
            RuntimeError: nobody has asked for it.
        """
        if self.phase is Phase.OVER:
            return
        if not self._asked:
            raise RuntimeError("a piece of the body comes once for each read_on")
        self._asked = False
        self._since = self._way.seconds()
        request, self._request = self._request, None
        if request is None:
            self._send(self._uploads.add(data, more))
            self.want()
            return
        request.body, request.more = data, more
        self._uploads.more = more
        self._repeatable = not more and self._method in SAFE
        self.phase = Phase.HELD
        self._way.publish(self, request)

    def drained(self, size: int) -> None:
        """See ``Forwarded``."""
        if self.phase is Phase.STARTED:
            self._since = self._way.seconds()
            self._body.taken(size)
            self._credit()

    def gone(self) -> None:
        """See ``Forwarded``."""
        if self.phase is not Phase.OVER:
            self._end("gone")

    def want(self) -> None:
        """Ask for more of the body, if the worker allows it and there is room."""
        if self._wanting:
            return
        self._wanting = True
        while self._uploads.wanted and not self._asked and self.phase is not Phase.OVER:
            if self._way.pressed:
                self._way.wait(self)
                break
            self._asked = True
            self._since = self._way.seconds()
            self._answer.read_on()
        self._wanting = False

    # -- the worker ---------------------------------------------------------------------------

    def take(self, message: ToBridge, control: str, worker: str) -> None:
        """A worker has said something.

        Args:
            control: the worker's queue; empty: it has none at the moment.
            worker: its id.
        """
        if worker != self._worker and not self._turn_to(worker, message, control):
            return
        if isinstance(message, Start) and self.phase is Phase.STARTED:
            self._break("a second answer begins")
            return
        if control and control != self.control:
            self.control, self._away_since = control, None
            self._credit()
        if isinstance(message, Start):
            self._start(message)
        elif isinstance(message, Part):
            self._part(message)
        elif isinstance(message, Failed):
            if message.kind != "app":
                self._way.complain(self, message.text)
            self.fail(GatewayError(*sentences.FAILED[message.kind]), None)
        else:
            if self.phase < Phase.ACCEPTED:
                self.phase = Phase.ACCEPTED
                self._since = self._way.seconds()
            if isinstance(message, Grant):
                self._grant(message)

    def _turn_to(self, worker: str, message: ToBridge, control: str) -> bool:
        """Whether it is heard, where another worker has been until now.

        A worker that was away for a moment goes on with what the broker has given to the next one
        meanwhile. The answer that begins first is the one; the other run is ended.
        """
        if self.phase is Phase.STARTED:
            if control and not isinstance(message, Part | Failed):
                self._way.cancel(self, "gone", control)
            return False
        if isinstance(message, Start) and self.control not in ("", control):
            self._way.cancel(self, "gone", self.control)
        self._worker, self.control, self._away_since = worker, "", None
        return True

    def _grant(self, grant: Grant) -> None:
        try:
            upload = self._uploads.grant(grant.size)
        except ValueError as error:
            self._break(str(error))
        else:
            self._send(upload)
            self.want()

    def _start(self, start: Start) -> None:
        try:
            fields, data, last = self._body.head(self._method, start)
        except ValueError as error:
            self._break(str(error))
            return
        self.phase = Phase.STARTED
        self._since = self._way.seconds()
        if last:
            self._end("gone" if start.more else None)
        self._answer.start(start.status, start.reason, fields, data, not last)
        if not last:
            self._check_end(len(start.body) - len(data), start.more)

    def _part(self, part: Part) -> None:
        if self.phase is not Phase.STARTED:
            self._break("a piece of an answer that has not begun")
            return
        if not self._body.untaken:
            self._since = self._way.seconds()
        try:
            data = self._body.next(part.number, part.data)
        except ValueError as error:
            self._break(str(error))
            return
        last = not part.more and len(data) == len(part.data) and not self._body.expected
        if last:
            self._end(None)
        if data or last:
            self._answer.part(data, not last)
        if not last:
            self._check_end(len(part.data) - len(data), part.more)

    def _check_end(self, left_out: int, more: bool) -> None:
        """Cut off an answer that is longer or shorter than its head says."""
        if self.phase is Phase.OVER:
            return  # the client has left meanwhile
        if left_out:
            self._break("the answer goes on past its Content-Length")
        elif not more:
            self._break(f"the answer ends {self._body.expected} bytes too early")

    # -- the end ------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End it if it is too late; called at `looks_at` or later."""
        if self._asked:
            error, due = GatewayError(*sentences.NOT_SENT), BODY_SECONDS
        elif self._body.untaken:
            error, due = GatewayError(*sentences.NOT_READ), TAKE_SECONDS
        else:
            error, due = GatewayError(*_LATE.get(self.phase, _SILENT)), self.mount.timeout
            if self.phase is Phase.HELD:
                due = min(due, self._way.patience)
        due += self._since
        if self._away_since is not None and now >= self._away_since + AWAY_SECONDS:
            error, due = GatewayError(502, sentences.LOST_WORKER), now
        if now >= due:
            if self.phase is Phase.SENT and error.status == 504:
                self._way.complain(self, error.sentence)
            # Who was only silent in the midst of an answer may end by itself.
            is_stuck = error.status == 504 and self.phase < Phase.STARTED
            self.fail(error, "deadline" if is_stuck else "gone")
            return
        self.looks_at = min(due, now + min(self.mount.timeout, LOOK_SECONDS))
        if self.phase >= Phase.SENT:
            self._way.look(self)

    def left(self, now: float) -> float:
        """Seconds in which a worker is to have it."""
        return self._since + self.mount.timeout - now

    def unserved(self) -> None:
        """The queue of the mount is not there; so no worker has it, unless one has said so."""
        if self.phase is Phase.SENT and self.had_worker:
            self.fail(GatewayError(502, sentences.LOST_WORKER), None)
        elif self.phase in (Phase.HELD, Phase.SENT):
            error = GatewayError(503, f"No worker serves {self.mount.path}.", unserved=True)
            if self.mount.named:
                self._way.complain(self, error.sentence)
            self.fail(error, None)

    @property
    def unsure(self) -> bool:
        """Whether its worker may wait for what is lost with the connection that published it."""
        if self.phase in (Phase.ACCEPTED, Phase.STARTED):
            return self._uploads.begun or self._body.unsure
        return self.phase is Phase.SENT

    def untold(self, message: ToWorker) -> None:
        """A message to its worker has come back: that has another queue by now, or is lost."""
        if isinstance(message, Upload):
            self.fail(GatewayError(502, sentences.LOST_WORKER))
        elif isinstance(message, Credit) and self.phase is Phase.STARTED:
            self._body.keep(message.size)
            self._credit()

    def lose_worker(self) -> None:
        """The queue of the worker that has it is gone.

        That may be back in a moment, with another one; or it has died, and others get the request.
        """
        self.control = ""
        if self.phase is Phase.ACCEPTED and self._repeatable:
            self.phase, self.had_worker = Phase.SENT, True
        elif self._away_since is None:
            self._away_since = self._way.seconds()

    def fail(self, error: GatewayError, reason: Reason | None = "gone") -> None:
        """End it with an error.

        Args:
            reason: what its worker is told; None: nothing.
        """
        if self.phase is not Phase.OVER:
            self._end(reason)
            self._answer.failed(error)

    def _break(self, text: str) -> None:
        """The worker has said something that can't be."""
        self._way.complain(self, text)
        self.fail(GatewayError(502, "The application's answer can't be passed on."))

    def _end(self, reason: Reason | None) -> None:
        is_waiting = reason is not None and self.phase in (Phase.HELD, Phase.SENT)
        self.phase = Phase.OVER
        self._request = None
        self._way.forget(self, is_waiting)
        if reason is not None and self.control:
            self._way.cancel(self, reason, self.control)

    def _credit(self) -> None:
        """Tell the worker what the client has taken, if that is worth a message."""
        if self.control:
            credit = self._body.credit()
            if credit:
                self._way.tell(self, Credit(credit))

    def _send(self, upload: Upload | None) -> None:
        if upload is None:
            return
        if self.control:
            self._way.tell(self, upload)
        else:
            self.fail(GatewayError(502, sentences.LOST_WORKER))
