"""Streams that are deleted, or made anew."""

from __future__ import annotations

from tests.subscriptions.cases import StreamCase


class NewStreamTests(StreamCase):
    """A stream that is deleted, or made anew."""

    def renew(self, count: int) -> None:
        self.link.make("log").append(count, 0)

    def test_deleted_and_made_again_it_is_looked_for_and_told_as_a_gap(self) -> None:
        self.publish(5)
        found, parked = self.subscribe("offset=3"), self.subscribe("offset=3")
        parked.stall()
        self.publish()
        self.link.delete("log")
        self.link.settle()
        self.assertEqual(self.declared, ["log"])
        self.renew(2)
        self.pass_time(1)
        self.assertEqual(found.got, [3, 4, 5, (6, 0), 0, 1])
        parked.drain()
        self.link.settle()
        self.assertEqual(parked.got, [3, 4, (5, 0), 0, 1])
        self.publish()
        self.assertEqual((found.got[-1], parked.got[-1]), (2, 2))

    def test_it_is_declared_until_it_is_there(self) -> None:
        """A declaration may find what is being deleted just then, and make nothing."""
        self.publish(2)
        found = self.subscribe()
        self.link.delete("log")
        self.pass_time(2)
        self.assertGreater(len(self.declared), 4)
        self.renew(1)
        self.pass_time(1)
        self.assertEqual(found.got, [(2, 0), 0])
        declared = len(self.declared)
        self.pass_time(5)
        self.assertEqual(len(self.declared), declared)

    def test_one_that_does_not_come_back_ends_with_the_reason(self) -> None:
        self.publish(5)
        found, reading = self.subscribe(), self.start("first", prefetch=1)
        self.clock.advance(0)
        reading.stall()
        self.link.settle()
        parked = self.subscribe()
        parked.stall()
        self.publish()
        self.link.delete("log")
        self.pass_time(6)
        for each in (found, reading, parked):
            [(destination, error)] = each.outlet.over
            self.assertEqual((str(destination), error.code), ("/stream/log", "not_found"))
            self.assertEqual(each.state, "OVER")
        self.assertEqual(self.link.consumers, [])

    def test_parked_twice_over_new_streams_it_hears_of_one_gap(self) -> None:
        found = self.subscribe()
        self.publish()
        found.stall()
        self.publish()
        for _ in range(2):
            self.link.delete("log")
            self.link.settle()
            self.renew(3)
            self.pass_time(1)
        found.drain()
        self.link.settle()
        self.assertEqual(found.got, [0, (1, 0), 0, 1, 2])

    def test_made_anew_while_the_link_was_down_it_is_noticed_by_its_messages(self) -> None:
        for count in (2, 5, 9):
            self.publish(5 - self.link.streams["log"].next)
            found = self.subscribe("next")
            self.publish()
            position = self.link.streams["log"].next - 1
            self.link.lose()
            self.renew(count)
            self.link.reconnect()
            self.pass_time(3)
            self.assertEqual(found.got, [position, (position + 1, 0), *range(count)])

    def test_made_anew_and_empty_it_is_noticed_with_the_first_message(self) -> None:
        self.publish(5)
        found = self.subscribe("next")
        self.link.lose()
        self.renew(0)
        self.link.reconnect()
        self.pass_time(3)
        self.assertEqual(found.got, [])
        self.publish(2)
        self.assertEqual(found.got, [(5, 0), 0, 1])

    def test_deleted_and_empty_it_is_told_at_once(self) -> None:
        self.publish(5)
        found = self.subscribe("next")
        self.link.delete("log")
        self.link.make("log")
        self.pass_time(1)
        self.assertEqual(found.got, [(5, 0)])
        self.publish()
        self.assertEqual(found.got, [(5, 0), 0])

    def test_a_reader_that_met_the_new_stream_at_its_old_place_begins_again(self) -> None:
        self.publish(3)
        found = self.subscribe("offset=3", prefetch=2)
        self.publish()
        found.stall()
        self.publish(5)
        self.assertEqual(found.state, "PARKED")
        # The shared end has not heard of it yet.
        self.link.delete("log")
        self.renew(9)
        [tail] = self.link.consumers
        found.drain()
        for _ in range(6):
            own = [each for each in self.link.consumers if each is not tail]
            for each in own:
                while each.to_broker:
                    each.broker_step()
            self.link.read(own)
        self.assertEqual((found.got, found.state), ([3, 4, 5], "READING"))
        self.pass_time(2)
        self.assertEqual(found.got, [*range(3, 9), (9, 0), *range(9)])

    def test_the_same_while_its_consumer_is_on_its_way(self) -> None:
        self.publish(4)
        found = self.subscribe("next")
        found.stall()
        self.publish()
        self.link.delete("log")
        self.renew(6)
        tail = self.link.consumers[0]
        found.drain()
        own = self.link.consumers[1]
        own.broker_step()
        own.client_step()
        own.broker_step()
        for _ in range(8):
            while tail.to_client:
                tail.client_step()
            self.link.read([])
            self.clock.advance(0.25)
            tail = self.link.consumers[-1]
            while tail.to_broker:
                tail.broker_step()
        self.pass_time(2)
        self.assertEqual(found.got, [(4, 0), *range(6)])

    def test_who_subscribes_while_it_is_looked_for_waits_for_it(self) -> None:
        self.publish(3)
        self.subscribe()
        self.link.delete("log")
        self.link.settle()
        found = [self.start(start) for start in ("first", "next", "offset=2", "timestamp=0")]
        self.clock.advance(0)
        self.assertEqual([each.heard for each in found], [[]] * 4)
        self.renew(4)
        self.pass_time(1)
        self.publish()
        first, following, offset, timestamp = (each.got for each in found)
        self.assertEqual((first, offset, timestamp), ([*range(5)], [2, 3, 4], [*range(5)]))
        self.assertEqual(following, [4])

    def test_what_waits_in_a_lane_is_dropped_before_the_word_of_another_stream(self) -> None:
        self.publish()
        found = self.subscribe(overflow="drop-oldest")
        found.stall()
        self.publish(2)
        self.link.delete("log")
        self.renew(1)
        self.pass_time(1)
        found.drain()
        self.assertEqual(found.got, [(2,), (3, 0), 0])
        self.assertEqual(found.outlet.budget.left, 1000)

    def test_a_parked_one_that_finds_it_gone_waits_for_the_shared_end(self) -> None:
        found = self.subscribe()
        found.stall()
        self.publish()
        self.link.delete("log")
        self.link.settle()
        found.drain()
        self.link.settle()
        self.assertEqual((found.state, found.outlet.over), ("PARKED", []))
        self.renew(2)
        self.pass_time(3)
        self.assertEqual((found.got, found.state), ([(0, 0), 0, 1], "FOLLOWING"))

    def test_gone_again_just_after_it_was_made_anew_it_is_looked_for(self) -> None:
        self.publish(3)
        found = self.subscribe()
        self.link.lose()
        self.renew(3)
        self.link.reconnect()
        tail = self.link.consumers[0]
        while "message" not in [each[0] for each in tail.to_client]:
            if tail.to_broker:
                tail.broker_step()
            elif tail.to_client:
                tail.client_step()
        while tail.to_client and tail.ended is None:
            tail.client_step()
        self.link.streams.clear()
        self.link.settle()
        self.renew(1)
        self.pass_time(1)
        self.assertEqual(found.got, [(3, 0), 0])
