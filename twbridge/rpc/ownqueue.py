"""A queue of one's own that is always there: for replies, and for pub/sub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.amqp import Consumer, Exchange, Link, Queue
from twbridge.errors import NotReady, TwbridgeError
from twbridge.wire import Delivery

__all__ = ["OwnQueue"]

_log = Logger()

#: Seconds until it is tried again after a refusal of the broker.
RETRY: Final = 1.0


class _Binding:
    """A binding, and how many asked for it: those that were not refused."""

    __slots__ = ("arguments", "wanted")

    def __init__(self, arguments: Mapping[str, Any] | None) -> None:
        self.arguments = arguments
        self.wanted = 0


class OwnQueue:
    """An exclusive queue, named by the broker, consumed without acks, and bound to one exchange.

    It is made again after each reconnect, with another name; also when somebody deletes it.

    Args:
        link: the way to the broker.
        clock: IReactorTime.
        exchange: declared first. None: it is not bound, and found by its name alone.
        on_delivery: called with each message.
        on_up: called each time that the queue is there and bound.
        on_lost: called each time that it is gone, and when the link is lost while it is being
            bound: messages may have come by then.
    """

    def __init__(
        self,
        link: Link,
        clock: Any,
        exchange: Exchange | None,
        on_delivery: Callable[[Delivery], object],
        *,
        on_up: Callable[[], object] = lambda: None,
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        self._link = link
        self._clock = clock
        self._exchange = exchange
        self._bound_to = exchange.name if exchange is not None else ""
        self._on_delivery = on_delivery
        self._on_up = on_up
        self._on_lost = on_lost
        self._bindings: dict[str, _Binding] = {}
        self._consumer: Consumer | None = None
        self._loop: Deferred[None] | None = None
        self._ended: Deferred[None] = Deferred()
        self._waiting: list[Deferred[None]] = []
        self._complaint = ""

    @property
    def name(self) -> str:
        """The broker's name of it; empty while it is not there."""
        return "" if self._consumer is None else self._consumer.queue_name

    def start(self) -> Deferred[None]:
        """Begin; fires when it is there.

        Fails with what the broker refused first, or with NotReady when the link was not up in
        time; it goes on trying all the same.
        """
        if self.name:
            return succeed(None)
        up = self._when_up()
        if self._loop is None:
            self._loop = Deferred.fromCoroutine(self._keep())
            self._loop.addErrback(_broke)
        return up

    def stop(self) -> Deferred[None]:
        """Let the queue go, and its bindings; fires when the broker has. Never fails."""
        loop, self._loop = self._loop, None
        self._bindings.clear()
        consumer, self._consumer = self._consumer, None
        if loop is not None:
            loop.cancel()
        self._tell(Failure(NotReady("it was stopped")))
        if consumer is None:
            return succeed(None)
        consumer.on_lost = consumer.on_established = _nothing
        return consumer.cancel().addErrback(lambda _: None)

    def bind(self, key: str, arguments: Mapping[str, Any] | None = None) -> Deferred[None]:
        """Bind it, from now on; fires when the broker has done it.

        Fails with ChannelClosed (refused) or NotReady (the link was not up in time); the binding
        is forgotten then, unless it was asked for before.
        """
        binding = self._bindings.setdefault(key, _Binding(arguments))
        binding.wanted += 1
        if self._consumer is not None:
            bound = self._consumer.bind(self._bound_to, key, arguments)
        elif self._loop is not None:
            bound = self._when_up()
        else:
            bound = fail(NotReady("it was not started"))
        return bound.addErrback(self._not_bound, key, binding)

    def unbind(self, key: str) -> Deferred[None]:
        """Take a binding back; fires when the broker has done it, or at once while it is away."""
        binding = self._bindings.pop(key, None)
        if self._consumer is None or binding is None:
            return succeed(None)
        return self._consumer.unbind(self._bound_to, key, binding.arguments)

    def _not_bound(self, failure: Failure, key: str, binding: _Binding) -> Failure:
        binding.wanted -= 1
        if not binding.wanted and self._bindings.get(key) is binding:
            del self._bindings[key]
        return failure

    def _when_up(self) -> Deferred[None]:
        up: Deferred[None] = Deferred()
        self._waiting.append(up)
        return up

    def _tell(self, result: Failure | None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(result)

    # -- the loop ---------------------------------------------------------------------------

    async def _keep(self) -> NoReturn:
        while True:
            try:
                await self._begin()
            except NotReady as error:
                self._tell(Failure(error))  # it has waited long enough
            except TwbridgeError as error:
                self._complain(str(error))
                self._tell(Failure(error))
                await deferLater(self._clock, RETRY)
            except CancelledError:
                raise
            except Exception as error:
                _log.failure("The queue bound to {name!r} is made again", name=self._bound_to)
                self._tell(Failure(error))
                await deferLater(self._clock, RETRY)
            else:
                self._complaint = ""
                self._up()
                await self._ended
                self._consumer = None
                self._call(self._on_lost)

    async def _begin(self) -> None:
        link = self._link
        self._ended = Deferred()
        if self._exchange is not None:
            await link.declare(self._exchange)
        consumer = await link.consume(Queue(), self._on_delivery, no_ack=True, on_end=self._end)
        consumer.on_established, consumer.on_lost = self._up, self._lost
        try:
            await self._bind_all(consumer)
        except BaseException:
            consumer.on_lost = consumer.on_established = _nothing
            consumer.cancel()
            raise
        self._consumer = consumer

    async def _bind_all(self, consumer: Consumer) -> None:
        """Have it bound as is wanted, which may change meanwhile."""
        exchange, bound = self._bound_to, dict[str, _Binding]()
        while bound != self._bindings:
            for key, binding in list(bound.items()):
                if self._bindings.get(key) is not binding:
                    del bound[key]
                    await consumer.unbind(exchange, key, binding.arguments)
            for key, binding in list(self._bindings.items()):
                if key not in bound and self._bindings.get(key) is binding:
                    await consumer.bind(exchange, key, binding.arguments)
                    bound[key] = binding

    def _up(self) -> None:
        if self.name:
            self._tell(None)
            self._call(self._on_up)

    def _lost(self) -> None:
        self._call(self._on_lost)

    def _call(self, owner: Callable[[], object]) -> None:
        """Tell the owner; what it raises ends nothing here."""
        try:
            owner()
        except Exception:
            _log.failure("The owner of the queue bound to {name!r} broke", name=self._bound_to)

    def _end(self, error: Exception) -> None:
        self._complain(str(error))
        if not self._ended.called:
            self._ended.callback(None)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            _log.error(
                "The queue bound to {exchange!r} is made again: {why}",
                exchange=self._bound_to,
                why=why,
            )


def _broke(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("A queue is not kept any more", failure)


def _nothing() -> None:
    pass
