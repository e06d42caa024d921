"""One client: live subscriptions."""

from __future__ import annotations

from tests.fakes import delivery
from tests.session_case import Allow, SessionCase
from twbridge.errors import (
    ChannelClosed,
)


class SubscribingTests(SessionCase):
    rules = (Allow("subscribe", "/topic/#"), Allow("subscribe", "/exchange/x/#"))

    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()
        self.told()

    def test_it_is_answered_when_bound_and_messages_follow(self) -> None:
        self.link.held = True
        self.say(self.session, "subscribe", id="s", destination="/topic/%61")
        self.assertEqual(self.told(), [])
        self.link.release()
        self.assertEqual(
            self.told(), [{"op": "subscribed", "id": "s", "destination": "/topic/%61"}]
        )
        self.link.consumers[0].deliver(delivery("a", b"1", content_type="application/json"))
        (frame,) = self.transport.frames
        self.assertIn(b'"destination":"/topic/%61"', frame)

    def refused(self, code: str) -> str:
        (error,) = self.told()
        self.assertEqual((error["op"], error["id"], error["code"]), ("error", "s", code))
        message: str = error["message"]
        return message

    def test_the_same_destination_twice_is_a_conflict(self) -> None:
        self.say(self.session, "subscribe", destination="/topic/a")
        self.told()
        self.say(self.session, "subscribe", id="s", destination="/topic/%61")
        self.refused("conflict")

    def test_overlapping_destinations_each_deliver(self) -> None:
        for text in ("/topic/a", "/topic/#", "/exchange/x/a"):
            self.say(self.session, "subscribe", destination=text)
        self.link.consumers[0].deliver(delivery("a"))
        self.assertEqual(len(self.transport.frames), 2)

    def test_the_number_is_limited_those_that_wait_included(self) -> None:
        self.link.held = True
        for key in "abc":
            self.say(self.session, "subscribe", destination=f"/topic/{key}")
        self.say(self.session, "subscribe", id="s", destination="/topic/d")
        self.assertIn("3", self.refused("too_many"))

    def test_costly_patterns_are_limited_for_the_whole_session(self) -> None:
        self.say(self.session, "subscribe", destination="/topic/%23.a.%23.b.%23.c.%23.d.%23.e.%23")
        self.told()
        self.say(self.session, "subscribe", id="s", destination="/topic/%23.a.%23.b.%23.c.%23.d")
        self.assertIn("8", self.refused("too_many"))
        self.say(self.session, "subscribe", destination="/topic/a.%23")
        self.say(self.session, "subscribe", destination="/topic/%23.a.%23.b.%23.c")
        self.assertEqual([each["op"] for each in self.told()], ["subscribed", "subscribed"])

    def test_the_policy_decides(self) -> None:
        self.say(self.session, "subscribe", id="s", destination="/exchange/y/a")
        self.refused("forbidden")
        self.assertEqual(self.link.consumers, [])

    def test_what_nobody_can_subscribe_to_is_refused_in_one_sentence(self) -> None:
        for kind in ("temp-queue", "reply-queue", "task"):
            session = self.json()
            self.told()
            self.say(session, "subscribe", id="s", destination=f"/{kind}/a")
            self.assertEqual(
                self.refused("bad_destination"),
                f"Nobody can subscribe to a /{kind} destination.",
            )

    def test_options_that_it_can_not_have_are_refused_before_all_else(self) -> None:
        for sentence, options in (
            (
                "There is no from in a live subscription: only streams keep what is past.",
                {"from": "first"},
            ),
            (
                "There is no prefetch in a live subscription: nothing is acknowledged.",
                {"prefetch": 5},
            ),
            (
                "The overflow of a live subscription is close or drop-oldest or latest.",
                {"overflow": "block"},
            ),
        ):
            session = self.json()
            self.told()
            self.say(session, "subscribe", id="s", destination="/exchange/y/a", **options)
            self.assertEqual(self.refused("bad_frame"), sentence)
        self.assertEqual(self.link.consumers, [])

    def test_a_missing_exchange_is_not_found(self) -> None:
        self.link.refused["x"] = ChannelClosed(404, "NOT_FOUND - no exchange 'x' in vhost 'v'")
        self.say(self.session, "subscribe", id="s", destination="/exchange/x/a")
        sentence = "There is no such exchange or queue: /exchange/x/a"
        self.assertEqual(self.refused("not_found"), sentence)
        del self.link.refused["x"]
        self.say(self.session, "subscribe", id="t", destination="/exchange/x/a")
        self.assertEqual(self.told()[0]["op"], "subscribed")

    def test_without_a_broker_it_is_not_ready_after_the_timeout(self) -> None:
        self.link.become("connecting")
        self.say(self.session, "subscribe", id="s", destination="/topic/a")
        self.clock.advance(10)
        self.refused("not_ready")

    def test_unsubscribing_ends_it(self) -> None:
        self.say(self.session, "subscribe", id="s", destination="/topic/a")
        self.told()
        self.say(self.session, "unsubscribe", id="u", destination="/topic/%61")
        self.assertEqual(
            self.told(), [{"op": "unsubscribed", "id": "u", "destination": "/topic/%61"}]
        )
        self.link.consumers[0].deliver(delivery("a"))
        self.assertEqual(self.transport.frames, [])
        self.say(self.session, "unsubscribe", id="s", destination="/topic/a")
        self.refused("not_found")

    def test_unsubscribing_what_waits_answers_both(self) -> None:
        self.link.held = True
        self.say(self.session, "subscribe", id="s", destination="/topic/a")
        self.say(self.session, "unsubscribe", id="u", destination="/topic/a")
        first, second = self.told()
        self.assertEqual((first["id"], first["code"]), ("s", "conflict"))
        self.assertEqual((second["id"], second["op"]), ("u", "unsubscribed"))
        self.link.release()
        self.assertEqual(self.told(), [])

    def test_what_the_broker_ends_is_told_with_a_reason_and_can_be_had_again(self) -> None:
        self.say(self.session, "subscribe", id="s", destination="/exchange/x/a")
        self.told()
        self.clock.advance(60)
        self.link.refused["x"] = ChannelClosed(404, "NOT_FOUND - no exchange 'x'")
        self.link.consumers[0].end(ChannelClosed(404, "the queue was deleted"))
        self.clock.advance(0)
        (end,) = self.told()
        self.assertEqual((end["op"], end["destination"]), ("unsubscribed", "/exchange/x/a"))
        self.assertIn("exchange", end["reason"])
        self.assertNotIn("id", end)
        self.link.refused.clear()
        self.say(self.session, "subscribe", id="s", destination="/exchange/x/a")
        self.assertEqual(self.told()[0]["op"], "subscribed")

    def test_a_queue_made_again_is_told_as_a_gap(self) -> None:
        self.say(self.session, "subscribe", destination="/topic/a")
        self.told()
        self.clock.advance(60)
        self.link.consumers[0].end(ChannelClosed(404, "the queue was deleted"))
        self.clock.advance(0)
        self.assertEqual(self.told(), [{"op": "gap", "destination": "/topic/a"}])
