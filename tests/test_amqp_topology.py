"""The link as a whole: what is declared comes back."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred

from tests.link.cases import LinkCase
from twbridge import amqp
from twbridge.amqp import Exchange, Queue
from twbridge.errors import (
    ChannelClosed,
    EncodeError,
)


class TopologyTests(LinkCase):
    """Exchanges are declared, and declared again."""

    def declared(self, session: Any) -> list[str]:
        self.broker.pump()
        return [
            each.exchange for each in session.methods(commands.Exchange.Declare) if not each.passive
        ]

    def test_it_is_declared_as_it_was_asked_for(self) -> None:
        link = self.link()
        done = link.declare(Exchange("e", "fanout", durable=False, arguments={"x": "y"}))
        self.assertNoResult(done)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        [declare] = self.publishing.methods(commands.Exchange.Declare)
        self.assertEqual((declare.exchange, declare.exchange_type), ("e", "fanout"))
        self.assertEqual(
            (declare.durable, declare.auto_delete, declare.internal, declare.passive),
            (False, False, False, False),
        )
        self.assertEqual(declare.arguments, {"x": "y"})

    def test_before_the_start_it_is_remembered(self) -> None:
        link = self.link(start=False)
        self.assertIsNone(self.successResultOf(link.declare(Exchange("e"))))
        link.start()
        self.broker.pump()
        self.assertEqual(self.declared(self.publishing), ["e"])

    def test_while_only_the_consuming_connection_is_up_it_is_declared_there(self) -> None:
        link = self.link()
        self.publishing.drop()
        done = link.declare(Exchange("e"))
        self.assertNoResult(done)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.declared(self.consuming), ["e"])

    def test_nor_does_one_come_too_late_for_a_connection_that_is_being_prepared(self) -> None:
        link = self.link()
        for session in self.broker.alive:
            session.drop()
        held = link.prepare
        asked: list[Any] = []

        async def prepare(line: Any, connection: Any) -> None:
            preparing = Deferred.fromCoroutine(held(line, connection))
            if not asked:
                asked.append(link.declare(Exchange("late")))
            await preparing

        self.patch(link, "prepare", prepare)
        link.declare(Exchange("early"))
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        self.assertIsNone(self.successResultOf(asked[0]))
        self.assertEqual(self.declared(self.publishing), ["early", "late"])
        self.assertEqual(self.declared(self.consuming), ["early", "late"])

    def test_exchanges_queues_bindings_and_consumers_come_back_after_a_restart(self) -> None:
        link = self.link()
        bodies: list[bytes] = []
        link.declare(Exchange("e"))
        consuming = link.consume(Queue("q"), lambda delivery: bodies.append(delivery.body))
        self.broker.pump()
        self.successResultOf(consuming).bind("e", "a.#")
        self.broker.pump()
        for session in self.broker.alive:
            session.drop()
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        session = self.consuming
        kinds = [
            type(each.method)
            for each in session.heard
            if type(getattr(each, "method", None))
            in (
                commands.Exchange.Declare,
                commands.Queue.Declare,
                commands.Queue.Bind,
                commands.Basic.Consume,
            )
        ]
        self.assertEqual(
            kinds,
            [
                commands.Exchange.Declare,
                commands.Queue.Declare,
                commands.Queue.Bind,
                commands.Basic.Consume,
            ],
        )
        self.assertEqual(self.declared(self.publishing), ["e"])
        [consume] = session.methods(commands.Basic.Consume)
        session.deliver(session.channel_of(commands.Basic.Consume), consume.consumer_tag, 1, b"x")
        self.assertEqual(bodies, [b"x"])

    def test_a_refused_one_fails_with_its_code_and_is_forgotten(self) -> None:
        self.broker.missing = {"nope"}
        link = self.link()
        bad, good = link.declare(Exchange("nope", passive=True)), link.declare(Exchange("e"))
        self.broker.pump()
        self.assertEqual(self.failed(bad, ChannelClosed).reply_code, 404)
        self.assertIsNone(self.successResultOf(good))
        self.broker.missing = set()
        self.publishing.drop()
        self.pass_time(5)
        found = [each.exchange for each in self.publishing.methods(commands.Exchange.Declare)]
        self.assertEqual(found, ["e"])

    def test_one_that_is_not_to_be_remembered_is_declared_once(self) -> None:
        link = self.link()
        done = link.declare(Queue("q", exclusive=False), remember=False)
        lost = link.declare(Queue("lost", exclusive=False), remember=False)
        self.broker.pump()
        self.successResultOf(done)
        self.successResultOf(lost)
        for session in self.broker.alive:
            session.drop()
        # Who declares it now, while the link is down, is not waited for.
        self.successResultOf(link.declare(Queue("late", exclusive=False), remember=False))
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        self.assertEqual(self.publishing.methods(commands.Queue.Declare), [])

    def test_one_that_is_refused_after_a_reconnect_does_not_keep_the_link_down(self) -> None:
        link = self.link()
        link.declare(Exchange("there", passive=True))
        link.declare(Exchange("e"))
        self.broker.pump()
        self.broker.missing = {"there"}
        for session in self.broker.alive:
            session.drop()
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        self.assertEqual(set(self.declared(self.publishing)), {"e"})

    def test_one_that_cannot_be_encoded_fails_its_caller_only(self) -> None:
        link = self.link()
        self.failed(self.pumped(link.declare(Exchange("x" * 256))), EncodeError)
        self.failed(
            self.pumped(link.declare(Exchange("e", arguments={"x": object()}))), EncodeError
        )
        self.assertEqual(link.state, "ready")
        self.publishing.drop()
        self.pass_time(5)
        self.assertEqual(link.state, "ready")

    def pumped(self, deferred: Any) -> Any:
        self.broker.pump()
        return deferred

    def test_past_the_limit_of_a_connection_consumers_get_another(self) -> None:
        self.patch(amqp, "CONSUMERS_PER_LINE", 3)
        link = self.link()
        consumers = [link.consume(Queue(), lambda _: None) for _ in range(7)]
        self.pass_time(1)
        for done in consumers:
            self.successResultOf(done)
        self.assertEqual(link.state, "ready")
        self.assertEqual(
            sorted(len(each.methods(commands.Basic.Consume)) for each in self.broker.alive),
            [0, 1, 3, 3],
        )
        self.assertEqual(self.heard.count("ready"), 1)
