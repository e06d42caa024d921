"""The log of a stream: messages with offsets, appended at its end, dropped at its head (sans-I/O).

Nothing here costs more than what it moves: appending, reading on from any offset and dropping from
the head do not depend on the length of the log.
"""

from __future__ import annotations

import bisect

from twbridge.broker.messages import Message

__all__ = ["Log"]


class Log:
    """Messages by offset: contiguous from :attr:`first` to before :attr:`next`, which only grow.

    Args:
        slack: so many dropped places at the head are not worth moving all others for.
    """

    def __init__(self, slack: int = 1024) -> None:
        #: The offset that the next message gets.
        self.next = 0
        #: Bytes of the bodies and properties of all messages.
        self.size = 0
        self._messages: list[Message | None] = []
        self._times: list[float] = []
        self._latest = 0.0
        self._slack = slack
        #: Places of dropped messages at the head of both lists.
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._messages) - self._dropped

    @property
    def first(self) -> int:
        """The offset of the oldest message; of an empty log: of the next one."""
        return self.next - len(self)

    @property
    def oldest(self) -> float:
        """When the oldest message was appended. There must be one."""
        return self._times[self._dropped]

    def append(self, message: Message, now: float) -> int:
        """Add a message that came at ``now`` (seconds); return its offset."""
        # Times do not go back, clocks can.
        self._latest = max(self._latest, now)
        self._messages.append(message)
        self._times.append(self._latest)
        self.size += message.size
        self.next += 1
        return self.next - 1

    def read(self, offset: int, count: int, size: int) -> tuple[int, list[Message]]:
        """Up to ``count`` messages from ``offset`` on, or from the first one, if that is later.

        Args:
            size: no more bytes than these, but one message at least.

        Returns:
            The offset of the first of them, and the messages.
        """
        offset = max(offset, self.first)
        place = offset - self.next + len(self._messages)
        found: list[Message] = []
        for message in self._messages[place : place + count] if offset < self.next else ():
            assert message is not None
            size -= message.size
            if size < 0 and found:
                break
            found.append(message)
        return offset, found

    def at(self, time: float) -> int:
        """The offset of the first message that came at ``time`` or later; the next one's if none
        did.
        """
        place = bisect.bisect_left(self._times, time, lo=self._dropped)
        return self.next - len(self._messages) + place

    def drop(self) -> Message:
        """Remove the oldest message and return it. There must be one."""
        message = self._messages[self._dropped]
        assert message is not None
        self._messages[self._dropped] = None
        self.size -= message.size
        self._dropped += 1
        if self._dropped > self._slack and self._dropped * 2 > len(self._messages):
            del self._messages[: self._dropped]
            del self._times[: self._dropped]
            self._dropped = 0
        return message
