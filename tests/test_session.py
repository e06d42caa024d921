"""One client: what it asks, what it is told, and what becomes of it."""

from __future__ import annotations

import json
from itertools import product
from typing import get_args

from tests.fakes import FakeTransport, delivery
from tests.session_case import Route, SessionCase
from twbridge import commands
from twbridge.destinations import parse
from twbridge.dialects.json import JsonDialect
from twbridge.errors import (
    NotReady,
)
from twbridge.orders import CARRIED_OUT
from twbridge.policy import Peer
from twbridge.session import _TABLE, Input, Session, State


class OpeningTests(SessionCase):
    def test_it_is_welcomed(self) -> None:
        session = self.json()
        (welcome,) = self.told()
        self.assertEqual(
            (welcome["op"], welcome["instance"], welcome["heartbeat"]), ("welcome", "node", 25.0)
        )
        self.assertEqual(welcome["session"], session.id)
        self.assertEqual(welcome["limit"], 900)
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
            case Input.LOGGED_IN:
                session.logged_in("anna", None)
            case Input.RELEASED:
                session.released()
            case Input.LINK_CHANGED:
                session.link_changed("connecting")
            case Input.TOLD:
                session.interrupted(parse("/topic/a"))
            case Input.RELIEVED:
                session.relieved()
            case Input.WRITABLE:
                session.writable()
            case Input.CLOSE:
                session.close(1000, "")
            case Input.LOST:
                session.lost()

    def test_the_table_has_every_pair(self) -> None:
        self.assertEqual(set(_TABLE), set(product(State, Input)))

    def test_every_pair_leads_where_the_table_says(self) -> None:
        misuse = {
            (State.CONNECTING, Input.RECEIVED),
            (State.CONNECTING, Input.LOGGED_IN),
            (State.CONNECTING, Input.RELEASED),
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
            logged_in = pair == (State.OPEN, Input.LOGGED_IN)
            self.assertEqual(session.peer.user, "anna" if logged_in else None, pair)
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

    def test_whatever_the_inside_tells_is_heard_while_it_is_open_and_not_after(self) -> None:
        for state in (State.OPEN, State.CLOSING, State.GONE):
            session, transport = self.in_state(state)
            session.draining(2.5)
            session.tell(commands.Dropped(parse("/topic/a"), 3))
            session.tell(commands.Gap(parse("/stream/a"), 4, 9))
            said = [json.loads(payload) for payload, _ in transport.sent]
            wanted = [
                {"op": "drain", "reconnect_after": 2.5},
                {"op": "dropped", "destination": "/topic/a", "count": 3},
                {"op": "gap", "destination": "/stream/a", "from": 4, "to": 9},
            ]
            self.assertEqual(said, wanted if state is State.OPEN else [])

    def test_it_says_who_and_where_it_is(self) -> None:
        session, _ = self.in_state(State.OPEN)
        self.assertIn(f"<Session {session.id} OPEN", repr(session))

    def test_every_command_is_carried_out(self) -> None:
        self.assertEqual(set(CARRIED_OUT), set(get_args(commands.Command)))
