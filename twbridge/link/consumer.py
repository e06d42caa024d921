"""Consumers that outlive connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twbridge.errors import (
    ChannelClosed,
    ConnectionClosed,
    EncodeError,
    NotReady,
    ProtocolClosed,
    QueueDeleted,
)
from twbridge.link.channel import Channel
from twbridge.link.connection import Connection
from twbridge.link.sidechannel import SideChannel
from twbridge.link.topology import Queue
from twbridge.wire import Delivery, ack_frame, nack_frame

_tags = count(1)

#: With these the broker closes a connection over what it was asked on it; with any other, and where
#: the socket ends, for reasons of its own.
_BLAMING = frozenset({501, 502, 503, 504, 505, 530, 540, 541})
#: How many connections may be closed so while a new consumer is being made. It may be innocent of
#: the first.
_CLOSED_OVER_IT = 2


class Binding:
    """A binding that is wanted, and who waits for it."""

    __slots__ = ("arguments", "exchange", "key", "side", "waiting")

    def __init__(self, exchange: str, key: str, arguments: Mapping[str, Any]) -> None:
        self.exchange = exchange
        self.key = key
        self.arguments = dict(arguments)
        self.waiting: list[Deferred[None]] = []
        #: By which of our channels the broker was told last; None: it has never had it.
        self.side: SideChannel | None = None

    def settle(self, result: Failure | None) -> None:
        """Tell those who wait."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            if not each.called:
                each.callback(result)


class Consumer:
    """A queue that is consumed, with its bindings; made again after each reconnect.

    Get one from ``Link.consume``. ``queue_name`` is the broker's name of the queue: for a
    server-named one another after each reconnect, and empty while the link is down.
    """

    def __init__(
        self,
        clock: IReactorTime,
        queue: Queue,
        on_delivery: Callable[[Delivery], object],
        on_end: Callable[[ProtocolClosed], object],
        *,
        no_ack: bool,
        prefetch: int,
        timeout: float,
        why: Callable[[], str],
        arguments: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.queue = queue
        self.queue_name = ""
        self.ended: ProtocolClosed | None = None
        self._clock = clock
        self._on_delivery = on_delivery
        self._on_end = on_end
        self._no_ack = no_ack
        self._prefetch = prefetch
        self._timeout = timeout
        self._why = why
        self._arguments = arguments or dict
        self._bindings: dict[Any, Binding] = {}
        self._channel: Channel | None = None
        self._side: SideChannel | None = None
        # Delivery tags begin at 1 on every channel: ours go on counting over reconnects, so that
        # an ack for an old one can't hit a new delivery.
        self._tags_before = self._last_tag = 0
        self._waiting: list[Deferred[None]] = []
        self._started = False
        # Whether the broker has ever let it consume, and how often it closed instead.
        self._proven = False
        self._closed_over_it = 0
        #: Called each time that it consumes again after a reconnect.
        self.on_established: Callable[[], object] = _nothing
        #: Called each time that its connection is lost; an exclusive queue is gone then.
        self.on_lost: Callable[[], object] = _nothing
        #: Set by the link: forget this consumer.
        self.on_gone: Callable[[Consumer], object] = lambda _: None

    # -- for the owner --------------------------------------------------------------------

    def bind(
        self, exchange: str, key: str, arguments: Mapping[str, Any] | None = None
    ) -> Deferred[None]:
        """Bind the queue; fires when the broker has done it, and is replayed from then on.

        It fails with ChannelClosed (no such exchange, not permitted), or with NotReady when the
        link is not up within the timeout; the binding is forgotten then.
        """
        if self.ended is not None:
            return fail(self.ended)
        name = _name(exchange, key, arguments)
        binding = self._bindings.get(name)
        known = binding is not None
        if binding is None:
            binding = self._bindings[name] = Binding(exchange, key, arguments or {})
        elif binding.side is self._side is not None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        binding.waiting.append(done)
        done.addTimeout(self._timeout, self._clock)
        done.addErrback(self._too_late, name, binding)
        if not known and self._side is not None:
            self._ask(name, binding, self._side)
        return done

    def unbind(
        self, exchange: str, key: str, arguments: Mapping[str, Any] | None = None
    ) -> Deferred[None]:
        """Take a binding back. Fires when the broker has done it, or at once while down."""
        binding = self._bindings.pop(_name(exchange, key, arguments), None)
        if binding is None or self._side is None:
            return succeed(None)
        return self._unbind(binding, self._side)

    def _unbind(self, binding: Binding, side: SideChannel) -> Deferred[None]:
        queue = self.queue_name
        done = side.ask(
            lambda ch: ch.queue_unbind(
                queue=queue,
                exchange=binding.exchange,
                routing_key=binding.key,
                arguments=binding.arguments,
            )
        )
        return done.addCallbacks(lambda _: None, _trap_closed)

    def ack(self, tag: int, multiple: bool = False) -> bool:
        """Acknowledge a delivery. False: it is from before a reconnect and was requeued."""
        return self._answer(tag, lambda id, tag: ack_frame(id, tag, multiple))

    def nack(self, tag: int, requeue: bool = True, multiple: bool = False) -> bool:
        """Refuse a delivery. False: it is from before a reconnect and was requeued."""
        return self._answer(tag, lambda id, tag: nack_frame(id, tag, multiple, requeue))

    @property
    def voided(self) -> int:
        """The tag of the last delivery that the broker has taken back with a lost connection."""
        return self._tags_before if self._channel is not None else self._last_tag

    def sync(self) -> Deferred[None]:
        """Fires when everything has been delivered that the broker had, up to the prefetch.

        It is an answer of the broker that comes behind the deliveries. Fails with
        ConnectionClosed while it does not consume, or with what ended the consumer.
        """
        if self._channel is None or not self._channel.consumers:
            return fail(self.ended or ConnectionClosed(0, "the link is down"))
        answer: Deferred[Any] = self._channel.basic_qos(prefetch_count=self._prefetch)
        return answer.addCallback(lambda _: None)

    def cancel(self, delete: bool = False) -> Deferred[None]:
        """End it; fires when the broker has let the queue go. ``on_end`` is not called.

        Args:
            delete: delete the queue, if the link is up.
        """
        self._on_end = _ignore
        channel, queue = self._channel, self.queue_name
        self._finish(ChannelClosed(0, "the consumer was cancelled"))
        if channel is None:
            return succeed(None)
        if delete and queue:
            channel.queue_delete(queue=queue, nowait=True)
        return channel.close("consumer cancelled")

    def leave(self) -> Deferred[None]:
        """Take no more messages; fires when none can come any more, and is never resumed.

        What was delivered can still be answered, until ``cancel()``, which has to follow, or the
        loss of the connection.
        """
        channel = self._channel
        tag = next(iter(channel.consumers), "") if channel is not None else ""
        if channel is None or not tag:
            return self.cancel()  # it has nothing that could be answered
        self._on_end = _ignore
        self.on_gone(self)
        self.on_gone = _ignore
        left: Deferred[Any] = channel.basic_cancel(consumer_tag=tag)
        return left.addCallbacks(
            lambda _: channel.consumers.pop(tag, None), _trap_closed
        ).addCallback(_ignore)

    def when_up(self) -> Deferred[None]:
        """Fires when it consumes; fails with what ended it, or NotReady after the timeout."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        done.addTimeout(self._timeout, self._clock)
        return done.addErrback(self._not_ready)

    # -- for the link ---------------------------------------------------------------------

    async def establish(self, connection: Connection, side: SideChannel) -> None:
        """Declare, bind and consume on a new connection.

        A refusal ends the consumer; so does a broker that closes one connection after the other
        over it. Raises ConnectionClosed when the connection was lost.
        """
        try:
            await self._establish(connection, side)
        except ChannelClosed as error:
            channel, queue = self._channel, self.queue_name
            self._finish(error)
            if channel is not None and not channel.closed:
                # A binding was refused, on another channel. Our own queue must not stay: it
                # never had the consumer with whose end it would go.
                if queue and self.queue.exclusive:
                    channel.queue_delete(queue=queue, nowait=True)
                channel.close("it was refused")
        except EncodeError as error:
            channel = self._channel
            self._settle(Failure(error))
            self._finish(ChannelClosed(0, str(error)))
            if channel is not None:
                channel.close("it can't be declared")
        except ConnectionClosed as error:
            self._blame(error)
            self._down()
            raise

    async def _establish(self, connection: Connection, side: SideChannel) -> None:
        channel = await connection.open_channel()
        if self.ended is not None:
            await channel.close()
            return
        self._channel = channel
        self._tags_before = self._last_tag
        channel.on_closed = self._closed
        channel.on_cancel = self._cancelled
        if not self._no_ack:
            await channel.basic_qos(prefetch_count=self._prefetch)
        queue = self.queue
        declared = await channel.queue_declare(
            queue=queue.name,
            passive=queue.passive,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=dict(queue.arguments),
        )
        self.queue_name = declared.queue
        self._side = side
        asked = [self._ask(name, each, side) for name, each in [*self._bindings.items()]]
        for ok, failure in await DeferredList(asked, consumeErrors=True):
            if not ok:
                raise failure.value  # type: ignore[attr-defined]
        tag = f"twbridge-{next(_tags)}"
        channel.consumers[tag] = self._on_delivery if self._no_ack else self._deliver
        self._started = True
        await channel.basic_consume(
            queue=self.queue_name,
            consumer_tag=tag,
            no_ack=self._no_ack,
            arguments=dict(self._arguments()),
        )
        self._proven = True
        if not self._settle(None):
            self.on_established()

    def _blame(self, error: ConnectionClosed) -> None:
        """The connection was closed while it was being made: asked for ever it might stay down."""
        if self._proven or self._channel is None or error.reply_code not in _BLAMING:
            return
        self._closed_over_it += 1
        if self._closed_over_it >= _CLOSED_OVER_IT:
            words = f"the broker closes the connection while it is declared: {error}"
            self._settle(Failure(NotReady(words)))
            self._finish(error)

    def _ask(self, name: Any, binding: Binding, side: SideChannel) -> Deferred[None]:
        """Have it bound. The Deferred fails only for a binding that had been there before."""
        queue = self.queue_name
        done = side.ask(
            lambda ch: ch.queue_bind(
                queue=queue,
                exchange=binding.exchange,
                routing_key=binding.key,
                arguments=binding.arguments,
            )
        )
        return done.addCallbacks(
            lambda _: self._bound(name, binding, side),
            self._not_bound,
            errbackArgs=(name, binding),
        )

    def _bound(self, name: Any, binding: Binding, side: SideChannel) -> None:
        binding.side = side
        binding.settle(None)
        if self._bindings.get(name) is None and self._side is not None:
            self._unbind(binding, self._side)  # nobody waited so long

    def _not_bound(self, failure: Failure, name: Any, binding: Binding) -> Failure | None:
        if failure.check(ConnectionClosed):
            return None  # asked again when the link is back
        if self._bindings.get(name) is binding:
            del self._bindings[name]
        binding.settle(failure)
        return None if binding.side is None else failure

    # -- inside ---------------------------------------------------------------------------

    def _too_late(self, failure: Failure, name: Any, binding: Binding) -> Failure:
        if not failure.check(TimeoutError):
            return failure
        if binding.side is None and self._bindings.get(name) is binding:
            del self._bindings[name]
        return self._not_ready(failure)

    def _not_ready(self, failure: Failure) -> Failure:
        if failure.check(TimeoutError):
            return Failure(NotReady(f"the link was not up in time: {self._why()}"))
        return failure

    def _deliver(self, delivery: Delivery) -> None:
        delivery.delivery_tag += self._tags_before
        self._last_tag = delivery.delivery_tag
        self._on_delivery(delivery)

    def _answer(self, tag: int, frame: Callable[[int, int], bytes]) -> bool:
        if self._channel is None or tag <= self._tags_before:
            return False
        self._channel.client.write(frame(self._channel.id, tag - self._tags_before))
        return True

    def _cancelled(self, _tag: str) -> None:
        channel = self._channel
        self._finish(QueueDeleted())
        if channel is not None:
            channel.close("its queue is gone")

    def _closed(self, error: ProtocolClosed) -> None:
        if isinstance(error, ConnectionClosed):
            self._down()
            self.on_lost()
        else:
            self._finish(error)

    def _down(self) -> None:
        self._channel = self._side = None
        self.queue_name = ""

    def _finish(self, error: ProtocolClosed) -> None:
        if self.ended is not None:
            return
        self.ended = error
        self._down()
        self.on_gone(self)
        for binding in self._bindings.values():
            binding.settle(Failure(error))
        # Who waits for the start hears of it there.
        if not self._settle(Failure(error)) and self._started:
            self._on_end(error)

    def _settle(self, result: Failure | None) -> bool:
        """Tell those who wait for the start; say whether there was anyone."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(result)
        return bool(waiting)


def _name(exchange: str, key: str, arguments: Mapping[str, Any] | None) -> Any:
    return exchange, key, repr(sorted((arguments or {}).items()))


def _trap_closed(failure: Failure) -> None:
    failure.trap(ProtocolClosed)


def _nothing() -> None:
    pass


def _ignore(_: object) -> None:
    pass
