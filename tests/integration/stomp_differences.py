"""Where twbridge differs from RabbitMQ's Web STOMP on purpose.

``TABLE`` has the rows of the table in ``docs/stomp.md``, by their first cells. What a scenario
hears from one of the two servers only is here, with the row that is the reason; everything else
has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["DIFFERENCES", "ELSEWHERE", "LEFT_BEHIND", "TABLE", "Differs"]

ERRORS = "An error"
BROKER = "The broker goes away"
END = "`DISCONNECT` with a receipt"
BEATS = "Heart-beats that stay away"
CONNECT = "`accept-version:1.1, 1.2`"
ESCAPES = "Escapes in headers"
BYTES = "Bodies that are no UTF-8"
SEVERAL = "Frames in one WebSocket message"
PERCENT = "`%XX` in destinations"
ORDER = "Order"
LIMITS = "Limits"
HEADERS = "Headers on `MESSAGE`"
USERS = "`user-id`, `cluster-id`, `CC`, `BCC`"
RESERVED = "Names that begin with `twbridge.`"
TRANSACTIONS = "Transactions"
ACKS = "`ACK` and `NACK`"
PREFETCH = "No `prefetch-count`"
QUEUES = "Queues of subscriptions"
STREAMS = "Streams"
LOGINS = "Logins"

TABLE = (
    ERRORS,
    BROKER,
    END,
    BEATS,
    CONNECT,
    ESCAPES,
    BYTES,
    SEVERAL,
    PERCENT,
    ORDER,
    LIMITS,
    HEADERS,
    USERS,
    RESERVED,
    TRANSACTIONS,
    ACKS,
    PREFETCH,
    QUEUES,
    STREAMS,
    LOGINS,
)
#: Rows that no transcript shows: how frames are packed and which overtakes, another broker's end,
#: other settings.
ELSEWHERE = frozenset({SEVERAL, BROKER, ORDER, RESERVED, LOGINS})


@dataclass(frozen=True)
class Differs:
    """What is heard from one of the two only, in any order, and why."""

    why: str
    theirs: Sequence[str] = ()
    ours: Sequence[str] = ()


def told(instead: str, title: str, why: str = ERRORS) -> tuple[Differs]:
    """Ours is an ERROR that says what was wrong."""
    return (Differs(why, [instead], [f"ERROR {title}"]),)


_SILENCE = "closed 1000"
_NO_IDEA = "ERROR Processing error"
_HEAD = "MESSAGE {}destination=/queue/<x> message-id=T_1@@ {}redelivered=false subscription=1"
_SENT = "MESSAGE {}destination=/queue/<x> message-id=T_1@@ {}receipt=sent redelivered=false {}"


def _sent(before: str = "", between: str = "", after: str = "subscription=1") -> str:
    """A MESSAGE of :func:`tests.integration.stomp_scenarios.send`, with more headers."""
    return _SENT.format(before, between, after) + " | b'b'"


DIFFERENCES: Mapping[str, Sequence[Differs]] = {
    "spaces between versions": (
        Differs(
            CONNECT,
            ["CONNECTED heart-beat=0,0 version=1.1"],
            ["CONNECTED heart-beat=0,0 version=1.2"],
        ),
    ),
    "heart-beats that are none": told(_NO_IDEA, "Bad CONNECT"),
    "heart-beats are missed": (Differs(BEATS, [_SILENCE], ["closed 1002"]),),
    "CONNECT twice": told("closed 1011", "Illegal command"),
    "DISCONNECT with a receipt": (Differs(END, ours=["RECEIPT receipt-id=bye"]),),
    "DISCONNECT behind a SEND": (
        Differs(END, ours=["RECEIPT receipt-id=bye", "RECEIPT receipt-id=sent"]),
    ),
    "a body of bytes": (
        Differs(
            BYTES,
            [_HEAD.format("", "") + r" | b'\xff\x00\xfe'"],
            [_HEAD.format("", "") + r" | b'\xff\x00\xfe' (binary)"],
        ),
    ),
    "a content-length that is short": told("closed 1011", "Invalid frame"),
    "a content-length that is none": told("closed 1011", "Invalid frame"),
    "a header without a colon": told("closed 1007", "Invalid frame"),
    "a wrong escape": told("closed 1007", "Invalid frame"),
    "an id that needs escapes": (
        Differs(
            ESCAPES,
            [_sent(after=r"subscription=a\cb\\").replace("T_1", "T_a:b\\")],
            [_sent(after=r"subscription=a\cb\\").replace("T_1", r"T_a\cb\\")],
        ),
    ),
    "another escape in a name": (
        Differs(
            PERCENT,
            [_sent().replace("<x>", "<x>%2520b")],
            [_sent().replace("<x>", "<x> b")],
        ),
    ),
    "to an exchange that is not there": told(_SILENCE, "not_found"),
    "to a stream by its own name": told("ERROR Unknown destination", "unroutable", STREAMS),
    "priority is no number": told(_NO_IDEA, "Invalid frame"),
    "priority is too high": (
        Differs(
            LIMITS,
            [_sent("", "priority=300 "), "RECEIPT receipt-id=sent"],
            ["ERROR Invalid frame"],
        ),
    ),
    "a header of 40 kB": (Differs(LIMITS, ["RECEIPT receipt-id=sent"], ["ERROR Frame too large"]),),
    "200 headers": (Differs(LIMITS, ["RECEIPT receipt-id=sent"], ["ERROR Frame too large"]),),
    "expiration is no number": told(_SILENCE, "Invalid frame"),
    "timestamp is no number": told(_NO_IDEA, "Invalid frame"),
    "reply-to nonsense": told(_NO_IDEA, "Unknown destination"),
    "user-id": (
        Differs(
            USERS,
            [_sent("", "", "subscription=1 user-id=guest"), "RECEIPT receipt-id=sent"],
            ["ERROR access_refused"],
        ),
    ),
    "another's user-id": told(_SILENCE, "access_refused", USERS),
    "headers that other frames have": (
        Differs(
            HEADERS,
            [
                _sent("ack=client ", "", "selector=s subscription=1").replace(
                    "<x> ", "<x> durable=true id=i "
                )
            ],
            [_sent("", "", "selector=s subscription=1").replace("<x> ", "<x> durable=true id=i ")],
        ),
    ),
    "begun twice": (
        Differs(
            TRANSACTIONS,
            [
                _HEAD.format("", "") + " transaction=t | b'2'",
                "RECEIPT receipt-id=COMMIT",
            ],
            ["ERROR Bad transaction"],
        ),
    ),
    "one of several is forbidden": (
        Differs(
            TRANSACTIONS,
            [
                "RECEIPT receipt-id=COMMIT",
                "b: " + _HEAD.format("", "") + " transaction=t | b'1'",
                _SILENCE,
            ],
            ["ERROR access_refused"],
        ),
    ),
    "to an exchange that is not there, within a transaction": (
        Differs(TRANSACTIONS, ["RECEIPT receipt-id=COMMIT", _SILENCE], ["ERROR not_found"]),
    ),
    "an id that begins like a temporary queue": told(_NO_IDEA, "Invalid id"),
    "a queue that has to be there and is not": told(_SILENCE, "not_found"),
    "subscribed to an exchange that is not there": told(_SILENCE, "not_found"),
    "an id twice": told(_SILENCE, "Duplicated subscription identifier"),
    "a destination twice without an id": told(_SILENCE, "Duplicated subscription identifier"),
    "an unknown ack mode": told(_NO_IDEA, "Invalid frame"),
    "prefetch-count is no number": told(_NO_IDEA, "Invalid frame"),
    "no prefetch-count": (
        Differs(
            PREFETCH,
            [_sent("ack=T_1@@ ").replace(" receipt=sent", "").replace("| b'b'", "| b'past'")] * 3,
        ),
    ),
    "a word that is no boolean": told(_NO_IDEA, "Invalid frame"),
    "a limit that is no number": told(_NO_IDEA, "Invalid frame"),
    "a queue with other arguments than it has": (
        Differs(
            QUEUES,
            [f"b: {_SILENCE}"],
            ["b: RECEIPT receipt-id=subscribed", f"b: {_sent()}"],
        ),
    ),
    "ACK twice": (Differs(ACKS, ["RECEIPT receipt-id=r", _SILENCE], ["ERROR not_found"]),),
    "ACK of a message that needs none": (Differs(ACKS, [_SILENCE]),),
    "client: two subscriptions": (
        Differs(
            ACKS,
            ours=[
                "b: MESSAGE destination=/queue/<x> message-id=T_1@@ receipt=sent "
                "redelivered=true subscription=1 | b'1'"
            ],
        ),
    ),
    "a stream without acks": (Differs(STREAMS, [_SILENCE], ["RECEIPT receipt-id=subscribed"]),),
    "a stream that a reader makes": (
        Differs(STREAMS, ["RECEIPT receipt-id=subscribed"], ["ERROR not_found"]),
    ),
}

#: Scenarios after which the broker has other queues (beside those with ``x-expires``): what is
#: refused makes none.
LEFT_BEHIND = frozenset(
    {
        "200 headers",
        "a SEND in an unknown one",
        "a header of 40 kB",
        "a stream that a reader makes",
        "an id that begins like a temporary queue",
        "an id twice",
        "another escape in a name",
    }
)
