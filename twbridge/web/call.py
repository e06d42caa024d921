"""``POST /api/call/<task>``: a body in, what the task made of it out.

A request is a session that calls once. A client that leaves before the answer cancels the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from twbridge.commands import Call
from twbridge.destinations import Destination, unquote
from twbridge.dialects.http import JSON, CallCodec, RequestCodec, call_status_of
from twbridge.dialects.json import MAX_TIMEOUT, task_destination
from twbridge.errors import BadDestination, BadFrame, Forbidden, OutcomeUnknown, TwbridgeError
from twbridge.sockets.admission import Admission
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.ports import OpenSession
from twbridge.web.entrance import Entrance, Guest, JsonRefusal, is_unnamed_page
from twbridge.web.requests import Requests

#: What every path begins with; the rest is the task's name, percent-encoded.
PATH: Final = "/api/call/"

_TIMEOUT: Final = "twbridge-timeout"
_SECONDS: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?")
#: Never pickle: what unpickles it runs whatever the sender wants.
_KINDS: Final = (JSON, "text/plain", "application/octet-stream", "application/msgpack")
#: A browser runs none of it, whatever a task calls it.
_INERT: Final = (("Content-Security-Policy", "default-src 'none'; sandbox"),)


class Lost(OutcomeUnknown):
    """The bridge stopped before the task had ended."""

    @property
    def public(self) -> str:
        return "The bridge stopped before the task had ended: it may have run."


class TaskCalls(Requests):
    """The calls by one listener.

    Args:
        open_session: makes the session of a request.
        admission: the listener's rules.
        clock: the time.
        limit: bytes of a body.
    """

    fields = _INERT

    def __init__(
        self,
        open_session: OpenSession,
        *,
        admission: Admission,
        clock: IReactorTime,
        limit: int = 1_048_576,
    ) -> None:
        entrance = Entrance(admission, "POST", f"content-type, {_TIMEOUT}")
        super().__init__(open_session, entrance, clock=clock, limit=limit)

    def read(self, head: Head, guest: Guest) -> Callable[[bytes], RequestCodec]:
        """Its body is the task's, as it is.

        Raises:
            Refusal: 400, the deadline is none; 403, nobody knows whose page it is; 415, no task
                reads that; 422, the URL makes no sense.
        """
        try:
            if guest.parameters:
                raise BadFrame("There are no parameters here.")
            task = _task(head)
            timeout = _timeout(head)
            content_type = _content_type(head)
        except Refusal as refusal:
            error = BadFrame(refusal.sentence)
            raise JsonRefusal(error, guest.fields, refusal.status) from None
        except (BadFrame, BadDestination, Forbidden) as error:
            raise JsonRefusal(error, guest.fields) from None

        def codec(body: bytes) -> RequestCodec:
            if body or not _is_json(content_type):
                return CallCodec(Call(0, task, body, content_type or JSON, timeout))
            return CallCodec(Call(0, task, b"null", JSON, timeout))

        return codec

    def status_of(self, error: TwbridgeError) -> int:
        """504 is the deadline, 503 that nobody is there to answer."""
        return call_status_of(error)

    def outcome_unknown(self) -> TwbridgeError:
        """The task may have run, or not."""
        return Lost()


def _task(head: Head) -> Destination:
    segment = head.path.removeprefix(PATH)
    if not segment.isascii():
        raise BadDestination("The name of a task in a URL is percent-encoded.")
    return task_destination(unquote(segment))


def _timeout(head: Head) -> float | None:
    given = head.one(_TIMEOUT)
    if given is None:
        return None
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise Refusal(400, f"Twbridge-Timeout is a number of seconds, {MAX_TIMEOUT} at most.")
    return seconds


def _kind(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _is_json(content_type: str | None) -> bool:
    """Whether no bytes at all stand for null."""
    return content_type is None or _kind(content_type) == JSON


def _content_type(head: Head) -> str | None:
    """What it is; None: nothing, if the body is empty."""
    given = head.one("content-type")
    kind = _kind(given)
    if given is None and not head.has_body:
        found = None
    elif kind not in _KINDS or head.values("content-encoding"):
        known = ", ".join(_KINDS)
        raise Refusal(415, f"The Content-Type of the body, as it is, must be one of {known}.")
    else:
        found = given
    # Browsers ask nobody before they send such a request for a page of another site.
    if kind in ("", "text/plain") and is_unnamed_page(head):
        raise Forbidden("A browser must say whose page asks (Origin).")
    return found
