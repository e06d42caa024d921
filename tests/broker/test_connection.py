"""The handshake, the channels and the ends of a connection."""

from __future__ import annotations

from typing import Any

from pamqp import base, commands
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import CAPABILITIES, Client
from twbridge import wire
from twbridge.broker.connection import State
from twbridge.broker.limits import Limits
from twbridge.broker.messages import OVERHEAD, Memory
from twbridge.broker.vhost import VirtualHost
from twbridge.codec.tables import encode_table

AMQPLAIN = encode_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:].decode()
REFUSED = (
    "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism {}. "
    "For details see the broker logfile."
)


class HandshakeTests(SynchronousTestCase):
    def test_another_protocol_is_told_which_is_spoken(self) -> None:
        for greeting in (b"AMQP\x00\x00\x09\x00", b"GET / HTTP/1.1\r\n", b"A-"):
            client = Client(login=False)
            client.send(greeting)
            self.assertEqual((client.raw, client.closed), (wire.PROTOCOL_HEADER, True))
            client.send(b"more")

    def test_the_header_may_come_byte_by_byte(self) -> None:
        client = Client(login=False)
        for byte in wire.PROTOCOL_HEADER:
            client.send(bytes((byte,)))
        (event,) = client.last
        assert isinstance(event, wire.Method)
        start = event.method
        self.assertEqual((start.version_major, start.version_minor), (0, 9))
        self.assertEqual((start.mechanisms, start.locales), ("PLAIN AMQPLAIN", "en_US"))
        capabilities = start.server_properties["capabilities"]
        for name in ("publisher_confirms", "basic.nack", "consumer_cancel_notify"):
            self.assertIs(capabilities[name], True)
        self.assertNotIn("consumer_priorities", capabilities)

    def test_both_mechanisms_log_in(self) -> None:
        for mechanism, response in (("PLAIN", "\0guest\0guest"), ("AMQPLAIN", AMQPLAIN)):
            client = Client(login=False)
            self.assertEqual(
                client.login(mechanism=mechanism, response=response), ["connection.openok"]
            )
            self.assertEqual(client.connection.user, "guest")

    def test_a_wrong_login_is_told_to_those_who_announced_it(self) -> None:
        for mechanism, response in [
            ("PLAIN", "\0guest\0wrong"),
            ("PLAIN", "\0eve\0guest"),
            ("PLAIN", "guest"),
            ("AMQPLAIN", AMQPLAIN.replace("guest", "guess")),
            ("AMQPLAIN", "odd"),
            ("EXTERNAL", ""),
        ]:
            client = Client(login=False)
            self.assertEqual(
                client.login(mechanism=mechanism, response=response, capabilities=CAPABILITIES),
                [REFUSED.format(mechanism)],
            )
            self.assertFalse(client.closed)
            client.call(commands.Connection.CloseOk(), 0)
            self.assertTrue(client.closed)
            silent = Client(login=False)
            self.assertEqual(silent.login(mechanism=mechanism, response=response), [])
            self.assertTrue(silent.closed)

    def test_there_is_one_virtual_host(self) -> None:
        self.assertEqual(
            Client(login=False).login(vhost="other"),
            ["connection.close 530 NOT_ALLOWED - vhost other not found"],
        )

    def tuned(self, limits: Limits, channel_max: int, frame_max: int) -> Client:
        client = Client(login=False, limits=limits)
        client.send(wire.PROTOCOL_HEADER)
        tune = client.call(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest"), 0)
        self.assertEqual(
            tune,
            [f"connection.tune {limits.channel_max} {limits.frame_max} {limits.heartbeat}"],
        )
        client.call(commands.Connection.TuneOk(channel_max, frame_max, 7), 0)
        return client

    def test_a_client_may_lower_the_limits_and_not_raise_them(self) -> None:
        for limits, channel_max, frame_max, allowed in [
            (Limits(), 2047, 131072, True),
            (Limits(), 1, 4096, True),
            (Limits(), 2048, 131072, False),
            (Limits(), 0, 131072, False),
            (Limits(), 2047, 131073, False),
            (Limits(), 2047, 0, False),
            (Limits(), 2047, 4095, False),
            (Limits(frame_max=0, channel_max=0), 0, 0, True),
            (Limits(frame_max=0, channel_max=0), 65535, 1 << 20, True),
            (Limits(frame_max=8192), 2047, 8192, True),
        ]:
            client = self.tuned(limits, channel_max, frame_max)
            self.assertEqual(client.closed, not allowed, (limits, channel_max, frame_max))
            self.assertEqual(client.heartbeat, 7 if allowed else None)

    def test_every_state_takes_its_own_methods_and_no_others(self) -> None:
        methods: dict[str, base.Frame] = {
            "start-ok": commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest"),
            "tune-ok": commands.Connection.TuneOk(2047, 131072, 0),
            "open": commands.Connection.Open("/"),
            "close": commands.Connection.Close(200, "", 0, 0),
            "close-ok": commands.Connection.CloseOk(),
            "queue.declare": commands.Queue.Declare(),
        }
        way = ["start-ok", "tune-ok", "open"]
        accepted = {
            (State.STARTING, "start-ok"): State.TUNING,
            (State.TUNING, "tune-ok"): State.OPENING,
            (State.OPENING, "open"): State.RUNNING,
            (State.CLOSING, "close-ok"): State.CLOSED,
        }
        for steps, state in enumerate(
            (State.STARTING, State.TUNING, State.OPENING, State.RUNNING, State.CLOSING)
        ):
            for name, method in methods.items():
                client = Client(login=False)
                client.send(wire.PROTOCOL_HEADER)
                for step in way[:steps]:
                    client.call(methods[step], 0)
                if state is State.CLOSING:
                    client.connection.force_close("test")
                self.assertIs(client.connection.state, state)
                lines = client.call(method, 0)
                refused = State.CLOSING
                if state in (State.STARTING, State.TUNING):
                    refused = State.CLOSED
                expected = accepted.get((state, name), refused)
                if name == "close":
                    expected = State.CLOSED
                self.assertIs(client.connection.state, expected, (state, name))
                if expected is State.CLOSING and state is not State.CLOSING:
                    self.assertEqual(
                        lines,
                        [
                            "connection.close 504 CHANNEL_ERROR - unexpected method in connection "
                            f"state {state.value}"
                        ],
                    )

    def test_channels_wait_for_the_login(self) -> None:
        client = Client(login=False)
        client.send(wire.PROTOCOL_HEADER)
        self.assertEqual(client.call(commands.Channel.Open(), 1), [])
        self.assertTrue(client.closed)

    def test_bodies_wait_for_the_login(self) -> None:
        client = Client(login=False)
        client.send(wire.PROTOCOL_HEADER)
        client.send(wire.publish_frames(1, "", "q", b"\0\0", b"long", False, 0))
        self.assertTrue(client.closed)


class ChannelTests(SynchronousTestCase):
    def test_only_an_open_channel_is_used(self) -> None:
        expected = ["connection.close 504 CHANNEL_ERROR - expected 'channel.open'"]
        self.assertEqual(Client().call(commands.Queue.Declare(), 2), expected)
        client = Client()
        close = commands.Channel.Close(200, "", 0, 0)
        self.assertEqual(client.call(close), ["channel.closeok"])
        self.assertEqual(client.call(commands.Queue.Declare()), expected)

    def test_it_is_opened_once(self) -> None:
        self.assertEqual(
            Client().call(commands.Channel.Open()),
            ["connection.close 504 CHANNEL_ERROR - second 'channel.open' seen"],
        )

    def test_there_are_no_more_than_negotiated(self) -> None:
        client = Client(limits=Limits(channel_max=2), channels=2)
        self.assertEqual(
            client.call(commands.Channel.Open(), 3),
            [
                "connection.close 530 NOT_ALLOWED - number of channels opened (2) has reached the "
                "negotiated channel_max (2)"
            ],
        )

    def test_after_an_error_all_is_ignored_up_to_the_close_ok(self) -> None:
        client = Client()
        (line,) = client.publish("no", "")
        self.assertEqual(line[:17], "channel.close 404")
        self.assertEqual(client.publish("no", ""), [])
        self.assertEqual(client.ack(5), [])
        self.assertEqual(client.call(commands.Queue.Declare(queue="q")), [])
        self.assertEqual(client.call(commands.Channel.Open()), [])
        client.call(commands.Channel.CloseOk())
        self.assertEqual(client.call(commands.Channel.Open()), ["channel.openok"])
        self.assertNotIn("q", client.vhost.queues)

    def test_both_sides_may_close_at_the_same_time(self) -> None:
        client = Client()
        client.publish("no", "")
        close = commands.Channel.Close(200, "", 0, 0)
        self.assertEqual(client.call(close), ["channel.closeok"])
        self.assertEqual(client.call(commands.Channel.CloseOk()), [])
        self.assertEqual(client.call(commands.Channel.Open()), ["channel.openok"])

    def test_an_error_names_the_method_that_made_it(self) -> None:
        for sent, ids in [
            (lambda client: client.publish("no"), (60, 40)),
            (lambda client: client.ack(1), (60, 80)),
            (lambda client: client.nack(1), (60, 120)),
            (lambda client: client.call(commands.Queue.Purge(queue="no")), (50, 30)),
        ]:
            client = Client()
            sent(client)
            (event,) = client.last
            assert isinstance(event, wire.Method)
            self.assertEqual((event.method.class_id, event.method.method_id), ids)

    def test_a_text_too_long_for_the_protocol_is_cut(self) -> None:
        client = Client()
        declare = commands.Queue.Declare()
        declare.queue, declare.passive = "ü" * 127, True
        (line,) = client.call(declare)
        text = line.removeprefix("channel.close 404 ")
        self.assertEqual(text.rstrip("ü"), "NOT_FOUND - no queue '")
        self.assertLessEqual(len(text.encode()), 255)


class EndTests(SynchronousTestCase):
    def test_bytes_that_are_no_frame_close_the_connection(self) -> None:
        for data, code in [
            (b"\x09\0\0\0\0\0\0\xce", 501),
            (b"\x01\0\0\0\0\0\x04\0\x0a\0\x33\xcd", 501),
            (b"\x01\0\0\x7f\0\0\x04\0", 501),
            (b"\x01\0\1\0\0\0\x04\0\x3d\0\x99\xce", 503),
            (b"\x01\0\1\0\0\0\x04\0\x32\0\x0a\xce", 502),
            (wire.publish_frames(1, "", "", b"\0\0", b"12345", False, 0), 501),
        ]:
            client = Client(limits=Limits(max_body=4))
            (line,) = client.send(data)
            self.assertEqual(line[:20], f"connection.close {code}")
            self.assertEqual(client.log, ["closing"])
            self.assertEqual(client.call(commands.Queue.Declare(queue="q")), [])
            client.call(commands.Connection.CloseOk(), 0)
            self.assertTrue(client.closed)

    def test_an_operator_s_close_is_320(self) -> None:
        client = Client()
        client.connection.force_close("maintenance")
        client.connection.force_close("maintenance")
        self.assertEqual(
            client.seen(),
            [
                "connection.close 320 CONNECTION_FORCED - broker forced connection closure with "
                "reason 'maintenance'"
            ],
        )

    def test_after_the_client_s_close_nothing_is_read(self) -> None:
        client = Client()
        client.send(
            wire.method_frame(0, commands.Connection.Close(200, "", 0, 0))
            + wire.method_frame(1, commands.Queue.Declare(queue="q"))
        )
        self.assertTrue(client.closed)
        self.assertNotIn("q", client.vhost.queues)

    def test_our_own_mistake_is_logged_and_ends_that_connection_alone(self) -> None:
        client = Client()
        client.vhost.exchanges["broken"] = None  # type: ignore[assignment]
        (line,) = client.publish("broken")
        self.assertEqual(
            line,
            "connection.close 541 INTERNAL_ERROR - an error inside the embedded broker",
        )
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class AlarmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clients: list[Client] = []
        self.memory = Memory(2 * (OVERHEAD + 1002), self.alarm)
        self.vhost = VirtualHost(Clock(), self.memory)
        self.consumer = self.client()
        self.consumer.queue("q")

    def alarm(self, on: bool) -> None:
        if not on:
            for client in self.clients:
                client.connection.unblock()

    def client(self, **arguments: Any) -> Client:
        client = Client(self.vhost, **arguments)
        self.clients.append(client)
        return client

    def test_publishers_are_blocked_until_memory_is_free(self) -> None:
        publisher, silent, idle = self.client(), self.client(capabilities={}), self.client()
        for _ in range(2):
            self.assertEqual(publisher.publish("", "q", b"x" * 1000), [])
        self.assertEqual(
            publisher.publish("", "q", b"x" * 1000), ["connection.blocked low on memory"]
        )
        self.assertEqual(silent.publish("", "q", b"x" * 1000), [])
        self.assertEqual([publisher.reading, silent.reading, idle.reading], [False, False, True])
        self.assertEqual(publisher.publish("", "q"), [])
        for _ in range(4):
            self.consumer.call(commands.Basic.Get(queue="q", no_ack=True))
        self.assertEqual(publisher.seen(), ["connection.unblocked"])
        self.assertEqual((silent.seen(), silent.reading, publisher.reading), ([], True, True))


class BackPressureTests(SynchronousTestCase):
    def test_a_full_socket_gets_no_deliveries_and_others_do(self) -> None:
        slow = Client()
        slow.queue("q")
        fast = Client(slow.vhost)
        slow.consume("q", "s", no_ack=True)
        slow.connection.pause_deliveries()
        slow.publish("", "q", b"1")
        self.assertEqual(slow.seen(), [])
        fast.consume("q", "f", no_ack=True)
        self.assertEqual(fast.seen(), [])
        slow.publish("", "q", b"2")
        self.assertEqual(fast.seen(), ["deliver f 2 2"])
        fast.connection.pause_deliveries()
        slow.publish("", "q", b"3")
        slow.connection.resume_deliveries()
        self.assertEqual(slow.seen(), ["deliver s 1 3"])
