"""Slots: whatever becomes of consumers, no more requests are out than may run, and no fewer."""

from __future__ import annotations

from typing import Any

from tests.rpc.cases import CallerCase
from twbridge.amqp import Link, Queue
from twbridge.rpc.slots import Lease, Slots

QUEUE = Queue("work", durable=True, exclusive=False, auto_delete=False)


class SlotsTests(CallerCase):
    def setUp(self) -> None:
        super().setUp()
        self.leases: list[Lease] = []
        self.own = self.link()
        self.sender: Link = self.link()
        self.slots = Slots(self.own, self.clock, QUEUE, 2, self.leases.append)
        self.do(self.slots.start())
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.do(self.slots.stop())

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.result(self.sender.publish("", "work", body))
        self.network.pump()

    def out(self) -> list[bytes]:
        """What was delivered, in order."""
        self.network.pump()
        return [each.delivery.body for each in self.leases]

    def wait(self) -> None:
        self.network.advance(1)

    def consumers(self) -> int:
        return int(self.result(self.sender.count("work"))[1])

    def test_an_answer_makes_room_for_one_more(self) -> None:
        self.send(b"a", b"b", b"c", b"d")
        self.assertEqual(self.out(), [b"a", b"b"])
        self.leases[0].ack()
        self.assertEqual(self.out(), [b"a", b"b", b"c"])
        self.leases[1].nack(requeue=False)
        self.assertEqual(self.out(), [b"a", b"b", b"c", b"d"])

    def test_one_that_is_acknowledged_early_keeps_its_slot(self) -> None:
        self.send(b"a", b"b", b"c", b"d")
        self.leases[0].ack_early()
        self.leases[0].ack_early()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b"])
        self.leases[1].ack()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c"])
        self.leases[0].ack()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c", b"d"])

    def test_an_idle_slot_is_not_lost_with_an_early_acknowledgement(self) -> None:
        self.send(b"a")
        self.leases[0].ack_early()
        self.wait()
        self.assertEqual(self.consumers(), 1)
        self.send(b"b", b"c")
        self.assertEqual(self.out(), [b"a", b"b"])

    def test_when_all_run_for_long_nothing_is_consumed(self) -> None:
        self.send(b"a", b"b", b"c")
        for lease in self.leases:
            lease.ack_early()
        self.wait()
        self.assertEqual(self.consumers(), 0)
        self.restart()
        self.assertEqual(self.out(), [b"a", b"b"])
        self.leases[0].ack()
        self.leases[1].ack()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c"])

    def test_what_runs_through_a_lost_connection_keeps_its_slot(self) -> None:
        self.send(b"a")
        self.assertFalse(self.leases[0].void)
        self.restart()
        self.assertTrue(self.leases[0].void)
        # The broker has taken it back, and there is one slot.
        self.assertEqual(self.out(), [b"a", b"a"])
        self.send(b"b")
        self.assertEqual(self.out(), [b"a", b"a"])
        self.leases[0].ack()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"a", b"b"])

    def test_a_connection_lost_while_it_leaves_loses_no_slot(self) -> None:
        self.send(b"a")
        self.leases[0].ack_early()
        self.network.broker.close_connections("restart")
        self.network.advance(5)
        self.send(b"b", b"c")
        self.leases[0].ack()
        self.wait()
        for lease in self.leases[1:]:
            lease.ack()
        self.wait()
        self.assertEqual(set(self.out()), {b"a", b"b", b"c"})

    def test_a_queue_that_is_deleted_is_made_and_consumed_again(self) -> None:
        vhost: Any = self.network.broker.vhost
        vhost.delete_queue(vhost.queues["work"])
        self.network.advance(2)
        self.send(b"a", b"b", b"c")
        self.assertEqual(self.out(), [b"a", b"b"])

    def test_after_the_stop_nothing_comes_and_what_came_can_be_answered(self) -> None:
        self.send(b"a", b"b", b"c")
        self.do(self.slots.stop())
        self.leases[0].ack()
        self.leases[1].nack(requeue=True)
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b"])
        self.assertEqual(self.result(self.sender.count("work")), (2, 0))

    def test_it_waits_for_a_broker_that_is_away_and_stops_all_the_same(self) -> None:
        self.send(b"a")
        self.result(self.own.stop())
        self.network.advance(30)
        self.leases[0].ack()
        self.do(self.slots.stop())
        self.network.advance(1)

    def test_more_slots_take_more_at_once(self) -> None:
        self.send(b"a", b"b", b"c", b"d")
        self.slots.resize(3)
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c"])
        self.leases[0].ack()
        self.assertEqual(self.out(), [b"a", b"b", b"c", b"d"])

    def test_of_fewer_slots_none_is_filled_before_there_is_room(self) -> None:
        self.slots.resize(4)
        self.wait()
        self.send(b"a", b"b", b"c", b"d", b"e", b"f")
        self.slots.resize(1)
        self.assertFalse(self.slots.is_consuming)
        for lease in self.leases[:3]:
            lease.ack()
            self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c", b"d"])
        self.leases[3].ack()
        self.wait()
        self.assertEqual(self.out(), [b"a", b"b", b"c", b"d", b"e"])
        self.assertTrue(self.slots.is_consuming)
        self.leases[4].ack()
        self.assertEqual(self.out()[-1], b"f")

    def test_fewer_slots_while_more_are_on_their_way_are_fewer_in_the_end(self) -> None:
        self.slots.resize(6)
        self.clock.advance(0.1)
        self.slots.resize(1)
        self.wait()
        self.send(b"a", b"b", b"c")
        self.wait()
        self.assertEqual(self.out(), [b"a"])
