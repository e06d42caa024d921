"""The door to AMQP: a link to RabbitMQ that publishes with confirms, consumes, and comes back.

Usable on its own by any Twisted application::

    from twbridge.amqp import Link, Queue, parse

    link = Link(reactor, parse("amqp://guest:guest@localhost"))
    link.start()
    await link.publish("amq.topic", "chat.a", b"hello")          # fires on the broker's ack
    consumer = await link.consume(Queue(), print, no_ack=True)
    await consumer.bind("amq.topic", "chat.#")
    await link.stop()

A link is one connection that publishes and one or more that consume, because an alarm blocks a
socket that publishes. It is ready when all of them are.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import ConnectionClosed, NotReady, ProtocolClosed
from twbridge.link.connection import Connection
from twbridge.link.consumer import Consumer
from twbridge.link.declared import Bound, Declared, count
from twbridge.link.endpoints import check, endpoint
from twbridge.link.line import Line, Retry
from twbridge.link.publisher import Publisher
from twbridge.link.sidechannel import SideChannel
from twbridge.link.states import Away, LinkState, Listeners, link_states
from twbridge.link.topology import Exchange, Queue
from twbridge.link.uri import Parameters, parse
from twbridge.wire import Content, Delivery

__all__ = ["Consumer", "Exchange", "Link", "LinkOptions", "Parameters", "Queue", "parse"]

_log = Logger()
_T = TypeVar("_T")

#: Consumers have a channel each, and RabbitMQ allows 2,047 a connection.
CONSUMERS_PER_LINE = 1500
#: Left for declaring and binding, where a broker allows few channels.
SPARE_CHANNELS = 2
#: Seconds between looks at the deadlines of publishes.
TICK = 0.25


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How a link behaves.

    Args:
        timeout: seconds that a publish, a binding or a new consumer may wait.
        reconnect_cap: the longest wait between two attempts to connect, in seconds.
        connection_attempts: failures in a row after which the link gives up; 0: never.
        window: how many messages may be unconfirmed.
        confirmations: False publishes without confirms.
        channels: how many exchanges keep a publishing channel when idle.
        app_id: the default of that message property.
        name: how the broker's management shows the connections.
    """

    timeout: float = 10.0
    reconnect_cap: float = 4.0
    connection_attempts: int = 0
    window: int = 1000
    confirmations: bool = True
    channels: int = 64
    app_id: str = "twbridge"
    name: str = "twbridge"


class Link:
    """The way to the broker, with a contract (docs/link.md).

    Args:
        reactor: IReactorTime, and what ``connect`` needs.
        parameters: from :func:`parse`.
        connect: makes the endpoint of (parameters, host, port); TCP or TLS by default.
        random: gives a number from 0 to 1, for the jitter.

    Raises:
        SettingsError: a certificate file of the parameters can't be used.
    """

    def __init__(
        self,
        reactor: Any,
        parameters: Parameters,
        *,
        options: LinkOptions | None = None,
        connect: Callable[[Parameters, str, int], IStreamClientEndpoint] | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        if connect is None:
            check(parameters)
        self.parameters = parameters
        self.options = options or LinkOptions()
        self._clock = reactor
        self._connect = connect or (lambda *host: endpoint(reactor, *host))
        self._random = random
        self._ready = Listeners("on_ready")
        self._unavailable = Listeners("on_unavailable")
        self._return = Listeners("on_return")
        self._state = Listeners("on_state")
        self._pressure = Listeners("on_pressure")
        self._read = Listeners("on_read")
        self._publishing_lost = Listeners("on_publishing_lost")
        self._states = LinkState(self._state, self._ready, self._unavailable)
        self._machine = link_states(self._states)
        self._publisher = Publisher(
            reactor.seconds,
            timeout=self.options.timeout,
            window=self.options.window,
            channels=self.options.channels,
            confirmations=self.options.confirmations,
            app_id=self.options.app_id,
            on_pressure=self._pressure,
            on_return=self._return,
            why=lambda: self.state_description,
        )
        self._declared: dict[tuple[type, str], Declared] = {}
        self._sides: dict[Line, SideChannel] = {}
        self._preparing: dict[Line, SideChannel] = {}
        self._publishing = self._line("publish")
        self._consuming: dict[Line, list[Consumer]] = {self._line("consume"): []}
        self._up: set[Line] = set()
        self._block_reason: str | None = None
        self._away = Away(str(parameters))
        self._stopping: list[Deferred[None]] = []
        self._ticks = LoopingCall(self._expire)
        self._ticks.clock = reactor

    # -- state ---------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``idle connecting ready blocked closing closed``."""
        return self._states.name

    @property
    def state_description(self) -> str:
        """Why it is in this state, in one line. It may hold the broker's words, no password."""
        return self._states.description

    @property
    def closable(self) -> bool:
        """Whether :meth:`stop` has something to do."""
        return self.state in ("connecting", "ready", "blocked")

    @property
    def pressed(self) -> bool:
        """Whether publishers should pause: as many messages as the window holds, or 8 MiB of
        them, wait to be sent or confirmed.

        Not from the first message that waits: who publishes while the link is away is to be told
        in time, of each message, and a paused client would not even get its pings answered.
        """
        return self._publisher.pressed

    def on_ready(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call when the link becomes usable, also after blocked. Returns what takes it back."""
        return self._ready.add(callback)

    def on_unavailable(self, callback: Callable[[Exception], object]) -> Callable[[], None]:
        """Call once with the reason when the link stops being usable: lost or blocked."""
        return self._unavailable.add(callback)

    def on_return(self, callback: Callable[[Content], object]) -> Callable[[], None]:
        """Call with each message that the broker returned (basic.return)."""
        return self._return.add(callback)

    def on_publishing_lost(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call when the connection that publishes is lost, whatever the state is then.

        What was published without confirms just before may have arrived or not; what waits to be
        sent is sent over the next connection.
        """
        return self._publishing_lost.add(callback)

    def on_state(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Call with each new state."""
        return self._state.add(callback)

    def on_pressure(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """Call when :attr:`pressed` changes, with its value."""
        return self._pressure.add(callback)

    def on_read(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call after the deliveries of each read from the broker: the time to send batches."""
        return self._read.add(callback)

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, and to reconnect from then on."""
        if self.state not in ("idle", "closed"):
            return
        self._machine.start()
        if self.state != "connecting":
            return  # a listener has stopped it already
        self._ticks.start(TICK, now=False)
        for line in (self._publishing, *self._consuming):
            line.start()

    def stop(self) -> Deferred[None]:
        """Wait for the confirms under way, up to the timeout; then close. Never fails."""
        stopped: Deferred[None] = Deferred()
        self._stopping.append(stopped)
        if self.closable:
            self._machine.stop()
            Deferred.fromCoroutine(self._stop()).addErrback(_log_failure).addBoth(self._stopped)
        elif self.state != "closing":
            self._machine.stop()
            self._stopped(None)
        return stopped

    def _stopped(self, _result: object) -> None:
        self._machine.finished()
        stopping, self._stopping = self._stopping, []
        for each in stopping:
            each.callback(None)

    async def _stop(self) -> None:
        if self._publishing.connection is not None:
            await self._settled()
        lost = self._publisher.in_flight + self._publisher.waiting
        if lost:
            _log.warn("Messages not confirmed before the end: {count}", count=lost)
        self._publisher.give_up("the link was closed")
        await DeferredList(
            [Deferred.fromCoroutine(line.stop()) for line in (self._publishing, *self._consuming)]
        )
        if self._ticks.running:
            self._ticks.stop()
        self._up.clear()

    def _expire(self) -> None:
        try:
            self._publisher.expire()
        except Exception:
            _log.failure("Looking at the deadlines failed")

    async def _settled(self) -> None:
        """Wait until nothing is unconfirmed; the deadline of each publish bounds it."""
        settled: Deferred[None] = Deferred()

        def look() -> None:
            publisher = self._publisher
            if not publisher.in_flight and not publisher.waiting and not settled.called:
                settled.callback(None)

        looks = LoopingCall(look)
        looks.clock = self._clock
        looks.start(0.02)
        settled.addTimeout(self.options.timeout, self._clock)
        await settled.addErrback(lambda _: None)
        looks.stop()

    # -- publishing ----------------------------------------------------------------------

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
        confirm: bool = True,
    ) -> Deferred[None]:
        """Publish; fires on the broker's ack.

        Args:
            properties: by the names of ``wire.Properties``; defaults are added for app_id,
                message_id, timestamp and delivery_mode (2: a transient message does not survive a
                broker's restart, confirmed or not).
            mandatory: fail with Unroutable when no queue takes it.
            timeout: seconds until it fails; ``options.timeout`` by default.
            confirm: False for what its receiver misses anyway when it is lost: it costs half as
                much, fires when it is written, and what is returned is told to ``on_return`` only.

        The Deferred fails with NotReady (nothing was sent in time), Nacked, Unroutable,
        ChannelClosed (the broker's code: 404, no such exchange), OutcomeUnknown (lost before the
        confirm), ConfirmTimeout (sent, but no answer in time) or EncodeError.
        """
        if self.state in ("closing", "closed"):
            failed: Deferred[None] = Deferred()
            failed.errback(Failure(NotReady("the link is closed")))
            return failed
        return self._publisher.publish(
            exchange, routing_key, body, properties, mandatory, timeout, confirm
        )

    # -- topology and consumers ----------------------------------------------------------

    def declare(
        self,
        what: Exchange | Queue,
        bindings: Iterable[Bound] = (),
        *,
        remember: bool = True,
    ) -> Deferred[None]:
        """Declare an exchange or a queue now, or when the link is up, and after each reconnect.

        Fails with ChannelClosed when the broker refuses; what is refused is forgotten then. A
        queue that exists with other properties (406) stays as it is, and is bound.

        Args:
            what: a queue has a name and is not exclusive.
            bindings: exchange, binding key and perhaps arguments, for a queue.
            remember: declare it after each reconnect; else only now, if the link is up.
        """
        declared = Declared(what, tuple(bindings))
        if remember:
            self._declared[declared.key] = declared
        # Any line that is up will do, or is about to be: its consumers may need it at once.
        sides = self._sides.get(self._publishing), *self._sides.values(), *self._preparing.values()
        side = next((each for each in sides if each is not None), None)
        if side is None:
            return succeed(None)
        done = declared.ask(side)
        return done.addCallbacks(lambda _: None, self._undeclared, errbackArgs=(declared,))

    def _undeclared(self, failure: Failure, declared: Declared) -> Failure | None:
        if failure.check(ConnectionClosed):
            return None  # declared when the link is back
        if self._declared.get(declared.key) is declared:
            del self._declared[declared.key]
            self._take_as_it_is(declared, failure.value)
        return failure

    def _take_as_it_is(self, declared: Declared, error: BaseException | None) -> bool:
        known = declared.as_it_is(error)
        if known is not None:
            self._declared[known.key] = known
            _log.warn("As it exists, {what} is used: {error}", what=declared, error=error)
        return known is not None

    def count(self, queue: str) -> Deferred[tuple[int, int]]:
        """How many messages wait in a queue, and how many consumers it has.

        Fails with ChannelClosed (404: there is none), ConnectionClosed (lost meanwhile), or
        NotReady while the link is down.
        """
        side = self._sides.get(self._publishing)
        if side is None:
            return fail(NotReady(f"the link is not up: {self.state_description}"))
        return count(side, queue)

    def consume(
        self,
        queue: Queue,
        on_delivery: Callable[[Delivery], object],
        *,
        no_ack: bool = False,
        prefetch: int = 20,
        on_end: Callable[[ProtocolClosed], object] | None = None,
        arguments: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Deferred[Consumer]:
        """Consume a queue, declared first; fires when the broker delivers from it.

        Args:
            on_delivery: called with each message; an exception in it is logged.
            no_ack: the broker forgets a message as soon as it is written.
            prefetch: how many unacknowledged messages the broker sends; with acks only.
            on_end: called once if the broker ends it: queue deleted, an ack not in time, or its
                declaration refused after a reconnect.
            arguments: asked for the arguments of basic.consume, now and after each reconnect.

        Fails with ChannelClosed (refused) or NotReady (the link is not up in time).
        """
        line = self._line_with_room()
        consumer = Consumer(
            self._clock,
            queue,
            on_delivery,
            on_end or _log_end,
            no_ack=no_ack,
            prefetch=prefetch,
            timeout=self.options.timeout,
            why=lambda: self.state_description,
            arguments=arguments,
        )
        consumer.on_gone = self._consuming[line].remove
        self._consuming[line].append(consumer)
        up = consumer.when_up()
        side, connection = self._sides.get(line), line.connection
        if side is not None and connection is not None:
            started = Deferred.fromCoroutine(consumer.establish(connection, side))
            started.addErrback(lambda failure: failure.trap(ConnectionClosed))
        return up.addCallbacks(lambda _: consumer, self._not_up, errbackArgs=(consumer,))

    def _not_up(self, failure: Failure, consumer: Consumer) -> Failure:
        if consumer.ended is None:
            consumer.cancel()
        return failure

    def _line_with_room(self) -> Line:
        for line, consumers in self._consuming.items():
            room = CONSUMERS_PER_LINE
            if line.connection is not None:
                room = min(room, line.connection.channel_max - SPARE_CHANNELS)
            if len(consumers) < room:
                return line
        line = self._line("consume")
        self._consuming[line] = []
        if self.closable:
            line.start()
        return line

    def _line(self, purpose: str) -> Line:
        return Line(
            self._clock,
            self.parameters,
            self._connect,
            Retry(self.options.reconnect_cap, self.options.connection_attempts),
            self._random,
            f"{self.options.name} {purpose}",
            self,
        )

    # -- told by the lines ---------------------------------------------------------------

    async def prepare(self, line: Line, connection: Connection) -> None:
        """Declare what is remembered, and let the consumers of the line begin again."""
        side = self._preparing[line] = SideChannel(connection)
        try:
            await self._prepare(line, connection, side)
        finally:
            if self._preparing.get(line) is side:
                del self._preparing[line]
        self._sides[line] = side

    async def _prepare(self, line: Line, connection: Connection, side: SideChannel) -> None:
        asked = [(each, each.ask(side)) for each in self._declared.values()]
        for declared, answer in asked:
            try:
                await answer
            except ConnectionClosed:
                raise
            except Exception as error:
                if not self._take_as_it_is(declared, error):
                    _log.error("The broker refused {what}: {error}", what=declared, error=error)
        if line is self._publishing:
            connection.on_blocked = self._blocked
        else:
            connection.on_read = self._read
        started = [
            Deferred.fromCoroutine(consumer.establish(connection, side))
            for consumer in list(self._consuming.get(line, ()))
        ]
        for ok, failure in await DeferredList(started, consumeErrors=True):
            if not ok:
                raise failure.value  # type: ignore[attr-defined]

    def line_up(self, line: Line, connection: Connection) -> None:
        """All lines up: ready."""
        self._up.add(line)
        if line is self._publishing:
            self._publisher.attach(connection)
        late = [each for each in self._consuming.get(line, ()) if not each.queue_name]
        for consumer in late:  # asked for while the line was being prepared
            started = Deferred.fromCoroutine(consumer.establish(connection, self._sides[line]))
            started.addErrback(lambda failure: failure.trap(ConnectionClosed))
        self._look()

    def line_down(self, line: Line, error: Exception) -> None:
        """Any line down: not ready."""
        self._gone(line)
        self._away.failed(str(error), self._clock.seconds())
        self._machine.down(error)

    def line_given_up(self, line: Line, error: Exception) -> None:
        """Nothing more is tried."""
        self._gone(line)
        _log.error("{name}: giving up: {error}", name=line.name, error=str(error))
        self._machine.down(error)
        self._states.end = f"gave up: {error}"
        self.stop()

    def _gone(self, line: Line) -> None:
        was_up = line in self._up
        self._up.discard(line)
        self._sides.pop(line, None)
        if line is self._publishing:
            self._block_reason = None
            self._publisher.detach()
            if was_up:  # nothing was written over one whose attempt failed
                self._publishing_lost()

    def _blocked(self, reason: str | None) -> None:
        self._block_reason = reason
        self._publisher.block(reason is not None)
        if reason is not None:
            _log.warn("The broker takes no messages: {reason}", reason=reason)
        else:
            _log.info("The broker takes messages again")
        self._look()

    def _look(self) -> None:
        if self._up.issuperset({self._publishing, *self._consuming}):
            if self._block_reason is not None:
                words = f"the broker takes no messages: {self._block_reason}"
                self._machine.blocked(NotReady(words))
            else:
                self._away.ended(self._clock.seconds())
                self._machine.up()


def _log_failure(failure: Failure) -> None:
    _log.failure("Closing the link went wrong", failure)


def _log_end(error: ProtocolClosed) -> None:
    _log.error("A consumer was ended by the broker: {error}", error=error)
