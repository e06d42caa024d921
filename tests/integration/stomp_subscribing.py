"""Scenarios of SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

from tests.integration.stomp_scenarios import (
    Scenario,
    frame,
    leave,
    say,
    send,
    subscribe,
    unsubscribe,
)

__all__ = ["SUBSCRIBING"]

SUBSCRIBING = (
    *(
        Scenario(
            f"a message right behind the subscription to {destination}",
            [
                say(
                    frame("SUBSCRIBE", "id:1", f"destination:{destination}"),
                    frame("SEND", f"destination:{destination}", body="1"),
                    hears=1,
                ),
                say(
                    frame("SUBSCRIBE", "id:2", f"destination:{destination}", "ack:client")
                    + frame("SEND", f"destination:{destination}", body="2"),
                    hears=2,
                ),
            ],
        )
        for destination in ("/topic/<x>", "/exchange/amq.direct/<x>", "/exchange/<x>.fanout")
    ),
    Scenario("a queue", [send("/queue/<x>", "b"), subscribe("/queue/<x>", hears=2)]),
    Scenario(
        "a queue that is made", [subscribe("/queue/<x>"), send("/amq/queue/<x>", "b", hears=2)]
    ),
    Scenario(
        "a queue that has to be there",
        [send("/queue/<x>", "b"), subscribe("/amq/queue/<x>", hears=2)],
    ),
    Scenario("a queue that has to be there and is not", [subscribe("/amq/queue/<x>")]),
    Scenario("subscribed to an exchange that is not there", [subscribe("/exchange/<x>/k")]),
    Scenario("nothing known", [subscribe("/foo/bar")]),
    Scenario("nothing", [say(frame("SUBSCRIBE", "id:1", "receipt:r"), hears=1)]),
    Scenario(
        "without an id",
        [
            say(frame("SUBSCRIBE", "destination:/queue/<x>", "receipt:r"), hears=1),
            send("/queue/<x>", "b", hears=2),
        ],
    ),
    Scenario(
        "without an id in 1.0",
        [
            say(frame("SUBSCRIBE", "destination:/queue/<x>", "receipt:r"), hears=1),
            send("/queue/<x>", "b", hears=2),
            unsubscribe("destination:/queue/<x>"),
            send("/queue/<x>", "b"),
        ],
        "1.0",
    ),
    Scenario(
        "an id that needs escapes",
        [
            subscribe("/queue/<x>", name=r"a\cb\\"),
            send("/queue/<x>", "b", hears=2),
            unsubscribe(r"id:a\cb\\"),
        ],
    ),
    Scenario("an id twice", [subscribe("/queue/<x>"), subscribe("/queue/<x>.other")]),
    Scenario(
        "a destination twice without an id",
        [
            say(frame("SUBSCRIBE", "destination:/queue/<x>", "receipt:r"), hears=1),
            say(frame("SUBSCRIBE", "destination:/queue/<x>", "receipt:r"), hears=1),
        ],
    ),
    Scenario(
        "a topic by two ids",
        [
            subscribe("/topic/<x>"),
            subscribe("/topic/<x>", name="2"),
            send("/topic/<x>", "b", hears=3),
        ],
    ),
    Scenario(
        "a topic and a pattern",
        [
            subscribe("/topic/<x>.a"),
            subscribe("/topic/<x>.#", name="2"),
            send("/topic/<x>.a", "b", hears=3),
            send("/topic/<x>.b", "c", hears=2),
        ],
    ),
    Scenario(
        "a topic by two clients",
        [
            subscribe("/topic/<x>"),
            subscribe("/topic/<x>", by="b"),
            send("/topic/<x>", "b", hears=2),
            say(by="b", hears=1),
        ],
    ),
    Scenario(
        "a queue by two ids in turns",
        [
            subscribe("/queue/<x>"),
            subscribe("/queue/<x>", name="2"),
            send("/queue/<x>", "1", hears=2),
            send("/queue/<x>", "2", hears=2),
        ],
    ),
    Scenario(
        "ended by its id",
        [
            subscribe("/topic/<x>"),
            subscribe("/topic/<x>", by="b"),
            unsubscribe("id:1"),
            send("/topic/<x>", "b"),
            # What is on its way while somebody subscribes may come to them: not any more, then.
            say(by="b", hears=1),
            subscribe("/topic/<x>"),
            send("/topic/<x>", "b", hears=2),
            say(by="b", hears=1),
        ],
    ),
    Scenario(
        "one of two ended",
        [
            subscribe("/topic/<x>"),
            subscribe("/topic/<x>", name="2"),
            unsubscribe("id:1"),
            send("/topic/<x>", "b", hears=2),
        ],
    ),
    Scenario(
        "ended by its destination, though it has an id",
        [
            subscribe("/topic/<x>"),
            unsubscribe("destination:/topic/<x>"),
        ],
    ),
    Scenario("an unknown one ended", [unsubscribe("id:9")]),
    Scenario("one ended that is not named", [say(frame("UNSUBSCRIBE", "receipt:r"), hears=1)]),
    Scenario(
        "messages wait for who comes later",
        [
            send("/queue/<x>", "1"),
            send("/queue/<x>", "2"),
            send("/queue/<x>", "3"),
            subscribe("/queue/<x>", by="b", hears=4),
        ],
    ),
    Scenario("an unknown ack mode", [subscribe("/queue/<x>", "ack:never")]),
    Scenario(
        "ack auto",
        [
            send("/queue/<x>", "b"),
            subscribe("/queue/<x>", "ack:auto", hears=2),
            # Answered when the broker sends no more: who only leaves may be sent the next one.
            unsubscribe("id:1"),
            leave(),
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "next", by="b", hears=2),
        ],
    ),
    Scenario(
        "prefetch-count",
        [
            send("/queue/<x>", "1"),
            send("/queue/<x>", "2"),
            send("/queue/<x>", "3"),
            subscribe("/queue/<x>", "ack:client-individual", "prefetch-count:2", hears=3),
            say(frame("ACK", "id:<ack 1>"), hears=1),
        ],
    ),
    Scenario(
        "no prefetch-count",
        [
            *(say(frame("SEND", "destination:/queue/<x>", body="kept") * 100) for _ in range(10)),
            say(frame("SEND", "destination:/queue/<x>", body="past") * 3),
            say(frame("BEGIN", "transaction:t", "receipt:begun"), hears=1),
            send("/queue/<x>.other"),
            subscribe("/queue/<x>", "ack:client", hears=1001),
        ],
    ),
    Scenario("prefetch-count is no number", [subscribe("/queue/<x>", "prefetch-count:some")]),
    Scenario("a word that is no boolean", [subscribe("/queue/<x>", "durable:yes")]),
    Scenario(
        "a queue with a limit",
        [
            subscribe("/queue/<x>", "x-max-length:1", "ack:client", "prefetch-count:1"),
            unsubscribe("id:1"),
            leave(),
            send("/amq/queue/<x>", "1", by="b"),
            send("/amq/queue/<x>", "2", by="b"),
            subscribe("/amq/queue/<x>", by="b", hears=2),
        ],
    ),
    Scenario("a limit that is no number", [subscribe("/queue/<x>", "x-max-length:some")]),
    Scenario(
        "a queue with other arguments than it has",
        [
            send("/queue/<x>", "b"),
            subscribe("/queue/<x>", "x-max-length:7", by="b", hears=2),
        ],
    ),
    Scenario(
        "a queue with dead letters",
        [
            subscribe("/queue/<x>.dead", by="b"),
            subscribe(
                "/queue/<x>",
                "x-dead-letter-exchange:",
                "x-dead-letter-routing-key:<x>.dead",
                "ack:client",
            ),
            send("/amq/queue/<x>", "b", hears=2),
            say(frame("NACK", "id:<ack 1>", "requeue:false", "receipt:r"), hears=1),
            say(by="b", hears=1),
        ],
    ),
    Scenario(
        "a quorum queue",
        [
            subscribe("/queue/<x>", "x-queue-type:quorum", "ack:client-individual"),
            send("/amq/queue/<x>", "b", hears=2),
        ],
    ),
    Scenario(
        "a topic with a queue of its own name",
        [
            subscribe("/topic/<x>", "x-queue-name:<x>.own"),
            send("/topic/<x>", "by topic", hears=2),
            send("/amq/queue/<x>.own", "by queue", hears=2),
        ],
    ),
    Scenario(
        "a topic with acks",
        [
            subscribe("/topic/<x>", "ack:client-individual"),
            send("/topic/<x>", "b", hears=2),
            say(frame("NACK", "id:<ack 1>"), hears=1),
            say(frame("ACK", "id:<ack 2>", "receipt:r"), hears=1),
        ],
    ),
    Scenario(
        "a topic with arguments",
        [
            subscribe("/topic/<x>", "x-max-length:10"),
            send("/topic/<x>", "b", hears=2),
        ],
    ),
    Scenario(
        "a queue of a reader that is not durable",
        [
            subscribe("/queue/<x>", "durable:false"),
            send("/amq/queue/<x>", "b", hears=2),
        ],
    ),
    Scenario(
        "an exclusive queue",
        [
            subscribe("/queue/<x>", "exclusive:true"),
            send("/amq/queue/<x>", "b", hears=2),
        ],
    ),
)
