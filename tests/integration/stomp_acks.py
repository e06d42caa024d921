"""Scenarios of ACK and NACK, durable subscriptions and streams."""

from __future__ import annotations

from tests.integration.stomp_scenarios import (
    Scenario,
    Step,
    cut,
    frame,
    leave,
    say,
    send,
    subscribe,
    unsubscribe,
)

__all__ = ["ACKS", "DURABLE", "STREAMS"]


def _ack(number: int, *headers: str, command: str = "ACK", hears: int = 1) -> Step:
    return say(frame(command, f"id:<ack {number}>", *headers, "receipt:r"), hears=hears)


def _three(mode: str) -> list[Step]:
    """Three messages, unacknowledged."""
    return [
        *(send("/queue/<x>", body) for body in "123"),
        subscribe("/queue/<x>", f"ack:{mode}", hears=4),
    ]


#: Who comes next gets what is left, marked.
def _left(count: int) -> list[Step]:
    return [leave(), subscribe("/queue/<x>", "ack:client", by="b", hears=count + 1)]


ACKS = (
    Scenario("client: one for all before", [*_three("client"), _ack(2), *_left(1)]),
    Scenario("client-individual: one", [*_three("client-individual"), _ack(2), *_left(2)]),
    Scenario("none at all", [*_three("client"), *_left(3)]),
    Scenario(
        "none at all, and the connection cut",
        [*_three("client"), cut(), subscribe("/queue/<x>", "ack:client", by="b", hears=4)],
    ),
    Scenario("NACK", [*_three("client-individual"), _ack(3, command="NACK", hears=2), _ack(4)]),
    Scenario("client: NACK of all before", [*_three("client"), _ack(2, command="NACK", hears=3)]),
    Scenario(
        "NACK requeue:true",
        [*_three("client-individual"), _ack(3, "requeue:true", command="NACK", hears=2)],
    ),
    Scenario(
        "NACK requeue:false",
        [*_three("client-individual"), _ack(1, "requeue:false", command="NACK"), *_left(2)],
    ),
    Scenario(
        "NACK requeue is no word",
        [*_three("client-individual"), _ack(1, "requeue:no", command="NACK")],
    ),
    *(
        Scenario(
            f"{command} in {version}",
            [
                *_three("client-individual"),
                say(
                    frame(
                        command, "subscription:1", "message-id:<id 1>", "requeue:false", "receipt:r"
                    ),
                    hears=1,
                ),
                *_left(2),
            ],
            version,
        )
        for version in ("1.0", "1.1")
        for command in ("ACK", "NACK")
    ),
    Scenario(
        "cumulative in 1.1",
        [
            *_three("client"),
            say(frame("ACK", "subscription:1", "message-id:<id 2>", "receipt:r"), hears=1),
            *_left(1),
        ],
        "1.1",
    ),
    Scenario(
        "without a receipt",
        [
            *_three("client"),
            say(frame("ACK", "id:<ack 3>")),
            say(frame("BEGIN", "transaction:t", "receipt:r"), hears=1),
            # Answered when the broker sends no more: who only leaves may be sent the next one.
            unsubscribe("id:1"),
            leave(),
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "next", by="b", hears=2),
        ],
    ),
    Scenario("ACK without an id", [say(frame("ACK", "receipt:r"), hears=1)]),
    Scenario("NACK without an id", [say(frame("NACK", "receipt:r"), hears=1)]),
    Scenario("ACK without a message-id", [say(frame("ACK", "id:1", "receipt:r"), hears=1)], "1.1"),
    Scenario("ACK of nonsense", [say(frame("ACK", "id:nonsense", "receipt:r"), hears=1)]),
    Scenario("NACK of nonsense", [say(frame("NACK", "id:nonsense", "receipt:r"), hears=1)]),
    Scenario("ACK twice", [*_three("client-individual"), _ack(1), _ack(1, hears=2)]),
    Scenario(
        "ACK of a message that needs none",
        [
            send("/queue/<x>", "b"),
            subscribe("/queue/<x>", hears=2),
            say(frame("ACK", "id:<id 1>", "receipt:r"), hears=2),
        ],
    ),
    Scenario("ACK after UNSUBSCRIBE", [*_three("client-individual"), unsubscribe("id:1"), _ack(1)]),
    Scenario(
        "two subscriptions, each with acks of its own",
        [
            send("/queue/<x>", "1"),
            send("/queue/<x>.2", "2"),
            subscribe("/queue/<x>", "ack:client-individual", hears=2),
            subscribe("/queue/<x>.2", "ack:client-individual", name="2", hears=2),
            _ack(2),
            _ack(1),
            unsubscribe("id:1"),
            unsubscribe("id:2"),
            leave(),
            subscribe("/queue/<x>", by="b"),
            subscribe("/queue/<x>.2", name="2", by="b"),
            send("/queue/<x>", "next", by="b", hears=2),
        ],
    ),
    Scenario(
        "client: two subscriptions",
        [
            send("/queue/<x>", "1"),
            send("/queue/<x>.2", "2"),
            subscribe("/queue/<x>", "ack:client", hears=2),
            subscribe("/queue/<x>.2", "ack:client", name="2", hears=2),
            _ack(2),
            leave(),
            subscribe("/queue/<x>", by="b", hears=2),
        ],
    ),
    Scenario(
        "what was out when it was ended",
        [*_three("client-individual"), _ack(1), unsubscribe("id:1"), *_left(2)],
    ),
)

_DURABLE = ("durable:true", "auto-delete:false")


def _durable(destination: str, identity: str = "<x>", *headers: str) -> list[Step]:
    """Subscribe and leave, so that what comes after it waits.

    The UNSUBSCRIBE is answered when the broker sends no more; who only leaves may be sent
    something that comes again, marked.
    """
    return [
        subscribe(destination, *_DURABLE, *headers, name=identity),
        unsubscribe(f"id:{identity}"),
        leave(),
    ]


_TOPIC = ("destination:/topic/<x>", *_DURABLE, "id:<x>")
#: Each with a receipt.
_BEGIN = frame("SUBSCRIBE", *_TOPIC, "receipt:begun")
_END = frame("UNSUBSCRIBE", "id:<x>", "durable:true", "receipt:ended")

DURABLE = (
    Scenario(
        "a durable topic",
        [
            *_durable("/topic/<x>"),
            send("/topic/<x>", "1", by="b"),
            send("/topic/<x>", "2", by="b"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>", by="c", hears=3),
            send("/topic/<x>", "3", by="c", hears=2),
            unsubscribe("id:<x>", "durable:true", by="c"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>", by="c"),
            send("/topic/<x>", "4", by="c", hears=2),
        ],
    ),
    *(
        Scenario(
            f"a durable topic, and {what} at once",
            [
                say(frame("SUBSCRIBE", *_TOPIC) + frame(command, *headers), hears=1),
                leave(),
                send("/topic/<x>", "1", by="b"),
                subscribe("/topic/<x>", *_DURABLE, name="<x>", by="c", hears=2),
            ],
        )
        for command, headers, what in (
            ("UNSUBSCRIBE", ["id:<x>", "receipt:ended"], "no longer subscribed"),
            ("DISCONNECT", [], "gone"),
        )
    ),
    Scenario(
        "a durable topic, ended and begun at once",
        [
            say((_BEGIN + _END) * 3 + _BEGIN, hears=7),
            send("/topic/<x>", "1", hears=2),
            leave(),
            send("/topic/<x>", "2", by="b"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>", by="c", hears=2),
        ],
    ),
    Scenario(
        "a durable topic by persistent",
        [
            subscribe("/topic/<x>", "persistent:true", "auto-delete:false", name="<x>"),
            unsubscribe("id:<x>"),
            leave(),
            send("/topic/<x>", "1", by="b"),
            subscribe(
                "/topic/<x>", "persistent:true", "auto-delete:false", name="<x>", by="c", hears=2
            ),
        ],
    ),
    Scenario(
        "a durable topic with acks",
        [
            *_durable("/topic/<x>"),
            send("/topic/<x>", "1", by="b"),
            send("/topic/<x>", "2", by="b"),
            subscribe("/topic/<x>", *_DURABLE, "ack:client", name="<x>", by="c", hears=3),
            say(frame("ACK", "id:<ack 1>", "receipt:r"), hears=1, by="c"),
            leave("c"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>", by="d", hears=2),
        ],
    ),
    Scenario(
        "a durable pattern",
        [
            *_durable("/topic/<x>.*"),
            send("/topic/<x>.a", "1", by="b"),
            send("/topic/<x>", "2", by="b"),
            subscribe("/topic/<x>.*", *_DURABLE, name="<x>", by="c", hears=2),
        ],
    ),
    Scenario(
        "a durable exchange",
        [
            *_durable("/exchange/amq.direct/<x>"),
            send("/exchange/amq.direct/<x>", "1", by="b"),
            subscribe("/exchange/amq.direct/<x>", *_DURABLE, name="<x>", by="c", hears=2),
        ],
    ),
    Scenario(
        "a durable topic with a queue of its own name",
        [
            *_durable("/topic/<x>", "1", "x-queue-name:<x>.own"),
            send("/topic/<x>", "1", by="b"),
            subscribe("/amq/queue/<x>.own", name="2", by="c", hears=2),
        ],
    ),
    Scenario(
        "two durable topics by two ids",
        [
            *_durable("/topic/<x>", "<x>1"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>2", by="b"),
            unsubscribe("id:<x>2", by="b"),
            leave("b"),
            send("/topic/<x>", "b", by="c"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>1", by="c", hears=2),
            subscribe("/topic/<x>", *_DURABLE, name="<x>2", by="c", hears=2),
        ],
    ),
    Scenario(
        "a durable topic ended only for now",
        [
            subscribe("/topic/<x>", *_DURABLE, name="<x>"),
            unsubscribe("id:<x>"),
            send("/topic/<x>", "1"),
            subscribe("/topic/<x>", *_DURABLE, name="<x>", hears=2),
        ],
    ),
    Scenario(
        "a durable topic ended with a queue of its own name",
        [
            subscribe("/topic/<x>", *_DURABLE, "x-queue-name:<x>.own"),
            unsubscribe("id:1", "durable:true"),
            send("/topic/<x>", "1"),
            subscribe("/topic/<x>", *_DURABLE, "x-queue-name:<x>.own", hears=2),
        ],
    ),
    Scenario(
        "a durable exchange ended",
        [
            subscribe("/exchange/amq.direct/<x>", *_DURABLE),
            unsubscribe("id:1", "durable:true"),
            send("/exchange/amq.direct/<x>", "1"),
            subscribe("/exchange/amq.direct/<x>", *_DURABLE, hears=2),
        ],
    ),
    Scenario(
        "a durable topic that goes with its reader",
        [
            subscribe("/topic/<x>", "durable:true", name="<x>"),
            unsubscribe("id:<x>"),
            leave(),
            send("/topic/<x>", "1", by="b"),
            subscribe("/topic/<x>", "durable:true", name="<x>", by="c"),
            send("/topic/<x>", "2", by="c", hears=2),
        ],
    ),
    Scenario(
        "a durable topic without an id",
        [say(frame("SUBSCRIBE", "destination:/topic/<x>", "durable:true", "receipt:r"), hears=1)],
    ),
    Scenario(
        "a durable queue",
        [
            subscribe("/queue/<x>", "durable:true"),
            unsubscribe("id:1"),
            leave(),
            send("/queue/<x>", "1", by="b"),
            subscribe("/queue/<x>", by="c", hears=2),
        ],
    ),
)

_READER = ("ack:client", "prefetch-count:10")

STREAMS = (
    Scenario(
        "a stream from its first message",
        [
            send("/amq/queue/<x>.stream", "1"),
            send("/amq/queue/<x>.stream", "2"),
            subscribe("/amq/queue/<x>.stream", *_READER, "x-stream-offset:first", hears=3),
        ],
    ),
    Scenario(
        "a stream from an offset",
        [
            *(send("/amq/queue/<x>.stream", body) for body in "123"),
            subscribe("/amq/queue/<x>.stream", *_READER, "x-stream-offset:offset=1", hears=3),
        ],
    ),
    Scenario(
        "a stream from now on",
        [
            send("/amq/queue/<x>.stream", "1"),
            subscribe("/amq/queue/<x>.stream", *_READER, "x-stream-offset:next"),
            send("/amq/queue/<x>.stream", "2", hears=2),
        ],
    ),
    Scenario(
        "a stream with acks",
        [
            send("/amq/queue/<x>.stream", "1"),
            subscribe("/amq/queue/<x>.stream", *_READER, "x-stream-offset:first", hears=2),
            say(frame("ACK", "id:<ack 1>", "receipt:r"), hears=1),
        ],
    ),
    Scenario(
        "a stream without acks",
        [
            subscribe("/amq/queue/<x>.stream", "x-stream-offset:first"),
        ],
    ),
    Scenario(
        "a stream that a reader makes",
        [
            subscribe("/queue/<x>.made", "x-queue-type:stream", *_READER, "x-stream-offset:first"),
        ],
    ),
)
