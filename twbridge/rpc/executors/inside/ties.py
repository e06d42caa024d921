"""What ties a child to its worker: it ends with it, and only as it says."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from threading import Thread
from typing import Final, NoReturn

__all__ = ["deafen", "end", "follow", "hear", "lead", "watch"]

#: ``prctl``'s: which signal to get when the parent ends.
_PR_SET_PDEATHSIG: Final = 1


def lead() -> None:
    """Lead a process group: what tasks fork is in it, and is ended with this process."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)


def follow(parent: int) -> None:
    """End at once when the worker ends, also while C code holds the interpreter's lock (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        end()


def deafen() -> None:
    """Leave SIGINT and SIGTERM to the worker, which has them too and ends its children in order.

    Handlers, for ``SIG_IGN`` would be inherited by programs that a task starts. Until now they were
    blocked, by the worker: the interpreter would end with a traceback while it starts.
    """
    ours = (signal.SIGINT, signal.SIGTERM)
    for each in ours:
        signal.signal(each, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)


def hear() -> None:
    """Undo `deafen`, for a process that a task forks."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(_signal: int, _frame: object) -> None:
    """The worker decides."""


def watch(fd: int) -> None:
    """End when the worker's end of the pipe is closed, whatever a task does meanwhile."""
    Thread(target=_watch, args=(fd,), name="twbridge-watch", daemon=True).start()


def _watch(fd: int) -> None:
    poll = select.poll()
    # Only its end, never what it brings. A hang-up is always told.
    poll.register(fd, getattr(select, "POLLRDHUP", 0))
    poll.poll()
    end()


def end() -> NoReturn:
    """End this process and what it has forked, at once."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)
