"""What is published to a channel, for those who ask for it again and again (sans-I/O).

Messages are numbered. The newest are kept, so that who comes back with the number of the last one
that it has gets the next; what could not be kept is counted. Where messages may have been lost
there is a number too, with nothing behind it: who has not come as far is told so.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twbridge.dialects.http import content_type_field
from twbridge.errors import BadBody
from twbridge.rpc.serializers import Body, inflate

__all__ = ["KEPT", "KEPT_BYTES", "NUMBER", "Answer", "Channel", "Poll", "line", "unavailable"]

_log = Logger()

#: Messages of a channel that are kept for those who come back.
KEPT: Final = 100
#: Their bytes. The newest is kept whatever its size.
KEPT_BYTES: Final = 1_048_576
#: How a message is called: by what is listened to, another text each time, and its number there.
NUMBER: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")

_UNKNOWN: Final = "unknown"


class Message(NamedTuple):
    """One that was published; without a body, any that may have been and never came here."""

    number: int
    channel: str
    body: Body | None


class Answer(NamedTuple):
    """Of HTTP: the status, the body, the header."""

    status: int
    body: bytes
    fields: dict[str, str]


class Poll:
    """A request that waits.

    Args:
        after: the number of the last message that is not for its client.
        answer: what it is answered with.
        lost: which its client has is not known here: it may have missed some.
        asks: only for the present number.
    """

    __slots__ = ("after", "answer", "asks", "lost", "timer")

    def __init__(
        self, after: int, answer: Deferred[Answer], *, lost: bool = False, asks: bool = False
    ) -> None:
        self.after = after
        self.lost = lost
        self.asks = asks
        self.answer = answer
        self.timer: IDelayedCall | None = None


class Channel:
    """What is published to a channel, or to all that a pattern matches, since it is listened to."""

    def __init__(self, name: str, listening: str) -> None:
        self.name = name
        #: Another one each time that it is listened to, here and in other processes.
        self.listening = listening
        self.polls: dict[Poll, None] = {}
        self.linger: IDelayedCall | None = None
        self._kept: deque[Message] = deque()
        self._size = 0
        self._latest = 0
        # The newest number without a message that is not kept any more.
        self._lost_until = 0
        # Whether the broker has the subscription, and whether it has ever had it.
        self._stands = self._stood = False

    @property
    def away(self) -> bool:
        """Whether the broker had the subscription, and has it no more."""
        return self._stood and not self._stands

    def standing(self) -> None:
        """The broker has the subscription; again, if it was interrupted."""
        if self.away:
            self._lose()
        self._stands = self._stood = True
        self._tell()

    def interrupted(self) -> None:
        """What is published now may not come here, until it stands again."""
        self._stands = False

    def poll(self, after: str, answer: Deferred[Answer]) -> Poll:
        """One that goes on where its client is; from now on with another's number."""
        listening, _, number = after.partition("-")
        if listening != self.listening or int(number) > self._latest:
            # Not what is kept: between two processes that take turns it would be that for ever.
            return Poll(self._latest, answer, lost=True)
        return Poll(int(number), answer)

    def begin(self, answer: Deferred[Answer], *, asks: bool) -> Poll:
        """One from now on."""
        return Poll(self._latest, answer, asks=asks)

    def heard(self, channel: str, body: Body) -> None:
        """One more message: all that wait get it."""
        try:
            body = inflate(body)
        except BadBody as error:
            _log.warn(
                "A message on {channel} can't be read: {why}", channel=channel, why=str(error)
            )
            self._lose()
        else:
            self._keep(channel, body)
        self._tell()

    def _tell(self) -> None:
        for poll in list(self.polls):
            there = self.answer(poll)
            if there is not None and poll in self.polls:
                poll.answer.callback(there)

    def _lose(self) -> None:
        """Others may have been published that never came here."""
        self._latest += 1
        if self._kept and self._kept[-1].body is None:
            self._kept.pop()  # who has not come as far is told once
        self._kept.append(Message(self._latest, "", None))

    def _keep(self, channel: str, body: Body) -> None:
        self._latest += 1
        self._kept.append(Message(self._latest, channel, body))
        self._size += len(body.data)
        while len(self._kept) > KEPT or (self._size > KEPT_BYTES and len(self._kept) > 1):
            gone = self._kept.popleft()
            if gone.body is None:
                self._lost_until = gone.number
            else:
                self._size -= len(gone.body.data)

    def answer(self, poll: Poll) -> Answer | None:
        """The first that the client does not have; None: there is none yet."""
        if poll.asks:
            return self.nothing(poll) if self._stands else None
        if poll.after >= self._latest:
            return None
        number, channel, body = self._kept[bisect_right(self._kept, poll.after, key=_number)]
        fields = self._fields(number)
        missed = number - poll.after - 1
        if body is None or poll.lost or self._lost_until > poll.after:
            fields["Twbridge-Missed"] = _UNKNOWN
        elif missed:
            fields["Twbridge-Missed"] = str(missed)
        if body is None:
            return Answer(204, b"", fields)
        fields["Content-Type"] = content_type_field(body.content_type)
        fields["Twbridge-Channel"] = quote(channel)
        return Answer(200, body.data, fields)

    def nothing(self, poll: Poll) -> Answer:
        """What is answered at the end of its time."""
        if not self._stands:
            return unavailable("The broker is away, come back later.")
        fields = self._fields(self._latest)
        if poll.lost:
            fields["Twbridge-Missed"] = _UNKNOWN
        return Answer(204, b"", fields)

    def _fields(self, number: int) -> dict[str, str]:
        return {"Twbridge-Number": f"{self.listening}-{number}"}


def _number(message: Message) -> int:
    return message.number


def line(status: int, sentence: str, fields: tuple[tuple[str, str], ...] = ()) -> Answer:
    """One line of plain text."""
    head = {"Content-Type": "text/plain; charset=utf-8"} | dict(fields)
    return Answer(status, f"{sentence}\n".encode(), head)


def unavailable(sentence: str) -> Answer:
    """A 503 that asks to come back."""
    return line(503, sentence, (("Retry-After", "5"),))
