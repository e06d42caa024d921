"""The link as a whole: what its owner sees from the first attempt to the last close."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.link.cases import LinkCase
from twbridge.amqp import Exchange, Link, Queue, parse
from twbridge.errors import (
    ConnectionClosed,
    NotReady,
    OutcomeUnknown,
)


class StateTests(LinkCase):
    """States and callbacks, each once and with the right arguments."""

    def test_from_idle_to_ready(self) -> None:
        link = self.link(start=False)
        self.assertEqual((link.state, link.closable, self.heard), ("idle", False, []))
        link.start()
        self.assertEqual((link.state, link.closable), ("connecting", True))
        self.broker.pump()
        self.assertEqual((link.state, link.closable), ("ready", True))
        self.assertEqual(self.heard, [("state", "connecting"), ("state", "ready"), "ready"])

    def test_started_twice_it_connects_once(self) -> None:
        link = self.link()
        link.start()
        self.broker.pump()
        self.assertEqual(len(self.broker.sessions), 2)
        self.assertEqual(self.heard.count("ready"), 1)

    def test_publishing_and_consuming_have_a_connection_each(self) -> None:
        self.link(name="mine")
        names = [each.client_properties["connection_name"] for each in self.broker.sessions]
        self.assertEqual(sorted(names), ["mine consume", "mine publish"])

    def test_it_is_ready_when_both_connections_are(self) -> None:
        link = self.link(start=False)
        self.broker.silent = {commands.Connection.OpenOk}
        link.start()
        self.broker.pump()
        for session, state in zip(self.broker.sessions, ("connecting", "ready"), strict=True):
            session.send(0, commands.Connection.OpenOk())
            self.broker.pump()
            self.assertEqual(link.state, state)

    def test_the_loss_of_either_is_told_once_with_its_reason_and_it_comes_back(self) -> None:
        for which in ("publish", "consume"):
            link = self.link(name=which * 2)
            del self.heard[:]
            self.broker.named(f"{which * 2} {which}").drop()
            self.assertEqual(link.state, "connecting")
            (word, reason), *rest = [e for e in self.heard if e[0] == "unavailable"]
            self.assertEqual(rest, [])
            self.assertIsInstance(reason, ConnectionClosed)
            self.assertEqual(link.state_description, str(reason))
            self.pass_time(5)
            self.assertEqual(link.state, "ready")
            self.assertEqual(
                self.heard,
                [("state", "connecting"), (word, reason), ("state", "ready"), "ready"],
            )

    def test_the_loss_of_both_is_told_once(self) -> None:
        link = self.link()
        for session in self.broker.alive:
            session.send(0, commands.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0))
        self.assertEqual(sum(each[0] == "unavailable" for each in self.heard), 1)
        self.assertIn("CONNECTION_FORCED - bye", link.state_description)
        self.pass_time(5)
        self.assertEqual(self.heard.count("ready"), 2)

    def test_blocked_is_a_state_of_its_own_and_told(self) -> None:
        link = self.link()
        del self.heard[:]
        self.publishing.send(0, commands.Connection.Blocked("low on memory"))
        self.assertEqual(link.state, "blocked")
        self.assertIn("low on memory", link.state_description)
        [reason] = [each[1] for each in self.heard if each[0] == "unavailable"]
        self.assertIsInstance(reason, NotReady)
        self.publishing.send(0, commands.Connection.Unblocked())
        self.assertEqual(
            self.heard,
            [("state", "blocked"), ("unavailable", reason), ("state", "ready"), "ready"],
        )

    def test_a_blocked_connection_that_is_lost_is_blocked_no_more(self) -> None:
        link = self.link()
        self.publishing.send(0, commands.Connection.Blocked("low on memory"))
        self.publishing.drop()
        self.assertEqual(link.state, "connecting")
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        self.broker.confirming = True
        done = link.publish("e", "k", b"x")
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))

    def test_a_blocked_link_goes_on_consuming(self) -> None:
        link = self.link()
        bodies: list[bytes] = []
        consuming = link.consume(Queue(), lambda delivery: bodies.append(delivery.body))
        self.broker.pump()
        self.successResultOf(consuming)
        self.publishing.send(0, commands.Connection.Blocked("low on memory"))
        [consume] = self.consuming.methods(commands.Basic.Consume)
        channel = self.consuming.channel_of(commands.Basic.Consume)
        self.consuming.deliver(channel, consume.consumer_tag, 1, b"x")
        self.assertEqual(bodies, [b"x"])

    def test_while_it_cannot_connect_the_description_says_why(self) -> None:
        self.broker.unreachable = {"broker"}
        link = self.link()
        self.assertEqual(link.state, "connecting")
        self.assertIn("refused", link.state_description)
        self.assertEqual(self.heard, [("state", "connecting")])

    def test_a_callback_that_was_taken_back_is_not_called(self) -> None:
        link = self.link(start=False)
        heard: list[Any] = []
        for add in (link.on_ready, link.on_unavailable, link.on_state, link.on_pressure):
            forget: Any = add(self.calls(heard))
            forget()
        link.start()
        self.broker.pump()
        self.publishing.drop()
        self.assertEqual(heard, [])

    def test_a_callback_that_fails_harms_nothing(self) -> None:
        link = self.link(start=False)
        link.on_ready(lambda: 1 // 0)
        link.on_state(lambda state: 1 // 0)
        link.start()
        self.broker.pump()
        self.assertEqual((link.state, self.heard[-1]), ("ready", "ready"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        link.on_state(lambda state: self.flushLoggedErrors(ZeroDivisionError))

    def test_the_password_is_in_no_state_and_no_log(self) -> None:
        lines: list[str] = []

        @implementer(ILogObserver)
        def watch(event: Any) -> None:
            lines.append(repr(event) + (formatEvent(event) or ""))

        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        self.parameters = parse("amqp://user:hunter2@broker/")
        self.broker.login_refusal = (403, "ACCESS_REFUSED - Login was refused")
        link = self.link()
        self.pass_time(1)
        self.assertIn("ACCESS_REFUSED", link.state_description)
        self.broker.login_refusal = None
        self.pass_time(60)
        self.assertEqual(link.state, "ready")
        self.assertTrue(lines)
        self.assertNotIn("hunter2", "".join(lines) + link.state_description)


class StopTests(LinkCase):
    """The end."""

    def test_it_closes_all_connections_in_order(self) -> None:
        link = self.link()
        stopped = link.stop()
        self.assertEqual((link.state, link.closable), ("closing", False))
        self.assertNoResult(stopped)
        self.pass_time(1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual((link.state, link.closable), ("closed", False))
        for session in self.broker.sessions:
            self.assertTrue(session.gone)
            self.assertEqual(len(session.methods(commands.Connection.Close)), 1)
        self.assertEqual(self.heard[-2:], [("state", "closing"), ("state", "closed")])
        self.assertEqual(sum(each[0] == "unavailable" for each in self.heard), 0)

    def test_nothing_is_published_after_it(self) -> None:
        link = self.link()
        link.stop()
        self.failed(link.publish("e", "k", b"x"), NotReady)
        self.pass_time(1)
        self.failed(link.publish("e", "k", b"x"), NotReady)

    def test_stopped_twice_both_wait_for_the_end(self) -> None:
        link = self.link()
        one, two = link.stop(), link.stop()
        self.assertNoResult(two)
        self.pass_time(1)
        self.assertIsNone(self.successResultOf(one))
        self.assertIsNone(self.successResultOf(two))
        self.assertIsNone(self.successResultOf(link.stop()))

    def test_before_the_start_there_is_nothing_to_wait_for(self) -> None:
        link = self.link(start=False)
        self.assertIsNone(self.successResultOf(link.stop()))

    def test_while_it_connects_what_waits_is_not_ready(self) -> None:
        for way in ("hanging", "unreachable", "silent"):
            self.setUp()
            if way == "silent":
                self.broker.silent = {commands.Connection.Start}
            else:
                setattr(self.broker, way, {"broker"})
            link = self.link()
            done = link.publish("e", "k", b"x")
            stopped = link.stop()
            self.failed(done, NotReady)
            self.pass_time(1)
            self.assertIsNone(self.successResultOf(stopped))
            self.assertEqual(link.state, "closed")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_blocked_it_does_not_wait_for_ever(self) -> None:
        link = self.link(timeout=3)
        self.publishing.send(0, commands.Connection.Blocked("alarm"))
        done = link.publish("e", "k", b"x", timeout=100)
        stopped = link.stop()
        self.pass_time(3.5)
        self.assertIsNone(self.successResultOf(stopped))
        self.failed(done, NotReady)

    def test_a_connection_lost_meanwhile_does_not_start_another(self) -> None:
        link = self.link()
        sent = link.publish("e", "k", b"x", timeout=100)
        self.broker.pump()
        stopped = link.stop()
        self.publishing.drop()
        self.failed(sent, OutcomeUnknown)
        self.pass_time(15)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(link.state, "closed")
        self.assertEqual(self.broker.alive, [])

    def test_from_any_of_its_callbacks(self) -> None:
        def on_ready(link: Link) -> None:
            link.on_ready(lambda: link.stop())

        def on_unavailable(link: Link) -> None:
            link.on_unavailable(lambda reason: link.stop())

        def on_connecting(link: Link) -> None:
            link.on_state(lambda state: state == "connecting" and link.stop())

        for hook in (on_ready, on_unavailable, on_connecting):
            self.setUp()
            link = self.link(start=False)
            hook(link)
            link.start()
            self.broker.pump()
            if link.state == "ready":
                self.consuming.drop()
            self.pass_time(5)
            self.assertEqual(link.state, "closed", hook.__name__)
            self.assertEqual(self.broker.alive, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_can_be_started_again_with_all_that_it_remembers(self) -> None:
        link = self.link()
        link.declare(Exchange("e"))
        consuming = link.consume(Queue("q"), lambda _: None)
        self.broker.pump()
        self.successResultOf(consuming).bind("e", "k")
        self.broker.pump()
        link.stop()
        self.pass_time(1)
        self.assertEqual(link.state, "closed")
        link.start()
        self.broker.pump()
        self.assertEqual(link.state, "ready")
        self.assertEqual(len(self.consuming.methods(commands.Queue.Bind)), 1)
        self.broker.confirming = True
        done = link.publish("e", "k", b"x")
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))

    def test_started_again_it_is_ready_when_all_connections_are(self) -> None:
        link = self.link()
        link.stop()
        self.pass_time(1)
        self.broker.silent = {commands.Connection.OpenOk}
        link.start()
        self.broker.pump()
        one, two = self.broker.alive
        one.send(0, commands.Connection.OpenOk())
        self.broker.pump()
        self.assertEqual(link.state, "connecting")
        two.send(0, commands.Connection.OpenOk())
        self.broker.pump()
        self.assertEqual(link.state, "ready")

    def test_after_so_many_failures_it_gives_up_and_says_so(self) -> None:
        self.broker.unreachable = {"broker"}
        link = self.link(connection_attempts=3)
        waiting = link.publish("e", "k", b"x", timeout=100)
        self.pass_time(30)
        self.assertEqual(link.state, "closed")
        self.failed(waiting, NotReady)
        self.assertLessEqual(len(self.broker.attempts), 6)
        self.assertGreaterEqual(len(self.broker.attempts), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])
