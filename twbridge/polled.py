"""What is published to a channel, for those who ask for it again and again (sans-I/O).

Messages are numbered. The newest are kept, so that who comes back with the number of the last one
that it has gets the next; what could not be kept is counted.
"""

from __future__ import annotations

import re
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
    """One that was published.

    Attributes:
        gap: others may have been published before it that never came here.
    """

    number: int
    channel: str
    body: Body
    gap: bool


class Answer(NamedTuple):
    """Of HTTP: the status, the body, the header."""

    status: int
    body: bytes
    fields: dict[str, str]


class Poll:
    """A request that waits.

    Args:
        after: the number of the last message that is not for its client.
        lost: which its client has is not known here: it may have missed some.
    """

    __slots__ = ("after", "answer", "lost", "timer")

    def __init__(self, after: int, lost: bool, answer: Deferred[Answer]) -> None:
        self.after = after
        self.lost = lost
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
        # Something may be missing before the next message.
        self._gap = False
        # The newest message with a gap that is not kept any more.
        self._gap_gone = 0
        # Whether the broker has the subscription.
        self._stands = False

    def standing(self, _result: None) -> None:
        """The broker has the subscription."""
        self._stands = True

    def poll(self, after: re.Match[str] | None, answer: Deferred[Answer]) -> Poll:
        """One that goes on where its client is; from now on without a number, or with another's."""
        if after is None:
            return Poll(self._latest, False, answer)
        number = int(after[2])
        if after[1] != self.listening or number > self._latest:
            # Not what is kept: between two processes that take turns it would be that for ever.
            return Poll(self._latest, True, answer)
        return Poll(number, False, answer)

    def heard(self, channel: str, body: Body) -> None:
        """One more message: all that wait get it."""
        try:
            body = inflate(body)
        except BadBody as error:
            _log.warn(
                "A message on {channel} can't be read: {why}", channel=channel, why=str(error)
            )
            self._gap = True
            return
        self._keep(channel, body)
        for poll in list(self.polls):
            there = self.answer(poll)
            if there is not None and poll in self.polls:
                poll.answer.callback(there)

    def _keep(self, channel: str, body: Body) -> None:
        self._latest += 1
        self._kept.append(Message(self._latest, channel, body, self._gap))
        self._gap = False
        self._size += len(body.data)
        while len(self._kept) > KEPT or (self._size > KEPT_BYTES and len(self._kept) > 1):
            gone = self._kept.popleft()
            self._size -= len(gone.body.data)
            if gone.gap:
                self._gap_gone = gone.number

    def interrupted(self) -> None:
        """What is published now does not come here."""
        self._gap = True

    def answer(self, poll: Poll) -> Answer | None:
        """The first message that the client does not have; None: there is none yet."""
        if poll.after >= self._latest:
            return None
        first = self._kept[0].number
        message = self._kept[max(poll.after + 1 - first, 0)]
        fields = self._fields(message.number)
        fields["Content-Type"] = content_type_field(message.body.content_type)
        fields["Twbridge-Channel"] = quote(message.channel)
        missed = message.number - poll.after - 1
        if poll.lost or message.gap or self._gap_gone > poll.after:
            fields["Twbridge-Missed"] = _UNKNOWN
        elif missed:
            fields["Twbridge-Missed"] = str(missed)
        return Answer(200, message.body.data, fields)

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


def line(status: int, sentence: str, fields: tuple[tuple[str, str], ...] = ()) -> Answer:
    """One line of plain text."""
    head = {"Content-Type": "text/plain; charset=utf-8"} | dict(fields)
    return Answer(status, f"{sentence}\n".encode(), head)


def unavailable(sentence: str) -> Answer:
    """A 503 that asks to come back."""
    return line(503, sentence, (("Retry-After", "5"),))
