"""Why a frame is refused, in the words of an ERROR frame (pure)."""

from __future__ import annotations

from twbridge.errors import ClientError, TwbridgeError

__all__ = ["Refusal", "title_of"]

#: The ``message`` header of an ERROR by the code of the error; where RabbitMQ has a word, that.
_TITLES = {
    "bad_destination": "Invalid destination",
    "bad_frame": "Invalid frame",
    "forbidden": "access_refused",
    "conflict": "precondition_failed",
    "too_large": "Frame too large",
    "too_many": "Too many",
    "internal": "Processing error",
}


class Refusal(Exception):
    """A frame is refused.

    Args:
        title: the ``message`` header of the ERROR.
        error: what its body says.
    """

    def __init__(self, title: str, error: ClientError) -> None:
        super().__init__(title)
        self.title = title
        self.error = error


def title_of(error: TwbridgeError) -> str:
    """The ``message`` header of an ERROR that has no better one."""
    return _TITLES.get(error.code, error.code)
