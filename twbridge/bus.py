"""In-process channels that parts of the bridge and plugins meet on (sans-I/O).

=============  ===================================  ================================================
channel        arguments                            published
=============  ===================================  ================================================
``ws2amqp``    ``body[, destination]``              by plugins, to send a message; every listener
                                                    gets it, the bridge's own publishes it
``amqp2ws``    ``delivery``                         for every message that arrives for clients
``started``    none                                 once: the bridge listens, plugins were started
``ready``      none                                 the link to the broker is up, each time
``unavailable``  ``reason``, an exception           the link was lost
``stopping``   none                                 once, before the first client is told to leave
``stopped``    none                                 once, when the link is closed
``SIGHUP``     none                                 the process got that signal
``SIGUSR1``    none                                 as well
``SIGUSR2``    none                                 as well
``log``        ``event``, twisted.logger's          for every event that is logged
=============  ===================================  ================================================

A plugin may use channels of its own: there is nothing to register.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from enum import StrEnum
from inspect import iscoroutine
from itertools import count
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import TwbridgeError

WS2AMQP = "ws2amqp"
AMQP2WS = "amqp2ws"
STARTED = "started"
READY = "ready"
UNAVAILABLE = "unavailable"
STOPPING = "stopping"
STOPPED = "stopped"
SIGHUP = "SIGHUP"
SIGUSR1 = "SIGUSR1"
SIGUSR2 = "SIGUSR2"
LOG = "log"

Listener = Callable[..., Any]
_Method = TypeVar("_Method", bound=Listener)
_log = Logger()


class State(StrEnum):
    """Where the bridge is in its life. Entering a state is told on the channel of its name.

    ========  ==================================  ==================
    state     means                               next
    ========  ==================================  ==================
    idle      it may listen already               starting, stopping
    starting  plugins are being started           started, stopping
    started   it runs                             stopping
    stopping  it listens no more, clients leave   stopped
    stopped   the link is closed
    ========  ==================================  ==================
    """

    IDLE = "idle"
    STARTING = "starting"
    STARTED = STARTED
    STOPPING = STOPPING
    STOPPED = STOPPED


_NEXT = {
    State.IDLE: (State.STARTING, State.STOPPING),
    State.STARTING: (State.STARTED, State.STOPPING),
    State.STARTED: (State.STOPPING,),
    State.STOPPING: (State.STOPPED,),
    State.STOPPED: (),
}


class BusError(TwbridgeError):
    """Listeners failed; all the others ran.

    Attributes:
        channel: the channel.
        failures: their exceptions, in the order of the listeners.
        results: what the others returned, in that order. What becomes of Deferreds among them is
            the caller's to see to.
    """

    def __init__(self, channel: str, failures: list[Exception], results: list[Any]) -> None:
        super().__init__(
            f"{len(failures)} on channel {channel} failed: "
            + "; ".join(f"{type(each).__name__}: {each}" for each in failures)
        )
        self.channel = channel
        self.failures = tuple(failures)
        self.results = tuple(results)


def listener(channel: str, priority: float = 50) -> Callable[[_Method], _Method]:
    """Mark a method as a listener, for ``Bus.join``; it may have several marks."""

    def mark(method: _Method) -> _Method:
        method.listens_to = (  # type: ignore[attr-defined]
            *getattr(method, "listens_to", ()),
            (channel, priority),
        )
        return method

    return mark


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
        self._state = State.IDLE

    @property
    def state(self) -> State:
        """Where the bridge is in its life; for who comes too late for a channel."""
        return self._state

    def enter(self, state: State) -> None:
        """The bridge's step into a new state, told on its channel; any other step is none."""
        if state in _NEXT[self._state]:
            self._state = state
            self.tell(state)

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

    def join(self, member: object) -> Callable[[], None]:
        """Subscribe every method of an object that is marked with `listener`.

        One that a class below defines anew keeps its marks, unless it is marked there again; it
        listens no more where it is None there.

        Returns:
            What ends all that. Calling it again does nothing.
        """
        ends = [
            self.subscribe(channel, method, priority)
            for method, marks in _marked(member)
            for channel, priority in marks
        ]

        def leave() -> None:
            for end in ends:
                end()

        return leave

    def publish(self, channel: str, *args: Any) -> list[Any]:
        """Call every listener of a channel.

        Returns:
            What they returned, in the order of the calls: a Deferred where it is a coroutine.

        Raises:
            BusError: after all have run, if any failed.
        """
        results: list[Any] = []
        failures: list[Exception] = []
        for entry in self._channels.get(channel, ()):
            try:
                result = entry.listener(*args)
                results.append(Deferred.fromCoroutine(result) if iscoroutine(result) else result)
            except Exception as error:
                failures.append(error)
        if failures:
            raise BusError(channel, failures, results)
        return results

    def tell(self, channel: str, *args: Any) -> None:
        """Publish, for who has no use for results: never fails.

        Every failure is logged with its traceback, those of the Deferreds that listeners returned
        too. They are not waited for.
        """
        try:
            results = self.publish(channel, *args)
        except BusError as error:
            results = list(error.results)
            for each in error.failures:
                _log_failure(Failure(each, type(each), each.__traceback__), channel)
        for result in results:
            if isinstance(result, Deferred):
                _log_later(result, channel)

    def _remove(self, channel: str, entry: _Entry) -> None:
        left = tuple(each for each in self._channels.get(channel, ()) if each is not entry)
        if left:
            self._channels[channel] = left
        else:
            self._channels.pop(channel, None)


def _marked(member: object) -> Iterator[tuple[Listener, tuple[tuple[str, float], ...]]]:
    """The methods that are marked, in the order in which the classes define them."""
    kinds = type(member).__mro__
    for name in dict.fromkeys(name for kind in reversed(kinds) for name in vars(kind)):
        for kind in kinds:
            marks = getattr(getattr(kind, name, None), "listens_to", None)
            if marks is not None:
                if callable(method := getattr(member, name)):
                    yield method, marks
                break


def _log_later(result: Deferred[Any], channel: str) -> None:
    """Log its failure in the context of now: a listener on the log that tells does not hear it."""
    context = copy_context()
    result.addErrback(lambda failure: context.run(_log_failure, failure, channel))


def _log_failure(failure: Failure, channel: str) -> None:
    _log.failure("A listener on {channel} failed", failure, channel=str(channel))
