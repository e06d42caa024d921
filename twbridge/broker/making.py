"""New queues of every type, checked and joined to their virtual host (sans-I/O)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from twbridge.broker import arguments as argument_rules
from twbridge.broker import refusals
from twbridge.broker.deadletters import DeadLetters, Way
from twbridge.broker.exchanges import AnyQueue
from twbridge.broker.expiry import Expiry
from twbridge.broker.messages import Memory
from twbridge.broker.queues import Queue
from twbridge.broker.quorum import QuorumQueue
from twbridge.broker.streams import Stream

__all__ = ["Asked", "Maker", "forbid_reserved", "random_name"]

#: Bytes, RabbitMQ's.
MAX_SEGMENT_SIZE = 3_000_000_000


class Asked(NamedTuple):
    """What a queue.declare asks for."""

    name: str
    durable: bool
    auto_delete: bool
    #: The connection that it is exclusive to.
    owner: object | None
    arguments: Mapping[str, Any]


class Maker:
    """Makes queues.

    Args:
        memory: where messages are counted.
        clock: tells how old messages are and how long queues were not used.
        letters: what sends dead letters.
        delete: called with a queue that was not used for too long.
    """

    def __init__(
        self,
        memory: Memory,
        clock: IReactorTime,
        letters: DeadLetters,
        delete: Callable[[AnyQueue], object],
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._letters = letters
        self._delete = delete

    def make(self, asked: Asked) -> AnyQueue:
        """Make one; ``""`` makes a name.

        Raises:
            ChannelClosed: 403 and 406, as RabbitMQ does.
        """
        kind = argument_rules.queue_type(asked.arguments)
        if asked.name:
            forbid_reserved("queue", asked.name)
        elif kind in ("quorum", "stream"):
            raise refusals.precondition_failed(
                f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
            )
        else:
            asked = asked._replace(name=random_name("amq.gen"))
        argument_rules.check_queue(asked.name, asked.arguments)
        if kind == "stream":
            return self._stream(asked)
        return self._queue(asked, self._quorum(asked) if kind == "quorum" else self._classic(asked))

    def _classic(self, asked: Asked) -> Queue:
        return Queue(
            asked.name,
            self._memory,
            self._clock,
            durable=asked.durable,
            auto_delete=asked.auto_delete,
            owner=asked.owner,
            arguments=asked.arguments,
        )

    def _quorum(self, asked: Asked) -> Queue:
        _check_durable(asked)
        return QuorumQueue(
            asked.name, self._memory, self._clock, durable=True, arguments=asked.arguments
        )

    def _queue(self, asked: Asked, queue: Queue) -> Queue:
        exchange = asked.arguments.get("x-dead-letter-exchange")
        if exchange is not None:
            key = asked.arguments.get("x-dead-letter-routing-key")
            queue.dead_letters = Way(self._letters, queue.name, exchange, key)
        if (expires := asked.arguments.get("x-expires")) is not None:
            queue.expiry = Expiry(
                self._clock,
                expires / 1000,
                lambda: bool(queue.consumers),
                lambda: self._delete(queue),
            )
            queue.touch()
        return queue

    def _stream(self, asked: Asked) -> Stream:
        _check_durable(asked)
        if asked.arguments.get("x-stream-max-segment-size-bytes", 0) > MAX_SEGMENT_SIZE:
            raise refusals.precondition_failed(
                "Exceeded max value for x-stream-max-segment-size-bytes"
            )
        return Stream(asked.name, self._memory, self._clock, asked.arguments)


def random_name(prefix: str) -> str:
    """A name that nothing else has, ``amq.gen-...`` for example."""
    return f"{prefix}-{secrets.token_urlsafe(16)}"


def forbid_reserved(kind: str, name: str) -> None:
    """Raise ChannelClosed (403) for names that only the broker gives."""
    if name.startswith("amq."):
        raise refusals.access_refused(f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def _check_durable(asked: Asked) -> None:
    wrong = {
        "auto-delete": asked.auto_delete,
        "exclusive-owner": asked.owner is not None,
        "non-durable": not asked.durable,
    }
    for what in (what for what, is_so in wrong.items() if is_so):
        raise refusals.precondition_failed(
            f"invalid property '{what}' for queue '{asked.name}' in vhost '/'"
        )
