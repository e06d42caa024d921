"""The Flask application that both serve: an empty page, and two that work 20 ms."""

from __future__ import annotations

import hashlib
import time

from flask import Flask

WORK = 0.02
_BLOCK = bytes(16_384)

app = Flask(__name__)


@app.get("/empty")
def empty() -> str:
    return ""


@app.get("/sleep")
def sleep() -> str:
    """Waits, as for a database."""
    time.sleep(WORK)
    return "slept"


@app.get("/compute")
def compute() -> str:
    """Uses a processor for so long, whoever else wants it."""
    end = time.thread_time() + WORK
    while time.thread_time() < end:
        hashlib.sha256(_BLOCK).digest()
    return "done"
