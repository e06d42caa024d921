"""In-process channels that parts of the bridge and plugins meet on (sans-I/O).

=============  ===================================  ================================================
channel        arguments                            published
=============  ===================================  ================================================
``ws2amqp``    ``body[, destination]``              by plugins, to send a message; every listener
                                                    gets it, the bridge's own publishes it
``amqp2ws``    ``delivery``                         for every message that arrives for clients
``started``    none                                 the bridge listens
``ready``      none                                 the link to the broker is up, each time
``unavailable``  ``reason``, an exception           the link was lost
``stopping``   none                                 before the first client is told to leave
``stopped``    none                                 the link is closed
``log``        ``event``, twisted.logger's          for every event that is logged
=============  ===================================  ================================================

A plugin may use channels of its own: there is nothing to register.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from twbridge.errors import TwbridgeError

WS2AMQP = "ws2amqp"
AMQP2WS = "amqp2ws"
STARTED = "started"
READY = "ready"
UNAVAILABLE = "unavailable"
STOPPING = "stopping"
STOPPED = "stopped"
LOG = "log"

Listener = Callable[..., Any]


class BusError(TwbridgeError):
    """Listeners failed; all the others ran.

    Attributes:
        channel: the channel.
        failures: their exceptions, in the order of the listeners.
    """

    def __init__(self, channel: str, failures: list[Exception]) -> None:
        super().__init__(
            f"{len(failures)} on channel {channel} failed: "
            + "; ".join(f"{type(each).__name__}: {each}" for each in failures)
        )
        self.channel = channel
        self.failures = tuple(failures)


@dataclass(frozen=True, order=True)
class _Entry:
    priority: float
    arrival: int
    listener: Listener = field(compare=False)


class Bus:
    """Channels with priorities.

    Args:
        on_first: called with the channel when it gets its first listener.
    """

    def __init__(self, on_first: Callable[[str], None] | None = None) -> None:
        # Tuples, replaced on each change: a listener may come or go while a channel publishes.
        self._channels: dict[str, tuple[_Entry, ...]] = {}
        self._arrivals = count()
        self._on_first = on_first

    def has(self, channel: str) -> bool:
        """Whether anybody listens."""
        return channel in self._channels

    def subscribe(
        self, channel: str, listener: Listener, priority: float = 50
    ) -> Callable[[], None]:
        """Listen on a channel; the lowest priority is called first, equal ones in order of arrival.

        Returns:
            What ends it. Calling it again does nothing.
        """
        entry = _Entry(priority, next(self._arrivals), listener)
        entries = list(self._channels.get(channel, ()))
        insort(entries, entry)
        self._channels[channel] = tuple(entries)
        if len(entries) == 1 and self._on_first:
            self._on_first(channel)
        return lambda: self._remove(channel, entry)

    def publish(self, channel: str, *args: Any) -> list[Any]:
        """Call every listener of a channel.

        Returns:
            What they returned, in the order of the calls.

        Raises:
            BusError: after all have run, if any failed.
        """
        results, failures = [], []
        for entry in self._channels.get(channel, ()):
            try:
                results.append(entry.listener(*args))
            except Exception as error:
                failures.append(error)
        if failures:
            raise BusError(channel, failures)
        return results

    def _remove(self, channel: str, entry: _Entry) -> None:
        left = tuple(each for each in self._channels.get(channel, ()) if each is not entry)
        if left:
            self._channels[channel] = left
        else:
            self._channels.pop(channel, None)
