"""Asking a broker whether somebody is its user."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.link.embedded import Network
from tests.link.scripted import ScriptedBroker, advance
from twbridge.errors import NotReady
from twbridge.link.login import NAME, BrokerSource
from twbridge.link.uri import Parameters

PARAMETERS = Parameters(hosts=(("one", 5672), ("two", 5672)), vhost="v", password="of the bridge")
SECRET = "correct horse"


class LoginCase(SynchronousTestCase):
    """A source that asks a scripted broker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        self.source = self.make(PARAMETERS)
        self.addCleanup(self.nothing_is_left)

    def nothing_is_left(self) -> None:
        advance(self.clock, self.broker, 10)
        self.assertEqual(self.broker.alive, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, parameters: Parameters) -> BrokerSource:
        return BrokerSource(self.clock, parameters, self.broker.endpoint)

    def ask(self, seconds: float = 10.0) -> Deferred[bool]:
        answer = self.source.ask("alice", SECRET, seconds)
        self.broker.pump()
        return answer

    def not_ready(self, answer: Deferred[bool]) -> str:
        text = str(self.failureResultOf(answer, NotReady).value)
        self.assertNotIn(SECRET, text)
        self.assertNotIn(PARAMETERS.password, text)
        return text

    @property
    def hosts(self) -> list[str]:
        return [host for host, _ in self.broker.attempts]


class AnswerTests(LoginCase):
    """What the broker says, and what that means."""

    def test_who_may_open_the_virtual_host_is_a_user(self) -> None:
        self.assertIs(self.successResultOf(self.ask()), True)
        [session] = self.broker.sessions
        [start] = session.methods(commands.Connection.StartOk)
        self.assertEqual((start.mechanism, start.response), ("PLAIN", f"\0alice\0{SECRET}"))
        self.assertEqual(session.client_properties["connection_name"], NAME)
        [opened] = session.methods(commands.Connection.Open)
        self.assertEqual(opened.virtual_host, "v")
        [tune] = session.methods(commands.Connection.TuneOk)
        self.assertEqual(tune.heartbeat, 0)
        self.assertEqual(len(session.methods(commands.Connection.Close)), 1)
        self.assertTrue(session.gone)

    def test_a_certificate_of_the_bridge_speaks_for_nobody_else(self) -> None:
        for own, used in (("EXTERNAL", "PLAIN"), ("AMQPLAIN", "AMQPLAIN"), ("PLAIN", "PLAIN")):
            self.source = self.make(replace(PARAMETERS, auth_mechanism=own))
            self.assertIs(self.successResultOf(self.ask()), True)
            [start] = self.broker.sessions[-1].methods(commands.Connection.StartOk)
            self.assertEqual(start.mechanism, used)
            self.assertIn(SECRET, str(start.response))

    def test_a_refusal_is_a_no_and_no_other_host_is_asked(self) -> None:
        for refusal in (
            (403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."),
            (530, "NOT_ALLOWED - access to vhost 'v' refused for user 'alice'"),
        ):
            self.broker.login_refusal = refusal
            with capturedLogs() as events:
                self.assertIs(self.successResultOf(self.ask()), False)
            [line] = [each["log_format"].format(**each) for each in events]
            self.assertEqual(
                line, f"the broker refused the login of 'alice': {' '.join(map(str, refusal))!r}"
            )
            self.assertNotIn(SECRET, repr(events))
        self.assertEqual(self.hosts, ["one", "one"])

    def test_a_limit_or_a_missing_virtual_host_is_not_the_user(self) -> None:
        for refusal in (
            (530, "NOT_ALLOWED - access to vhost 'v' refused for user 'alice': "
                  "connection limit (3) is reached"),
            (530, "NOT_ALLOWED - user 'alice': user connection limit (1) is reached"),
            (530, "NOT_ALLOWED - vhost v not found"),
            (541, "INTERNAL_ERROR - vhost 'v' is down"),
            (320, "CONNECTION_FORCED - broker forced connection closure"),
        ):  # fmt: skip
            self.broker.login_refusal = refusal
            self.assertIn(refusal[1], self.not_ready(self.ask()))


class AwayTests(LoginCase):
    """A broker that does not answer refuses nobody."""

    def test_the_next_host_is_asked_and_remembered(self) -> None:
        self.broker.unreachable = {"one"}
        for _ in range(2):
            self.assertIs(self.successResultOf(self.ask()), True)
        self.assertEqual(self.hosts, ["one", "two", "two"])
        self.broker.unreachable = {"two"}
        self.assertIs(self.successResultOf(self.ask()), True)
        self.assertEqual(self.hosts[3:], ["two", "one"])

    def test_when_all_are_away_it_is_not_ready(self) -> None:
        self.broker.unreachable = {"one", "two"}
        self.assertIn("two refused", self.not_ready(self.ask()))
        self.assertEqual(self.hosts, ["one", "two"])

    def test_a_host_that_goes_silent_leaves_time_for_the_next(self) -> None:
        self.broker.silent = {commands.Connection.Tune}
        answer = self.ask(6.0)
        advance(self.clock, self.broker, 3.0)
        self.assertEqual(self.hosts, ["one", "two"])
        self.broker.silent = set()
        self.assertNoResult(answer)
        advance(self.clock, self.broker, 3.0)
        self.assertIn("in time", self.not_ready(answer))

    def test_a_host_that_never_connects_is_given_up_at_the_deadline(self) -> None:
        self.broker.hanging = {"one", "two"}
        answer = self.ask(5.0)
        self.clock.advance(4.9)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.assertIn("in time", self.not_ready(answer))
        self.assertEqual(self.broker.given_up, [("one", 5672)])

    def test_an_endpoint_that_calls_its_cancellation_something_else_is_given_up_too(self) -> None:
        class Stubborn:
            def connect(self, _: object) -> Deferred[Any]:
                return Deferred(lambda mine: mine.errback(OSError("aborted")))

        self.source = BrokerSource(self.clock, PARAMETERS, lambda *_: Stubborn())  # type: ignore[arg-type]
        answer = self.ask(5.0)
        self.clock.advance(5.0)
        self.not_ready(answer)

    def test_a_socket_that_ends_in_the_login_says_nothing_about_the_user(self) -> None:
        self.source = self.make(replace(PARAMETERS, hosts=(("one", 5672),)))
        self.broker.silent = {commands.Connection.Tune}
        answer = self.ask()
        self.broker.sessions[0].drop()
        self.not_ready(answer)

    def test_a_broker_that_does_not_answer_the_close_has_answered_the_login(self) -> None:
        self.broker.silent = {commands.Connection.Close}
        answer = self.ask(1.0)
        advance(self.clock, self.broker, 7.0)
        self.assertIs(self.successResultOf(answer), True)


class EmbeddedTests(SynchronousTestCase):
    """The embedded broker is asked like any other."""

    def test_its_users_are_those_that_log_in(self) -> None:
        clock = Clock()
        network = Network(clock)
        for mechanism in ("PLAIN", "AMQPLAIN"):
            parameters = Parameters(auth_mechanism=mechanism)
            source = BrokerSource(clock, parameters, network.endpoint)
            for user, password, right in (
                ("guest", "guest", True),
                ("guest", "other", False),
                ("alice", "guest", False),
                ("guest", "guest\u00e9", False),
            ):
                answer = source.ask(user, password, 5.0)
                network.pump()
                self.assertIs(self.successResultOf(answer), right)
        network.advance(5)
        self.assertEqual(network.broker.clients, set())
