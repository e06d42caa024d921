"""What each frame of a client asks for."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dialects.stomp.speaking import Talk, error
from tests.dialects.stomp.test_headers import UNFILLED
from twbridge import commands
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import Close
from twbridge.dialects.stomp.messages import MessageEncoder
from twbridge.dialects.stomp.requests import address, durable_queue_name
from twbridge.errors import BadDestination
from twbridge.link.topology import Queue
from twbridge.starts import Start


def durable(name: str, auto_delete: bool = False, **arguments: Any) -> Queue:
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    return Queue(name, True, False, auto_delete, named)


class AddressTests(SynchronousTestCase):
    """twbridge's grammar with RabbitMQ's liberties."""

    def test_destinations_are_those_of_all_dialects(self) -> None:
        for text in ("/topic/a.#", "/queue/a%2Fb", "/exchange/e/k", "/amq/queue/q", "/stream/s"):
            self.assertEqual(address(text), parse(text))

    def test_a_bare_name_is_a_queue(self) -> None:
        self.assertEqual(address("jobs"), Destination("queue", "jobs"))
        self.assertRaises(BadDestination, address, "a/b")

    def test_a_percent_that_escapes_nothing_is_one(self) -> None:
        self.assertEqual(address("/queue/100%"), Destination("queue", "100%"))
        self.assertEqual(address("/queue/a%2fb%zz%25"), Destination("queue", "a/b%zz%"))

    def test_the_name_of_a_reply_queue_stands_as_it_is(self) -> None:
        self.assertEqual(address("/reply-queue/a/b%2F"), Destination("reply-queue", "a/b%2F"))
        for text in ("/reply-queue/", "/reply-queue/" + "x" * 256):
            self.assertRaises(BadDestination, address, text)

    def test_a_blank_one_is_refused(self) -> None:
        self.assertRaises(BadDestination, address, "")

    @given(st.text(max_size=30))
    @example("%")
    @settings(deadline=None)
    def test_any_text_is_an_address_or_refused(self, text: str) -> None:
        with contextlib.suppress(BadDestination):
            address(text)


class DurableNameTests(SynchronousTestCase):
    """The queues of durable subscriptions have the names that RabbitMQ gives them."""

    def test_they_are_those_that_rabbitmq_3_10_gave(self) -> None:
        for key, identity, told in (
            ("t.#", "dur1", "iLid0f7f7xKzIli_YjcUZg"),
            ("t.#", "dur2", "i6wmF6QuLJJnSjuF3hNY5w"),
            ("k", "e1", "YmR19WBJy__jO7ijFPC23A"),
            ("d", "du", "yPFy8t6-op7wtKM5uzp_lg"),
            ("é./", "ü", "LwcsevSEcNYPEWTJxzsEvw"),
            ("", "", "F5AIJl-Inmm3V-UVm8kWNA"),
        ):
            self.assertEqual(durable_queue_name(key, identity), f"stomp-subscription-{told}")


class SubscribeTests(SynchronousTestCase):
    """SUBSCRIBE."""

    def subscribe(self, **headers: str) -> commands.Subscribe:
        command = Talk().one("SUBSCRIBE", **headers)
        assert isinstance(command, commands.Subscribe), command
        self.assertIsInstance(command.encoder, MessageEncoder)
        command.encoder = None
        self.assertEqual(command.id, 1)
        command.id = None
        return command

    def test_a_topic(self) -> None:
        self.assertEqual(
            self.subscribe(id="7", destination="/topic/a.#"),
            commands.Subscribe(None, parse("/topic/a.#"), name="T_7"),
        )

    def test_without_an_id_the_destination_is_the_name(self) -> None:
        self.assertEqual(self.subscribe(destination="/topic/a").name, "Q_/topic/a")

    def test_acks_and_prefetch(self) -> None:
        for headers, ack, prefetch in (
            ({}, "auto", None),
            ({"ack": "auto", "prefetch_count": "5"}, "auto", None),
            ({"ack": "client"}, "client", 1000),
            ({"ack": "client-individual", "prefetch_count": "5"}, "client", 5),
            ({"ack": "client", "prefetch_count": "0"}, "client", 1000),
            ({"ack": "client", "prefetch_count": "70000"}, "client", 1000),
        ):
            for destination in ("/topic/a", "/queue/a", "/amq/queue/a"):
                command = self.subscribe(id="1", destination=destination, **headers)
                self.assertEqual((command.ack, command.prefetch), (ack, prefetch))
                self.assertIsNone(command.queue)

    def test_a_durable_subscription_has_rabbitmqs_queue(self) -> None:
        name = "stomp-subscription-i6wmF6QuLJJnSjuF3hNY5w"
        base = {"id": "dur2", "destination": "/topic/t.#"}
        for headers, queue in (
            ({"durable": "true", "auto_delete": "false"}, durable(name)),
            ({"persistent": "true", "auto_delete": "false"}, durable(name)),
            ({"durable": "true"}, durable(name, True)),
            ({"durable": "true", "auto_delete": "true", "exclusive": "true"}, durable(name, True)),
            ({"durable": "True", "x_queue_name": " mine "}, durable("mine", True)),
            (
                {"durable": "true", "auto_delete": "false", "x_message_ttl": "9"},
                durable(name, x_message_ttl=9),
            ),
        ):
            self.assertEqual(self.subscribe(**base, **headers).queue, queue)

    def test_what_rabbitmq_4_refuses_as_transient_is_durable_and_expires(self) -> None:
        base = {"id": "1", "destination": "/exchange/e/k"}
        for headers, queue in (
            ({"x_queue_name": "mine"}, durable("mine", x_expires=60000)),
            (
                {"x_queue_name": "mine", "durable": "false", "auto_delete": "false"},
                durable("mine", x_expires=60000),
            ),
            ({"x_max_length": "5"}, durable("", x_expires=60000, x_max_length=5)),
            ({"x_expires": "5"}, durable("", x_expires=5)),
            ({"auto_delete": "false", "exclusive": "true"}, None),
        ):
            self.assertEqual(self.subscribe(**base, **headers).queue, queue)

    def test_a_queue_is_declared_as_the_client_says(self) -> None:
        for headers, queue in (
            ({}, None),
            ({"x_queue_name": "other", "x_foo": "bar"}, None),
            ({"durable": "true"}, durable("q")),
            ({"auto_delete": "true"}, durable("q", True)),
            ({"durable": "false"}, durable("q", x_expires=60000)),
            ({"exclusive": "true"}, durable("q", x_expires=60000)),
            ({"x_queue_type": "quorum"}, durable("q", x_queue_type="quorum")),
            (
                {
                    "x_message_ttl": " 1 ",
                    "x_expires": "2",
                    "x_max_length": "3",
                    "x_max_length_bytes": "4",
                    "x_max_priority": "5",
                    "x_dead_letter_exchange": "dlx",
                    "x_dead_letter_routing_key": "k",
                },
                durable(
                    "q",
                    x_message_ttl=1,
                    x_expires=2,
                    x_max_length=3,
                    x_max_length_bytes=4,
                    x_max_priority=5,
                    x_dead_letter_exchange="dlx",
                    x_dead_letter_routing_key="k",
                ),
            ),
        ):
            self.assertEqual(self.subscribe(id="1", destination="/queue/q", **headers).queue, queue)

    def test_a_stream_is_read_without_acks(self) -> None:
        stream = Destination("stream", "s")
        for headers, start, prefetch in (
            ({"destination": "/stream/s"}, None, None),
            ({"destination": "/queue/s", "x_queue_type": "stream"}, None, None),
            ({"destination": "/amq/queue/s", "x_stream_offset": "first"}, Start("first"), None),
            (
                {"destination": "/queue/s", "x_stream_offset": "offset=7", "prefetch_count": "9"},
                Start("offset", 7),
                9,
            ),
            (
                {"destination": "s", "x_stream_offset": "timestamp=7", "ack": "client"},
                Start("timestamp", 7),
                None,
            ),
        ):
            command = self.subscribe(id="1", **headers)
            self.assertEqual(
                command,
                commands.Subscribe(None, stream, prefetch=prefetch, start=start, name="T_1"),
            )


class SendTests(SynchronousTestCase):
    """SEND."""

    def send(self, body: bytes = b"", /, **headers: str) -> commands.Publish:
        command = Talk().one("SEND", body, **headers)
        assert isinstance(command, commands.Publish), command
        return command

    def test_to_a_topic(self) -> None:
        self.assertEqual(
            self.send(b"hi", destination="/topic/a", receipt="r"),
            commands.Publish(
                "r",
                parse("/topic/a"),
                b"hi",
                {"delivery_mode": 1, "headers": {"receipt": "r"}} | UNFILLED,
            ),
        )

    def test_to_a_queue_that_is_declared_first(self) -> None:
        self.assertEqual(
            self.send(destination="/queue/q", persistent="true"),
            commands.Publish(
                None, parse("/queue/q"), b"", {"delivery_mode": 2} | UNFILLED, declare=durable("q")
            ),
        )
        self.assertEqual(
            self.send(destination="q", x_queue_type="quorum").declare,
            durable("q", x_queue_type="quorum"),
        )
        self.assertEqual(self.send(destination="q", persistent="false").declare, durable("q"))

    def test_who_answers_somebody_that_has_gone_is_not_refused(self) -> None:
        for destination in ("/reply-queue/amq.gen-x", "/amq/queue/q"):
            command = self.send(destination=destination)
            self.assertEqual((command.mandatory, command.declare), (False, None))

    def test_to_a_stream_that_is_not_declared(self) -> None:
        for headers in (
            {"destination": "/stream/s"},
            {"destination": "s", "x_queue_type": "stream"},
        ):
            command = self.send(**headers)
            self.assertEqual(command.destination, Destination("stream", "s"))
            self.assertIsNone(command.declare)

    def test_replies_come_to_a_queue_that_nobody_can_guess(self) -> None:
        talk = Talk()
        first = talk.one("SEND", destination="/topic/a", reply_to="/temp-queue/x")
        again = talk.one("SEND", destination="/topic/a", reply_to="/temp-queue/x")
        other = talk.one("SEND", destination="/topic/a", reply_to="/temp-queue/y")
        assert isinstance(first, commands.Publish)
        assert isinstance(again, commands.Publish)
        assert isinstance(other, commands.Publish)
        reply = first.reply
        assert reply is not None
        self.assertEqual(reply.queue, durable("twbridge.reply.t1", x_expires=60000))
        self.assertEqual(first.properties["reply_to"], "twbridge.reply.t1")
        self.assertEqual(reply.destination, Destination("temp-queue", "x"))
        self.assertEqual((reply.id, reply.name, reply.ack), (None, "T_/temp-queue/x", "auto"))
        self.assertIsInstance(reply.encoder, MessageEncoder)
        self.assertIs(again.reply, reply)
        self.assertNotEqual(other.properties["reply_to"], "twbridge.reply.t1")

    def test_wrong_ones_are_refused(self) -> None:
        base = {"destination": "/topic/a", "receipt": "r"}
        for headers, title, text in (
            (
                {"receipt": "r"},
                "Missing destination",
                "SEND must include a destination header.",
            ),
            (
                {**base, "message_id": "m"},
                "Invalid header",
                "The header message-id is not allowed on SEND.",
            ),
            (
                {**base, "priority": "high"},
                "Invalid frame",
                "The header priority is a whole number from 0 to 255.",
            ),
        ):
            talk = Talk()
            told, end = talk.obey(talk.say("SEND", **headers))
            self.assertEqual(told, error(title, text, receipt_id="r"))
            self.assertEqual(end, Close(1008, text))

    def test_a_stray_word_of_a_subscription_does_no_harm(self) -> None:
        command = self.send(destination="/topic/a", id="1", ack="x", prefetch_count="x")
        self.assertEqual(
            command.properties["headers"], {"id": "1", "ack": "x", "prefetch-count": "x"}
        )

    def test_a_reply_to_is_an_address(self) -> None:
        for reply_to in ("/foo/bar", "/temp-queue/a/b", "/temp-queue/", "a/b", ""):
            found = Talk().one("SEND", destination="/topic/a", reply_to=reply_to)
            self.assertIsInstance(found, commands.Invalid)

    def test_any_other_reply_to_goes_as_it_is(self) -> None:
        command = self.send(destination="/topic/a", reply_to="/queue/back")
        self.assertEqual(command.properties["reply_to"], "/queue/back")
        self.assertIsNone(command.reply)
