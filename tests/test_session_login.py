"""One client: who it is, and how it leaves."""

from __future__ import annotations

from tests.fakes import delivery
from tests.session_case import Allow, FakeChecker, SessionCase
from twbridge.commands import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Event,
    Ping,
    Pong,
    Publish,
    Published,
    Refused,
    Subscribe,
    Subscribed,
)
from twbridge.destinations import parse
from twbridge.dialects.interfaces import Close
from twbridge.errors import Busy, Nacked, NotReady, Unauthenticated
from twbridge.session import Session, State

TOPIC = parse("/topic/a")


def connect(identity: str | None = "c") -> Connect:
    return Connect(identity, "anna", "secret", None)


def publish(identity: str) -> Publish:
    return Publish(identity, TOPIC, b"", {})


class LoginTests(SessionCase):
    """With users."""

    def setUp(self) -> None:
        super().setUp()
        self.checker = FakeChecker()
        self.session = self.scripted(self.checker)

    def test_who_is_right_is_connected_and_has_a_name(self) -> None:
        self.assertEqual(self.ask(self.session, connect()), [])
        self.assertEqual(self.checker.asked, [("anna", "secret", True)])
        self.assertIsNone(self.session.peer.user)
        self.checker.answers[0].callback("anna")
        self.assertEqual(self.codec.told(), [Connected("c", "anna")])
        self.assertEqual(self.session.peer.user, "anna")

    def test_what_comes_before_the_answer_waits_for_it_in_order(self) -> None:
        wanted = (Ping(1), Subscribe(2, TOPIC), Ping(3))
        self.assertEqual(self.ask(self.session, connect(), *wanted), [])
        self.assertEqual(self.ask(self.session, Ping(4)), [])
        self.assertEqual((self.link.consumers, self.transport.reading), ([], False))
        self.checker.answers[0].callback("anna")
        self.assertEqual(
            self.codec.told(),
            [Connected("c", "anna"), Pong(1), Subscribed(2, TOPIC), Pong(3), Pong(4)],
        )
        self.assertTrue(self.transport.reading)

    def test_of_two_logins_the_second_waits_for_the_first_and_the_rest_for_both(self) -> None:
        self.assertEqual(self.ask(self.session, connect(), connect("d"), Ping(1)), [])
        self.assertEqual(len(self.checker.answers), 1)
        self.checker.answers[0].callback("anna")
        self.assertEqual(self.codec.told(), [Connected("c", "anna")])
        self.assertFalse(self.transport.reading)
        self.checker.answers[1].callback("anna")
        self.assertEqual(self.codec.told(), [Connected("d", "anna"), Pong(1)])
        self.assertTrue(self.transport.reading)

    def test_who_is_refused_is_told_why_and_closed_whatever_the_dialect(self) -> None:
        for error, code in ((Unauthenticated("No."), 4501), (Busy(), 1013), (NotReady("x"), 1013)):
            session = self.scripted(self.checker)
            self.transport.closed, self.transport.reading = None, True
            self.ask(session, connect(), Ping(1))
            self.checker.answers[-1].errback(error)
            self.assertEqual(self.codec.told(), [Refused("c", error, "connect")])
            self.assertEqual(self.transport.closed, (code, error.public))
            self.assertEqual((session.state, session.peer.user), (State.CLOSING, None))

    def test_or_as_the_dialect_says(self) -> None:
        self.codec.ends = lambda event: Close(4000, "Go.")
        self.ask(self.session, connect())
        self.checker.answers[0].errback(Unauthenticated("No."))
        self.assertEqual(self.transport.closed, (4000, "Go."))

    def test_a_failure_that_nobody_expected_is_logged_and_closes(self) -> None:
        self.ask(self.session, connect())
        self.checker.answers[0].errback(ZeroDivisionError("secret"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.transport.closed, (1011, "Something went wrong inside the bridge."))

    def test_who_leaves_meanwhile_is_asked_about_no_more(self) -> None:
        for leave in (Session.lost, lambda session: session.close(1001, "")):
            session = self.scripted(self.checker)
            self.transport.closed, self.transport.reading = None, True
            self.ask(session, connect(), Ping(1))
            self.checker.cancelled = 0
            leave(session)
            self.assertEqual(self.checker.cancelled, 1)
            self.assertEqual((self.codec.told(), self.transport.reading), ([], False))
            self.assertEqual(self.ask(session, Ping(2)), [])

    def test_one_that_is_closed_by_what_it_is_told_does_nothing_more(self) -> None:
        self.codec.beats, self.codec.beat = (1.0, 2.0), b"\n"
        self.codec.ends = lambda event: Close(1000, "Enough.")
        self.ask(self.session, connect(), Ping(1))
        self.checker.answers[0].callback("anna")
        self.assertEqual(self.codec.told(), [Connected("c", "anna")])
        self.assertEqual((self.transport.beats, self.transport.reading), (None, False))

    def test_a_fault_of_ours_in_what_waited_closes_with_1011(self) -> None:
        self.link.publish_error = ZeroDivisionError()
        self.ask(self.session, connect(), publish("p"))
        self.checker.answers[0].callback("anna")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1011)

    def test_what_is_refused_after_the_login_is_refused_as_ever(self) -> None:
        self.ask(self.session, connect(), Subscribe("s", parse("/task/a")))
        self.checker.answers[0].callback("anna")
        _, refused = self.codec.told()
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.operation), ("s", "subscribe"))

    def test_a_link_that_is_full_meanwhile_keeps_it_from_being_read(self) -> None:
        self.link.pressed = True
        self.ask(self.session, connect(), publish("p"))
        self.checker.answers[0].callback("anna")
        self.assertFalse(self.transport.reading)
        self.link.press(False)
        self.assertTrue(self.transport.reading)

    def test_heart_beats_begin_where_the_dialect_has_agreed_on_them(self) -> None:
        self.ask(self.session, connect())
        self.checker.answers[0].callback("anna")
        self.assertIsNone(self.transport.beats)
        self.codec.beats, self.codec.beat = (1.0, 2.0), b"\n"
        self.ask(self.session, connect())
        self.checker.answers[1].callback("anna")
        self.assertEqual(self.transport.beats, (1.0, 2.0, b"\n"))


class NobodyTests(SessionCase):
    """Without users."""

    def test_everybody_is_nobody_in_particular(self) -> None:
        session = self.scripted()
        self.assertEqual(self.ask(session, connect(), Ping(1)), [Connected("c", None), Pong(1)])
        self.assertTrue(self.transport.reading)
        self.assertIsNone(session.peer.user)

    def test_where_nothing_would_be_allowed_it_is_refused(self) -> None:
        session = self.scripted(loopback=False)
        (refused,) = self.ask(session, connect(), Ping(1))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.error.code, refused.operation), ("forbidden", "connect"))
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 4503)


class RulesTests(SessionCase):
    rules = (Allow("publish", "/topic/a"),)

    def test_with_rules_they_decide_what_is_allowed(self) -> None:
        session = self.scripted(loopback=False)
        self.assertEqual(self.ask(session, connect()), [Connected("c", None)])


class LeavingTests(SessionCase):
    """Disconnect."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()
        self.codec.ends = self.end

    def end(self, event: Event) -> Close | None:
        return Close(1000, "") if isinstance(event, Disconnected) else None

    def test_with_nothing_to_wait_for_it_leaves_at_once(self) -> None:
        self.assertEqual(self.ask(self.session, Disconnect("d"), Ping(1)), [Disconnected("d")])
        self.assertEqual(self.transport.closed, (1000, ""))

    def test_it_waits_for_the_answers_to_all_publishes(self) -> None:
        self.ask(self.session, publish("p"), publish("q"), Disconnect("d"))
        first, second = self.link.published
        first.answer.callback(None)
        self.assertEqual(self.codec.told(), [Published("p")])
        self.assertIsNone(self.transport.closed)
        error = Nacked()
        second.answer.errback(error)
        self.assertEqual(
            self.codec.told(),
            [Refused("q", error, "publish", parse("/topic/a")), Disconnected("d")],
        )
        self.assertEqual(self.transport.closed, (1000, ""))

    def test_meanwhile_its_messages_still_come(self) -> None:
        self.ask(self.session, Subscribe("s", TOPIC), publish("p"), Disconnect("d"))
        self.link.consumers[0].deliver(delivery("a", b"1"))
        self.assertEqual(self.transport.frames, [b"/topic/a a 1"])
        self.link.published[0].answer.callback(None)
        self.link.consumers[0].deliver(delivery("a", b"2"))
        self.assertEqual(len(self.transport.frames), 1)

    def test_it_is_told_once_where_the_dialect_does_not_close(self) -> None:
        self.codec.ends = lambda event: None
        self.ask(self.session, Disconnect("d"))
        self.ask(self.session, publish("p"))
        self.link.published[0].answer.callback(None)
        self.assertEqual(self.codec.told(), [Published("p")])

    def test_one_that_is_lost_first_hears_of_nothing(self) -> None:
        self.ask(self.session, publish("p"), Disconnect("d"))
        self.session.lost()
        self.link.published[0].answer.callback(None)
        self.assertEqual(self.codec.told(), [])
