"""One request with a body, from its head to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twbridge.sockets.bodies import BodyReader
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import Answer, ICallSide
from twbridge.sockets.uploads import AHEAD, CONTINUE, expects_continue


class Exchange:
    """Reads the body, and waits for the answer.

    Args:
        side: who answers.
        head: the request's.
        client: who asks.
        transport: of the connection.
        clock: for the deadline.
        seconds: for the body to arrive, however steadily it drips.
        answered: called with the answer, and with what was received behind the request.
        refused: called where the body does not come in time.

    Raises:
        Refusal: nobody answers it.
    """

    def __init__(
        self,
        side: ICallSide,
        head: Head,
        client: Client,
        *,
        transport: Any,
        clock: IReactorTime,
        seconds: float,
        answered: Callable[[Answer, bytes], None],
        refused: Callable[[Refusal], None],
    ) -> None:
        self._transport = transport
        self._answered = answered
        self._rest = b""
        self._held = False
        self._over = False
        self._waits = expects_continue(head)
        # The right to ask comes first: a body that nobody wants need not even be sent.
        self._call = side.call(head, client, self._answer)
        self._reader: BodyReader | None
        try:
            self._reader = BodyReader(head, side.limit)
        except Refusal as refusal:
            raise self._call.refusal(refusal) from None
        self._refused = refused
        self._deadline: IDelayedCall | None = clock.callLater(seconds, self._late)

    def _late(self) -> None:
        refusal = Refusal(408, "The request's body did not come in time.")
        self._refused(self._call.refusal(refusal))

    def received(self, data: bytes) -> None:
        """Takes what is behind the head; called once at least, maybe without a byte.

        Raises:
            Refusal: the body is none, or too large.
        """
        if self._reader is None:
            self._rest += data
            if len(self._rest) > AHEAD and not self._held:
                self._held = True
                self._transport.pauseProducing()
            return
        try:
            found = self._reader.receive(data)
        except Refusal as refusal:
            raise self._call.refusal(refusal) from None
        if found is None:
            if self._waits and not data:
                self._transport.write(CONTINUE)
            self._waits = False
            return
        body, self._rest = found
        self._reader = None
        self._forget_deadline()
        self._call.received(body)

    def _answer(self, answer: Answer) -> None:
        if self._over:
            return
        self.end()
        if self._held:
            self._transport.resumeProducing()
        self._answered(answer, self._rest)

    def lost(self) -> None:
        """The connection is gone, or nobody waits for the answer any more."""
        if not self._over:
            self.end()
            self._call.lost()

    def end(self) -> None:
        """Nothing comes any more, and no deadline."""
        self._over = True
        self._forget_deadline()

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
