"""The languages that sessions speak, and how one is chosen.

Raw and JSON are built in; a plugin adds another by its :class:`IDialect`. A dialect does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from twbridge.dialects.interfaces import Close, Encoder, ICodec, IDialect, Route
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import SettingsError

__all__ = ["Close", "Dialects", "Encoder", "ICodec", "IDialect", "Route"]


class Dialects:
    """Every dialect that this process speaks.

    Args:
        plugins: dialects beside the built-in ones.

    Raises:
        SettingsError: two have the same subprotocol.
    """

    def __init__(self, plugins: Iterable[IDialect] = ()) -> None:
        self._known: dict[str | None, IDialect] = {}
        for dialect in (RawDialect(), JsonDialect(), *plugins):
            if dialect.subprotocol in self._known:
                raise SettingsError(f"two dialects have the subprotocol {dialect.subprotocol!r}")
            self._known[dialect.subprotocol] = dialect

    @property
    def subprotocols(self) -> list[str]:
        """The names a client can ask for."""
        return [name for name in self._known if name is not None]

    def choose(self, asked: Iterable[str]) -> IDialect | None:
        """The dialect for a client that asked for these subprotocols, in its order of preference.

        None where it asked and nothing is known: the handshake is refused (400).
        """
        names = list(asked)
        if not names:
            return self._known[None]
        return next((self._known[name] for name in names if name in self._known), None)
