"""A conversation in STOMP without a session: a codec, and what a client says to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from twbridge import commands
from twbridge.commands import Command, Event
from twbridge.dialects.interfaces import Close
from twbridge.dialects.stomp import StompDialect, StompLimits, stomp_dialects
from twbridge.dialects.stomp.codec import StompCodec
from twbridge.dialects.stomp.frames import Version

WELCOME = commands.Welcome("5f.1", "5f", 25.0, None)


class FakeRoute:
    """A route that STOMP does not look at."""

    publish = subscribe = "/topic/a"
    on_error = "close"
    overflow = None
    dialect = "stomp"


def dialect(limits: StompLimits | None = None, vhost: str | None = "/") -> StompDialect:
    """``v12.stomp``, whose random words are ``t1``, ``t2``, and so on for its sessions."""
    words = count()
    return stomp_dialects(vhost=vhost, limits=limits, token=lambda: f"t{next(words)}")[0]


def frame(command: str, body: bytes = b"", /, **headers: str) -> bytes:
    """A frame as a client sends it; ``_`` stands for ``-``, and values are written as they are."""
    lines = [f"{name.rstrip('_').replace('_', '-')}:{value}\n" for name, value in headers.items()]
    return f"{command}\n{''.join(lines)}\n".encode() + body + b"\0"


class Talk:
    """One codec, connected if a version is given."""

    def __init__(
        self, version: Version | None = "1.2", dialect_: StompDialect | None = None
    ) -> None:
        codec = (dialect_ or dialect()).codec(FakeRoute())
        assert isinstance(codec, StompCodec)
        self.codec = codec
        assert self.codec.encode(WELCOME) is None
        if version is not None:
            self.say("CONNECT", accept_version=version)
            self.hear(commands.Connected(None, None))

    def say(self, command: str, body: bytes = b"", /, **headers: str) -> list[Command]:
        """What the codec makes of a frame."""
        return self.send(frame(command, body, **headers))

    def one(self, command: str, body: bytes = b"", /, **headers: str) -> Command:
        """The one command that it makes of a frame."""
        (found,) = self.say(command, body, **headers)
        return found

    def send(self, data: bytes) -> list[Command]:
        """What the codec makes of bytes."""
        return list(self.codec.decode(data, False))

    def hear(self, event: Event) -> bytes | None:
        """What a client is told of an event."""
        message = self.codec.encode(event)
        if message is None:
            return None
        assert message[1] is False
        return message[0]

    def obey(self, found: Sequence[Command]) -> tuple[bytes | None, Close | None]:
        """What a client is told when the one command that refuses its frame is carried out."""
        (command,) = found
        assert isinstance(command, commands.Invalid), command
        event = commands.Refused(command.id, command.error)
        return self.hear(event), self.codec.closing(event)


def error(title: str, text: str, **headers: str) -> bytes:
    """An ERROR as it is written."""
    more = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
    size = len(text.encode())
    return (
        f"ERROR\nmessage:{title}\ncontent-type:text/plain\nversion:1.0,1.1,1.2\n{more}"
        f"content-length:{size}\n\n{text}\0"
    ).encode()
