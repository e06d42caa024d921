"""How a call can end where it runs (sans-I/O)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from twbridge.rpc.serializers import Body

__all__ = ["Broke", "Died", "Done", "Outcome", "TimedOut", "WasCancelled"]


class Done(Struct, frozen=True):
    """The task returned. ``headers`` are those that it set for its reply."""

    body: Body
    headers: dict[str, Any]


class Broke(Struct, frozen=True):
    """The task raised, or what it returned can't be sent.

    ``traceback`` is there when the task allows it. ``public``: it was a ``PublicError``, and its
    text may be shown to anybody. ``final``: it would fail again in the same way (a public error,
    a body that can't be read or doesn't fit the task's parameters).
    """

    type: str
    message: str
    traceback: str | None = None
    public: bool = False
    final: bool = False


class TimedOut(Struct, frozen=True):
    """It had not ended at its deadline, and was stopped; it may have done a part of its work."""


class WasCancelled(Struct, frozen=True):
    """`Run.cancel` was called before it ended."""


class Died(Struct, frozen=True):
    """The process that ran it ended, or none could be started. ``text`` is one sentence."""

    text: str


Outcome = Done | Broke | TimedOut | WasCancelled | Died
