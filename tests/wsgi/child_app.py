"""An application for a child that is started as workers start it. It says what it is told to do."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Do what the path says."""
    if environ["PATH_INFO"] == "/download":
        start_response("200 OK", [])
        return Download()
    text = str(globals()[environ["PATH_INFO"].strip("/")](environ))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


class Download:
    """Goes on for ever, and says when it is closed."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield bytes(100_000)

    def close(self) -> None:
        print("closed")


def about(environ: dict[str, Any]) -> str:
    print("about to answer")
    names = ("wsgi.multithread", "wsgi.multiprocess")
    return f"{threading.current_thread().name} {[environ[name] for name in names]} {sys.argv[1:]}"


def read(environ: dict[str, Any]) -> int:
    return len(environ["wsgi.input"].read())


def leave(_environ: dict[str, Any]) -> None:
    sys.exit(3)


def sleep(_environ: dict[str, Any]) -> None:
    time.sleep(60)


def fork(_environ: dict[str, Any]) -> str:
    """The new process returns as this one does."""
    child = os.fork()
    if child:
        return f"left with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"
    return "never"


def fork_and_read(environ: dict[str, Any]) -> str:
    """The new process reads what isn't its own."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return environ["wsgi.input"].read().decode()
