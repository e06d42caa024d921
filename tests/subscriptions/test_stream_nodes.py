"""Streams on a node that comes and goes, or is slow to say what it has."""

from __future__ import annotations

from tests.subscriptions.cases import StreamCase
from twbridge.errors import ChannelClosed, NotReady

DOWN = ChannelClosed(
    404,
    "NOT_FOUND - home node 'rabbit@a' of durable queue 'log' in vhost '/' is down or inaccessible",
)
LATE = ChannelClosed(
    406, "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out. Timeout value used"
)


class DownTests(StreamCase):
    """A 404 that says that the stream is there and its node is not."""

    def test_it_is_no_deletion_and_nothing_comes_twice(self) -> None:
        self.publish(3)
        found, parked, reading = (
            self.subscribe("offset=1"),
            self.subscribe("next"),
            self.start("first", prefetch=1),
        )
        self.clock.advance(0)
        reading.stall()
        parked.stall()
        self.link.settle()
        self.publish()
        for _ in range(3):
            for each in list(self.link.consumers):
                each._finish(DOWN)
            self.clock.advance(1)
        parked.drain()
        reading.drain()
        self.pass_time(2)
        self.publish()
        self.assertEqual(
            [each.got for each in (found, parked, reading)], [[1, 2, 3, 4], [3, 4], [*range(5)]]
        )
        self.assertEqual(self.declared, [])

    def test_whoever_comes_then_is_told_that_it_is_not_ready_or_waits(self) -> None:
        self.publish(2)
        found, patient = self.start("first"), self.start("first", patient=True)
        self.clock.advance(0)
        for each in list(self.link.consumers):
            each._finish(DOWN)
        self.failureResultOf(found.answer, NotReady)
        self.pass_time(1)
        self.assertEqual(patient.heard, ["subscribed", 0, 1])


class LateAckTests(StreamCase):
    """What a stalled socket does not take in time goes back; the stream has it still."""

    def test_a_stalled_reader_goes_on_when_its_socket_does(self) -> None:
        self.publish(6)
        found = self.start("first", prefetch=2)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        for _ in range(2):
            self.link.consumers[1]._finish(LATE)
            self.pass_time(5)
            self.assertEqual((len(self.link.consumers), found.outlet.over), (1, []))
            found.drain(1)
            self.link.settle()
        found.drain()
        self.link.settle()
        self.assertEqual((found.got, found.state), ([*range(6)], "FOLLOWING"))

    def test_it_may_end_before_that(self) -> None:
        self.publish(6)
        found = self.start("first", prefetch=2)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        self.link.consumers[1]._finish(LATE)
        found.subscription.end()
        found.drain()
        self.assertEqual(found.got, [])


class UnknownEndTests(StreamCase):
    """What is written is not always delivered yet."""

    def test_a_stream_that_seemed_to_be_empty_is_read_from_its_first_message(self) -> None:
        self.link.recovering = True
        self.link.publish("log", 2)
        self.link.publish("log", 2)
        first, following, last, at = (
            self.subscribe(start) for start in ("first", "next", "last", "offset=0")
        )
        self.assertEqual(first.heard, ["subscribed"])
        self.link.recover()
        self.link.settle()
        self.publish()
        self.assertEqual((first.got, at.got), ([*range(5)], [*range(5)]))
        self.assertEqual((following.got, last.got), ([2, 3, 4], [2, 3, 4]))

    def test_if_its_beginning_is_gone_that_is_a_gap(self) -> None:
        self.link.recovering = True
        self.link.publish("log", 5)
        self.link.streams["log"].truncate(3)
        first, following = self.subscribe("first"), self.subscribe("next")
        self.link.recover()
        self.link.settle()
        self.assertEqual((first.got, following.got), ([(0, 3), 3, 4], [3, 4]))

    def test_next_is_what_is_published_after_it_was_asked_for(self) -> None:
        self.publish()
        early = self.subscribe("next")
        self.link.publish("log", 3)
        late = self.start("next")
        self.clock.advance(0)
        self.link.settle()
        self.publish()
        self.assertEqual((early.got, late.heard), ([1, 2, 3, 4], ["subscribed", 4]))

    def test_without_the_link_next_is_what_comes_after_what_is_known(self) -> None:
        self.publish()
        self.subscribe("next")
        self.link.lose()
        found = self.subscribe("next")
        self.link.reconnect()
        self.publish()
        self.assertEqual(found.heard, ["subscribed", 1])

    def test_it_may_end_before_that_is_known(self) -> None:
        self.publish()
        self.subscribe("next")
        found = self.start("next")
        self.clock.advance(0)
        found.subscription.end()
        self.publish()
        self.assertEqual(found.heard, [])
