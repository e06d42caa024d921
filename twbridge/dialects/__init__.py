"""The languages that sessions speak.

Raw, JSON and STOMP are built in; a plugin adds another by its :class:`IDialect`. A dialect does no
I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from twbridge.dialects.interfaces import Close, Encoder, ICodec, IDialect, Route
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.dialects.stomp import FrameLimits, StompLimits, stomp_dialects
from twbridge.errors import SettingsError

__all__ = ["Close", "Encoder", "ICodec", "IDialect", "Route", "all_dialects"]


_log = Logger()


def all_dialects(
    plugins: Iterable[IDialect] = (),
    *,
    vhost: str | None = None,
    body: int = 1 << 20,
    prefetch: int = 1000,
) -> list[IDialect]:
    """The built-in dialects and those of plugins, which are logged. New objects with each call.

    Args:
        plugins: languages of other distributions.
        vhost: what STOMP clients may call ``host``; None: anything.
        body: bytes of a message's body.
        prefetch: deliveries without an ack that a subscription may have.

    Raises:
        SettingsError: two have the same subprotocol.
    """
    found: list[IDialect] = []
    limits = StompLimits(FrameLimits(body=body), prefetch=prefetch)
    stomp = stomp_dialects(vhost=vhost, limits=limits)
    own = (RawDialect(), JsonDialect(), *stomp)
    for dialect in (*own, *plugins):
        if any(dialect.subprotocol == other.subprotocol for other in found):
            name = dialect.subprotocol or "no subprotocol"
            raise SettingsError(f"two dialects are spoken with {name}")
        found.append(dialect)
        if dialect not in own:
            _log.info("Dialect {name} is spoken", name=dialect.subprotocol)
    return found
