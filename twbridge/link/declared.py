"""What the link has been asked to declare, and how it asks the broker for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from twbridge.errors import ChannelClosed
from twbridge.link.channel import Channel
from twbridge.link.sidechannel import SideChannel
from twbridge.link.topology import Exchange, Queue

_IN_USE_OTHERWISE = 406  # AMQP 0-9-1: precondition-failed


Bound = tuple[str, str] | tuple[str, str, Mapping[str, Any]]
"""Exchange, binding key and, for an exchange of type headers, the arguments."""


@dataclass(frozen=True, slots=True)
class Declared:
    """An exchange, or a queue with its bindings."""

    what: Exchange | Queue
    bindings: tuple[Bound, ...] = ()

    def __str__(self) -> str:
        return f"the {type(self.what).__name__.lower()} {self.what.name}"

    @property
    def key(self) -> tuple[type, str]:
        """What is declared twice under one key is declared as the second says."""
        return type(self.what), self.what.name

    def ask(self, side: SideChannel) -> Deferred[None]:
        """Declare and bind; fires when both are done, fails with the first refusal."""
        calls = [_declaring(self.what)]
        calls += [_binding(self.what.name, *binding) for binding in self.bindings]
        asked = DeferredList([side.ask(call) for call in calls], consumeErrors=True)
        return asked.addCallback(_first_failure)

    def as_it_is(self, error: BaseException | None) -> Declared | None:
        """What to ask for after that refusal: the queue as it exists, or nothing."""
        exists = isinstance(error, ChannelClosed) and error.reply_code == _IN_USE_OTHERWISE
        if exists and isinstance(self.what, Queue) and not self.what.passive:
            return replace(self, what=replace(self.what, passive=True))
        return None


def count(side: SideChannel, queue: str) -> Deferred[tuple[int, int]]:
    """How many messages wait in a queue, and how many consumers it has.

    Fails with ChannelClosed (404: there is none; 405: another connection's own) or
    ConnectionClosed.
    """
    asked = side.ask(lambda channel: channel.queue_declare(queue=queue, passive=True))
    return asked.addCallback(lambda answer: (answer.message_count, answer.consumer_count))


def _first_failure(results: list[tuple[bool, Any]]) -> None:
    for done, result in results:
        if not done:
            raise result.value


def _declaring(what: Exchange | Queue) -> Callable[[Channel], Deferred[Any]]:
    common: dict[str, Any] = {
        "passive": what.passive,
        "durable": what.durable,
        "auto_delete": what.auto_delete,
        "arguments": dict(what.arguments),
    }
    if isinstance(what, Queue):
        queue = what
        return lambda channel: channel.queue_declare(
            queue=queue.name, exclusive=queue.exclusive, **common
        )
    exchange = what
    return lambda channel: channel.exchange_declare(
        exchange=exchange.name,
        exchange_type=exchange.type,
        internal=exchange.internal,
        **common,
    )


def _binding(
    queue: str, exchange: str, key: str, arguments: Mapping[str, Any] | None = None
) -> Callable[[Channel], Deferred[Any]]:
    return lambda channel: channel.queue_bind(
        queue=queue, exchange=exchange, routing_key=key, arguments=dict(arguments or {})
    )
