"""What becomes of a delivery, and what its caller hears (sans-I/O).

A task that runs at most once is never run again: whatever happens is told to its caller, and the
request is done with. One that runs at least once is tried again when it fails or its process dies,
up to its redelivery limit; then, and where it would fail again in the same way, its request goes
to the dead letters. Its deadline and a cancel are final too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from twbridge.rpc.executors.outcomes import Broke, Died, Done, Outcome, TimedOut, WasCancelled
from twbridge.rpc.messages import Failed, FailureKind, Request, Result
from twbridge.rpc.tasks import TaskOptions
from twbridge.rpc.topology import repeats, uses_quorum
from twbridge.wire import Delivery

__all__ = [
    "ATTEMPT",
    "REPLAYED",
    "Fate",
    "Verdict",
    "after",
    "attempt_of",
    "before",
    "copy_properties",
]

#: How often a request of a classic queue was tried before: such a queue counts nothing.
ATTEMPT: Final = "twbridge-attempt"
#: Set where a dead letter is called again: it may have run, though no queue knows.
REPLAYED: Final = "twbridge-replayed"
#: Milliseconds that a request had when it was sent.
TIMEOUT: Final = "twbridge-timeout"
#: What a quorum queue says instead.
_COUNT: Final = "x-delivery-count"

#: What is final, too, before a task has run, but not for its body: the names of the failures.
_NOT_ITS_BODY: Final = frozenset({"UnknownTask", "BadRequest"})


class Fate(Enum):
    """What the broker is told of a delivery."""

    ACK = "done with"
    REJECT = "given up"
    REQUEUE = "again, counted by the queue"
    AGAIN = "again, as a copy that counts"


class Verdict(NamedTuple):
    """The last answer to the caller, where there is one, and what the broker is told."""

    reply: Result | Failed | None
    fate: Fate


def attempt_of(task: TaskOptions, delivery: Delivery) -> int:
    """How often the request was delivered before, as far as anybody counts."""
    headers = delivery.headers
    if uses_quorum(task):
        return _count(headers, _COUNT)
    return _count(headers, ATTEMPT) + delivery.redelivered


def before(
    task: TaskOptions, request: Request, worker: str, attempt: int, redelivered: bool
) -> Verdict | None:
    """What becomes of a request that is not run at all; None: it is run.

    Args:
        attempt: from ``attempt_of``.
        redelivered: whether some worker had it and did not say what became of it.
    """
    if not redelivered or uses_quorum(task):
        return None
    if not repeats(task):
        text = "its worker died or lost the broker; it may have run, and is not run again"
        return Verdict(_failed(request, worker, "lost", "WorkerLost", text), Fate.REJECT)
    if attempt > task.redelivery_limit:
        text = f"its worker died or lost the broker {attempt} times"
        return Verdict(_failed(request, worker, "lost", "WorkerLost", text), Fate.REJECT)
    # A classic queue says "redelivered" only once: a copy counts, before it can kill us too.
    return Verdict(None, Fate.AGAIN)


def after(
    task: TaskOptions, request: Request, worker: str, attempt: int, outcome: Outcome
) -> Verdict:
    """What becomes of a request that was run."""
    if isinstance(outcome, Done):
        return Verdict(Result(request.id, worker, outcome.body, outcome.headers), Fate.ACK)
    if isinstance(outcome, WasCancelled):
        text = "it was cancelled"
        return Verdict(_failed(request, worker, "cancelled", "Cancelled", text), Fate.ACK)
    given_up = Fate.REJECT if repeats(task) else Fate.ACK
    if isinstance(outcome, TimedOut):
        text = "it had not ended at its deadline, and was stopped"
        return Verdict(_failed(request, worker, "timeout", "TimeoutError", text), given_up)
    final = isinstance(outcome, Broke) and (outcome.final or outcome.public)
    if repeats(task) and not final and attempt < task.redelivery_limit:
        return Verdict(None, Fate.REQUEUE if uses_quorum(task) else Fate.AGAIN)
    return Verdict(_failure(request, worker, outcome), given_up)


def copy_properties(delivery: Delivery, attempt: int, ran: float = 0.0) -> dict[str, Any]:
    """The properties of a copy that was tried ``attempt`` times.

    Without user_id, which the broker takes from its own user only; its times are what is left.

    Args:
        ran: seconds since the delivery.
    """
    properties: dict[str, Any] = {k: v for k, v in delivery.properties.items() if k != "user_id"}
    headers = properties["headers"] = {**delivery.headers, ATTEMPT: attempt}
    gone = round(ran * 1000)
    if gone and TIMEOUT in headers:
        headers[TIMEOUT] = max(1, headers[TIMEOUT] - gone)
    expiration = properties.get("expiration", "")
    if gone and expiration.isdecimal():
        properties["expiration"] = str(max(1, int(expiration) - gone))
    return properties


def _failure(request: Request, worker: str, outcome: Broke | Died) -> Failed:
    if isinstance(outcome, Died):
        return _failed(request, worker, "lost", "WorkerLost", outcome.text)
    was_refused = outcome.final and not outcome.public and outcome.type not in _NOT_ITS_BODY
    return Failed(
        request.id,
        worker,
        "bad_request" if was_refused else "failed",
        outcome.type,
        outcome.message,
        outcome.traceback,
        outcome.public,
    )


def _failed(request: Request, worker: str, kind: FailureKind, type: str, text: str) -> Failed:
    return Failed(request.id, worker, kind, type, text)


def _count(headers: Mapping[str, Any], name: str) -> int:
    value = headers.get(name, 0)
    return value if isinstance(value, int) and value > 0 else 0
