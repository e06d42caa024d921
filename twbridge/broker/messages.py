"""Messages as the embedded broker holds them, and the bytes that they cost (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Entry", "Memory", "Message"]

#: What a message costs beside its body and properties, roughly, in bytes.
OVERHEAD = 512


class Message:
    """One published message, shared by every queue that holds it.

    ``raw_properties`` stands as it came in the content header, ``headers`` is its decoded header
    table, which headers exchanges match on; both without ``BCC``.
    """

    __slots__ = (
        "body",
        "exchange",
        "headers",
        "holders",
        "more_keys",
        "priority",
        "raw_properties",
        "routing_key",
        "ttl",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        raw_properties: bytes = b"\x00\x00",
        body: bytes = b"",
        headers: Mapping[str, Any] | None = None,
        *,
        more_keys: tuple[str, ...] = (),
        ttl: int | None = None,
        priority: int = 0,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self.headers: Mapping[str, Any] = headers or {}
        #: The routing keys of ``CC`` and ``BCC``.
        self.more_keys = more_keys
        #: Its expiration, in milliseconds.
        self.ttl = ttl
        self.priority = priority
        #: How many queues hold it, delivered and not yet acknowledged included.
        self.holders = 0

    @property
    def size(self) -> int:
        """The bytes of its body and properties."""
        return len(self.body) + len(self.raw_properties)

    @property
    def cost(self) -> int:
        """The bytes that it takes in memory, roughly."""
        return self.size + OVERHEAD


class Entry:
    """A message in one queue. ``position`` only grows: a requeued entry goes back to its place."""

    __slots__ = ("expires", "message", "position", "redelivered")

    def __init__(self, message: Message, position: int) -> None:
        self.message = message
        self.position = position
        self.redelivered = False
        #: When, by the clock of the broker.
        self.expires: float | None = None


class Memory:
    """Counts the bytes of all messages held; says when they pass the limit, and when not any more.

    Args:
        limit: in bytes; 0 means none. Below three quarters of it the alarm ends.
        on_alarm: called with True when the limit is passed, with False when it has ended.
    """

    def __init__(self, limit: int = 0, on_alarm: Callable[[bool], None] | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.alarmed = False
        self._on_alarm = on_alarm

    def hold(self, message: Message) -> None:
        """A queue took it."""
        message.holders += 1
        if message.holders == 1:
            self.used += message.cost
            if self.limit and self.used > self.limit and not self.alarmed:
                self._alarm(True)

    def release(self, message: Message) -> None:
        """A queue is done with it."""
        message.holders -= 1
        if not message.holders:
            self.used -= message.cost
            if self.alarmed and self.used < self.limit * 3 // 4:
                self._alarm(False)

    def _alarm(self, on: bool) -> None:
        self.alarmed = on
        if self._on_alarm is not None:
            self._on_alarm(on)
