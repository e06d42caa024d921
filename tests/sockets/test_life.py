"""A connection from its opening to its end: pausing, pings, closing, memory."""

from __future__ import annotations

import gc
import struct
import weakref
from typing import cast

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.fake_sockets import Closed, client_frame, close_of, upgrade
from tests.sockets.harness import CLOSE, PING, PONG, TEXT, RecordingSession, WebSocketTestCase
from twbridge.dialects.interfaces import ICodec
from twbridge.dialects.raw import RawDialect
from twbridge.policy import Peer
from twbridge.settings import Route
from twbridge.ws import Socket


class CloseTests(WebSocketTestCase):
    """Who closes, with which code."""

    def test_every_code_of_ours_goes_on_the_wire(self) -> None:
        for code in (1000, 1001, 1008, 1011, 1012, 1013, 4401, 4503):
            socket = self.open()
            self.session.socket.close(code, "because")
            frames = socket.take_frames()
            self.assertEqual(close_of(frames), Closed(code, "because"))
            socket.deliver(client_frame(CLOSE, struct.pack("!H", code)))
            self.clock.advance(0)
            self.assertTrue(socket.lost)
            self.assertEqual(self.session.events, ["opened", "lost"])

    def test_a_long_reason_is_cut_between_characters(self) -> None:
        socket = self.open()
        self.session.socket.close(1008, "é" * 100)
        self.assertEqual(close_of(socket.take_frames()), Closed(1008, "é" * 61))

    def test_the_peers_close_is_answered(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(CLOSE, struct.pack("!H", 1000)))
        self.assertEqual(close_of(socket.take_frames()), Closed(1000, ""))
        self.clock.advance(0)
        self.assertTrue(socket.lost)
        self.assertEqual(self.session.events, ["opened", "lost"])

    def test_a_close_of_ours_that_was_answered_ends_without_a_reset(self) -> None:
        socket = self.open()
        self.session.socket.close(1001, "")
        socket.deliver(client_frame(CLOSE, struct.pack("!H", 1001)))
        self.clock.advance(0)
        assert socket.lost
        self.assertIs(socket.lost.type, ConnectionDone)

    def test_a_peer_that_does_not_answer_is_dropped(self) -> None:
        socket = self.open()
        self.session.socket.close(1001, "")
        self.clock.pump([1, 1])
        self.assertIsNone(socket.lost)
        self.clock.pump([1, 1, 0])
        assert socket.lost
        self.assertIs(socket.lost.type, ConnectionAborted)

    def test_a_peer_that_does_not_take_our_answer_is_dropped(self) -> None:
        socket = self.open()
        socket.reading = False
        socket.deliver(client_frame(CLOSE, struct.pack("!H", 1000)))
        self.clock.advance(0)
        self.assertIsNone(socket.lost)
        self.clock.pump([1] * 5)
        self.assertTrue(socket.lost)

    def test_nothing_is_sent_after_a_close(self) -> None:
        socket = self.open()
        port = self.session.socket
        send_frame = port.send_frame
        port.close(1001, "")
        send_frame(b"\x81\x01a")
        port.send(b"a", False)
        port.close(1011, "")
        socket.deliver(client_frame(PING, b"p"))
        self.assertEqual([opcode for opcode, _ in socket.take_frames()], [CLOSE])

    def test_nothing_is_received_after_a_close(self) -> None:
        socket = self.open()
        self.session.socket.close(1001, "")
        socket.deliver(client_frame(TEXT, b"late"))
        self.assertEqual(self.session.messages, [])

    def test_nothing_raises_after_the_end(self) -> None:
        socket = self.open()
        port = self.session.socket
        socket.lose(ConnectionDone())
        port.send(b"a", False)
        port.send_frame(b"a")
        port.pause_reading()
        port.resume_reading()
        port.close(1000, "")
        self.clock.pump([1] * 5)
        self.assertEqual(socket.take(), b"")

    def test_a_session_that_closes_at_once_is_closed(self) -> None:
        def open_session(peer: Peer, codec: ICodec, socket: Socket) -> RecordingSession:
            session = self.open_session(peer, codec, socket)
            socket.close(1008, "no")
            return session

        self.factory.open_session = open_session
        self.ask()
        self.clock.advance(0)
        self.assertEqual(self.session.events, ["opened", "lost"])


class FailureTests(WebSocketTestCase):
    """Our own faults."""

    def test_a_session_that_fails_is_1011_and_logged(self) -> None:
        socket = self.open()
        self.session.error = RuntimeError("secret")
        socket.deliver(client_frame(TEXT, b"a") + client_frame(TEXT, b"b"))
        frames = socket.take_frames()
        closed = close_of(frames)
        assert closed
        self.assertEqual(closed.code, 1011)
        self.assertNotIn("secret", closed.reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_session_that_cannot_be_opened_is_1011(self) -> None:
        def open_session(peer: Peer, codec: ICodec, socket: Socket) -> None:
            raise RuntimeError("secret")

        self.factory.open_session = open_session  # type: ignore[assignment]
        socket = self.ask()
        _, _, frames = socket.take().partition(b"\r\n\r\n")
        self.assertEqual(frames[2:4], struct.pack("!H", 1011))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_autobahn_logs_nothing(self) -> None:
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        socket = self.open(upgrade("/ws?token=hunter2", Cookie="hunter2"))
        socket.deliver(client_frame(TEXT, b"\xff hunter2"))
        socket.lose(ConnectionDone())
        self.ask(upgrade(Sec_WebSocket_Key="hunter2"))
        self.assertNotIn("hunter2", repr(events))
        self.assertEqual([e for e in events if "autobahn" in e["log_namespace"]], [])


class PauseTests(WebSocketTestCase):
    """Reading, on and off."""

    def test_what_was_read_already_waits_too(self) -> None:
        socket = self.open()
        port = self.session.socket
        port.pause_reading()
        self.assertFalse(socket.accepting)
        socket.deliver(client_frame(TEXT, b"a") + client_frame(TEXT, b"b"))
        self.assertEqual(self.session.messages, [])
        port.resume_reading()
        self.assertTrue(socket.accepting)
        self.assertEqual(self.session.messages, [(b"a", False), (b"b", False)])

    def test_a_pause_in_the_midst_of_a_read_takes_effect_at_the_next_message(self) -> None:
        socket = self.open()
        session = self.session
        received = session.received

        def receive_and_pause(payload: bytes, binary: bool) -> None:
            received(payload, binary)
            session.socket.pause_reading()

        session.received = receive_and_pause  # type: ignore[method-assign]
        socket.deliver(b"".join(client_frame(TEXT, b"%d" % i) for i in range(5)))
        for seen in range(1, 6):
            self.assertEqual(len(session.messages), seen)
            session.socket.resume_reading()
        self.assertEqual([payload for payload, _ in session.messages], list(b"0 1 2 3 4".split()))

    def test_pause_and_resume_in_one_message(self) -> None:
        socket = self.open()
        session = self.session
        received = session.received

        def blink(payload: bytes, binary: bool) -> None:
            session.socket.pause_reading()
            received(payload, binary)
            session.socket.resume_reading()

        session.received = blink  # type: ignore[method-assign]
        socket.deliver(client_frame(TEXT, b"a") + client_frame(TEXT, b"b"))
        self.assertEqual(len(session.messages), 2)
        self.assertTrue(socket.accepting)

    def test_a_paused_connection_can_be_closed(self) -> None:
        socket = self.open()
        self.session.socket.pause_reading()
        self.session.socket.close(1001, "")
        self.assertTrue(socket.accepting)
        self.assert_closed(socket, 1001)

    def test_a_paused_connection_is_pinged_but_not_dropped_for_its_silence(self) -> None:
        socket = self.open()
        self.session.socket.pause_reading()
        self.clock.pump([1] * 100)
        self.assertIsNone(socket.lost)
        self.assertIn((PING, b""), socket.take_frames())

    def test_its_loss_is_noticed(self) -> None:
        socket = self.open()
        self.session.socket.pause_reading()
        socket.lose(ConnectionDone())
        self.assertEqual(self.session.events, ["opened", "lost"])


class PingTests(WebSocketTestCase):
    """Peers that may be gone."""

    def test_a_silent_peer_is_pinged_and_dropped(self) -> None:
        socket = self.open()
        self.clock.pump([1] * 24)
        self.assertEqual(socket.take(), b"")
        self.clock.pump([1])
        self.assertEqual(socket.take_frames(), [(PING, b"")])
        self.clock.pump([1] * 19)
        self.assertIsNone(socket.lost)
        self.clock.pump([1, 0])
        self.assertTrue(socket.lost)
        self.assertEqual(self.session.events, ["opened", "lost"])

    def test_who_answers_is_pinged_again_each_interval(self) -> None:
        socket = self.open()
        for _ in range(5):
            self.clock.pump([1] * 25)
            self.assertEqual(socket.take_frames(), [(PING, b"")])
            socket.deliver(client_frame(PONG))
        self.assertIsNone(socket.lost)

    def test_who_talks_is_not_pinged(self) -> None:
        socket = self.open()
        for _ in range(20):
            socket.deliver(client_frame(TEXT, b"a"))
            self.clock.pump([1] * 10)
        self.assertEqual(socket.take(), b"")

    def test_who_reads_slowly_but_steadily_is_alive(self) -> None:
        socket = self.open()
        socket.reading = False
        for _ in range(10):
            self.session.socket.send(b"a" * 70_000, True)
            self.clock.pump([1] * 10)
            socket.drain()
        self.assertIsNone(socket.lost)

    def test_who_neither_reads_nor_talks_is_dropped(self) -> None:
        socket = self.open()
        socket.reading = False
        self.session.socket.send(b"a" * 70_000, True)
        self.clock.pump([1] * 50)
        self.assertTrue(socket.lost)

    def test_no_timer_runs_without_connections(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        sockets = [self.open() for _ in range(10)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for socket in sockets:
            socket.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WritableTests(WebSocketTestCase):
    """What a session knows of its peer's reading."""

    def test_it_is_writable_until_the_socket_is_full_and_told_when_it_is_again(self) -> None:
        socket = self.open()
        port = self.session.socket
        self.assertTrue(port.writable)
        socket.reading = False
        port.send(b"a" * 70_000, True)
        self.assertFalse(port.writable)
        port.send(b"b" * 1_000, True)
        self.assertEqual(self.session.awoken, 0)
        socket.reading = True
        socket.drain()
        self.assertTrue(port.writable)
        self.assertEqual(self.session.awoken, 1)
        self.assertEqual([payload[:1] for _, payload in socket.take_frames()], [b"a", b"b"])

    def test_it_is_not_told_while_something_still_waits(self) -> None:
        socket = self.open()
        socket.reading = False
        for _ in range(2):
            self.session.socket.send(b"a" * 70_000, True)
        # The second of them fills the socket again.
        socket.drain()
        self.assertFalse(self.session.socket.writable)
        self.assertEqual(self.session.awoken, 0)
        socket.drain()
        self.assertTrue(self.session.socket.writable)
        self.assertEqual(self.session.awoken, 1)

    def test_what_it_sends_then_comes_after_what_waited(self) -> None:
        socket = self.open()
        session = self.session
        session.writable = lambda: session.socket.send(b"c", True)  # type: ignore[method-assign]
        socket.reading = False
        session.socket.send(b"a" * 70_000, True)
        session.socket.send(b"b", True)
        socket.reading = True
        socket.drain()
        self.assertEqual([payload[:1] for _, payload in socket.take_frames()], [b"a", b"b", b"c"])

    def test_a_session_that_fails_then_is_1011(self) -> None:
        socket = self.open()
        self.session.writable = lambda: 1 / 0  # type: ignore[method-assign,assignment]
        socket.reading = False
        self.session.socket.send(b"a" * 70_000, True)
        socket.reading = True
        socket.drain()
        socket.received = socket.received[70_010:]
        self.assert_closed(socket, 1011)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_closed_one_is_not_writable(self) -> None:
        socket = self.open()
        port = self.session.socket
        port.close(1000, "")
        self.assertFalse(port.writable)
        socket.lose(ConnectionDone())
        self.assertFalse(port.writable)
        self.assertEqual(self.session.awoken, 0)

    def test_its_room_is_the_send_buffer(self) -> None:
        self.open()
        self.assertEqual(self.session.socket.room, 100_000)

    def test_frames_are_everybodys(self) -> None:
        self.open()
        encoder = RawDialect().codec(Route()).encoder
        self.assertIs(self.session.socket.encoder(encoder), encoder)


class LinkTests(WebSocketTestCase):
    """News of the link."""

    def test_every_session_hears_of_it(self) -> None:
        self.open()
        self.open()
        self.factory.link_changed("connecting")
        self.assertEqual([s.events[-1] for s in self.sessions], ["connecting"] * 2)


class ShutdownTests(WebSocketTestCase):
    """Closing all of them."""

    def test_all_are_closed_and_nobody_gets_in(self) -> None:
        sockets = [self.open(), self.open()]
        done = self.factory.close_all(1001, "shutting down")
        self.assertNoResult(done)
        self.assertEqual(self.status(self.ask()), 503)
        self.assert_closed(sockets[0], 1001)
        self.assertNoResult(done)
        self.assert_closed(sockets[1], 1001)
        self.assertIsNone(self.successResultOf(done))

    def test_sessions_say_before_the_close_when_to_be_back(self) -> None:
        sockets = []
        for luck, seconds in ((0.0, 0.5), (0.5, 2.75), (1.0, 5.0)):
            sockets.append(self.open())
            self.luck = luck
            self.factory.close_all(1001, "shutting down")
            self.assertEqual(self.session.delays, [seconds])
            self.factory._refusing = None
        for socket in sockets:
            frames = socket.take_frames()
            self.assertEqual([opcode for opcode, _ in frames], [TEXT, CLOSE])
            self.assertEqual(frames[0][1], b"bye")

    def test_a_session_that_can_not_say_it_is_closed_all_the_same(self) -> None:
        socket = self.open()
        self.session.draining = lambda seconds: 1 / 0  # type: ignore[method-assign,assignment]
        self.factory.close_all()
        self.assert_closed(socket, 1011)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_it_ends_at_the_deadline(self) -> None:
        self.open().reading = False
        done = self.factory.close_all()
        self.clock.pump([1] * 2)
        self.assertNoResult(done)
        self.clock.pump([1, 1, 0])
        self.successResultOf(done)

    def test_without_connections_it_is_done_at_once(self) -> None:
        self.successResultOf(self.factory.close_all())
        self.successResultOf(self.factory.close_all())


class MemoryTests(WebSocketTestCase):
    """What a connection keeps, and what it leaves."""

    def test_an_open_connection_keeps_nothing_of_its_handshake(self) -> None:
        socket = self.open(upgrade(Cookie="c" * 5_000))
        kept = vars(self.protocol(socket))
        self.assertNotIn("c" * 100, repr(kept))
        self.assertLess(len(kept), 10, sorted(kept))

    def test_a_message_leaves_little_behind(self) -> None:
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"m" * 900))
        kept = vars(self.protocol(socket))
        self.assertNotIn("m" * 100, repr(kept))
        self.assertLess(len(kept), 22, sorted(kept))

    def test_nothing_is_left_of_a_lost_connection_without_the_collector(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        socket = self.open()
        socket.deliver(client_frame(TEXT, b"hello"))
        references = [
            weakref.ref(each)
            for each in (self.protocol(socket), self.session, vars(self.protocol(socket)))
            if not isinstance(each, dict)
        ]
        socket.producer = None
        socket.lose(ConnectionDone())
        self.sessions.clear()
        del socket
        self.clock.advance(0)
        self.assertEqual([reference() for reference in references], [None] * len(references))

    def test_everything_is_counted_back(self) -> None:
        for _ in range(20):
            socket = self.open()
            socket.deliver(client_frame(TEXT, b"hello"))
            socket.lose(ConnectionDone())
        self.assertEqual(self.factory.connections, set())
        self.assertEqual((self.front.census.total, self.front.census.places), (0, {}))
        self.assertEqual(self.factory.countConnections, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
