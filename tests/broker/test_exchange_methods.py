"""Exchanges: declaring, binding, deleting, and the words of every refusal (RabbitMQ 3.10's)."""

from __future__ import annotations

from typing import Any

from pamqp import base, commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client

Declare = commands.Exchange.Declare
DEFAULT = "channel.close 403 ACCESS_REFUSED - operation not permitted on the default exchange"


def refused(text: str, code: int = 406) -> list[str]:
    return [f"channel.close {code} {text}"]


def inequivalent(what: str, difference: str) -> list[str]:
    return refused(f"PRECONDITION_FAILED - inequivalent arg {what} in vhost '/': {difference}")


class ExchangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()

    def call(self, method: base.Frame) -> list[str]:
        """On a channel that is made anew when the last call closed it."""
        client = self.client
        if client.connection.channels[1].closing:
            client.call(commands.Channel.CloseOk())
            client.call(commands.Channel.Open())
        return client.call(method)

    def test_declaring_twice_alike_is_fine(self) -> None:
        for _ in range(2):
            self.assertEqual(
                self.call(Declare(exchange="x", exchange_type="topic", durable=True)),
                ["exchange.declareok"],
            )
        self.assertEqual(
            self.call(Declare(exchange="x", exchange_type="fanout", passive=True)),
            ["exchange.declareok"],
        )

    def test_declaring_it_otherwise_is_refused(self) -> None:
        self.call(Declare(exchange="x"))
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"exchange_type": "fanout"}, "type", "received 'fanout' but current is 'direct'"),
            ({"durable": True}, "durable", "received 'true' but current is 'false'"),
            ({"auto_delete": True}, "auto_delete", "received 'true' but current is 'false'"),
            ({"internal": True}, "internal", "received 'true' but current is 'false'"),
            (
                {"arguments": {"alternate-exchange": "y"}},
                "alternate-exchange",
                "received the value 'y' of type 'longstr' but current is none",
            ),
        ]
        for changed, what, difference in cases:
            self.assertEqual(
                self.call(Declare(exchange="x", **changed)),
                inequivalent(f"'{what}' for exchange 'x'", difference),
            )

    def test_unknown_arguments_are_not_compared(self) -> None:
        self.call(Declare(exchange="x", arguments={"a": 1}))
        self.assertEqual(
            self.call(Declare(exchange="x", arguments={"a": 2})), ["exchange.declareok"]
        )

    def test_what_is_predefined_or_reserved_stays_so(self) -> None:
        for kind in ("direct", "fanout", "topic", "headers"):
            self.assertEqual(
                self.call(Declare(exchange=f"amq.{kind}", exchange_type=kind, durable=True)),
                ["exchange.declareok"],
            )
        self.assertEqual(
            self.call(Declare(exchange="amq.new")),
            refused(
                "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'", 403
            ),
        )
        self.assertEqual(
            self.call(commands.Exchange.Delete(exchange="amq.topic")),
            refused(
                "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
                403,
            ),
        )
        for method in (
            Declare(exchange=""),
            Declare(exchange="", passive=True),
            commands.Exchange.Delete(exchange=""),
            commands.Exchange.Bind(destination="", source="amq.topic"),
            commands.Exchange.Bind(destination="amq.topic", source=""),
            commands.Exchange.Unbind(destination="", source="amq.topic"),
            commands.Exchange.Unbind(destination="amq.topic", source=""),
        ):
            self.assertEqual(self.call(method), [DEFAULT], method)

    def test_bad_arguments_are_named(self) -> None:
        self.assertEqual(
            self.call(Declare(exchange="x", arguments={"alternate-exchange": 3})),
            refused(
                "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in "
                "exchange 'x' in vhost '/'"
            ),
        )
        self.assertEqual(
            self.call(Declare(exchange="x", exchange_type="odd")),
            ["connection.close 503 COMMAND_INVALID - unknown exchange type 'odd'"],
        )

    def test_a_missing_exchange_is_not_found(self) -> None:
        missing = refused("NOT_FOUND - no exchange 'no' in vhost '/'", 404)
        self.assertEqual(self.call(Declare(exchange="no", passive=True)), missing)
        self.assertEqual(
            self.call(commands.Exchange.Bind(destination="no", source="amq.topic")), missing
        )
        self.assertEqual(
            self.call(commands.Exchange.Bind(destination="amq.topic", source="no")), missing
        )

    def test_deleting_and_unbinding_what_is_not_there_is_fine(self) -> None:
        self.assertEqual(self.call(commands.Exchange.Delete(exchange="no")), ["exchange.deleteok"])
        self.assertEqual(
            self.call(commands.Exchange.Unbind(destination="no", source="amq.topic")),
            ["exchange.unbindok"],
        )
        self.assertEqual(
            self.call(commands.Exchange.Unbind(destination="amq.topic", source="amq.fanout")),
            ["exchange.unbindok"],
        )

    def test_if_unused_keeps_an_exchange_with_bindings(self) -> None:
        self.call(Declare(exchange="x"))
        self.call(commands.Exchange.Bind(destination="amq.topic", source="x", routing_key="a"))
        delete = commands.Exchange.Delete(exchange="x", if_unused=True)
        self.assertEqual(
            self.call(delete), refused("PRECONDITION_FAILED - exchange 'x' in vhost '/' in use")
        )
        self.call(commands.Exchange.Unbind(destination="amq.topic", source="x", routing_key="a"))
        self.assertEqual(self.call(delete), ["exchange.deleteok"])
        self.assertNotIn("x", self.client.vhost.exchanges)

    def test_an_auto_delete_exchange_goes_with_its_last_binding(self) -> None:
        self.call(Declare(exchange="x", auto_delete=True))
        self.client.queue("q")
        self.call(commands.Queue.Bind(queue="q", exchange="x", routing_key="a"))
        self.call(commands.Queue.Bind(queue="q", exchange="x", routing_key="b"))
        self.call(commands.Queue.Unbind(queue="q", exchange="x", routing_key="a"))
        self.assertIn("x", self.client.vhost.exchanges)
        self.call(commands.Queue.Delete(queue="q"))
        self.assertNotIn("x", self.client.vhost.exchanges)

    def test_deleting_an_exchange_ends_its_bindings_on_both_sides(self) -> None:
        self.call(Declare(exchange="x"))
        self.client.queue("q")
        self.call(commands.Queue.Bind(queue="q", exchange="x", routing_key="a"))
        self.call(commands.Exchange.Bind(destination="x", source="amq.topic", routing_key="a"))
        self.call(commands.Exchange.Delete(exchange="x"))
        self.assertEqual(self.client.vhost.exchanges["amq.topic"].bindings, {})
        self.call(Declare(exchange="x"))
        self.assertEqual(self.client.publish("x", "a", mandatory=True)[0][:12], "basic.return")
        self.call(commands.Queue.Delete(queue="q"))

    def test_no_wait_is_not_answered(self) -> None:
        self.assertEqual(self.call(Declare(exchange="x", nowait=True)), [])
        bind = commands.Exchange.Bind(destination="amq.topic", source="x", nowait=True)
        self.assertEqual(self.call(bind), [])
        self.assertEqual(self.call(commands.Exchange.Delete(exchange="x", nowait=True)), [])
        self.assertNotIn("x", self.client.vhost.exchanges)
