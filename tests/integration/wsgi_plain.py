"""WSGI applications that no framework stands before: what a server must do well, and what hurts it.

``application`` answers; ``validated`` is the same behind wsgiref's validator. What they note goes
into the file ``notes`` of the folder ``TEST_FOLDER``, a line each.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

PIECE = 65_536
TEXT = [("Content-Type", "text/plain")]


def note(*words: object) -> None:
    """Tell the test."""
    line = " ".join(map(str, words)) + "\n"
    with open(Path(os.environ["TEST_FOLDER"]) / "notes", "a") as notes:
        notes.write(line)


class Asked:
    """A request, for those that answer it."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self.environ: dict[str, Any] = environ
        self.start = start_response
        query = parse_qs(self.environ.get("QUERY_STRING", ""))
        self._query = {name: values[0] for name, values in query.items()}

    def word(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self._query.get(name, default)

    def number(self, name: str, default: float = 0) -> float:
        """The same as a number."""
        return float(self._query.get(name, default))

    def text(self, body: object, status: str = "200 OK") -> list[bytes]:
        """Answer with a short text."""
        data = str(body).encode()
        self.start(status, [*TEXT, ("Content-Length", str(len(data)))])
        return [data]


class Pieces:
    """An iterable that notes when it is closed.

    Args:
        name: of its note.
        pieces: what it gives.
    """

    def __init__(self, name: str, pieces: Iterator[bytes]) -> None:
        self._name = name
        self._pieces = pieces
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.given += len(piece)
        return piece

    def close(self) -> None:
        """Called by the server, whatever came of the answer."""
        note(self._name, "closed", self.given)


def hello(asked: Asked) -> Iterable[bytes]:
    return asked.text("Hello")


def environ(asked: Asked) -> Iterable[bytes]:
    """What the server says, as JSON."""
    known = {name: value for name, value in asked.environ.items() if isinstance(value, str | bool)}
    data = json.dumps(known).encode()
    asked.start("200 OK", [("Content-Type", "application/json")])
    return [data]


def pid(asked: Asked) -> Iterable[bytes]:
    """Who answers, after a while."""
    time.sleep(asked.number("seconds"))
    return asked.text(os.getpid())


def sleep(asked: Asked) -> Iterable[bytes]:
    note("sleep", asked.word("name"), asked.environ["REQUEST_METHOD"], os.getpid())
    time.sleep(asked.number("seconds"))
    note("slept", asked.word("name"))
    return asked.text("slept")


def spin(asked: Asked) -> Iterable[bytes]:
    note("spin", os.getpid())
    while True:
        pass


def deadly(asked: Asked) -> Iterable[bytes]:
    """The first time its process dies."""
    gate = Path(os.environ["TEST_FOLDER"]) / asked.word("name")
    note("deadly", asked.word("name"), os.getpid())
    if not gate.exists():
        gate.touch()
        os.kill(os.getpid(), 9)
    return asked.text("alive")


def digest(asked: Asked) -> Iterable[bytes]:
    """Reads the body in pieces."""
    time.sleep(asked.number("seconds"))
    found, size, read = hashlib.sha256(), 0, asked.environ["wsgi.input"].read
    try:
        while piece := read(PIECE):
            found.update(piece)
            size += len(piece)
    except ConnectionAbortedError:
        note("digest", "aborted", size)
        raise
    return asked.text(f"{size} {found.hexdigest()}")


def large(asked: Asked) -> Iterable[bytes]:
    """Gives so many bytes, and notes how many it has given."""
    size, name = int(asked.number("size")), asked.word("name", "large")
    asked.start(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    )
    piece = bytes(range(256)) * (PIECE // 256)
    count, rest = divmod(size, PIECE)

    def given() -> Iterator[bytes]:
        for number in range(count):
            if number % 16 == 0:
                (Path(os.environ["TEST_FOLDER"]) / f"given-{name}").write_text(str(number * PIECE))
            yield piece
        yield piece[:rest]

    return Pieces(name, given())


def slowly(asked: Asked) -> Iterable[bytes]:
    """Gives lines, as many as one likes, one every so many seconds."""
    name, pause = asked.word("name", "slowly"), asked.number("pause", 0.05)
    asked.start("200 OK", TEXT)

    def lines() -> Iterator[bytes]:
        for number in range(int(asked.number("count", 1000))):
            yield f"{number}\n".encode()
            time.sleep(pause)

    return Pieces(name, lines())


def written(asked: Asked) -> Iterable[bytes]:
    """The old way: write()."""
    write = asked.start("200 OK", TEXT)
    write(b"one ")
    write(b"two ")
    return [b"three"]


def fails(asked: Asked) -> Iterable[bytes]:
    raise RuntimeError("a secret of the inside")


def breaks(asked: Asked) -> Iterable[bytes]:
    """Fails in the midst of an answer."""
    asked.start("200 OK", [*TEXT, ("Content-Length", "200000")])
    yield b"x" * 100_000
    raise RuntimeError("in the midst")


def status(asked: Asked) -> Iterable[bytes]:
    """A status line as it is asked for."""
    asked.start(asked.word("line"), [("X-Status", "told")])
    return []


def field(asked: Asked) -> Iterable[bytes]:
    """A header field as it is asked for."""
    asked.start("200 OK", [*TEXT, (asked.word("name"), asked.word("value"))])
    return [b"body"]


def claims(asked: Asked) -> Iterable[bytes]:
    """A Content-Length that need not be true."""
    asked.start("200 OK", [*TEXT, ("Content-Length", asked.word("length"))])
    return [b"x" * int(asked.number("size"))]


PATHS: dict[str, Callable[[Asked], Iterable[bytes]]] = {
    f"/{each.__name__}": each
    for each in (
        breaks,
        claims,
        deadly,
        digest,
        environ,
        fails,
        field,
        hello,
        large,
        pid,
        sleep,
        slowly,
        spin,
        status,
        written,
    )
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    asked = Asked(environ, start_response)
    answer = PATHS.get(asked.environ["PATH_INFO"])
    return asked.text("nothing here", "404 Not Found") if answer is None else answer(asked)


validated = validator(application)
