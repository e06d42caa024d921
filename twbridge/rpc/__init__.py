"""Tasks over queues: register them, serve them, call them.

A module of tasks imports :data:`task` and :data:`context` from here and gets no reactor with it;
what needs one is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twbridge.errors import (
    BadArguments,
    BadBody,
    BadReply,
    BadRequest,
    BadTask,
    CallCancelled,
    CallError,
    CallLost,
    CallTimeout,
    ChannelClosed,
    DuplicateTask,
    EncodeError,
    ExpirationError,
    LoadError,
    NotReady,
    PublicError,
    TaskError,
    TwbridgeError,
    UnknownTask,
)
from twbridge.rpc.context import context
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import task

if TYPE_CHECKING:
    from twbridge.rpc.blocking import BlockingCaller
    from twbridge.rpc.caller import Caller, gather
    from twbridge.rpc.worker import run

#: The same, under the name that Python has for it.
TimeoutError = CallTimeout

__all__ = [
    "BadArguments",
    "BadBody",
    "BadReply",
    "BadRequest",
    "BadTask",
    "BlockingCaller",
    "Body",
    "CallCancelled",
    "CallError",
    "CallLost",
    "CallTimeout",
    "Caller",
    "ChannelClosed",
    "DuplicateTask",
    "EncodeError",
    "ExpirationError",
    "LoadError",
    "NotReady",
    "PublicError",
    "TaskError",
    "TimeoutError",
    "TwbridgeError",
    "UnknownTask",
    "context",
    "gather",
    "run",
    "task",
]

#: Where the names are that need a reactor, or much else.
_LATER = {
    "BlockingCaller": "twbridge.rpc.blocking",
    "Caller": "twbridge.rpc.caller",
    "gather": "twbridge.rpc.caller",
    "run": "twbridge.rpc.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
