"""Callbacks of users: plain functions, or coroutines, that may fail."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Callbacks"]

_log = Logger()


class Callbacks:
    """Runs them; what goes wrong in one is logged, and stops nothing else."""

    def __init__(self) -> None:
        # Nobody else may hold a coroutine that waits.
        self._running: set[Deferred[Any]] = set()

    def __call__(self, what: str, callback: Callable[..., object] | None, *values: Any) -> None:
        """Call it, if there is one; `what` is its name in the log."""
        if callback is not None:
            self.run(what, callback, *values)

    def run(
        self, what: str, callback: Callable[..., object], *values: Any
    ) -> bool | Deferred[bool]:
        """Call it; whether it went well, when it is known."""
        try:
            result = callback(*values)
            if isinstance(result, Coroutine):
                result = ensureDeferred(result)
        except Exception:
            _log.failure("A callback for {what} failed", what=what)
            return False
        return self._keep(what, result) if isinstance(result, Deferred) else True

    def _keep(self, what: str, running: Deferred[Any]) -> Deferred[bool]:
        def failed(failure: Failure) -> bool:
            self._running.discard(running)
            if failure.check(CancelledError) is None:
                _log.failure("A callback for {what} failed", failure, what=what)
            return False

        def succeeded(_result: object) -> bool:
            self._running.discard(running)
            return True

        self._running.add(running)
        return running.addCallbacks(succeeded, failed)
