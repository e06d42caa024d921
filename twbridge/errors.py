"""Every error of twbridge, in one tree.

::

    TwbridgeError
    ├── SettingsError            a setting is wrong; the text names its key
    ├── ClientError              a client asked for something it can't have
    │   ├── BadFrame             bad_frame
    │   ├── BadDestination       bad_destination
    │   ├── UnknownOperation     unknown_op
    │   ├── Unauthenticated      unauthenticated
    │   ├── Forbidden            forbidden
    │   ├── NotFound             not_found
    │   ├── Conflict             conflict
    │   ├── TooLarge             too_large
    │   └── TooMany              too_many
    │       └── Busy             too_many
    ├── LinkError                the broker, or the way to it
    │   ├── NotReady             not_ready
    │   ├── Nacked               nacked
    │   ├── Unroutable           unroutable
    │   ├── OutcomeUnknown       unknown
    │   │   └── ConfirmTimeout   timeout
    │   ├── AckTimeout           timeout
    │   └── ProtocolClosed       (reply code and text of the broker)
    │       ├── ChannelClosed    not_found, forbidden, conflict or internal
    │       │   └── QueueDeleted not_found
    │       └── ConnectionClosed not_ready
    ├── CallError                worker_error: a call of a task came to nothing
    │   ├── UnknownTask          not_found
    │   ├── ExpirationError      call_expired
    │   ├── CallTimeout          timeout (a TimeoutError of Python's too)
    │   ├── CallCancelled        cancelled
    │   ├── CallLost             unknown
    │   └── TaskError            worker_error
    │       └── BadArguments     worker_error: the body is not what the task takes
    ├── PublicError              worker_error; what a task raises for all to read
    ├── BadMessage               worker_error (a ValueError)
    │   ├── BadBody              a body that can't be made, read or inflated
    │   ├── BadRequest           not a call or a word to a worker
    │   └── BadReply             not an answer to a call
    ├── BadTask                  bad_destination: a task that can't be (a ValueError)
    │   └── DuplicateTask        its name is taken
    ├── LoadError                tasks that a worker can't load
    ├── FrameError               bytes that are not AMQP 0-9-1
    └── EncodeError              a value that AMQP 0-9-1 can't carry

``code`` is the word that a JSON client reads, ``public`` the sentence beside it; neither tells
of anything inside the bridge. ``close_code`` is the WebSocket close code where the error ends
the connection (RFC 6455 section 7.4).
"""

from __future__ import annotations

from typing import ClassVar


class TwbridgeError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal"
    close_code: ClassVar[int] = 1011

    @property
    def public(self) -> str:
        """What a client may read: one sentence about what it did, nothing about our inside."""
        return "Something went wrong inside the bridge."


class SettingsError(TwbridgeError):
    """A setting is missing, unknown or out of range. The text is one line that names its key."""


class ClientError(TwbridgeError):
    """A client asked for something it can't have. The text may be shown to it."""

    code = "bad_frame"
    close_code = 1008

    @property
    def public(self) -> str:
        return str(self)


class BadFrame(ClientError):
    """A frame that the dialect can't read, or with a field of the wrong type or value."""

    code = "bad_frame"


class BadDestination(ClientError):
    """An address outside the grammar of ``destinations.py``."""

    code = "bad_destination"


class UnknownOperation(ClientError):
    """A well-formed frame that asks for an operation that does not exist."""

    code = "unknown_op"


class Unauthenticated(ClientError):
    """Nobody has this user name and password, or none were given."""

    code = "unauthenticated"
    close_code = 4501


class Forbidden(ClientError):
    """The policy does not allow it."""

    code = "forbidden"
    close_code = 4503


class NotFound(ClientError):
    """There is no such subscription, exchange or queue."""

    code = "not_found"


class Conflict(ClientError):
    """It collides with something the session already has."""

    code = "conflict"


class TooLarge(ClientError):
    """A body, a header table or a key is over its limit."""

    code = "too_large"
    close_code = 1009


class TooMany(ClientError):
    """The session is at one of its limits."""

    code = "too_many"


class Busy(TooMany):
    """Too many clients ask for the same at once; a little later it may be granted."""

    close_code = 1013

    def __init__(self, what: str = "Too many logins are waiting; try again in a moment.") -> None:
        super().__init__(what)


class LinkError(TwbridgeError):
    """The broker said no, or the way to it is not there."""

    close_code = 1013


class NotReady(LinkError):
    """The link was down or blocked for longer than the timeout; nothing was published."""

    code = "not_ready"

    @property
    def public(self) -> str:
        return "The message broker is not reachable at the moment."


class Nacked(LinkError):
    """The broker refused to take responsibility (basic.nack), a full queue for example."""

    code = "nacked"

    @property
    def public(self) -> str:
        return "The message broker refused the message."


class Unroutable(LinkError):
    """A mandatory message that no queue took (basic.return).

    Args:
        reply_code: AMQP's, 312 as a rule.
        reply_text: AMQP's, ``NO_ROUTE`` as a rule.
    """

    code = "unroutable"

    def __init__(self, reply_code: int, reply_text: str) -> None:
        super().__init__(f"{reply_code} {reply_text}")
        self.reply_code = reply_code
        self.reply_text = reply_text

    @property
    def public(self) -> str:
        return "No queue took the message."


class OutcomeUnknown(LinkError):
    """The connection or the channel was lost before the confirm: it may have been published."""

    code = "unknown"

    @property
    def public(self) -> str:
        return "The connection to the broker was lost before it confirmed the message."


class ConfirmTimeout(OutcomeUnknown):
    """The broker neither confirmed nor refused in time: it may still be published."""

    code = "timeout"

    @property
    def public(self) -> str:
        return "The message broker did not confirm the message in time."


class AckTimeout(LinkError):
    """A consumer did not acknowledge in time: the broker took all its messages back."""

    code = "timeout"

    @property
    def public(self) -> str:
        return "A message was not acknowledged in time, and the broker took all of them back."


class ProtocolClosed(LinkError):
    """The broker closed a channel or the connection.

    Args:
        reply_code: AMQP 0-9-1's, section 1.2 of its reference; 0 where the socket just ended.
        reply_text: the broker's words; for logs and code, never for a browser.
    """

    def __init__(self, reply_code: int, reply_text: str) -> None:
        super().__init__(f"{reply_code} {reply_text}" if reply_code else reply_text)
        self.reply_code = reply_code
        self.reply_text = reply_text


_CHANNEL_CODES = {403: "forbidden", 404: "not_found", 405: "conflict", 406: "conflict"}
_CHANNEL_SENTENCES = {
    "forbidden": "The message broker does not permit that.",
    "not_found": "There is no such exchange or queue.",
    "conflict": "The exchange or queue exists with other properties, or is in use.",
    "internal": "The message broker refused the request.",
}


class ChannelClosed(ProtocolClosed):
    """The broker closed the channel: what was asked on it is refused, for that reply code."""

    @property
    def passes(self) -> bool:
        """Whether the queue is there but its node is not, or not yet: RabbitMQ says 404 to that."""
        return self.reply_code == 404 and "is down or inaccessible" in self.reply_text

    @property
    def is_ack_timeout(self) -> bool:
        """Whether a consumer did not acknowledge in time."""
        return self.reply_code == 406 and "acknowledgement" in self.reply_text

    @property
    def code(self) -> str:  # type: ignore[override]
        return _CHANNEL_CODES.get(self.reply_code, "internal")

    @property
    def public(self) -> str:
        return _CHANNEL_SENTENCES[self.code]


class QueueDeleted(ChannelClosed):
    """Somebody deleted the queue under its consumer (basic.cancel)."""

    def __init__(self) -> None:
        super().__init__(404, "the queue was deleted")


class ConnectionClosed(ProtocolClosed):
    """The broker closed the connection, or the socket ended."""

    code = "not_ready"

    @property
    def public(self) -> str:
        return "The connection to the message broker was lost."


class CallError(TwbridgeError):
    """A call of a task came to nothing.

    Args:
        task: the task's name.
        text: what happened.
    """

    code = "worker_error"

    def __init__(self, task: str, text: str) -> None:
        super().__init__(text)
        self.task = task

    @property
    def public(self) -> str:
        return "The task failed."


class UnknownTask(CallError):
    """There is no queue for the task: no worker has ever served it here. It did not run."""

    code = "not_found"

    def __init__(self, task: str) -> None:
        super().__init__(task, f"no worker has ever served the task {task!r}")

    @property
    def public(self) -> str:
        return "There is no such task."


class ExpirationError(CallError):
    """No worker took the call in time.

    Args:
        reason: why it ended, in a few words.
        time: how long it has waited, in seconds.
        expiration: how long it was allowed to wait, in seconds.
    """

    code = "call_expired"

    def __init__(self, task: str, reason: str, time: float, expiration: float) -> None:
        super().__init__(
            task,
            f"no worker took the call of {task!r} within {expiration:g} s: "
            f"{reason}, after {time:.3g} s",
        )
        self.reason = reason
        self.time = time
        self.expiration = expiration

    @property
    def public(self) -> str:
        return "No worker took the call in time."


class CallTimeout(CallError, TimeoutError):
    """A worker took the call, and did not end it in time.

    Args:
        timeout: how long it was allowed to take, in seconds; where its worker ended it, how long
            it took.
        by_worker: whether it was stopped before the caller's time was over: at the task's own
            timeout.
    """

    code = "timeout"

    def __init__(self, task: str, timeout: float, *, by_worker: bool = False) -> None:
        text = f"the task {task!r} did not end within {timeout:g} s"
        if by_worker:
            text = f"the task {task!r} was stopped at its own timeout, after {timeout:.3g} s"
        super().__init__(task, text)
        self.timeout = timeout

    @property
    def public(self) -> str:
        return "The task did not end in time."


class CallCancelled(CallError):
    """Who called has cancelled it; it may have run, in part or whole."""

    code = "cancelled"

    def __init__(self, task: str) -> None:
        super().__init__(task, f"the call of {task!r} was cancelled")

    @property
    def public(self) -> str:
        return "The call was cancelled."


class CallLost(CallError):
    """The way to the answer is gone (the broker's connection, the worker): it may have run.

    Args:
        reason: what was lost, in a few words.
    """

    code = "unknown"

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task, f"the call of {task!r} was lost: {reason}")
        self.reason = reason

    @property
    def public(self) -> str:
        return "The call was lost on its way; it may have run."


class TaskError(CallError):
    """The task raised something, or its worker refused the call.

    Args:
        type: the name of the exception's class at the worker.
        message: its text.
        traceback: the worker's traceback, where the task says that callers get it.
        public: whether the text is meant for everybody (:class:`PublicError`).
    """

    def __init__(
        self,
        task: str,
        type: str,
        message: str,
        traceback: str | None = None,
        public: bool = False,
    ) -> None:
        super().__init__(task, f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.is_public = public

    @property
    def public(self) -> str:
        return self.message if self.is_public else super().public


class BadArguments(TaskError):
    """The body is not what the task takes: it can't be read, or does not fill the parameters.

    The task did not run.
    """

    @property
    def public(self) -> str:
        return "The body is not what the task takes."


class PublicError(TwbridgeError):
    """Raised by a task: its text is for everybody to read, browsers too. It is never retried."""

    code = "worker_error"

    @property
    def public(self) -> str:
        return str(self)


class BadMessage(TwbridgeError, ValueError):
    """A message of a call that can't be made or read. The text says why."""

    code = "worker_error"

    @property
    def public(self) -> str:
        return "A message of the call can't be read."


class BadBody(BadMessage):
    """A body that its serializer can't make, read or inflate, or may not."""

    @property
    def public(self) -> str:
        return "The body of the call or of its answer can't be read."


class BadRequest(BadMessage):
    """A message for a worker that is no request and no word about one."""


class BadReply(BadMessage):
    """A message for a caller that is no answer."""


class BadTask(TwbridgeError, ValueError):
    """A task that can't be: its name, its options, or what they stand on. The text says why."""

    code = "bad_destination"
    close_code = 1008

    @property
    def public(self) -> str:
        return str(self)


class DuplicateTask(BadTask):
    """There is a task with this name already."""


class LoadError(TwbridgeError):
    """The module of tasks can't be imported, or its process can't be started.

    Args:
        text: why, in one line.
        traceback: that of the process which tried, where there is one.
    """

    def __init__(self, text: str, traceback: str | None = None) -> None:
        super().__init__(text)
        self.traceback = traceback


class FrameError(TwbridgeError):
    """Bytes that are not AMQP 0-9-1.

    Args:
        reply_code: the AMQP code to close the connection with, 501 as a rule.
        reply_text: what is wrong.
    """

    def __init__(self, reply_code: int, reply_text: str) -> None:
        super().__init__(f"{reply_code} {reply_text}")
        self.reply_code = reply_code
        self.reply_text = reply_text


class EncodeError(TwbridgeError, ValueError):
    """A value that AMQP 0-9-1 can't carry. Raised to the caller before a byte is written."""

    code = "bad_frame"
    close_code = 1008

    @property
    def public(self) -> str:
        return str(self)
