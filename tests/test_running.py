"""Asynchronous trial tests mean what they say under pytest: red is red."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

_CASES = """
from twisted.internet import defer, reactor, task
from twisted.trial.unittest import TestCase
from twisted.internet.protocol import Protocol, Factory

def later(result):
    return task.deferLater(reactor, 0.01, lambda: result)

class RunningTests(TestCase):
    timeout = 0.5

    def test_passes_later(self):
        return later(None).addCallback(lambda _: self.assertEqual(1, 1))

    def test_fails_later(self):
        return later(None).addCallback(lambda _: self.assertEqual(1, 2))

    def test_raises_later(self):
        return later(None).addCallback(lambda _: 1 / 0)

    async def test_fails_in_a_coroutine(self):
        await later(None)
        self.fail("in a coroutine")

    async def test_passes_in_a_coroutine(self):
        await later(None)

    def test_never_fires(self):
        return defer.Deferred()

    def test_leaves_a_port(self):
        reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")

    def test_leaves_a_timer(self):
        reactor.callLater(60, print)

    def test_fails_in_cleanup(self):
        self.addCleanup(lambda: later(None).addCallback(lambda _: 1 / 0))
"""


def test_asynchronous_failures_fail(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_cases=_CASES)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-rA")
    text = result.stdout.str()
    lines = text.splitlines()
    for name in ("fails_later", "raises_later", "fails_in_a_coroutine", "never_fires"):
        assert any(f"FAILED test_cases.py::RunningTests::test_{name}" in line for line in lines), (
            text
        )
    for name in ("leaves_a_port", "leaves_a_timer", "fails_in_cleanup"):
        marks = [line for line in lines if f"::test_{name}" in line]
        assert any(line.startswith(("FAILED", "ERROR")) for line in marks), text
    for name in ("passes_later", "passes_in_a_coroutine"):
        marks = [line for line in lines if f"::test_{name}" in line]
        assert marks
        assert all(line.startswith("PASSED") for line in marks), text
