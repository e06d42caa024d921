"""One request whose body and answer are streamed, from its head to its end.

::

    READING ---- the first piece of the body is there ----> WAITING
    WAITING ---- start ----> ANSWERING ---- its last piece ----> DRAINING
    DRAINING --- the socket has taken all but a little ----> OVER
    all -------- refused, cut, the connection is lost ----> OVER

Who answers is told of a request when it is WAITING, and that its client has gone when it was
WAITING or ANSWERING.
"""

from __future__ import annotations

import enum
import time
from http import HTTPStatus
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twbridge.direct import direct
from twbridge.flow import Writer
from twbridge.sockets.bodies import BodyPieces
from twbridge.sockets.framing import End, Framing
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import AGAIN, IRelay, IRelayError, IRelaySide
from twbridge.sockets.underway import UnderWay
from twbridge.sockets.uploads import CONTINUE, Patience, Uploading, expects_continue

__all__ = ["Connection", "Relay", "State"]

_STOPPED: Final = Refusal(
    503,
    "The bridge stopped before the application had answered: it may have run.",
    AGAIN,
)


class State(enum.Enum):
    """Where a relayed request is."""

    READING = enum.auto()
    WAITING = enum.auto()
    ANSWERING = enum.auto()
    DRAINING = enum.auto()
    OVER = enum.auto()


_TOLD = (State.WAITING, State.ANSWERING)


class Connection(Protocol):
    """What a relayed request needs of its connection."""

    transport: Any

    def stays(self, head: Head) -> bool:
        """Whether the connection lives on behind this request. Asked once."""

    def hint(self, stays: bool) -> tuple[str, str]:
        """The header field of an answer that says so."""

    def draining(self) -> None:
        """The answer is complete, and the client slow to take it."""

    def relayed(self, rest: bytes, *, stays: bool, linger: bool) -> None:
        """The answer is written. The connection lives on, from `rest`; or it closes, and its
        client may `linger` over what it sends and nobody wants.
        """

    def refuse(self, refusal: Refusal) -> None:
        """Answers, and closes; calls `Relay.cut` where an answer has `begun`."""

    def cut(self, *, orderly: bool) -> None:
        """Ends the connection in the midst of an answer; `orderly` where its client can tell."""


@implementer(IPushProducer)
class Relay:
    """Takes the body to whoever answers, and the answer to the socket; see ``sides.IAnswering``.

    Args:
        side: who answers.
        head: the request's.
        client: who asks.
        connection: of the request.
        clock: for the body's time.
        seconds: for each 64 KiB of the body.
        under_way: all those that are; this is one of them until it is over.

    Raises:
        Refusal: its body is none, or too large.
    """

    _log = Logger()

    def __init__(
        self,
        side: IRelaySide,
        head: Head,
        client: Client,
        *,
        connection: Connection,
        clock: IReactorTime,
        seconds: float,
        under_way: UnderWay,
    ) -> None:
        self._state = State.READING
        self._side = side
        self._head = head
        self._client = client
        self._connection = connection
        self._transport = connection.transport
        self._writer: Writer = self._transport
        self._waits = expects_continue(head)
        self._upload = Uploading(
            BodyPieces(head, side.limit),
            self._transport,
            Patience(clock, seconds, self._late),
        )
        self._relay: IRelay | None = None
        self._framing: Framing | None = None
        self._stays = False
        self._pumping = self._settling = False
        # The socket takes nothing more for now.
        self._paused = False
        # Bytes of the answer's body that the socket has not taken yet.
        self._owed = 0
        self._under_way = under_way
        under_way.add(self)

    @property
    def begun(self) -> bool:
        """Something of the answer is written."""
        return self._framing is not None

    # -- the body

    def received(self, data: bytes) -> None:
        """Takes what is behind the head; called once at least, maybe without a byte.

        Raises:
            Refusal: the body is none, or too large.
        """
        self._upload.receive(data)
        if self._waits:
            self._waits = False
            if not data and not self._upload.complete:
                self._transport.write(CONTINUE)
        self._pump()

    def read_on(self) -> None:
        """One more piece of the body is wanted."""
        if self._state in _TOLD:
            self._upload.want()
            self._pump()

    def _pump(self) -> None:
        """Gives what is wanted, and there."""
        if self._pumping:
            return
        self._pumping = True
        upload = self._upload
        try:
            if self._state is State.READING and upload.ready:
                self._state = State.WAITING
                self._relay = self._side.relay(self._head, self._client, upload.length, self)
                self._settle()
            # Whoever answers at once wants nothing of the body.
            while self._state in _TOLD and upload.ready:
                assert self._relay is not None
                self._relay.upload(*upload.take())
        finally:
            self._pumping = False
        if self._state is not State.OVER:
            upload.regulate()

    def _late(self) -> None:
        self._connection.refuse(Refusal(408, "The request's body did not come in time."))

    # -- the answer

    def start(
        self, status: int, reason: str, fields: list[tuple[str, str]], body: bytes, more: bool
    ) -> None:
        """The answer begins."""
        if self._state is not State.WAITING:
            return
        framing = Framing(self._head, status, reason, fields, len(body), more, time.time())
        stays = self._connection.stays(self._head)
        self._stays = stays and self._upload.complete and framing.end is not End.CLOSE
        head = framing.head(self._connection.hint(self._stays))
        self._framing = framing
        self._state = State.ANSWERING
        self._writer = direct(self._transport)
        self._transport.registerProducer(self, True)
        self._write(head + framing.piece(body, more), len(body), more)

    def part(self, data: bytes, more: bool) -> None:
        """The answer goes on."""
        if self._state is State.ANSWERING:
            assert self._framing is not None
            self._write(self._framing.piece(data, more), len(data), more)

    def _write(self, data: bytes, size: int, more: bool) -> None:
        assert self._framing is not None
        if data:
            self._writer.write(data)
        if self._framing.fault is not None:
            self._broken(self._framing.fault, more)
        elif not more:
            self._complete()
        else:
            self._owed += size
            self._settle()

    def _settle(self) -> None:
        if self._settling or self._relay is None:
            return
        self._settling = True
        try:
            # More may come meanwhile.
            while self._owed and not self._paused and self._state is State.ANSWERING:
                size, self._owed = self._owed, 0
                self._relay.drained(size)
        finally:
            self._settling = False

    def _broken(self, fault: str, more: bool) -> None:
        self._log.warn(
            "The application's answer to {method} {path} is {fault} than its Content-Length",
            method=self._head.method,
            path=self._head.path,
            fault=fault,
        )
        if not more:
            self._state = State.DRAINING
        self.cut()

    def failed(self, error: IRelayError) -> None:
        """There is no answer, or no more of it."""
        if self._state is State.WAITING:
            told = self._side.refusal(error)
            fields = [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                *told.headers,
            ]
            body = f"{told.sentence}\n".encode()
            self.start(told.status, HTTPStatus(told.status).phrase, fields, body, False)
        elif self._state is State.ANSWERING:
            self._state = State.DRAINING
            self.cut()

    def _complete(self) -> None:
        """All is written; what follows waits until the socket has taken nearly all of it."""
        self._state = State.DRAINING
        if not self._upload.complete:
            self._upload.give_up()
        if self._paused:
            self._connection.draining()
        else:
            self._finish()

    def _finish(self) -> None:
        self._end()
        upload = self._upload
        unread = not upload.complete or bool(upload.rest)
        self._connection.relayed(upload.rest, stays=self._stays, linger=unread)

    # -- the socket

    def pauseProducing(self) -> None:
        """The socket takes nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        if self._state is State.DRAINING:
            self._finish()
        else:
            self._settle()

    def stopProducing(self) -> None:
        """The connection is gone, as `lost` says."""

    # -- the end

    def lost(self) -> None:
        """The connection is gone, or nobody waits for the answer any more."""
        if self._state is not State.OVER:
            told = self._state in _TOLD
            self._end()
            if told and self._relay is not None:
                self._relay.gone()

    def send_away(self) -> None:
        """The bridge stops."""
        self._connection.refuse(_STOPPED)

    def cut(self) -> None:
        """Ends the answer, that has begun, and the connection."""
        orderly = self._framing is not None and self._framing.end is not End.CLOSE
        self.lost()
        self._connection.cut(orderly=orderly)

    def _end(self) -> None:
        """Nothing comes any more, and no deadline."""
        if self._framing is not None:
            self._transport.unregisterProducer()
        self._state = State.OVER
        self._upload.let_go()
        self._under_way.discard(self)
