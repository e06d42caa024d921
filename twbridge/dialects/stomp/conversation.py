"""What a client may say when, and what it asks for by it (sans-I/O).

::

    OPENING --CONNECT--> CONNECTING --connected--> CONNECTED --DISCONNECT--> CLOSING
       '---------------------'------- an error -------'-------------------------^

``_TABLE`` has every pair of a state and a frame. What a client sends right behind its CONNECT is
read as after it, because the session does one thing after the other.

A receipt is the id of a command, so that the answer to it is the RECEIPT. What needs more than
that (a commit, whose receipt comes when all of it is confirmed) has a number in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from itertools import count
from typing import TYPE_CHECKING

from twbridge import commands
from twbridge.commands import Command
from twbridge.destinations import shown
from twbridge.dialects.stomp.acknowledging import OpenSubscription, acknowledged
from twbridge.dialects.stomp.connecting import read_connect
from twbridge.dialects.stomp.frames import Frame, Version
from twbridge.dialects.stomp.headers import is_true
from twbridge.dialects.stomp.refusals import Refusal, title_of
from twbridge.dialects.stomp.requests import (
    TEMPORARY,
    durable_queue_name,
    is_durable,
    name_of,
    read_send,
    read_subscribe,
    reply_subscription,
)
from twbridge.dialects.stomp.transactions import (
    Committed,
    Kept,
    Transactions,
    Waiting,
    size_of,
    transaction_of,
)
from twbridge.errors import BadFrame, ClientError, Conflict, NotFound, TooMany

if TYPE_CHECKING:
    from twbridge.dialects.stomp import StompDialect

__all__ = ["COMMANDS", "EARLY", "Conversation", "State"]

#: Frames that may come before the answer to CONNECT.
EARLY = 100


class State(IntEnum):
    """Where a conversation is."""

    OPENING = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    CLOSING = auto()


class Conversation:
    """One session's: the client's frames in, commands out."""

    __slots__ = (
        "_dialect",
        "_early",
        "_numbers",
        "_replies",
        "_subscriptions",
        "_transactions",
        "beats",
        "state",
        "title",
        "version",
        "waiting",
    )

    def __init__(self, dialect: StompDialect) -> None:
        self.state = State.OPENING
        #: What was agreed on.
        self.version: Version = "1.0"
        self.beats: tuple[float, float] = (0.0, 0.0)
        #: Of the ERROR for the one frame that was refused here.
        self.title = ""
        #: By the number in place of an id.
        self.waiting: dict[int, Waiting] = {}
        self._dialect = dialect
        self._early = 0
        self._subscriptions: dict[str, OpenSubscription] = {}
        self._replies: dict[str, commands.Subscribe] = {}
        self._transactions: Transactions | None = None
        self._numbers = count(1)

    @property
    def over(self) -> bool:
        """Whether nothing is read any more."""
        return self.state is State.CLOSING

    def connected(self) -> None:
        """The client is who it says."""
        if self.state is State.CONNECTING:
            self.state = State.CONNECTED

    def interrupt(self) -> None:
        """The broker has gone: what stands and has no queue misses messages from now on."""
        for each in self._subscriptions.values():
            each.interrupted = each.misses and each.command.id not in self.waiting

    @property
    def interrupted(self) -> commands.Subscribe | None:
        """One that stood when the broker went away, and may have missed messages."""
        found = (each.command for each in self._subscriptions.values() if each.interrupted)
        return next(found, None)

    def receive(self, frame: Frame) -> Sequence[Command]:
        """What a frame asks for, or the one command that refuses it."""
        receipt = frame.headers.get("receipt")
        try:
            return _step(self.state, frame)(self, frame, receipt)
        except Refusal as refusal:
            return (self.refuse(receipt, refusal.title, refusal.error),)
        except ClientError as error:
            return (self.refuse(receipt, title_of(error), error),)

    def refuse(self, receipt: str | None, title: str, error: ClientError) -> Command:
        """The command that refuses a frame; nothing is read after it."""
        self.state = State.CLOSING
        self.title = title
        return commands.Invalid(receipt, error)

    def _ignore(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        return ()

    def _too_early(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        raise Refusal("Illegal command", BadFrame("You must log in using CONNECT first."))

    def _twice(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        raise Refusal("Illegal command", BadFrame("You are connected already."))

    def _unknown(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        text = f"There is no command {shown(frame.command)} for clients."
        raise Refusal("Bad command", BadFrame(text))

    def _connect(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        asked = read_connect(frame, self._dialect.vhost)
        self.version = asked.version
        self.beats = asked.beats
        self.state = State.CONNECTING
        return (commands.Connect(None, asked.user, asked.password, asked.vhost),)

    def _before_answer(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        """As in CONNECTED, but not without limit."""
        self._early += 1
        if self._early > EARLY:
            raise TooMany(f"At most {EARLY} frames may come before the answer to CONNECT.")
        return _step(State.CONNECTED, frame)(self, frame, receipt)

    def _send(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        publish = read_send(frame)
        publish.id = receipt
        if "transaction" not in frame.headers:
            self._add_reply(publish)
        return self._now_or_kept(frame, publish)

    def _add_reply(self, publish: commands.Publish) -> None:
        """The queue for the answers; each is remembered, and the session bounds their number."""
        written = publish.properties.get("reply_to", "")
        if written.startswith(TEMPORARY):
            publish.reply = self._reply_queue(written)
            assert publish.reply.queue is not None
            publish.properties["reply_to"] = publish.reply.queue.name

    def _reply_queue(self, written: str) -> commands.Subscribe:
        reply = self._replies.get(written)
        if reply is None:
            reply = reply_subscription(written, self._dialect.token())
            assert reply.name is not None
            reply.encoder = self._dialect.encoders.shared(reply.name, self.version)
            self._replies[written] = reply
        return reply

    def _now_or_kept(self, frame: Frame, command: Kept) -> Sequence[Command]:
        transaction = frame.headers.get("transaction")
        if transaction is None:
            return (command,)
        self._begun.keep(transaction, command, size_of(frame))
        return ()

    def _subscribe(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        asked = read_subscribe(frame, self._dialect.limits.prefetch)
        command = asked.command
        name = command.name
        assert name is not None
        if name in self._subscriptions:
            text = f"A subscription identified by {shown(name[2:])} exists already."
            raise Refusal("Duplicated subscription identifier", Conflict(text))
        token = self._dialect.token() if asked.acks else None
        encoders = self._dialect.encoders
        if token is None:
            command.encoder = encoders.shared(name, self.version)
        else:
            command.encoder = encoders.own(name, self.version, token)
        self._subscriptions[name] = OpenSubscription(command, token, asked.cumulative)
        command.id = self._wait(Waiting(receipt, name))
        return (command,)

    def _unsubscribe(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        durable = is_durable(frame.headers)
        name = name_of(frame)
        subscription = self._subscriptions.pop(name, None)
        if subscription is None:
            text = f"There is no subscription {shown(name[2:])} to end."
            raise Refusal("No subscription found", NotFound(text))
        destination, queue = subscription.command.destination, subscription.command.queue
        # A name that a client chose may be that of a queue that was there before.
        delete = (
            durable
            and destination.kind == "topic"
            and queue is not None
            and queue.name == durable_queue_name(destination.key, frame.headers["id"])
        )
        return (commands.Unsubscribe(receipt, destination, name, delete),)

    def _ack(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        found = acknowledged(frame, self.version, self._subscriptions)
        if found is None:
            return self._late(frame, receipt)
        subscription, number = found
        command = subscription.command
        if command.ack == "auto":
            # Nothing of an automatic subscription or of a stream waits for it.
            return self._answer(receipt)
        ack = commands.Ack(None, command.destination, number, subscription.cumulative, command.name)
        return self._settle(frame, receipt, ack)

    def _nack(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        requeue = is_true(frame.headers.get("requeue")) is not False
        found = acknowledged(frame, self.version, self._subscriptions)
        if found is None:
            return self._late(frame, receipt)
        subscription, number = found
        command = subscription.command
        if command.ack == "auto":
            raise Conflict("The messages of this subscription can't be refused.")
        multiple = subscription.cumulative
        nack = commands.Nack(None, command.destination, number, requeue, multiple, command.name)
        return self._settle(frame, receipt, nack)

    def _late(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        """The message went back to its queue: that is worth no ERROR, but no receipt either."""
        if receipt is None:
            return ()
        error = NotFound(f"The subscription of the message that {frame.command} names has ended.")
        raise Refusal("Subscription not found", error)

    def _settle(
        self, frame: Frame, receipt: str | None, command: commands.Ack | commands.Nack
    ) -> Sequence[Command]:
        """Within a transaction the receipt says that it is kept, as RabbitMQ's does."""
        now = self._now_or_kept(frame, command)
        if not now:
            return self._answer(receipt)
        command.id = receipt
        return now

    def _answer(self, receipt: str | None) -> Sequence[Command]:
        """Nothing is to be done; the receipt comes in its turn."""
        return () if receipt is None else (commands.Ping(receipt),)

    def _begin(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        self._begun.begin(transaction_of(frame))
        return self._answer(receipt)

    def _abort(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        self._begun.end(transaction_of(frame))
        return self._answer(receipt)

    def _commit(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        kept = self._begun.end(transaction_of(frame))
        if not kept:
            return self._answer(receipt)
        committed = Committed(receipt, len(kept))
        for command in kept:
            own = command.id
            assert not isinstance(own, int)
            if isinstance(command, commands.Publish):
                self._add_reply(command)
            command.id = self._wait(Waiting(own, committed=committed))
        return (commands.Commit(receipt, kept),)

    @property
    def _begun(self) -> Transactions:
        if self._transactions is None:
            self._transactions = Transactions(self._dialect.limits.transactions)
        return self._transactions

    def _disconnect(self, frame: Frame, receipt: str | None) -> Sequence[Command]:
        self.state = State.CLOSING
        return (commands.Disconnect(receipt),)

    def _wait(self, waiting: Waiting) -> int:
        number = next(self._numbers)
        self.waiting[number] = waiting
        return number


_Step = Callable[[Conversation, Frame, str | None], Sequence[Command]]

_CONNECTED: dict[str, _Step] = {
    "SEND": Conversation._send,
    "SUBSCRIBE": Conversation._subscribe,
    "UNSUBSCRIBE": Conversation._unsubscribe,
    "ACK": Conversation._ack,
    "NACK": Conversation._nack,
    "BEGIN": Conversation._begin,
    "COMMIT": Conversation._commit,
    "ABORT": Conversation._abort,
    "DISCONNECT": Conversation._disconnect,
    "": Conversation._unknown,
}

#: What each frame means in each state; the empty command is any other.
_TABLE: dict[tuple[State, str], _Step] = {
    (State.OPENING, "CONNECT"): Conversation._connect,
    (State.OPENING, "STOMP"): Conversation._connect,
    (State.CONNECTING, "CONNECT"): Conversation._twice,
    (State.CONNECTING, "STOMP"): Conversation._twice,
    (State.CONNECTED, "CONNECT"): Conversation._twice,
    (State.CONNECTED, "STOMP"): Conversation._twice,
    (State.CLOSING, "CONNECT"): Conversation._ignore,
    (State.CLOSING, "STOMP"): Conversation._ignore,
}
for _command, _carry_out in _CONNECTED.items():
    _TABLE[State.OPENING, _command] = Conversation._too_early
    _TABLE[State.CONNECTING, _command] = Conversation._before_answer
    _TABLE[State.CONNECTED, _command] = _carry_out
    _TABLE[State.CLOSING, _command] = Conversation._ignore

#: Those that a client may send.
COMMANDS = frozenset(command for _, command in _TABLE if command)


def _step(state: State, frame: Frame) -> _Step:
    return _TABLE[state, frame.command if frame.command in COMMANDS else ""]
