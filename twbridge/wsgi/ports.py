"""Where the gateway meets whoever speaks HTTP: the bridge's door, or twisted.web (sans-I/O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twbridge.errors import TwbridgeError
from twbridge.wsgi.messages import Fields, queue_of

__all__ = ["Answering", "Forwarded", "GatewayError", "Mount"]


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an application is mounted.

    Args:
        path: ``/app``, without a slash at the end; ``/`` for all.
        body: bytes of a request's body.
        timeout: seconds that a client waits for the application: for the answer to begin, and then
            for each next piece of it.
        named: whether somebody has said that there is one.
    """

    path: str
    body: int = 16_777_216
    timeout: float = 30.0
    named: bool = True

    @property
    def queue(self) -> str:
        """Its queue."""
        return queue_of(self.path)

    @property
    def script_name(self) -> str:
        """Its path as WSGI has it: empty for ``/``."""
        return self.path.rstrip("/")


class GatewayError(TwbridgeError):
    """A request has no answer.

    Attributes:
        status: 408, 413, 500, 502, 503 or 504.
        sentence: what went wrong, for the client.
        unserved: nobody serves the mount: there is no queue.
    """

    def __init__(self, status: int, sentence: str, *, unserved: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.unserved = unserved

    @property
    def public(self) -> str:
        return self.sentence


class Answering(Protocol):
    """The client, as the gateway sees it."""

    def start(self, status: int, reason: str, fields: Fields, body: bytes, more: bool) -> None:
        """The answer begins. Called once at most."""

    def part(self, data: bytes, more: bool) -> None:
        """It goes on; nothing comes after the one without ``more``."""

    def failed(self, error: GatewayError) -> None:
        """There is no answer; or it can't be completed: then the connection is cut. The last."""

    def read_on(self) -> None:
        """One more piece of the body is wanted: call `Forwarded.upload` once, when it is there."""


class Forwarded(Protocol):
    """A request on its way to a worker, as whoever speaks HTTP sees it."""

    def upload(self, data: bytes, more: bool) -> None:
        """A piece of the body, `PIECE` bytes at most; ``more`` follows. Call it once at first, and
        then once for each ``read_on``.
        """

    def drained(self, size: int) -> None:
        """The client's socket has taken so many bytes of the answer's body."""

    def gone(self) -> None:
        """The client has left, or broken the rules: nobody waits for the answer any more. Not
        called after the end.
        """
