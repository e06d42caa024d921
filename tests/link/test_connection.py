"""One connection: login, heartbeats, channels, and every way in which it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.scripted import ScriptedBroker, Session, advance
from twbridge import wire
from twbridge.errors import ChannelClosed, ConnectionClosed, EncodeError
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.uri import Parameters


class ConnectionCase(SynchronousTestCase):
    """A connection to a scripted broker."""

    parameters = Parameters(heartbeat=20, connection_timeout=10.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ScriptedBroker()
        self.lost: list[ConnectionClosed] = []

    def connect(self, **changes: Any) -> Deferred[None]:
        """Connect; the Deferred is that of the login."""
        parameters = replace(self.parameters, **changes)
        factory = ConnectionFactory(self.clock, parameters, "the name")
        made: Any = self.successResultOf(
            self.broker.endpoint(parameters, "one", 5672).connect(factory)
        )
        self.connection: Connection = made
        self.connection.on_lost = self.lost.append
        self.session: Session = self.broker.sessions[-1]
        login = Deferred.fromCoroutine(self.connection.login())
        self.broker.pump()
        return login

    def logged_in(self, **changes: Any) -> Connection:
        self.assertIsNone(self.successResultOf(self.connect(**changes)))
        return self.connection

    def channel(self) -> Any:
        """An open channel."""
        opened = Deferred.fromCoroutine(self.connection.open_channel())
        self.broker.pump()
        return self.successResultOf(opened)

    def pass_time(self, seconds: float) -> None:
        advance(self.clock, self.broker, seconds)

    def failed(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        error = self.failureResultOf(deferred, kind).value
        self.assertIs(type(error), kind)
        return error

    def assert_over(self) -> None:
        """It is gone: told once, nothing left on the clock."""
        self.assertEqual(len(self.lost), 1)
        self.assertTrue(self.session.gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LoginTests(ConnectionCase):
    """The way in."""

    def test_it_says_who_it_is_and_what_it_can_do(self) -> None:
        self.logged_in()
        self.assertEqual(self.session._header, wire.PROTOCOL_HEADER)
        properties = self.session.client_properties
        self.assertEqual(
            (properties["product"], properties["connection_name"]), ("twbridge", "the name")
        )
        self.assertEqual(
            set(properties["capabilities"]),
            {
                "publisher_confirms",
                "consumer_cancel_notify",
                "basic.nack",
                "connection.blocked",
                "authentication_failure_close",
                "exchange_exchange_bindings",
            },
        )
        self.assertEqual(set(properties["capabilities"].values()), {True})
        self.assertTrue(self.session.socket.no_delay)

    def test_each_mechanism_has_its_response(self) -> None:
        for mechanism, response in (
            ("PLAIN", b"\0us\xc3\xa9r\0p@ss"),
            ("AMQPLAIN", wire.encode_properties({})[2:]),
        ):
            self.logged_in(username="usér", password="p@ss", auth_mechanism=mechanism)
            [start] = self.session.methods(commands.Connection.StartOk)
            self.assertEqual(start.mechanism, mechanism)
            found = start.response.encode() if isinstance(start.response, str) else start.response
            if mechanism == "PLAIN":
                self.assertEqual(found, response)
            else:
                self.assertIn(b"\x05LOGINS\x00\x00\x00\x05us\xc3\xa9r", found)
                self.assertIn(b"\x08PASSWORDS\x00\x00\x00\x04p@ss", found)

    def test_the_vhost_may_be_any_text(self) -> None:
        self.logged_in(vhost="ü/x y")
        self.assertEqual(self.session.methods(commands.Connection.Open)[0].virtual_host, "ü/x y")

    def test_a_mechanism_that_is_not_offered_is_refused_and_named(self) -> None:
        error = self.failed(self.connect(auth_mechanism="EXTERNAL"), ConnectionClosed)
        self.assertIn("EXTERNAL", str(error))
        self.assertIn("PLAIN", str(error))
        self.assertEqual(self.session.methods(commands.Connection.StartOk), [])
        self.assert_over()

    def test_a_refusal_keeps_the_code_and_the_words_of_the_broker(self) -> None:
        for refusal in ((403, "ACCESS_REFUSED"), (530, "NOT_ALLOWED - vhost x not found")):
            self.setUp()
            self.broker.login_refusal = refusal
            error = self.failed(self.connect(), ConnectionClosed)
            self.assertEqual((error.reply_code, error.reply_text), refusal)
            self.assertEqual(len(self.session.methods(commands.Connection.CloseOk)), 1)
            self.assert_over()

    def test_a_socket_that_ends_during_the_login_fails_it(self) -> None:
        for kind in (
            commands.Connection.Start,
            commands.Connection.Tune,
            commands.Connection.OpenOk,
        ):
            self.setUp()
            self.broker.silent = {kind}
            login = self.connect()
            self.assertNoResult(login)
            self.session.drop(ConnectionLost("reset"))
            self.assertIn("reset", str(self.failed(login, ConnectionClosed)))
            self.assert_over()

    def test_a_login_without_an_answer_ends_in_time(self) -> None:
        for kind in (
            commands.Connection.Start,
            commands.Connection.Tune,
            commands.Connection.OpenOk,
        ):
            self.setUp()
            self.broker.silent = {kind}
            login = self.connect(heartbeat=0)
            self.pass_time(9.75)
            self.assertNoResult(login)
            self.pass_time(0.25)
            self.assertIn("in time", str(self.failed(login, ConnectionClosed)))
            self.pass_time(10)
            self.assert_over()

    def test_a_server_that_speaks_something_else_is_left(self) -> None:
        for words in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x00" * 20):
            self.setUp()
            self.broker.silent = {commands.Connection.Start}
            login = self.connect()
            self.session.write(words)
            self.failed(login, ConnectionClosed)
            self.broker.pump()
            self.pass_time(5)
            self.assert_over()

    def test_limits_are_the_lower_of_both_where_zero_is_none(self) -> None:
        for (channels, frame, beat), ours, expected in (
            ((2047, 131072, 60), 20, (2047, 131072, 20)),
            ((0, 0, 0), 20, (65535, 0, 20)),
            ((10, 8192, 5), 20, (10, 8192, 5)),
            ((2047, 1 << 30, 60), 0, (2047, 131072, 0)),
        ):
            self.setUp()
            self.broker.tune = (channels, frame, beat)
            self.logged_in(heartbeat=ours)
            [tune] = self.session.methods(commands.Connection.TuneOk)
            self.assertEqual((tune.channel_max, tune.frame_max, tune.heartbeat), expected)
            self.assertEqual(self.connection.frame_max, expected[1])

    def test_a_frame_over_the_negotiated_limit_ends_it(self) -> None:
        self.broker.tune = (2047, 4096, 0)
        self.logged_in(heartbeat=0)
        self.session.write(b"\x03\x00\x01\x00\x00\x0f\xf9")
        self.session.write(b"x" * 10)
        self.broker.pump()
        self.assertEqual(self.lost[0].reply_code, 501)
        self.assert_over()


class HeartbeatTests(ConnectionCase):
    """Both sides know that the other lives."""

    def beats(self) -> int:
        self.broker.pump()
        return sum(isinstance(event, wire.Heartbeat) for event in self.session.heard)

    def keep_alive(self, seconds: int) -> None:
        """The broker lives for so long."""
        for _ in range(seconds):
            self.session.write(wire.HEARTBEAT)
            self.pass_time(1)

    def test_one_is_sent_within_each_interval_when_nothing_else_is(self) -> None:
        self.logged_in()
        self.keep_alive(10)
        before = self.beats()
        for _ in range(5):
            self.keep_alive(20)
            self.assertGreaterEqual(self.beats() - before, 1)
            before = self.beats()

    def test_none_is_sent_while_other_frames_are(self) -> None:
        self.logged_in()
        channel = self.channel()
        before = self.beats()
        for _ in range(60):
            channel.basic_qos(prefetch_count=1)
            self.keep_alive(1)
        self.assertEqual(self.beats(), before)

    def test_a_broker_that_lives_is_kept(self) -> None:
        self.logged_in()
        for _ in range(10):
            self.pass_time(20)
            self.session.write(wire.HEARTBEAT)
        self.assertEqual(self.lost, [])

    def test_any_bytes_are_a_sign_of_life(self) -> None:
        self.logged_in()
        piece = wire.method_frame(1, commands.Queue.BindOk())
        for at in range(8):
            self.pass_time(20)
            self.session.write(piece[at : at + 1])
        self.assertEqual(self.lost, [])

    def test_two_missed_ones_end_it_and_not_before(self) -> None:
        self.logged_in()
        channel = self.channel()
        self.broker.silent = {commands.Queue.Declare}
        waiting = channel.queue_declare(queue="q")
        self.keep_alive(3)
        self.pass_time(30)
        self.assertEqual(self.lost, [])
        self.pass_time(11)
        self.assertIn("heartbeats", str(self.lost[0]))
        self.failed(waiting, ConnectionClosed)
        self.assertTrue(self.session.socket.aborted)
        self.assert_over()

    def test_without_heartbeats_there_are_none_and_it_waits_for_ever(self) -> None:
        self.broker.tune = (2047, 131072, 60)
        self.logged_in(heartbeat=0)
        self.pass_time(600)
        self.assertEqual((self.beats(), self.lost), (0, []))


class BlockedTests(ConnectionCase):
    """connection.blocked."""

    def test_it_is_told_with_the_brokers_reason_and_when_it_is_over(self) -> None:
        self.logged_in()
        told: list[str | None] = []
        self.connection.on_blocked = told.append
        self.session.send(0, commands.Connection.Blocked("low on disk"))
        self.session.send(0, commands.Connection.Unblocked())
        self.assertEqual(told, ["low on disk", None])

    def test_a_socket_that_does_not_drain_is_told(self) -> None:
        self.logged_in()
        told: list[bool] = []
        self.connection.on_writable = lambda: told.append(self.connection.writable)
        self.assertTrue(self.connection.writable)
        self.session.socket.full(True)
        self.assertFalse(self.connection.writable)
        self.session.socket.full(False)
        self.assertEqual(told, [True])


class ChannelTests(ConnectionCase):
    """Channels: ids, answers, and ends that stay their own."""

    def setUp(self) -> None:
        super().setUp()
        self.logged_in()

    def close(self, channel: Any) -> None:
        done = channel.close()
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))

    def test_ids_are_used_again_after_our_close_has_been_agreed(self) -> None:
        one, two = self.channel(), self.channel()
        self.assertEqual((one.id, two.id), (1, 2))
        closing = one.close()
        self.assertNoResult(closing)
        opening = Deferred.fromCoroutine(self.connection.open_channel())
        self.broker.pump()
        self.assertEqual(self.successResultOf(opening).id, 3)
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(self.channel().id, 1)

    def test_ids_are_used_again_after_the_brokers_close(self) -> None:
        one = self.channel()
        self.session.close_channel(1)
        again = self.channel()
        self.assertEqual(again.id, 1)
        self.assertIsNot(again, one)
        self.assertEqual(len(self.session.methods(commands.Channel.CloseOk)), 1)

    def test_thousands_of_channels_one_after_another_use_one_id(self) -> None:
        for _ in range(3000):
            channel = self.channel()
            self.assertEqual(channel.id, 1)
            self.close(channel)

    def test_too_many_channels_are_refused_without_harm(self) -> None:
        self.broker.tune = (2, 131072, 0)
        self.logged_in()
        one, _two = self.channel(), self.channel()
        third = Deferred.fromCoroutine(self.connection.open_channel())
        self.failed(third, ConnectionClosed)
        self.assertIsNone(self.connection.lost)
        self.close(one)
        self.assertEqual(self.channel().id, 1)

    def test_answers_come_to_their_calls_in_order(self) -> None:
        channel = self.channel()
        declared = [channel.queue_declare(queue=name) for name in ("a", "b", "c")]
        self.broker.pump()
        self.assertEqual([self.successResultOf(each).queue for each in declared], ["a", "b", "c"])

    def test_a_call_without_an_answer_is_done_at_once(self) -> None:
        channel = self.channel()
        for call in (
            channel.queue_declare(queue="q", nowait=True),
            channel.basic_ack(delivery_tag=1),
        ):
            self.assertIsNone(self.successResultOf(call))
        after = channel.queue_declare(queue="after")
        self.broker.pump()
        self.assertEqual(self.successResultOf(after).queue, "after")

    def test_the_brokers_close_is_told_with_its_code_to_all_that_wait_on_it(self) -> None:
        channel, other = self.channel(), self.channel()
        self.broker.silent = {commands.Queue.Declare}
        told: list[Any] = []
        channel.on_closed = told.append
        waiting = [channel.queue_declare(queue=name) for name in "ab"]
        elsewhere = other.queue_declare(queue="c")
        self.session.close_channel(channel.id, 405, "RESOURCE_LOCKED")
        for each in waiting:
            error = self.failed(each, ChannelClosed)
            self.assertEqual((error.reply_code, error.reply_text), (405, "RESOURCE_LOCKED"))
        self.assertEqual(told, [error])
        self.assertNoResult(elsewhere)
        elsewhere.addErrback(lambda _: None)
        self.assertEqual(self.failed(channel.queue_purge(queue="q"), ChannelClosed), error)

    def test_our_close_is_not_told_to_its_owner(self) -> None:
        channel = self.channel()
        told: list[Any] = []
        channel.on_closed = told.append
        self.close(channel)
        self.assertEqual(told, [])
        self.assertIsNone(self.successResultOf(channel.close()))

    def test_a_cancelled_call_closes_the_channel_and_its_answer_goes_to_nobody(self) -> None:
        channel = self.channel()
        self.broker.silent = {commands.Queue.Declare}
        call = channel.queue_declare(queue="slow")
        behind = channel.queue_declare(queue="behind")
        self.broker.pump()
        call.addErrback(lambda _: None)
        call.cancel()
        self.failed(behind, ChannelClosed)
        self.session.send(channel.id, commands.Queue.DeclareOk("slow", 0, 0))
        self.broker.silent = set()
        self.broker.pump()
        self.assertEqual(self.session.channel_of(commands.Channel.Close), channel.id)
        again = self.channel()
        self.assertEqual(again.id, channel.id)
        declared = again.queue_declare(queue="mine")
        self.broker.pump()
        self.assertEqual(self.successResultOf(declared).queue, "mine")
        self.assertIsNone(self.connection.lost)

    def test_a_call_that_times_out_is_the_same(self) -> None:
        channel = self.channel()
        self.broker.silent = {commands.Queue.Declare}
        call = channel.queue_declare(queue="slow").addTimeout(3, self.clock)
        call.addErrback(lambda _: None)
        self.pass_time(4)
        self.assertEqual(self.session.channel_of(commands.Channel.Close), channel.id)
        self.assertIsNone(self.connection.lost)

    def test_what_cannot_be_encoded_raises_to_its_caller_and_the_connection_lives(self) -> None:
        channel = self.channel()
        for arguments in (
            {"queue": "x" * 256},
            {"queue": "q", "arguments": {"x": object()}},
            {"queue": 7},
        ):
            with self.assertRaises(EncodeError):
                channel.queue_declare(**arguments)
        declared = channel.queue_declare(queue="q", arguments={"a": [1.5, None, b"x", {"é": -1}]})
        self.broker.pump()
        self.assertEqual(self.successResultOf(declared).queue, "q")
        self.assertEqual(len(self.session.methods(commands.Queue.Declare)), 1)

    def test_two_closes_that_cross_free_the_id_once_both_are_agreed(self) -> None:
        channel = self.channel()
        told: list[Any] = []
        channel.on_closed = told.append
        closing = channel.close()
        self.session.send(channel.id, commands.Channel.Close(406, "PRECONDITION_FAILED", 0, 0))
        self.assertNoResult(closing)
        self.assertEqual(self.channel().id, 2)
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(len(self.session.methods(commands.Channel.CloseOk)), 1)
        self.assertEqual(self.channel().id, 1)
        self.assertEqual(told, [])
        self.assertIsNone(self.connection.lost)

    def test_words_that_cross_our_close_are_ignored(self) -> None:
        channel = self.channel()
        heard: list[Any] = []
        channel.consumers["t"] = heard.append
        channel.on_confirm = channel.on_return = channel.on_cancel = heard.append
        closing = channel.close()
        self.session.deliver(channel.id, "t", 1, b"late")
        self.session.ack(channel.id, 1)
        self.session.send(
            channel.id, commands.Basic.Cancel("t", nowait=True), commands.Queue.BindOk()
        )
        self.assertEqual(heard, [])
        self.broker.pump()
        self.assertIsNone(self.successResultOf(closing))
        self.session.deliver(channel.id, "t", 2, b"later")
        self.session.ack(channel.id, 2)
        self.session.send(channel.id, commands.Queue.BindOk())
        self.assertEqual(heard, [])
        self.assertIsNone(self.connection.lost)

    def test_a_delivery_for_an_unknown_consumer_is_dropped(self) -> None:
        channel = self.channel()
        self.session.deliver(channel.id, "nobody", 1, b"x")
        self.assertIsNone(self.connection.lost)

    def test_cafe_arrives_as_its_bytes(self) -> None:
        channel = self.channel()
        heard: list[Any] = []
        channel.consumers["t"] = heard.append
        self.session.deliver(channel.id, "t", 1, "café".encode())
        self.session.deliver(channel.id, "t", 2, b"\xff\xfe")
        self.assertEqual([each.body for each in heard], ["café".encode(), b"\xff\xfe"])


class EndTests(ConnectionCase):
    """Every end is told once to everyone who waits."""

    def test_the_brokers_close_is_answered_and_its_code_is_in_the_error(self) -> None:
        self.logged_in()
        channel = self.channel()
        told: list[Any] = []
        channel.on_closed = told.append
        self.broker.silent = {commands.Queue.Declare}
        waiting = channel.queue_declare(queue="q")
        self.session.send(0, commands.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0))
        error = self.failed(waiting, ConnectionClosed)
        self.assertEqual((error.reply_code, error.reply_text), (320, "CONNECTION_FORCED - bye"))
        self.assertEqual((told, self.lost), ([error], [error]))
        self.broker.pump()
        self.assertEqual(len(self.session.methods(commands.Connection.CloseOk)), 1)
        self.assert_over()

    def test_a_lost_socket_is_told_to_all(self) -> None:
        self.logged_in()
        channels = [self.channel() for _ in range(3)]
        self.broker.silent = {commands.Queue.Declare, commands.Channel.Close}
        waiting = [channel.queue_declare(queue="q") for channel in channels]
        closing = channels[0].close()
        opening = Deferred.fromCoroutine(self.connection.open_channel())
        self.session.drop(ConnectionLost("reset by peer"))
        self.failed(waiting[0], ChannelClosed)
        for each in (*waiting[1:], opening):
            error = self.failed(each, ConnectionClosed)
            self.assertEqual(error.reply_code, 0)
            self.assertIn("reset by peer", str(error))
        self.assertIsNone(self.successResultOf(closing))
        self.assert_over()

    def test_what_is_asked_after_the_end_fails_at_once(self) -> None:
        self.logged_in()
        channel = self.channel()
        self.session.drop()
        self.failed(channel.queue_declare(queue="q"), ConnectionClosed)
        self.failed(Deferred.fromCoroutine(self.connection.open_channel()), ConnectionClosed)

    def test_our_close_is_in_order(self) -> None:
        self.logged_in()
        self.channel()
        done = self.connection.shutdown()
        self.assertNoResult(done)
        self.broker.pump()
        self.successResultOf(done)
        self.assertEqual(self.session.methods(commands.Connection.Close)[0].reply_code, 200)
        self.assertFalse(self.session.socket.aborted)
        self.assert_over()

    def test_two_closes_that_cross_end_in_peace(self) -> None:
        self.logged_in()
        done = self.connection.shutdown()
        self.session.send(0, commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.session.send(0, commands.Connection.CloseOk())
        self.broker.pump()
        self.successResultOf(done)
        self.assert_over()

    def test_a_broker_that_does_not_answer_our_close_is_not_waited_for_long(self) -> None:
        self.logged_in()
        self.session.frozen = True
        done = self.connection.shutdown()
        self.pass_time(2.75)
        self.assertNoResult(done)
        self.pass_time(5)
        self.successResultOf(done)
        self.assert_over()

    def test_a_socket_that_does_not_drain_is_cut_at_the_close(self) -> None:
        self.logged_in()
        self.session.frozen = True
        self.session.send(0, commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.assertEqual(len(self.lost), 1)
        self.pass_time(5)
        self.assertTrue(self.session.socket.aborted)
        self.assert_over()

    def test_what_comes_after_the_end_is_not_worked_on(self) -> None:
        self.logged_in()
        channel = self.channel()
        heard: list[Any] = []
        channel.consumers["t"] = heard.append
        method = commands.Basic.Deliver("t", 1, False, "e", "k")
        delivery = wire.content_frames(channel.id, method, b"\x00\x00", b"x", 0)
        close = wire.method_frame(0, commands.Connection.Close(320, "bye", 0, 0))
        tune = wire.method_frame(0, commands.Connection.Tune(1, 4096, 1))
        self.session.write(delivery + close + delivery + tune)
        self.session.write(delivery + tune)
        self.assertEqual(len(heard), 1)
        self.broker.pump()
        self.assert_over()

    def test_bytes_that_are_not_amqp_end_it(self) -> None:
        self.logged_in()
        self.session.write(b"\x07garbage!")
        self.broker.pump()
        self.assertEqual(self.lost[0].reply_code, 501)
        self.assertTrue(self.session.socket.aborted)
        self.assert_over()

    def test_an_answer_that_nobody_asked_for_ends_it(self) -> None:
        for method in (commands.Queue.BindOk(), commands.Queue.DeclareOk("q", 0, 0)):
            self.setUp()
            self.logged_in()
            channel = self.channel()
            self.broker.silent = {commands.Exchange.Declare}
            waiting = None
            if isinstance(method, commands.Queue.DeclareOk):
                waiting = channel.exchange_declare(exchange="e")
            self.session.send(channel.id, method)
            self.assertEqual(self.lost[0].reply_code, 503)
            if waiting is not None:
                self.failed(waiting, ConnectionClosed)
            self.broker.pump()
            self.assert_over()

    @settings(max_examples=60)
    @given(st.lists(st.binary(max_size=60), max_size=4))
    def test_whatever_comes_it_lives_or_ends_in_order(self, pieces: list[bytes]) -> None:
        self.setUp()
        self.logged_in()
        self.channel()
        for piece in pieces:
            for method_or_body in (piece, b"\x01\x00\x01" + len(piece).to_bytes(4, "big") + piece):
                self.session.write(method_or_body + b"\xce")
        self.broker.pump()
        self.pass_time(60)
        self.flushLoggedErrors()
        self.assert_over()

    @settings(max_examples=80)
    @given(st.sampled_from(list(commands.INDEX_MAPPING.values())), st.integers(0, 2))
    def test_any_method_at_any_time_is_no_accident(self, kind: Any, channel: int) -> None:
        self.setUp()
        self.logged_in()
        self.channel()
        method = kind.__new__(kind)
        for name in kind.__slots__:
            setattr(method, name, None)
        self.session.send(channel, method)
        self.broker.pump()
        self.pass_time(60)
        self.assertLessEqual(len(self.flushLoggedErrors()), 1)
        self.assert_over()
