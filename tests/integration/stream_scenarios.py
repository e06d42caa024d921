"""What both brokers are asked about streams, and about queues that expire.

Streams are not exclusive: each scenario begins by deleting what the one before has left. Publishes
are confirmed one by one, so that each is a chunk of its own on RabbitMQ. RabbitMQ answers
basic.consume late, so consume steps count their events instead of waiting for a barrier; what a
consumer is not given is proved by the barrier behind the basic.qos that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pamqp import commands

from tests.integration.broker_scenarios import Step, ack, bind, do, nack, publish, queue
from twbridge import wire

Basic, Queue = commands.Basic, commands.Queue

S = "parity.s"
DROP = do(Queue.Delete(queue=S))
CONFIRM = do(commands.Confirm.Select())
FENCE = do(Basic.Qos(prefetch_count=9))
THIS_YEAR, NEXT_CENTURY = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


def stream(name: str = S, *, passive: bool = False, **properties: Any) -> Step:
    arguments = {"x-queue-type": "stream", **properties.pop("arguments", {})}
    given = {"durable": True, **properties}
    return do(Queue.Declare(queue=name, passive=passive, arguments=arguments, **given))


def prefetch(count: int, shared: bool = False) -> Step:
    return do(Basic.Qos(prefetch_count=count, global_=shared))


def read(start: Any = "first", events: int = 1, tag: str = "c", **properties: Any) -> Step:
    arguments = {"x-stream-offset": start, **properties.pop("arguments", {})}
    return do(Basic.Consume(queue=S, consumer_tag=tag, arguments=arguments, **properties), events)


def filled(count: int = 2, letters: bytes = b"abc") -> list[Step]:
    """A new stream with messages in it, and a prefetch count."""
    published = [publish("", S, bytes([letter]), 1) for letter in letters]
    return [DROP, stream(), CONFIRM, *published, prefetch(count)]


def later(letter: bytes) -> Step:
    """A message that a consumer takes at once, and its confirm."""
    return publish("", S, letter, 2)


_AGES = ("7D", "1Y", "2M", "3h", "4m", "5s", "007D", "7", "x", "7d", "0s", "1h30m", "", "-1D")
_ARGUMENTS: list[dict[str, Any]] = [
    *({"x-max-age": age} for age in (*_AGES, 7, True)),
    {"x-max-length-bytes": 1000},
    {"x-max-length-bytes": -1},
    {"x-max-length-bytes": "1"},
    {"x-stream-max-segment-size-bytes": 1000},
    {"x-stream-max-segment-size-bytes": -1},
    {"x-stream-max-segment-size-bytes": "1"},
    {"x-stream-max-segment-size-bytes": 3_000_000_001},
    {"x-initial-cluster-size": 1},
    {"x-initial-cluster-size": 0},
    {"x-initial-cluster-size": -1},
    {"x-initial-cluster-size": "1"},
    {"x-queue-leader-locator": "client-local"},
    {"x-queue-leader-locator": "odd"},
    {"x-queue-leader-locator": 1},
    {"x-max-length": 3},
    {"x-max-length": "odd"},
    {"x-overflow": "drop-head"},
    {"x-message-ttl": 1000},
    {"x-expires": 1000},
    {"x-dead-letter-exchange": "a"},
    {"x-dead-letter-routing-key": "a"},
    {"x-dead-letter-strategy": "at-most-once"},
    {"x-max-priority": 3},
    {"x-single-active-consumer": True},
    {"x-delivery-limit": 3},
    {"x-queue-mode": "lazy"},
    {"x-queue-version": 2},
    {"x-max-in-memory-length": 3},
    {"x-max-in-memory-bytes": 3},
    {"x-quorum-initial-group-size": 3},
    {"x-other": 1},
    {"x-max-age": "7d", "x-max-length": 1},
    {"x-max-age": "7d", "x-max-length-bytes": -1},
]
_AGAIN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"x-max-age": "7D"}, {"x-max-age": "8D"}),
    ({"x-max-age": "60s"}, {"x-max-age": "1m"}),
    ({"x-max-age": "7D"}, {}),
    ({}, {"x-max-age": "7D"}),
    ({"x-max-age": "7D", "x-other": 1}, {"x-max-age": "7D", "x-other": 2}),
    ({"x-max-length-bytes": 10, "x-max-age": "7D"}, {"x-max-length-bytes": 11, "x-max-age": "8D"}),
    ({"x-stream-max-segment-size-bytes": 10}, {"x-stream-max-segment-size-bytes": 11}),
    ({"x-initial-cluster-size": 1}, {"x-initial-cluster-size": 2}),
    ({"x-queue-leader-locator": "balanced"}, {"x-queue-leader-locator": "client-local"}),
]
_EXPIRES = (0, -1, "a", 1.5, True, None, 315_360_000_000, 315_360_000_001)
_EXPIRES_AGAIN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"x-expires": 60000}, {"x-expires": 60000}),
    ({"x-expires": 60000}, {"x-expires": 70000}),
    ({"x-expires": 60000}, {}),
    ({}, {"x-expires": 60000}),
    ({"x-expires": 60000, "x-max-length": 1}, {"x-expires": 70000, "x-max-length": 2}),
]
#: Where reading begins, and how many of three messages come then.
_STARTS: list[tuple[Any, int]] = [
    ("first", 3),
    ("last", 1),
    ("next", 0),
    (0, 3),
    (1, 2),
    (3, 0),
    (-5, 3),
    (THIS_YEAR, 3),
    (NEXT_CENTURY, 0),
    ("1h", 3),
    ("9" * 40 + "Y", 3),
]
_NO_STARTS: tuple[Any, ...] = ("x", "", "1", "-1", "7d", "0s", "first ", True, 1.5, None, [1], {})

SCENARIOS: dict[str, Sequence[Step]] = {
    # -- declaring ----------------------------------------------------------------------------
    "a stream twice, passively, as a classic queue": [
        DROP,
        stream(),
        stream(),
        stream(passive=True),
        do(Queue.Declare(queue=S, durable=True)),
    ],
    "a classic queue as a stream": [
        do(Queue.Declare(queue="parity.c", durable=True)),
        stream("parity.c"),
    ],
    "the classic queue of that, cleaned": [do(Queue.Delete(queue="parity.c"))],
    "a stream, not durable": [DROP, stream(durable=False)],
    "a stream, exclusive": [DROP, stream(exclusive=True)],
    "a stream, auto-delete": [DROP, stream(auto_delete=True)],
    "a stream, all of these": [DROP, stream(auto_delete=True, exclusive=True, durable=False)],
    "a stream, exclusive, not durable": [DROP, stream(exclusive=True, durable=False)],
    "a stream, bad argument, not durable": [
        DROP,
        stream(durable=False, arguments={"x-max-age": "7d"}),
    ],
    "a stream without a name": [stream("")],
    "a stream without a name, bad argument": [stream("", arguments={"x-max-age": "7d"})],
    "a stream with a reserved name": [stream("amq.parity")],
    "a stream again, not durable": [DROP, stream(), stream(durable=False)],
    "a stream again, exclusive": [DROP, stream(), stream(exclusive=True)],
    "a stream again, auto-delete": [DROP, stream(), stream(auto_delete=True)],
    **{
        f"a stream with {arguments}": [DROP, stream(arguments=arguments)]
        for arguments in _ARGUMENTS
    },
    **{
        f"a stream with {first}, then {second}": [
            DROP,
            stream(arguments=first),
            stream(arguments=second),
        ]
        for first, second in _AGAIN
    },
    **{
        f"a classic queue with {key}": [queue(arguments={key: value})]
        for key, value in {
            "x-max-age": "7D",
            "x-stream-max-segment-size-bytes": 1,
            "x-initial-cluster-size": 1,
            "x-queue-leader-locator": "balanced",
            "x-delivery-limit": 3,
            "x-max-in-memory-length": 3,
            "x-quorum-initial-group-size": 3,
        }.items()
    },
    # -- where reading begins -----------------------------------------------------------------
    **{
        f"read from {start}": [*filled(9), read(start, 1 + count), FENCE]
        for start, count in _STARTS
    },
    **{f"read from {start!r}": [DROP, stream(), FENCE, read(start)] for start in _NO_STARTS},
    "read without a start, what is published then": [
        *filled(9),
        do(Basic.Consume(queue=S, consumer_tag="c"), 1),
        FENCE,
        later(b"d"),
        later(b"e"),
    ],
    "read from what is not there yet": [
        *filled(9),
        read(5),
        FENCE,
        publish("", S, b"d", 1),
        publish("", S, b"e", 1),
        later(b"f"),
        later(b"g"),
    ],
    **{
        f"read an empty one from {start}": [
            DROP,
            stream(),
            CONFIRM,
            prefetch(9),
            read(start),
            FENCE,
            later(b"a"),
        ]
        for start in ("first", "last", "next", 0, -1, THIS_YEAR, NEXT_CENTURY)
    },
    # -- credit -------------------------------------------------------------------------------
    "acknowledge one by one": [
        *filled(1),
        read(events=2),
        ack(1, events=1),
        ack(2, events=1),
        ack(3),
        FENCE,
    ],
    "acknowledge in another order": [*filled(), read(events=3), ack(2, events=1), FENCE],
    "acknowledge many": [*filled(), read(events=3), ack(2, multiple=True, events=1), FENCE],
    "acknowledge all": [*filled(), read(events=3), ack(0, multiple=True, events=1), FENCE],
    "acknowledge twice": [*filled(1), read(events=2), ack(1, events=1), ack(1, events=1)],
    "acknowledge what is unknown": [*filled(), read(events=3), ack(7, events=1)],
    "the prefetch is used up": [
        *filled(1, b"a"),
        read(events=2),
        publish("", S, b"b", 1),
        FENCE,
        ack(1, events=1),
    ],
    "another prefetch is not for who is there": [*filled(1), read(events=2), prefetch(9), FENCE],
    "two readers on a channel": [
        *filled(),
        read(events=3),
        read(events=3, tag="d"),
        ack(1, events=1),
        ack(3, events=1),
    ],
    "cancel, and begin again": [
        *filled(),
        read(events=3),
        do(Basic.Cancel(consumer_tag="c"), 1),
        ack(2, multiple=True),
        read(events=3),
        FENCE,
    ],
    "close the channel, and begin again": [
        *filled(),
        read(events=3),
        do(commands.Channel.Close(200, "", 0, 0), 1),
        Step(wire.method_frame(1, commands.Channel.Open())),
        prefetch(2),
        read(events=3),
    ],
    "nack": [*filled(), read(events=3), nack(1, events=1)],
    "nack without requeue": [*filled(), read(events=3), nack(1, requeue=False, events=1)],
    "nack many": [*filled(), read(events=3), nack(0, multiple=True, events=1)],
    "nack what is unknown": [*filled(), read(events=3), nack(7, events=1)],
    "reject": [*filled(), read(events=3), do(Basic.Reject(delivery_tag=1, requeue=True), 1)],
    "reject without requeue": [
        *filled(),
        read(events=3),
        do(Basic.Reject(delivery_tag=1, requeue=False), 1),
    ],
    "recover": [*filled(), read(events=3), do(Basic.Recover(requeue=True), 1)],
    "recover, nothing held": [*filled(), do(Basic.Recover(requeue=True))],
    # -- what a consumer can't be -------------------------------------------------------------
    "read without a prefetch": [DROP, stream(), read()],
    "read with a shared prefetch alone": [DROP, stream(), prefetch(5, shared=True), read()],
    "read with a shared prefetch as well": [
        DROP,
        stream(),
        prefetch(5),
        prefetch(5, shared=True),
        read(),
    ],
    "a shared prefetch later": [
        *filled(3),
        read(events=4),
        prefetch(1, shared=True),
        ack(1),
        later(b"d"),
    ],
    "read without acknowledgements": [DROP, stream(), prefetch(5), read(no_ack=True)],
    "read without acknowledgements and prefetch": [DROP, stream(), read(no_ack=True)],
    "read from nonsense without a prefetch": [DROP, stream(), read("1")],
    "read with a priority": [DROP, stream(), prefetch(5), read(arguments={"x-priority": 1})],
    "read exclusively, twice": [
        DROP,
        stream(),
        prefetch(5),
        read(exclusive=True),
        read(exclusive=True, tag="d"),
    ],
    "read with a tag twice": [DROP, stream(), prefetch(5), read(), read()],
    "read a missing one": [DROP, prefetch(5), read()],
    "x-stream-offset on a classic queue": [
        queue(),
        do(
            Basic.Consume(
                queue="parity.q", consumer_tag="c", arguments={"x-stream-offset": "first"}
            ),
            1,
        ),
    ],
    # -- everything else ----------------------------------------------------------------------
    "get": [*filled(), do(Basic.Get(queue=S), 1)],
    "purge": [*filled(), do(Queue.Purge(queue=S), 1)],
    "counts": [*filled(), read(events=3), stream(), stream(passive=True)],
    "delete, not empty": [*filled(), do(Queue.Delete(queue=S, if_empty=True))],
    "delete, in use": [*filled(), read(events=3), do(Queue.Delete(queue=S, if_unused=True), 2)],
    "a stream deleted under its consumer": [
        *filled(),
        read(events=3),
        do(Queue.Delete(queue=S), 2),
        ack(1),
        do(Basic.Cancel(consumer_tag="c"), 1),
    ],
    "deleted and declared again": [*filled(), *filled(9, b"d"), read(events=2)],
    "bound, with properties": [
        DROP,
        stream(),
        CONFIRM,
        bind("amq.topic", "a.#", to=S),
        publish("amq.topic", "a.b", b"1", 1, mandatory=True, headers={"a": 1, "b": "x"}, type="t"),
        publish("amq.topic", "b.b", b"2", 2, mandatory=True),
        publish(
            "amq.topic",
            "a",
            b"3",
            1,
            content_type="text/plain",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id="m",
            timestamp=1,
        ),
        prefetch(9),
        read(events=3),
    ],
    "read from a stream and published to it again": [
        DROP,
        stream(),
        CONFIRM,
        publish("", S, b"1", 1, headers={"a": 1, "x-stream-offset": 7}),
        prefetch(9),
        read(events=2),
    ],
    "bodies of three frames": [
        DROP,
        stream(),
        CONFIRM,
        publish("", S, b"abc" * 131072, 1),
        prefetch(9),
        read(events=2),
    ],
    "streams, cleaned": [DROP],
    # -- queues that expire -------------------------------------------------------------------
    **{
        f"a queue that expires in {value}": [queue(arguments={"x-expires": value})]
        for value in _EXPIRES
    },
    **{
        f"a queue with {first}, then {second}": [queue(arguments=first), queue(arguments=second)]
        for first, second in _EXPIRES_AGAIN
    },
}
