"""The six states of the link, as a table.

==========  ==========  ==========  ==========  ======  ========
state       up          down        blocked     stop    finished
==========  ==========  ==========  ==========  ======  ========
idle        .           .           .           closed  .
connecting  ready       (stays)     blocked     closing .
ready       (stays)     connecting  blocked     closing .
blocked     ready       connecting  (stays)     closing .
closing     .           .           .           .       closed
closed      .           .           .           .       .
==========  ==========  ==========  ==========  ======  ========

``start`` goes from idle and closed to connecting and does nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.logger import Logger

_log = Logger()

#: Seconds.
_SAY_AGAIN = 60.0


class Listeners:
    """Callbacks of one kind; one that fails is logged and stops no other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._callbacks: list[Callable[..., object]] = []

    def add(self, callback: Callable[..., object]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def __call__(self, *args: object) -> None:
        for callback in list(self._callbacks):
            try:
                callback(*args)
            except Exception:
                _log.failure("A listener on {name} failed", name=self._name)


class Away:
    """Tells the log of a broker that is away: the first time, each new reason, once a minute."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._since: float | None = None
        self._tries = 0
        self._said = ("", 0.0)

    def failed(self, reason: str, now: float) -> None:
        """A connection was lost, or an attempt to connect failed."""
        if self._since is None:
            self._since, self._tries = now, 0
        self._tries += 1
        said, at = self._said
        if self._tries == 1 or reason != said or now - at >= _SAY_AGAIN:
            self._said = reason, now
            _log.warn(
                "The broker {broker} is away: {reason}; trying again ({tries} so far)",
                broker=self._broker,
                reason=reason.rstrip("."),
                tries=self._tries,
            )

    def ended(self, now: float) -> None:
        """All connections are there."""
        if self._since is None:
            _log.info("Connected to {broker}", broker=self._broker)
        else:
            seconds = round(now - self._since)
            _log.info(
                "Connected to {broker} again after {seconds} s",
                broker=self._broker,
                seconds=seconds,
            )
        self._since = None


class LinkState:
    """What the machine keeps and whom it tells."""

    def __init__(
        self,
        on_state: Callable[[str], object],
        on_ready: Callable[[], object],
        on_unavailable: Callable[[Exception], object],
    ) -> None:
        self.name = "idle"
        self.description = "not started"
        #: What to say of the end.
        self.end = "closed"
        self._on_state = on_state
        self._on_ready = on_ready
        self._on_unavailable = on_unavailable

    def enter(self, name: str, description: str) -> None:
        """A new state."""
        self.name, self.description = name, description
        self._on_state(name)

    def enter_ready(self) -> None:
        """Usable, or usable again."""
        self.enter("ready", "connected")
        self._on_ready()

    def leave_ready(self, name: str, reason: Exception) -> None:
        """No longer usable."""
        self.enter(name, str(reason))
        self._on_unavailable(reason)


class LinkInputs(Protocol):
    """What happens to a link."""

    def start(self) -> None:
        """The owner wants it."""

    def up(self) -> None:
        """All connections are there, and the broker takes messages."""

    def down(self, reason: Exception) -> None:
        """A connection is lost, or an attempt failed."""

    def blocked(self, reason: Exception) -> None:
        """The broker takes no messages."""

    def stop(self) -> None:
        """The owner wants it no more."""

    def finished(self) -> None:
        """All is closed."""


def _build() -> Callable[[LinkState], LinkInputs]:
    builder = TypeMachineBuilder(LinkInputs, LinkState)
    idle, connecting, ready = (builder.state(name) for name in ("idle", "connecting", "ready"))
    blocked, closing, closed = (builder.state(name) for name in ("blocked", "closing", "closed"))

    for state in (idle, closed):

        @state.upon(LinkInputs.start).to(connecting)
        def begin(_inputs: LinkInputs, core: LinkState) -> None:
            core.end = "closed"
            core.enter("connecting", "connecting for the first time")

    for state in (connecting, blocked):

        @state.upon(LinkInputs.up).to(ready)
        def become_ready(_inputs: LinkInputs, core: LinkState) -> None:
            core.enter_ready()

    @ready.upon(LinkInputs.down).to(connecting)
    def lose(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.leave_ready("connecting", reason)

    @ready.upon(LinkInputs.blocked).to(blocked)
    def block(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.leave_ready("blocked", reason)

    @blocked.upon(LinkInputs.down).to(connecting)
    def lose_blocked(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.enter("connecting", str(reason))

    @connecting.upon(LinkInputs.blocked).to(blocked)
    def block_early(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.enter("blocked", str(reason))

    @connecting.upon(LinkInputs.down).loop()
    def fail_again(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.description = str(reason)

    @blocked.upon(LinkInputs.blocked).loop()
    def stay_blocked(_inputs: LinkInputs, core: LinkState, reason: Exception) -> None:
        core.description = str(reason)

    for state in (connecting, ready, blocked):

        @state.upon(LinkInputs.stop).to(closing)
        def close(_inputs: LinkInputs, core: LinkState) -> None:
            core.enter("closing", "closing")

    @idle.upon(LinkInputs.stop).to(closed)
    @closing.upon(LinkInputs.finished).to(closed)
    def finish(_inputs: LinkInputs, core: LinkState) -> None:
        core.enter("closed", core.end)

    for state in (connecting, ready, blocked, closing):
        state.upon(LinkInputs.start).loop().returns(None)
    for state in (closing, closed):
        state.upon(LinkInputs.stop).loop().returns(None)
    for state in (idle, closing, closed):
        state.upon(LinkInputs.up).loop().returns(None)
        state.upon(LinkInputs.down).loop().returns(None)
        state.upon(LinkInputs.blocked).loop().returns(None)
    ready.upon(LinkInputs.up).loop().returns(None)
    for state in (idle, connecting, ready, blocked, closed):
        state.upon(LinkInputs.finished).loop().returns(None)
    return builder.build()


link_states = _build()
