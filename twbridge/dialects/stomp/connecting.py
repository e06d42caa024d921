"""What CONNECT agrees on: version, heart-beats, who it is and where (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from twbridge.destinations import shown
from twbridge.dialects.stomp.frames import VERSIONS, Frame, Version
from twbridge.dialects.stomp.refusals import Refusal
from twbridge.errors import BadFrame, Forbidden

__all__ = ["Agreed", "read_connect"]

#: Of a heart-beat in milliseconds.
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a CONNECT has led to."""

    version: Version
    #: Seconds between two signs of life to the client, and from it; 0: none.
    beats: tuple[float, float]
    user: str | None
    password: str | None
    vhost: str | None


def read_connect(frame: Frame, vhost: str | None) -> Agreed:
    """Agree.

    Args:
        frame: CONNECT or STOMP.
        vhost: what ``host`` has to be where it is said; None: anything.

    Raises:
        Refusal: there is no common version, another host, or a header that can't be read.
    """
    headers = frame.headers
    accepted = {each.strip() for each in headers.get("accept-version", "1.0").split(",")}
    version = next((each for each in reversed(VERSIONS) if each in accepted), None)
    if version is None:
        error = BadFrame(f"Supported versions are {','.join(VERSIONS)}.")
        raise Refusal("Version mismatch", error)
    if version == "1.0":
        headers = {name: value.lstrip(" ") for name, value in headers.items()}
    host = headers.get("host")
    if vhost is not None and host is not None and host != vhost:
        raise Refusal("Bad CONNECT", Forbidden(f"Virtual host {shown(host)} access denied."))
    return Agreed(version, _beats(headers), headers.get("login"), headers.get("passcode"), host)


def _beats(headers: dict[str, str]) -> tuple[float, float]:
    """A client that can send every x ms and wants something every y ms: y and x in seconds.

    Whole seconds, at least one, as RabbitMQ does it: nobody gets a sign of life more often.
    """
    text = headers.get("heart-beat", "0,0")
    parts = [part.strip() for part in text.split(",")]
    digits = [part.removeprefix("-") for part in parts]
    if len(parts) != 2 or not all(
        each.isascii() and each.isdigit() and len(each) <= _MAX_DIGITS for each in digits
    ):
        error = BadFrame(f"A heart-beat is two numbers of milliseconds, not {shown(text)}.")
        raise Refusal("Bad CONNECT", error)
    client_sends, client_wants = (_seconds(int(part)) for part in parts)
    return client_wants, client_sends


def _seconds(milliseconds: int) -> float:
    return float(max(milliseconds // 1000, 1)) if milliseconds > 0 else 0.0
