"""One result that many wait for (sans-I/O)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

__all__ = ["Shared"]


class Shared:
    """Hands the end of one thing to all who wait for it.

    Args:
        result: consumed; it must not be used by anybody else.
    """

    __slots__ = ("_failure", "_waiting")

    def __init__(self, result: Deferred[None]) -> None:
        self._failure: Failure | None = None
        self._waiting: list[Deferred[None]] | None = []
        result.addBoth(self._settle)

    @property
    def failed(self) -> bool:
        """Whether it has failed."""
        return self._failure is not None

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well, so that nobody has to wait."""
        return self._waiting is None and self._failure is None

    def wait(self) -> Deferred[None]:
        """Fires or fails as it does, at once where it has ended."""
        if self._waiting is None:
            return succeed(None) if self._failure is None else fail(self._failure)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _settle(self, result: Failure | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        if isinstance(result, Failure):
            self._failure = result
            for each in waiting:
                each.errback(result)
        else:
            for each in waiting:
                each.callback(None)
