"""A caller for programs without a reactor of their own: every method blocks.

::

    with BlockingCaller("amqp://localhost") as caller:
        assert caller.call("add", [1, 2]) == 3
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from twbridge.errors import NotReady
from twbridge.rpc.caller import DEFAULT, Caller, Timeout, gather
from twbridge.rpc.messages import Result
from twbridge.rpc.serializers import Body
from twbridge.wire import Delivery

__all__ = ["BlockingCaller"]

#: Seconds in which a reactor starts.
_SECONDS: Final = 5.0

_starting = threading.Lock()

#: What a thread is to call; None: it is to end.
_Todo: TypeAlias = SimpleQueue[Callable[[], None] | None]


class BlockingCaller:
    """As ``Caller``, but each method waits for its result and returns it, or raises.

    It may be used from any thread but the reactor's. The first method that needs the broker
    connects; :meth:`close`, or the end of a ``with``, ends it. The reactor runs in a thread of its
    own, unless the program runs one already, and goes on until the program ends.

    Args:
        url: an AMQP URL.
        options: those of ``Caller``: timeout, pickle, id.

    Raises:
        ValueError, SettingsError: as ``Caller``.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._reactor = _running_reactor()
        self._lock = threading.Lock()
        self._started = False
        self._trigger: Any = None
        self._callbacks = _Callbacks(self._reactor)
        self._caller: Caller = self._wait(lambda: Caller(url, reactor=self._reactor, **options))

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect; returns when the broker is ready for calls.

        Raises:
            NotReady: it was not there in time (10 s).
            ChannelClosed: it refused.
        """
        try:
            self._wait(self._start)
        except BaseException:
            self.close()
            raise
        self._started = True

    def _begin(self) -> None:
        """What follows waits for the broker by itself."""
        with self._lock:
            started, self._started = self._started, True
        if not started:
            self._reactor.callFromThread(lambda: self._start().addErrback(_told_otherwise))

    def close(self) -> None:
        """End what is pending with CallLost, and disconnect. The next method connects again.

        No callback is called any more but the one that runs.
        """
        self._wait(self._stop)
        self._started = False

    def _start(self) -> Deferred[None]:
        """In the reactor's thread."""
        if self._trigger is None:
            # So that nobody waits for a reactor that has stopped.
            self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._shut)
        return self._caller.start()

    def _stop(self) -> Deferred[None]:
        """In the reactor's thread."""
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        self._callbacks.stop()
        return self._caller.stop()

    def _shut(self) -> Deferred[None]:
        self._trigger = None  # a reactor removes none that it has called
        return self._stop()

    def __enter__(self) -> BlockingCaller:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- what a caller does -----------------------------------------------------------------

    def call(
        self,
        name: str,
        body: Any = None,
        *,
        on_progress: Callable[[Any], object] | None = None,
        **options: Any,
    ) -> Any:
        """Call a task, and return what it returned.

        Options and errors are those of ``Caller.call``. What interrupts the wait, Ctrl-C for
        example, cancels the call. ``on_progress`` is called in the thread that waits.
        """
        self._begin()
        return self._wait(
            lambda **progress: self._caller.call(name, body, **options, **progress), on_progress
        )

    def call_raw(
        self,
        name: str,
        body: Body,
        *,
        timeout: Timeout = DEFAULT,
        headers: Mapping[str, Any] | None = None,
        on_progress: Callable[[Body], None] | None = None,
        priority: int = 0,
        persistent: bool = False,
    ) -> Result:
        """As :meth:`call`, with bodies as they travel."""
        self._begin()
        options: dict[str, Any] = {
            "timeout": timeout,
            "headers": headers,
            "priority": priority,
            "persistent": persistent,
        }
        result: Result = self._wait(
            lambda **progress: self._caller.call_raw(name, body, **options, **progress),
            on_progress,
        )
        return result

    def gather(self, *calls: tuple[str, Any], **options: Any) -> list[Any]:
        """Call several tasks at the same time, each given as its name and body.

        Returns:
            their results in order; one that failed has its exception there.
        """
        self._begin()
        caller = self._caller
        results: list[Any] = self._wait(
            lambda: gather(*[caller.call(name, body, **options) for name, body in calls])
        )
        return results

    def publish(self, channel: str, body: Any = None) -> None:
        """Send to all that are subscribed to a channel; returns when the broker has it."""
        self._begin()
        self._wait(lambda: self._caller.publish(channel, body))

    def subscribe(self, channel: str, callback: Callable[[str, Any], object]) -> None:
        """Have ``callback(channel, value)`` called with what is published to a channel.

        Callbacks are called one after the other, in a thread that is theirs.
        """
        self._begin()
        self._wait(lambda: self._caller.subscribe(channel, self._callbacks.deferring(callback)))

    def unsubscribe(
        self, channel: str, callback: Callable[[str, Any], object] | None = None
    ) -> None:
        """Take back one subscription, or all to that channel or pattern."""
        known = None if callback is None else self._callbacks.deferring(callback)
        self._wait(lambda: self._caller.unsubscribe(channel, known))

    def consume(
        self, queue: str, callback: Callable[[Delivery], object], *, prefetch: int = 20
    ) -> Callable[[], None]:
        """Have ``callback(delivery)`` called with each message of a queue, as ``Caller.consume``.

        Callbacks are called one after the other, in the thread of the subscribers.

        Returns:
            what ends it.
        """
        self._begin()
        deferring = self._callbacks.deferring(callback)
        consumer = self._wait(lambda: self._caller.consume(queue, deferring, prefetch=prefetch))
        return lambda: self._wait(consumer.cancel)

    def decode(self, delivery: Delivery) -> Any:
        """The value of a message, by its content type. Raises BadBody."""
        return self._caller.decode(delivery)

    # -- the two threads --------------------------------------------------------------------

    def _wait(
        self, function: Callable[..., Any], on_progress: Callable[[Any], object] | None = None
    ) -> Any:
        """Call a function in the reactor's thread, and wait for what it returns."""
        if isInIOThread():
            raise RuntimeError("a BlockingCaller would block the reactor: use Caller in its thread")
        if not self._reactor.running:
            raise NotReady("the reactor has stopped")
        told: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        running: list[Deferred[Any]] = []

        def begin() -> None:
            progress: dict[str, Any] = {}
            if on_progress is not None:
                progress["on_progress"] = lambda value: told.put(("progress", value))
            done: Deferred[Any] = maybeDeferred(function, **progress)
            running.append(done)
            done.addCallbacks(
                lambda result: told.put(("result", result)),
                lambda failure: told.put(("error", failure)),
            )

        self._reactor.callFromThread(begin)
        try:
            while True:
                kind, value = told.get()
                if kind != "progress":
                    break
                assert on_progress is not None
                on_progress(value)
        except BaseException:
            self._reactor.callFromThread(lambda: running[0].cancel())
            raise
        if kind == "error":
            value.raiseException()
        return value


class _Callbacks:
    """Calls functions in a thread of their own, in order.

    :meth:`put` and :meth:`stop` are for the reactor's thread.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._todo: _Todo | None = None

    def deferring(self, callback: Callable[..., object]) -> Callable[..., Deferred[None]]:
        """The callback for the reactor's thread: it is done when the callback is."""
        return _Deferring(self, callback)

    def put(self, function: Callable[[], None]) -> None:
        """Have it called."""
        if self._todo is None:
            todo: _Todo = SimpleQueue()
            self._todo = todo
            threading.Thread(target=_run, args=(todo,), name="twbridge", daemon=True).start()
        self._todo.put(function)

    def stop(self) -> None:
        """Let the thread end, after the function that it calls now; what waits is not called."""
        todo, self._todo = self._todo, None
        if todo is not None:
            with suppress(Empty):
                while True:
                    todo.get_nowait()
            todo.put(None)


def _run(todo: _Todo) -> None:
    """The thread."""
    while (function := todo.get()) is not None:
        function()


class _Deferring:
    """Two of them are equal when their callbacks are: so one is found again to unsubscribe."""

    def __init__(self, callbacks: _Callbacks, callback: Callable[..., object]) -> None:
        self._callbacks = callbacks
        self._callback = callback

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Deferring) and self._callback == other._callback

    def __hash__(self) -> int:
        return hash(self._callback)

    def __call__(self, *arguments: Any) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def call() -> None:
            try:
                self._callback(*arguments)
            except Exception:
                result: Failure | None = Failure()
            else:
                result = None
            self._callbacks.reactor.callFromThread(done.callback, result)

        self._callbacks.put(call)
        return done


def _running_reactor() -> Any:
    """The reactor, which runs: in a daemon thread where the program has not run it."""
    from twbridge.service import global_reactor

    reactor = global_reactor()
    with _starting:
        if not reactor.running:
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            threading.Thread(
                target=lambda: reactor.run(installSignalHandlers=False),
                name="twbridge reactor",
                daemon=True,
            ).start()
            if not running.wait(_SECONDS):
                raise NotReady("the reactor does not run: a program runs it once only")
    return reactor


def _told_otherwise(_failure: Failure) -> None:
    """Each call says by itself that the broker is away."""
