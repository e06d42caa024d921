"""What is a mistake in the value of one setting: each function gives the value back or raises.

A text that begins with "must" follows the name of the key; any other stands after "is wrong:".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from twbridge import destinations
from twbridge.errors import BadDestination, SettingsError
from twbridge.sockets import origins

RESERVED_PATHS = ("/", "/healthz", "/readyz", "/metrics", "/static", "/api", "/events", "/admin")
"""What the bridge serves itself: no route may have these paths, or one below them."""
MOUNT_MAX = 200
"""Characters of a mount's path: its queue is named after it, and AMQP allows 255 bytes for that."""
QUEUES = ("queue", "amq-queue")
"""The kinds of destinations that name a queue."""


def is_destination(text: str) -> str:
    try:
        destinations.parse(text)
    except BadDestination as error:
        raise ValueError(str(error)) from None
    return text


def is_live(text: str) -> str:
    if not destinations.parse(is_destination(text)).live:
        raise ValueError("must be an /exchange/... or /topic/... destination")
    return text


def is_of_a_route(text: str) -> str:
    destination = destinations.parse(is_destination(text))
    if not destination.live and destination.kind not in (*QUEUES, "stream"):
        raise ValueError(
            "must be an /exchange/..., /topic/..., /queue/... or /stream/... destination"
        )
    return text


def is_overflow_of(subscribe: str, overflow: str | None) -> str | None:
    if overflow == "block" and destinations.parse(subscribe).live:
        raise ValueError(
            "must be close, drop-oldest or latest: of a live destination the broker keeps nothing"
        )
    return overflow


def are_live(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        is_live(text)
    return texts


def is_path(text: str) -> str:
    return _path(text, "/ws", RESERVED_PATHS)


def is_mount(text: str) -> str:
    if len(text) > MOUNT_MAX:
        raise ValueError(f"must have {MOUNT_MAX} characters at most")
    if text == "/":
        return text
    return _path(text.removesuffix("/"), "/app, or /", RESERVED_PATHS[1:])


def _path(text: str, like: str, reserved: Iterable[str]) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+", text):
        raise ValueError(f"must be a path like {like}")
    if any(text == each or text.startswith(f"{each}/") for each in reserved if each != "/"):
        raise ValueError(f"must not be one of the bridge's own: {', '.join(reserved)}")
    return text


def is_exchange_name(text: str) -> str:
    if not text or text.startswith("amq.") or len(text.encode()) > 127:
        raise ValueError(
            "must have 1 to 127 bytes and not begin with amq., RabbitMQ's own, which it declares"
        )
    return text


def is_exchange_type(text: str) -> str:
    if text not in ("topic", "fanout", "direct", "headers") and not text.startswith("x-"):
        raise ValueError("must be topic, fanout, direct, headers, or one of a plugin: x-...")
    return text


def is_stream_name(text: str) -> str:
    if not text or text.startswith("amq.") or len(text.encode()) > destinations.MAX_BYTES:
        raise ValueError("must have 1 to 255 bytes and not begin with amq., RabbitMQ's own")
    return text


def is_age(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}[YMDhms]", text, re.ASCII):
        raise ValueError(
            "must be a whole number and Y, M, D, h, m or s (years to seconds), like 7D"
        )
    return text


def is_loopback(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        good = ip_address(host.strip("[]")).is_loopback and 0 <= int(port) < 65536
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be a loopback address and a port like 127.0.0.1:5672")
    return text


def are_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _accepted(origins.compile_origins, texts)


def are_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _accepted(origins.networks, texts)


def _accepted(check: Any, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        check(texts)
    except SettingsError as error:
        raise ValueError(str(error).partition(": ")[2]) from None
    return texts


def is_not_empty(given: Any) -> Any:
    if given == "":
        raise ValueError("must not be empty")
    return given


def twice(names: Mapping[str, Iterable[str]]) -> list[str]:
    """What is there twice, by the list in which it is: a mistake each."""
    return [
        f"{key} has {name} twice"
        for key, found in names.items()
        for name, count in Counter(found).items()
        if count > 1
    ]
