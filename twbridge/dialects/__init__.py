"""The languages that sessions speak.

Raw and JSON are built in; a plugin adds another by its :class:`IDialect`. A dialect does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from twbridge.dialects.interfaces import Close, Encoder, ICodec, IDialect, Route
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import SettingsError

__all__ = ["Close", "Encoder", "ICodec", "IDialect", "Route", "all_dialects"]


_log = Logger()


def all_dialects(plugins: Iterable[IDialect] = ()) -> list[IDialect]:
    """The built-in dialects and those of plugins, which are logged. New objects with each call.

    Raises:
        SettingsError: two have the same subprotocol.
    """
    found: list[IDialect] = []
    own = (RawDialect(), JsonDialect())
    for dialect in (*own, *plugins):
        if any(dialect.subprotocol == other.subprotocol for other in found):
            name = dialect.subprotocol or "no subprotocol"
            raise SettingsError(f"two dialects are spoken with {name}")
        found.append(dialect)
        if dialect not in own:
            _log.info("Dialect {name} is spoken", name=dialect.subprotocol)
    return found
