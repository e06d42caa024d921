"""A task that says who ran it, and notes in a folder when it began."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twbridge.rpc import context, task

NOTES = Path(os.environ.get("TEST_FOLDER", "."), "notes")


@task(os.environ.get("TEST_PREFIX", "test.") + "who", concurrency=1)
def who(what: str, seconds: float = 0.0) -> str:
    """Which worker it was."""
    with open(NOTES, "a") as notes:
        notes.write(f"who {what}\n")
    time.sleep(seconds)
    return context.worker
