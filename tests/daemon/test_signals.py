"""Signals of the process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twbridge.daemon.signals import ENDING, TOLD, Signals


class ThreadReactor(MemoryReactorClock):
    """Makes the calls that other threads ask for at once."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        callable(*args, **kwargs)


class SignalsTests(SynchronousTestCase):
    """What each of them does."""

    def setUp(self) -> None:
        for name in (*ENDING, *TOLD):
            number = getattr(signal, name)
            # Whatever the tests run under, nohup included.
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_DFL))
        self.did: list[str] = []
        self.listened: set[str] = set()
        self.events: list[str] = []
        observer = cast(ILogObserver, lambda event: self.events.append(event["signal"]))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def tell(self, channel: str) -> bool:
        if channel in self.listened:
            self.did.append(channel)
        return channel in self.listened

    def take(self, terminal: bool = False) -> None:
        Signals(ThreadReactor(), lambda: self.did.append("end"), self.tell, lambda: terminal).take()

    def test_sigint_and_sigterm_end_the_process(self) -> None:
        self.take()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        self.assertEqual(self.did, ["end", "end"])

    def test_the_others_are_told_to_the_bus(self) -> None:
        self.listened = {"SIGHUP", "SIGUSR1", "SIGUSR2"}
        self.take(terminal=True)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(number)
        self.assertEqual(self.did, ["SIGHUP", "SIGUSR1", "SIGUSR2"])

    def test_without_a_listener_they_do_nothing_and_are_logged(self) -> None:
        self.take()
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(number)
        self.assertEqual(self.did, [])
        self.assertEqual(self.events, ["SIGHUP", "SIGUSR1", "SIGUSR2"])

    def test_the_end_of_a_terminal_ends_what_runs_in_it(self) -> None:
        self.take(terminal=True)
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.did, ["end"])

    def test_but_not_under_nohup(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.take(terminal=True)
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.did, [])
