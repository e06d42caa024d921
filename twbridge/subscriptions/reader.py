"""One consumer of a stream, from a place on; it survives reconnects and notices what is missing.

Sans-I/O. After a reconnect it reads on from the last message that it has, that one included: if it
is still there and the same, nothing is missing. If a later one comes, retention has taken those
between. If another one comes, or the stream ends before it, it was made anew. Holes in the offsets
are no sign of anything: healthy streams have them.

Facts of RabbitMQ that it builds on (docs/streams.md): for an offset past the end nothing comes
until there is a message with that offset, and nothing before it ever; what there is comes, up to
the prefetch, before the answer to the next synchronous method on the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import (
    ChannelClosed,
    ConnectionClosed,
    NotFound,
    NotReady,
    ProtocolClosed,
    TwbridgeError,
)
from twbridge.ports import Consumer, ConsumingLink
from twbridge.starts import Start
from twbridge.subscriptions.probe import OFFSET, Probe, offset_of, passive
from twbridge.wire import Delivery

__all__ = ["Reader", "Sink"]

_log = Logger()

#: Seconds that a node or a replica has to catch up, before it is looked where the stream ends.
GRACE = 1.0
#: Seconds between looks for a stream that was deleted, and how many of them.
LOOK, LOOKS = 0.25, 20
#: Seconds between attempts while the link is away.
AGAIN = 1.0


class Sink(Protocol):
    """Whom a reader tells."""

    def message(self, offset: int, delivery: Delivery, /) -> None:
        """The next message. Offsets grow, until a gap says otherwise."""

    def gap(self, first: int, resumed: int, /) -> None:
        """Messages from offset ``first`` on are missing; it goes on with ``resumed``."""

    def settled(self) -> None:
        """What was there when it began, or began again, has come."""

    def ended(self, error: TwbridgeError, /) -> None:
        """It has ended by itself."""


def _ignore(_: object) -> None:
    pass


class Reader:
    """Reads a stream.

    Args:
        link: the way to the broker.
        clock: for delays.
        name: of the stream.
        sink: whom it tells.
        start: where to begin.
        position: the offset of the last message that the sink has; -1 where it wants all from
            offset 0 on. It goes before ``start``.
        prefetch: how many messages may be unacknowledged.
        redeclare: called with the name when the stream was deleted, until there is one again.
        on_beginning: called where the last message was wanted of a stream that seemed to be empty,
            with the offset that was published next. It reads what is before that too.
    """

    def __init__(
        self,
        link: ConsumingLink,
        clock: IReactorTime,
        name: str,
        sink: Sink,
        *,
        start: Start,
        position: int | None = None,
        prefetch: int,
        redeclare: Callable[[str], object] | None = None,
        on_beginning: Callable[[int], object] = _ignore,
    ) -> None:
        self.position = position
        self.last: Delivery | None = None
        #: How often the stream was found to be another one.
        self.renewals = 0
        self._link = link
        self._clock = clock
        self._name = name
        self._sink = sink
        self._start = start
        self._prefetch = prefetch
        self._redeclare = redeclare
        self._on_beginning = on_beginning
        self._consumer: Consumer | None = None
        self._stopped = False
        self._begun: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._probe: Probe | None = None
        self._looks = 0
        self._outdated = False
        # The broker has taken back what the sink has not dealt with in time.
        self._lapsed = False
        # Of this attachment to the stream: its number, where it began, the position that it begins
        # at, whether nothing has come yet, how much has come, and how much was acknowledged.
        self._attachment = 0
        self._where: Any = None
        self._anchor: int | None = None
        self._fresh = True
        self._arrived = self._settled = 0
        self._sync_again = False
        self._tag = 0
        # The first offset that is missing, while it is not known where the new stream begins.
        self._missing: int | None = None

    # -- for the owner

    def begin(self) -> Deferred[None]:
        """Attach; fires when the broker delivers. Fails with its refusal, or with NotReady."""
        self._begun = Deferred()
        begun = self._begun
        self._consume()
        return begun

    @property
    def caught_up_to(self) -> int | None:
        """The offset up to which nothing is missing; None while the broker has not shown that."""
        position = self.position
        return None if position is not None and position >= 0 and self._fresh else position

    def ack(self) -> None:
        """Take more: all that has come is dealt with."""
        if self._lapsed:
            self._lapsed = False
            self._consume()
        if self._consumer is None or self._arrived == self._settled:
            return
        self._settled = self._arrived
        self._consumer.ack(self._tag, multiple=True)
        if self._sync_again:
            self._sync()

    def catch_up(self) -> Deferred[None]:
        """Fires when what there was has come, or that can't be known. Not to be cancelled."""
        if self._consumer is None:
            return succeed(None)
        synced = self._consumer.sync()
        return synced.addErrback(self._not_synced)

    def renew(self) -> None:
        """Somebody else has seen that the stream is another one: begin with its first message."""
        if self._consumer is None:
            self._outdated = True
        else:
            self._made_anew()

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self._stop_looking()
        self._detach()

    # -- towards the broker

    def _consume(self) -> None:
        consuming = self._link.consume(
            passive(self._name),
            self._delivered,
            prefetch=self._prefetch,
            on_end=self._ended,
            arguments=self._arguments,
        )
        consuming.addCallbacks(self._consuming, self._not_consuming)
        consuming.addErrback(self._broke)

    def _arguments(self) -> Mapping[str, Any]:
        """The arguments of basic.consume; they are asked for with each attachment."""
        self._stop_looking()
        self._attachment += 1
        self._anchor = self.position
        self._fresh = True
        self._arrived = self._settled = 0
        self._sync_again = False
        where: Any = self._start.where
        if self.position is not None:
            where = self.position if self.position >= 0 else "first"
        elif where == "offset":
            where = self._start.value
        elif where == "timestamp":
            where = datetime.fromtimestamp(self._start.value, UTC)
        self._where = where
        return {OFFSET: where}

    def _consuming(self, consumer: Consumer) -> None:
        self._looks = 0
        self._consumer = consumer
        if self._stopped:
            self._detach()
            return
        consumer.on_established = self._sync
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.callback(None)
        if self._outdated:
            self._made_anew()
        else:
            self._sync()

    def _not_consuming(self, failure: Failure) -> None:
        if self._stopped:
            return
        error = failure.value
        if isinstance(error, ChannelClosed) and error.passes:
            error = NotReady(str(error))
        if not isinstance(error, TwbridgeError):
            self._broke(failure)
            error = TwbridgeError()
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.errback(error)
        elif isinstance(error, NotReady):
            self._later(AGAIN)
        elif isinstance(error, ChannelClosed) and self._looks < LOOKS:
            self._look_for_it()
        else:
            self._sink.ended(error)

    def _ended(self, error: TwbridgeError) -> None:
        """The broker ended the consumer: the stream was deleted, as a rule."""
        self._consumer = None
        self._stop_looking()
        if self._stopped:
            return
        if isinstance(error, ChannelClosed) and error.passes:
            self._later(AGAIN)
        elif isinstance(error, ChannelClosed) and error.is_ack_timeout:
            self._lapsed = True
        elif isinstance(error, ChannelClosed) and error.reply_code == 404:
            self._deleted()
        else:
            self._sink.ended(error)

    def _deleted(self) -> None:
        _log.info("The stream {name} is gone; looking for a new one", name=self._name)
        self._forget_place()
        self._look_for_it()

    def _look_for_it(self) -> None:
        self._looks += 1
        if self._redeclare is not None:
            # Each time: a declaration may find what is being deleted just then.
            self._redeclare(self._name)
        self._later(LOOK)

    def _later(self, delay: float) -> None:
        self._stop_looking()
        self._timer = self._clock.callLater(delay, self._consume)

    def _forget_place(self) -> None:
        """Whatever comes now is of another stream."""
        if self._missing is None:
            self._missing = 0 if self.position is None else self.position + 1
        self.position = self.last = None
        self.renewals += 1
        self._outdated = False
        self._start = Start("first")

    def _detach(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            cancelled = consumer.cancel()
            cancelled.addErrback(lambda failure: failure.trap(TwbridgeError) and None)

    def _broke(self, failure: Failure) -> None:
        _log.failure("the reader of {name} broke", failure, name=self._name)

    # -- messages

    def _delivered(self, delivery: Delivery) -> None:
        if self._stopped:
            return
        self._tag = delivery.delivery_tag
        self._arrived += 1
        offset = offset_of(delivery)
        if offset is None:
            self.stop()
            self._sink.ended(NotFound(f"{self._name} is a queue, but not a stream."))
            return
        if self._fresh:
            self._fresh = False
            if self._timer is not None or self._probe is not None:
                self._stop_looking()
                self._sync()  # the first answer came when nothing was there yet
            if self._is_another(offset, delivery):
                self._made_anew()
                return
            if self._where == "last" and self._anchor == -1 and offset > 0:
                # There was more, written but not delivered yet.
                self._on_beginning(offset)
                self._detach()
                self._consume()
                return
            self._tell_gap(offset)
        if self.position is not None and offset <= self.position:
            self.ack()  # nothing else has come yet
            return
        self.position, self.last = offset, delivery
        self._sink.message(offset, delivery)

    def _is_another(self, offset: int, delivery: Delivery) -> bool:
        """Whether the message at our position is not the one that we know."""
        known = self.last
        return (
            known is not None
            and offset == self._anchor
            and (
                delivery.body != known.body
                or delivery.routing_key != known.routing_key
                or delivery.raw_properties != known.raw_properties
            )
        )

    def _tell_gap(self, offset: int) -> None:
        missing, self._missing = self._missing, None
        if missing is not None:
            self._sink.gap(missing, offset)
        elif self._anchor is not None and offset > self._anchor + 1:
            self._sink.gap(self._anchor + 1, offset)

    # -- is that all?

    def _sync(self) -> None:
        if self._consumer is None or self._stopped:
            return
        self._sync_again = False
        attachment, settled = self._attachment, self._settled
        synced = self._consumer.sync()
        synced.addCallbacks(lambda _: self._synced(attachment, settled), self._not_synced)
        synced.addErrback(self._broke)

    def _not_synced(self, failure: Failure) -> None:
        # It begins again with the link, or is told of its end.
        failure.trap(ConnectionClosed, ProtocolClosed)

    def _synced(self, attachment: int, settled: int) -> None:
        """Everything has come, unless the prefetch was used up when the broker was asked."""
        if attachment != self._attachment or self._stopped:
            return
        if self._arrived - settled >= self._prefetch:
            self._sync_again = True
            if self._settled > settled:
                self._sync()
        elif not self._fresh:
            self._sink.settled()
        elif self._anchor is not None and self._anchor >= 0:
            self._look_later(attachment)
        else:
            self._found_empty()
            self._sink.settled()

    def _found_empty(self) -> None:
        """Nothing is there: all that comes is wanted, where all or the last was wanted."""
        if self._missing is not None:
            self._sink.gap(self._missing, 0)
            self._missing = None
        if self._start.where in ("first", "last"):
            self.position = self._anchor = -1

    # -- is it another one?

    def _look_at_end(self, attachment: int) -> None:
        """Nothing has come. That alone proves nothing: a node that was killed takes its time."""
        if attachment == self._attachment and self._consumer is not None and self._fresh:
            self._probe = Probe(
                self._link,
                self._name,
                lambda offset: self._end_seen(offset, attachment),
                lambda: self._look_later(attachment),
            )

    def _look_later(self, attachment: int) -> None:
        if attachment == self._attachment and self._consumer is not None:
            self._stop_looking()
            self._timer = self._clock.callLater(GRACE, self._look_at_end, attachment)

    def _end_seen(self, offset: int, attachment: int) -> None:
        """It is another one where it ends before our position; we would have had ours by now."""
        if attachment != self._attachment or self._consumer is None or self._anchor is None:
            return
        if offset < self._anchor:
            synced = self._consumer.sync()
            synced.addCallbacks(lambda _: self._end_known(attachment), self._not_synced)
            synced.addErrback(self._broke)

    def _end_known(self, attachment: int) -> None:
        if attachment == self._attachment and not self._stopped and self._fresh:
            self._made_anew()

    def _stop_looking(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.stop()

    def _made_anew(self) -> None:
        # Clients can have this said as often as they like.
        _log.debug("The stream {name} was made anew", name=self._name)
        self._stop_looking()
        self._forget_place()
        self._detach()
        self._consume()
