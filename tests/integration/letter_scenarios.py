"""What both brokers are asked about messages that expire and about dead letters.

RabbitMQ sends dead letters from process to process: a step that a letter follows from counts its
events, and what is not sent is proved by what comes next on the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pamqp import commands

from tests.integration.broker_scenarios import (
    CONFIRM,
    Step,
    ack,
    at_once,
    bind,
    consume,
    do,
    get,
    nack,
    publish,
    queue,
)
from twbridge import wire

Basic, Queue = commands.Basic, commands.Queue

Q, D, E = "parity.q", "parity.q.d", "parity.q.e"
DLX, KEY = "x-dead-letter-exchange", "x-dead-letter-routing-key"
#: Dead letters go to the queue D by the default exchange.
TO_D = {DLX: "", KEY: D}


def letters(*, no_ack: bool = True, name: str = D, tag: str = "d", events: int = 1) -> Step:
    return do(Basic.Consume(queue=name, consumer_tag=tag, no_ack=no_ack), events)


def dying(**arguments: Any) -> list[Step]:
    """A queue, where its dead letters go, and a consumer of them."""
    given = {key.replace("_", "-"): value for key, value in arguments.items()}
    return [queue(D), queue(arguments={**TO_D, **given}), letters()]


def taken(*bodies: bytes, **properties: Any) -> list[Step]:
    """Messages in Q, taken by basic.get: their delivery tags are 1, 2, 3."""
    return [
        *(publish("", Q, body, **properties) for body in bodies),
        *(get(no_ack=False) for _ in bodies),
    ]


def settled(count: int, name: str = D) -> Step:
    """Wait until so many messages wait in a queue without consumers."""
    data = wire.method_frame(1, Queue.Declare(queue=name, passive=True))
    return Step(data, until=f"queue.declareok {name} {count} 0")


def reject(tag: int, events: int | None = None) -> Step:
    return nack(tag, requeue=False, events=events)


_MIXED: dict[str, Any] = {
    "headers": {"a": 1, "b": None, "c": [1, "x"], "d": {"e": 2**40}},
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "priority": 4,
    "correlation_id": "c",
    "reply_to": "r",
    "message_id": "m",
    "timestamp": 1,
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
}

EXPIRING: dict[str, Sequence[Step]] = {
    "expired, with every property": [
        *dying(),
        publish("", Q, b"1", 1, expiration="10", **_MIXED),
    ],
    "expired without a header": [*dying(), publish("", Q, b"1", 1, expiration="10")],
    "expired at once": [*dying(), publish("", Q, b"1", 1, expiration="0")],
    "expired at once by the queue": [*dying(x_message_ttl=0), publish("", Q, b"1", 1)],
    "the queue's time is the shorter one": [
        *dying(x_message_ttl=10),
        publish("", Q, b"1", 1, expiration="100000"),
    ],
    "the message's time is the shorter one": [
        *dying(x_message_ttl=100000),
        publish("", Q, b"1", 1, expiration="010"),
    ],
    "to expire at once, to a consumer": [
        *dying(),
        consume(no_ack=True),
        publish("", Q, b"1", 1, expiration="0"),
    ],
    "to expire at once, to a consumer that is busy": [
        *dying(),
        do(Basic.Qos(prefetch_count=1)),
        consume(),
        publish("", Q, b"1", 1, expiration="0"),
        publish("", Q, b"2", 1, expiration="0"),
        ack(1),
        publish("", Q, b"3", 1, expiration="0"),
    ],
    "requeued after its time": [
        *dying(),
        do(Basic.Qos(prefetch_count=1)),
        consume(),
        publish("", Q, b"1", 1, expiration="0"),
        nack(1, events=1),
    ],
    "behind one that lives longer": [
        *dying(),
        at_once(
            publish("", Q, b"1", expiration="120"),
            publish("", Q, b"2", expiration="1"),
            publish("", Q, b"3", expiration="60"),
            events=3,
        ),
        publish("", Q, b"4", 1, expiration="1"),
    ],
    "before and behind one that does not expire": [
        *dying(),
        at_once(
            publish("", Q, b"1", expiration="20"),
            publish("", Q, b"2"),
            publish("", Q, b"3", expiration="1"),
            events=1,
        ),
        do(Basic.Cancel(consumer_tag="d"), 1),
        get(),
        get(),
        letters(events=2),
    ],
    "expired without a way": [
        queue(),
        publish("", Q, b"1", expiration="0"),
        publish("", Q, b"2"),
        get(),
        get(),
    ],
    "expired, mandatory and confirmed": [
        queue(),
        CONFIRM,
        publish("", Q, b"1", 1, expiration="0", mandatory=True),
        queue(),
    ],
    "purged before it expires": [
        *dying(),
        at_once(publish("", Q, b"1", expiration="30"), do(Queue.Purge(queue=Q))),
        publish("", Q, b"2", 1, expiration="60"),
    ],
    "taken before it expires": [
        *dying(),
        at_once(*taken(b"1", expiration="10")),
        publish("", Q, b"2", 1, expiration="30"),
        ack(1),
    ],
}

DEAD: dict[str, Sequence[Step]] = {
    "rejected": [*dying(), *taken(b"1"), reject(1, 1)],
    "rejected by basic.reject": [
        *dying(),
        *taken(b"1"),
        do(Basic.Reject(delivery_tag=1, requeue=False), 1),
    ],
    "rejected, with every property": [
        *dying(),
        *taken(b"1", expiration="60000", **_MIXED),
        reject(1, 1),
    ],
    "many rejected": [
        *dying(),
        *taken(b"1", b"2", b"3"),
        nack(2, multiple=True, requeue=False, events=2),
        reject(3, 1),
    ],
    "requeued is not dead": [*dying(), *taken(b"1"), nack(1), get(no_ack=False), reject(2, 1)],
    "acknowledged is not dead": [*dying(), *taken(b"1", b"2"), ack(1), reject(2, 1)],
    "rejected, its own key": [
        queue(D),
        queue(arguments={DLX: "amq.direct"}),
        bind("amq.direct", Q, to=D),
        letters(),
        *taken(b"1"),
        reject(1, 1),
    ],
    "rejected, another key": [
        queue(D),
        queue(arguments={DLX: "amq.topic", KEY: "x.y"}),
        bind("amq.topic", "x.*", to=D),
        letters(),
        *taken(b"1"),
        reject(1, 1),
    ],
    "rejected to the default exchange without a key": [
        queue(arguments={DLX: ""}),
        consume(),
        publish("", Q, b"1", 1),
        reject(1, 1),
    ],
    "rejected, no such exchange": [
        queue(arguments={DLX: "parity.no"}),
        *taken(b"1"),
        reject(1),
        queue(arguments={DLX: "parity.no"}),
    ],
    "rejected to an exchange that comes later": [
        queue(D),
        queue(arguments={DLX: "parity.x"}),
        *taken(b"1", b"2"),
        reject(1),
        queue(arguments={DLX: "parity.x"}),
        do(commands.Exchange.Declare(exchange="parity.x", exchange_type="fanout")),
        bind("parity.x", to=D),
        letters(),
        reject(2, 1),
        do(commands.Exchange.Delete(exchange="parity.x")),
    ],
    "rejected, nobody bound": [
        queue(arguments={DLX: "amq.direct"}),
        *taken(b"1"),
        reject(1),
        queue(arguments={DLX: "amq.direct"}),
    ],
    "rejected to an internal exchange": [
        queue(D),
        do(commands.Exchange.Declare(exchange="parity.x", internal=True)),
        queue(arguments={DLX: "parity.x"}),
        bind("parity.x", Q, to=D),
        letters(),
        *taken(b"1"),
        reject(1, 1),
        do(commands.Exchange.Delete(exchange="parity.x")),
    ],
    "rejected, by CC and BCC": [
        queue(D),
        queue(E),
        queue(arguments={DLX: "amq.topic"}),
        bind("amq.topic", "cc", to=D),
        bind("amq.topic", "bcc", to=E),
        *taken(b"1", headers={"CC": ["cc", 1, "cc2"], "BCC": ["bcc"], "a": 1}),
        reject(1),
        letters(events=2),
        letters(name=E, tag="e", events=2),
    ],
    "rejected with another key, CC goes": [
        *dying(),
        *taken(b"1", headers={"CC": ["cc", "cc2"], "BCC": ["bcc"], "a": 1}),
        reject(1, 1),
    ],
    "rejected to two queues": [
        queue(D),
        queue(E),
        queue(arguments={DLX: "amq.fanout"}),
        bind("amq.fanout", to=D),
        bind("amq.fanout", to=E),
        *taken(b"1"),
        reject(1),
        letters(events=2),
        letters(name=E, tag="e", events=2),
    ],
    "rejected to itself again and again": [
        queue(arguments={DLX: "", KEY: Q}),
        consume(),
        publish("", Q, b"1", 1, headers={"a": 1}),
        *(reject(tag, 1) for tag in range(1, 4)),
    ],
    "rejected round two queues": [
        queue(D, arguments={DLX: "", KEY: Q}),
        queue(arguments=TO_D),
        consume(),
        letters(no_ack=False),
        publish("", Q, b"1", 1),
        *(reject(tag, 1) for tag in range(1, 6)),
    ],
    "a client's x-death": [*dying(), *taken(b"1", headers={"x-death": "mine"}), reject(1, 1)],
    "a client's x-death of nothing": [
        *dying(),
        *taken(b"1", headers={"x-death": []}),
        reject(1, 1),
    ],
    "a client's x-death of three": [
        *dying(),
        *taken(
            b"1",
            headers={
                "x-death": [
                    {"queue": "a", "reason": "expired", "count": 3},
                    {"queue": Q, "reason": "rejected", "other": "o"},
                    {"queue": "b", "reason": "maxlen"},
                    {"queue": "a", "reason": "expired", "count": 1},
                ],
                "x-first-death-queue": "mine",
            },
        ),
        reject(1, 1),
    ],
    "expired in three queues": [
        queue(D, arguments={DLX: "", KEY: E, "x-message-ttl": 1}),
        queue(E, arguments={DLX: "", KEY: "parity.q.f", "x-message-ttl": 1}),
        queue("parity.q.f"),
        queue(arguments=TO_D),
        letters(name="parity.q.f"),
        publish("", Q, b"1", 1, expiration="1", headers={"z": 1}),
    ],
    "expired in a circle": [
        queue(D, arguments={DLX: "amq.fanout", "x-message-ttl": 1}),
        queue(arguments={**TO_D, "x-message-ttl": 1}),
        queue(E),
        bind("amq.fanout", to=Q),
        bind("amq.fanout", to=E),
        letters(name=E),
        publish("", Q, b"1", 1),
        queue(arguments={**TO_D, "x-message-ttl": 1}),
    ],
    "expired to itself": [
        queue(arguments={DLX: "amq.fanout", "x-message-ttl": 1}),
        queue(E),
        bind("amq.fanout", to=Q),
        bind("amq.fanout", to=E),
        letters(name=E),
        publish("", Q, b"1", 1),
        queue(arguments={DLX: "amq.fanout", "x-message-ttl": 1}),
    ],
    "expired, rejected, expired: no cycle": [
        queue(D, arguments={DLX: "", KEY: Q}),
        queue(arguments={**TO_D, "x-message-ttl": 1}),
        letters(no_ack=False),
        publish("", Q, b"1", 1),
        reject(1, 1),
        reject(2, 1),
    ],
    "the queue deleted with messages": [
        *dying(),
        *taken(b"1"),
        publish("", Q, b"2"),
        do(Queue.Delete(queue=Q)),
        reject(1),
        queue(arguments=TO_D),
        *taken(b"3"),
        reject(2, 1),
    ],
}

SCENARIOS: dict[str, Sequence[Step]] = {**EXPIRING, **DEAD}
