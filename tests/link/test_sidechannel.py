"""The side channel: what is refused fails alone, what was behind it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.scripted import ScriptedBroker, Session
from twbridge.errors import ChannelClosed, ConnectionClosed, EncodeError
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.sidechannel import SideChannel
from twbridge.link.uri import Parameters


def binding(key: str, exchange: str = "e") -> Callable[[Any], Deferred[Any]]:
    """A call that binds."""

    def call(channel: Any) -> Deferred[Any]:
        answer: Deferred[Any] = channel.queue_bind(queue="q", exchange=exchange, routing_key=key)
        return answer

    return call


class SideChannelTests(SynchronousTestCase):
    """Synchronous methods, pipelined on a channel of their own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        parameters = Parameters(heartbeat=0)
        factory = ConnectionFactory(self.clock, parameters, "side")
        connected = self.broker.endpoint(parameters, "one", 5672).connect(factory)
        connection: Any = self.successResultOf(connected)
        self.connection: Connection = connection
        login = Deferred.fromCoroutine(self.connection.login())
        self.broker.pump()
        self.successResultOf(login)
        self.session: Session = self.broker.sessions[0]
        self.side = SideChannel(self.connection)
        self.addCleanup(self._end)

    def _end(self) -> None:
        self.connection.shutdown()
        self.broker.pump()
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def keys(self) -> list[str]:
        """The routing keys that were bound, in order."""
        self.broker.pump()
        return [method.routing_key for method in self.session.methods(commands.Queue.Bind)]

    def refused(self, deferred: Deferred[Any]) -> ChannelClosed:
        error = self.failureResultOf(deferred, ChannelClosed).value
        assert isinstance(error, ChannelClosed)
        return error

    def test_an_answer_goes_to_its_call(self) -> None:
        def declare(channel: Any) -> Deferred[Any]:
            answer: Deferred[Any] = channel.queue_declare(queue="mine")
            return answer

        bound, declared = self.side.ask(binding("k")), self.side.ask(declare)
        self.assertNoResult(declared)
        self.broker.pump()
        self.assertEqual(self.successResultOf(bound).method.name, "bind-ok")
        self.assertEqual(self.successResultOf(declared).queue, "mine")

    def test_calls_are_pipelined_on_one_channel(self) -> None:
        first = self.side.ask(binding("0"))
        self.broker.pump()
        self.successResultOf(first)
        self.broker.silent = {commands.Queue.Bind}
        rest = [self.side.ask(binding(str(number))) for number in range(1, 50)]
        self.assertEqual(self.keys(), [str(number) for number in range(50)])
        channel = self.session.channel_of(commands.Queue.Bind)
        for done in rest:
            self.assertNoResult(done)
            self.session.send(channel, commands.Queue.BindOk())
            self.successResultOf(done)
        self.assertEqual(len(self.session.methods(commands.Channel.Open)), 1)

    def test_the_oldest_unanswered_fails_alone_and_the_others_are_asked_again(self) -> None:
        self.broker.missing = {"nope"}
        good = [self.side.ask(binding(key)) for key in "ab"]
        bad = self.side.ask(binding("bad", "nope"))
        behind = [self.side.ask(binding(key)) for key in "cd"]
        self.broker.pump()
        self.assertEqual(self.refused(bad).reply_code, 404)
        for done in good + behind:
            self.assertEqual(self.successResultOf(done).method.name, "bind-ok")
        self.assertEqual(self.keys(), ["a", "b", "bad", "c", "d", "c", "d"])
        self.assertEqual(len(self.session.methods(commands.Channel.Open)), 2)

    def test_each_refused_one_is_told(self) -> None:
        self.broker.missing = {"nope"}
        calls = [self.side.ask(binding(str(n), "nope" if n % 2 else "e")) for n in range(8)]
        self.broker.pump()
        for number, done in enumerate(calls):
            if number % 2:
                self.refused(done)
            else:
                self.successResultOf(done)

    def test_who_asks_again_when_refused_is_answered_on_the_same_new_channel(self) -> None:
        self.broker.missing = {"nope"}
        again: list[Deferred[Any]] = []

        def retry(_: object) -> None:
            again.extend((self.side.ask(binding("again")), self.side.ask(binding("x", "nope"))))

        self.side.ask(binding("bad", "nope")).addErrback(retry)
        behind = self.side.ask(binding("behind"))
        self.broker.pump()
        self.successResultOf(behind)
        self.assertEqual(self.successResultOf(again[0]).method.name, "bind-ok")
        self.refused(again[1])
        after = self.side.ask(binding("after"))
        self.broker.pump()
        self.successResultOf(after)
        self.assertEqual(len(self.session.methods(commands.Channel.Open)), 3)

    def test_what_cannot_be_encoded_fails_alone(self) -> None:
        good = self.side.ask(binding("good"))
        bad = self.side.ask(binding("x" * 256))
        more = self.side.ask(binding("more"))
        self.broker.pump()
        self.successResultOf(good)
        self.failureResultOf(bad, EncodeError)
        self.successResultOf(more)
        self.assertEqual(self.keys(), ["good", "more"])

    def test_with_the_connection_all_fail(self) -> None:
        self.broker.silent = {commands.Queue.Bind}
        done = [self.side.ask(binding(key)) for key in "ab"]
        self.broker.pump()
        self.session.drop()
        for each in done:
            self.failureResultOf(each, ConnectionClosed)
        self.failureResultOf(self.side.ask(binding("late")), ConnectionClosed)

    def test_with_the_connection_those_that_wait_for_the_channel_fail_as_well(self) -> None:
        done = self.side.ask(binding("a"))
        self.session.drop()
        self.failureResultOf(done, ConnectionClosed)

    def test_a_channel_that_is_closed_while_nothing_waits_is_opened_again(self) -> None:
        self.side.ask(binding("a"))
        self.broker.pump()
        self.session.close_channel(self.session.channel_of(commands.Queue.Bind), 406, "?")
        done = self.side.ask(binding("b"))
        self.broker.pump()
        self.successResultOf(done)
        self.assertEqual(self.keys(), ["a", "b"])
