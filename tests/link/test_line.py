"""A line: it connects, comes back with patience, and stops whatever it is doing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.scripted import ScriptedBroker, advance
from twbridge.errors import ConnectionClosed
from twbridge.link.connection import Connection
from twbridge.link.line import FIRST_DELAY, REFUSED_FACTOR, Line, Retry
from twbridge.link.uri import Parameters


class Owner:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.preparing: Callable[[Connection], Deferred[None] | None] = lambda _: None

    async def prepare(self, line: Line, connection: Connection) -> None:
        self.told.append(("prepare", connection))
        waiting = self.preparing(connection)
        if waiting is not None:
            await waiting

    def line_up(self, line: Line, connection: Connection) -> None:
        self.told.append(("up", connection))

    def line_down(self, line: Line, error: Exception) -> None:
        self.told.append(("down", error))

    def line_given_up(self, line: Line, error: Exception) -> None:
        self.told.append(("given up", error))

    def words(self) -> list[str]:
        return [word for word, _ in self.told]


class LineCase(SynchronousTestCase):
    """A line to a scripted broker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        self.owner = Owner()
        self.chance = 1.0

    def line(self, *hosts: str, cap: float = 4.0, attempts: int = 0) -> Line:
        addresses = tuple((host, 5672) for host in hosts or ("one",))
        line = Line(
            self.clock,
            Parameters(hosts=addresses, heartbeat=0, connection_timeout=7.0),
            self.broker.endpoint,
            Retry(cap, attempts),
            lambda: self.chance,
            "test line",
            self.owner,
        )
        line.start()
        self.broker.pump()
        return line

    def attempts(self, seconds: float) -> list[float]:
        """The times of the attempts of so many seconds, the first being 0."""
        times = [0.0] * len(self.broker.attempts)
        for _ in range(round(seconds / 0.05)):
            advance(self.clock, self.broker, 0.05, step=0.05)
            times += [self.clock.seconds()] * (len(self.broker.attempts) - len(times))
        return times

    def stop(self, line: Line) -> None:
        stopped = Deferred.fromCoroutine(line.stop())
        self.broker.pump()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIsNone(line.connection)
        self.broker.pump()
        self.assertEqual(self.broker.alive, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ConnectTests(LineCase):
    """The way up."""

    def test_the_first_try_is_at_once_and_prepares_before_it_is_up(self) -> None:
        line = self.line()
        self.assertEqual(self.broker.attempts, [("one", 5672)])
        self.assertEqual(self.owner.words(), ["prepare", "up"])
        self.assertIs(self.owner.told[1][1], line.connection)
        self.stop(line)

    def test_it_is_not_up_until_it_is_prepared(self) -> None:
        prepared: Deferred[None] = Deferred()
        self.owner.preparing = lambda _: prepared
        line = self.line()
        self.assertEqual(self.owner.words(), ["prepare"])
        self.assertIsNone(line.connection)
        prepared.callback(None)
        self.assertEqual(self.owner.words(), ["prepare", "up"])
        self.stop(line)

    def test_the_next_host_is_tried_after_a_failure_and_the_same_after_a_loss(self) -> None:
        self.broker.unreachable = {"one", "two"}
        line = self.line("one", "two", "three")
        self.attempts(3)
        self.assertEqual([host for host, _ in self.broker.attempts], ["one", "two", "three"])
        self.attempts(5)
        self.broker.alive[0].drop()
        self.attempts(1)
        self.assertEqual(self.broker.attempts[3:], [("three", 5672)])
        self.broker.unreachable = {"three"}
        self.broker.alive[0].drop()
        self.attempts(5)
        self.assertEqual([host for host, _ in self.broker.attempts[4:]], ["three", "one"])
        self.stop(line)

    def test_a_broker_that_does_not_answer_the_login_is_given_up_in_time(self) -> None:
        self.broker.silent = {commands.Connection.Start}
        line = self.line("one", "two")
        advance(self.clock, self.broker, 6.75)
        self.assertEqual(self.owner.told, [])
        advance(self.clock, self.broker, 0.5)
        self.assertEqual(self.owner.words(), ["down"])
        self.assertIn("in time", str(self.owner.told[0][1]))
        advance(self.clock, self.broker, 1)
        self.assertEqual(self.broker.attempts, [("one", 5672), ("two", 5672)])
        self.stop(line)

    def test_lost_while_it_is_prepared_is_a_failed_attempt(self) -> None:
        prepared: Deferred[None] = Deferred()
        self.owner.preparing = lambda _: prepared
        line = self.line()
        self.broker.alive[0].drop()
        self.owner.preparing = lambda _: None
        prepared.callback(None)
        self.assertEqual(self.owner.words(), ["prepare", "down"])
        self.attempts(1)
        self.assertEqual(self.owner.words(), ["prepare", "down", "prepare", "up"])
        self.stop(line)

    def test_a_preparation_that_fails_is_a_failed_attempt(self) -> None:
        def fails(_: Connection) -> None:
            raise ConnectionClosed(406, "no")

        self.owner.preparing = fails
        line = self.line()
        self.assertEqual(self.owner.words(), ["prepare", "down"])
        self.assertEqual(self.broker.alive, [])
        self.stop(line)


class PatienceTests(LineCase):
    """How long it waits between two attempts."""

    def test_the_wait_doubles_up_to_the_cap(self) -> None:
        self.broker.unreachable = {"one"}
        line = self.line(cap=4.0)
        times = self.attempts(30)
        waits = [round(b - a, 1) for a, b in pairwise(times)]
        first = FIRST_DELAY * 2
        self.assertEqual(waits[:6], [round(min(4.0, first * 2**power), 1) for power in range(6)])
        self.assertEqual(set(waits[5:]), {4.0})
        self.stop(line)

    @given(st.floats(0.01, 1), st.floats(0.5, 60))
    def test_a_wait_is_a_random_part_of_it(self, chance: float, cap: float) -> None:
        self.setUp()
        self.broker.unreachable = {"one"}
        self.chance = chance
        line = self.line(cap=cap)
        limits = [min(cap, FIRST_DELAY * 2 * 2**power) for power in range(8)]
        for limit in limits:
            [call] = self.clock.getDelayedCalls()
            wait = call.getTime() - self.clock.seconds()
            self.assertAlmostEqual(wait, chance * limit)
            self.clock.advance(wait)
        self.assertEqual(len(self.broker.attempts), 9)
        self.stop(line)

    def test_the_loss_of_a_good_connection_is_followed_by_a_try_at_once(self) -> None:
        line = self.line()
        self.attempts(5)
        self.broker.alive[0].drop()
        advance(self.clock, self.broker, 0.05, step=0.01)
        self.assertEqual(self.owner.words(), ["prepare", "up", "down", "prepare", "up"])
        self.stop(line)

    def test_a_connection_that_is_lost_again_and_again_is_not_tried_at_once(self) -> None:
        line = self.line(cap=4.0)
        waits = []
        for _ in range(6):
            self.broker.alive[0].drop()
            [call] = self.clock.getDelayedCalls()
            waits.append(round(call.getTime() - self.clock.seconds(), 1))
            self.clock.advance(waits[-1])
            self.broker.pump()
        self.assertEqual(waits, [0.4, 0.8, 1.6, 3.2, 4.0, 4.0])
        self.stop(line)

    def test_a_refusal_waits_longer_because_nothing_changes_in_seconds(self) -> None:
        for refusal in ((403, "ACCESS_REFUSED"), (530, "NOT_ALLOWED - vhost nope not found")):
            for chance, wait in ((0.0, 0.5), (1.0, 1.0)):
                self.setUp()
                self.chance = chance
                self.broker.login_refusal = refusal
                line = self.line(cap=4.0)
                error = self.owner.told[0][1]
                self.assertIsInstance(error, ConnectionClosed)
                self.assertEqual((error.reply_code, error.reply_text), refusal)
                retry = max(call.getTime() for call in self.clock.getDelayedCalls())
                self.assertAlmostEqual(retry, 4.0 * REFUSED_FACTOR * wait)
                self.stop(line)

    def test_it_gives_up_after_so_many_failures_in_a_row(self) -> None:
        self.broker.unreachable = {"one"}
        line = self.line(attempts=3)
        self.attempts(60)
        self.assertEqual(len(self.broker.attempts), 3)
        self.assertEqual(self.owner.words(), ["down", "down", "given up"])
        self.assertIsInstance(self.owner.told[-1][1], ConnectionRefusedError)
        self.stop(line)

    def test_a_success_between_begins_the_count_anew(self) -> None:
        self.broker.unreachable = {"one"}
        line = self.line(attempts=3)
        self.attempts(0.5)
        self.broker.unreachable = set()
        self.attempts(10)
        self.assertEqual(self.owner.words()[-1], "up")
        self.broker.unreachable = {"one"}
        tried = len(self.broker.attempts)
        self.broker.alive[0].drop()
        self.attempts(60)
        self.assertEqual(len(self.broker.attempts) - tried, 3)
        self.assertEqual(self.owner.words()[-1], "given up")
        self.stop(line)

    def test_by_default_it_never_gives_up(self) -> None:
        self.broker.unreachable = {"one"}
        line = self.line(cap=0.1)
        self.attempts(30)
        self.assertGreater(len(self.broker.attempts), 200)
        self.assertEqual(set(self.owner.words()), {"down"})
        self.stop(line)


class StopTests(LineCase):
    """It stops whatever it is doing, and tells nobody."""

    def stopped_during(self, line: Line) -> None:
        told = list(self.owner.told)
        self.stop(line)
        tried = len(self.broker.attempts)
        advance(self.clock, self.broker, 60)
        self.assertEqual(self.owner.told, told)
        self.assertEqual(len(self.broker.attempts), tried)

    def test_before_the_start(self) -> None:
        self.broker.hanging = {"one"}
        line = self.line()
        self.stop(line)
        self.stop(line)

    def test_while_it_connects(self) -> None:
        self.broker.hanging = {"one"}
        self.stopped_during(self.line())
        self.assertEqual(self.broker.given_up, [("one", 5672)])

    def test_while_it_logs_in(self) -> None:
        for kind in (
            commands.Connection.Start,
            commands.Connection.Tune,
            commands.Connection.OpenOk,
        ):
            self.setUp()
            self.broker.silent = {kind}
            self.stopped_during(self.line())
            self.assertEqual(self.owner.told, [])

    def test_while_it_prepares(self) -> None:
        self.owner.preparing = lambda _: Deferred()
        self.stopped_during(self.line())
        self.assertEqual(self.owner.words(), ["prepare"])

    def test_while_it_is_up_it_closes_in_order(self) -> None:
        self.stopped_during(self.line())
        [close] = self.broker.sessions[0].methods(commands.Connection.Close)
        self.assertEqual(close.reply_code, 200)
        self.assertFalse(self.broker.sessions[0].socket.aborted)

    def test_while_it_is_up_and_the_broker_is_dead(self) -> None:
        line = self.line()
        self.broker.sessions[0].frozen = True
        stopped = Deferred.fromCoroutine(line.stop())
        self.broker.pump()
        self.assertNoResult(stopped)
        advance(self.clock, self.broker, 7)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_it_waits_for_the_next_attempt(self) -> None:
        self.broker.unreachable = {"one"}
        self.stopped_during(self.line())

    def test_it_can_be_started_again(self) -> None:
        line = self.line()
        self.stop(line)
        line.start()
        self.broker.pump()
        self.assertEqual(self.owner.words(), ["prepare", "up", "prepare", "up"])
        self.stop(line)
