"""Heart-beats of a dialect."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import client_frame
from tests.sockets.harness import TEXT, WebSocketTestCase
from twbridge.sockets.beats import Beats


class BeatsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[float] = []
        self.dead: list[float] = []
        self.deaf = False

    def make(self, every: float, expect: float) -> Beats:
        return Beats(
            self.clock,
            lambda: self.sent.append(self.clock.seconds()),
            lambda: self.dead.append(self.clock.seconds()),
            lambda: self.deaf,
            every=every,
            expect=expect,
        )

    def test_it_beats_as_often_as_it_has_promised_and_not_at_once(self) -> None:
        beats = self.make(3, 0)
        self.clock.pump([1] * 10)
        self.assertEqual((self.sent, self.dead), ([3, 6, 9], []))
        beats.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_either_it_does_nothing(self) -> None:
        self.make(0, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_peer_that_is_heard_of_lives(self) -> None:
        beats = self.make(0, 2)
        for _ in range(10):
            self.clock.advance(2)
            beats.heard = True
        self.assertEqual((self.sent, self.dead), ([], []))
        beats.stop()
        beats.stop()

    def test_a_silent_one_is_dead_after_twice_its_promise_and_told_once(self) -> None:
        beats = self.make(1, 2)
        beats.heard = False
        self.clock.pump([1] * 3)
        self.assertEqual(self.dead, [])
        self.clock.pump([1] * 9)
        self.assertEqual((self.dead, self.sent), ([4], [1, 2, 3]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_opening_is_a_sign_of_life(self) -> None:
        self.make(0, 2)
        self.clock.pump([1] * 7)
        self.assertEqual(self.dead, [])
        self.clock.advance(1)
        self.assertEqual(self.dead, [8])

    def test_one_that_is_not_read_is_not_silent(self) -> None:
        self.make(0, 2)
        self.deaf = True
        self.clock.pump([4] * 5)
        self.deaf = False
        self.clock.advance(4)
        self.assertEqual(self.dead, [])
        self.clock.advance(4)
        self.assertEqual(self.dead, [28])


class SocketBeatsTests(WebSocketTestCase):
    """On a WebSocket."""

    def test_a_beat_is_a_text_message_while_the_socket_takes_data(self) -> None:
        socket = self.open()
        self.session.socket.beat(1, 0, b"\n")
        self.clock.advance(1)
        self.assertEqual(socket.take_frames(), [(TEXT, b"\n")])
        socket.reading = False
        self.protocol(socket).pauseProducing()
        self.clock.advance(1)
        socket.reading = True
        self.assertEqual(socket.take_frames(), [])

    def test_whatever_comes_is_a_sign_of_life_and_without_any_it_is_closed(self) -> None:
        socket = self.open()
        self.session.socket.beat(0, 1, b"\n")
        for _ in range(10):
            self.clock.advance(1)
            socket.deliver(client_frame(TEXT, b"\n"))
        self.assertEqual(socket.take_frames(), [])
        self.clock.pump([2, 2])
        self.assert_closed(socket, 1002)

    def test_who_is_not_read_is_not_closed_for_it(self) -> None:
        socket = self.open()
        port = self.session.socket
        port.beat(0, 1, b"\n")
        port.pause_reading()
        self.clock.pump([1] * 9)
        port.resume_reading()
        self.clock.advance(1)
        self.assertEqual(socket.take_frames(), [])

    def test_new_ones_stand_in_for_those_before(self) -> None:
        socket = self.open()
        port = self.session.socket
        port.beat(1, 1, b"a")
        port.beat(2, 0, b"b")
        self.clock.pump([1] * 6)
        self.assertEqual(socket.take_frames(), [(TEXT, b"b")] * 3)

    def test_they_end_with_the_connection(self) -> None:
        socket = self.open()
        self.session.socket.beat(1, 1, b"a")
        self.session.socket.close(1000, "")
        self.clock.advance(0)
        self.assert_closed(socket, 1000)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
