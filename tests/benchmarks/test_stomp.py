"""What the STOMP benchmarks send and how they read what comes."""

from __future__ import annotations

import socket
import time

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.fanout import BODY
from benchmarks.latency import STAMP, StompWatch
from benchmarks.sockets import Client
from benchmarks.stomp import send_frame
from twbridge.sockets.inbound import next_message


def _client(connection: socket.socket) -> Client:
    client = Client.__new__(Client)
    client.socket = connection
    return client


class SendFrameTests(SynchronousTestCase):
    """One SEND."""

    def test_it_is_persistent_and_asks_for_its_receipt(self) -> None:
        found = next_message(send_frame("jobs", 7), 0, 1000)
        assert found is not None
        head, _, body = found[0].partition(b"\n\n")
        self.assertEqual(
            head.split(b"\n"),
            [
                b"SEND",
                b"destination:/queue/jobs",
                b"persistent:true",
                b"content-type:application/json",
                b"receipt:p07",
            ],
        )
        self.assertEqual(body, BODY + b"\0")


class StompWatchTests(SynchronousTestCase):
    """Frames whose length varies, in pieces."""

    def setUp(self) -> None:
        self.server, ours = socket.socketpair()
        self.addCleanup(self.server.close)
        self.watch = StompWatch([_client(ours)], 0, 0)
        self.addCleanup(self.watch.close)

    def _frame(self, number: int, ago: float) -> bytes:
        stamp = b"%0*d" % (len(STAMP), time.monotonic_ns() - int(ago * 1e9))
        return b"\x81\x7e\x00\x80MESSAGE\nmessage-id:%d\n\n%btext\0\n" % (number, stamp)

    def test_each_frame_is_one_time(self) -> None:
        self.server.sendall(self._frame(9, 1.0) + self._frame(10, 2.0))
        self.watch.wait(1)
        first, second = self.watch.milliseconds
        self.assertTrue(1000 <= first < 2000 <= second < 3000, self.watch.milliseconds)

    def test_a_frame_in_pieces_is_one_time(self) -> None:
        for byte in self._frame(1, 1.0) + self._frame(2, 1.0):
            self.server.sendall(bytes((byte,)))
            self.watch.wait(1)
        self.assertEqual(len(self.watch.milliseconds), 2)
