"""What a child does: tie itself to its worker, import the application, say hello, serve."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
from collections.abc import Sequence
from threading import Thread

from twbridge.rpc.executors.inside import ties
from twbridge.wsgi.inside.environ import common
from twbridge.wsgi.inside.lane import Lane
from twbridge.wsgi.inside.loading import load
from twbridge.wsgi.inside.serving import serve
from twbridge.wsgi.pipe import TELL, pack_hello, read_begin

__all__ = ["main"]


def main(fds: Sequence[int]) -> None:
    """Run a child, until the worker says that it is to end in order.

    It ends at once when the worker closes the pipe, or ends.

    Args:
        fds: the lanes; there is a thread for each, and the main one is that of the first.
    """
    ties.lead()
    ties.deafen()
    lanes = [Lane(fd) for fd in fds]
    first = lanes[0]
    begin = read_begin(first.read())
    ties.follow(begin.parent)
    ties.watch(fds[0])
    sys.path[:] = begin.path
    sys.argv[1:] = []
    with contextlib.suppress(AttributeError):
        # What the application prints is seen at once, and not lost when the child is killed.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # there is no stderr
        faulthandler.enable()
        faulthandler.register(TELL)
    application, hello = load(begin.app)
    first.write(pack_hello(hello))
    if application is None:
        # The worker reads it, and closes.
        while True:
            first.read()
    shared = common(begin.threads)
    for number, lane in enumerate(lanes[1:], 2):
        arguments = (lane, application, shared)
        Thread(target=serve, args=arguments, name=f"twbridge-lane-{number}", daemon=True).start()
    serve(first, application, shared)
