"""The children of a worker: started, given requests, replaced when they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twbridge.errors import LoadError
from twbridge.rpc.children import START_TIMEOUT, State
from twbridge.wsgi.lanes import Lane, Listener, Work
from twbridge.wsgi.pipe import Begin, Hello
from twbridge.wsgi.process import Child

__all__ = ["MAX_RETIRED", "PAUSE", "PAUSE_MAX", "STEADY", "Crew"]

_log = Logger()

#: A child that has served for so many seconds is replaced at once when it ends.
STEADY: Final = 5.0
#: Seconds before one is replaced that ended soon, twice in a row, and the most that they grow to.
PAUSE: Final = 0.5
PAUSE_MAX: Final = 10.0
#: Children that may be left to end what they run beside a request that won't stop. The oldest is
#: killed when there is one more.
MAX_RETIRED: Final = 4


class _Place:
    """A place for a child, and how often one ended there soon."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.later: IDelayedCall | None = None
        self.quick = 0


class Crew:
    """Keeps children running.

    Args:
        reactor: the reactor.
        app: ``module:attribute``, the application.
        worker: the worker's id.
        processes: how many children there are.
        threads: how many requests each runs at once.
        path: the ``sys.path`` of the children; this process' own by default.
        start: seconds that each has to import the application.

    Attributes:
        free: lanes that have nothing to do.
        lanes: how many there are as a rule.
        listener: hears of the requests; to be set before ``start``.
    """

    listener: Listener

    def __init__(
        self,
        reactor: Any,
        app: str,
        *,
        worker: str,
        processes: int,
        threads: int,
        path: Sequence[str] | None = None,
        start: float = START_TIMEOUT,
    ) -> None:
        self.free: list[Lane] = []
        self.lanes = processes * threads
        self._reactor = reactor
        self._begin = Begin(
            os.getpid(), list(sys.path if path is None else path), app, worker, threads
        )
        self._start_timeout = start
        self._places = [_Place() for _ in range(processes)]
        #: All whose processes are not gone, whatever they are good for.
        self._children: set[Child] = set()
        #: Those of them that take requests.
        self._able: list[Child] = []
        self._retired: list[Child] = []
        self._started: Deferred[None] = Deferred()
        #: Whether no child is started any more.
        self._is_draining = False
        self._is_stopped = False

    @property
    def able(self) -> int:
        """How many lanes take requests, free or not."""
        return sum(len(each.lanes) for each in self._able)

    @property
    def left_over(self) -> int:
        """How many requests run in children that take no more."""
        return sum(each.busy for each in self._retired)

    def start(self) -> Deferred[None]:
        """Start the first child, and then the others.

        Returns:
            fires when the first has imported the application. Fails with LoadError where it
            can't be imported.
        """
        if self._is_draining:
            return fail(LoadError("the worker stops"))
        self._start(self._places[0])
        return self._started

    def no_more(self) -> None:
        """Replace no child from now on: there is nothing more to come."""
        self._is_draining = True
        for place in self._places:
            if place.later is not None and place.later.active():
                place.later.cancel()

    def stop(self) -> Deferred[None]:
        """End all children, and what they have forked: those that do nothing in order.

        Requests that run are lost.

        Returns:
            fires when no process is left.
        """
        self.no_more()
        self._is_stopped = True
        gone = DeferredList([each.gone for each in self._children])
        for child in list(self._children):
            is_idle = all(lane.work is None for lane in child.lanes)
            (child.leave if is_idle else child.kill)("the worker stops")
        if not self._started.called:
            self._fail(LoadError("the worker stops"))
        done: Deferred[None] = Deferred()
        gone.addCallback(lambda _: done.callback(None))
        return done

    def kill(self) -> None:
        """Wait no more for those that end in order."""
        for child in list(self._children):
            child.kill("the worker stops")

    def end(self, work: Work) -> None:
        """End a request that won't by itself; nobody waits for it any more.

        Where nothing else runs in its process, that writes to stderr where it is, and is killed
        then. Else it takes no more requests, and ends so when the others have ended: what runs may
        crash while it is looked at. Another takes its place at once.
        """
        lane, work.lane = work.lane, None
        if lane is None:
            return
        child = lane.child
        busy = child.busy
        _log.warn(
            "{work} does not end: process {pid} {what}",
            work=work,
            pid=child.pid,
            what="is killed" if not busy else f"is killed when {busy} others have ended",
        )
        if child.state is State.READY:
            self._retire(child)
        if not busy:
            child.tell_where()
            child.kill_soon("a request did not end")

    # -- told by children -------------------------------------------------------------------

    def hello(self, child: Child, hello: Hello) -> None:
        """A child has imported the application, or can't."""
        if hello.error is not None:
            if not self._started.called:
                self._fail(LoadError(hello.error, hello.traceback))
            elif hello.traceback is not None:
                _log.error("{traceback}", traceback=hello.traceback.rstrip())
            child.kill(hello.error)
            return
        child.ready()
        self._able.append(child)
        for lane in child.lanes:
            self.freed(lane)
        self.listener.ready()
        if not self._started.called:
            for place in self._places[1:]:
                self._start(place)
            self._started.callback(None)

    def freed(self, lane: Lane) -> None:
        """A lane has nothing to do: it gets what waits."""
        child = lane.child
        if child.state is State.READY:
            work = self.listener.next()
            if work is None:
                self.free.append(lane)
            else:
                lane.begin(work)
        elif child.state is State.RETIRED and not child.busy:
            self._let_go(child)

    def _let_go(self, child: Child) -> None:
        """Nothing runs there any more but what does not end."""
        if any(lane.work is not None for lane in child.lanes):
            child.tell_where()
        if child.lanes[0].work is None:
            child.leave("it was told to end")
        else:
            child.kill_soon("a request did not end")

    def ended(self, child: Child, text: str) -> None:
        """A child is gone, and what ran there with it."""
        self._take_out(child)
        if child in self._retired:
            self._retired.remove(child)
        lost = [(lane.work, lane.is_untouched) for lane in child.lanes if lane.work is not None]
        for lane in child.lanes:
            lane.work = None
        ran = f", with {', '.join(str(work) for work, _ in lost)}" if lost else ""
        for work, is_untouched in lost:
            work.lane = None
            self.listener.lost(work, f"the process that ran it is gone: {text}", is_untouched)
        place = next((each for each in self._places if each.child is child), None)
        if place is not None:
            place.child = None
            self._again(place, child, f"{text}{ran}")

    # -- places -----------------------------------------------------------------------------

    def _start(self, place: _Place) -> None:
        place.later = None
        if self._is_draining:
            return
        place.child = child = Child(
            self._reactor, self, self.listener, self._begin, self._start_timeout
        )
        self._children.add(child)
        child.gone.addCallback(lambda _: self._children.discard(child))
        child.start()

    def _again(self, place: _Place, child: Child, text: str) -> None:
        """Start one in this place, the later the more often it was in vain."""
        if not self._started.called:
            self._fail(LoadError(f"the process of the application did not start: {text}"))
        if self._is_draining:
            if not self._is_stopped:
                _log.error("Process {pid} is gone: {text}", pid=child.pid, text=text)
            return
        now = self._reactor.seconds()
        if child.since is not None and now - child.since >= STEADY:
            place.quick = 0
        pause = min(PAUSE_MAX, PAUSE * 2 ** (place.quick - 1)) if place.quick else 0.0
        place.quick += 1
        _log.error(
            "Process {pid} is gone: {text}; another takes its place in {pause:g} s",
            pid=child.pid,
            text=text,
            pause=pause,
        )
        place.later = self._reactor.callLater(pause, self._start, place)

    def _retire(self, child: Child) -> None:
        """It takes no more requests, and another takes its place."""
        child.state = State.RETIRED
        self._take_out(child)
        self._retired.append(child)
        for place in self._places:
            if place.child is child:
                self._start(place)
        # The others are about to end, or do.
        busy = [each for each in self._retired if each.busy]
        if len(busy) > MAX_RETIRED:
            busy[0].kill("it was killed: too many requests did not stop")

    def _take_out(self, child: Child) -> None:
        """Nothing is given to it any more."""
        if child in self._able:
            self._able.remove(child)
            self.free[:] = [each for each in self.free if each.child is not child]

    def _fail(self, error: LoadError) -> None:
        """It could not begin."""
        self._is_draining = self._is_stopped = True
        self._started.errback(error)
