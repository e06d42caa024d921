"""Direct reply-to addresses that clients have been given (sans-I/O).

Who asks with RabbitMQ's direct reply-to is answered at ``amq.rabbitmq.reply-to.<token>``. RabbitMQ
decodes the token without a check: one that it did not make ends the connection of who publishes to
it, and all clients are on that. So a client may answer where a message that was delivered to it, or
to another client of this process, said so, and nowhere else. Nobody can guess a token.
"""

from __future__ import annotations

__all__ = ["DIRECT_REPLY", "ReplyAddresses", "given"]

#: Begins their names.
DIRECT_REPLY = "amq.rabbitmq.reply-to"
_PREFIX = f"{DIRECT_REPLY}.".encode()
#: Addresses that are remembered; an asker has one for all its questions.
KNOWN = 10_000


class ReplyAddresses:
    """Those that were given out lately."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def give(self, reply_to: bytes) -> None:
        """A client is told of that ``reply_to`` of a delivery, whatever it is."""
        if not (reply_to.startswith(_PREFIX) and reply_to.isascii()):
            return
        name = reply_to.decode()
        self._names.pop(name, None)
        self._names[name] = None
        if len(self._names) > KNOWN:
            del self._names[next(iter(self._names))]

    def __contains__(self, name: str) -> bool:
        return name in self._names


#: Of this process. Deliveries are encoded far from where publishes are checked.
given = ReplyAddresses()
