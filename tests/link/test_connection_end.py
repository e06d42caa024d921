"""One connection: every way in which it ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from tests.link.connection_case import ConnectionCase
from twbridge import wire
from twbridge.errors import ChannelClosed, ConnectionClosed


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
