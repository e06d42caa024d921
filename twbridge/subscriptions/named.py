"""A session as one of its subscriptions sees it, where that has a name or an encoder of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twbridge.commands import Dropped, Event, Gap
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import Encoder
from twbridge.errors import TwbridgeError
from twbridge.flow import Budget
from twbridge.subscriptions.ports import Outlet

__all__ = ["NamedOutlet"]


class _Session(Outlet, Protocol):
    def ended(
        self, destination: Destination, error: TwbridgeError, name: str | None = None, /
    ) -> None: ...


class NamedOutlet:
    """Passes on, with the subscription's name in all that is told.

    Args:
        session: whose subscription it is.
        name: None where only the encoder is its own.
        encoder: makes its frames.
    """

    __slots__ = ("_name", "_session", "encoder", "send")

    def __init__(self, session: _Session, name: str | None, encoder: Encoder) -> None:
        self.encoder = encoder
        self.send: Callable[[bytes], None] = session.send
        self._session = session
        self._name = name

    @property
    def takes_data(self) -> bool:
        """See ``ports.Outlet``."""
        return self._session.takes_data

    @property
    def budget(self) -> Budget:
        """See ``ports.Outlet``."""
        return self._session.budget

    def overflowed(self) -> None:
        """See ``ports.Outlet``."""
        self._session.overflowed()

    def tell(self, event: Event) -> None:
        """See ``ports.Outlet``."""
        if isinstance(event, Gap | Dropped):
            event.name = self._name
        self._session.tell(event)

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        """See ``ports.Outlet``."""
        self._session.ended(destination, error, self._name)

    def interrupted(self, destination: Destination) -> None:
        """See ``ports.Outlet``."""
        self._session.tell(Gap(destination, name=self._name))
