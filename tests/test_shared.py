"""One result that many wait for."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from twbridge.shared import Shared


class SharedTests(SynchronousTestCase):
    def test_all_get_it_whenever_they_ask(self) -> None:
        result: Deferred[None] = Deferred()
        shared = Shared(result)
        first, second = shared.wait(), shared.wait()
        self.assertNoResult(first)
        result.callback(None)
        for each in (first, second, shared.wait(), Shared(succeed(None)).wait()):
            self.assertIsNone(self.successResultOf(each))
        self.assertFalse(shared.failed)

    def test_so_with_a_failure_which_nobody_has_to_hear(self) -> None:
        result: Deferred[None] = Deferred()
        shared = Shared(result)
        waiting = shared.wait()
        self.assertFalse(shared.failed)
        result.errback(ZeroDivisionError())
        self.assertTrue(shared.failed)
        for each in (waiting, shared.wait(), Shared(fail(ZeroDivisionError())).wait()):
            self.failureResultOf(each, ZeroDivisionError)

    def test_who_waits_may_ask_again_in_the_midst_of_it(self) -> None:
        result: Deferred[None] = Deferred()
        shared = Shared(result)
        found: list[Deferred[None]] = []
        shared.wait().addCallback(lambda _: found.append(shared.wait()))
        result.callback(None)
        self.successResultOf(found[0])
