"""One client: queues, streams, acks, and what is dropped for it."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import FakeConsumer, delivery
from tests.session_case import Allow, SessionCase
from twbridge.errors import ChannelClosed, NotReady
from twbridge.session import Session, State
from twbridge.wire import Delivery

LAST: Any = {"from": "last"}
MISSING = ChannelClosed(404, "NOT_FOUND - no queue 'jobs' in vhost '/'")


class KindsCase(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()
        self.told()

    @property
    def consumer(self) -> FakeConsumer:
        return self.link.consumers[-1]

    def subscribe(self, destination: str, session: Session | None = None, **fields: Any) -> None:
        session = session or self.session
        self.say(session, "subscribe", id="s", destination=destination, **fields)
        self.clock.advance(0)

    def subscribed(self, destination: str, **fields: Any) -> None:
        self.subscribe(destination, **fields)
        self.assertEqual(self.told(), [{"op": "subscribed", "id": "s", "destination": destination}])

    def deliver(self, *numbers: int, key: str = "a", **properties: Any) -> None:
        """One read with messages of these tags."""
        found = []
        for number in numbers:
            each = delivery(
                key, str(number).encode(), content_type="application/json", **properties
            )
            each.delivery_tag = number
            found.append(each)
        self.consumer.deliver(*found)

    def messages(self) -> list[dict[str, Any]]:
        """What it got since the last look."""
        data = b"".join(self.transport.frames)
        self.transport.frames.clear()
        found = []
        while data:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            found.append(json.loads(data[start : start + size]))
            data = data[start + size :]
        return found

    def error(self) -> tuple[str, str]:
        (told,) = self.told()
        self.assertEqual(told["op"], "error")
        return told["code"], told["message"]


class QueueTests(KindsCase):
    def test_a_queue_delivers_and_is_acknowledged_when_the_socket_has_taken_it(self) -> None:
        self.subscribed("/queue/jobs")
        self.deliver(1, 2)
        self.assertEqual([each["body"] for each in self.messages()], [1, 2])
        self.assertEqual(self.consumer.answered, [("ack", 2, True)])
        self.transport.writable = False
        self.deliver(3)
        self.assertEqual(self.transport.frames, [])
        self.transport.writable = True
        self.session.writable()
        self.assertEqual([each["body"] for each in self.messages()], [3])

    def test_with_acks_a_tag_is_shown_and_an_ack_is_answered_with_nothing(self) -> None:
        self.subscribed("/queue/jobs", ack="client", prefetch=2)
        self.assertEqual(self.consumer.options["prefetch"], 2)
        self.deliver(1, 2)
        self.assertEqual([each["delivery_tag"] for each in self.messages()], [1, 2])
        self.say(self.session, "ack", id="a", destination="/queue/jobs", delivery_tag=1)
        self.say(
            self.session, "nack", id="n", destination="/queue/jobs", delivery_tag=2, requeue=False
        )
        self.assertEqual(self.told(), [])
        self.assertEqual(self.consumer.answered, [("ack", 1, False), ("nack", 2, False, False)])

    def test_an_unknown_tag_is_not_found_with_the_requests_id(self) -> None:
        self.subscribed("/queue/jobs", ack="client")
        for operation in ("ack", "nack"):
            self.say(self.session, operation, id=9, destination="/queue/jobs", delivery_tag=5)
            (told,) = self.told()
            self.assertEqual((told["id"], told["code"]), (9, "not_found"))
            self.assertTrue(told["message"].startswith("There is no delivery 5 of /queue/jobs"))

    def test_where_there_is_nothing_to_acknowledge_it_is_not_found(self) -> None:
        self.subscribed("/topic/a")
        self.subscribed("/topic/b", overflow="latest")
        self.subscribed("/stream/log")
        for destination, sentence in (
            ("/queue/jobs", "You are not subscribed to /queue/jobs."),
            ("/topic/a", "Messages of /topic/a are not acknowledged."),
            ("/topic/b", "Messages of this subscription are not acknowledged."),
            ("/stream/log", "Messages of a stream are not acknowledged."),
        ):
            for operation in ("ack", "nack"):
                self.say(self.session, operation, destination=destination, delivery_tag=1)
                self.assertEqual(self.error(), ("not_found", sentence))

    def test_a_live_subscription_with_acks_has_a_queue_of_its_own(self) -> None:
        self.subscribed("/topic/a.%23", ack="client")
        self.assertEqual(self.consumer.bindings, [("amq.topic", "a.#")])
        self.deliver(1)
        self.assertEqual(self.messages()[0]["delivery_tag"], 1)
        self.session.lost()
        self.assertEqual(self.consumer.answered, [("nack", 1, True, True)])
        self.assertTrue(self.consumer.deleted)

    def test_unsubscribing_and_the_end_of_the_session_give_back_what_is_open(self) -> None:
        for ending in ("unsubscribe", "close", "lost"):
            session = self.json()
            self.subscribe("/queue/jobs", session, ack="client")
            self.deliver(1, 2)
            if ending == "unsubscribe":
                self.say(session, "unsubscribe", destination="/queue/jobs")
            elif ending == "close":
                session.close(1000, "")
            else:
                session.lost()
            self.assertEqual(self.consumer.answered, [("nack", 2, True, True)])
            self.assertTrue(self.consumer.cancelled)
            self.messages()
            self.deliver(3)
            self.assertEqual(self.messages(), [])

    def test_what_waits_for_the_broker_can_be_taken_back(self) -> None:
        self.link.held = True
        for destination in ("/queue/jobs", "/topic/a"):
            self.subscribe(destination, overflow="drop-oldest")
            self.say(self.session, "unsubscribe", id="u", destination=destination)
            refused, *told = self.told()
            self.assertEqual((refused["id"], refused["code"]), ("s", "conflict"))
            self.subscribe(destination)
            self.link.release()
            told += self.told()
            self.assertEqual([each["op"] for each in told], ["unsubscribed", "subscribed"])
            self.link.held = True

    def test_it_counts_among_the_subscriptions_and_is_a_conflict_twice(self) -> None:
        for destination in ("/queue/a", "/stream/b", "/topic/c"):
            self.subscribed(destination)
        self.subscribe("/queue/d")
        self.assertEqual(self.error()[0], "too_many")
        self.subscribe("/stream/%62")
        self.assertEqual(self.error(), ("conflict", "You are subscribed to /stream/%62 already."))

    def test_a_queue_that_the_broker_ends_is_told_with_a_reason(self) -> None:
        self.subscribed("/amq/queue/jobs")
        self.consumer.end(MISSING)
        (told,) = self.told()
        self.assertEqual((told["op"], told["destination"]), ("unsubscribed", "/amq/queue/jobs"))
        self.assertEqual(told["reason"], "There is no such exchange or queue.")
        self.subscribed("/amq/queue/jobs")

    def test_a_refusal_of_the_broker_is_told_and_leaves_nothing(self) -> None:
        self.link.consume_errors = [NotReady("secret")]
        self.subscribe("/amq/queue/jobs")
        code, sentence = self.error()
        self.assertEqual(code, "not_ready")
        self.assertNotIn("secret", sentence)
        self.say(self.session, "unsubscribe", destination="/amq/queue/jobs")
        self.assertEqual(self.error()[0], "not_found")

    def test_a_failure_that_nobody_expected_is_internal(self) -> None:
        self.link.consume_errors = [ZeroDivisionError("secret")]  # type: ignore[list-item]
        self.subscribe("/queue/jobs")
        self.assertEqual(self.error(), ("internal", "Something went wrong inside the bridge."))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_much_waiting_with_close_ends_the_session_with_1013(self) -> None:
        self.transport.room = 100
        self.subscribed("/queue/jobs", overflow="close")
        self.transport.writable = False
        self.deliver(1)
        self.deliver(2)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1013)
        self.assertEqual(self.consumer.answered, [("nack", 2, True, True)])


class PolicyTests(KindsCase):
    rules = (Allow("subscribe", "/queue/a"), Allow("subscribe", "/stream/a"))

    def test_it_decides_before_the_broker_hears_of_it(self) -> None:
        for destination in ("/queue/b", "/stream/b", "/amq/queue/a"):
            self.subscribe(destination)
            self.assertEqual(self.error()[0], "forbidden")
        self.assertEqual(self.link.consumers, [])
        self.subscribed("/queue/a")
        self.subscribed("/stream/a")


class StreamTests(KindsCase):
    def at(self, offset: int) -> Delivery:
        headers = {"x-stream-offset": offset, "mine": 1}
        found = delivery("k", b"1", content_type="application/json", headers=headers)
        found.delivery_tag = offset + 1
        return found

    def test_messages_carry_their_offset_and_come_after_the_answer(self) -> None:
        self.link.syncs_at_once = False
        self.subscribe("/stream/log", **LAST)
        self.consumer.deliver(self.at(41))
        self.assertEqual((self.told(), self.messages()), ([], []))
        self.consumer.syncs[0].callback(None)
        self.assertEqual(self.told()[0]["op"], "subscribed")
        (message,) = self.messages()
        self.assertEqual((message["offset"], message["headers"]), (41, {"mine": 1}))
        other = self.json()
        self.told()
        self.subscribe("/stream/log", other, **LAST)
        self.assertEqual([each["op"] for each in self.told()], ["subscribed"])
        self.consumer.deliver(self.at(42))
        self.assertEqual([each["offset"] for each in self.messages()], [41, 42, 42])
        other.lost()

    def test_a_gap_names_the_offsets(self) -> None:
        self.subscribed("/stream/log")
        self.consumer.deliver(self.at(0))
        self.consumer.established()
        self.consumer.deliver(self.at(5))
        self.assertEqual(
            self.told(), [{"op": "gap", "destination": "/stream/log", "from": 1, "to": 5}]
        )

    def test_the_end_of_the_session_leaves_no_consumer(self) -> None:
        self.subscribed("/stream/log", **{"from": "timestamp=5"})
        self.assertEqual(len(self.link.consumers), 2)
        self.session.lost()
        self.clock.advance(5)
        self.assertTrue(all(each.cancelled for each in self.link.consumers))


class DroppingTests(KindsCase):
    def setUp(self) -> None:
        super().setUp()
        self.transport.room = 250

    def bodies(self) -> list[int]:
        return [each["body"] for each in self.messages()]

    def test_what_is_dropped_is_told_before_the_rest(self) -> None:
        self.subscribed("/topic/a", overflow="drop-oldest")
        self.transport.writable = False
        self.deliver(1, 2, 3, 4, 5)
        self.assertEqual(self.transport.frames, [])
        self.transport.writable = True
        self.session.writable()
        rest = self.bodies()
        self.assertEqual(rest, list(range(6 - len(rest), 6)))
        self.assertEqual(
            self.told(), [{"op": "dropped", "destination": "/topic/a", "count": 5 - len(rest)}]
        )

    def test_all_its_lanes_share_the_room_and_give_it_back(self) -> None:
        self.subscribed("/topic/a", overflow="drop-oldest")
        first = self.consumer
        self.subscribed("/exchange/x/a", overflow="latest")
        self.transport.writable = False
        first.deliver(*[delivery("a", b"%d" % each) for each in range(5)])
        self.assertLess(self.session.budget.left, 100)
        self.say(self.session, "unsubscribe", destination="/topic/a")
        self.assertEqual(self.session.budget.left, 250)
        self.deliver(7)
        self.assertLess(self.session.budget.left, 250)
        self.session.lost()
        self.assertEqual(self.session.budget.left, 250)

    def test_whoever_has_had_a_turn_goes_behind_the_others(self) -> None:
        self.subscribed("/topic/a", overflow="drop-oldest")
        live = self.consumer
        self.subscribed("/queue/jobs")
        send = self.transport.send_frame

        def fill(frame: bytes) -> None:
            send(frame)
            self.transport.writable = False

        self.transport.writable = False
        self.patch(self.session, "send", fill)
        heard = []
        for number in range(4):
            live.deliver(delivery("a", b'"live"', content_type="application/json"))
            self.deliver(number + 1)
            self.transport.writable = True
            self.session.writable()
            heard += [each["body"] for each in self.messages()]
        self.assertIn("live", heard)
        self.assertTrue(set(heard) - {"live"}, "the queue never had a turn")

    def test_a_subscription_that_is_its_end_is_not_told_more(self) -> None:
        self.subscribed("/queue/a")
        self.deliver(1)
        self.subscribed("/queue/b")
        self.transport.writable = False
        for consumer in self.link.consumers:
            consumer.deliver(delivery("a", b"1"))
        self.transport.frames.clear()
        self.transport.writable = True

        def close(_frame: bytes) -> None:
            self.session.close(1013, "")

        self.patch(self.session, "send", close)
        self.session.writable()
        self.assertIs(self.session.state, State.CLOSING)
        self.assertTrue(all(each.cancelled for each in self.link.consumers))
