"""What the embedded broker proposes to its clients and holds them to (sans-I/O)."""

from __future__ import annotations

from dataclasses import dataclass

from twbridge import wire
from twbridge.broker import refusals

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The defaults are RabbitMQ's.

    Args:
        frame_max: bytes of a frame; 0: any.
        channel_max: channels of a connection; 0: any.
        heartbeat: seconds; 0: none proposed.
        max_body: bytes of a message body.
    """

    frame_max: int = 131072
    channel_max: int = 2047
    heartbeat: int = 60
    max_body: int = 128 * 1024 * 1024

    def check(self, channel_max: int, frame_max: int) -> None:
        """Raise ConnectionClosed (530) when a client's tune-ok asks for more."""
        _check("channel_max", channel_max, self.channel_max, 1)
        _check("frame_max", frame_max, self.frame_max, wire.FRAME_MIN_SIZE)


def _check(name: str, value: int, most: int, least: int) -> None:
    if value and value < least:
        raise refusals.hard(530, f"negotiated {name} = {value} is lower than {least}")
    if most and (not value or value > most):
        raise refusals.hard(530, f"negotiated {name} = {value} is higher than {most}")
