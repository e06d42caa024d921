"""The states of a client: connecting, greeting, coming back, staying away, closing."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.client.scripted import CoreCase
from twbridge.client.errors import NotConnected
from twbridge.client.ports import Input, Limits, State
from twbridge.errors import NotReady


class TableTests(CoreCase):
    """Every state with every input."""

    def bring(self, state: State) -> None:
        """Bring the core into a state."""
        if state is State.IDLE:
            return
        self.core.start()
        if state is State.CONNECTING:
            return
        if state is State.CLOSED:
            self.core.close()
            return
        if state is State.WAITING:
            self.socket.lose()
            return
        self.socket.attempt.opened()
        if state is State.GREETING:
            return
        self.socket.say("welcome")
        if state is State.CLOSING:
            self.core.close()

    def put(self, what: Input) -> None:
        """One input, as it comes from outside."""
        attempt = self.connector.sockets[-1].attempt if self.connector.sockets else None
        if what is Input.START:
            self.core.start()
        elif what is Input.CLOSE:
            self.core.close()
        elif what is Input.DUE:
            calls = self.clock.getDelayedCalls()
            if calls:
                self.clock.advance(calls[0].getTime() - self.clock.seconds())
        elif attempt is not None:
            values = {
                Input.OPENED: lambda: attempt.opened(),
                Input.HEARD: lambda: attempt.heard(),
                Input.RECEIVED: lambda: attempt.received(b'{"op":"welcome"}'),
                Input.LOST: lambda: attempt.lost(NotConnected("gone")),
            }
            values[what]()

    def test_every_pair_leads_where_the_table_says(self) -> None:
        leads = {
            (State.IDLE, Input.START): State.CONNECTING,
            (State.IDLE, Input.CLOSE): State.CLOSED,
            (State.CONNECTING, Input.OPENED): State.GREETING,
            (State.CONNECTING, Input.LOST): State.WAITING,
            (State.CONNECTING, Input.DUE): State.WAITING,
            (State.CONNECTING, Input.CLOSE): State.CLOSED,
            (State.GREETING, Input.RECEIVED): State.OPEN,
            (State.GREETING, Input.LOST): State.WAITING,
            (State.GREETING, Input.DUE): State.WAITING,
            (State.GREETING, Input.CLOSE): State.CLOSING,
            (State.OPEN, Input.LOST): State.WAITING,
            (State.OPEN, Input.CLOSE): State.CLOSING,
            (State.WAITING, Input.DUE): State.CONNECTING,
            (State.WAITING, Input.CLOSE): State.CLOSED,
            (State.CLOSING, Input.LOST): State.CLOSED,
            (State.CLOSING, Input.DUE): State.CLOSED,
        }
        for state in State:
            for what in Input:
                with self.subTest(state=state, what=what):
                    self.setUp()
                    self.bring(state)
                    self.assertEqual(self.core.state, state)
                    self.put(what)
                    self.assertEqual(self.core.state, leads.get((state, what), state))
                    self.core.close()
                    self.clock.advance(3.0)
                    self.assertEqual(self.core.state, State.CLOSED)
                    self.assertEqual(self.clock.getDelayedCalls(), [])


class ConnectingTests(CoreCase):
    """From nothing to open."""

    def test_it_is_open_when_the_bridge_has_greeted(self) -> None:
        self.core.start()
        opened = self.core.opened()
        self.socket.attempt.opened()
        self.assertNoResult(opened)
        self.socket.say("welcome", session="i.1", heartbeat=25)
        self.successResultOf(opened)
        self.assertEqual(self.states, ["connecting", "greeting", "open"])
        self.assertEqual(self.socket.take(), [])
        self.successResultOf(self.core.opened())

    def test_it_is_started_once(self) -> None:
        self.core.start()
        self.core.start()
        self.assertEqual(len(self.connector.sockets), 1)

    def test_an_attempt_that_takes_too_long_is_given_up(self) -> None:
        self.core.start()
        self.clock.advance(10.0)
        self.assertEqual(self.socket.end, "aborted")
        self.assertEqual(str(self.away[0]), "No answer came in 10 s.")
        self.assertEqual(self.core.state, "waiting")

    def test_a_bridge_that_does_not_greet_is_given_up(self) -> None:
        self.core.start()
        self.socket.attempt.opened()
        self.clock.advance(10.0)
        self.assertEqual(self.socket.end, "aborted")
        self.assertEqual(self.core.state, "waiting")

    def test_what_an_abandoned_attempt_says_is_not_heard(self) -> None:
        self.core.start()
        old = self.socket
        self.clock.advance(10.0)
        self.clock.advance(1.0)
        old.attempt.opened()
        old.say("welcome")
        old.lose()
        self.assertEqual(self.core.state, "connecting")
        self.assertIsNot(self.socket, old)

    def test_waiting_for_it_can_be_given_up(self) -> None:
        self.core.start()
        opened = self.core.opened()
        opened.cancel()
        self.failureResultOf(opened)
        self.open()

    def test_what_is_no_frame_is_passed_over(self) -> None:
        self.core.start()
        self.socket.attempt.opened()
        self.socket.attempt.received(b"\xff")
        self.open()
        for payload in (b"", b"{", b"[]", b"\xff", b'{"op":3}', b'{"op":"new"}', b"[" * 100_000):
            self.socket.attempt.received(payload)
        self.assertEqual(self.core.state, "open")

    def test_a_link_that_is_down_is_told_once_and_when_it_is_up(self) -> None:
        self.core.start()
        self.socket.attempt.opened()
        self.socket.say("link", state="down")
        self.socket.say("welcome")
        self.socket.say("link", state="down")
        self.assertEqual((self.links, self.core.link_up), ([False], False))
        self.socket.say("link", state="up")
        self.assertEqual((self.links, self.core.link_up), ([False, True], True))

    def test_an_error_that_answers_nothing_is_told(self) -> None:
        self.open().say("error", code="not_found", message="There is no such delivery.")
        self.assertEqual([error.code for error in self.errors], ["not_found"])


class TokenTests(CoreCase):
    """Who the client is."""

    def greeted(self) -> None:
        self.core.start()
        self.socket.attempt.opened("secret")
        self.socket.say("welcome")
        self.assertEqual(self.core.state, "greeting")
        self.assertEqual(self.socket.take(), [{"op": "auth", "id": 0, "token": "secret"}])

    def test_it_is_open_when_the_bridge_knows_it(self) -> None:
        self.greeted()
        self.socket.say("authenticated", id=0, user="u")
        self.assertEqual(self.core.state, "open")

    def test_a_bridge_without_users_is_as_good(self) -> None:
        self.greeted()
        self.socket.say("error", id=0, code="unknown_op", message="There is no op 'auth'.")
        self.assertEqual(self.core.state, "open")

    def test_a_refused_token_ends_the_connection_and_the_next_one_has_another(self) -> None:
        self.greeted()
        self.socket.say("error", id=0, code="unauthenticated", message="It is too old.")
        self.assertEqual((self.core.state, self.socket.end), ("waiting", "aborted"))
        self.assertEqual(str(self.away[0]), "The token was refused: It is too old.")
        self.clock.advance(1.0)
        self.greeted()


class ComingBackTests(CoreCase):
    """After the connection is lost."""

    def test_the_delays_have_full_jitter_and_double_up_to_the_cap(self) -> None:
        self.core.start()
        for _ in range(8):
            self.socket.lose()
            self.clock.advance(30.0)
        expected = [(0.5, high) for high in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)]
        self.assertEqual(self.ranges, expected)
        self.assertEqual([each.retry_in for each in self.away], [high for _, high in expected])

    def test_it_waits_exactly_that_long(self) -> None:
        self.core.start()
        self.socket.lose()
        self.clock.advance(0.999)
        self.assertEqual(len(self.connector.sockets), 1)
        self.clock.advance(0.001)
        self.assertEqual(len(self.connector.sockets), 2)

    def test_a_stable_connection_begins_the_delays_anew(self) -> None:
        self.open()
        self.socket.lose()
        self.open()
        self.clock.advance(9.9)
        self.socket.lose()
        self.open()
        self.clock.advance(10.0)
        self.socket.lose()
        self.assertEqual(self.ranges, [(0.5, 1.0), (0.5, 2.0), (0.5, 1.0)])

    def test_drain_says_when_to_come_back(self) -> None:
        for code in (1001, 1012):
            self.open().say("drain", reconnect_after=2.7)
            self.assertEqual(self.core.state, "open")
            self.socket.lose(code)
            self.assertEqual(self.away[-1].retry_in, 2.7)
            self.clock.advance(2.6)
            self.assertEqual(self.core.state, "waiting")
            self.clock.advance(0.2)
            self.assertEqual(self.core.state, "connecting")
        self.socket.lose()
        self.assertNotEqual(self.away[-1].retry_in, 2.7)

    def test_a_drain_out_of_reason_is_bounded(self) -> None:
        for said, waited in ((1e9, 300.0), (-3.0, 0.0)):
            self.open().say("drain", reconnect_after=said)
            self.socket.lose(1012)
            self.assertEqual(self.away[-1].retry_in, waited)
            self.clock.advance(300.0)

    def test_most_close_codes_come_back(self) -> None:
        for code in (0, 1000, 1001, 1006, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4401, 4499):
            self.open()
            self.socket.lose(code)
            self.assertEqual(self.core.state, "waiting", code)

    def test_those_from_4500_stay_away(self) -> None:
        for code in (4500, 4503, 4999):
            self.setUp()
            self.core.start()
            opened = self.core.opened()
            self.socket.lose(code, "Forbidden.")
            self.assertEqual(self.core.state, "closed")
            self.assertIs(self.failureResultOf(opened).value, self.away[0])
            self.assertEqual((self.away[0].closed, self.away[0].retry_in), (code, None))
            self.assertIs(self.failureResultOf(self.core.opened()).value, self.away[0])
            self.assertRaises(NotConnected, self.core.usable)
            self.clock.advance(1000.0)
            self.assertEqual(len(self.connector.sockets), 1)

    def test_a_hook_that_fails_stops_nothing(self) -> None:
        def fail(_value: object) -> None:
            raise ZeroDivisionError

        self.core.tell("it", fail, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

        async def fail_later(_value: object) -> None:
            raise ZeroDivisionError

        self.core.tell("it", fail_later, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SilenceTests(CoreCase):
    """A bridge that is gone without a word."""

    def test_a_silent_bridge_is_asked_and_then_given_up(self) -> None:
        self.open(heartbeat=20)
        self.clock.advance(20.0)
        self.assertEqual(self.socket.take(), [{"op": "ping"}])
        self.clock.advance(9.9)
        self.assertEqual(self.core.state, "open")
        self.clock.advance(0.1)
        self.assertEqual((self.core.state, self.socket.end), ("waiting", "aborted"))
        self.assertEqual(str(self.away[0]), "The bridge gave no sign of life.")

    def test_any_byte_is_a_sign_of_life(self) -> None:
        self.open(heartbeat=20)
        for _ in range(5):
            self.clock.advance(19.0)
            self.socket.attempt.heard()
            self.clock.advance(1.0)
        self.assertEqual(self.socket.take(), [])
        self.clock.advance(20.0)
        self.assertEqual(self.socket.take(), [{"op": "ping"}])
        self.socket.say("pong")
        self.clock.advance(10.0)
        self.assertEqual((self.core.state, self.socket.take()), ("open", []))


class ClosingTests(CoreCase):
    """The end."""

    def test_it_says_goodbye_and_waits_for_the_end(self) -> None:
        self.open()
        closed, again = self.core.close(), self.core.close()
        self.assertEqual((self.core.state, self.socket.end), ("closing", 1000))
        self.assertNoResult(closed)
        self.socket.lose(1000)
        self.successResultOf(closed)
        self.successResultOf(again)
        self.successResultOf(self.core.close())
        self.assertEqual(self.states[-2:], ["closing", "closed"])
        self.assertEqual(self.away, [])

    def test_a_bridge_that_does_not_let_go_is_left(self) -> None:
        self.open()
        closed = self.core.close()
        self.clock.advance(3.0)
        self.successResultOf(closed)
        self.assertEqual(self.socket.end, "aborted")

    def test_whoever_waits_for_it_is_told(self) -> None:
        for prepare in (lambda: None, self.core_greets):
            self.setUp()
            self.core.start()
            opened = self.core.opened()
            prepare()
            self.core.close()
            self.assertEqual(
                str(self.failureResultOf(opened, NotReady).value), "The client is closed."
            )

    def core_greets(self) -> None:
        self.socket.attempt.opened()

    def test_a_closed_one_stays_closed(self) -> None:
        self.successResultOf(self.core.close())
        self.core.start()
        self.assertEqual((self.core.state, self.connector.sockets), ("closed", []))
        self.failureResultOf(self.core.opened(), NotReady)
        self.assertRaises(NotReady, self.core.usable)

    def test_a_hook_may_close_it_at_any_state(self) -> None:
        for state in ("connecting", "greeting", "open", "waiting"):
            self.setUp()
            closings: list[Deferred[None]] = []

            def close(
                now: State, wanted: str = state, closings: list[Deferred[None]] = closings
            ) -> None:
                if now == wanted:
                    closings.append(self.core.close())

            self.core._hooks = type(self.core._hooks)(on_state=close)
            self.core.start()
            self.socket.attempt.opened()
            self.socket.say("welcome")
            self.socket.lose()
            self.clock.advance(3.0)
            self.successResultOf(closings[0])
            self.assertEqual((self.core.state, self.clock.getDelayedCalls()), ("closed", []))


class ShortLimitsTests(CoreCase):
    """Times are limits too."""

    limits = Limits(connect_seconds=1.0, retry_floor=0.1, retry_cap=0.2)

    def test_they_are_obeyed(self) -> None:
        self.core.start()
        self.clock.advance(1.0)
        for _ in range(3):
            self.clock.advance(0.2)
            self.socket.lose()
        self.assertEqual(self.ranges, [(0.1, 0.2)] * 4)
