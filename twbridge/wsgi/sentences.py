"""What clients are told of requests that have no answer: one sentence each (sans-I/O)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUSY",
    "FAILED",
    "LATE",
    "LOST_BROKER",
    "LOST_WORKER",
    "NOT_FREE",
    "NOT_READ",
    "NOT_SENT",
    "NOT_TAKEN",
    "NO_BROKER",
    "STOPPING",
]

LOST_WORKER: Final = "The application's worker was lost; the request may have run."
LOST_BROKER: Final = "The connection to the broker was lost; the request may have run."
#: Something that a worker waits for could not be sent.
NOT_TAKEN: Final = "The broker took no messages for too long; the request may have run."
NOT_FREE: Final = "No worker was free to answer in time."
NO_BROKER: Final = "The broker can't be reached."
BUSY: Final = "The broker is busy."
STOPPING: Final = "The bridge is about to stop."
LATE: Final = "The application did not answer in time."
#: Of clients: the status, and the sentence.
NOT_SENT: Final = (408, "The request's body did not come in time.")
NOT_READ: Final = (408, "The client did not take the answer in time.")
#: What clients read of a worker's `Failed`: the status, and the sentence.
FAILED: Final = {
    "app": (500, "The application failed."),
    "lost": (502, LOST_WORKER),
    "deadline": (504, LATE),
    "stopping": (503, "The application's worker is about to stop."),
}
