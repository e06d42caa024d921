"""One connection: login, heartbeats, back-pressure."""

from __future__ import annotations

from pamqp import commands
from twisted.internet.error import ConnectionLost

from tests.link.connection_case import ConnectionCase
from twbridge import wire
from twbridge.errors import ConnectionClosed


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
