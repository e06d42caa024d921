"""Queues that are declared for what is published to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink
from tests.session_case import Allow, SessionCase
from twbridge import publishes
from twbridge.commands import Publish
from twbridge.destinations import parse
from twbridge.errors import ChannelClosed, Forbidden, Nacked, Unroutable
from twbridge.link.topology import Queue
from twbridge.policy import Peer
from twbridge.publishes import Declarer, publish

MISSING = ChannelClosed(404, "NOT_FOUND")
UNROUTABLE = Unroutable(312, "NO_ROUTE")


def queue(name: str = "jobs", **arguments: Any) -> Queue:
    return Queue(name, durable=True, exclusive=False, auto_delete=False, arguments=arguments)


class DeclarerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.declarer = Declarer(self.link)

    def ensure(self, name: str = "jobs") -> Deferred[None]:
        declaration = self.declarer.ensure(queue(name))
        return succeed(None) if declaration is None else declaration.wait()

    @property
    def declared(self) -> list[tuple[str, bool]]:
        """Names, and whether they were only looked for; since the last look."""
        found = [
            (each.name, each.passive) for each in self.link.declared if isinstance(each, Queue)
        ]
        self.link.declared.clear()
        return found

    def test_one_that_exists_is_used_as_it_is(self) -> None:
        self.successResultOf(self.ensure())
        self.assertEqual(self.declared, [("jobs", True)])
        self.assertEqual(self.link.remembered, [False])

    def test_one_that_is_missing_is_made(self) -> None:
        self.link.declare_errors = [MISSING]
        self.successResultOf(self.ensure())
        self.assertEqual(self.declared, [("jobs", True), ("jobs", False)])

    def test_one_that_somebody_makes_meanwhile_is_used_as_it_is(self) -> None:
        for code in (405, 406):
            self.link.declare_errors = [MISSING, ChannelClosed(code, "")]
            self.successResultOf(self.ensure(str(code)))

    def test_a_refusal_is_told_and_not_remembered(self) -> None:
        self.link.declare_errors = [ChannelClosed(403, "")]
        self.failureResultOf(self.ensure(), ChannelClosed)
        self.successResultOf(self.ensure())
        self.assertEqual(len(self.declared), 2)
        self.link.held = True
        waiting = [self.ensure("late"), self.ensure("late")]
        self.link.declaring[-1].errback(ChannelClosed(403, ""))
        for each in waiting:
            self.failureResultOf(each, ChannelClosed)
        self.ensure("late")
        self.assertEqual(len(self.declared), 2)

    def test_it_is_declared_once_and_all_wait_for_that(self) -> None:
        self.link.held = True
        waiting = [self.ensure() for _ in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        self.link.release()
        for each in (*waiting, self.ensure()):
            self.successResultOf(each)
        self.assertEqual(len(self.declared), 1)

    def test_of_those_that_are_there_the_latest_used_are_known(self) -> None:
        self.patch(publishes, "KNOWN", 2)
        for name in ("a", "b", "a", "c"):
            self.ensure(name)
        self.assertEqual([name for name, _ in self.declared], ["a", "b", "c"])
        self.ensure("a")
        self.assertEqual(self.declared, [])
        self.ensure("b")
        self.assertEqual(self.declared, [("b", True)])

    def test_after_a_loss_of_the_link_nothing_is_known(self) -> None:
        self.ensure()
        for state in ("blocked", "ready"):
            self.link.become(state)
            self.ensure()
        self.assertEqual(len(self.declared), 1)
        self.link.become("connecting")
        self.successResultOf(self.ensure())
        self.assertEqual(self.declared, [])
        self.link.become("ready")
        self.ensure()
        self.assertEqual(len(self.declared), 1)

    def test_one_that_is_forgotten_is_declared_again(self) -> None:
        self.declarer.forget(queue("never seen"), None)
        first = self.declarer.ensure(queue())
        self.declarer.forget(queue(), first)
        self.ensure()
        self.assertEqual(len(self.declared), 2)

    def test_only_what_was_used_is_forgotten(self) -> None:
        first = self.declarer.ensure(queue())
        self.declarer.forget(queue(), first)
        self.link.held = True
        running = self.declarer.ensure(queue())
        for late in (first, None):
            self.declarer.forget(queue(), late)
        self.assertIs(self.declarer.ensure(queue()), running)
        self.assertEqual(len(self.declared), 2)

    def test_it_lets_the_link_go(self) -> None:
        self.declarer.stop()
        self.assertEqual(self.link.listeners, 0)


class DeclaringTests(SessionCase):
    """Publishes that declare."""

    def send(self, **more: Any) -> Deferred[None]:
        return self.ask_for(parse("/queue/jobs"), declare=queue(), **more)

    def ask_for(self, destination: Any, **more: Any) -> Deferred[None]:
        command = Publish(None, destination, b"", {}, **more)
        return publish(command, Peer(None, True, "x"), self.services, False)

    def test_first_the_queue_then_the_message(self) -> None:
        self.link.held = True
        sent = self.send()
        self.assertEqual((len(self.link.declared), self.link.published), (1, []))
        self.link.release()
        (published,) = self.link.published
        self.assertEqual((published.routing_key, published.mandatory), ("jobs", True))
        self.assertNoResult(sent)
        published.answer.callback(None)
        self.successResultOf(sent)

    def test_where_the_queue_is_refused_nothing_is_sent(self) -> None:
        self.link.declare_errors = [ChannelClosed(403, "")]
        self.failureResultOf(self.send(), ChannelClosed)
        self.assertEqual(self.link.published, [])

    def test_where_it_was_deleted_since_it_is_made_again_once(self) -> None:
        self.send()
        sent = self.send()
        self.assertEqual(len(self.link.declared), 1)
        self.link.declare_errors = [MISSING]
        self.link.published[1].answer.errback(UNROUTABLE)
        self.assertEqual(len(self.link.declared), 3)
        self.assertEqual(len(self.link.published), 3)
        self.link.published[2].answer.callback(None)
        self.successResultOf(sent)

    def test_all_that_were_unroutable_wait_for_one_declaration(self) -> None:
        self.send()
        for _ in range(3):
            self.send()
        self.link.declared.clear()
        self.link.held = True
        for number in range(1, 4):
            self.link.published[number].answer.errback(UNROUTABLE)
        self.assertEqual((len(self.link.declared), len(self.link.published)), (1, 4))
        self.link.release()
        self.assertEqual((len(self.link.declared), len(self.link.published)), (1, 7))

    def test_unroutable_twice_is_told(self) -> None:
        sent = self.send()
        for number in range(2):
            self.assertNoResult(sent)
            self.link.published[number].answer.errback(UNROUTABLE)
        self.failureResultOf(sent, Unroutable)
        self.assertEqual(len(self.link.published), 2)

    def test_any_other_failure_is_told_at_once(self) -> None:
        sent = self.send()
        self.link.published[0].answer.errback(Nacked())
        self.failureResultOf(sent, Nacked)
        self.assertEqual(len(self.link.declared), 1)

    def test_while_the_link_is_down_the_message_waits_for_it(self) -> None:
        self.link.become("connecting")
        self.send()
        self.assertEqual((self.link.declared, len(self.link.published)), ([], 1))
        self.link.become("ready")
        self.link.published[0].answer.errback(UNROUTABLE)
        self.assertEqual((len(self.link.declared), len(self.link.published)), (1, 2))


class DeadLetterTests(SessionCase):
    rules = (Allow("publish", "/queue/jobs"),)

    def test_a_queue_does_not_send_where_its_publisher_may_not(self) -> None:
        declare = queue(**{"x-dead-letter-exchange": "secret"})
        command = Publish(None, parse("/queue/jobs"), b"", {}, declare=declare)
        peer = Peer(None, True, "x")
        self.assertRaises(Forbidden, publish, command, peer, self.services, False)
        self.assertEqual(self.link.declared, [])
