"""The bridge's own caller of tasks, for its clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from twbridge.amqp import Link

if TYPE_CHECKING:
    from twbridge.rpc.caller import Caller
    from twbridge.rpc.serializers import Body

_log = Logger()


class OnDemand:
    """A caller that begins with the first call: who calls nothing has no queue for answers.

    Args:
        link: what it calls over; it stays open.
        reactor: IReactorTime.
    """

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._caller: Caller | None = None

    def call_raw(
        self,
        name: str,
        body: Body,
        *,
        timeout: float | None,
        headers: Mapping[str, Any] | None,
        on_progress: Callable[[Body], None] | None,
        on_settled: Callable[[], object] | None,
    ) -> Deferred[Any]:
        """See ``Caller.call_raw``."""
        return self._begun().call_raw(
            name,
            body,
            timeout=timeout,
            headers=headers,
            on_progress=on_progress,
            on_settled=on_settled,
        )

    def stop(self) -> Deferred[None]:
        """End the calls that are under way."""
        caller, self._caller = self._caller, None
        return succeed(None) if caller is None else caller.stop()

    def _begun(self) -> Caller:
        if self._caller is None:
            from twbridge.rpc.caller import Caller

            self._caller = Caller(self._link, reactor=self._reactor)
            started = self._caller.start()
            started.addErrback(lambda failure: _log.failure("The caller did not start", failure))
        return self._caller
