"""What :class:`twbridge.wire.FrameReader` makes of bytes (sans-I/O)."""

from __future__ import annotations

from typing import Any

from twbridge.codec.properties import Properties, decode_properties


class _Message:
    """What every event with content shares: the body, and properties decoded on first use."""

    __slots__ = ("_properties", "body", "channel", "raw_properties")

    channel: int
    #: The property flags and values, as they stand in the content header.
    raw_properties: bytes
    body: bytes
    _properties: Properties | None

    @property
    def properties(self) -> Properties:
        """The decoded properties. Raises FrameError where the header's bytes are malformed."""
        if self._properties is None:
            self._properties = decode_properties(self.raw_properties)
        return self._properties

    @property
    def headers(self) -> dict[str, Any]:
        """The header table; empty where the message has none."""
        return self.properties.get("headers", {})


class Delivery(_Message):
    """A message for a consumer (basic.deliver)."""

    __slots__ = ("consumer_tag", "delivery_tag", "exchange", "redelivered", "routing_key")

    def __init__(
        self,
        channel: int,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        raw_properties: bytes = b"\x00\x00",
        body: bytes = b"",
    ) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self._properties = None

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.delivery_tag} on {self.channel} from {self.exchange!r} "
            f"{self.routing_key!r}, {len(self.body)} bytes>"
        )


class Content(_Message):
    """Any other method with content: basic.publish, basic.return or basic.get-ok."""

    __slots__ = ("method",)

    def __init__(
        self, channel: int, method: Any, raw_properties: bytes = b"\x00\x00", body: bytes = b""
    ) -> None:
        self.channel = channel
        #: The pamqp.commands object.
        self.method = method
        self.raw_properties = raw_properties
        self.body = body
        self._properties = None

    def __repr__(self) -> str:
        return f"<Content {self.method.name} on {self.channel}, {len(self.body)} bytes>"


class Confirm:
    """basic.ack or basic.nack: a confirm from the broker, or an answer from a consumer."""

    __slots__ = ("ack", "channel", "delivery_tag", "multiple", "requeue")

    def __init__(
        self, channel: int, delivery_tag: int, multiple: bool, ack: bool, requeue: bool = False
    ) -> None:
        self.channel = channel
        self.delivery_tag = delivery_tag
        self.multiple = multiple
        self.ack = ack
        self.requeue = requeue

    def __repr__(self) -> str:
        word = "ack" if self.ack else "nack"
        return f"<Confirm {word} {self.delivery_tag} multiple={self.multiple}>"


class Method:
    """A method without content; ``method`` is the pamqp.commands object."""

    __slots__ = ("channel", "method")

    def __init__(self, channel: int, method: Any) -> None:
        self.channel = channel
        self.method = method

    def __repr__(self) -> str:
        return f"<Method {self.method.name} on {self.channel}>"


class Heartbeat:
    """A heartbeat frame."""

    __slots__ = ()


Event = Delivery | Content | Confirm | Method | Heartbeat
