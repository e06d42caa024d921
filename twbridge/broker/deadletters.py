"""Dead letters: what becomes of messages that a queue does not keep (sans-I/O).

Source: https://www.rabbitmq.com/dlx.html, and what RabbitMQ 3.10 does.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from twbridge import wire
from twbridge.broker import rewriting
from twbridge.broker.messages import Message
from twbridge.errors import EncodeError

__all__ = ["DeadLetters", "Reason", "Target", "Way", "buried", "is_cycle"]

Reason = Literal["expired", "rejected", "maxlen", "delivery_limit"]
Death = Mapping[str, Any]

#: What a count in 64 bits stays at.
_MOST: Final = 2**63 - 1


class Target(Protocol):
    """A queue that may get a dead letter."""

    name: str
    deleted: bool

    def push(self, message: Message) -> bool:
        """Append it."""


class Way:
    """Where the dead letters of one queue go.

    Args:
        exchange: ``x-dead-letter-exchange``; while there is none of that name they are dropped.
        routing_key: ``x-dead-letter-routing-key``, or None: they keep their own.
        queue: the name of the queue.
    """

    def __init__(
        self, letters: DeadLetters, queue: str, exchange: str, routing_key: str | None
    ) -> None:
        self._letters = letters
        self.queue = queue
        self.exchange = exchange
        self.routing_key = routing_key

    def send(self, message: Message, reason: Reason) -> None:
        """The queue is about to forget this message."""
        self._letters.send(message, reason, self)


class DeadLetters:
    """Sends them. One letter may push another one out of a full queue: they go one after another.

    Args:
        route: the queues that a message published to an exchange would go to; None where there is
            no such exchange.
        now: the time of the day in seconds.
    """

    def __init__(
        self,
        route: Callable[[str, Message], Iterable[Target] | None],
        now: Callable[[], float],
    ) -> None:
        self._route = route
        self._now = now
        self._waiting: deque[tuple[Target, Message]] = deque()
        self._sending = False

    def send(self, message: Message, reason: Reason, way: Way) -> None:
        """Publish a dead message to the exchange of its queue."""
        letter = buried(message, reason, way, int(self._now()))
        for queue in self._route(way.exchange, letter) or ():
            if reason == "rejected" or not is_cycle(queue.name, letter.headers["x-death"]):
                self._waiting.append((queue, letter))
        if not self._sending:
            self._sending = True
            try:
                self._send()
            finally:
                self._sending = False

    def _send(self) -> None:
        while self._waiting:
            queue, letter = self._waiting.popleft()
            if not queue.deleted:
                queue.push(letter)


def buried(message: Message, reason: Reason, way: Way, time: int) -> Message:
    """The message as its dead-letter exchange gets it.

    Args:
        time: seconds since 1970.
    """
    death: dict[str, Any] = {
        "count": 1,
        "reason": reason,
        "queue": way.queue,
        "time": datetime.fromtimestamp(time, UTC),
        "exchange": message.exchange,
        "routing-keys": [message.routing_key, *_strings(message.headers.get("CC"))],
    }
    if message.ttl is not None:
        properties = wire.decode_properties(message.raw_properties)
        death["original-expiration"] = properties["expiration"]
    changed, encoded = _told(death, message.headers)
    key, more_keys = message.routing_key, message.more_keys
    without: tuple[str, ...] = ()
    if way.routing_key is not None:
        key, more_keys, without = way.routing_key, (), ("CC",)
    headers = {name: value for name, value in message.headers.items() if name not in without}
    raw = rewriting.rewritten(message.raw_properties, encoded, without=without, expiration=False)
    return Message(
        way.exchange,
        key,
        raw,
        message.body,
        headers | changed,
        more_keys=more_keys,
        priority=message.priority,
    )


def is_cycle(queue: str, deaths: Sequence[Any]) -> bool:
    """Whether a letter would come back to a queue where it died, and no consumer rejected it since.

    Args:
        deaths: the header ``x-death`` of the letter, the latest first.
    """
    for death in deaths:
        if not isinstance(death, Mapping) or death.get("reason") == "rejected":
            return False
        if death.get("queue") == queue:
            return True
    return False


def _strings(value: Any) -> list[str]:
    return [key for key in value if isinstance(key, str)] if isinstance(value, list) else []


def _told(death: Death, headers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The headers that this death changes, and the same encoded."""
    changed = _with_death(death, headers)
    deaths = _sendable(changed.pop("x-death"), death)
    encoded = {name: rewriting.value(value) for name, value in changed.items()}
    encoded["x-death"] = rewriting.array([data for _, data in deaths])
    return {**changed, "x-death": [one for one, _ in deaths]}, encoded


def _with_death(death: Death, headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that this death changes: one entry of ``x-death`` for each queue and reason."""
    if "x-death" not in headers:
        first = {f"x-first-death-{what}": death[what] for what in ("reason", "queue", "exchange")}
        return {**first, "x-death": [death]}
    before = headers["x-death"]
    if not isinstance(before, list) or not all(isinstance(one, Mapping) for one in before):
        return {"x-death": [death]}  # some clients make a string of it
    latest, others = death, []
    for one in _joined(before):
        if _cause(one) == _cause(death):
            latest = {**one, "count": min(_count(one), _MOST - 1) + 1}
        else:
            others.append(one)
    return {"x-death": [latest, *others]}


def _joined(deaths: Sequence[Death]) -> list[Death]:
    """One entry for each queue and reason, as it should be; RabbitMQ turns their order around."""
    if len(deaths) < 2:
        return list(deaths)
    times = Counter(_cause(one) for one in deaths)
    joined: dict[object, Death] = {}
    for one in deaths:
        joined.setdefault(_cause(one), {"count": times[_cause(one)], **one})
    return list(reversed(joined.values()))


def _cause(death: Death) -> tuple[str, str]:
    return str(death.get("queue")), str(death.get("reason"))


def _sendable(deaths: Sequence[Death], latest: Death) -> list[tuple[Death, bytes]]:
    """Those that can be encoded, with how: a publisher may write what can only be read.

    Args:
        latest: in place of the first one, if that can't be.
    """
    told = []
    for number, death in enumerate(deaths):
        try:
            told.append((death, _encoded(death)))
        except (EncodeError, OverflowError):
            if number == 0:
                told.append((latest, _encoded(latest)))
    return told


def _count(death: Death) -> int:
    count = death.get("count")
    return min(count, _MOST) if isinstance(count, int) else 0


def _encoded(death: Death) -> bytes:
    # Clients cast the count to the type that RabbitMQ gives it.
    count = rewriting.long(_count(death))
    fields = {key: count if key == "count" else rewriting.value(of) for key, of in death.items()}
    return rewriting.table({**fields, "count": count})
