"""One consumer of a stream: what it is told late, twice, or not at all."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeConsumer, FakeLink, delivery
from twbridge.errors import ChannelClosed, ConnectionClosed, NotReady, TwbridgeError
from twbridge.starts import Start
from twbridge.subscriptions.probe import Probe
from twbridge.subscriptions.reader import GRACE, Reader
from twbridge.wire import Delivery

GONE = ChannelClosed(404, "NOT_FOUND")


def message(offset: int, tag: int, body: bytes = b"") -> Delivery:
    """A message of a stream."""
    found = delivery("k", body or str(offset).encode(), headers={"x-stream-offset": offset})
    found.delivery_tag = tag
    return found


class ReaderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.link.syncs_at_once = False
        self.clock = Clock()
        #: What the sink is told.
        self.told: list[Any] = []

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left")

    def message(self, offset: int, _delivery: Delivery) -> None:
        self.told.append(offset)

    def gap(self, first: int, resumed: int) -> None:
        self.told.append((first, resumed))

    def settled(self) -> None:
        self.told.append("settled")

    def ended(self, error: TwbridgeError) -> None:
        self.told.append(error)

    def reader(
        self, start: str = "first", value: int = 0, position: int | None = None, prefetch: int = 10
    ) -> Reader:
        where: Any = start
        return Reader(
            self.link,
            self.clock,
            "log",
            self,
            start=Start(where, value),
            position=position,
            prefetch=prefetch,
        )

    def begun(self, *args: Any, **more: Any) -> Reader:
        reader = self.reader(*args, **more)
        self.successResultOf(reader.begin())
        return reader

    @property
    def consumer(self) -> FakeConsumer:
        return self.link.consumers[-1]

    def where(self) -> list[Any]:
        """What each consumer was attached with last."""
        return [each.options["arguments"]["x-stream-offset"] for each in self.link.consumers]

    def sync(self, consumer: FakeConsumer | None = None) -> None:
        """The broker answers the oldest sync."""
        (consumer or self.consumer).syncs.pop(0).callback(None)


class AttachTests(ReaderCase):
    def test_it_begins_where_it_was_told(self) -> None:
        for start, value, position, wanted in (
            ("first", 0, None, "first"),
            ("last", 0, None, "last"),
            ("next", 0, None, "next"),
            ("offset", 7, None, 7),
            ("first", 0, 5, 5),
            ("last", 0, -1, "first"),
        ):
            self.begun(start, value, position).stop()
            self.assertEqual(self.where()[-1], wanted)
        self.begun("timestamp", 60).stop()
        self.assertEqual(self.where()[-1].isoformat(), "1970-01-01T00:01:00+00:00")

    def test_after_a_reconnect_it_begins_with_what_it_has(self) -> None:
        reader = self.begun()
        self.consumer.deliver(message(3, 1), message(4, 2))
        self.consumer.established()
        self.assertEqual(self.where(), [4])
        self.consumer.deliver(message(4, 3), message(5, 4))
        self.assertEqual(self.told, [3, 4, 5])
        reader.stop()

    def test_it_settles_when_the_answer_comes_behind_all_there_was(self) -> None:
        reader = self.begun(prefetch=2)
        self.consumer.deliver(message(0, 1), message(1, 2))
        self.sync()
        self.assertEqual(self.told, [0, 1], "the prefetch was used up")
        reader.ack()
        self.consumer.deliver(message(2, 3))
        self.sync()
        self.assertEqual(self.told, [0, 1, 2, "settled"])
        self.assertEqual(self.consumer.answered, [("ack", 2, True)])
        reader.stop()

    def test_an_ack_that_crossed_the_answer_makes_it_ask_again(self) -> None:
        reader = self.begun(prefetch=2)
        self.consumer.deliver(message(0, 1), message(1, 2))
        reader.ack()
        self.sync()
        self.assertEqual((self.told, len(self.consumer.syncs)), ([0, 1], 1))
        self.sync()
        self.assertEqual(self.told, [0, 1, "settled"])
        reader.stop()

    def test_the_answer_of_a_lost_connection_settles_nothing(self) -> None:
        reader = self.begun()
        old = self.consumer.syncs.pop()
        self.consumer.established()
        old.callback(None)
        self.assertEqual(self.told, [])
        self.sync()
        self.assertEqual(self.told, ["settled"])
        reader.stop()

    def test_a_sync_that_fails_with_the_link_is_asked_with_the_link_again(self) -> None:
        reader = self.begun()
        self.consumer.syncs.pop().errback(ConnectionClosed(0, "lost"))
        self.consumer.established()
        self.sync()
        self.assertEqual(self.told, ["settled"])
        reader.stop()

    def test_stopped_it_tells_nothing_whatever_comes(self) -> None:
        reader = self.begun(position=3)
        reader.stop()
        self.consumer.deliver(message(4, 1))
        self.sync()
        self.consumer.end(GONE)
        self.clock.advance(10)
        self.assertEqual((self.told, self.consumer.cancelled), ([], True))
        reader.ack()

    def test_stopped_before_it_began_it_lets_the_consumer_go(self) -> None:
        self.link.held = True
        for answer in (None, GONE):
            reader = self.reader()
            reader.begin()
            reader.stop()
            if answer is None:
                self.link.consuming[-1].callback(self.consumer)
                self.assertTrue(self.consumer.cancelled)
            else:
                self.link.consuming[-1].errback(answer)
        self.assertEqual(self.told, [])

    def test_a_consumer_that_can_not_be_cancelled_is_left_to_the_broker(self) -> None:
        reader = self.begun()
        self.consumer.cancel = lambda delete=False: fail(GONE)  # type: ignore[method-assign]
        reader.stop()

    def test_a_fault_of_ours_is_logged(self) -> None:
        reader = self.begun()
        self.settled = lambda: 1 // 0  # type: ignore[method-assign,assignment]
        self.sync()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        reader.stop()


class LookingTests(ReaderCase):
    """Nothing is there at its place: is it another stream?"""

    def waiting(self) -> Reader:
        """One that has got nothing, and looks where the stream ends."""
        reader = self.begun(position=9)
        self.sync()
        self.clock.advance(GRACE)
        self.assertEqual(self.where(), [9, "last"])
        return reader

    def test_an_end_before_its_place_says_so(self) -> None:
        reader = self.waiting()
        self.consumer.deliver(message(4, 1))
        self.assertTrue(self.consumer.cancelled)
        self.sync(self.link.consumers[0])
        self.assertEqual(self.where(), [9, "last", "first"])
        self.consumer.deliver(message(0, 1))
        self.assertEqual(self.told, [(10, 0), 0])
        self.assertEqual(reader.renewals, 1)
        reader.stop()

    def test_an_end_behind_it_does_not(self) -> None:
        reader = self.waiting()
        self.consumer.deliver(message(9, 1))
        self.clock.advance(60)
        first = self.link.consumers[0]
        self.assertEqual((first.cancelled, len(first.syncs)), (False, 0))
        first.deliver(message(9, 1), message(10, 2))
        self.sync(first)
        self.assertEqual(self.told, [10, "settled"])
        reader.stop()

    def test_nor_does_one_before_it_where_its_message_comes_after_all(self) -> None:
        reader = self.waiting()
        self.consumer.deliver(message(4, 1))
        first = self.link.consumers[0]
        first.deliver(message(9, 1))
        self.sync(first)
        self.assertEqual((reader.renewals, first.cancelled), (0, False))
        reader.stop()

    def test_its_own_message_ends_the_looking(self) -> None:
        reader = self.waiting()
        self.link.consumers[0].deliver(message(9, 1))
        self.assertTrue(self.consumer.cancelled)
        self.consumer.deliver(message(4, 1))
        self.assertEqual(self.link.consumers[0].syncs, self.link.consumers[0].syncs[:1])
        reader.stop()

    def test_a_reconnect_begins_it_anew(self) -> None:
        reader = self.waiting()
        probe, first = self.consumer, self.link.consumers[0]
        first.established()
        self.assertTrue(probe.cancelled)
        probe.deliver(message(4, 1))
        self.assertEqual(len(first.syncs), 1)
        self.sync(first)
        self.clock.advance(GRACE)
        self.assertEqual(self.where(), [9, "last", "last"])
        reader.stop()

    def test_what_it_saw_before_a_reconnect_counts_for_nothing(self) -> None:
        reader = self.waiting()
        self.consumer.deliver(message(4, 1))
        first = self.link.consumers[0]
        answer = first.syncs.pop()
        first.established()
        answer.callback(None)
        self.assertEqual(reader.renewals, 0)
        reader.stop()

    def test_where_it_can_not_look_it_looks_again(self) -> None:
        self.link.consume_errors = []
        reader = self.begun(position=9)
        self.sync()
        self.link.consume_errors = [NotReady("away")]
        self.clock.advance(GRACE)
        self.clock.advance(GRACE)
        self.consumer.end(GONE)
        self.clock.advance(GRACE)
        self.assertEqual(self.where(), [9, "last", "last", "last"])
        reader.stop()

    def test_deleted_meanwhile_it_is_looked_for_instead(self) -> None:
        reader = self.begun(position=9)
        self.sync()
        self.consumer.end(GONE)
        self.clock.advance(GRACE)
        self.assertEqual(self.where(), [9, "first"])
        reader.stop()

    def test_the_same_message_at_its_place_is_the_same_stream_and_another_is_not(self) -> None:
        for body, renewed in ((b"same", 0), (b"other", 1)):
            self.told.clear()
            reader = self.begun()
            self.consumer.deliver(message(0, 1, b"same"))
            self.consumer.established()
            self.consumer.deliver(message(0, 2, body))
            self.assertEqual((self.told, reader.renewals), ([0], renewed))
            reader.stop()


class ProbeTests(SynchronousTestCase):
    """A look at the end of a stream."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.found: list[Any] = []

    def probe(self) -> Probe:
        return Probe(self.link, "log", self.found.append, lambda: self.found.append("failed"))

    def test_it_tells_the_first_offset_of_the_last_chunk_once(self) -> None:
        self.probe()
        [consumer] = self.link.consumers
        self.assertEqual((consumer.options["prefetch"], consumer.queue.passive), (1, True))
        consumer.deliver(message(5, 1), message(6, 2))
        self.assertEqual((self.found, consumer.cancelled), ([5], True))

    def test_stopped_it_tells_nothing(self) -> None:
        self.link.held = True
        probe = self.probe()
        probe.stop()
        self.link.release()
        [consumer] = self.link.consumers
        self.assertTrue(consumer.cancelled)
        consumer.deliver(message(5, 1))
        consumer.end(GONE)
        self.assertEqual(self.found, [])

    def test_a_failure_is_told_and_one_of_ours_logged(self) -> None:
        for error in (GONE, ZeroDivisionError()):
            self.link.consume_errors = [error]  # type: ignore[list-item]
            self.probe()
        self.assertEqual(self.found, ["failed", "failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_no_stream_has_no_end(self) -> None:
        probe = self.probe()
        self.link.consumers[0].deliver(delivery("k", b"of a queue"))
        self.assertEqual(self.found, [])
        probe.stop()

    def test_a_consumer_that_can_not_be_cancelled_is_left_to_the_broker(self) -> None:
        probe = self.probe()
        failed: Deferred[None] = fail(GONE)
        self.link.consumers[0].cancel = lambda delete=False: failed  # type: ignore[method-assign]
        probe.stop()
