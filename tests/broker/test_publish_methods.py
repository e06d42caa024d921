"""Publishing and confirming, and the methods beside them."""

from __future__ import annotations

from typing import Any

from pamqp import commands
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire

Basic = commands.Basic


def refused(text: str, code: int = 406) -> list[str]:
    return [f"channel.close {code} {text}"]


class PublishTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.client.queue("q")

    def test_the_default_exchange_leads_to_the_queue_of_that_name(self) -> None:
        self.assertEqual(self.client.publish("", "q", b"hello"), [])
        self.assertEqual(self.client.call(Basic.Get(queue="q")), ["basic.getok q hello"])

    def test_properties_and_body_arrive_as_they_were_sent(self) -> None:
        headers = {"a": [1, {"b": None}], "f": 0.1}
        body = bytes(range(256)) * 1000
        self.client.publish("", "q", body, headers=headers, content_type="x/y", priority=3)
        self.client.call(Basic.Get(queue="q"))
        (content,) = self.client.last
        assert isinstance(content, wire.Content)
        self.assertEqual(content.body, body)
        self.assertEqual(
            content.properties, {"content_type": "x/y", "headers": headers, "priority": 3}
        )

    def test_mandatory_comes_back_without_a_queue(self) -> None:
        self.assertEqual(
            self.client.publish("amq.topic", "a", b"hello", mandatory=True, type="t"),
            ["basic.return a hello"],
        )
        (content,) = self.client.last
        assert isinstance(content, wire.Content)
        method = content.method
        self.assertEqual(
            (method.reply_code, method.reply_text, method.exchange), (312, "NO_ROUTE", "amq.topic")
        )
        self.assertEqual(content.properties, {"type": "t"})
        self.assertEqual(self.client.publish("amq.topic", "a"), [])
        self.assertEqual(self.client.publish("", "q", mandatory=True), [])

    def test_cc_and_bcc_lead_on_and_only_cc_is_seen(self) -> None:
        for name in ("cc", "bcc"):
            self.client.queue(name)
        headers = {"CC": ["cc", "q"], "BCC": ["bcc", 7], "other": "x"}
        self.client.publish("", "q", headers=headers, message_id="1")
        for name in ("q", "cc", "bcc"):
            self.client.call(Basic.Get(queue=name))
            (content,) = self.client.last
            assert isinstance(content, wire.Content)
            self.assertEqual(
                content.properties,
                {"headers": {"CC": ["cc", "q"], "other": "x"}, "message_id": "1"},
            )
            self.assertEqual(content.method.message_count, 0)

    def test_the_headers_exchange_sees_headers_without_bcc(self) -> None:
        bind = commands.Queue.Bind(
            queue="q", exchange="amq.headers", arguments={"x-match": "any", "a": 1, "BCC": None}
        )
        self.client.call(bind)
        self.client.publish("amq.headers", headers={"BCC": []})
        self.client.publish("amq.headers", headers={"a": 1})
        self.assertEqual(self.client.vhost.queues["q"].message_count, 1)

    def test_what_is_wrong_with_it_closes_the_channel(self) -> None:
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"exchange": "no"}, 404, "NOT_FOUND - no exchange 'no' in vhost '/'"),
            (
                {"headers": {"CC": "a"}},
                406,
                'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}',
            ),
            (
                {"expiration": "soon"},
                406,
                "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
            ),
            (
                {"user_id": "eve"},
                406,
                "PRECONDITION_FAILED - user_id property set to 'eve' but authenticated user was "
                "'guest'",
            ),
            (
                {"reply_to": "amq.rabbitmq.reply-to"},
                406,
                "PRECONDITION_FAILED - fast reply consumer does not exist",
            ),
            (
                {"delivery_mode": 5},
                406,
                "PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,5}",
            ),
        ]
        for properties, code, text in cases:
            self.assertEqual(Client().publish(**properties), refused(text, code))

    def test_an_expiration_is_a_number(self) -> None:
        for expiration, problem in [
            ("", "no_integer"),
            ("-1", "{value_negative,-1}"),
            ("1.5", '{leftover_string,".5"}'),
        ]:
            self.assertEqual(
                Client().publish("", "q", expiration=expiration),
                refused(f"PRECONDITION_FAILED - invalid expiration '{expiration}': {problem}"),
            )

    def test_what_is_right_does_not(self) -> None:
        self.assertEqual(
            self.client.publish("", "q", expiration="60", user_id="guest", delivery_mode=2), []
        )

    def test_an_internal_exchange_is_not_published_to(self) -> None:
        self.client.call(commands.Exchange.Declare(exchange="x", internal=True))
        self.assertEqual(
            self.client.publish("x"),
            refused("ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'", 403),
        )

    def test_a_key_that_is_not_utf8_is_not_so_long_that_nobody_can_be_told(self) -> None:
        bind = commands.Queue.Bind(queue="q", exchange="amq.fanout")
        self.client.call(bind)
        frames = wire.publish_frames(1, "amq.fanout", "k" * 255, b"\0\0", b"x", False, 0)
        self.assertEqual(
            self.client.send(frames.replace(b"k" * 255, b"\xff" * 255)),
            ["connection.close 502 SYNTAX_ERROR - a name that is not UTF-8 is too long"],
        )
        self.assertEqual(self.client.vhost.queues["q"].message_count, 0)

    def test_immediate_is_not_implemented(self) -> None:
        self.assertEqual(
            self.client.publish("", "q", immediate=True),
            ["connection.close 540 NOT_IMPLEMENTED - immediate=true"],
        )

    def test_malformed_properties_close_the_connection(self) -> None:
        method = Basic.Publish(exchange="", routing_key="q")
        lines = self.client.send(wire.content_frames(1, method, b"\xff\xfe\x01", b"", 0))
        self.assertEqual([line[:20] for line in lines], ["connection.close 502"])


class ConfirmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.client.queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        self.assertEqual(self.client.call(commands.Confirm.Select()), ["confirm.selectok"])

    def frames(self, *keys: str, mandatory: bool = False) -> bytes:
        return b"".join(
            wire.publish_frames(1, "", key, b"\0\0", b"x", mandatory, 0) for key in keys
        )

    def test_every_publish_is_answered_in_order(self) -> None:
        self.assertEqual(self.client.publish("", "q"), ["ack 1"])
        self.assertEqual(self.client.publish("", "nobody"), ["ack 2"])

    def test_a_full_queue_that_rejects_is_a_nack(self) -> None:
        self.client.publish("", "q")
        self.assertEqual(self.client.publish("", "q"), ["nack 2"])
        self.client.call(Basic.Get(queue="q", no_ack=True))
        self.assertEqual(self.client.publish("", "q"), ["ack 3"])

    def test_the_answers_of_one_read_are_joined(self) -> None:
        sent = self.frames("a", "b", "q", "q", "q", "c", "d", "q")
        self.assertEqual(
            self.client.send(sent),
            ["ack 3 multiple", "nack 5 multiple", "ack 7 multiple", "nack 8"],
        )

    def test_a_return_comes_before_its_ack(self) -> None:
        self.assertEqual(
            self.client.send(self.frames("a", "b", mandatory=True)),
            ["basic.return a x", "basic.return b x", "ack 2 multiple"],
        )

    def test_what_came_before_an_error_is_confirmed(self) -> None:
        bad = wire.publish_frames(1, "no", "", b"\0\0", b"x", False, 0)
        self.assertEqual(
            self.client.send(self.frames("a") + bad + self.frames("b")),
            ["ack 1", "channel.close 404 NOT_FOUND - no exchange 'no' in vhost '/'"],
        )

    def test_selecting_twice_goes_on_counting(self) -> None:
        self.client.publish("", "a")
        self.client.call(commands.Confirm.Select())
        self.assertEqual(self.client.publish("", "a"), ["ack 2"])


class OtherMethodTests(SynchronousTestCase):
    def test_flow_can_be_on_and_not_off(self) -> None:
        self.assertEqual(Client().call(commands.Channel.Flow(active=True)), ["channel.flowok True"])
        self.assertEqual(
            Client().call(commands.Channel.Flow(active=False)),
            ["connection.close 540 NOT_IMPLEMENTED - active=false"],
        )

    def test_there_are_no_transactions(self) -> None:
        for method in (commands.Tx.Select(), commands.Tx.Commit(), commands.Tx.Rollback()):
            self.assertEqual(
                Client().call(method),
                ["connection.close 540 NOT_IMPLEMENTED - the embedded broker has no transactions"],
            )

    def test_what_only_a_broker_sends_is_refused(self) -> None:
        for method in (Basic.GetEmpty(), Basic.ConsumeOk("c"), commands.Connection.Open("/")):
            self.assertEqual(
                Client().call(method),
                ["connection.close 503 COMMAND_INVALID - unimplemented method"],
            )
        sent = wire.content_frames(1, Basic.Return(312, "", "", ""), b"\0\0", b"", 0)
        self.assertEqual(
            Client().send(sent), ["connection.close 503 COMMAND_INVALID - unimplemented method"]
        )
