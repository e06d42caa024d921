"""What a client fails with, beside the errors of ``twbridge.errors``.

A refusal of the bridge is the class that has its code there (``unroutable``: Unroutable, and so
on), or Refused for a code that has none. Every one has a ``code``; its text is the bridge's
sentence.
"""

from __future__ import annotations

from twbridge.errors import (
    BadDestination,
    BadFrame,
    CallCancelled,
    CallLost,
    CallTimeout,
    ClientError,
    ConfirmTimeout,
    Conflict,
    ExpirationError,
    Forbidden,
    Nacked,
    NotFound,
    NotReady,
    OutcomeUnknown,
    TaskError,
    TooLarge,
    TooMany,
    TwbridgeError,
    UnknownOperation,
    UnknownTask,
    Unroutable,
)

__all__ = ["NotConnected", "Refused", "call_refusal", "refusal", "sentence"]

#: AMQP's reply code of a message that no queue took.
NO_ROUTE = 312


class NotConnected(NotReady):
    """There is no connection to the bridge: it was refused, or lost.

    Args:
        reason: one sentence.
        closed: the WebSocket close code that the bridge gave, or 0.
        status: the HTTP status with which the handshake was refused, or 0.

    Attributes:
        retry_in: seconds until the next attempt; None where there will be none.
    """

    def __init__(self, reason: str, *, closed: int = 0, status: int = 0) -> None:
        super().__init__(reason)
        self.closed = closed
        self.status = status
        self.retry_in: float | None = None

    @property
    def public(self) -> str:
        return str(self)


class Refused(ClientError):
    """The bridge refused something, with a code that has no class of its own.

    Args:
        code: its code.
        message: its sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:  # type: ignore[override]
        return self._code


_KINDS: dict[str, type[TwbridgeError]] = {
    kind.code: kind
    for kind in (
        BadDestination,
        BadFrame,
        ConfirmTimeout,
        Conflict,
        Forbidden,
        Nacked,
        NotFound,
        NotReady,
        OutcomeUnknown,
        TooLarge,
        TooMany,
        UnknownOperation,
    )
}


def refusal(code: str, message: str) -> TwbridgeError:
    """The error for an ``error`` frame."""
    if code == Unroutable.code:
        return Unroutable(NO_ROUTE, message)
    kind = _KINDS.get(code)
    return Refused(code, message) if kind is None else kind(message)


def call_refusal(task: str, timeout: float, code: str, message: str) -> TwbridgeError:
    """The error for an ``error`` frame that answers a call with that deadline in seconds."""
    if code == UnknownTask.code:
        return UnknownTask(task)
    if code == ExpirationError.code:
        return ExpirationError(task, message, timeout, timeout)
    if code == CallTimeout.code:
        return CallTimeout(task, timeout)
    if code == CallCancelled.code:
        return CallCancelled(task)
    if code == CallLost.code:
        return CallLost(task, message)
    if code == TaskError.code:
        # The bridge tells nobody what a task's exceptions are called.
        return TaskError(task, TaskError.__name__, message, public=True)
    return refusal(code, message)


def sentence(error: TwbridgeError) -> str:
    """What to tell people of an error."""
    return error.reply_text if isinstance(error, Unroutable) else str(error) or error.public
