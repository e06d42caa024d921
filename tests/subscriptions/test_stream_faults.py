"""Streams and what goes wrong: lost links, refusals, ends."""

from __future__ import annotations

from twisted.internet.defer import fail

from tests.fakes import delivery
from tests.subscriptions.cases import StreamCase
from twbridge.errors import ChannelClosed, NotFound, NotReady, TwbridgeError
from twbridge.subscriptions import stream as stream_module

REFUSED = ChannelClosed(403, "ACCESS_REFUSED")


class LinkTests(StreamCase):
    """The link is lost and comes back."""

    def test_nothing_is_missed_or_comes_twice_over_a_reconnect(self) -> None:
        self.publish(2)
        found = [self.subscribe("first"), self.subscribe("next"), self.subscribe("timestamp=50")]
        self.publish(2, time=60)
        self.link.lose()
        self.link.publish("log", 2, time=70)
        self.link.reconnect()
        self.publish(time=80)
        self.assertEqual(
            [each.got for each in found], [[*range(7)], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6]]
        )

    def test_a_reader_goes_on_with_what_its_socket_has_not_taken(self) -> None:
        self.publish(6)
        found = self.start("first", prefetch=2)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        self.reconnect()
        self.assertEqual(found.got, [])
        found.drain()
        self.link.settle()
        self.assertEqual((found.got, found.state), ([*range(6)], "FOLLOWING"))

    def test_what_retention_took_meanwhile_is_a_gap_told_once(self) -> None:
        slow, found = self.subscribe(), self.subscribe()
        self.publish()
        self.link.lose()
        self.link.publish("log", 5)
        self.link.streams["log"].truncate(4)
        self.link.reconnect()
        slow.stall()
        self.link.settle()
        self.assertEqual((found.got, slow.state), ([0, (1, 4), 4, 5], "PARKED"))
        slow.drain()
        self.link.settle()
        self.assertEqual(slow.got, [0, (1, 4), 4, 5])

    def test_who_has_read_further_than_the_shared_end_hears_of_no_gap_that_it_has_not(self) -> None:
        self.publish()
        self.subscribe()
        found = self.start("first")
        self.link.publish("log", 5)
        self.clock.advance(0)
        own = self.link.consumers[1]
        while own.to_broker:
            own.broker_step()
            while own.to_client:
                own.client_step()
        self.link.read([])
        self.assertEqual((found.got, found.state), ([0, 1, 2, 3, 4, 5], "FOLLOWING"))
        self.link.lose()
        self.link.streams["log"].truncate(3)
        self.link.reconnect()
        self.publish()
        self.assertEqual(found.got, [*range(7)])
        self.assertEqual(self.subscribers[0].got, [(1, 3), 3, 4, 5, 6])

    def test_a_gap_of_a_reader_waits_for_the_socket_like_its_messages(self) -> None:
        self.publish(8)
        found = self.start("first", prefetch=3)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        self.link.lose()
        self.link.streams["log"].truncate(6)
        self.link.reconnect()
        self.link.settle()
        self.assertEqual(found.got, [])
        found.drain()
        self.link.settle()
        self.assertEqual(found.got, [0, 1, 2, (3, 6), 6, 7])

    def test_a_killed_node_that_takes_its_time_is_no_new_stream(self) -> None:
        self.publish(3)
        found, slow = self.subscribe(), self.subscribe()
        self.publish()
        slow.stall()
        self.publish()
        self.link.lose()
        self.link.recovering = True
        self.link.reconnect()
        slow.drain()
        self.pass_time(8)
        self.link.recover()
        self.publish()
        self.assertEqual((found.got, slow.got), ([3, 4, 5], [3, 4, 5]))
        self.assertEqual(len(self.link.consumers), 1)

    def test_a_client_that_resumes_at_the_end_of_an_emptied_stream_misses_nothing(self) -> None:
        self.publish(3)
        log = self.link.streams["log"]
        del log.offsets[:], log.times[:], log.chunks[:]
        at_end, before = self.start("offset=3"), self.start("offset=1")
        self.pass_time(5)
        self.publish()
        self.assertEqual(
            (at_end.heard, before.heard), (["subscribed", 3], ["subscribed", (1, 3), 3])
        )


class RefusalTests(StreamCase):
    """What the broker does not give."""

    def test_a_missing_stream_is_not_found(self) -> None:
        for start in ("first", "next", "offset=3"):
            found = self.start(start, name="nope")
            self.pass_time(1)
            error = self.failureResultOf(found.answer, ChannelClosed).value
            self.assertEqual((error.code, found.state), ("not_found", "OVER"))
        self.assertEqual((self.streams.open, self.declared), (0, []))

    def test_one_that_goes_while_a_reader_begins_is_not_found(self) -> None:
        self.publish(3)
        found = self.start("first")
        self.clock.advance(0)
        while len(self.link.consumers) < 2:
            for each in self.link.consumers:
                while each.to_broker:
                    each.broker_step()
            self.link.read()
        self.link.delete("log")
        self.link.settle()
        self.failureResultOf(found.answer, ChannelClosed)

    def test_without_the_link_it_is_not_ready_after_the_links_timeout(self) -> None:
        self.link.lose()
        found, patient = self.start("next"), self.start("next", patient=True)
        self.clock.advance(0)
        self.link.consumers[0].time_out()
        self.failureResultOf(found.answer, NotReady)
        self.assertNoResult(patient.answer)
        self.clock.advance(1)
        self.link.consumers[0].time_out()
        self.clock.advance(1)
        self.link.reconnect()
        self.link.settle()
        self.assertEqual(patient.heard, ["subscribed"])

    def test_an_end_that_is_not_known_in_time_is_not_ready_and_the_patient_wait(self) -> None:
        found, patient = self.start("next"), self.start("next", patient=True)
        self.clock.advance(0)
        [tail] = self.link.consumers
        for _ in range(2):
            tail.broker_step()
            tail.client_step()
        self.link.lose()
        self.clock.advance(stream_module.TIMEOUT - 0.1)
        self.assertNoResult(found.answer)
        self.clock.advance(0.1)
        self.failureResultOf(found.answer, NotReady)
        self.clock.advance(3600)
        self.link.reconnect()
        self.link.settle()
        self.assertEqual(patient.heard, ["subscribed"])

    def test_a_reader_that_is_not_ready_is_not_ready_or_waits(self) -> None:
        self.publish(3)
        self.subscribe("next")
        found, patient = self.start("first"), self.start("first", patient=True)
        self.clock.advance(0)
        self.link.lose()
        for each in self.link.consumers[1:]:
            each.time_out()
        self.failureResultOf(found.answer, NotReady)
        self.link.reconnect()
        self.pass_time(1)
        self.assertEqual(patient.heard, ["subscribed", 0, 1, 2])

    def test_a_parked_one_that_finds_no_link_tries_again(self) -> None:
        found = self.subscribe()
        found.stall()
        self.publish()
        self.link.lose()
        found.drain()
        self.link.consumers[-1].time_out()
        self.clock.advance(0.5)
        found.drain()
        self.link.consumers[-1].time_out()
        self.link.reconnect()
        self.pass_time(1)
        self.assertEqual(found.got, [0])

    def test_a_refusal_after_a_reconnect_ends_all_with_its_reason(self) -> None:
        self.publish(3)
        found, reading = self.subscribe("next"), self.start("first", prefetch=1)
        self.clock.advance(0)
        reading.stall()
        self.link.settle()
        for each in list(self.link.consumers):
            each._finish(REFUSED)
        self.assertEqual([each[1] for each in found.outlet.over], [REFUSED])
        self.assertEqual([each[1] for each in reading.outlet.over], [REFUSED])

    def test_the_refusal_of_a_reader_ends_it_alone(self) -> None:
        self.publish(3)
        other, found = self.subscribe("next"), self.start("first", prefetch=1)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        self.link.consumers[1]._finish(REFUSED)
        self.assertEqual([each[1] for each in found.outlet.over], [REFUSED])
        self.assertEqual((other.state, found.state), ("FOLLOWING", "OVER"))

    def test_an_error_that_nobody_expected_is_internal(self) -> None:
        self.publish(3)
        self.subscribe("next")
        found = self.start("first")
        self.clock.advance(0)
        own = self.link.consumers.pop()
        own.started.errback(ZeroDivisionError())
        self.failureResultOf(found.answer, TwbridgeError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_shared_end_may_end_while_nobody_needs_it(self) -> None:
        self.subscribe().subscription.end()
        self.link.consumers[0]._finish(REFUSED)
        self.assertEqual((self.streams.open, self.clock.getDelayedCalls()), (0, []))

    def test_the_shared_end_may_end_while_a_reader_begins(self) -> None:
        self.publish(3)
        self.subscribe("next")
        found = self.start("first")
        self.clock.advance(0)
        self.link.consumers[0]._finish(REFUSED)
        self.link.settle()
        self.assertIs(self.failureResultOf(found.answer).value, REFUSED)
        self.assertEqual(found.state, "OVER")

    def test_a_refusal_that_comes_at_once_is_told_too(self) -> None:
        for error, kind in ((REFUSED, ChannelClosed), (ZeroDivisionError(), TwbridgeError)):
            self.link.consume = lambda *_, error=error, **__: fail(error)  # type: ignore[method-assign]
            found = self.start("next")
            self.clock.advance(0)
            self.failureResultOf(found.answer, kind)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.streams.open, 0)

    def test_a_queue_that_is_no_stream_says_so(self) -> None:
        found = self.subscribe("next")
        [tail] = self.link.consumers
        tail._on_delivery(delivery("k", b"of a queue"))
        [(_, error)] = found.outlet.over
        self.assertIsInstance(error, NotFound)
        self.assertEqual(str(error), "log is a queue, but not a stream.")

    def test_while_it_attaches_again_a_lost_link_is_waited_for(self) -> None:
        self.publish(3)
        found = self.subscribe("next")
        self.link.delete("log")
        self.link.settle()
        self.link.lose()
        self.clock.advance(0.25)
        self.link.consumers[-1].time_out()
        self.clock.advance(1)
        self.link.make("log").append(1, 0)
        self.link.reconnect()
        self.pass_time(1)
        self.assertEqual((found.got, found.outlet.over), ([(3, 0), 0], []))

    def test_a_look_at_the_end_that_fails_is_repeated(self) -> None:
        self.publish(2)
        found = self.start("offset=9")
        self.clock.advance(0)
        self.link.settle()
        self.clock.advance(1)
        self.link.consumers[-1]._finish(REFUSED)
        self.pass_time(2)
        self.assertEqual(found.got, [(9, 0), 0, 1])

    def test_stopping_leaves_nothing_whatever_was_under_way(self) -> None:
        self.publish(2)
        found = self.start("offset=9")
        self.pass_time(0.5)
        found.subscription.end()
        looking = self.start("offset=9")
        self.clock.advance(0)
        self.link.settle()
        self.clock.advance(1)
        looking.subscription.end()
        self.link.delete("log")
        self.link.settle()
        self.streams.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
