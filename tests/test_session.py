"""One client: what it asks, what it is told, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple, get_args

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakeTransport, delivery
from twbridge import commands
from twbridge.commands import Overflow
from twbridge.destinations import parse
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import (
    ChannelClosed,
    EncodeError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    Unroutable,
)
from twbridge.hub import Hub
from twbridge.policy import Peer, Policy
from twbridge.ports import Limits, Services
from twbridge.publishes import Declarer
from twbridge.resends import Resends
from twbridge.session import _COMMANDS, _TABLE, Input, Session, State
from twbridge.subscriptions.opening import Subscriptions


class Route(NamedTuple):
    publish: str = "/exchange/x/in"
    subscribe: str = "/exchange/x/#"
    on_error: str = "close"
    dialect: str = "raw"
    overflow: Overflow | None = None


class Allow(NamedTuple):
    operation: str
    destination: str


class SessionCase(SynchronousTestCase):
    rules: Sequence[Allow] = ()
    limits = Limits(message=1000, subscriptions=3, publishes=4, nonsense=3)

    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock)
        self.subscriptions = Subscriptions(self.link, self.clock, self.hub, instance="node")
        self.declarer = Declarer(self.link)
        self.services = Services(
            self.hub,
            self.subscriptions,
            Resends(self.clock),
            self.declarer,
            self.link,
            Policy(self.rules),
            instance="node",
            limits=self.limits,
        )
        self.transport = FakeTransport()

    def tearDown(self) -> None:
        self.declarer.stop()
        self.subscriptions.stop()
        self.hub.stop()
        self.services.gate.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def json(self, transport: FakeTransport | None = None) -> Session:
        codec = JsonDialect().codec(Route())
        transport = transport or self.transport
        session = Session(self.services, Peer(None, True, "127.0.0.1"), codec, transport)
        session.opened()
        return session

    def raw(self, on_error: str = "close") -> Session:
        codec = RawDialect().codec(Route(on_error=on_error))
        session = Session(self.services, Peer(None, True, "127.0.0.1"), codec, self.transport)
        session.opened()
        return session

    def say(self, session: Session, operation: str, **fields: Any) -> None:
        session.received(json.dumps({"op": operation} | fields).encode(), False)

    def told(self) -> list[dict[str, Any]]:
        """What it was told since the last look."""
        found = [json.loads(payload) for payload, _ in self.transport.sent]
        self.transport.sent.clear()
        return found

    def publish(self, session: Session, identity: str, **fields: Any) -> Deferred[None]:
        body = {"destination": "/topic/a", "body": 1} | fields
        self.say(session, "publish", id=identity, **body)
        return self.link.published[-1].answer


class OpeningTests(SessionCase):
    def test_it_is_welcomed(self) -> None:
        session = self.json()
        (welcome,) = self.told()
        self.assertEqual(
            (welcome["op"], welcome["instance"], welcome["heartbeat"]), ("welcome", "node", 25.0)
        )
        self.assertEqual(welcome["session"], session.id)
        self.assertNotEqual(self.json().id, session.id)

    def test_while_the_link_is_down_it_is_told_so_at_once(self) -> None:
        self.link.become("connecting")
        self.json()
        self.assertEqual(self.told()[1:], [{"op": "link", "state": "down"}])

    def test_a_raw_session_subscribes_to_its_route(self) -> None:
        session = self.raw()
        self.assertEqual(self.link.consumers[0].bindings, [("x", "#")])
        self.link.consumers[0].deliver(delivery("in", b"hello"))
        self.assertEqual(self.transport.frames, [b"\x81\x05hello"])
        self.assertIs(session.state, State.OPEN)

    def test_a_raw_session_waits_for_the_broker_as_long_as_it_takes(self) -> None:
        self.link.become("connecting")
        self.raw()
        self.clock.advance(3600)
        self.assertIsNone(self.transport.closed)
        self.link.become("ready")
        self.link.consumers[0].deliver(delivery("in", b"hello"))
        self.assertEqual(len(self.transport.frames), 1)


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

    def test_queues_and_the_like_are_refused_in_one_sentence(self) -> None:
        for kind in ("queue", "amq/queue", "stream", "temp-queue", "reply-queue", "task"):
            session = self.json()
            self.told()
            self.say(session, "subscribe", id="s", destination=f"/{kind}/a")
            self.assertIn("does not subscribe", self.refused("bad_destination"))

    def test_a_missing_exchange_is_not_found(self) -> None:
        self.link.refused["x"] = ChannelClosed(404, "NOT_FOUND - no exchange 'x' in vhost 'v'")
        self.say(self.session, "subscribe", id="s", destination="/exchange/x/a")
        self.assertNotIn("vhost", self.refused("not_found"))
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


class PublishingTests(SessionCase):
    rules = (Allow("publish", "/topic/#"), Allow("publish", "/queue/*"))

    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()
        self.told()

    def test_published_is_told_after_the_confirm_and_not_before(self) -> None:
        answer = self.publish(self.session, "p")
        self.assertEqual(self.told(), [])
        answer.callback(None)
        self.assertEqual(self.told(), [{"op": "published", "id": "p"}])

    def test_it_goes_where_the_destination_says(self) -> None:
        self.publish(self.session, "p", destination="/topic/a.b", headers={"h": 1})
        self.publish(self.session, "q", destination="/queue/jobs", base64="/w==", body=None)
        self.assertEqual(len(self.link.published), 1, "a body and a base64 are refused")
        self.say(self.session, "publish", destination="/queue/jobs", base64="/w==")
        first, second = self.link.published
        self.assertEqual(
            (first.exchange, first.routing_key, first.body, first.mandatory),
            ("amq.topic", "a.b", b"1", False),
        )
        self.assertEqual(
            first.properties, {"content_type": "application/json", "headers": {"h": 1}}
        )
        self.assertEqual(
            (second.exchange, second.routing_key, second.body, second.mandatory),
            ("", "jobs", b"\xff", True),
        )

    def test_a_failure_is_told_by_its_code(self) -> None:
        for error, code in (
            (Nacked(), "nacked"),
            (Unroutable(312, "NO_ROUTE"), "unroutable"),
            (NotReady("secret"), "not_ready"),
            (OutcomeUnknown("secret"), "unknown"),
            (ChannelClosed(404, "secret"), "not_found"),
        ):
            self.publish(self.session, "p").errback(error)
            (told,) = self.told()
            self.assertEqual((told["op"], told["id"], told["code"]), ("error", "p", code))
            self.assertNotIn("secret", told["message"])

    def test_a_failure_that_nobody_expected_is_logged_and_told_as_internal(self) -> None:
        self.publish(self.session, "p").errback(ZeroDivisionError("secret"))
        (told,) = self.told()
        self.assertEqual(told["code"], "internal")
        self.assertNotIn("secret", told["message"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.session.state, State.OPEN)

    def test_what_the_link_refuses_at_once_is_told(self) -> None:
        self.link.publish_error = EncodeError("the type is over 255 bytes")
        self.say(self.session, "publish", id="p", destination="/topic/a", body=1)
        self.assertEqual(self.told()[0]["code"], "bad_frame")

    def test_the_policy_and_the_limits_decide_before_the_link_sees_it(self) -> None:
        for code, fields in (
            ("forbidden", {"destination": "/exchange/x/a", "body": 1}),
            ("forbidden", {"destination": "/queue/twbridge.task.add", "body": 1}),
            ("too_large", {"destination": "/topic/a", "body": "x" * 1001}),
            ("forbidden", {"destination": "/topic/a", "body": 1, "headers": {"CC": ["b"]}}),
            ("bad_destination", {"destination": "/task/add", "body": 1}),
        ):
            self.say(self.session, "publish", id="p", **fields)
            self.assertEqual(self.told()[0]["code"], code)
        self.assertEqual(self.link.published, [])

    def test_answers_after_the_end_are_dropped(self) -> None:
        answers = [self.publish(self.session, "p"), self.publish(self.session, "q")]
        self.session.lost()
        answers[0].callback(None)
        answers[1].errback(Nacked())
        self.assertEqual(self.told(), [])


class PausingTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()

    def test_reading_is_paused_while_too_many_answers_are_due(self) -> None:
        answers = [self.publish(self.session, f"p{number}") for number in range(6)]
        self.assertFalse(self.transport.reading)
        for answer in answers[:3]:
            answer.callback(None)
        self.assertFalse(self.transport.reading)
        answers[3].errback(Nacked())
        self.assertTrue(self.transport.reading)

    def test_reading_is_paused_while_the_link_is_full(self) -> None:
        self.link.pressed = True
        self.publish(self.session, "p")
        self.assertFalse(self.transport.reading)
        self.link.press(False)
        self.assertTrue(self.transport.reading)

    def test_who_does_not_publish_is_read_on(self) -> None:
        self.link.press(True)
        self.say(self.session, "ping")
        self.assertTrue(self.transport.reading)

    def test_with_two_reasons_both_must_go(self) -> None:
        self.link.pressed = True
        answers = [self.publish(self.session, f"p{number}") for number in range(4)]
        self.link.press(False)
        self.assertFalse(self.transport.reading)
        for answer in answers:
            answer.callback(None)
        self.assertTrue(self.transport.reading)

    def test_one_that_is_gone_is_not_read_again(self) -> None:
        self.link.pressed = True
        answers = [self.publish(self.session, f"p{number}") for number in range(4)]
        self.session.lost()
        self.link.press(False)
        for answer in answers:
            answer.callback(None)
        self.assertFalse(self.transport.reading)


class NonsenseTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()
        self.told()

    def nonsense(self) -> None:
        self.session.received(b"nonsense", False)

    def test_it_is_told_and_lives_on(self) -> None:
        self.nonsense()
        self.assertEqual(self.told()[0]["code"], "bad_frame")
        self.say(self.session, "ping", id=1)
        self.assertEqual(self.told(), [{"op": "pong", "id": 1}])

    def test_too_much_of_it_in_a_row_closes(self) -> None:
        self.nonsense()
        self.say(self.session, "dance")
        self.assertIsNone(self.transport.closed)
        self.say(self.session, "publish", destination="nowhere", body=1)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1008)
        self.assertIs(self.session.state, State.CLOSING)
        self.nonsense()

    def test_a_frame_that_makes_sense_in_between_starts_it_anew(self) -> None:
        for _ in range(5):
            self.nonsense()
            self.nonsense()
            self.say(self.session, "ping")
        self.assertIsNone(self.transport.closed)

    def test_an_honest_refusal_is_no_nonsense(self) -> None:
        for _ in range(5):
            self.say(self.session, "unsubscribe", destination="/topic/a")
        self.assertIsNone(self.transport.closed)


class EndTests(SessionCase):
    def test_nothing_stays_of_a_session_that_is_lost(self) -> None:
        session = self.json()
        self.link.pressed = True
        self.publish(session, "p")
        for key in "ab":
            self.say(session, "subscribe", destination=f"/topic/{key}")
        self.link.held = True
        self.say(session, "subscribe", destination="/topic/c")
        session.lost()
        self.link.release()
        self.clock.advance(5)
        self.assertEqual((self.hub.queues, self.hub.bindings), (0, 0))
        self.link.consumers[0].deliver(delivery("a"))
        self.assertEqual(self.transport.frames, [])
        self.link.press(False)
        self.assertFalse(self.transport.reading)

    def test_closing_unsubscribes_at_once(self) -> None:
        session = self.json()
        self.say(session, "subscribe", destination="/topic/a")
        session.close(1001, "Going away.")
        self.assertEqual(self.transport.closed, (1001, "Going away."))
        self.link.consumers[0].deliver(delivery("a"))
        self.assertEqual(self.transport.frames, [])
        session.close(1001, "Twice.")
        session.lost()
        self.assertIs(session.state, State.GONE)

    def test_a_reason_fits_into_a_close_frame(self) -> None:
        self.json().close(1008, "é" * 100)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[1], "é" * 61)

    def test_one_that_reads_too_slowly_is_closed_with_1013(self) -> None:
        self.json().overflowed()
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1013)

    def test_a_raw_client_whose_publish_failed_is_closed(self) -> None:
        session = self.raw()
        session.received(b"\xff", True)
        self.link.published[0].answer.errback(NotReady("not in time"))
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1013)

    def test_or_not_where_the_route_says_so(self) -> None:
        session = self.raw("ignore")
        session.received(b"a", False)
        self.link.published[0].answer.errback(NotReady("not in time"))
        session.received(b"x" * 1001, False)
        self.assertIsNone(self.transport.closed)

    def test_a_fault_of_ours_is_logged_and_closes_with_1011(self) -> None:
        session = self.json()
        self.link.publish_error = ZeroDivisionError("secret")
        self.say(session, "publish", destination="/topic/a", body=1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1011)
        self.assertNotIn("secret", self.transport.closed[1])


class LinkChangedTests(SessionCase):
    def test_only_down_and_up_are_told(self) -> None:
        session = self.json()
        self.told()
        for state in ("blocked", "ready", "connecting", "connecting", "ready", "closing"):
            session.link_changed(state)
        self.assertEqual([told["state"] for told in self.told()], ["down", "up", "down"])

    def test_a_raw_client_stays(self) -> None:
        session = self.raw()
        session.link_changed("connecting")
        session.link_changed("ready")
        self.assertEqual((self.transport.closed, self.transport.sent), (None, []))


class TableTests(SessionCase):
    """Every pair of a state and an input."""

    def in_state(self, state: State) -> tuple[Session, FakeTransport]:
        transport = FakeTransport()
        codec = JsonDialect().codec(Route())
        session = Session(self.services, Peer(None, True, "x"), codec, transport)
        if state is not State.CONNECTING:
            session.opened()
        if state is State.CLOSING:
            session.close(1000, "")
        if state is State.GONE:
            session.lost()
        self.assertIs(session.state, state)
        transport.sent.clear()
        return session, transport

    def put(self, session: Session, what: Input) -> None:
        match what:
            case Input.OPENED:
                session.opened()
            case Input.RECEIVED:
                session.received(b'{"op":"ping"}', False)
            case Input.LINK_CHANGED:
                session.link_changed("connecting")
            case Input.TOLD:
                session.interrupted(parse("/topic/a"))
            case Input.RELIEVED:
                session.relieved()
            case Input.CLOSE:
                session.close(1000, "")
            case Input.LOST:
                session.lost()

    def test_the_table_has_every_pair(self) -> None:
        self.assertEqual(set(_TABLE), set(product(State, Input)))

    def test_every_pair_leads_where_the_table_says(self) -> None:
        misuse = {
            (State.CONNECTING, Input.RECEIVED),
            (State.CONNECTING, Input.TOLD),
            (State.CONNECTING, Input.RELIEVED),
            (State.OPEN, Input.OPENED),
        }
        told = {Input.RECEIVED: "pong", Input.LINK_CHANGED: "link", Input.TOLD: "gap"}
        for state, what in product(State, Input):
            session, transport = self.in_state(state)
            self.put(session, what)
            pair = (state, what)
            if pair in misuse:
                # Our fault: logged, and the end of the session.
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1, pair)
                self.assertIs(session.state, State.CLOSING, pair)
                continue
            self.assertIs(session.state, _TABLE[pair][0], pair)
            said = [json.loads(payload)["op"] for payload, _ in transport.sent]
            if pair == (State.CONNECTING, Input.OPENED):
                self.assertEqual(said, ["welcome"])
            elif state is State.OPEN and what in told:
                self.assertEqual(said, [told[what]], pair)
            else:
                self.assertEqual(said, [], pair)

    def test_nothing_but_a_loss_leaves_closing_and_nothing_leaves_gone(self) -> None:
        for what in Input:
            self.assertIs(_TABLE[State.GONE, what][0], State.GONE)
            wanted = State.GONE if what is Input.LOST else State.CLOSING
            self.assertIs(_TABLE[State.CLOSING, what][0], wanted)

    def test_every_command_is_carried_out(self) -> None:
        self.assertEqual(set(_COMMANDS), set(get_args(commands.Command)))
