"""What is remembered of a subscription, and which message an ACK or NACK is about (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twbridge.commands import Subscribe
from twbridge.dialects.stomp.frames import Frame, Version
from twbridge.dialects.stomp.messages import parse_message_id
from twbridge.dialects.stomp.refusals import Refusal
from twbridge.errors import BadFrame

__all__ = ["OpenSubscription", "acknowledged"]


@dataclass(slots=True)
class OpenSubscription:
    """A subscription, as a conversation has to know it."""

    command: Subscribe
    #: In the ids of its messages; None: they need no acknowledgement.
    token: str | None
    #: Whether an ACK is one of all messages before, too.
    cumulative: bool
    #: The broker went away while it stood.
    interrupted: bool = False

    @property
    def misses(self) -> bool:
        """Whether what is published while the broker is away from the bridge does not come later:
        it has no queue of its own.
        """
        command = self.command
        return command.destination.live and command.queue is None and command.ack == "auto"


def acknowledged(
    frame: Frame, version: Version, subscriptions: Mapping[str, OpenSubscription]
) -> tuple[OpenSubscription, int] | None:
    """The subscription, by its name, and the number of its message; None: it has ended.

    Raises:
        Refusal: the frame doesn't say, or nothing that any MESSAGE has said.
    """
    header = "id" if version == "1.2" else "message-id"
    text = frame.headers.get(header)
    if text is None:
        raise Refusal("Missing header", BadFrame(f"{frame.command} must include the {header}."))
    parsed = parse_message_id(text)
    if parsed is None:
        error = BadFrame(f"{frame.command} must include a valid {header}.")
        raise Refusal("Invalid header", error)
    name, token, number = parsed
    subscription = subscriptions.get(name)
    if subscription is None or subscription.token not in (None, token):
        # Subscribed anew by the same name: the message is one of the subscription before.
        return None
    return subscription, number
