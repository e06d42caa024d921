"""What a third-party plugin provides, and what it is given.

A plugin is a module in ``twisted/plugins/`` of another distribution (without an ``__init__.py``
there) with an object that provides :class:`IBridgePlugin`. ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import Attribute, implementer

from twbridge.bus import WS2AMQP, Bus, BusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twbridge.amqp import Link
    from twbridge.destinations import Destination
    from twbridge.settings import Settings


class IBridgePlugin(IPlugin):
    """Something that lives in the bridge's process for as long as the bridge runs."""

    name = Attribute("Its name, for the log; without one it is called by the path of its class.")

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

    @property
    def reactor(self) -> Any:
        """The reactor."""


@implementer(IBridgePlugin)
class Plugin:
    """A plugin to begin with: its methods that are marked with ``bus.listener`` listen.

    ::

        class Greeter(Plugin):
            @listener(AMQP2WS)
            def greet(self, delivery):
                if delivery.body == b"!hello":
                    self.bus.tell(WS2AMQP, "Hello!")

    What extends ``start`` or ``stop`` calls this class's, at its end where it can fail.

    Attributes:
        name: the name of the class in small letters, unless the class says another.
        bridge: the running bridge.
        bus: its bus.
    """

    name: str
    bridge: Bridge
    bus: Bus
    _leave: Callable[[], None]

    def __init_subclass__(cls) -> None:
        """Give it its name."""
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    def start(self, bridge: Bridge) -> object:
        """Listen."""
        self.bridge = bridge
        self.bus = bridge.bus
        self._leave = bridge.bus.join(self)
        return None

    def stop(self) -> object:
        """Listen no more."""
        self._leave()
        return None

    def send(
        self, body: bytes | str, destination: Destination | str | None = None
    ) -> Deferred[None]:
        """Send a message: publish it on ``ws2amqp``. Fires when the broker has it.

        Fails as ``Link.publish`` does, and with BadDestination; once, with the first failure of
        a listener of the channel. Others may have taken it all the same.

        Args:
            body: bytes, or text.
            destination: where to; where the first route publishes if None.
        """
        args = (body,) if destination is None else (body, destination)
        sent: list[Deferred[Any]] = []
        try:
            results: Sequence[Any] = self.bus.publish(WS2AMQP, *args)
        except BusError as error:
            sent += [fail(each) for each in error.failures]
            results = error.results
        # Also of those that come too late to be told: their failures are nobody else's.
        sent += [each for each in results if isinstance(each, Deferred)]
        done = gatherResults(sent, consumeErrors=True)
        return done.addCallbacks(lambda _: None, _first_failure)


def _first_failure(failure: Failure) -> Failure:
    found: Failure = failure.value.subFailure  # type: ignore[union-attr]
    return found
