"""Threads of applications: one that reads while another answers, and one that is left behind."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any

from tests.wsgi.inside_case import PLAIN, LaneCase, MemoryLane, request
from twbridge.wsgi.inside.lane import Gone
from twbridge.wsgi.inside.serving import serve_next
from twbridge.wsgi.messages import Cancel, Credit, Grant, Part, Start, ToWorker, Upload, encode
from twbridge.wsgi.pipe import LAST, MESSAGE, frame

#: Seconds that anything may take.
PATIENCE = 20


class SharedLane(MemoryLane):
    """One that is really waited for, by one thread at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.comes: SimpleQueue[bytes] = SimpleQueue()
        self._waits = Semaphore(0)

    def waits(self) -> None:
        """Return when somebody waits, who had not."""
        assert self._waits.acquire(timeout=PATIENCE)

    def say(self, *messages: ToWorker) -> None:
        for each in messages:
            self.comes.put(encode(each))

    def _receive(self) -> bytes:
        self._waits.release()
        return frame(MESSAGE, self.comes.get(timeout=PATIENCE))

    def _is_readable(self) -> bool:
        return not self.comes.empty()


class ThreadTests(LaneCase):
    """A thread that waits for the input, and the lane's own."""

    def setUp(self) -> None:
        super().setUp()
        self.lane: SharedLane = SharedLane()
        self.read: list[Any] = []

    def reads(self, environ: dict[str, Any]) -> Thread:
        """A thread that waits for the body."""

        def read() -> None:
            try:
                self.read.append(environ["wsgi.input"].read())
            except OSError as error:
                self.read.append(type(error))

        thread = Thread(target=read, daemon=True)
        thread.start()
        self.lane.waits()
        return thread

    def serve(self, app: Any, **asked: Any) -> list[Any]:
        self.lane.say(request(**asked))
        serve_next(self.lane, app, self.common)
        return self.heard()

    def test_each_gets_what_is_for_it(self) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            self.lane.waits()
            reader = self.reads(environ)
            write = start_response("200 OK", [PLAIN])
            self.lane.say(Credit(6))
            write(b"0123456789")
            self.lane.say(Upload(1, b"body", False))
            reader.join(PATIENCE)
            return [b"!"]

        sent = self.serve(app, method="POST", length=4, more=True, window=5)
        self.assertEqual(
            sent,
            [
                (MESSAGE, Grant(4)),
                (MESSAGE, Start(200, "OK", [PLAIN], b"01234", True)),
                (MESSAGE, Part(1, b"56789", True)),
                (MESSAGE, Part(2, b"!", True)),
                (LAST, Part(3, b"", False)),
            ],
        )
        self.assertEqual(self.read, [b"body"])

    def test_both_hear_that_the_client_has_left(self) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            self.lane.waits()
            reader = self.reads(environ)
            self.lane.say(Cancel("gone"))
            reader.join(PATIENCE)
            return []

        self.serve(app, method="POST", length=4, more=True)
        self.assertEqual(self.read, [Gone])

    def test_one_that_is_left_behind_leaves_the_next_request_alone(self) -> None:
        readers = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["REQUEST_METHOD"] == "POST":
                self.lane.waits()
                readers.append(self.reads(environ))
            start_response("200 OK", [PLAIN])
            return [environ["REQUEST_METHOD"].encode()]

        self.serve(app, method="POST", length=4, more=True)
        ((_, start),) = self.serve(app)
        self.assertEqual(start.body, b"GET")
        readers[0].join(PATIENCE)
        self.assertEqual(self.read, [Gone])
