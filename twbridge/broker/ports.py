"""What the sans-I/O parts of the embedded broker need of the part below them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Owner", "Transport"]


class Transport(Protocol):
    """What the connection needs of the socket."""

    def write(self, data: bytes) -> None:
        """Send frames."""

    def negotiated(self, heartbeat: int) -> None:
        """Login is over: begin with heartbeats of so many seconds (0: none)."""

    def closing(self) -> None:
        """A close was sent: wait for its answer, not for ever."""

    def close(self) -> None:
        """Close when everything is written."""

    def pause_reading(self) -> None:
        """The client publishes and memory is short: read nothing more."""

    def resume_reading(self) -> None:
        """Undo that."""


class Owner(Protocol):
    """The connection, as its channels see it. It also stands for it in exclusive queues."""

    user: str
    frame_max: int
    capabilities: frozenset[str]

    @property
    def writable(self) -> bool:
        """Whether the socket takes deliveries now."""

    def write(self, data: bytes) -> None:
        """Frames for the client."""
