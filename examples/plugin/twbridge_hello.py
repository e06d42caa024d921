"""A plugin for twbridge: whoever says ``!hello`` in the chat is greeted.

It listens on the bus to every message that arrives for clients, and publishes its own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twbridge.bus import AMQP2WS, WS2AMQP
from twbridge.interfaces import Bridge, IBridgePlugin
from twbridge.wire import Delivery


@implementer(IBridgePlugin)
class Hello:
    """Greets."""

    name = "hello"
    _log = Logger()

    def start(self, bridge: Bridge) -> None:
        """Listen on the bus."""
        self._bus = bridge.bus
        self._leave = bridge.bus.subscribe(AMQP2WS, self._arrived)

    def stop(self) -> None:
        """Listen no more."""
        self._leave()

    def _arrived(self, delivery: Delivery) -> None:
        if delivery.body == b"!hello":
            published: list[Deferred[Any]] = self._bus.publish(WS2AMQP, "Hello from a plugin!")
            for done in published:
                done.addErrback(lambda failure: self._log.failure("Nobody was greeted", failure))
