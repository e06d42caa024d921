"""The overflow policies that drop: what is kept, counted and told."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakeOutlet, delivery
from twbridge.commands import Dropped, Gap
from twbridge.destinations import parse
from twbridge.errors import ChannelClosed, Conflict, NotFound, NotReady
from twbridge.flow import Drops
from twbridge.hub import Hub
from twbridge.subscriptions.dropping import Valve
from twbridge.subscriptions.live import LiveSubscription

CPU = parse("/topic/cpu.#")


class ValveTests(SynchronousTestCase):
    """Between a subscription and its socket."""

    def setUp(self) -> None:
        self.outlet = FakeOutlet(budget=4)
        self.drops = Drops(Clock())

    def valve(self, latest: bool = False) -> Valve:
        return Valve(self.outlet, CPU, latest, self.drops)

    def take(self, valve: Valve, *frames: bytes) -> None:
        valve.take(frames, [frame[:1].decode() for frame in frames])

    def test_while_the_socket_takes_data_all_leaves_in_one_piece(self) -> None:
        self.take(self.valve(), b"a", b"bb", b"c" * 100)
        self.assertEqual(self.outlet.heard, [b"abb" + b"c" * 100])

    def test_the_oldest_are_dropped_and_that_is_told_before_the_rest(self) -> None:
        valve = self.valve()
        self.outlet.room = 0
        self.take(valve, b"a1", b"b2", b"c3")
        self.take(valve, b"d4")
        valve.writable()
        self.assertEqual(self.outlet.heard, [])
        self.outlet.room = 10
        valve.writable()
        self.assertEqual(self.outlet.heard, [Dropped(CPU, 2), b"c3", b"d4"])
        self.assertEqual((self.drops.count, self.outlet.budget.left), (2, 4))
        valve.writable()
        self.assertEqual(len(self.outlet.heard), 3)

    def test_the_newest_of_each_key_is_kept(self) -> None:
        valve = self.valve(latest=True)
        self.outlet.room = 0
        self.take(valve, b"a1", b"b1", b"a2")
        self.outlet.room = 10
        valve.writable()
        self.assertEqual(self.outlet.heard, [Dropped(CPU, 1), b"b1", b"a2"])

    def test_what_waits_goes_before_what_comes(self) -> None:
        valve = self.valve()
        self.outlet.room = 0
        self.take(valve, b"a1", b"b2")
        self.outlet.room = 1
        valve.writable()
        self.take(valve, b"c3")
        self.outlet.room = 2
        self.take(valve, b"d4")
        valve.writable()
        self.assertEqual(self.outlet.heard, [b"a1", Dropped(CPU, 1), b"c3", b"d4"])

    def test_the_budget_is_shared_with_the_other_lanes_of_the_session(self) -> None:
        one, other = self.valve(), self.valve()
        self.outlet.room = 0
        self.take(one, b"a123")
        self.take(other, b"b1")
        self.outlet.room = 10
        other.writable()
        one.writable()
        self.assertEqual(self.outlet.heard, [Dropped(CPU, 1), b"a123"])

    def test_skipping_drops_and_tells_at_once(self) -> None:
        valve = self.valve()
        valve.skip()
        self.outlet.room = 0
        self.take(valve, b"a1", b"b2", b"c3")
        valve.skip()
        self.assertEqual(self.outlet.heard, [Dropped(CPU, 3)])
        self.assertEqual((self.drops.count, self.outlet.budget.left), (3, 4))

    def test_closed_it_gives_the_room_back_and_tells_nothing(self) -> None:
        valve = self.valve()
        self.outlet.room = 0
        self.take(valve, b"a1", b"b2", b"c3")
        valve.close()
        self.outlet.room = 10
        valve.writable()
        self.assertEqual((self.outlet.heard, self.outlet.budget.left), ([], 4))

    def test_a_sending_that_closes_it_sends_no_more(self) -> None:
        valve = self.valve()
        self.outlet.room = 0
        self.take(valve, b"a1", b"b2")
        self.outlet.room = 10
        self.outlet.on_send = valve.close
        valve.writable()
        self.assertEqual(self.outlet.heard, [b"a1"])


class LiveSubscriptionTests(SynchronousTestCase):
    """Live subscriptions that may lose messages."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock)
        self.outlet = FakeOutlet(budget=60)

    def tearDown(self) -> None:
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, latest: bool = False, patient: bool = False) -> LiveSubscription:
        valve = Valve(self.outlet, CPU, latest, Drops(Clock()))
        return LiveSubscription(self.outlet, CPU, self.hub, valve=valve, patient=patient)

    def deliver(self, *keys: str) -> None:
        self.link.consumers[-1].deliver(*(delivery(key, key.encode()) for key in keys))

    def test_it_drops_what_the_socket_does_not_take(self) -> None:
        found = self.make()
        self.successResultOf(found.start())
        self.deliver("cpu.1")
        self.outlet.room = 0
        self.deliver("cpu.2", "cpu.3")
        self.deliver("cpu.4")
        self.outlet.room = 10
        found.writable()
        bodies = [each[-5:] for each in self.outlet.frames]
        self.assertEqual(bodies, [b"cpu.1", b"cpu.3", b"cpu.4"])
        self.assertEqual(self.outlet.dropped, 1)

    def test_or_keeps_the_newest_of_each_key(self) -> None:
        found = self.make(latest=True)
        self.successResultOf(found.start())
        self.outlet.room = 0
        self.deliver("cpu.1", "cpu.2", "cpu.1")
        self.outlet.room = 10
        found.writable()
        self.assertEqual([each[-5:] for each in self.outlet.frames], [b"cpu.2", b"cpu.1"])

    def test_other_subscribers_lose_nothing_by_it(self) -> None:
        slow, quick = self.make(), FakeOutlet(self.outlet.encoder)
        self.successResultOf(slow.start())
        valve = Valve(quick, CPU, False, Drops(Clock()))
        other = LiveSubscription(quick, CPU, self.hub, valve=valve, patient=False)
        self.successResultOf(other.start())
        self.outlet.room = 0
        self.deliver("cpu.1", "cpu.2", "cpu.3")
        self.assertEqual(len(quick.frames), 1)
        self.assertEqual(self.outlet.frames, [])

    def test_its_end_gives_all_back_even_in_the_midst_of_a_read(self) -> None:
        found = self.make()
        self.successResultOf(found.start())
        self.outlet.room = 0
        self.deliver("cpu.1")
        self.link.consumers[0]._on_delivery(delivery("cpu.2"))
        found.end()
        self.assertEqual(self.outlet.budget.left, 60)
        self.outlet.room = 10
        self.deliver("cpu.3")
        found.writable()
        self.assertEqual(self.outlet.heard, [])
        self.clock.advance(5)
        self.assertEqual(self.hub.queues, 0)

    def test_ended_before_the_broker_answered_it_is_a_conflict(self) -> None:
        self.link.held = True
        found = self.make()
        answer = found.start()
        found.end()
        self.failureResultOf(answer, Conflict)
        self.link.release()

    def test_ended_though_it_never_started_nothing_happens(self) -> None:
        self.make().end()

    def test_it_waits_for_the_broker_as_long_as_it_was_told(self) -> None:
        self.link.become("connecting")
        answer, patient = self.make().start(), self.make(patient=True).start()
        self.clock.advance(10)
        self.failureResultOf(answer, NotReady)
        self.assertNoResult(patient)
        self.link.become("ready")
        self.successResultOf(patient)

    def test_gaps_and_the_end_are_passed_on(self) -> None:
        found = self.make()
        self.successResultOf(found.start())
        self.outlet.room = 0
        self.deliver("cpu.1")
        self.clock.advance(60)
        gone = ChannelClosed(404, "the queue was deleted")
        self.link.consumers[0].end(gone)
        self.clock.advance(0)
        self.assertEqual(self.outlet.heard, [Gap(CPU)])
        found.ended(CPU, gone)
        self.assertEqual((self.outlet.over, self.outlet.budget.left), ([(CPU, gone)], 60))
        found.end()

    def test_there_is_nothing_to_acknowledge(self) -> None:
        found: Any = self.make()
        words = r"^Messages of this subscription are not acknowledged\.$"
        with self.assertRaisesRegex(NotFound, words):
            found.ack(1, False)
        with self.assertRaisesRegex(NotFound, words):
            found.nack(1, True, False)
