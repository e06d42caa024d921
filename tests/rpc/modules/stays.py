"""A task in a thread; no process of it ends by itself once it is told to."""

from __future__ import annotations

import atexit
import threading

from twbridge.rpc import task

atexit.register(threading.Event().wait)


@task("thread", run_in="thread")
def thread() -> None:
    """Do nothing."""
