"""What both brokers are asked about quorum queues.

They are not exclusive: each scenario begins by deleting what the one before has left. RabbitMQ
answers for them late, so what a barrier would prove elsewhere is waited for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pamqp import commands

from tests.integration.broker_scenarios import CONFIRM, Step, ack, do, nack, publish, queue
from tests.integration.letter_scenarios import DLX, KEY, TO_D, D, letters, reject, settled
from twbridge import wire

Basic, Queue = commands.Basic, commands.Queue

U = "parity.u"
DROP = do(Queue.Delete(queue=U))
LIMIT = "x-delivery-limit"
ONE = do(Basic.Qos(prefetch_count=1))


def quorum(name: str = U, *, passive: bool = False, **properties: Any) -> Step:
    arguments = {"x-queue-type": "quorum", **properties.pop("arguments", {})}
    given = {"durable": True, **properties}
    return do(Queue.Declare(queue=name, passive=passive, arguments=arguments, **given))


def consume(events: int = 1, tag: str = "c", **properties: Any) -> Step:
    return do(Basic.Consume(queue=U, consumer_tag=tag, **properties), events)


def get(no_ack: bool = True) -> Step:
    return do(Basic.Get(queue=U, no_ack=no_ack), 1)


def filled(letters: bytes = b"ab", **arguments: Any) -> list[Step]:
    """A new queue with confirmed messages, and one for its dead letters."""
    given = {**TO_D, **{key.replace("_", "-"): value for key, value in arguments.items()}}
    return [
        DROP,
        queue(D),
        quorum(arguments=given),
        CONFIRM,
        *(publish("", U, bytes([letter]), 1) for letter in letters),
    ]


DECLARED: dict[str, Sequence[Step]] = {
    "twice, passively, as a classic queue": [
        DROP,
        quorum(),
        quorum(),
        quorum(passive=True),
        do(Queue.Declare(queue=U, durable=True)),
    ],
    "not durable": [DROP, quorum(durable=False)],
    "exclusive": [DROP, quorum(exclusive=True)],
    "auto-delete": [DROP, quorum(auto_delete=True)],
    "all of these": [DROP, quorum(auto_delete=True, exclusive=True, durable=False)],
    "exclusive, with a priority": [
        DROP,
        quorum(exclusive=True, arguments={"x-max-priority": 1}),
    ],
    "without a name": [quorum("")],
    "with a reserved name": [quorum("amq.parity")],
    "again, not durable": [DROP, quorum(), quorum(durable=False)],
    "again, exclusive": [DROP, quorum(), quorum(exclusive=True)],
    "again, auto-delete": [DROP, quorum(), quorum(auto_delete=True)],
    "deleted if unused": [DROP, quorum(), do(Queue.Delete(queue=U, if_unused=True))],
    "deleted if empty": [DROP, quorum(), do(Queue.Delete(queue=U, if_empty=True))],
    "deleted with messages": [*filled(), settled(2, U), DROP],
}

CONSUMED: dict[str, Sequence[Step]] = {
    "got": [*filled(), get(), get(no_ack=False), get(), ack(1)],
    "delivered": [*filled(), consume(3), publish("", U, b"c", 2), ack(2), ack(1)],
    "delivered without acknowledgement": [
        *filled(),
        consume(3, no_ack=True),
        publish("", U, b"c", 2),
        settled(0, D),
    ],
    "purged": [*filled(), settled(2, U), do(Queue.Purge(queue=U)), get()],
    "prefetch": [*filled(b"abc"), ONE, consume(2), ack(1, events=1), ack(2, events=1)],
    "two consumers take turns": [
        *filled(b""),
        consume(),
        consume(tag="d"),
        publish("", U, b"1", 2),
    ],
    "an exclusive consumer, and another one": [
        *filled(b""),
        consume(exclusive=True),
        consume(tag="d"),
    ],
    "an exclusive consumer too late": [*filled(b""), consume(), consume(tag="d", exclusive=True)],
    "a tag twice": [*filled(b""), consume(), consume()],
    "a shared prefetch": [*filled(b""), do(Basic.Qos(prefetch_count=1, global_=True)), consume()],
    "x-stream-offset": [*filled(b""), consume(arguments={"x-stream-offset": "first"})],
    "x-cancel-on-ha-failover": [
        *filled(b""),
        consume(arguments={"x-cancel-on-ha-failover": True}),
    ],
    "deleted under its consumer": [*filled(b"a"), consume(2), do(Queue.Delete(queue=U), 2)],
    "a consumer that is cancelled": [
        *filled(b"ab"),
        ONE,
        consume(2),
        do(Basic.Cancel(consumer_tag="c"), 1),
        get(),
        nack(1, events=0),
        settled(1, U),
        get(),
    ],
}

RETURNED: dict[str, Sequence[Step]] = {
    "requeued: behind the others": [
        *filled(b"abc"),
        get(no_ack=False),
        nack(1, events=0),
        settled(3, U),
        *(get() for _ in range(3)),
    ],
    "requeued with a limit: before the others": [
        *filled(b"abc", x_delivery_limit=3),
        *(get(no_ack=False) for _ in range(2)),
        nack(2, events=0),
        nack(1, events=0),
        settled(3, U),
        *(get() for _ in range(3)),
    ],
    "many requeued": [
        *filled(b"abc"),
        *(get(no_ack=False) for _ in range(2)),
        nack(0, multiple=True, events=0),
        settled(3, U),
        *(get() for _ in range(3)),
    ],
    "many requeued with a limit, to a consumer": [
        *filled(b"abc", x_delivery_limit=3),
        do(Basic.Qos(prefetch_count=2)),
        consume(3),
        nack(2, multiple=True, events=2),
        ack(4, multiple=True, events=1),
    ],
    "recovered": [
        *filled(b"ab", x_delivery_limit=3),
        get(no_ack=False),
        do(Basic.Recover(requeue=True), 1),
        settled(2, U),
        *(get() for _ in range(2)),
    ],
    "the channel closed: before the others": [
        *filled(b"abc"),
        *(get(no_ack=False) for _ in range(2)),
        do(commands.Channel.Close(200, "", 0, 0), 1),
        Step(wire.method_frame(1, commands.Channel.Open())),
        settled(3, U),
        *(get() for _ in range(3)),
    ],
    "the channel closed at the limit": [
        *filled(b"a", x_delivery_limit=0),
        get(no_ack=False),
        do(commands.Channel.Close(200, "", 0, 0), 1),
        Step(wire.method_frame(1, commands.Channel.Open())),
        letters(events=2),
    ],
    "counted for the consumer": [
        *filled(b"a", x_delivery_limit=3),
        consume(2),
        *(nack(tag, events=1) for tag in range(1, 4)),
    ],
    "counted without a limit, with properties": [
        *filled(b""),
        consume(),
        publish(
            "", U, b"1", 2, headers={"x-delivery-count": 7, "a": 1}, priority=3, message_id="m"
        ),
        *(nack(tag, events=1) for tag in range(1, 4)),
        ack(4),
    ],
    "past the limit": [
        *filled(b"", x_delivery_limit=2),
        letters(),
        consume(),
        publish("", U, b"1", 2, headers={"a": 1}, expiration="60000"),
        *(nack(tag, events=1) for tag in range(1, 4)),
    ],
    "past a limit of none": [
        *filled(b"a", x_delivery_limit=0),
        letters(),
        get(no_ack=False),
        nack(1, events=1),
    ],
    "past the limit without a way": [
        DROP,
        quorum(arguments={LIMIT: 0}),
        CONFIRM,
        publish("", U, b"1", 1),
        publish("", U, b"2", 1),
        get(no_ack=False),
        nack(1, events=0),
        settled(1, U),
        get(),
    ],
    "past the limit, many": [
        *filled(b"abc", x_delivery_limit=0),
        *(get(no_ack=False) for _ in range(3)),
        nack(2, multiple=True, events=0),
        settled(2),
        nack(3, events=0),
        settled(3),
        letters(events=4),
    ],
    "rejected after it came back": [
        *filled(b"a", x_delivery_limit=3),
        letters(),
        get(no_ack=False),
        nack(1, events=0),
        settled(1, U),
        get(no_ack=False),
        reject(2, 1),
    ],
}

DEAD: dict[str, Sequence[Step]] = {
    "rejected": [*filled(b"a"), letters(), get(no_ack=False), reject(1, 1)],
    "many rejected": [
        *filled(b"abc"),
        *(get(no_ack=False) for _ in range(3)),
        reject(1, 0),
        settled(1),
        nack(0, multiple=True, requeue=False, events=0),
        settled(3),
        letters(events=4),
    ],
    "rejected by its own key": [
        DROP,
        queue(D),
        quorum(arguments={DLX: "amq.direct"}),
        do(Queue.Bind(queue=D, exchange="amq.direct", routing_key=U)),
        CONFIRM,
        publish("", U, b"1", 1, headers={"CC": ["x"]}),
        letters(),
        get(no_ack=False),
        reject(1, 1),
    ],
    "rejected to itself": [
        DROP,
        quorum(arguments={DLX: "", KEY: U, LIMIT: 1}),
        CONFIRM,
        publish("", U, b"1", 1),
        consume(2),
        *(reject(tag, 1) for tag in (1, 2)),
        *(nack(tag, events=1) for tag in (3,)),
    ],
    "expired": [
        *filled(b""),
        letters(),
        publish("", U, b"1", 2, expiration="20"),
        publish("", U, b"2", 2, expiration="0"),
    ],
    "expired by the queue": [
        *filled(b"", x_message_ttl=20),
        letters(),
        publish("", U, b"1", 2, expiration="100000"),
    ],
    "expired behind one that lives longer": [
        *filled(b""),
        publish("", U, b"1", 1, expiration="80"),
        publish("", U, b"2", 1, expiration="1"),
        settled(2),
        letters(events=3),
    ],
    "to expire at once, to a consumer": [
        *filled(b""),
        consume(no_ack=True),
        publish("", U, b"1", 2, expiration="0"),
    ],
    "too many": [
        *filled(b"ab", x_max_length=2),
        publish("", U, b"c", 1),
        settled(1),
        publish("", U, b"d", 1),
        settled(2),
        letters(events=3),
        *(get() for _ in range(3)),
    ],
    "too many bytes": [
        *filled(b"ab", x_max_length_bytes=3),
        publish("", U, b"cc", 1),
        settled(1),
        letters(events=2),
        *(get() for _ in range(3)),
    ],
    "too many, the way of reject-publish-dlx": [
        *filled(b"ab", x_max_length=1, x_overflow="reject-publish-dlx"),
        settled(1),
        letters(events=2),
        *(get() for _ in range(2)),
    ],
    "too many by what came back": [
        *filled(b"ab", x_max_length=2, x_delivery_limit=3),
        get(no_ack=False),
        publish("", U, b"c", 1),
        nack(1, events=0),
        settled(1),
        letters(events=2),
        *(get() for _ in range(3)),
    ],
    "full, rejected": [
        *filled(b"ab", x_max_length=1, x_overflow="reject-publish"),
        publish("", U, b"c", 1),
        get(),
        publish("", U, b"d", 1),
        get(),
        settled(0, U),
        publish("", U, b"e", 1),
        get(),
    ],
    "quorum queues, cleaned": [DROP],
}

SCENARIOS: dict[str, Sequence[Step]] = {**DECLARED, **CONSUMED, **RETURNED, **DEAD}
