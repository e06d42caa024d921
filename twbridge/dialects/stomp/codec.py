"""One session's STOMP: bytes to commands, events to frames (sans-I/O).

An error is one ERROR frame and the end of the connection, as STOMP demands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from zope.interface import implementer

from twbridge import __version__, commands
from twbridge.commands import Command, Event, Id
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Close, Encoder, ICodec
from twbridge.dialects.stomp.conversation import Conversation, State
from twbridge.dialects.stomp.frames import HEART_BEAT, VERSIONS, FrameParser, write_frame
from twbridge.dialects.stomp.messages import subscription_id
from twbridge.dialects.stomp.refusals import title_of
from twbridge.dialects.stomp.transactions import Waiting
from twbridge.errors import ClientError, NotFound

if TYPE_CHECKING:
    from twbridge.dialects.stomp import StompDialect

__all__ = ["StompCodec"]

#: The events that say that a command was carried out.
_Answer: TypeAlias = (
    commands.Published
    | commands.Subscribed
    | commands.Unsubscribed
    | commands.Acknowledged
    | commands.Disconnected
    | commands.Pong
)


@implementer(ICodec)
class StompCodec:
    """One session's.

    Attributes:
        beats: seconds between two signs of life to the client, and from it; 0: none. None before
            CONNECTED.
        beat: a sign of life, one text message.
        resends: its ids are receipts, which clients may repeat.
        ordered: what is sent right behind a SUBSCRIBE comes to that, as with RabbitMQ.
    """

    beat = HEART_BEAT
    resends = False
    ordered = True

    __slots__ = ("_conversation", "_end", "_parser", "_session", "beats", "encoder")

    def __init__(self, dialect: StompDialect) -> None:
        #: Not used: every subscription has its own.
        self.encoder: Encoder = dialect.encoder
        self.beats: tuple[float, float] | None = None
        self._conversation = Conversation(dialect)
        self._parser = FrameParser(dialect.limits.frame)
        self._session = ""
        self._end: Close | None = None

    @property
    def state(self) -> State:
        """Where the conversation is."""
        return self._conversation.state

    def opening(self) -> Sequence[Command]:
        """Nothing: the client connects."""
        return ()

    def decode(self, payload: bytes, binary: bool) -> Sequence[Command]:
        """Read what came: a part of a frame, or several of them. It never raises."""
        conversation, parser = self._conversation, self._parser
        if conversation.over:
            return ()
        found: list[Command] = []
        parser.feed(payload)
        try:
            while (frame := parser.next()) is not None:
                found += conversation.receive(frame)
                if conversation.over:
                    break
                parser.version = conversation.version
        except ClientError as error:
            found.append(conversation.refuse(None, title_of(error), error))
        return found

    # -- to the client

    def encode(self, event: Event) -> tuple[bytes, bool] | None:
        """One or more frames; None: STOMP has no word for it."""
        tell = _EVENTS.get(type(event))
        payload = None if tell is None else tell(self, event)
        return (payload, False) if payload else None

    def closing(self, event: Event) -> Close | None:
        """The end, once :meth:`encode` has told it."""
        return self._end

    def _welcome(self, event: commands.Welcome) -> None:
        self._session = event.session

    def _connected(self, event: commands.Connected) -> bytes:
        conversation = self._conversation
        conversation.connected()
        self.beats = conversation.beats
        sends, expects = (int(each * 1000) for each in conversation.beats)
        return self._frame(
            "CONNECTED",
            ("server", f"twbridge/{__version__}"),
            ("session", self._session),
            ("heart-beat", f"{sends},{expects}"),
            ("version", conversation.version),
        )

    def _done(self, event: _Answer) -> bytes | None:
        """A command was carried out, and its id is a receipt or stands for more."""
        if event.id is None:
            return None
        if isinstance(event.id, str):
            return _plain_receipt(event.id) or self._receipts(event.id)
        waiting = self._conversation.waiting.pop(event.id, None)
        if waiting is None:
            return None
        committed = waiting.committed
        if committed is None:
            return self._receipts(waiting.receipt)
        committed.missing -= 1
        return self._receipts(waiting.receipt, None if committed.missing else committed.receipt)

    def _receipts(self, *receipts: str | None) -> bytes | None:
        frames = [
            self._frame("RECEIPT", ("receipt-id", each)) for each in receipts if each is not None
        ]
        return b"".join(frames) or None

    def _unsubscribed(self, event: commands.Unsubscribed) -> bytes | None:
        if event.reason is None:
            return self._done(event)
        self._end = Close(1013, event.reason)
        title = "Server cancelled subscription"
        return self._error(title, event.reason, None, event.name)

    def _link_changed(self, event: commands.LinkChanged) -> bytes | None:
        """The client hears of a loss when it can subscribe again."""
        conversation = self._conversation
        if not event.up:
            conversation.interrupt()
            return None
        missing = conversation.interrupted
        return None if missing is None else self._missed(missing.destination, missing.name)

    def _gap(self, event: commands.Gap) -> bytes | None:
        """The messages of a stream are numbered: there a gap is seen."""
        return self._missed(event.destination, event.name) if event.first is None else None

    def _missed(self, destination: Destination, name: str | None) -> bytes | None:
        """STOMP has no word for it but the end; clients come back and load what they show."""
        if self._conversation.over:
            return None
        self._conversation.state = State.CLOSING
        text = f"Messages may be missing from {destination}: connect and subscribe again."
        self._end = Close(1013, text)
        return self._error("Messages missed", text, None, name)

    def _disconnected(self, event: commands.Disconnected) -> bytes | None:
        self._end = Close(1000, "")
        return self._done(event)

    def _refused(self, event: commands.Refused) -> bytes | None:
        """Anything that is refused is the end."""
        waiting = self._forget(event.id)
        if _is_late(event, waiting):
            return None
        error = event.error
        self._conversation.state = State.CLOSING
        self._end = Close(error.close_code, error.public)
        receipt = waiting.receipt
        if waiting.committed is not None and receipt is None:
            receipt = waiting.committed.receipt
        return self._error(self._title(event), error.public, receipt, waiting.name)

    def _title(self, event: commands.Refused) -> str:
        if event.operation == "connect":
            return "Bad CONNECT"
        if event.operation:
            return title_of(event.error)
        return self._conversation.title or title_of(event.error)

    def _forget(self, identity: Id) -> Waiting:
        if isinstance(identity, int):
            return self._conversation.waiting.pop(identity, None) or Waiting(None)
        return Waiting(identity)

    def _error(self, title: str, text: str, receipt: str | None, name: str | None) -> bytes:
        headers = [
            ("message", title),
            ("content-type", "text/plain"),
            ("version", ",".join(VERSIONS)),
        ]
        if receipt is not None:
            headers.append(("receipt-id", receipt))
        identity = None if name is None else subscription_id(name)
        if identity is not None:
            headers.append(("subscription", identity))
        return self._frame("ERROR", *headers, body=text.encode())

    def _frame(self, command: str, *headers: tuple[str, str], body: bytes = b"") -> bytes:
        return write_frame(command, headers, body, self._conversation.version)


#: What is written in the same way in every version.
_is_plain = re.compile(r"[^\\:\n\r\0]*").fullmatch


def _plain_receipt(identity: str) -> bytes | None:
    """The RECEIPT, without the way through every header that there might be."""
    if not _is_plain(identity):
        return None
    return f"RECEIPT\nreceipt-id:{identity}\n\n\0".encode()


def _is_late(event: commands.Refused, waiting: Waiting) -> bool:
    """An ACK or NACK whose message has gone back to its queue, and that asked for no receipt.

    It happens to who did nothing wrong, after a loss of the link, and the message comes again.
    """
    if event.operation not in ("ack", "nack") or not isinstance(event.error, NotFound):
        return False
    committed = waiting.committed
    return waiting.receipt is None and (committed is None or committed.receipt is None)


_EVENTS: dict[type, Callable[[StompCodec, Any], bytes | None]] = {
    commands.Welcome: StompCodec._welcome,
    commands.Connected: StompCodec._connected,
    commands.Published: StompCodec._done,
    commands.Subscribed: StompCodec._done,
    commands.Acknowledged: StompCodec._done,
    commands.Pong: StompCodec._done,
    commands.LinkChanged: StompCodec._link_changed,
    commands.Gap: StompCodec._gap,
    commands.Unsubscribed: StompCodec._unsubscribed,
    commands.Disconnected: StompCodec._disconnected,
    commands.Refused: StompCodec._refused,
}
