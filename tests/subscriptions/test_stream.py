"""Subscriptions to streams: where they begin, and how they go on."""

from __future__ import annotations

from tests.subscriptions.cases import StreamCase
from twbridge.errors import Conflict, NotFound


class StartTests(StreamCase):
    """Each start gives what it says, and ``subscribed`` is told before the first message."""

    def test_next_begins_with_what_is_published_from_then_on(self) -> None:
        self.publish(3)
        found = self.subscribe("next")
        self.publish()
        self.assertEqual(found.heard, ["subscribed", 3])

    def test_first_begins_with_the_oldest_there_is(self) -> None:
        self.publish(5)
        self.link.streams["log"].truncate(2)
        found = self.subscribe("first")
        self.publish()
        self.assertEqual(found.heard, ["subscribed", 2, 3, 4, 5])

    def test_last_is_the_newest_message_alone_though_its_chunk_has_more(self) -> None:
        self.publish(2)
        self.publish(3)
        found = self.subscribe("last")
        self.publish()
        self.assertEqual(found.heard, ["subscribed", 4, 5])

    def test_last_of_a_stream_that_is_followed_comes_after_the_answer_too(self) -> None:
        self.publish(2)
        self.subscribe("next")
        found = self.start("last")
        self.assertEqual(found.heard, [])
        self.clock.advance(0)
        self.assertEqual(found.heard, ["subscribed", 1])

    def test_an_offset_begins_with_it(self) -> None:
        self.publish(5)
        found = self.subscribe("offset=2")
        self.publish()
        self.assertEqual(found.heard, ["subscribed", 2, 3, 4, 5])

    def test_an_offset_at_the_end_follows_and_costs_no_reader(self) -> None:
        self.publish(3)
        found = self.subscribe("offset=3")
        self.assertEqual((found.state, len(self.link.consumers)), ("FOLLOWING", 1))
        self.publish()
        self.assertEqual(found.got, [3])

    def test_offset_0_is_the_very_first(self) -> None:
        self.publish(2)
        self.assertEqual(self.subscribe("offset=0").got, [0, 1])

    def test_an_offset_that_retention_took_is_a_gap(self) -> None:
        self.publish(6)
        self.link.streams["log"].truncate(4)
        self.assertEqual(self.subscribe("offset=1").heard, ["subscribed", (1, 4), 4, 5])
        self.assertEqual(self.subscribe("offset=0").heard, ["subscribed", (0, 4), 4, 5])
        self.assertEqual(self.subscribe("offset=4").heard, ["subscribed", 4, 5])

    def test_an_offset_past_the_end_is_that_of_another_stream_and_all_of_this_comes(self) -> None:
        self.publish(2)
        found = self.subscribe("offset=10")
        found.drain()
        self.assertEqual(found.heard, ["subscribed"])
        self.pass_time(1.0)
        self.assertEqual(found.got, [(10, 0), 0, 1])
        self.publish()
        self.assertEqual(found.got, [(10, 0), 0, 1, 2])

    def test_the_same_where_the_stream_is_empty_with_its_first_message(self) -> None:
        found = self.subscribe("offset=10")
        self.pass_time(5.0)
        self.assertEqual(found.heard, ["subscribed"])
        self.publish()
        self.assertEqual(found.got, [(10, 0), 0])

    def test_a_timestamp_begins_with_the_first_at_or_after_it(self) -> None:
        for time in (10, 20, 30):
            self.publish(2, time=time)
        found = self.subscribe("timestamp=20")
        self.publish(time=40)
        self.assertEqual(found.heard, ["subscribed", 2, 3, 4, 5, 6])

    def test_what_is_in_the_chunk_before_the_timestamp_is_left_out(self) -> None:
        log = self.link.streams["log"]
        self.publish(3, time=10)
        log.times = [10, 20, 30]
        self.assertEqual(self.subscribe("timestamp=20").got, [1, 2])

    def test_a_timestamp_to_come_waits_for_it(self) -> None:
        self.publish(time=10)
        found = self.subscribe("timestamp=50", prefetch=1)
        self.publish(3, time=20)
        self.assertEqual(found.got, [])
        self.publish(time=50)
        self.assertEqual((found.got, found.state), ([4], "FOLLOWING"))

    def test_all_starts_of_an_empty_stream_get_its_first_message(self) -> None:
        for start in ("first", "last", "next", "offset=0", "timestamp=0"):
            self.subscribe(start)
        self.publish(2)
        for each in self.subscribers:
            self.assertEqual(each.heard, ["subscribed", 0, 1])

    def test_a_prefetch_of_one_is_enough(self) -> None:
        self.publish(5)
        for start in ("first", "offset=2", "offset=1"):
            found = self.subscribe(start, prefetch=1)
            self.assertEqual(found.got[-1], 4)
            self.assertEqual(found.state, "FOLLOWING")

    def test_a_message_that_can_not_be_shown_is_left_out_wherever_it_comes(self) -> None:
        self.encoder.bad = {1, 3}
        self.publish(2)
        read, last = self.subscribe("first"), self.subscribe("last")
        self.publish(3)
        self.assertEqual((read.got, last.got), ([0, 2, 4], [2, 4]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)

    def test_prefetch_messages_are_read_ahead_of_the_socket_and_no_more(self) -> None:
        self.publish(20)
        found = self.start("first", prefetch=5)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        [reader] = [each for each in self.link.consumers if each.prefetch == 5]
        self.assertEqual(reader._last_tag, 5)
        found.drain()
        self.link.settle()
        self.assertEqual(found.got, list(range(20)))


class EndTests(StreamCase):
    """After the end nothing comes, whenever that was."""

    def test_it_may_end_in_every_state(self) -> None:
        self.publish(10)
        new, asked, reading = (self.start("first", prefetch=2) for _ in range(3))
        new.subscription.end()
        self.failureResultOf(new.answer, Conflict)
        self.clock.advance(0)
        asked.subscription.end()
        self.failureResultOf(asked.answer, Conflict)
        reading.stall()
        self.link.settle()
        self.assertEqual(reading.state, "READING")
        following, parked = self.subscribe("next"), self.subscribe("next")
        parked.stall()
        self.publish()
        self.assertEqual((following.state, parked.state), ("FOLLOWING", "PARKED"))
        heard = [list(each.heard) for each in (reading, following, parked)]
        for each in (reading, following, parked):
            each.subscription.end()
            each.subscription.end()
            self.assertEqual(each.state, "OVER")
        self.publish(3)
        for each in (reading, following, parked):
            each.drain()
        self.pass_time(1)
        self.assertEqual([each.heard for each in (reading, following, parked)], heard)

    def test_the_shared_end_lingers_a_little_for_pages_that_are_reloaded(self) -> None:
        self.subscribe().subscription.end()
        self.pass_time(4)
        self.assertEqual((len(self.link.consumers), self.streams.open), (1, 1))
        again = self.subscribe()
        self.pass_time(20)
        self.assertEqual(len(self.link.consumers), 1)
        again.subscription.end()
        self.pass_time(6)
        self.assertEqual((self.link.consumers, self.streams.open), ([], 0))

    def test_one_that_leaves_in_the_midst_of_a_read_takes_nothing_from_the_others(self) -> None:
        one, other = self.subscribe(), self.subscribe()
        one.stall()
        self.link.publish("log", 2)
        [tail] = self.link.consumers
        tail.client_step()
        one.subscription.end()
        tail.client_step()
        self.link.read()
        self.assertEqual((one.got, other.got), ([], [0, 1]))

    def test_one_whose_sending_is_its_end_disturbs_nobody(self) -> None:
        self.publish(4)
        ending = [self.start(start, prefetch=2) for start in ("first", "last", "offset=2")]
        for each in ending:
            each.outlet.on_send = each.subscription.end
        other = self.subscribe("first")
        following = self.subscribe("next")
        following.outlet.on_send = following.subscription.end
        self.publish()
        self.publish()
        self.assertEqual([len(each.outlet.frames) for each in (*ending, following)], [1] * 4)
        self.assertEqual(other.got, [0, 1, 2, 3, 4, 5])

    def test_there_is_nothing_to_acknowledge(self) -> None:
        found = self.subscribe()
        with self.assertRaisesRegex(NotFound, r"^Messages of a stream are not acknowledged\.$"):
            found.subscription.ack(1, False)
        with self.assertRaisesRegex(NotFound, r"^Messages of a stream are not acknowledged\.$"):
            found.subscription.nack(1, True, False)


class FollowTests(StreamCase):
    """Who has read all shares one consumer; who reads too slowly leaves it."""

    def test_a_hundred_followers_cost_one_consumer(self) -> None:
        self.publish(3)
        found = [self.subscribe(start) for start in ("first", "last", "next", "offset=1") * 25]
        self.assertEqual(len(self.link.consumers), 1)
        self.publish()
        self.assertTrue(all(each.got[-1] == 3 for each in found))

    def test_block_parks_and_reads_on_from_where_it_was(self) -> None:
        slow, quick = self.subscribe(), self.subscribe()
        self.publish()
        slow.stall()
        self.publish(3)
        self.publish(3)
        self.assertEqual((slow.got, slow.state, quick.got), ([0], "PARKED", [*range(7)]))
        self.assertEqual(len(self.link.consumers), 1)
        slow.drain()
        self.link.settle()
        self.publish()
        self.assertEqual((slow.got, slow.state), ([*range(8)], "FOLLOWING"))
        self.assertEqual(len(self.link.consumers), 1)

    def test_who_joins_in_the_midst_of_a_read_makes_nobody_get_it_twice(self) -> None:
        slow = self.subscribe()
        slow.outlet.room = 1
        late = self.start("offset=2")
        self.link.publish("log", 4)
        [tail] = self.link.consumers
        for _ in range(2):
            tail.client_step()
        # What there is leaves as it joins; then the socket takes no more.
        self.clock.advance(0)
        self.link.settle()
        self.assertEqual((slow.got, slow.state, late.got), ([0, 1], "PARKED", [2, 3]))
        slow.drain()
        self.link.settle()
        self.assertEqual(slow.got, [0, 1, 2, 3])

    def test_who_has_read_further_than_the_shared_end_waits_for_it(self) -> None:
        self.subscribe()
        [tail] = self.link.consumers
        found = self.start("first")
        self.link.publish("log", 3)
        self.clock.advance(0)
        for _ in range(20):
            for each in self.link.consumers:
                if each is not tail:
                    while each.to_broker:
                        each.broker_step()
            self.link.read([each for each in self.link.consumers if each is not tail])
        tail.client_step()
        self.link.publish("log", 1)
        self.link.settle()
        self.assertEqual((found.got, found.state), ([0, 1, 2, 3], "FOLLOWING"))

    def test_close_follows_whatever_the_socket_says(self) -> None:
        found = self.subscribe(overflow="close")
        found.stall()
        self.publish(3)
        self.assertEqual((found.got, found.state), ([0, 1, 2], "FOLLOWING"))

    def test_drop_oldest_drops_and_tells_before_what_is_left(self) -> None:
        found = self.subscribe(overflow="drop-oldest")
        found.outlet.budget.left = 12
        found.stall()
        self.publish(5)
        self.assertEqual(found.got, [])
        found.drain()
        self.assertEqual(found.got, [(3,), 3, 4])
        self.assertEqual(self.drops.count, 3)

    def test_what_is_past_is_read_at_the_clients_pace_whatever_the_policy(self) -> None:
        self.publish(10)
        found = self.start("first", overflow="drop-oldest", prefetch=3)
        self.clock.advance(0)
        found.stall()
        self.link.settle()
        found.drain()
        self.link.settle()
        self.assertEqual(found.got, [*range(10)])

    def test_latest_keeps_the_newest_of_each_key(self) -> None:
        found = self.subscribe(overflow="latest")
        found.stall()
        self.publish(7)
        found.drain()
        self.assertEqual(found.got, [(4,), 4, 5, 6])
