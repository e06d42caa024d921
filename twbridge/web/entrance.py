"""Who may ask the HTTP endpoints for something, and how they are refused: with a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from twbridge.destinations import Destination
from twbridge.dialects.http import JSON, error_body, status_of
from twbridge.errors import BadFrame, ClientError, Forbidden, NotReady, TwbridgeError
from twbridge.policy import Peer
from twbridge.sockets.admission import Admission
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import Answer

__all__ = [
    "Entrance",
    "Fields",
    "Guest",
    "JsonRefusal",
    "Leaving",
    "check_taking",
    "error_answer",
    "full_answer",
    "is_unnamed_page",
]

Fields = tuple[tuple[str, str], ...]

COMMON: Final[Fields] = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Vary", "Origin"),
)
_LATER: Final[Fields] = (("Retry-After", "5"),)
_PARAMETERS: Final = 20
_QUEUES: Final = ("queue", "amq-queue")
"""What is read there is gone for all others."""


class Leaving(NotReady):
    """The bridge is about to stop."""

    @property
    def public(self) -> str:
        return "The bridge is about to stop, come back later."


def full_answer(status: int, body: bytes, fields: Fields = (), content_type: str = JSON) -> Answer:
    """A JSON object, or what else a task gave."""
    head = (("Content-Type", content_type), *COMMON, *fields)
    return Answer(status, body, head + (_LATER if status == 503 else ()))


def error_answer(error: TwbridgeError, fields: Fields = (), status: int | None = None) -> Answer:
    """An error, with the status that tells of it."""
    return full_answer(status or status_of(error), error_body(error), fields)


class JsonRefusal(Refusal):
    """A refusal whose body is a JSON object.

    Args:
        error: what is wrong.
        fields: more header fields of the answer.
        status: where it isn't the one of the error's code.
    """

    def __init__(
        self, error: TwbridgeError, fields: Fields = (), status: int | None = None
    ) -> None:
        super().__init__(status or status_of(error), error.public, fields)
        self._error = error

    def response(self) -> bytes:
        answer = error_answer(self._error, self.headers, self.status)
        return answer.encode(("Connection", "close"))


class _Preflight(Refusal):
    """A browser asks what a page may ask (https://fetch.spec.whatwg.org/#cors-preflight-fetch)."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(204, "", fields)

    def response(self) -> bytes:
        return Answer(204, b"", COMMON + self.headers).encode(("Connection", "close"))


class Guest(NamedTuple):
    """One who may come in.

    Attributes:
        peer: who it is.
        parameters: of the URL, decoded.
        fields: of the header, that let the page that asks read the answer.
    """

    peer: Peer
    parameters: Mapping[str, str]
    fields: Fields


class Entrance:
    """The rules of one path.

    Args:
        admission: those of the listener.
        method: the only one.
        headers: of requests, that pages of other origins may set.
        exposed: of answers, that they may read.
    """

    def __init__(
        self, admission: Admission, method: str, headers: str, exposed: str = "Retry-After"
    ) -> None:
        self._admission = admission
        self._exposed = ("Access-Control-Expose-Headers", exposed)
        self._method = method
        self._allow = (("Allow", f"{method}, OPTIONS"),)
        self._preflight = (
            ("Access-Control-Allow-Methods", method),
            ("Access-Control-Allow-Headers", headers),
            ("Access-Control-Max-Age", "3600"),
        )

    def enter(self, head: Head, client: Client) -> Guest:
        """Lets a request in.

        Raises:
            Refusal: 403, its page may not come here; 405; 400, its URL can't be read. And the
                answer to a preflight.
        """
        fields = self._check_origin(head, client)
        if head.method == "OPTIONS":
            raise _Preflight(fields + self._preflight)
        if head.method != self._method:
            raise JsonRefusal(BadFrame(f"Only {self._method} is possible here."), self._allow, 405)
        try:
            return Guest(self._admission.peer(head, client), _parameters(head), fields)
        except ClientError as error:
            raise JsonRefusal(error, fields) from None
        except Refusal as refusal:
            raise JsonRefusal(BadFrame(refusal.sentence), fields, refusal.status) from None

    def _check_origin(self, head: Head, client: Client) -> Fields:
        try:
            origin = self._admission.origin(head, client)
        except Refusal as refusal:
            raise JsonRefusal(Forbidden(refusal.sentence), (), refusal.status) from None
        if origin is not None:
            return (("Access-Control-Allow-Origin", origin), self._exposed)
        # A page of another site that embeds us, as an image for example, names no origin.
        if head.one("sec-fetch-site") in ("cross-site", "same-site"):
            raise JsonRefusal(Forbidden("Pages of other sites may not use this."))
        return ()


def is_unnamed_page(head: Head) -> bool:
    """Whether a browser asks, and does not say for which page.

    With a GET it sends no ``Origin``, and over plain HTTP no ``Sec-Fetch-Site``
    (https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header), but to this machine: an image on
    any page of the web may ask just as a page of ours does. Its ``User-Agent`` no page can change.
    """
    if head.values("origin") or head.values("sec-fetch-site"):
        return False
    return any(agent.startswith("Mozilla/") for agent in head.values("user-agent"))


def check_taking(head: Head, destination: Destination) -> None:
    """Lets nobody take messages out of a queue who did not mean to.

    Raises:
        Forbidden: it is a queue, and a browser asks for who knows which page, or because of a link,
            an address that is typed, an image, or in advance: no script of a page waits for it.
    """
    if destination.kind not in _QUEUES:
        return
    if is_unnamed_page(head):
        raise Forbidden("Over plain HTTP a page can't read a queue: any other site's could.")
    early = head.values("sec-purpose") or head.values("purpose")
    target = [each for each in head.values("sec-fetch-dest") if each != "empty"]
    # Chrome 76 to 79 send no Sec-Fetch-Dest.
    if early or target or "navigate" in head.values("sec-fetch-mode"):
        raise Forbidden(
            "Opening this URL would take a message out of the queue: only scripts may read it."
        )


def _parameters(head: Head) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            head.query, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS
        )
    except ValueError:
        raise BadFrame("The parameters of the URL can't be read.") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadFrame("No parameter of the URL may be repeated.")
    return found
