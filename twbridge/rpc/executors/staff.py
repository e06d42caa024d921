"""The children of one kind: how many there are, and which of them have room."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from twbridge.rpc.children import START_TIMEOUT, State
from twbridge.rpc.executors.pipe import Begin
from twbridge.rpc.executors.process import Child, Owner
from twbridge.rpc.serializers import Body
from twbridge.rpc.tasks import RunIn

__all__ = ["IDLE", "MAX_RETIRED", "MAX_STARTING", "PAUSE", "Staff", "Terms"]

#: Children of one kind that may be left to end what they have, while one of their calls won't
#: stop. The oldest is killed when there is one more.
MAX_RETIRED: Final = 4
#: Children of one kind that start at once: each costs a quarter of a second of a core.
MAX_STARTING: Final = max(2, os.cpu_count() or 1)
#: Seconds after which children that are not needed are ended.
IDLE: Final = 60.0
#: Seconds before a child that ended without a call is replaced.
PAUSE: Final = 1.0


class Terms(Struct, frozen=True):
    """What all crews of a worker share.

    ``grace``: seconds from being told to being killed. ``start``: see `ChildProcess`.
    """

    reactor: Any
    module: str
    worker: str
    begin: Begin
    grace: float
    publish: Callable[[str, Body], Any]
    start: float = START_TIMEOUT


class Staff:
    """Starts, keeps and ends children.

    Args:
        terms: what they are started with.
        owner: hears of each.
        kind: where their tasks run.
        each: how many calls one child runs at once.
        most: how many children take calls at once.
    """

    def __init__(self, terms: Terms, owner: Owner, kind: RunIn, each: int, most: int) -> None:
        self.most = most
        #: All whose processes are not gone, whatever they are good for.
        self.children: set[Child] = set()
        #: Those that start, or take calls.
        self.active: list[Child] = []
        #: Those of them that have room; the last one is asked first.
        self.open: list[Child] = []
        self._retired: list[Child] = []
        self._terms = terms
        self._owner = owner
        self._arguments = (terms.module, kind, terms.worker, str(each))
        self._each = each
        self._is_stopped = False
        self._warming: IDelayedCall | None = None
        self._shrinking: IDelayedCall | None = None
        #: The fewest that had nothing to do at once, lately.
        self._surplus = 0

    def start(self) -> None:
        """Start one more."""
        if self._is_stopped:
            return
        child = Child(
            self._terms.reactor,
            self._owner,
            self._arguments,
            self._terms.begin,
            is_single=self._each == 1,
            start=self._terms.start,
        )
        self.children.add(child)
        self.active.append(child)
        child.gone.addCallback(lambda _: self.children.discard(child))
        child.start()

    def stop(self) -> list[Deferred[None]]:
        """End all, those that run nothing in order. Each Deferred fires when a process is gone."""
        self._is_stopped = True
        for timer in (self._warming, self._shrinking):
            if timer is not None and timer.active():
                timer.cancel()
        gone = [child.gone for child in self.children]
        for child in list(self.children):
            # One that is retired has a call that does not end.
            is_idle = child.state is not State.RETIRED and not child.calls
            (child.leave if is_idle else child.kill)("the worker stops")
        return gone

    def kill(self) -> None:
        """Wait no more for those that end in order."""
        for child in list(self.children):
            child.kill("the worker stops")

    # -- how many

    def grow(self, waiting: int) -> None:
        """Start children for calls that wait; a few at once, so that the first is soon there."""
        if not waiting:
            return
        starting = self._starting()
        room = min(MAX_STARTING - starting, self.most - len(self.active))
        wanted = -(-waiting // self._each) - starting
        for _ in range(min(room, wanted)):
            self.start()

    def replace(self) -> None:
        """One is gone that was needed. The others of a burst come when they are needed again."""
        if self._starting() < MAX_STARTING and len(self.active) < self.most:
            self.start()

    def keep_warm(self) -> None:
        """One has ended for no call: start another, but not again and again."""
        if self._warming is None or not self._warming.active():
            self._warming = self._terms.reactor.callLater(PAUSE, self._warm)

    def _warm(self) -> None:
        if not self.active:
            self.start()

    def _starting(self) -> int:
        return sum(child.state is State.STARTING for child in self.active)

    # -- which

    def ready(self, child: Child) -> None:
        """It has started."""
        child.hello()
        self.open.append(child)
        if self._shrinking is None and len(self.active) > 1:
            self._shrinking = self._terms.reactor.callLater(IDLE, self._shrink)

    def given(self, child: Child) -> None:
        """It has a call more."""
        if len(child.calls) >= self._each:
            self.open.remove(child)
            self._surplus = min(self._surplus, len(self.open))

    def freed(self, child: Child) -> None:
        """It has a call less."""
        if len(child.calls) == self._each - 1:
            self.open.append(child)

    def retire(self, child: Child) -> bool:
        """It takes no more calls. Whether it took some until now: then `replace` it."""
        if child.state is not State.READY:
            return False
        child.state = State.RETIRED
        self.remove(child)
        self._retired.append(child)
        if len(self._retired) > MAX_RETIRED:
            self._retired[0].kill("it was killed: too many tasks of its kind did not stop")
        return True

    def remove(self, child: Child) -> bool:
        """Forget it. Whether it was to take calls."""
        was_active = child in self.active
        for group in (self.active, self.open, self._retired):
            if child in group:
                group.remove(child)
        return was_active

    def _shrink(self) -> None:
        """End those that had nothing to do since this was last called, but for one."""
        self._shrinking = None
        for child in self.open[: max(0, self._surplus - 1)]:
            self.remove(child)
            child.leave("it had nothing to do")
        self._surplus = len(self.open)
        if len(self.active) > 1:
            self._shrinking = self._terms.reactor.callLater(IDLE, self._shrink)
