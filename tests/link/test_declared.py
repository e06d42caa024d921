"""Exchanges, and queues with their bindings: declared, and declared again."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from tests.link.cases import LinkCase
from twbridge.amqp import Exchange, Queue
from twbridge.errors import ChannelClosed, EncodeError
from twbridge.link.declared import Declared

STREAM = Queue(
    "log",
    durable=True,
    exclusive=False,
    auto_delete=False,
    arguments={"x-queue-type": "stream", "x-max-age": "7D"},
)


class DeclaredTests(LinkCase):
    """``Link.declare``."""

    def asked(self, session: Any) -> list[str]:
        """What was declared and bound, in order."""
        self.broker.pump()
        found = []
        for event in session.heard:
            method = getattr(event, "method", None)
            if isinstance(method, commands.Exchange.Declare):
                found.append(f"exchange {method.exchange}")
            elif isinstance(method, commands.Queue.Declare):
                found.append(f"queue {method.queue}{' passive' * method.passive}")
            elif isinstance(method, commands.Queue.Bind):
                found.append(f"bind {method.queue} {method.exchange} {method.routing_key}")
        return found

    def pumped(self, deferred: Any) -> Any:
        self.broker.pump()
        return deferred

    def refuse(self, kind: type, code: int, text: str) -> None:
        """The broker refuses methods of this kind that are not passive."""
        refusals = self.broker.refusals

        def refuse(method: Any) -> tuple[int, str] | None:
            if isinstance(method, kind) and not getattr(method, "passive", False):
                return code, text
            return refusals(method)

        self.broker.refusals = refuse  # type: ignore[method-assign]

    def restart(self) -> None:
        for session in self.broker.alive:
            session.drop()
        self.pass_time(5)

    def test_a_queue_is_declared_as_it_was_asked_for_then_bound(self) -> None:
        link = self.link()
        done = link.declare(STREAM, [("amq.topic", "a.#"), ("x", "")])
        self.assertNoResult(done)
        self.assertIsNone(self.successResultOf(self.pumped(done)))
        self.assertEqual(
            self.asked(self.publishing),
            ["queue log", "bind log amq.topic a.#", "bind log x "],
        )
        [declare] = self.publishing.methods(commands.Queue.Declare)
        self.assertEqual(
            (declare.durable, declare.exclusive, declare.auto_delete, declare.passive),
            (True, False, False, False),
        )
        self.assertEqual(declare.arguments, STREAM.arguments)

    def test_a_binding_may_have_arguments(self) -> None:
        link = self.link()
        link.declare(STREAM, [("headers", "", {"x-match": "all", "a": 1}), ("e", "k")])
        self.broker.pump()
        found = [each.arguments for each in self.publishing.methods(commands.Queue.Bind)]
        self.assertEqual(found, [{"x-match": "all", "a": 1}, {}])

    def test_both_connections_have_it_before_anything_is_consumed_or_published(self) -> None:
        link = self.link()
        link.declare(STREAM, [("amq.topic", "a")])
        link.declare(Exchange("e"))
        self.restart()
        wanted = ["queue log", "bind log amq.topic a", "exchange e"]
        self.assertEqual(self.asked(self.publishing), wanted)
        self.assertEqual(self.asked(self.consuming), wanted)
        self.assertEqual(link.state, "ready")

    def test_what_is_declared_twice_is_declared_as_the_second_says(self) -> None:
        link = self.link(start=False)
        link.declare(STREAM, [("x", "a")])
        link.declare(STREAM, [("x", "b")])
        link.declare(Exchange("log"))
        link.start()
        self.broker.pump()
        self.assertEqual(self.asked(self.publishing), ["queue log", "bind log x b", "exchange log"])

    def test_one_that_exists_otherwise_is_used_and_bound_as_it_is(self) -> None:
        self.refuse(commands.Queue.Declare, 406, "PRECONDITION_FAILED - inequivalent arg")
        link = self.link()
        done = self.pumped(link.declare(STREAM, [("x", "a")]))
        self.assertEqual(self.failed(done, ChannelClosed).reply_code, 406)
        self.assertEqual(self.asked(self.publishing)[-1], "bind log x a")
        self.restart()
        wanted = ["queue log passive", "bind log x a"]
        self.assertEqual(self.asked(self.publishing), wanted)
        self.assertEqual(self.asked(self.consuming), wanted)

    def test_the_same_where_it_is_found_so_after_a_reconnect(self) -> None:
        self.refuse(commands.Queue.Declare, 406, "PRECONDITION_FAILED - inequivalent arg")
        link = self.link(start=False)
        link.declare(STREAM, [("x", "a")])
        link.start()
        self.broker.pump()
        self.assertEqual(link.state, "ready")
        self.assertIn("bind log x a", self.asked(self.publishing))
        self.restart()
        self.assertEqual(self.asked(self.publishing), ["queue log passive", "bind log x a"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_binding_that_is_refused_is_told_and_all_of_it_forgotten(self) -> None:
        self.broker.missing = {"nope"}
        link = self.link()
        done = self.pumped(link.declare(STREAM, [("nope", "a"), ("x", "b")]))
        self.assertEqual(self.failed(done, ChannelClosed).reply_code, 404)
        self.assertIn("bind log x b", self.asked(self.publishing))
        self.restart()
        self.assertEqual(self.asked(self.publishing), [])

    def test_a_binding_that_is_refused_after_a_reconnect_keeps_nothing_down(self) -> None:
        link = self.link()
        self.successResultOf(self.pumped(link.declare(STREAM, [("x", "a")])))
        self.broker.missing = {"x"}
        self.restart()
        self.assertEqual(link.state, "ready")
        self.broker.missing = set()
        self.restart()
        self.assertIn("bind log x a", self.asked(self.publishing))

    def test_lost_while_it_is_declared_it_is_declared_with_the_link(self) -> None:
        link = self.link()
        self.broker.silent = {commands.Queue.DeclareOk, commands.Queue.BindOk}
        done = self.pumped(link.declare(STREAM, [("x", "a")]))
        self.broker.silent = set()
        self.publishing.drop()
        self.assertIsNone(self.successResultOf(done))
        self.pass_time(5)
        self.assertEqual(self.asked(self.publishing), ["queue log", "bind log x a"])

    def test_what_can_not_be_encoded_fails_its_caller_only(self) -> None:
        link = self.link()
        for bindings in ([("x" * 256, "a")], [("x", "a" * 256)]):
            self.failed(self.pumped(link.declare(STREAM, bindings)), EncodeError)
        self.assertEqual(link.state, "ready")


class AsItIsTests(LinkCase):
    """What a refusal is followed by."""

    def test_only_a_queue_that_exists_otherwise_is_looked_for_as_it_is(self) -> None:
        otherwise = ChannelClosed(406, "PRECONDITION_FAILED")
        queue = Declared(STREAM, (("x", "a"),))
        found = queue.as_it_is(otherwise)
        assert found is not None
        self.assertEqual((found.what.passive, found.bindings), (True, (("x", "a"),)))
        self.assertEqual(found.key, queue.key)
        self.assertIsNone(found.as_it_is(otherwise))
        self.assertIsNone(queue.as_it_is(ChannelClosed(404, "NOT_FOUND")))
        self.assertIsNone(queue.as_it_is(EncodeError("too long")))
        self.assertIsNone(queue.as_it_is(None))
        self.assertIsNone(Declared(Exchange("e")).as_it_is(otherwise))

    def test_it_is_named_in_words(self) -> None:
        self.assertEqual(str(Declared(STREAM)), "the queue log")
        self.assertEqual(str(Declared(Exchange("e"))), "the exchange e")
