"""What both brokers are asked about queues with a maximum length and with priorities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pamqp import commands

from tests.integration.broker_scenarios import (
    CONFIRM,
    Step,
    ack,
    bind,
    consume,
    do,
    get,
    nack,
    publish,
    queue,
)
from tests.integration.letter_scenarios import (
    DLX,
    KEY,
    TO_D,
    D,
    E,
    Q,
    dying,
    letters,
    reject,
    settled,
    taken,
)

Basic, Queue = commands.Basic, commands.Queue

LENGTH: dict[str, Sequence[Step]] = {
    "too many": [
        *dying(x_max_length=2),
        publish("", Q, b"1"),
        publish("", Q, b"2"),
        publish("", Q, b"3", 1),
        publish("", Q, b"4", 1, expiration="60000"),
        *(get() for _ in range(3)),
    ],
    "too many bytes": [
        *dying(x_max_length_bytes=5),
        publish("", Q, b"11"),
        publish("", Q, b"22"),
        publish("", Q, b"33333", 2),
        publish("", Q, b"666666", 2),
        publish("", Q, b"4"),
        get(),
    ],
    "none at all": [*dying(x_max_length=0), publish("", Q, b"1", 1), get()],
    "none at all, to a consumer": [
        *dying(x_max_length=0),
        consume(no_ack=True),
        publish("", Q, b"1", 1),
    ],
    "full, rejected": [
        *dying(x_max_length=1, x_overflow="reject-publish"),
        CONFIRM,
        publish("", Q, b"1", 1),
        publish("", Q, b"2", 1),
        *(get() for _ in range(2)),
        publish("", Q, b"3", 1),
    ],
    "full, rejected and dead": [
        *dying(x_max_length=1, x_overflow="reject-publish-dlx"),
        publish("", Q, b"1"),
        publish("", Q, b"2", 1),
        *(get() for _ in range(2)),
    ],
    "full of bytes, rejected": [
        queue(arguments={"x-max-length-bytes": 3, "x-overflow": "reject-publish"}),
        CONFIRM,
        publish("", Q, b"1111", 1),
        publish("", Q, b"222", 1),
        publish("", Q, b"3", 1),
        *(get() for _ in range(2)),
    ],
    "none at all, rejected, to a consumer": [
        queue(arguments={"x-max-length": 0, "x-overflow": "reject-publish"}),
        consume(no_ack=True),
        CONFIRM,
        publish("", Q, b"1", 1),
    ],
    "full again by requeueing": [
        *dying(x_max_length=2),
        *taken(b"1"),
        publish("", Q, b"2"),
        publish("", Q, b"3"),
        nack(1, events=1),
        *(get() for _ in range(3)),
    ],
    "full again by requeueing, to a consumer": [
        queue(D),
        queue(arguments={**TO_D, "x-max-length": 1}),
        do(Basic.Qos(prefetch_count=1)),
        consume(no_ack=False),
        publish("", Q, b"1", 1),
        publish("", Q, b"2"),
        nack(1, events=1),
        letters(events=2),
    ],
    "full again by requeueing, rejecting": [
        queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"}),
        *taken(b"1"),
        publish("", Q, b"2"),
        nack(1),
        *(get() for _ in range(3)),
    ],
    "letters to a full queue": [
        queue(D, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}),
        queue(E),
        queue(arguments={DLX: "amq.fanout"}),
        *(bind("amq.fanout", to=name) for name in (D, E)),
        *taken(b"1", b"2"),
        reject(1),
        reject(2),
        settled(2, E),
        settled(1),
        letters(events=2),
    ],
    "letters push letters": [
        queue(E),
        queue(D, arguments={"x-max-length": 1, DLX: "", KEY: E}),
        queue(arguments=TO_D),
        letters(name=E),
        *taken(b"1", b"2"),
        reject(1),
        reject(2, 1),
    ],
    "full and dead to itself": [
        queue(arguments={"x-max-length": 1, DLX: "", KEY: Q}),
        publish("", Q, b"1"),
        publish("", Q, b"2"),
        *(get() for _ in range(2)),
    ],
}


def prioritized(
    *priorities: int | None, most: int = 10, arguments: Mapping[str, Any] = TO_D
) -> list[Step]:
    """A queue with a message of each priority: the first is a, the second b."""
    steps = [queue(arguments={"x-max-priority": most, **arguments})]
    for index, priority in enumerate(priorities):
        properties: dict[str, Any] = {} if priority is None else {"priority": priority}
        steps.append(publish("", Q, bytes([97 + index]), **properties))
    return steps


PRIORITIES: dict[str, Sequence[Step]] = {
    "higher first": [*prioritized(0, 9, 5, None, 9, 10), *(get() for _ in range(7))],
    "above the most": [*prioritized(10, 255, 11, 100, 9), *(get() for _ in range(5))],
    "all of one": [*prioritized(3, 0, 200, most=0), *(get() for _ in range(3))],
    "all levels": [*prioritized(0, 255, 100, 254, most=255), *(get() for _ in range(4))],
    "none declared": [queue(), *prioritized(1, 9, 5)[1:], *(get() for _ in range(3))],
    "to a consumer": [*prioritized(1, 2, 3), consume(events=4)],
    "to a consumer with a prefetch": [
        *prioritized(1, 2, 1),
        do(Basic.Qos(prefetch_count=1)),
        consume(events=2),
        publish("", Q, b"x", priority=7),
        publish("", Q, b"y", priority=1),
        *(ack(tag, events=1) for tag in range(1, 5)),
    ],
    "requeued to their places": [
        *prioritized(1, 2, 1, 2),
        *(get(no_ack=False) for _ in range(3)),
        publish("", Q, b"x", priority=2),
        nack(0, multiple=True),
        *(get() for _ in range(5)),
    ],
    "counted and purged": [
        *prioritized(1, 2, 3),
        queue(arguments={"x-max-priority": 10, **TO_D}),
        do(Queue.Purge(queue=Q)),
        get(),
        *prioritized(2, 7)[1:],
        get(),
    ],
    "too many, the head goes": [
        queue(D),
        letters(),
        *prioritized(5, 1, arguments={**TO_D, "x-max-length": 2}),
        publish("", Q, b"x", 1, priority=3),
        publish("", Q, b"y", 1, priority=9),
        *(get() for _ in range(3)),
    ],
    "rejected keeps its priority": [
        queue(D, arguments={"x-max-priority": 5}),
        *prioritized(3, 9, 4),
        *(get(no_ack=False) for _ in range(3)),
        nack(0, multiple=True, requeue=False),
        settled(3),
        letters(events=4),
    ],
    "expired behind a higher one": [
        queue(D),
        *prioritized(5),
        publish("", Q, b"x", priority=3, expiration="1"),
        get(),
        letters(events=2),
    ],
}

SCENARIOS: dict[str, Sequence[Step]] = {**LENGTH, **PRIORITIES}
