"""Back-pressure towards a socket and from the link."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import FakeLink
from twbridge.flow import Gate, Outbox


class Socket:
    """Takes ``room`` bytes, then pauses its producer as a transport does: within the write."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.written: list[bytes] = []
        self.outbox: Outbox | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.room -= len(data)
        if self.room <= 0 and self.outbox is not None:
            self.outbox.pauseProducing()


class OutboxTests(SynchronousTestCase):
    def make(self, limit: int = 10, room: int = 1 << 30) -> tuple[Outbox, Socket, list[str]]:
        socket, told = Socket(room), []
        outbox = Outbox(socket, limit, lambda: told.append("overflow"))
        socket.outbox = outbox
        return outbox, socket, told

    def test_it_is_a_push_producer(self) -> None:
        verifyObject(IPushProducer, self.make()[0])

    def test_frames_go_straight_through(self) -> None:
        outbox, socket, _ = self.make()
        frame = b"x" * 100
        outbox.send(frame)
        self.assertIs(socket.written[0], frame)
        self.assertEqual(outbox.queued, 0)

    def test_frames_wait_in_order_while_it_is_paused(self) -> None:
        outbox, socket, _ = self.make()
        outbox.pauseProducing()
        outbox.send(b"abc")
        outbox.send(b"de")
        self.assertEqual((socket.written, outbox.queued), ([], 5))
        outbox.resumeProducing()
        self.assertEqual((socket.written, outbox.queued), ([b"abc", b"de"], 0))
        outbox.send(b"f")
        self.assertEqual(socket.written[-1], b"f")

    def test_a_socket_that_fills_while_it_drains_gets_no_more(self) -> None:
        outbox, socket, _ = self.make()
        outbox.pauseProducing()
        for frame in (b"aa", b"bb", b"cc"):
            outbox.send(frame)
        socket.room = 3
        outbox.resumeProducing()
        self.assertEqual((socket.written, outbox.queued), ([b"aa", b"bb"], 2))
        outbox.send(b"dd")
        outbox.resumeProducing()
        self.assertEqual(socket.written, [b"aa", b"bb", b"cc"])
        outbox.resumeProducing()
        self.assertEqual(socket.written, [b"aa", b"bb", b"cc", b"dd"])

    def test_the_limit_is_exact_and_told_once(self) -> None:
        outbox, socket, told = self.make(limit=10)
        outbox.pauseProducing()
        outbox.send(b"x" * 10)
        self.assertEqual((outbox.queued, told), (10, []))
        outbox.send(b"y")
        outbox.send(b"z")
        self.assertEqual((outbox.queued, told), (0, ["overflow"]))
        outbox.resumeProducing()
        outbox.send(b"late")
        self.assertEqual(socket.written, [])

    def test_one_frame_may_be_larger_than_the_limit(self) -> None:
        outbox, _, told = self.make(limit=10)
        outbox.pauseProducing()
        outbox.send(b"x" * 11)
        self.assertEqual((outbox.queued, told), (11, []))
        outbox.send(b"y")
        self.assertEqual((outbox.queued, told), (0, ["overflow"]))

    def test_after_the_end_nothing_is_written(self) -> None:
        outbox, socket, told = self.make()
        outbox.pauseProducing()
        outbox.send(b"waits")
        outbox.stopProducing()
        outbox.resumeProducing()
        outbox.send(b"late")
        self.assertEqual((socket.written, outbox.queued, told), ([], 0, []))


class Waiter:
    def __init__(self, link: FakeLink, fills: bool = False) -> None:
        self.link = link
        self.fills = fills
        self.times = 0

    def relieved(self) -> None:
        self.times += 1
        if self.fills:
            self.link.pressed = True


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.gate = Gate(self.link)
        self.link.press(True)

    def test_who_waits_is_told_once_when_there_is_room(self) -> None:
        waiter = Waiter(self.link)
        self.assertTrue(self.gate.shut)
        self.gate.wait(waiter)
        self.gate.wait(waiter)
        self.assertEqual(waiter.times, 0)
        self.link.press(False)
        self.link.press(False)
        self.assertEqual(waiter.times, 1)
        self.assertFalse(self.gate.shut)

    def test_who_left_is_not_told(self) -> None:
        waiter = Waiter(self.link)
        self.gate.wait(waiter)
        self.gate.leave(waiter)
        self.gate.leave(waiter)
        self.link.press(False)
        self.assertEqual(waiter.times, 0)

    def test_when_one_fills_the_link_again_the_others_wait_on_in_order(self) -> None:
        first, second = Waiter(self.link, fills=True), Waiter(self.link)
        self.gate.wait(first)
        self.gate.wait(second)
        self.link.press(False)
        self.assertEqual((first.times, second.times), (1, 0))
        self.link.press(False)
        self.assertEqual((first.times, second.times), (1, 1))

    def test_a_stopped_gate_leaves_the_link_alone(self) -> None:
        waiter = Waiter(self.link)
        self.gate.wait(waiter)
        self.gate.stop()
        self.link.press(False)
        self.assertEqual(waiter.times, 0)
