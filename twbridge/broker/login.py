"""Who logs in to the embedded broker, and what it says of itself (sans-I/O)."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from typing import Any

from twbridge import __version__
from twbridge.codec.tables import decode_table
from twbridge.errors import FrameError

__all__ = ["MECHANISMS", "SERVER_PROPERTIES", "user"]

MECHANISMS = "PLAIN AMQPLAIN"

#: Only what this broker does is announced.
SERVER_PROPERTIES: dict[str, Any] = {
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
    },
    "product": "twbridge embedded broker",
    "version": __version__,
    "platform": "Python",
    "information": "For one machine; keeps nothing.",
}


def user(mechanism: str, response: str | bytes, users: Mapping[str, str]) -> str | None:
    """The name of the user that a start-ok proves to be, or None."""
    data = response.encode() if isinstance(response, str) else bytes(response)
    read = {"PLAIN": _plain, "AMQPLAIN": _amqplain}.get(mechanism)
    given = read(data) if read is not None else None
    if given is None or given[0] not in users:
        return None
    name, password = given
    return name if hmac.compare_digest(users[name].encode(), password.encode()) else None


def _plain(data: bytes) -> tuple[str, str] | None:
    """RFC 4616: an identity to act as (ignored), the user and the password, between NULs."""
    parts = data.decode("utf-8", "replace").split("\0")
    return (parts[1], parts[2]) if len(parts) == 3 else None


def _amqplain(data: bytes) -> tuple[str, str] | None:
    """RabbitMQ's: a field table without its length."""
    try:
        table, _ = decode_table(struct.pack(">I", len(data)) + data)
    except FrameError:
        return None
    name, password = table.get("LOGIN"), table.get("PASSWORD")
    return (name, password) if isinstance(name, str) and isinstance(password, str) else None
