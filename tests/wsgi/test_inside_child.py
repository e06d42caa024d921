"""Children as workers start them, with applications that know nothing of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.wsgi.inside_case import pieces, request
from twbridge.wsgi.messages import (
    PIECE,
    WINDOW,
    Cancel,
    Credit,
    Failed,
    Grant,
    Part,
    Start,
    ToBridge,
    ToWorker,
    Upload,
    encode,
    read_to_bridge,
)
from twbridge.wsgi.pipe import (
    DONE,
    HELLO,
    LAST,
    MESSAGE,
    Begin,
    Frames,
    Hello,
    frame,
    pack_begin,
    read_hello,
)

ROOT = Path(__file__).parent.parent.parent
#: Seconds that anything may take.
PATIENCE = 20


class Lane:
    """The worker's end of one."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._frames = Frames()
        self._held: list[tuple[int, bytes]] = []

    def say(self, message: ToWorker) -> None:
        self.end.sendall(frame(MESSAGE, encode(message)))

    def next(self) -> tuple[int, bytes]:
        """The next frame."""
        while not self._held:
            data = self.end.recv(65536)
            assert data, "the child has ended"
            self._held = self._frames.feed(data)
        return self._held.pop(0)

    def messages(self) -> Iterator[ToBridge]:
        """What the child says until the lane is free."""
        kind = MESSAGE
        while kind not in (DONE, LAST):
            kind, payload = self.next()
            if kind != DONE:
                yield read_to_bridge(payload)

    def answer(self) -> tuple[Start, bytes]:
        """The answer to a request."""
        start, *parts = (each for each in self.messages() if not isinstance(each, Grant))
        assert isinstance(start, Start), start
        return start, start.body + b"".join(each.data for each in parts if isinstance(each, Part))

    def text(self) -> str:
        """Its body."""
        return self.answer()[1].decode()


class ChildCase(SynchronousTestCase):
    """A process."""

    def start(self, app: str, lanes: int = 1) -> list[Lane]:
        """Start it; its pipes are closed and its end is awaited with the test."""
        pairs = [socket.socketpair() for _ in range(lanes)]
        fds = [theirs.fileno() for _, theirs in pairs]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "twbridge.wsgi.inside", app, *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.stop, self.process, [ours for ours, _ in pairs])
        for ours, theirs in pairs:
            ours.settimeout(PATIENCE)
            theirs.close()
        found = [Lane(ours) for ours, _ in pairs]
        path = [str(ROOT), *sys.path]
        found[0].end.sendall(pack_begin(Begin(os.getpid(), path, app, "w-1", lanes)))
        return found

    def serve(self, app: str, lanes: int = 1) -> list[Lane]:
        """Start it; it serves."""
        found = self.start(app, lanes)
        kind, payload = found[0].next()
        self.assertEqual((kind, read_hello(payload)), (HELLO, Hello()))
        return found

    def stop(self, process: subprocess.Popen[bytes], ends: list[socket.socket]) -> None:
        for each in ends:
            each.close()
        process.communicate(timeout=PATIENCE)

    def log(self) -> str:
        """What it has written to stderr, now that it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


class ChildTests(ChildCase):
    """How it starts, serves and ends."""

    def test_it_serves_one_request_after_the_other(self) -> None:
        (lane,) = self.serve("tests.wsgi.child_app")
        for _ in range(3):
            lane.say(request("/about"))
            self.assertEqual(lane.text(), "MainThread [False, True] []")
        assert self.process.stdout is not None
        self.assertEqual(self.process.stdout.readline(), b"about to answer\n")

    def test_it_outlives_what_would_end_a_program(self) -> None:
        (lane,) = self.serve("tests.wsgi.child_app:application")
        lane.say(request("/leave"))
        self.assertEqual(list(lane.messages()), [Failed("app", "SystemExit: 3")])
        for each in (signal.SIGINT, signal.SIGTERM):
            self.process.send_signal(each)
            lane.say(request("/about"))
            self.assertIn("MainThread", lane.text())
        # A process that the application forks ends where the application returns.
        lane.say(request("/fork"))
        self.assertEqual(lane.text(), "left with 0")
        lane.say(request("/fork_and_read", body=b"a", more=True, length=2))
        self.assertIsInstance(read_to_bridge(lane.next()[1]), Grant)
        lane.say(Upload(1, b"b", False))
        self.assertEqual(lane.text(), "ab")

    def test_a_download_waits_for_credit_and_ends_when_the_client_leaves(self) -> None:
        (lane,) = self.serve("tests.wsgi.child_app")
        lane.say(request("/download"))
        self.assertEqual(self.received(lane, WINDOW), WINDOW)
        lane.say(Credit(PIECE + 10))
        self.assertEqual(self.received(lane, PIECE + 10), PIECE + 10)
        lane.say(Cancel("gone"))
        self.assertEqual(lane.next(), (DONE, b""))
        assert self.process.stdout is not None
        self.assertEqual(self.process.stdout.readline(), b"closed\n")

    def received(self, lane: Lane, size: int) -> int:
        """Bytes of the messages that bring so many, or more."""
        found = 0
        while found < size:
            message = read_to_bridge(lane.next()[1])
            found += len(message.body if isinstance(message, Start) else message.data)  # type: ignore[union-attr]
        return found

    def test_each_lane_is_a_thread(self) -> None:
        first, second = self.serve("tests.wsgi.child_app", 2)
        first.say(request("/read", more=True, length=None))
        self.assertIsInstance(read_to_bridge(first.next()[1]), Grant)
        second.say(request("/about"))
        self.assertEqual(second.text(), "twbridge-lane-2 [True, True] []")
        first.say(Upload(1, bytes(10), False))
        self.assertEqual(first.text(), "10")

    def test_it_ends_when_the_worker_closes_a_lane_whatever_it_does(self) -> None:
        for busy in (None, "/sleep"):
            first, _second = self.serve("tests.wsgi.child_app", 2)
            if busy:
                first.say(request(busy))
            first.end.close()
            self.process.wait(PATIENCE)
        _first, second = self.serve("tests.wsgi.child_app", 2)
        second.end.close()
        self.process.wait(PATIENCE)

    def test_an_application_that_is_not_there_is_told(self) -> None:
        (lane,) = self.start("tests.wsgi.child_app:nothing")
        kind, payload = lane.next()
        expected = Hello("'tests.wsgi.child_app' has no 'nothing'")
        self.assertEqual((kind, read_hello(payload)), (HELLO, expected))
        lane.end.close()
        self.process.wait(PATIENCE)
        self.assertEqual(self.log(), "")


class FrameworkTests(ChildCase):
    """Flask and Django."""

    def get(self, path: str, **more: Any) -> tuple[Start, bytes]:
        self.lane.say(request(path, **more))
        return self.lane.answer()

    def post(self, path: str, body: bytes, size: int, kind: str, **fields: str) -> bytes:
        first, *rest = pieces(body, size)
        given = {"content-type": kind, **fields}
        asked = request(path, method="POST", body=first, more=bool(rest), fields=given)
        asked.length = len(body)
        self.lane.say(asked)
        for number, each in enumerate(rest, 1):
            self.lane.say(Upload(number, each, number < len(rest)))
        start, answer = self.lane.answer()
        self.assertEqual(start.status, 200)
        return answer

    def upload(self, path: str, size: int, **fields: str) -> bytes:
        data = (
            b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nHello\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
            + bytes(size)
            + b"\r\n--x--\r\n"
        )
        return self.post(path, data, 20_000, "multipart/form-data; boundary=x", **fields)

    def test_flask(self) -> None:
        (self.lane,) = self.serve("tests.integration.wsgi_flask")
        start, body = self.get("/users/Zo%C3%AB", query="greeting=Hi")
        self.assertEqual((start.status, body.decode()), (200, "Hi, Zoë!"))
        self.assertFalse(start.more)
        start, _ = self.get("/old")
        self.assertIn(("Location", "/app/users/Zo%C3%AB"), start.fields)
        start, body = self.get("/cookie", fields={"cookie": "seen=before"})
        self.assertEqual(body, b"before")
        self.assertEqual(len([1 for name, _ in start.fields if name == "Set-Cookie"]), 2)
        self.assertIn(b'"size":100000', self.upload("/files", 100_000))
        start, body = self.get("/lines", query="count=3")
        self.assertEqual((start.more, body), (True, b"line 0\nline 1\nline 2\n"))
        self.assertEqual(self.get("/nothing")[0].status, 404)
        self.assertEqual(self.get("/error")[0].status, 500)
        start, body = self.get("/", method="HEAD")
        self.assertEqual((body, ("Content-Length", "16") in start.fields), (b"", True))

    def test_django(self) -> None:
        (self.lane,) = self.serve("tests.integration.wsgi_site.wsgi")
        host = {"host": "localhost"}
        start, _ = self.get("/", fields=host)
        self.assertEqual((start.status, start.more), (200, False))
        cookies = [value for name, value in start.fields if name == "Set-Cookie"]
        token = next(each for each in cookies if each.startswith("csrftoken=")).split(";")[0]
        fields = {"host": "localhost", "cookie": token, "x-csrftoken": token.partition("=")[2]}
        self.assertIn(b'"size": 3000000', self.upload("/upload/", 3_000_000, **fields))
        start, body = self.get("/lines/", query="count=3", fields=host)
        self.assertEqual((start.more, body), (True, b"line 0\nline 1\nline 2\n"))
        start, body = self.get("/static/site.css", fields=host)
        self.assertEqual((start.status, bool(body)), (200, True))
        start, _ = self.get("/error/", fields=host)
        self.assertEqual(start.status, 500)
