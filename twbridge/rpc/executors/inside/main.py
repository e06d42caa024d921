"""What a child does: tie itself to its worker, import the module, say hello, serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twbridge.rpc.executors.inside import ties
from twbridge.rpc.executors.inside.blocking import serve_process, serve_threads
from twbridge.rpc.executors.inside.jobs import Jobs
from twbridge.rpc.executors.inside.line import Line
from twbridge.rpc.executors.inside.loading import load
from twbridge.rpc.executors.pipe import Begin, frame
from twbridge.rpc.tasks import registry

__all__ = ["PIPE_FD", "main"]

#: The number of the pipe in a child.
PIPE_FD = 3


def main(arguments: Sequence[str]) -> None:
    """Run a child, until the worker says that it is to end in order.

    Args:
        arguments: the module or its file; ``process``, ``thread`` or ``reactor``; the worker's
            id; how many calls run at once.
    """
    module, kind, worker, concurrency = arguments
    ties.lead()
    ties.deafen()
    line = Line(PIPE_FD)
    begin = next(line.messages())
    assert isinstance(begin, Begin)
    ties.follow(begin.parent)
    ties.watch(PIPE_FD)
    sys.path[:] = begin.path
    sys.argv[1:] = []
    if kind == "reactor":
        # Before the module is imported: it may import the reactor.
        from twbridge.rpc.executors.inside.coroutines import install, serve_coroutines

        reactor, loop = install()
    hello = load(module)
    line.send(frame(hello))
    if hello.error is not None:
        # The worker reads it, and closes.
        for _ in line.messages():
            pass
    if kind == "reactor":
        if not serve_coroutines(reactor, loop, line, worker, begin.settings):
            os._exit(0)
        return
    jobs = Jobs(registry, worker, begin.settings, line.send)
    if kind == "thread":
        serve_threads(line, jobs, int(concurrency))
    else:
        serve_process(line, jobs)
