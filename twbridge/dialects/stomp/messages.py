"""Messages on their way to clients, as MESSAGE frames.

::

    MESSAGE
    subscription:1                          the id of the SUBSCRIBE, if it had one
    destination:/topic/chat.a               where it was published to
    message-id:T_1@@3f9c0a51@@7             unique in the session
    redelivered:false
    ack:T_1@@3f9c0a51@@7                    1.2 alone, where it is to be acknowledged
    content-type:text/plain                 what ``headers.py`` makes of its properties
    content-length:5

    hello

The subscriptions of all sessions that have the same id, and whose messages need no ack, share one
encoder: a message is encoded once for them. Clients choose their ids by counting, as a rule, so
that a few encoders serve thousands. Where they do not, the larger part of a message is still
written once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import count

from twbridge.destinations import Destination
from twbridge.dialects.stomp.frames import Version, header_line
from twbridge.dialects.stomp.headers import message_destination, message_lines
from twbridge.frames import binary_frame, text_frame
from twbridge.wire import Delivery

__all__ = ["Encoders", "MessageEncoder", "Tail", "parse_message_id", "subscription_id"]

#: Encoders that are kept; a subscription with another id makes its own.
SHARED = 4096

#: What stands between the three parts of a message-id.
_BETWEEN = "@@"
#: A subscription's name: that and its id, or that and the destination where it has no id.
BY_ID, BY_DESTINATION = "T_", "Q_"


def subscription_id(name: str) -> str | None:
    """The ``id`` of the subscription with this name; None: it has none."""
    return name.removeprefix(BY_ID) if name.startswith(BY_ID) else None


def parse_message_id(text: str) -> tuple[str, str, int] | None:
    """The subscription's name, the encoder's token and the number; None: it is none of ours."""
    parts = text.rsplit(_BETWEEN, 2)
    if len(parts) != 3:
        return None
    name, token, number = parts
    if not (number.isascii() and number.isdigit() and len(number) <= 19):
        return None
    return name, token, int(number)


class Tail:
    """What all frames of a message end with; that of the last message is kept."""

    __slots__ = ("_delivery", "_found", "_version")

    def __init__(self) -> None:
        self._delivery: Delivery | None = None
        self._version: Version = "1.0"
        self._found = (b"", False)

    def of(self, delivery: Delivery, version: Version) -> tuple[bytes, bool]:
        """From its own headers on, and whether the frame is binary because of its body."""
        if delivery is self._delivery and version == self._version:
            return self._found
        body, binary = delivery.body, False
        if not body.isascii():
            try:
                body.decode()
            except UnicodeDecodeError:
                binary = True
        length = b"content-length:%d\n\n" % len(body) if body else b"\n"
        tail = b"".join((message_lines(delivery.raw_properties, version), length, body, b"\0"))
        self._delivery, self._version, self._found = delivery, version, (tail, binary)
        return self._found


class MessageEncoder:
    """Messages of the subscriptions with one name, in one version.

    Args:
        name: begins with ``T_`` or ``Q_``.
        version: of STOMP.
        token: begins the numbers of its messages, so that no other encoder gives the same.
        acks: whether a client has to acknowledge.
        tail: shared with others that get the same messages.
    """

    __slots__ = ("_ack", "_head", "_number", "_tail", "_token", "_version")

    def __init__(self, name: str, version: Version, token: str, acks: bool, tail: Tail) -> None:
        self._tail = tail
        self._version: Version = version
        self._number = count(1)
        identity = subscription_id(name)
        head = "MESSAGE\n"
        if identity is not None:
            head += header_line("subscription", identity, version) + "\n"
        self._head = f"{head}destination:".encode()
        unique = f"{name}{_BETWEEN}{token}{_BETWEEN}"
        self._token = f"\n{header_line('message-id', unique, version)}".encode()
        # The line's end, which stands before the number.
        self._ack: bytes | None = None
        if acks and version == "1.2":
            self._ack = f"\n{header_line('ack', unique, version)}".encode()

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        """One WebSocket frame: text where the body is UTF-8, else binary.

        The offset of a stream's message is among its headers, as the broker put it there.
        """
        version = self._version
        number = b"%d" % (next(self._number) if delivery_tag is None else delivery_tag)
        tail, binary = self._tail.of(delivery, version)
        payload = b"".join(
            (
                self._head,
                _destination(delivery.exchange, delivery.routing_key, version),
                self._token,
                number,
                b"\nredelivered:true" if delivery.redelivered else b"\nredelivered:false",
                b"\n" if self._ack is None else b"%b%b\n" % (self._ack, number),
                tail,
            )
        )
        return binary_frame(payload) if binary else text_frame(payload)


@lru_cache(maxsize=4096)
def _destination(exchange: str, routing_key: str, version: Version) -> bytes:
    _, value = header_line("", message_destination(exchange, routing_key), version).split(":", 1)
    return value.encode()


class Encoders:
    """The encoders that sessions share.

    Args:
        token: makes random words.
    """

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._tail = Tail()
        # Clients choose the names: the cache is bounded.
        self._shared = lru_cache(maxsize=SHARED)(self._make)

    def shared(self, name: str, version: Version) -> MessageEncoder:
        """The encoder of all subscriptions with this name that need no acks."""
        return self._shared(name, version)

    def own(self, name: str, version: Version, token: str) -> MessageEncoder:
        """That of one subscription whose messages are acknowledged."""
        return MessageEncoder(name, version, token, acks=True, tail=self._tail)

    def _make(self, name: str, version: Version) -> MessageEncoder:
        return MessageEncoder(name, version, self._token(), acks=False, tail=self._tail)
