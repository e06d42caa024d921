"""What lies behind the door (``front.py``): who takes which connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

from twisted.internet.interfaces import IAddress, IProtocol

from twbridge.sockets.census import Lease
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client

AGAIN: Final = (("Retry-After", "5"),)
"""Of an answer that tells to come back later."""


@dataclass(frozen=True)
class FrontLimits:
    """What a connection may cost before it is anybody's.

    Attributes:
        connections: sockets in all.
        connections_per_address: sockets of one IPv4 address or IPv6 /64.
        handshake_bytes: of a request head.
        handshake_seconds: from the accepted socket to the end of its head, TLS included,
            however steadily it drips.
        body: bytes that a plain HTTP request may send after its head.
        body_seconds: for the body of a request that is answered and not served; for each 64 KiB
            of one that is relayed.
        idle_seconds: between an answer and the next request.
        requests: on one connection.
    """

    connections: int = 20_000
    connections_per_address: int = 1_000
    handshake_bytes: int = 16_384
    handshake_seconds: float = 5.0
    body: int = 1_048_576
    body_seconds: float = 30.0
    idle_seconds: float = 60.0
    requests: int = 1_000


class ISocketSide(Protocol):
    """Whoever takes whole sockets: those that ask for WebSocket, or for a path of its own."""

    def admit(self, head: Head, client: Client, lease: Lease) -> IProtocol:
        """Builds the protocol for a socket, which then gets its transport and every byte.

        The protocol releases the lease when its connection is lost.

        Raises:
            Refusal: it may not come in.
        """


class IHTTPSide(Protocol):
    """Whoever takes all the others: a ``twisted.web.server.Site``."""

    def buildProtocol(self, addr: IAddress, /) -> IProtocol | None:
        """Builds the protocol for a socket of plain HTTP."""


class Answer(NamedTuple):
    """An answer to one request of a connection that may live on."""

    status: int
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()

    def encode(self, *fields: tuple[str, str]) -> bytes:
        """The whole of it, with more fields of the head, as bytes for the socket."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in (*self.fields, *fields)]
        if self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class ICall(Protocol):
    """What becomes of one request."""

    def received(self, body: bytes, /) -> None:
        """The whole body is there; an answer is given once, now or later."""

    def refusal(self, refusal: Refusal, /) -> Refusal:
        """How the client is told that its body is none. The connection ends with that."""

    def lost(self) -> None:
        """The connection is gone: nobody waits for an answer. Not called after the answer."""


class ICallSide(Protocol):
    """Whoever answers the requests of a path, whose connections may live on."""

    limit: int
    """Bytes of a body."""

    def call(self, head: Head, client: Client, answer: Callable[[Answer], None], /) -> ICall:
        """Takes a request, whose body is still to come.

        Raises:
            Refusal: it does not; the connection ends.
        """


class IRelayError(Protocol):
    """Why a relayed request has no answer."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def sentence(self) -> str:
        """What went wrong, for the client."""

    @property
    def unserved(self) -> bool:
        """There is nobody who could answer."""


class IAnswering(Protocol):
    """The client of a relayed request, as whoever answers it sees it."""

    def start(
        self, status: int, reason: str, fields: list[tuple[str, str]], body: bytes, more: bool
    ) -> None:
        """The answer begins; `more` follows. Called once at most.

        The fields hold nothing that HTTP does not allow, and are not of the connection. One
        ``Content-Length`` may be among them.
        """

    def part(self, data: bytes, more: bool) -> None:
        """It goes on; nothing comes after the one without ``more``."""

    def failed(self, error: IRelayError) -> None:
        """There is no answer; or it can't be completed: then the connection is cut. The last."""

    def read_on(self) -> None:
        """One more piece of the body is wanted: `IRelay.upload` is called once for it."""


class IRelay(Protocol):
    """A request on its way, whose body and answer are streamed."""

    def upload(self, data: bytes, more: bool) -> None:
        """A piece of the body, 64 KiB at most; ``more`` follows. Called once at first, and then
        once for each ``read_on``.
        """

    def drained(self, size: int) -> None:
        """The client's socket has taken so many bytes of the answer's body; more are to come."""

    def gone(self) -> None:
        """Nobody waits for the answer any more. Called once at most, and not after its end."""


class IRelaySide(Protocol):
    """Whoever answers the requests for a part of the paths, and streams both ways."""

    limit: int
    """Bytes of a body."""

    def relay(
        self, head: Head, client: Client, length: int | None, answering: IAnswering, /
    ) -> IRelay:
        """Takes a request, the first piece of whose body is there: `IRelay.upload` is next.

        `answering` may be called before this returns.

        Args:
            head: the request's.
            client: who asks.
            length: bytes of the body; None: nobody knows.
            answering: takes the answer.
        """

    def refusal(self, error: IRelayError, /) -> Refusal:
        """How the client is told that there is no answer."""


FindRelay = Callable[[Head, Client], IRelaySide | None]
"""Whose a request is; None: the site's. It may raise Refusal."""
