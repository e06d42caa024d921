"""What a client may do: the ``[[allow]]`` rules (pure).

A rule is an operation (``subscribe``, ``publish`` or ``call``) and a destination pattern: an
address whose key is an AMQP topic pattern and whose name may hold ``*`` for any run of characters
(a literal star is ``%2A``). ``/exchange/news.*/eu.#`` allows the keys below ``eu`` on each
exchange that begins with ``news.``.

Everything is refused but what a rule allows. Without any rule everything is allowed on loopback
listeners and nothing elsewhere. Names that begin with ``twbridge.`` are refused in both cases,
except those that the settings configure (of routes, exchanges).

A subscription is allowed when the rule matches each key that its binding key can match. Fanout
and headers exchanges ignore the key: a rule on one of them allows all of it, whatever its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, Protocol, get_args

from twbridge.destinations import Destination, Kind, split, unquote
from twbridge.errors import BadDestination, Forbidden, SettingsError
from twbridge.link.topology import Queue
from twbridge.reply_addresses import DIRECT_REPLY, given
from twbridge.topics import compile_pattern, covers

__all__ = ["Operation", "Peer", "Policy", "RuleLike"]

Operation = Literal["subscribe", "publish", "call"]

RESERVED = "twbridge."
#: Of queues for answers to one session.
REPLY = "twbridge.reply."
#: Of queues of durable subscriptions in STOMP, as RabbitMQ's adapter names them.
DURABLE = "stomp-subscription-"


class RuleLike(Protocol):
    """An ``[[allow]]`` table of the settings."""

    @property
    def operation(self) -> str: ...

    @property
    def destination(self) -> str: ...


class Peer:
    """Who is at the other end of a session.

    Args:
        user: the authenticated user; None where nobody has logged in.
        loopback: whether the *listener* is bound to a loopback address or a local socket; a proxy
            on this machine makes every client's address a loopback one.
        address: the client's address, for logs.
        client: the UUID that its library keeps for its lifetime (``?client=``), in canonical form;
            None where it gave none.
    """

    __slots__ = ("address", "client", "loopback", "user")

    def __init__(
        self, user: str | None, loopback: bool, address: str, client: str | None = None
    ) -> None:
        self.user = user
        self.loopback = loopback
        self.address = address
        self.client = client

    def __repr__(self) -> str:
        return f"<Peer {self.address} user={self.user!r} loopback={self.loopback}>"


class Policy:
    """The rules, compiled.

    Args:
        rules: the ``[[allow]]`` tables.
        reserved_ok: the names under ``twbridge.`` that clients may use where a rule allows it.

    Raises:
        SettingsError: a rule can't be read; the text names its key.
    """

    def __init__(self, rules: Iterable[RuleLike], reserved_ok: Iterable[str] = ()) -> None:
        self._rules = [_Rule(index, rule) for index, rule in enumerate(rules)]
        self._reserved_ok = frozenset(reserved_ok)
        # Clients choose what is asked: the cache is bounded.
        self._allowed = lru_cache(maxsize=4096)(self._search)

    @property
    def empty(self) -> bool:
        """Whether there is no rule: all is open on loopback listeners, and worth a log line."""
        return not self._rules

    def check(self, operation: Operation, destination: Destination, peer: Peer) -> None:
        """Return when ``peer`` may do it.

        Raises:
            Forbidden: it may not.
        """
        if operation == "publish" and _is_reply(destination):
            return  # whoever was given such a name was asked for an answer
        name = destination.name
        if name.startswith(RESERVED) and name not in self._reserved_ok:
            raise Forbidden(f"Names that begin with twbridge. are reserved: {destination}")
        if name.startswith(DIRECT_REPLY):
            raise Forbidden("Direct reply-to addresses are not for clients.")
        if "\n" in name or "\r" in name:
            # The broker drops them: it would be another name than that which is allowed.
            raise Forbidden("A name can't hold a line break.")
        if not self._rules:
            if not peer.loopback:
                raise Forbidden(
                    "No rule allows anything here to clients that do not call it localhost, or "
                    "come from elsewhere: write [[allow]] rules."
                )
        elif not self._allowed(operation, destination):
            raise Forbidden(f"No rule allows this: {operation} {destination}")

    def check_anonymous(self, peer: Peer) -> None:
        """Return when somebody who is nobody in particular may be a client.

        Raises:
            Forbidden: nothing would be allowed to it.
        """
        if not self._rules and not peer.loopback:
            raise Forbidden("No rule allows anything on this listener.")

    def check_queue(self, queue: Queue, destination: Destination, peer: Peer) -> None:
        """Return when ``peer`` may have a subscription to ``destination`` declare that queue.

        One with a name can be read, so that takes the right to subscribe to it; but the names of
        durable subscriptions to topics come with the right to the topic (to those of exchanges
        not: the exchange is no part of the name). A queue with a name of the client's choice that
        a live destination is bound to gets what comes there, which takes the right to publish to
        it. Its dead letters are published somewhere, which takes the right to publish there.

        Raises:
            Forbidden: it may not.
        """
        durable = destination.kind == "topic" and queue.name.startswith(DURABLE)
        if queue.name and not durable:
            self.check("subscribe", Destination("queue", queue.name), peer)
        if queue.name and destination.live and not queue.name.startswith(DURABLE):
            self.check("publish", Destination("queue", queue.name), peer)
        self.check_dead_letters(queue, peer)

    def check_dead_letters(self, queue: Queue, peer: Peer) -> None:
        """Return when ``peer`` may publish to wherever that queue sends its dead letters.

        Raises:
            Forbidden: it may not.
        """
        letters = queue.arguments.get("x-dead-letter-exchange")
        if letters is None:
            return
        key = queue.arguments.get("x-dead-letter-routing-key")
        if key is None:
            # They keep that which they came with: any.
            self._check_every_key(str(letters), peer)
        elif letters:
            self.check("publish", Destination("exchange", str(letters), str(key)), peer)
        else:
            self.check("publish", Destination("queue", str(key)), peer)

    def _check_every_key(self, exchange: str, peer: Peer) -> None:
        destination = Destination("exchange", exchange, "#")
        if not exchange:
            raise Forbidden("Dead letters for queues need an x-dead-letter-routing-key.")
        self.check("publish", destination, peer)
        if self._rules and not any(rule.allows_every_key(destination) for rule in self._rules):
            raise Forbidden(f"No rule allows this: publish {destination}")

    def _search(self, operation: Operation, destination: Destination) -> bool:
        return any(rule.allows(operation, destination) for rule in self._rules)


class _Rule:
    """One compiled rule. ``/topic/<key>`` and ``/exchange/amq.topic/<key>`` are the same."""

    __slots__ = ("_key", "_kind", "_matches_key", "_matches_name", "_operation")

    def __init__(self, index: int, rule: RuleLike) -> None:
        where = f"allow[{index}]"
        if rule.operation not in get_args(Operation):
            known = ", ".join(get_args(Operation))
            raise SettingsError(f"{where}.operation: {rule.operation!r} is none of {known}")
        self._operation = rule.operation
        try:
            kind, segments = split(rule.destination)
            if kind == "topic":
                kind, segments = "exchange", ["amq.topic", *segments]
            self._kind: Kind = kind
            self._matches_name = _glob(segments[0]).fullmatch
            self._key = unquote(segments[1]) if len(segments) == 2 else ""
        except BadDestination as error:
            raise SettingsError(f"{where}.destination: {error}") from None
        self._matches_key = compile_pattern(self._key)

    def allows(self, operation: Operation, destination: Destination) -> bool:
        if not self._is_about(operation, destination):
            return False
        if operation == "subscribe":
            return covers(self._key, destination.key)
        return self._matches_key(destination.key)

    def allows_every_key(self, destination: Destination) -> bool:
        """Whether all that may come to it may be published, as the pattern of its key says."""
        return self._is_about("publish", destination) and covers(self._key, destination.key)

    def _is_about(self, operation: Operation, destination: Destination) -> bool:
        kind, name = destination.kind, destination.name
        if kind == "topic":
            kind, name = "exchange", destination.exchange
        return (
            operation == self._operation and kind == self._kind and bool(self._matches_name(name))
        )


def _is_reply(destination: Destination) -> bool:
    name = destination.name
    return destination.kind == "reply-queue" and (name.startswith(REPLY) or name in given)


def _glob(segment: str) -> re.Pattern[str]:
    """A percent-encoded name in which ``*`` stands for any run of characters."""
    return re.compile(".*".join(re.escape(unquote(part)) for part in segment.split("*")), re.DOTALL)
