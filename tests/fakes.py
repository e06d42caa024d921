"""Hand-written doubles of the bridge's ports: a link, a consumer, a socket, a subscriber."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from twbridge.commands import Dropped, Event, Gap
from twbridge.destinations import Destination
from twbridge.errors import TwbridgeError
from twbridge.flow import Budget
from twbridge.link.topology import Exchange, Queue
from twbridge.wire import Content, Delivery, encode_properties


def delivery(
    key: str = "", body: bytes = b"", exchange: str = "amq.topic", **properties: Any
) -> Delivery:
    """A delivery as the link hands it over."""
    return Delivery(1, "ctag", 1, False, exchange, key, encode_properties(properties), body)


class FakePublish:
    """A publish that the link was asked for; ``answer`` is fired by the test."""

    def __init__(
        self, exchange: str, routing_key: str, body: bytes, properties: Any, mandatory: bool
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.properties = properties
        self.mandatory = mandatory
        self.answer: Deferred[None] = Deferred()


class FakeConsumer:
    """A consumer of the fake link. ``bindings`` is what it was asked to bind and not unbind."""

    def __init__(
        self,
        link: FakeLink,
        queue: Queue,
        on_delivery: Callable[[Delivery], None],
        on_end: Callable[[TwbridgeError], None] | None,
        options: dict[str, Any],
    ) -> None:
        self.queue = queue
        #: The broker's name of it.
        self.queue_name = queue.name or "amq.gen-1"
        #: As it was first asked for.
        self.asked = queue
        self._on_delivery = on_delivery
        self.ended: TwbridgeError | None = None
        self._on_end = on_end or (lambda _error: None)
        self.options = options
        self.bindings: list[tuple[str, str]] = []
        self.binds: list[tuple[str, str]] = []
        self.cancelled = False
        self.deleted = False
        #: What it answered, in order: ("ack", tag, multiple), ("nack", tag, requeue, multiple).
        self.answered: list[tuple[Any, ...]] = []
        self.voided = 0
        self.on_established: Callable[[], object] = lambda: None
        #: Sync answers that the test has not given yet; with ``syncs_at_once`` there are none.
        self.syncs: list[Deferred[None]] = []
        #: Bind answers that a held link has not given yet.
        self.answers: list[Deferred[None]] = []
        self._link = link

    def end(self, error: TwbridgeError) -> None:
        """The broker takes it away: in the real one's order, binds in flight fail first."""
        self.ended = error
        for answer in self.answers:
            if not answer.called:
                answer.errback(error)
        self._on_end(error)

    def deliver(self, *deliveries: Delivery) -> None:
        """A read from the broker with these messages."""
        for each in deliveries:
            self._on_delivery(each)
        self._link.read()

    def bind(self, exchange: str, key: str, arguments: Any = None) -> Deferred[None]:
        self.bindings.append((exchange, key))
        self.binds.append((exchange, key))
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        if exchange in self._link.refused:
            answer.errback(self._link.refused[exchange])
        elif not self._link.held:
            answer.callback(None)
        return answer

    def unbind(self, exchange: str, key: str, arguments: Any = None) -> Deferred[None]:
        self.bindings.remove((exchange, key))
        answer: Deferred[None] = Deferred()
        answer.callback(None)
        return answer

    def leave(self) -> Deferred[None]:
        self.answered.append(("leave",))
        answer: Deferred[None] = Deferred()
        self._link.cancels.append(answer)
        if not self._link.held:
            answer.callback(None)
        return answer

    def ack(self, tag: int, multiple: bool = False) -> bool:
        self.answered.append(("ack", tag, multiple))
        return tag > self.voided

    def nack(self, tag: int, requeue: bool = True, multiple: bool = False) -> bool:
        self.answered.append(("nack", tag, requeue, multiple))
        return tag > self.voided

    def sync(self) -> Deferred[None]:
        answer: Deferred[None] = Deferred()
        if self._link.syncs_at_once:
            answer.callback(None)
        else:
            self.syncs.append(answer)
        return answer

    def established(self) -> None:
        """It consumes again, after a reconnect; gives the arguments that it did it with."""
        self.options["arguments"] = self._link.asked(self.options["asks"])
        self.on_established()

    def cancel(self, delete: bool = False) -> Deferred[None]:
        self.cancelled = True
        self.deleted = delete
        answer: Deferred[None] = Deferred()
        self._link.cancels.append(answer)
        if not self._link.held:
            answer.callback(None)
        return answer


class FakeLink:
    """A link that a test drives.

    With ``held`` it answers nothing by itself; ``refused`` holds the errors of binds by exchange,
    ``consume_errors`` those of the next consumes.
    """

    def __init__(self, state: str = "ready") -> None:
        self.state = state
        self.pressed = False
        self.held = False
        self.refused: dict[str, TwbridgeError] = {}
        #: Errors of the next consumes, in turn.
        self.consume_errors: list[TwbridgeError] = []
        self.syncs_at_once = True
        #: Raised by the next publish instead of an answer.
        self.publish_error: Exception | None = None
        self.published: list[FakePublish] = []
        self.consumers: list[FakeConsumer] = []
        self.declared: list[Exchange | Queue] = []
        self.consuming: list[Deferred[FakeConsumer]] = []
        #: Answers to the ends of consumers.
        self.cancels: list[Deferred[None]] = []
        #: Of what was declared: whether to do it again after a reconnect, and the answer.
        self.remembered: list[bool] = []
        self.declaring: list[Deferred[None]] = []
        #: Errors of the next declarations, in turn.
        self.declare_errors: list[Exception] = []
        self._on_state: list[Callable[[str], None]] = []
        self._on_pressure: list[Callable[[bool], None]] = []
        self._on_read: list[Callable[[], None]] = []
        self._on_return: list[Callable[[Content], object]] = []

    # -- what a test does

    def become(self, state: str) -> None:
        """Go to another state and say so."""
        self.state = state
        for callback in list(self._on_state):
            callback(state)

    def press(self, pressed: bool) -> None:
        """Be full, or have room again."""
        self.pressed = pressed
        for callback in list(self._on_pressure):
            callback(pressed)

    def release(self) -> None:
        """Answer all that was held, and hold no more."""
        self.held = False
        for declaring in self.declaring:
            if not declaring.called:
                declaring.callback(None)
        for consuming, consumer in zip(self.consuming, self.consumers, strict=True):
            if not consuming.called:
                consuming.callback(consumer)
        for consumer in list(self.consumers):
            for answer in consumer.answers:
                if not answer.called:
                    answer.callback(None)
        self.let_go()

    def let_go(self) -> None:
        """Answer the ends of consumers."""
        for cancel in list(self.cancels):
            if not cancel.called:
                cancel.callback(None)

    def read(self) -> None:
        """End a read from the broker."""
        for callback in list(self._on_read):
            callback()

    @property
    def listeners(self) -> int:
        """Who listens to the state."""
        return len(self._on_state)

    # -- what the bridge does

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: dict[str, Any] | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
    ) -> Deferred[None]:
        if self.publish_error is not None:
            raise self.publish_error
        publish = FakePublish(exchange, routing_key, body, properties, mandatory)
        self.published.append(publish)
        return publish.answer

    def consume(
        self,
        queue: Queue,
        on_delivery: Callable[[Delivery], None],
        *,
        no_ack: bool = False,
        prefetch: int = 20,
        on_end: Callable[[TwbridgeError], None] | None = None,
        arguments: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Deferred[FakeConsumer]:
        options = {
            "no_ack": no_ack,
            "prefetch": prefetch,
            "asks": arguments,
            "arguments": self.asked(arguments),
        }
        consumer = FakeConsumer(self, queue, on_delivery, on_end, options)
        consuming: Deferred[FakeConsumer] = Deferred()
        self.consumers.append(consumer)
        self.consuming.append(consuming)
        if self.consume_errors:
            consuming.errback(self.consume_errors.pop(0))
        elif not self.held:
            consuming.callback(consumer)
        return consuming

    def asked(self, arguments: Callable[[], Mapping[str, Any]] | None) -> dict[str, Any]:
        """The arguments of basic.consume."""
        return {} if arguments is None else dict(arguments())

    def declare(
        self,
        what: Exchange | Queue,
        bindings: Iterable[tuple[str, str]] = (),
        *,
        remember: bool = True,
    ) -> Deferred[None]:
        self.declared.append(what)
        self.remembered.append(remember)
        answer: Deferred[None] = Deferred()
        self.declaring.append(answer)
        if self.declare_errors:
            answer.errback(self.declare_errors.pop(0))
        elif not self.held:
            answer.callback(None)
        return answer

    def on_state(self, callback: Callable[[str], None]) -> Callable[[], None]:
        self._on_state.append(callback)
        return lambda: self._on_state.remove(callback)

    def on_read(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._on_read.append(callback)
        return lambda: self._on_read.remove(callback)

    def on_pressure(self, callback: Callable[[bool], None]) -> Callable[[], None]:
        self._on_pressure.append(callback)
        return lambda: self._on_pressure.remove(callback)

    def on_return(self, callback: Callable[[Content], object]) -> Callable[[], None]:
        self._on_return.append(callback)
        return lambda: self._on_return.remove(callback)


class FakeTransport:
    """A socket that keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.sent: list[tuple[bytes, bool]] = []
        self.closed: tuple[int, str] | None = None
        self.reading = True
        self.writable = True
        self.room = 1000

        self.beats: tuple[float, float, bytes] | None = None

    def encoder(self, encoder: Any) -> Any:
        return encoder

    def beat(self, send: float, expect: float, payload: bytes) -> None:
        self.beats = (send, expect, payload)

    def send_frame(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send(self, payload: bytes, binary: bool) -> None:
        self.sent.append((payload, binary))

    def close(self, code: int, reason: str) -> None:
        assert self.closed is None, "closed twice"
        self.closed = (code, reason)

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True


class PlainEncoder:
    """Shows what it encodes, and counts."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        self.encoded += 1
        marks = f"@{offset} " if offset is not None else ""
        marks += f"#{delivery_tag} " if delivery_tag is not None else ""
        return f"{destination} {delivery.routing_key} {marks}".encode() + delivery.body


class FakeSubscriber:
    """A subscriber that keeps what it is told."""

    def __init__(self, encoder: PlainEncoder | None = None) -> None:
        self.encoder = encoder or PlainEncoder()
        self.frames: list[bytes] = []
        self.send: Callable[[bytes], None] = self.frames.append
        self.take: Any = None
        self.over: list[tuple[Destination, TwbridgeError]] = []
        self.gaps: list[Destination] = []

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        self.over.append((destination, error))

    def interrupted(self, destination: Destination) -> None:
        self.gaps.append(destination)


class FakeOutlet:
    """A session, as its subscriptions see it. ``heard`` is what its client gets, in order.

    Its socket takes ``room`` sends, then no more until the test says so.
    """

    def __init__(self, encoder: Any = None, budget: int = 1000) -> None:
        self.encoder: Any = encoder or PlainEncoder()
        self.budget = Budget(budget)
        self.room = 1 << 30
        #: Frames as bytes, events as they are.
        self.heard: list[Any] = []
        self.over: list[tuple[Destination, TwbridgeError]] = []
        #: Called within each send: what it sets off.
        self.on_send: Callable[[], object] = lambda: None
        self.overflows = 0
        self.on_overflow: Callable[[], object] = lambda: None

    @property
    def takes_data(self) -> bool:
        return self.room > 0

    def send(self, data: bytes) -> None:
        self.room -= 1
        self.heard.append(data)
        self.on_send()

    def tell(self, event: Event) -> None:
        self.heard.append(event)

    def overflowed(self) -> None:
        self.overflows += 1
        self.on_overflow()

    def ended(self, destination: Destination, error: TwbridgeError) -> None:
        self.over.append((destination, error))

    def interrupted(self, destination: Destination) -> None:
        self.heard.append(Gap(destination))

    @property
    def frames(self) -> list[bytes]:
        """The messages alone."""
        return [each for each in self.heard if isinstance(each, bytes)]

    @property
    def gaps(self) -> list[tuple[int | None, int | None]]:
        """The gaps that it was told of."""
        return [(each.first, each.resumed) for each in self.heard if isinstance(each, Gap)]

    @property
    def dropped(self) -> int:
        """How many messages it was told were dropped."""
        return sum(each.count for each in self.heard if isinstance(each, Dropped))
