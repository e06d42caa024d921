"""Scenarios of SEND: destinations, headers, transactions, replies."""

from __future__ import annotations

from tests.integration.stomp_scenarios import Scenario, frame, leave, say, send, subscribe

__all__ = ["DESTINATIONS", "HEADERS", "REPLIES", "TRANSACTIONS"]

DESTINATIONS = (
    Scenario("to a queue", [send("/queue/<x>", "b"), subscribe("/queue/<x>", hears=2)]),
    Scenario("to a name alone", [send("<x>", "b"), subscribe("/queue/<x>", hears=2)]),
    Scenario("from a name alone", [subscribe("<x>"), send("<x>", "b", hears=2)]),
    Scenario("to a topic", [subscribe("/topic/<x>"), send("/topic/<x>", "b", hears=2)]),
    Scenario(
        "to topics by a pattern",
        [
            subscribe("/topic/<x>.*.c.#"),
            send("/topic/<x>.b.c", "1", hears=2),
            send("/topic/<x>.b.c.d.e", "2", hears=2),
            send("/topic/<x>.b", "3"),
        ],
    ),
    Scenario("to a topic of nobody", [send("/topic/<x>", "b")]),
    Scenario(
        "to an exchange with a key",
        [
            subscribe("/exchange/amq.direct/<x>"),
            send("/exchange/amq.direct/<x>", "b", hears=2),
            send("/exchange/amq.direct/<x>.other", "b"),
        ],
    ),
    Scenario(
        "to amq.topic as an exchange",
        [subscribe("/exchange/amq.topic/<x>"), send("/topic/<x>", "b", hears=2)],
    ),
    Scenario(
        "to a fanout exchange without a key",
        [subscribe("/exchange/<x>.fanout"), send("/exchange/<x>.fanout", "b", hears=2)],
    ),
    Scenario(
        "to a fanout exchange with a key",
        [subscribe("/exchange/<x>.fanout"), send("/exchange/<x>.fanout/some", "b", hears=2)],
    ),
    Scenario(
        "to a queue that there is",
        [send("/queue/<x>", "1"), send("/amq/queue/<x>", "2"), subscribe("/queue/<x>", hears=3)],
    ),
    Scenario("to a queue that is not declared", [send("/amq/queue/<x>", "b")]),
    Scenario("to the queue of a reply", [send("/queue/<x>"), send("/reply-queue/<x>", "b")]),
    Scenario("to the queue of a reply that has gone", [send("/reply-queue/<x>", "b")]),
    Scenario("to a temporary queue", [send("/temp-queue/<x>", "b")]),
    Scenario(
        "a slash in a name",
        [send("/queue/<x>%2Fb", "b"), subscribe("/queue/<x>%2Fb", hears=2)],
    ),
    Scenario(
        "characters in a name",
        [subscribe("/queue/<x>.größe"), send("/queue/<x>.größe", "b", hears=2)],
    ),
    Scenario("a space in a name", [subscribe("/queue/<x> b"), send("/queue/<x> b", "b", hears=2)]),
    Scenario(
        "a slash in a key",
        [subscribe("/topic/<x>%2Fb"), send("/topic/<x>%2Fb", "b", hears=2)],
    ),
    Scenario(
        "another escape in a name",
        [send("/queue/<x>%20b", "b"), subscribe("/queue/<x>%20b", hears=2)],
    ),
    Scenario("to an exchange that is not there", [send("/exchange/<x>/k", "b")]),
    Scenario("to a stream by its own name", [send("/stream/<x>", "b")]),
    *(
        Scenario(f"to {destination!r}", [send(destination, "b")])
        for destination in (
            "/foo/bar",
            "/queue/",
            "/queue",
            "/queue/a/b",
            "/topic/",
            "/topic/a/b",
            "/exchange/",
            "/exchange/a/b/c",
            "/amq/queue/",
            "/reply-queue/",
            "/",
            "",
        )
    ),
    Scenario("to nowhere", [say(frame("SEND", "receipt:r", body="b"), hears=1)]),
)


def _with(name: str, *headers: str, body: str = "b", hears: int = 2) -> Scenario:
    return Scenario(
        name, [subscribe("/queue/<x>"), send("/queue/<x>", body, *headers, hears=hears)]
    )


HEADERS = (
    _with("no header"),
    _with("content-type", "content-type:text/plain"),
    _with("content-encoding", "content-encoding:gzip"),
    _with("persistent", "persistent:true"),
    _with("persistent as Python writes it", "persistent:True"),
    _with("not persistent", "persistent:false"),
    _with("persistent is no word", "persistent:yes"),
    _with("priority", "priority:5"),
    _with("priority 0", "priority:0"),
    _with("priority is no number", "priority:high", hears=1),
    _with("priority is too high", "priority:300"),
    Scenario("a header of 40 kB", [send("/queue/<x>", "b", "foo:" + "x" * 40_000)]),
    Scenario("200 headers", [send("/queue/<x>", "b", *(f"h{n}:x" for n in range(200)))]),
    _with("correlation-id", "correlation-id:abc 1"),
    _with("expiration", "expiration:60000"),
    _with("expiration is no number", "expiration:soon", hears=1),
    _with("amqp-message-id", "amqp-message-id:m-1"),
    _with("message-id", "message-id:m-1", hears=1),
    _with("timestamp", "timestamp:1234567890"),
    _with("timestamp 0", "timestamp:0"),
    _with("timestamp is no number", "timestamp:now", hears=1),
    _with("type", "type:news"),
    _with("app-id", "app-id:shop"),
    _with("user-id", "user-id:guest"),
    _with("another's user-id", "user-id:nobody", hears=1),
    _with("cluster-id", "cluster-id:c"),
    _with("reply-to a queue", "reply-to:/queue/<x>.back"),
    _with("reply-to a topic", "reply-to:/topic/<x>.back"),
    _with("reply-to a name", "reply-to:<x>.back"),
    _with("reply-to nonsense", "reply-to:/foo/bar", hears=1),
    _with("headers of the user", "foo:bar", "x-more:1", "UPPER:Case", "empty:"),
    _with("headers that other frames have", "id:i", "ack:client", "durable:true", "selector:s"),
    _with("transformation", "transformation:jms-map-json"),
    _with("redelivered", "redelivered:true"),
    _with("subscription", "subscription:another"),
    _with("a name like a property", "content_type:x", "delivery_mode:2", "headers:h"),
    _with(
        "everything",
        "content-type:application/json",
        "content-encoding:utf-8",
        "persistent:true",
        "priority:9",
        "correlation-id:c",
        "expiration:60000",
        "amqp-message-id:m",
        "timestamp:1",
        "type:t",
        "app-id:a",
        "reply-to:/queue/back",
        "foo:bar",
    ),
    Scenario(
        "many receipts",
        [
            subscribe("/queue/<x>"),
            say(
                *(
                    frame("SEND", "destination:/queue/<x>", f"receipt:{n:02}", body=f"{n}")
                    for n in range(50)
                ),
                hears=100,
            ),
        ],
    ),
    Scenario(
        "no receipt",
        [subscribe("/queue/<x>"), say(frame("SEND", "destination:/queue/<x>", body="b"), hears=1)],
    ),
)


def _in(name: str, body: str, *headers: str) -> str:
    return frame("SEND", "destination:/queue/<x>", f"transaction:{name}", *headers, body=body)


def _end(command: str, name: str = "t") -> str:
    return frame(command, f"transaction:{name}", f"receipt:{command}")


TRANSACTIONS = (
    Scenario(
        "a commit",
        [
            subscribe("/queue/<x>"),
            say(frame("BEGIN", "transaction:t", "receipt:begun"), hears=1),
            say(_in("t", "1"), _in("t", "2", "receipt:second"), hears=0),
            send("/queue/<x>", "before", hears=2),
            say(_end("COMMIT"), hears=4),
        ],
    ),
    Scenario(
        "an abort",
        [
            subscribe("/queue/<x>"),
            say(frame("BEGIN", "transaction:t"), _in("t", "1"), _end("ABORT"), hears=1),
            send("/queue/<x>", "after", hears=2),
        ],
    ),
    Scenario(
        "two at a time",
        [
            subscribe("/queue/<x>"),
            say(frame("BEGIN", "transaction:1"), frame("BEGIN", "transaction:2")),
            say(_in("1", "one"), _in("2", "two"), _in("1", "three"), _end("ABORT", "2"), hears=1),
            say(_end("COMMIT", "1"), hears=3),
        ],
    ),
    Scenario(
        "the same name again",
        [
            subscribe("/queue/<x>"),
            say(frame("BEGIN", "transaction:t"), _in("t", "1"), _end("COMMIT"), hears=2),
            say(frame("BEGIN", "transaction:t"), _in("t", "2"), _end("COMMIT"), hears=2),
        ],
    ),
    Scenario("an empty one", [say(frame("BEGIN", "transaction:t"), _end("COMMIT"), hears=1)]),
    Scenario(
        "ended by the end of the connection",
        [
            say(frame("BEGIN", "transaction:t", "receipt:b"), _in("t", "1"), hears=1),
            leave(),
            send("/queue/<x>", "other", by="b"),
            subscribe("/queue/<x>", by="b", hears=2),
        ],
    ),
    Scenario(
        "begun twice",
        [
            subscribe("/queue/<x>"),
            say(frame("BEGIN", "transaction:t"), _in("t", "1")),
            say(frame("BEGIN", "transaction:t"), _in("t", "2"), _end("COMMIT"), hears=2),
        ],
    ),
    Scenario(
        "one of several is forbidden",
        [
            subscribe("/queue/<x>", by="b"),
            say(frame("BEGIN", "transaction:t"), _in("t", "1")),
            say(_in("t", "2", "user-id:nobody"), _in("t", "3"), _end("COMMIT"), hears=2),
            # RabbitMQ has published the first of them, which b hears too.
            send("/queue/<x>", "after", by="b", hears=3),
        ],
    ),
    Scenario("an unknown COMMIT", [say(_end("COMMIT"), hears=1)]),
    Scenario("an unknown ABORT", [say(_end("ABORT"), hears=1)]),
    Scenario("a SEND in an unknown one", [say(_in("t", "1", "receipt:r"), hears=1)]),
    Scenario("BEGIN without a name", [say(frame("BEGIN", "receipt:r"), hears=1)]),
    Scenario("COMMIT without a name", [say(frame("COMMIT", "receipt:r"), hears=1)]),
    Scenario("ABORT without a name", [say(frame("ABORT", "receipt:r"), hears=1)]),
    Scenario(
        "acks",
        [
            send("/queue/<x>", "1"),
            send("/queue/<x>", "2"),
            subscribe("/queue/<x>", "ack:client-individual", hears=3),
            say(frame("BEGIN", "transaction:t")),
            say(frame("ACK", "id:<ack 1>", "transaction:t", "receipt:kept"), hears=1),
            say(_end("COMMIT"), hears=1),
            leave(),
            subscribe("/queue/<x>", by="b", hears=2),
        ],
    ),
    Scenario(
        "acks of an aborted one",
        [
            send("/queue/<x>", "1"),
            subscribe("/queue/<x>", "ack:client-individual", hears=2),
            say(frame("BEGIN", "transaction:t")),
            say(frame("ACK", "id:<ack 1>", "transaction:t", "receipt:kept"), hears=1),
            say(_end("ABORT"), hears=1),
            leave(),
            subscribe("/queue/<x>", by="b", hears=2),
        ],
    ),
    Scenario(
        "to an exchange that is not there, within a transaction",
        [
            say(frame("BEGIN", "transaction:t")),
            say(frame("SEND", "destination:/exchange/<x>/k", "transaction:t")),
            say(_end("COMMIT"), hears=2),
        ],
    ),
)

_ASK = "reply-to:/temp-queue/answers"

REPLIES = (
    Scenario(
        "a question and its answer",
        [
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "question", _ASK, "correlation-id:7"),
            say(by="b", hears=1),
            send("<back>", "answer", "correlation-id:7", by="b"),
            say(hears=1),
        ],
    ),
    Scenario(
        "two questions with one name share the queue",
        [
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "1", _ASK),
            say(by="b", hears=1),
            send("<back>", "to 1", by="b"),
            say(hears=1),
            send("/queue/<x>", "2", _ASK),
            say(by="b", hears=1),
            send("<back>", "to 2", by="b"),
            say(hears=1),
        ],
    ),
    Scenario(
        "two names are two queues",
        [
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "1", "reply-to:/temp-queue/one"),
            send("/queue/<x>", "2", "reply-to:/temp-queue/two"),
            say(by="b", hears=2),
            send("<back>", "to 2", by="b"),
            say(hears=1),
        ],
    ),
    Scenario(
        "an answer to who has gone",
        [
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "question", _ASK),
            say(by="b", hears=1),
            leave(),
            send("<back>", "answer", by="b"),
        ],
    ),
    Scenario(
        "a question by a topic",
        [
            subscribe("/topic/<x>", by="b"),
            send("/topic/<x>", "question", _ASK),
            say(by="b", hears=1),
            send("<back>", "answer", by="b"),
            say(hears=1),
        ],
    ),
    Scenario(
        "an answer through a queue",
        [
            subscribe("/queue/<x>.answers"),
            subscribe("/queue/<x>", by="b"),
            send("/queue/<x>", "question", "reply-to:/queue/<x>.answers"),
            say(by="b", hears=1),
            send("<back>", "answer", by="b"),
            say(hears=1),
        ],
    ),
    Scenario("SUBSCRIBE to a temporary queue", [subscribe("/temp-queue/<x>")]),
    Scenario(
        "an id that begins like a temporary queue",
        [subscribe("/queue/<x>", name="/temp-queue/foo")],
    ),
    Scenario(
        "UNSUBSCRIBE of a temporary queue",
        [
            send("/queue/<x>", "question", _ASK),
            say(frame("UNSUBSCRIBE", "id:/temp-queue/answers", "receipt:r"), hears=1),
        ],
    ),
)
