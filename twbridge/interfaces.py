"""What a third-party plugin provides, and what it is given.

A plugin is a module in ``twisted/plugins/`` of another distribution (without an ``__init__.py``
there) with an object that provides :class:`IBridgePlugin`. ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.plugin import IPlugin
from zope.interface import Attribute

if TYPE_CHECKING:
    from twbridge.amqp import Link
    from twbridge.bus import Bus
    from twbridge.settings import Settings


class IBridgePlugin(IPlugin):
    """Something that lives in the bridge's process for as long as the bridge runs."""

    name = Attribute("Its name, for the log.")

    def start(bridge: Bridge) -> object:
        """Begin. The bridge listens; its link may still be connecting.

        A failure is logged and stops nothing else; nor is ``stop`` called then. A Deferred may be
        returned: its failure counts too.
        """

    def stop() -> object:
        """End: clients are about to be told to leave, the link still works.

        May return a Deferred; the bridge waits for it, but not past its own deadline.
        """


class Bridge(Protocol):
    """A running bridge, as a plugin sees it."""

    @property
    def bus(self) -> Bus:
        """The channels: see ``bus.py``."""

    @property
    def link(self) -> Link:
        """The link to the broker: see ``amqp.py``."""

    @property
    def settings(self) -> Settings:
        """The effective settings."""
