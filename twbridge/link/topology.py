"""What the link declares on the broker, and declares again after each reconnect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange. With ``passive`` it is only checked to exist, which does not check its type."""

    name: str
    type: str = "topic"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    passive: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue. The empty name asks the broker for a new one, anew after each reconnect."""

    name: str = ""
    durable: bool = False
    exclusive: bool = True
    auto_delete: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    passive: bool = False
