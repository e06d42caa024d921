"""A lane in the test's own process: the test is the worker."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any
from wsgiref.types import WSGIApplication

from twisted.trial.unittest import SynchronousTestCase

from twbridge.wsgi.inside.environ import common
from twbridge.wsgi.inside.lane import Lane
from twbridge.wsgi.inside.serving import serve_next
from twbridge.wsgi.messages import (
    PIECE,
    WINDOW,
    Failed,
    Grant,
    Part,
    Request,
    Start,
    ToBridge,
    ToWorker,
    encode,
    read_to_bridge,
)
from twbridge.wsgi.pipe import DONE, LAST, MESSAGE, Frames, frame

PLAIN = ("Content-Type", "text/plain")
Sent = list[tuple[int, ToBridge | None]]
"""Kinds of frames and what is in them."""


def request(
    path: str = "/", *, method: str = "GET", fields: dict[str, str] | None = None, **more: Any
) -> Request:
    """A request, with what most have."""
    given: dict[str, Any] = {
        "mount": "/app",
        "query": "",
        "version": "HTTP/1.1",
        "scheme": "http",
        "server": ("example.org", 8080),
        "client": ("192.0.2.7", 4321),
        "length": len(more.get("body", b"")),
        "body": b"",
        "more": False,
        "window": WINDOW,
        "timeout": 30.0,
    } | more
    return Request(
        method=method, path=path, fields=list(({"host": "x"} | (fields or {})).items()), **given
    )


def pieces(data: bytes, size: int = PIECE) -> list[bytes]:
    """Some bytes in pieces."""
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


class MemoryLane(Lane):
    """A lane without a pipe: what the child reads is there before, and what it writes is kept."""

    def __init__(self) -> None:
        self.said: deque[bytes] = deque()
        self.heard: Sent = []
        #: What is said comes when it is waited for, no earlier.
        self.comes_late = False
        self._written = Frames()
        self._begin()

    def _receive(self) -> bytes:
        assert self.said, "it would wait for ever"
        return frame(MESSAGE, self.said.popleft())

    def _is_readable(self) -> bool:
        return bool(self.said) and not self.comes_late

    def write(self, data: bytes) -> None:
        for kind, payload in self._written.feed(data):
            assert kind != MESSAGE or self.writing.locked(), "others might write, too"
            self.heard.append((kind, read_to_bridge(payload) if payload else None))


class LaneCase(SynchronousTestCase):
    """The test is the worker. It says what the bridge says before the application runs, which hears
    it when it would wait: so nothing here waits.
    """

    def setUp(self) -> None:
        self.lane = MemoryLane()
        self.common = common(1)
        self.errors = io.StringIO()
        self.patch(sys, "stderr", self.errors)

    def say(self, *messages: ToWorker | bytes) -> None:
        """Write messages, or bodies that are none, to the lane."""
        self.lane.said += [each if isinstance(each, bytes) else encode(each) for each in messages]

    def heard(self) -> Sent:
        """What the child has said by now."""
        found, self.lane.heard = self.lane.heard, []
        return found

    def run_app(self, app: Any, asked: Request, *then: ToWorker | bytes) -> Sent:
        """Have one request answered."""
        self.say(asked, *then)
        serve_next(self.lane, app, self.common)
        return self.heard()

    def answer(self, app: Any, asked: Request, *then: ToWorker | bytes) -> tuple[Start, bytes]:
        """The answer, put together; it must be complete, and the lane free."""
        sent = self.run_app(app, asked, *then)
        messages = [each for _, each in sent if each is not None and not isinstance(each, Grant)]
        start, *rest = messages
        assert isinstance(start, Start), start
        self.assertEqual([each for each, _ in sent if each in (DONE, LAST)], [sent[-1][0]])
        body, more = [start.body], start.more
        for number, part in enumerate(rest, 1):
            assert isinstance(part, Part), part
            self.assertTrue(more)
            self.assertEqual(part.number, number)
            body.append(part.data)
            more = part.more
        self.assertFalse(more)
        self.assertLessEqual(max(map(len, body)), PIECE)
        return start, b"".join(body)

    def failure(self, app: Any, asked: Request, *then: ToWorker | bytes) -> str:
        """Why there is no answer; the lane must be free."""
        kind, message = self.run_app(app, asked, *then)[-1]
        assert isinstance(message, Failed), message
        self.assertEqual((kind, message.kind), (LAST, "app"))
        return message.text


class Blocks:
    """An iterable that knows nothing of its length, and notes how it is used."""

    def __init__(self, *blocks: Any) -> None:
        self.rest = list(blocks)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        while self.rest:
            block = self.rest.pop(0)
            if isinstance(block, BaseException):
                raise block
            yield block() if callable(block) else block

    def close(self) -> None:
        self.closed += 1


class Counted(Blocks):
    """One that knows its length."""

    def __len__(self) -> int:
        return len(self.rest)


def giving(result: Any, *fields: tuple[str, str], status: str = "200 OK") -> Any:
    """An application that returns this."""

    def app(_environ: Any, start_response: Any) -> Any:
        start_response(status, [PLAIN, *fields])
        return result

    return app


def length(size: int) -> tuple[str, str]:
    """The field."""
    return "Content-Length", str(size)


def text(
    body: bytes = b"hello", *fields: tuple[str, str], status: str = "200 OK"
) -> WSGIApplication:
    """An application that answers with one block."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", "text/plain"), *fields])
        return [body]

    return app
