"""STOMP 1.0, 1.1 and 1.2: ``v10.stomp``, ``v11.stomp`` and ``v12.stomp``.

The version is what CONNECT agrees on, whatever the subprotocol was. Clients of RabbitMQ's Web
STOMP find here what they know; ``docs/stomp.md`` says what differs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from zope.interface import implementer

from twbridge.dialects.interfaces import Encoder, ICodec, IDialect, Route
from twbridge.dialects.stomp.codec import StompCodec
from twbridge.dialects.stomp.frames import FrameLimits
from twbridge.dialects.stomp.messages import Encoders
from twbridge.dialects.stomp.transactions import TransactionLimits

__all__ = ["SUBPROTOCOLS", "FrameLimits", "StompDialect", "StompLimits", "stomp_dialects"]

SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


@dataclass(frozen=True, slots=True)
class StompLimits:
    """What one session may cost before its commands reach the session."""

    frame: FrameLimits = field(default_factory=FrameLimits)
    transactions: TransactionLimits = field(default_factory=TransactionLimits)
    #: Deliveries without an ack of a subscription that doesn't say; no other gets more.
    prefetch: int = 1000


def _random() -> str:
    return secrets.token_urlsafe(12)


@implementer(IDialect)
class StompDialect:
    """STOMP by one of its subprotocols.

    Args:
        subprotocol: its name.
        encoders: shared by all dialects of an instance.
        token: makes words that nobody can guess.
        vhost: what clients may call ``host``; None: anything.
        limits: of a session.
    """

    def __init__(
        self,
        subprotocol: str,
        encoders: Encoders,
        token: Callable[[], str],
        *,
        vhost: str | None = None,
        limits: StompLimits | None = None,
    ) -> None:
        self.subprotocol: str | None = subprotocol
        self.encoders = encoders
        self.token = token
        self.vhost = vhost
        self.limits = limits or StompLimits()
        self.encoder: Encoder = encoders.shared("Q_", "1.2")

    def codec(self, route: Route) -> ICodec:
        """A new one: a conversation has a state."""
        return StompCodec(self)


def stomp_dialects(
    *,
    vhost: str | None = None,
    limits: StompLimits | None = None,
    token: Callable[[], str] = _random,
) -> list[StompDialect]:
    """The three of them; the arguments are those of :class:`StompDialect`."""
    encoders = Encoders(token)
    return [
        StompDialect(each, encoders, token, vhost=vhost, limits=limits) for each in SUBPROTOCOLS
    ]
