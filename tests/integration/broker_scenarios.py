"""What both brokers are asked in ``test_broker_parity.py``: frames, and when answers are due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pamqp import base, commands

from twbridge import wire

Basic = commands.Basic
Exchange = commands.Exchange
Queue = commands.Queue


class Step(NamedTuple):
    """Bytes to send, and how many events answer them; None: all up to a barrier behind them.

    ``until`` is the one line that answers in the end: they are sent again until it does.
    """

    data: bytes
    events: int | None = None
    until: str = ""


def do(method: base.Frame, events: int | None = None, channel: int = 1) -> Step:
    return Step(wire.method_frame(channel, method), events)


def publish(
    exchange: str = "",
    key: str = "",
    body: bytes = b"x",
    events: int | None = None,
    *,
    mandatory: bool = False,
    immediate: bool = False,
    **properties: Any,
) -> Step:
    method = Basic.Publish(
        exchange=exchange, routing_key=key, mandatory=mandatory, immediate=immediate
    )
    raw = wire.encode_properties(properties)
    return Step(wire.content_frames(1, method, raw, body, 131072), events)


def at_once(*steps: Step, events: int | None = None) -> Step:
    """All of them in one write, for what has to be there before its time is over."""
    return Step(b"".join(step.data for step in steps), events)


def ack(tag: int, multiple: bool = False, events: int | None = None) -> Step:
    return Step(wire.ack_frame(1, tag, multiple), events)


def nack(tag: int, multiple: bool = False, requeue: bool = True, events: int | None = None) -> Step:
    return Step(wire.nack_frame(1, tag, multiple, requeue), events)


def queue(name: str = "parity.q", **properties: Any) -> Step:
    return do(Queue.Declare(queue=name, **{"exclusive": True, **properties}))


def exchange(name: str = "parity.x", **properties: Any) -> Step:
    return do(Exchange.Declare(exchange=name, **properties))


def consume(tag: str = "c", events: int = 1, **properties: Any) -> Step:
    return do(Basic.Consume(queue="parity.q", consumer_tag=tag, **properties), events)


def bind(source: str, key: str = "", to: str = "parity.q", **properties: Any) -> Step:
    return do(Queue.Bind(queue=to, exchange=source, routing_key=key, **properties))


def get(no_ack: bool = True) -> Step:
    return do(Basic.Get(queue="parity.q", no_ack=no_ack))


def bound(kind: str, *keys: str) -> list[Step]:
    return [queue(), *(bind(f"amq.{kind}", key) for key in keys)]


DROP = do(Exchange.Delete(exchange="parity.x"))
CONFIRM = do(commands.Confirm.Select())
ONE_AT_A_TIME = do(Basic.Qos(prefetch_count=1))
TWO_SHARED = do(Basic.Qos(prefetch_count=2, global_=True))


def queue_again(first: dict[str, Any], **second: Any) -> list[Step]:
    return [queue(arguments=first), queue(**{"arguments": first, **second})]


_CHANGES: dict[str, dict[str, Any]] = {
    "type": {"exchange_type": "fanout"},
    "durable": {"durable": True},
    "auto_delete": {"auto_delete": True},
    "internal": {"internal": True},
    "alternate": {"arguments": {"alternate-exchange": "y"}},
}
_HEADERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 1}),
    ({"a": 1, "b": "x"}, {"a": 1}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 1}, {"a": True}),
    ({"a": None}, {"a": "whatever"}),
    ({"x-match": "any", "a": 1, "b": 2}, {"b": 2}),
    ({"x-match": "any", "a": 1}, {"a": 2}),
    ({"x-match": "any"}, {"a": 2}),
    ({"x-match": "all"}, {"a": 2}),
    ({"x-match": "all", "x-a": 1}, {"b": 1}),
    ({"x-match": "all-with-x", "x-a": 1}, {"b": 1}),
    ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}),
    ({"x-match": "any", "x-a": 1}, {"x-a": 1}),
    ({"x-match": "odd"}, {}),
    ({"x-match": 1}, {}),
]

SCENARIOS: dict[str, Sequence[Step]] = {
    # -- exchanges ----------------------------------------------------------------------------
    "declare an exchange twice, passively, delete it twice": [
        exchange(exchange_type="topic"),
        exchange(exchange_type="topic"),
        exchange(passive=True),
        DROP,
        DROP,
    ],
    "predefined exchanges": [
        exchange("amq.topic", exchange_type="topic", durable=True),
        exchange("amq.match", exchange_type="headers", durable=True),
        exchange("amq.topic", exchange_type="direct", durable=True),
    ],
    "reserved exchange": [exchange("amq.parity")],
    "default exchange declared": [exchange("")],
    "default exchange passive": [exchange("", passive=True)],
    "default exchange deleted": [do(Exchange.Delete(exchange=""))],
    "default exchange bound": [queue(), bind("", "a")],
    "default exchange unbound": [
        queue(),
        do(Queue.Unbind(queue="parity.q", exchange="", routing_key="parity.q")),
    ],
    "default exchange as source": [do(Exchange.Bind(destination="amq.topic", source=""))],
    "default exchange as destination": [do(Exchange.Bind(destination="", source="amq.topic"))],
    "system exchange deleted": [do(Exchange.Delete(exchange="amq.topic"))],
    "unknown exchange type": [exchange(exchange_type="odd")],
    "missing exchange": [exchange("parity.no", passive=True)],
    "alternate exchange of the wrong type": [exchange(arguments={"alternate-exchange": 3})],
    "exchange in use": [
        exchange(),
        queue(),
        bind("parity.x", "a"),
        do(Exchange.Delete(exchange="parity.x", if_unused=True)),
    ],
    "exchange in use, cleaned": [DROP],
    "exchange bound to a missing one": [
        do(Exchange.Bind(destination="parity.no", source="amq.topic"))
    ],
    "exchange bound from a missing one": [
        do(Exchange.Bind(destination="amq.topic", source="parity.no"))
    ],
    "unbind an exchange that is not bound": [
        do(Exchange.Unbind(destination="amq.topic", source="amq.fanout"))
    ],
    "exchange to exchange": [
        exchange(exchange_type="fanout"),
        *bound("topic"),
        bind("parity.x"),
        do(Exchange.Bind(destination="parity.x", source="amq.topic", routing_key="a.#")),
        publish("amq.topic", "a.b", b"1"),
        get(),
        do(Exchange.Unbind(destination="parity.x", source="amq.topic", routing_key="a.#")),
        publish("amq.topic", "a.b", b"2"),
        get(),
        DROP,
    ],
    "alternate exchange": [
        exchange(arguments={"alternate-exchange": "amq.fanout"}),
        *bound("fanout", ""),
        publish("parity.x", "nobody", b"1", mandatory=True),
        get(),
        DROP,
    ],
    "auto-delete exchange": [
        exchange(auto_delete=True),
        queue(),
        bind("parity.x", "a"),
        do(Queue.Unbind(queue="parity.q", exchange="parity.x", routing_key="a")),
        exchange(passive=True),
    ],
    **{
        f"exchange declared again with another {what}": [exchange(), exchange(**changed)]
        for what, changed in _CHANGES.items()
    },
    "the exchange of those, cleaned": [DROP],
    # -- queues -------------------------------------------------------------------------------
    "server-named queue": [
        queue(""),
        bind("amq.topic", "a", to=""),
        publish("amq.topic", "a"),
        do(Basic.Get(queue="", no_ack=True)),
    ],
    "no queue declared before": [do(Basic.Get(queue=""))],
    "reserved queue": [queue("amq.parity")],
    "missing queue, passive": [queue("parity.no", passive=True, exclusive=False)],
    "missing queue, get": [do(Basic.Get(queue="parity.no"))],
    "missing queue, consume": [do(Basic.Consume(queue="parity.no"))],
    "missing queue, purge": [do(Queue.Purge(queue="parity.no"))],
    "missing queue, delete": [do(Queue.Delete(queue="parity.no"))],
    "missing queue, bind": [bind("amq.topic", to="parity.no")],
    "missing queue, unbind": [do(Queue.Unbind(queue="parity.no", exchange="amq.topic"))],
    "missing exchange, bind": [queue(), bind("parity.no")],
    "missing exchange, unbind": [
        queue(),
        do(Queue.Unbind(queue="parity.q", exchange="parity.no")),
    ],
    "queue declared again, durable": queue_again({}, durable=True),
    "queue declared again, auto-delete": queue_again({}, auto_delete=True),
    "queue declared again, not exclusive": queue_again({}, exclusive=False),
    "queue declared again, length": queue_again({"x-max-length": 3}, arguments={"x-max-length": 4}),
    "queue declared again, no length": queue_again({"x-max-length": 3}, arguments={}),
    "queue declared again, overflow": queue_again({}, arguments={"x-overflow": "drop-head"}),
    "queue declared again, other arguments": queue_again(
        {"other": 1, "x-other": 1}, arguments={"other": 2, "x-queue-type": "classic"}
    ),
    **{
        f"queue argument {arguments}": [queue(arguments=arguments)]
        for arguments in (
            {"x-max-length": -1},
            {"x-max-length": "1"},
            {"x-max-length": True},
            {"x-queue-type": 1},
            {"x-max-length-bytes": -5},
            {"x-overflow": "odd"},
            {"x-overflow": 1},
            {"x-queue-type": "odd"},
        )
    },
    "delete, not empty": [
        queue(),
        publish("", "parity.q"),
        do(Queue.Delete(queue="parity.q", if_empty=True)),
    ],
    "delete, in use": [queue(), consume(), do(Queue.Delete(queue="parity.q", if_unused=True))],
    "delete, with messages": [
        queue(),
        publish("", "parity.q"),
        do(Queue.Delete(queue="parity.q")),
    ],
    "purge": [
        queue(),
        publish("", "parity.q"),
        publish("", "parity.q"),
        do(Queue.Purge(queue="parity.q")),
        queue(),
    ],
    "counts": [queue(), publish("", "parity.q"), queue(), consume(events=2), queue()],
    "a queue deleted under its consumer": [
        queue(),
        consume(),
        do(Queue.Delete(queue="parity.q"), 2),
        do(Basic.Cancel(consumer_tag="c"), 1),
    ],
    "auto-delete queue": [
        queue(auto_delete=True),
        consume(),
        do(Basic.Cancel(consumer_tag="c"), 1),
        queue(auto_delete=True, passive=True),
    ],
    # -- publishing ---------------------------------------------------------------------------
    "publish to a missing exchange": [publish("parity.no")],
    "publish to an internal exchange": [exchange(internal=True), publish("parity.x")],
    "publish to an internal exchange, cleaned": [DROP],
    "publish immediately": [publish("", "parity.q", immediate=True)],
    "returned": [publish("amq.topic", "nobody", b"hello", mandatory=True, type="t")],
    "returned, then confirmed": [
        CONFIRM,
        publish("amq.topic", "nobody", b"hello", 2, mandatory=True, headers={"a": [1, None]}),
        publish("amq.topic", "nobody", events=1),
    ],
    "confirmed, full": [
        CONFIRM,
        queue(arguments={"x-max-length": 1, "x-overflow": "reject-publish"}),
        publish("", "parity.q", b"1", 1),
        publish("", "parity.q", b"2", 1),
        get(),
        publish("", "parity.q", b"3", 1),
        get(),
    ],
    "drop-head": [
        queue(arguments={"x-max-length": 2}),
        *(publish("", "parity.q", letter) for letter in (b"a", b"b", b"c")),
        get(),
        get(),
        get(),
    ],
    "drop-head by bytes": [
        queue(arguments={"x-max-length-bytes": 5}),
        *(publish("", "parity.q", letter) for letter in (b"aa", b"bb", b"cc")),
        get(),
        get(),
        get(),
    ],
    "CC and BCC": [
        *bound("direct", "a", "b", "c"),
        publish("amq.direct", "no", headers={"CC": ["a", "b"], "BCC": ["c", 1], "z": "z"}),
        get(),
        get(),
    ],
    "BCC alone": [
        *bound("direct", "c"),
        publish("amq.direct", "no", headers={"BCC": ["c"]}, message_id="1"),
        get(),
    ],
    **{
        f"publish with {properties}": [publish("", "nobody", **properties)]
        for properties in (
            {"headers": {"CC": "a"}},
            {"headers": {"BCC": 1}},
            {"expiration": "soon"},
            {"expiration": "-1"},
            {"expiration": ""},
            {"expiration": "1.5"},
            {"user_id": "eve"},
            {"reply_to": "amq.rabbitmq.reply-to"},
            {"delivery_mode": 5},
            {"user_id": "guest", "delivery_mode": 2, "expiration": "60000", "priority": 9},
        )
    },
    "body of nothing, and of three frames": [
        queue(),
        publish("", "parity.q", b""),
        get(),
        publish("", "parity.q", b"abc" * 131072),
        get(),
    ],
    # -- routing ------------------------------------------------------------------------------
    "topics": [
        *bound("topic", "a.*.c", "#.z", "k", ""),
        *(
            publish("amq.topic", key, key.encode(), mandatory=True)
            for key in ("a.b.c", "a.c", "a.b.b.c", "z", "x.y.z", "k", "k.", ".", "", "a..c")
        ),
        *(get() for _ in range(7)),
    ],
    **{
        f"headers {arguments} {headers}": [
            queue(),
            do(Queue.Bind(queue="parity.q", exchange="amq.headers", arguments=arguments)),
            publish("amq.headers", headers=headers, mandatory=True),
        ]
        for arguments, headers in _HEADERS
    },
    # -- consuming ----------------------------------------------------------------------------
    "consume what waits and what comes": [
        queue(),
        publish("", "parity.q", b"1"),
        consume(events=2),
        publish("", "parity.q", b"2", 1),
        ack(2, multiple=True),
        do(Basic.Cancel(consumer_tag="c"), 1),
        do(Basic.Cancel(consumer_tag="c"), 1),
        queue(),
    ],
    "no-wait": [
        queue("parity.q", nowait=True),
        do(Basic.Consume(queue="parity.q", consumer_tag="c", nowait=True)),
        publish("", "parity.q", b"1", 1),
    ],
    "consumer tag used twice": [queue(), consume(), consume()],
    "exclusive consumer": [queue(), consume(exclusive=True), consume("d")],
    "exclusive consumer too late": [queue(), consume(), consume("d", exclusive=True)],
    "prefetch": [
        queue(),
        ONE_AT_A_TIME,
        publish("", "parity.q", b"1"),
        publish("", "parity.q", b"2"),
        consume(events=2),
        ack(1, events=1),
        nack(2, events=1),
        nack(3, requeue=False),
        queue(),
    ],
    "shared prefetch": [
        queue(),
        TWO_SHARED,
        *(publish("", "parity.q", body) for body in (b"1", b"2", b"3")),
        consume(events=3),
        consume("d"),
        ack(2, multiple=True, events=1),
    ],
    "requeue in place": [
        queue(),
        *(publish("", "parity.q", body) for body in (b"1", b"2", b"3", b"4")),
        *(get(no_ack=False) for _ in range(3)),
        nack(2),
        nack(1),
        do(Basic.Reject(delivery_tag=3, requeue=False)),
        *(get() for _ in range(4)),
    ],
    "requeue many in place": [
        queue(),
        *(publish("", "parity.q", body) for body in (b"1", b"2", b"3")),
        *(get(no_ack=False) for _ in range(2)),
        nack(0, multiple=True),
        *(get() for _ in range(4)),
    ],
    "recover": [
        queue(),
        publish("", "parity.q", b"1"),
        get(no_ack=False),
        do(Basic.Recover(requeue=True)),
        get(),
    ],
    "recover without requeue": [do(Basic.Recover(requeue=False))],
    "ack of an unknown tag": [ack(3)],
    "ack of zero": [ack(0)],
    "ack of all": [ack(0, multiple=True)],
    "nack of an unknown tag": [nack(3)],
    "reject of an unknown tag": [do(Basic.Reject(delivery_tag=3))],
    "ack twice": [queue(), publish("", "parity.q"), get(no_ack=False), ack(1), ack(1)],
    "prefetch size": [do(Basic.Qos(prefetch_size=3))],
    # -- channels and connections -------------------------------------------------------------
    "flow off": [do(commands.Channel.Flow(active=False))],
    "channel opened twice": [do(commands.Channel.Open())],
    "channel not open": [do(Queue.Declare(), 1, 2)],
    "channel closed and used": [
        do(commands.Channel.Close(200, "", 0, 0), 1),
        do(Queue.Declare()),
    ],
    "an error, what follows it, and the channel again": [
        Step(
            wire.method_frame(1, Queue.Purge(queue="parity.no"))
            + wire.method_frame(1, Queue.Purge(queue="parity.q")),
            1,
        ),
        Step(
            wire.method_frame(1, commands.Channel.CloseOk())
            + wire.method_frame(1, commands.Channel.Open())
        ),
    ],
    "a broker's method": [do(Basic.GetEmpty())],
    "a channel's method on the connection": [do(Queue.Declare(), channel=0)],
    "close": [do(commands.Connection.Close(200, "bye", 0, 0), 1, 0)],
}
