"""What is said to RabbitMQ's Web STOMP and to twbridge: connecting, frames, sending, errors.

In what is said, and in what is heard, these stand for others:

=========== =====================================================================
``<x>``     a word of this run's own, for names
``<ack n>`` the ``ack`` of the nth MESSAGE on this connection; from behind below 0
``<id n>``  its ``message-id``
``<back>``  the ``reply-to`` of the last MESSAGE of all
=========== =====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CONNECTING",
    "FRAMES",
    "Scenario",
    "Step",
    "connect",
    "cut",
    "frame",
    "leave",
    "say",
    "send",
    "subscribe",
]


@dataclass(frozen=True)
class Step:
    """What one client does, and how many lines it waits for."""

    by: str
    says: tuple[str | bytes, ...] = ()
    hears: int = 0
    then: Literal["", "leave", "cut"] = ""
    beats: bool = False


@dataclass(frozen=True)
class Scenario:
    """Its clients connect themselves at their first step, in a version; None: they do not."""

    name: str
    steps: Sequence[Step]
    version: str | None = "1.2"


def frame(command: str, *headers: str, body: str = "") -> str:
    """A frame."""
    return "\n".join([command, *headers, "", body]) + "\0"


def say(*messages: str | bytes, hears: int = 0, by: str = "a", beats: bool = False) -> Step:
    """Send each as a message."""
    return Step(by, messages, hears, beats=beats)


def leave(by: str = "a") -> Step:
    """Close the WebSocket."""
    return Step(by, then="leave")


def cut(by: str = "a") -> Step:
    """Close the TCP connection."""
    return Step(by, then="cut")


def connect(*headers: str, hears: int = 1, command: str = "CONNECT") -> Step:
    """A CONNECT with these headers alone."""
    return say(frame(command, *headers), hears=hears)


def send(destination: str, body: str = "", *headers: str, hears: int = 1, by: str = "a") -> Step:
    """A SEND with a receipt."""
    head = [f"destination:{destination}", "receipt:sent", *headers]
    return say(frame("SEND", *head, body=body), hears=hears, by=by)


def subscribe(
    destination: str, *headers: str, name: str = "1", hears: int = 1, by: str = "a"
) -> Step:
    """A SUBSCRIBE with a receipt."""
    head = [f"id:{name}", f"destination:{destination}", "receipt:subscribed", *headers]
    return say(frame("SUBSCRIBE", *head), hears=hears, by=by)


def unsubscribe(*headers: str, hears: int = 1, by: str = "a") -> Step:
    head = [*headers, "receipt:unsubscribed"]
    return say(frame("UNSUBSCRIBE", *head), hears=hears, by=by)


_LOGIN = ("login:guest", "passcode:guest")
_ALL = "accept-version:1.0,1.1,1.2"

CONNECTING = (
    Scenario("each version", [connect("accept-version:1.0", "host:/", *_LOGIN)], None),
    Scenario("version 1.1", [connect("accept-version:1.1", "host:/", *_LOGIN)], None),
    Scenario("version 1.2", [connect("accept-version:1.2", "host:/", *_LOGIN)], None),
    Scenario("the highest version", [connect(_ALL, "host:/", *_LOGIN)], None),
    Scenario("versions out of order", [connect("accept-version:1.2,1.0", *_LOGIN)], None),
    Scenario("unknown versions among them", [connect("accept-version:2.0,1.1,0", *_LOGIN)], None),
    Scenario("spaces between versions", [connect("accept-version:1.1, 1.2", *_LOGIN)], None),
    Scenario("no version", [connect(*_LOGIN)], None),
    Scenario("no common version", [connect("accept-version:1.3,2.0", *_LOGIN)], None),
    Scenario("STOMP", [connect(_ALL, "host:/", *_LOGIN, command="STOMP")], None),
    Scenario("no host", [connect(_ALL, *_LOGIN)], None),
    Scenario("another host", [connect(_ALL, "host:nobody", *_LOGIN)], None),
    Scenario("no login", [connect(_ALL)], None),
    Scenario("receipt of CONNECT", [connect(_ALL, *_LOGIN, "receipt:r"), send("/queue/<x>")], None),
    Scenario("heart-beats refused", [connect(_ALL, *_LOGIN, "heart-beat:0,0")], None),
    Scenario("heart-beats agreed", [connect(_ALL, *_LOGIN, "heart-beat:5000,7000")], None),
    Scenario("heart-beats one way", [connect(_ALL, *_LOGIN, "heart-beat:0,60000")], None),
    Scenario("heart-beats the other way", [connect(_ALL, *_LOGIN, "heart-beat:60000,0")], None),
    Scenario("heart-beats below a second", [connect(_ALL, *_LOGIN, "heart-beat:500,1500")], None),
    Scenario("heart-beats of seconds and more", [connect(*_LOGIN, "heart-beat:10000,2999")], None),
    Scenario("heart-beats below zero", [connect(_ALL, *_LOGIN, "heart-beat:-1,-1")], None),
    Scenario("heart-beats that are none", [connect(_ALL, *_LOGIN, "heart-beat:a,b")], None),
    Scenario(
        "heart-beats are sent",
        [say(frame("CONNECT", _ALL, *_LOGIN, "heart-beat:0,1000"), hears=4, beats=True)],
        None,
    ),
    Scenario(
        "heart-beats are missed",
        [connect(_ALL, *_LOGIN, "heart-beat:1000,0", hears=2)],
        None,
    ),
    Scenario("a frame before CONNECT", [send("/queue/<x>")], None),
    Scenario("an unknown frame before CONNECT", [say(frame("HELLO"), hears=1)], None),
    Scenario("CONNECT twice", [connect(_ALL, *_LOGIN)]),
    Scenario(
        "frames behind CONNECT",
        [
            say(
                frame("CONNECT", _ALL, *_LOGIN)
                + frame("SUBSCRIBE", "id:1", "destination:/queue/<x>", "receipt:s")
                + frame("SEND", "destination:/queue/<x>", body="early"),
                hears=3,
            )
        ],
        None,
    ),
    Scenario("DISCONNECT", [send("/queue/<x>"), say(frame("DISCONNECT"), hears=1)]),
    Scenario("DISCONNECT with a receipt", [say(frame("DISCONNECT", "receipt:bye"), hears=2)]),
    Scenario(
        "DISCONNECT behind a SEND",
        [
            say(
                frame("SEND", "destination:/queue/<x>", "receipt:sent", body="last")
                + frame("DISCONNECT", "receipt:bye"),
                hears=3,
            ),
            subscribe("/queue/<x>", by="b", hears=2),
        ],
    ),
)

_SEND = frame("SEND", "destination:/queue/<x>", "receipt:sent", body="hello")

FRAMES = (
    Scenario("a frame in a binary message", [say(_SEND.encode(), hears=1)]),
    Scenario("a frame in three messages", [say(_SEND[:7], _SEND[7:30], _SEND[30:], hears=1)]),
    Scenario("a frame byte by byte", [subscribe("/queue/<x>"), say(*_SEND, hears=2)]),
    Scenario("a frame in text and binary", [say(_SEND[:9], _SEND[9:].encode(), hears=1)]),
    Scenario("two frames in a message", [subscribe("/queue/<x>"), say(_SEND + _SEND, hears=4)]),
    Scenario(
        "one and a half",
        [subscribe("/queue/<x>"), say(_SEND + _SEND[:12], hears=2), say(_SEND[12:], hears=2)],
    ),
    Scenario("line ends between frames", [say("\n\n" + _SEND + "\n\r\n\n" + _SEND, hears=2)]),
    Scenario("NULs between frames", [say("\0" + _SEND + "\0\0" + _SEND, hears=2)]),
    Scenario("heart-beats in between", [say("\n", "\r\n", _SEND, "\n", _SEND, hears=2)]),
    Scenario("CR LF", [say(_SEND.replace("\n", "\r\n"), hears=1)]),
    Scenario("CR LF in 1.0", [say(_SEND.replace("\n", "\r\n"), hears=1)], "1.0"),
    Scenario("an empty body", [subscribe("/queue/<x>"), send("/queue/<x>", hears=2)]),
    Scenario(
        "a body with line ends",
        [subscribe("/queue/<x>"), send("/queue/<x>", "\n\none\r\ntwo\n\n", hears=2)],
    ),
    Scenario(
        "a body with characters",
        [subscribe("/queue/<x>"), send("/queue/<x>", "grüße 🐇 €", hears=2)],
    ),
    Scenario(
        "a body with a content-length",
        [subscribe("/queue/<x>"), send("/queue/<x>", "grüße", "content-length:7", hears=2)],
    ),
    Scenario(
        "NUL in a body",
        [subscribe("/queue/<x>"), send("/queue/<x>", "a\0b\0", "content-length:4", hears=2)],
    ),
    Scenario(
        "NUL in a body without content-length ends it",
        [
            subscribe("/queue/<x>"),
            send("/queue/<x>", "ab\0\n", hears=2),
            send("/queue/<x>", hears=2),
        ],
    ),
    Scenario(
        "a body of bytes",
        [
            subscribe("/queue/<x>"),
            say(
                frame("SEND", "destination:/queue/<x>", "content-length:3").encode()[:-1]
                + b"\xff\0\xfe\0",
                hears=1,
            ),
        ],
    ),
    Scenario(
        "a large body",
        [subscribe("/queue/<x>"), send("/queue/<x>", "large " * 30_000, hears=2)],
    ),
    Scenario("a content-length that is short", [send("/queue/<x>", "hello", "content-length:3")]),
    Scenario("a content-length that is none", [send("/queue/<x>", "hello", "content-length:x")]),
    Scenario("a header without a colon", [send("/queue/<x>", "", "colon")]),
    Scenario(
        "escaped headers",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", r"foo:\c\n\\\r", hears=2)],
    ),
    Scenario(
        "escaped names of headers",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", r"f\co:x", hears=2)],
    ),
    Scenario(
        "escaped headers in 1.1",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", r"foo:\c\n\\", hears=2)],
        "1.1",
    ),
    Scenario(
        "escaped headers in 1.0",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", r"foo:a\cb", hears=2)],
        "1.0",
    ),
    Scenario("a wrong escape", [send("/queue/<x>", "b", r"foo:\t")]),
    Scenario(
        "a colon in a value",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", "foo:a:b", hears=2)],
    ),
    Scenario(
        "spaces around a value",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", "foo: a ", hears=2)],
    ),
    Scenario(
        "spaces around a value in 1.0",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", "foo: a ", hears=2)],
        "1.0",
    ),
    Scenario(
        "repeated headers",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", "foo:1", "foo:2", hears=2)],
    ),
    Scenario(
        "characters in headers",
        [subscribe("/queue/<x>"), send("/queue/<x>", "b", "größe:🐇", hears=2)],
    ),
    Scenario("an empty receipt", [say(frame("BEGIN", "transaction:t", "receipt:"), hears=1)]),
    Scenario(
        "a receipt that needs escapes",
        [say(frame("BEGIN", "transaction:t", r"receipt:a\cb\\"), hears=1)],
    ),
    Scenario("an unknown command", [say(frame("HELLO", "receipt:r"), hears=1)]),
    Scenario("a server's command", [say(frame("MESSAGE", "destination:/queue/<x>"), hears=1)]),
    Scenario("a command in small letters", [say(frame("begin", "transaction:t"), hears=1)]),
    Scenario("nothing but line ends", [say("\n\n\n"), send("/queue/<x>")]),
    *(
        Scenario(
            f"a conversation in {version}",
            [
                subscribe("/queue/<x>", "ack:client"),
                send("/queue/<x>", "hello", hears=2),
                say(frame("ACK", "id:<ack 1>", "message-id:<id 1>", "subscription:1"), hears=0),
                unsubscribe("id:1"),
                say(frame("DISCONNECT"), hears=1),
            ],
            version,
        )
        for version in ("1.0", "1.1", "1.2")
    ),
)
