"""Subscriptions over connections: asked for again, resumed, told of gaps."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.client.scripted import CoreCase
from twbridge.client.errors import Refused
from twbridge.client.subscription import Gap
from twbridge.errors import BadDestination, Conflict, Forbidden, NotFound, NotReady


class SubscribingTests(CoreCase):
    """The first time."""

    def test_every_option_is_sent_and_no_other(self) -> None:
        self.open()
        self.subscribe("/topic/a")
        self.subscribe("/queue/q", ack="client", prefetch=5, overflow="block")
        self.subscribe("/stream/s", start="first")
        self.assertEqual(
            self.socket.take(),
            [
                {"op": "subscribe", "id": 1, "destination": "/topic/a"},
                {
                    "op": "subscribe",
                    "id": 2,
                    "destination": "/queue/q",
                    "ack": "client",
                    "prefetch": 5,
                    "overflow": "block",
                },
                {"op": "subscribe", "id": 3, "destination": "/stream/s", "from": "first"},
            ],
        )

    def test_it_is_there_when_the_bridge_agrees(self) -> None:
        self.open()
        subscription, told, started = self.subscribe()
        self.socket.message("/topic/a", "early")
        self.assertNoResult(started)
        self.agree()
        self.assertIs(self.successResultOf(started), subscription)
        self.socket.message("/topic/a", "hello")
        self.socket.message("/topic/b", "not ours")
        self.assertEqual([message.body for message in told], ["hello"])

    def test_a_refusal_is_the_error_with_its_code(self) -> None:
        self.open()
        for code in ("forbidden", "conflict", "too_many"):
            subscription, told, started = self.subscribe()
            self.refuse(code)
            self.assertEqual(self.failureResultOf(started).value.code, code)
            self.assertEqual((subscription.over, told), (True, []))

    def test_a_refusal_that_passes_is_asked_again(self) -> None:
        self.open()
        _, _, started = self.subscribe()
        self.refuse("not_ready")
        self.clock.advance(1.0)
        self.refuse("timeout")
        self.assertNoResult(started)
        self.socket.say("link", state="down")
        self.socket.say("link", state="up")
        self.agree()
        self.successResultOf(started)

    def test_there_is_one_to_a_destination(self) -> None:
        self.subscribe()
        self.assertRaises(Conflict, self.subscribe)

    def test_a_destination_outside_the_grammar_is_refused_here(self) -> None:
        self.assertRaises(BadDestination, self.subscribe, "/nowhere")

    def test_one_asked_for_while_away_waits(self) -> None:
        _, _, started = self.subscribe()
        self.open()
        self.socket.lose()
        self.assertNoResult(started)
        self.open()
        self.agree()
        self.successResultOf(started)

    def test_waiting_for_it_can_be_given_up(self) -> None:
        self.open()
        _, told, started = self.subscribe()
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.assertEqual([each["op"] for each in self.socket.take()], ["subscribe", "unsubscribe"])
        self.socket.say("subscribed", id=1, destination="/topic/a")
        self.socket.message("/topic/a")
        self.socket.say("unsubscribed", id=2, destination="/topic/a")
        self.assertEqual(told, [])
        self.subscribed()

    def test_a_subscriber_that_fails_is_logged_and_gets_the_next(self) -> None:
        self.open()
        subscription, told = self.subscribed()

        def fail(message: object) -> None:
            told.append(message)
            raise ZeroDivisionError

        subscription.on_message = fail
        self.socket.message("/topic/a")
        self.socket.message("/topic/a")
        self.assertEqual(len(told), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class UnsubscribingTests(CoreCase):
    """Leaving."""

    def test_nothing_comes_after_it(self) -> None:
        self.open()
        subscription, told = self.subscribed()
        left = subscription.unsubscribe()
        self.socket.message("/topic/a")
        self.assertNoResult(left)
        self.assertEqual(self.agree(), {"op": "unsubscribe", "id": 2, "destination": "/topic/a"})
        self.successResultOf(left)
        self.assertEqual(told, [("ended", None)])
        self.successResultOf(subscription.unsubscribe())
        self.reopen()
        self.assertEqual(self.socket.take(), [])

    def test_it_is_done_with_the_connection_too(self) -> None:
        self.open()
        subscription, _ = self.subscribed()
        left = subscription.unsubscribe()
        self.socket.lose()
        self.successResultOf(left)
        other, _, started = self.subscribe("/topic/b")
        self.successResultOf(other.unsubscribe())
        self.failureResultOf(started, NotReady)

    def test_the_same_destination_waits_until_the_old_one_is_gone(self) -> None:
        self.open()
        subscription, told = self.subscribed()
        subscription.unsubscribe()
        _, again, started = self.subscribe()
        self.assertEqual([each["op"] for each in self.socket.sent], ["unsubscribe"])
        self.socket.message("/topic/a", "old")
        self.agree()
        self.agree()
        self.successResultOf(started)
        self.socket.message("/topic/a", "new")
        self.assertEqual(told, [("ended", None)])
        self.assertEqual([message.body for message in again], ["new"])

    def test_the_bridge_may_end_it(self) -> None:
        self.open()
        subscription, told = self.subscribed("/queue/q")
        self.socket.say("unsubscribed", destination="/queue/q", reason="The queue was deleted.")
        ((_, error),) = told
        self.assertIsInstance(error, Refused)
        self.assertEqual((error.code, str(error)), ("unsubscribed", "The queue was deleted."))
        self.assertIs(subscription.error, error)
        self.reopen()
        self.assertEqual(self.socket.take(), [])

    def test_closing_the_client_ends_all(self) -> None:
        self.open()
        subscription, told = self.subscribed()
        _, _, waiting = self.subscribe("/topic/b")
        self.core.close()
        self.assertEqual((subscription.over, told), (True, [("ended", None)]))
        self.failureResultOf(waiting, NotReady)

    def test_so_does_a_bridge_that_says_to_stay_away(self) -> None:
        self.open()
        subscription, told = self.subscribed()
        self.socket.lose(4503, "You may not.")
        self.assertEqual(told, [("ended", self.away[0])])
        self.assertIs(subscription.error, self.away[0])


class ComingBackTests(CoreCase):
    """On the next connection."""

    def test_all_are_asked_for_again(self) -> None:
        self.open()
        first, _ = self.subscribed("/topic/a", overflow="latest")
        self.subscribed("/queue/q", ack="client")
        self.reopen()
        self.assertFalse(first.active)
        asked = self.socket.sent
        self.assertEqual(
            [{name: each[name] for name in each if name != "id"} for each in asked],
            [
                {"op": "subscribe", "destination": "/topic/a", "overflow": "latest"},
                {"op": "subscribe", "destination": "/queue/q", "ack": "client"},
            ],
        )

    def test_a_stream_goes_on_after_the_last_message(self) -> None:
        self.open()
        _, told = self.subscribed("/stream/s", start="first")
        for offset in (0, 1, 5):
            self.socket.message("/stream/s", offset, offset=offset)
        self.reopen()
        self.assertEqual(self.agree()["from"], "offset=6")
        self.socket.message("/stream/s", 6, offset=6)
        self.assertEqual([message.offset for message in told], [0, 1, 5, 6])

    def test_a_stream_that_nothing_came_from_begins_where_it_was_to_begin(self) -> None:
        self.open()
        for start in ("first", "offset=3", "timestamp=7"):
            self.subscribed(f"/stream/{start[0]}", start=start)
        self.reopen()
        starts = [each["from"] for each in self.socket.take()]
        self.assertEqual(starts, ["first", "offset=3", "timestamp=7"])

    def test_live_messages_may_be_missing_and_that_is_told(self) -> None:
        self.open()
        _, live = self.subscribed("/topic/a")
        _, kept = self.subscribed("/queue/q")
        _, own = self.subscribed("/exchange/x/k", ack="client")
        _, moving = self.subscribed("/stream/s", start="next")
        _, fixed = self.subscribed("/stream/t", start="first")
        self.reopen()
        for asked in self.socket.take():
            self.socket.say("subscribed", id=asked["id"], destination=asked["destination"])
        self.assertEqual((live, own, moving), ([Gap()], [Gap()], [Gap()]))
        self.assertEqual((kept, fixed), ([], []))

    def test_a_gap_of_a_stream_moves_where_it_goes_on(self) -> None:
        self.open()
        _, told = self.subscribed("/stream/s", start="offset=5")
        self.socket.say("gap", destination="/stream/s", first=5, resumed=9)
        self.reopen()
        self.assertEqual(self.agree()["from"], "offset=9")
        self.socket.message("/stream/s", offset=9)
        self.socket.say("gap", destination="/stream/s", first=10, resumed=0)
        self.socket.message("/stream/s", offset=0)
        self.reopen()
        self.assertEqual(self.agree()["from"], "offset=1")
        self.assertEqual([told[0], told[2]], [Gap(5, 9), Gap(10, 0)])

    def test_drops_and_gaps_are_told(self) -> None:
        self.open()
        _, told = self.subscribed()
        self.socket.say("dropped", destination="/topic/a", count=7)
        self.socket.say("gap", destination="/topic/a")
        self.socket.say("dropped", destination="/topic/b", count=7)
        self.assertEqual(told, [("dropped", 7), Gap()])

    def test_a_broker_that_was_away_is_a_gap_for_live_ones(self) -> None:
        self.open()
        _, live = self.subscribed("/topic/a")
        _, kept = self.subscribed("/queue/q")
        self.socket.say("link", state="down")
        self.assertEqual(live, [])
        self.socket.say("link", state="up")
        self.assertEqual((live, kept), ([Gap()], []))

    def test_a_refusal_that_passes_is_asked_again(self) -> None:
        self.open()
        subscription, told = self.subscribed()
        self.reopen()
        for delay in (1.0, 2.0, 4.0):
            self.refuse("not_ready")
            self.clock.advance(delay - 0.1)
            self.assertEqual(self.socket.sent, [])
            self.clock.advance(0.1)
        self.agree()
        self.assertEqual((subscription.active, told), (True, [Gap()]))

    def test_waiting_to_ask_again_ends_with_the_connection_and_the_subscription(self) -> None:
        self.open()
        subscription, _ = self.subscribed()
        self.reopen()
        self.refuse("timeout")
        self.reopen()
        self.assertEqual(len(self.socket.sent), 1)
        self.refuse("timeout")
        self.successResultOf(subscription.unsubscribe())
        self.clock.advance(20.0)
        self.assertEqual([each["op"] for each in self.socket.sent], [])

    def test_any_other_refusal_ends_it(self) -> None:
        self.open()
        for code, kind in (("forbidden", Forbidden), ("not_found", NotFound)):
            subscription, told = self.subscribed()
            self.reopen()
            self.refuse(code)
            self.assertIsInstance(subscription.error, kind)
            self.assertEqual(told, [("ended", subscription.error)])


class AckTests(CoreCase):
    """Answers to messages."""

    def test_they_are_sent_once(self) -> None:
        self.open()
        _, told = self.subscribed("/queue/q", ack="client")
        for tag in (1, 2, 3):
            self.socket.message("/queue/q", tag, delivery_tag=tag, redelivered=tag == 2)
        told[0].ack()
        told[0].nack()
        told[1].nack()
        told[2].nack(requeue=False)
        self.assertEqual(
            self.socket.take(),
            [
                {"op": "ack", "destination": "/queue/q", "delivery_tag": 1},
                {"op": "nack", "destination": "/queue/q", "delivery_tag": 2, "requeue": True},
                {"op": "nack", "destination": "/queue/q", "delivery_tag": 3, "requeue": False},
            ],
        )
        self.assertEqual([message.redelivered for message in told], [False, True, False])

    def test_those_of_an_old_connection_are_not(self) -> None:
        self.open()
        _, told = self.subscribed("/queue/q", ack="client")
        self.socket.message("/queue/q", delivery_tag=1)
        self.socket.lose()
        told[0].ack()
        self.open()
        self.agree()
        self.socket.message("/queue/q", delivery_tag=1)
        told[0].ack()
        self.assertEqual(self.socket.take(), [])

    def test_those_of_an_old_subscription_are_not(self) -> None:
        self.open()
        subscription, told = self.subscribed("/queue/q", ack="client")
        self.socket.message("/queue/q", delivery_tag=1)
        subscription.unsubscribe()
        self.agree()
        told[0].ack()
        _, again = self.subscribed("/queue/q", ack="client")
        self.socket.message("/queue/q", delivery_tag=1)
        told[0].ack()
        self.assertEqual((self.socket.take(), len(again)), ([], 1))

    def test_messages_that_need_none_take_it(self) -> None:
        self.open()
        _, told = self.subscribed()
        self.socket.message("/topic/a")
        told[0].ack()
        told[0].nack()
        self.assertEqual((self.socket.take(), told[0].settled), ([], True))
