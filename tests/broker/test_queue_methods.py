"""Queues: declaring, binding, deleting, and the words of every refusal (RabbitMQ 3.10's)."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client

DEFAULT = "channel.close 403 ACCESS_REFUSED - operation not permitted on the default exchange"


def refused(text: str, code: int = 406) -> list[str]:
    return [f"channel.close {code} {text}"]


def inequivalent(what: str, difference: str) -> list[str]:
    return refused(f"PRECONDITION_FAILED - inequivalent arg {what} in vhost '/': {difference}")


class QueueDeclareTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)

    def declare(self, name: str = "q", **properties: Any) -> list[str]:
        client = self.client
        if client.connection.channels[1].closing:
            client.call(commands.Channel.CloseOk())
            client.call(commands.Channel.Open())
        return client.call(commands.Queue.Declare(queue=name, **properties))

    def test_it_answers_with_counts(self) -> None:
        self.declare()
        self.client.publish("", "q")
        self.client.publish("", "q")
        self.assertEqual(self.declare(), ["queue.declareok q 2 0"])
        self.client.consume("q")
        self.assertEqual(self.declare(passive=True), ["queue.declareok q 0 1"])

    def test_an_empty_name_makes_one_and_then_stands_for_it(self) -> None:
        (line,) = self.declare("", exclusive=True)
        self.assertRegex(line, r"^queue\.declareok amq\.gen-[\w-]{22} 0 0$")
        self.client.call(commands.Queue.Bind(queue="", exchange="amq.topic", routing_key="a"))
        self.client.publish("amq.topic", "a", b"1")
        self.assertEqual(self.client.call(commands.Basic.Get(queue="")), ["basic.getok a 1"])
        self.assertEqual(
            self.client.call(commands.Basic.Get(queue=""), 2),
            refused("NOT_FOUND - no previously declared queue", 404),
        )

    def test_two_empty_names_bind_with_the_queue_s_own(self) -> None:
        name = self.client.queue("")
        self.client.call(commands.Queue.Bind(queue="", exchange="amq.topic", routing_key=""))
        self.client.publish("amq.topic", name)
        self.assertEqual(self.client.vhost.queues[name].message_count, 1)
        self.client.call(commands.Queue.Unbind(queue="", exchange="amq.topic", routing_key=""))
        self.client.publish("amq.topic", name)
        self.assertEqual(self.client.vhost.queues[name].message_count, 1)

    def test_declaring_it_otherwise_is_refused(self) -> None:
        self.declare(auto_delete=True, arguments={"x-max-length": 3, "x-other": 1})
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"durable": True}, "durable", "received 'true' but current is 'false'"),
            ({"auto_delete": False}, "auto_delete", "received 'false' but current is 'true'"),
            (
                {"arguments": {"x-max-length": 4}},
                "x-max-length",
                "received '4' but current is '3'",
            ),
            (
                {"arguments": {}},
                "x-max-length",
                "received none but current is the value '3' of type 'signedint'",
            ),
            (
                {"arguments": {"x-max-length": 3, "x-overflow": "drop-head"}},
                "x-overflow",
                "received the value 'drop-head' of type 'longstr' but current is none",
            ),
        ]
        for changed, what, difference in cases:
            properties = {"auto_delete": True, "arguments": {"x-max-length": 3}, **changed}
            self.assertEqual(
                self.declare(**properties), inequivalent(f"'{what}' for queue 'q'", difference)
            )
        alike = {"x-max-length": 3, "x-queue-type": "classic", "x-other": 2}
        self.assertEqual(self.declare(auto_delete=True, arguments=alike), ["queue.declareok q 0 0"])

    def test_bad_arguments_are_named(self) -> None:
        for arguments, problem in [
            (
                {"x-max-length": -1},
                "'x-max-length' for queue 'q' in vhost '/': {value_negative,-1}",
            ),
            (
                {"x-max-length-bytes": "1"},
                "'x-max-length-bytes' for queue 'q' in vhost '/': "
                '"expected integer, got longstr"',
            ),
            (
                {"x-max-length": True},
                "'x-max-length' for queue 'q' in vhost '/': \"expected integer, got bool\"",
            ),
            (
                {"x-queue-type": 1},
                "'x-queue-type' for queue 'q' in vhost '/': {unacceptable_type,signedint}",
            ),
            (
                {"x-dead-letter-routing-key": "k"},
                "'x-dead-letter-routing-key' for queue 'q' in vhost '/': "
                "routing_key_but_no_dlx_defined",
            ),
            ({"x-overflow": "odd"}, "'x-overflow' for queue 'q' in vhost '/': invalid_overflow"),
            (
                {"x-overflow": 1},
                "'x-overflow' for queue 'q' in vhost '/': {unacceptable_type,signedint}",
            ),
            (
                {"x-queue-type": "odd"},
                "'x-queue-type' for queue 'q' in vhost '/': \"unsupported queue type 'odd'\"",
            ),
        ]:
            self.assertEqual(
                self.declare(arguments=arguments),
                refused(f"PRECONDITION_FAILED - invalid arg {problem}"),
            )
        self.assertNotIn("q", self.client.vhost.queues)

    def test_what_this_broker_can_not_do_is_refused_and_not_ignored(self) -> None:
        for arguments, what in [
            ({"x-single-active-consumer": True}, "'x-single-active-consumer'"),
            ({"x-cancel-on-ha-failover": True}, "'x-cancel-on-ha-failover'"),
            ({"x-consumer-timeout": 1000}, "'x-consumer-timeout'"),
            (
                {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once"},
                "'x-dead-letter-strategy' with the value 'at-least-once'",
            ),
        ]:
            self.assertEqual(
                self.declare(durable=True, arguments=arguments),
                refused(
                    "PRECONDITION_FAILED - the embedded broker does not support the queue "
                    f"argument {what}"
                ),
            )

    def test_reserved_and_missing_names(self) -> None:
        self.assertEqual(
            self.declare("amq.q"),
            refused("ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'", 403),
        )
        self.assertEqual(
            self.declare("no", passive=True),
            refused("NOT_FOUND - no queue 'no' in vhost '/'", 404),
        )

    def test_any_utf8_name_will_do(self) -> None:
        name = "schlange / \u86c7 'x'"
        declare = commands.Queue.Declare()
        declare.queue = name  # pamqp's constructor would refuse it
        self.assertEqual(self.client.call(declare), [f"queue.declareok {name} 0 0"])


class ExclusiveQueueTests(SynchronousTestCase):
    LOCKED = (
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It "
        "could be originally declared on another connection or the exclusive property value does "
        "not match that of the original declaration."
    )

    def test_only_its_own_connection_may_use_it(self) -> None:
        owner = Client()
        owner.queue("mine", exclusive=True)
        for method in (
            commands.Queue.Declare(queue="mine", exclusive=True),
            commands.Queue.Declare(queue="mine", passive=True),
            commands.Queue.Bind(queue="mine", exchange="amq.topic"),
            commands.Queue.Unbind(queue="mine", exchange="amq.topic"),
            commands.Queue.Purge(queue="mine"),
            commands.Queue.Delete(queue="mine"),
            commands.Basic.Consume(queue="mine"),
            commands.Basic.Get(queue="mine"),
        ):
            other = Client(owner.vhost)
            self.assertEqual(other.call(method), refused(self.LOCKED, 405), method)
        Client(owner.vhost).publish("", "mine", b"from anyone")
        self.assertEqual(
            owner.call(commands.Basic.Get(queue="mine")), ["basic.getok mine from anyone"]
        )

    def test_it_is_not_declared_again_without_the_mark_nor_with_it(self) -> None:
        owner = Client(channels=2)
        owner.queue("mine", exclusive=True)
        owner.queue("ours")
        again = commands.Queue.Declare(queue="mine")
        self.assertEqual(owner.call(again), refused(self.LOCKED, 405))
        again = commands.Queue.Declare(queue="ours", exclusive=True)
        self.assertEqual(owner.call(again, 2), refused(self.LOCKED.replace("mine", "ours"), 405))

    def test_durable_says_nothing_beside_exclusive(self) -> None:
        owner = Client()
        owner.queue("mine", exclusive=True, durable=True)
        again = commands.Queue.Declare(queue="mine", exclusive=True)
        self.assertEqual(owner.call(again), ["queue.declareok mine 0 0"])

    def test_it_goes_with_its_connection(self) -> None:
        owner = Client()
        owner.queue("mine", exclusive=True)
        owner.queue("ours", durable=True)
        owner.publish("", "mine")
        owner.connection.lost()
        self.assertEqual(list(owner.vhost.queues), ["ours"])
        self.assertEqual(owner.vhost.memory.used, 0)


class QueueBindingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=3)
        self.client.queue("q")

    def test_binding_checks_both_ends(self) -> None:
        bind = commands.Queue.Bind
        self.assertEqual(
            self.client.call(bind(queue="q", exchange="no")),
            refused("NOT_FOUND - no exchange 'no' in vhost '/'", 404),
        )
        self.assertEqual(
            self.client.call(bind(queue="no", exchange="amq.topic"), 2),
            refused("NOT_FOUND - no queue 'no' in vhost '/'", 404),
        )
        self.assertEqual(self.client.call(bind(queue="q", exchange=""), 3), [DEFAULT])

    def test_unbinding_what_is_not_there_is_fine(self) -> None:
        unbind = commands.Queue.Unbind
        for queue, exchange in (("q", "amq.topic"), ("q", "no"), ("no", "amq.topic")):
            self.assertEqual(
                self.client.call(unbind(queue=queue, exchange=exchange, routing_key="a")),
                ["queue.unbindok"],
            )
        self.assertEqual(
            self.client.call(unbind(queue="q", exchange="", routing_key="q")), [DEFAULT]
        )

    def test_x_match_is_checked_on_headers_exchanges_only(self) -> None:
        cases: list[tuple[Any, str]] = [
            (
                "odd",
                'Invalid x-match field value <<"odd">>; expected all, any, all-with-x, '
                "or any-with-x",
            ),
            (1, "Invalid x-match field type signedint (value 1); expected longstr"),
        ]
        for value, text in cases:
            client = Client()
            client.queue("q")
            arguments = {"x-match": value}
            bind = commands.Queue.Bind(queue="q", exchange="amq.topic", arguments=arguments)
            self.assertEqual(client.call(bind), ["queue.bindok"])
            bind = commands.Queue.Bind(queue="q", exchange="amq.headers", arguments=arguments)
            self.assertEqual(client.call(bind), refused(f"PRECONDITION_FAILED - {text}"))


class QueueDeleteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client(channels=2)
        self.client.queue("q")

    def test_it_answers_how_many_waited(self) -> None:
        self.client.publish("", "q")
        self.assertEqual(self.client.call(commands.Queue.Delete(queue="q")), ["queue.deleteok 1"])
        self.assertEqual(self.client.call(commands.Queue.Delete(queue="q")), ["queue.deleteok 0"])

    def test_if_empty_and_if_unused_are_conditions(self) -> None:
        self.client.publish("", "q")
        delete = commands.Queue.Delete
        self.assertEqual(
            self.client.call(delete(queue="q", if_empty=True)),
            refused("PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"),
        )
        self.client.call(commands.Channel.CloseOk())
        self.client.call(commands.Channel.Open())
        self.client.consume("q")
        self.assertEqual(
            self.client.call(delete(queue="q", if_unused=True), 2),
            refused("PRECONDITION_FAILED - queue 'q' in vhost '/' in use"),
        )

    def test_consumers_of_all_connections_are_told(self) -> None:
        other = Client(self.client.vhost)
        silent = Client(self.client.vhost, capabilities={})
        for client in (self.client, other, silent):
            client.consume("q", "c")
        self.assertEqual(
            self.client.call(commands.Queue.Delete(queue="q")),
            ["queue.deleteok 0", "basic.cancel c True"],
        )
        self.assertEqual(other.seen(), ["basic.cancel c True"])
        self.assertEqual(silent.seen(), [])
        self.assertEqual(other.connection.channels[1].consumers, {})

    def test_purge_answers_how_many_waited(self) -> None:
        self.client.publish("", "q")
        self.client.publish("", "q")
        self.assertEqual(self.client.call(commands.Queue.Purge(queue="q")), ["queue.purgeok 2"])

    def test_an_auto_delete_queue_goes_with_its_last_consumer(self) -> None:
        self.client.queue("a", auto_delete=True)
        self.client.consume("a", "1")
        self.client.consume("a", "2")
        self.client.call(commands.Basic.Cancel(consumer_tag="1"))
        self.assertIn("a", self.client.vhost.queues)
        self.client.call(commands.Channel.Close(200, "", 0, 0))
        self.assertNotIn("a", self.client.vhost.queues)
