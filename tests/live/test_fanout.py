"""Who gets a delivery, how often it is encoded, and what it costs."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeSubscriber, PlainEncoder, delivery
from twbridge.destinations import parse
from twbridge.live.fanout import CACHE, Fanout
from twbridge.wire import Delivery


def read(fanout: Fanout, *deliveries: Delivery) -> None:
    """A read from the broker with these messages."""
    for each in deliveries:
        fanout.deliver(each)
    fanout.flush()


class FanoutTests(SynchronousTestCase):
    def make(self, kind: str, *texts: str) -> tuple[Fanout, list[FakeSubscriber]]:
        fanout, subscribers = Fanout(kind), []
        for text in texts:
            subscriber = FakeSubscriber()
            fanout.join(parse(text), subscriber)
            subscribers.append(subscriber)
        return fanout, subscribers

    def got(self, subscribers: list[FakeSubscriber]) -> list[int]:
        return [len(subscriber.frames) for subscriber in subscribers]

    def test_topic_exchange_matches_patterns(self) -> None:
        fanout, some = self.make("topic", "/topic/a.*", "/topic/a.#", "/topic/b")
        read(fanout, delivery("a.b"))
        self.assertEqual(self.got(some), [1, 1, 0])
        read(fanout, delivery("a"))
        self.assertEqual(self.got(some), [1, 2, 0])

    def test_the_messages_of_a_read_leave_together_and_in_order(self) -> None:
        fanout, (one,) = self.make("topic", "/topic/#")
        read(fanout, delivery("a", b"1"), delivery("b", b"2"))
        self.assertEqual(one.frames, [b"/topic/# a 1/topic/# b 2"])

    def test_who_joins_within_a_read_gets_nothing_from_before_and_who_leaves_gets_it(self) -> None:
        fanout, (early,) = self.make("topic", "/topic/#")
        late = FakeSubscriber(early.encoder)
        fanout.deliver(delivery("a", b"1"))
        fanout.join(parse("/topic/#"), late)
        fanout.deliver(delivery("a", b"2"))
        fanout.leave(parse("/topic/#"), early)
        fanout.flush()
        self.assertEqual(early.frames, [b"/topic/# a 1", b"/topic/# a 2"])
        self.assertEqual(late.frames, [b"/topic/# a 2"])

    def test_what_came_before_the_end_of_a_key_is_sent(self) -> None:
        fanout, (one,) = self.make("topic", "/topic/#")
        fanout.deliver(delivery("a"))
        fanout.drop("#")
        self.assertEqual(one.frames, [b"/topic/# a "])

    def test_direct_exchange_compares_keys(self) -> None:
        fanout, some = self.make("direct", "/exchange/d/a", "/exchange/d/%23", "/exchange/d")
        read(fanout, delivery("a"))
        read(fanout, delivery(""))
        self.assertEqual(self.got(some), [1, 0, 1])

    def test_fanout_and_headers_exchanges_ignore_the_key(self) -> None:
        for kind in ("fanout", "headers"):
            fanout, some = self.make(kind, "/exchange/f/a", "/exchange/f")
            read(fanout, delivery("zzz"))
            self.assertEqual(self.got(some), [1, 1])

    def test_the_exchange_of_the_delivery_does_not_matter(self) -> None:
        fanout, some = self.make("topic", "/topic/a")
        read(fanout, delivery("a", exchange="the.source.of.an.exchange.binding"))
        self.assertEqual(self.got(some), [1])

    def test_it_is_encoded_once_for_an_encoder_and_a_destination_as_written(self) -> None:
        fanout, encoder = Fanout("topic"), PlainEncoder()
        some = [FakeSubscriber(encoder) for _ in range(10)]
        for subscriber in some:
            fanout.join(parse("/topic/a"), subscriber)
        read(fanout, delivery("a"))
        self.assertEqual(encoder.encoded, 1)
        self.assertEqual(len({id(subscriber.frames[0]) for subscriber in some}), 1)
        fanout.join(parse("/topic/%61"), FakeSubscriber(encoder))
        fanout.join(parse("/topic/a"), FakeSubscriber(PlainEncoder()))
        read(fanout, delivery("a"))
        self.assertEqual(encoder.encoded, 3)

    def test_overlapping_destinations_of_one_subscriber_each_deliver(self) -> None:
        fanout, subscriber = Fanout("topic"), FakeSubscriber()
        for text in ("/topic/a", "/topic/#"):
            fanout.join(parse(text), subscriber)
        read(fanout, delivery("a"))
        self.assertEqual(sorted(subscriber.frames), [b"/topic/# a ", b"/topic/a a "])

    def test_keys_in_cc_count_and_deliver_once(self) -> None:
        fanout, some = self.make("topic", "/topic/a", "/topic/b.#", "/topic/#", "/topic/c")
        for _ in range(2):
            read(fanout, delivery("a", headers={"CC": ["b.1", "b.2", "zzz"]}))
        self.assertEqual(self.got(some), [2, 2, 2, 0])

    def test_a_strange_cc_counts_for_nothing(self) -> None:
        fanout, some = self.make("topic", "/topic/a", "/topic/b")
        read(fanout, delivery("a", headers={"CC": "b"}))
        read(fanout, delivery("a", headers={"CC": [1, None, b"\xff"]}))
        read(fanout, delivery("a", b"", headers={"x": ["\x02CCA"]}))
        broken = Delivery(1, "t", 1, False, "x", "a", b"\x20\x00\xff\xff\xff\xff\x02CCA", b"")
        read(fanout, broken)
        self.assertEqual(self.got(some), [4, 0])

    def test_joining_and_leaving_is_seen_by_the_next_delivery(self) -> None:
        fanout, some = self.make("topic", "/topic/a")
        read(fanout, delivery("a"))
        late = FakeSubscriber()
        fanout.join(parse("/topic/*"), late)
        read(fanout, delivery("a"))
        fanout.leave(parse("/topic/a"), some[0])
        fanout.leave(parse("/topic/a"), some[0])
        read(fanout, delivery("a"))
        self.assertEqual(self.got([*some, late]), [2, 2])
        self.assertFalse(fanout.has("a"))
        self.assertTrue(fanout.has("*"))

    def test_one_that_breaks_stops_no_other(self) -> None:
        fanout, encoder = Fanout("topic"), PlainEncoder()
        some = [FakeSubscriber(encoder) for _ in range(3)]

        def broken(_frame: bytes) -> None:
            raise RuntimeError("no socket")

        some[1].send = broken
        for subscriber in some:
            fanout.join(parse("/topic/a"), subscriber)
        read(fanout, delivery("a"))
        self.assertEqual(self.got(some), [1, 0, 1])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_who_leaves_in_the_midst_of_a_broadcast_does_not_disturb_it(self) -> None:
        fanout, encoder = Fanout("topic"), PlainEncoder()
        some = [FakeSubscriber(encoder) for _ in range(3)]
        keep = some[0].frames.append

        def leave_all(frame: bytes) -> None:
            keep(frame)
            for subscriber in some:
                fanout.leave(parse("/topic/a"), subscriber)

        some[0].send = leave_all
        for subscriber in some:
            fanout.join(parse("/topic/a"), subscriber)
        read(fanout, delivery("a"))
        read(fanout, delivery("a"))
        self.assertEqual(some[0].frames, [b"/topic/a a "])

    def test_the_listener_sees_every_delivery_and_its_failure_stops_nothing(self) -> None:
        seen: list[Delivery] = []

        def listen(each: Delivery) -> None:
            seen.append(each)
            raise RuntimeError("a plugin")

        fanout, subscriber = Fanout("topic", listen), FakeSubscriber()
        fanout.join(parse("/topic/a"), subscriber)
        read(fanout, delivery("a"))
        read(fanout, delivery("nobody"))
        self.assertEqual((len(seen), len(subscriber.frames)), (2, 1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_routing_keys_chosen_by_others_do_not_fill_the_memory(self) -> None:
        fanout, _ = self.make("topic", "/topic/#", "/topic/*")
        for number in range(CACHE):
            read(fanout, delivery(f"k{number}"))
        self.assertLessEqual(fanout._cost, CACHE)
        self.assertLess(len(fanout._cache), CACHE / 2)

    def test_a_delivery_costs_about_a_microsecond(self) -> None:
        fanout, encoder = Fanout("topic"), PlainEncoder()
        frames: list[bytes] = []
        for _ in range(1000):
            subscriber = FakeSubscriber(encoder)
            subscriber.send = frames.append
            fanout.join(parse("/topic/a"), subscriber)
        message = delivery("a", b"x" * 100)
        best = 1e9
        for _ in range(20):
            before = time.process_time()
            for _ in range(10):
                read(fanout, message)
            best = min(best, time.process_time() - before)
        self.assertLess(best / 10_000, 1e-6)
