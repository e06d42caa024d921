"""RFC 6455 and RFC 7692, judged by the Autobahn test suite, the broker being the echo."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bridge import in_thread
from tests.integration.bridge_cases import BridgeCase
from tests.integration.conformance import SCRIPT, Echo, install, judge

# The suite is installed within the first test.
pytestmark = pytest.mark.timeout(300)

ECHO, KEEPER = "/exchange/test.echo/x", "/exchange/test.echo/keeper"
ROUTE = f"""
[[route]]
path = "/ws"
publish = "{ECHO}"
subscribe = "{ECHO}"

[[route]]
path = "/keeper"
publish = "{KEEPER}"
subscribe = "{KEEPER}"

[[exchange]]
name = "test.echo"
type = "topic"
durable = false
"""

#: All but 12.* and 13.*, which are about compression, and take 9 minutes.
PLAIN = tuple(f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 9, 10))
PLAIN_CASES = 301
#: Of each setting of 12.* and 13.* one, and small, large and many messages.
DEFLATE = [f"12.{case}" for case in ("1.1", "1.3", "1.4", "2.1", "3.1", "4.1", "5.1")]
DEFLATE += [f"13.{section}.1" for section in range(1, 8)]
#: Messages over 64 KiB.
LARGE = {
    f"9.{section}.{case}"
    for section, cases in {
        1: range(2, 7),
        2: range(2, 7),
        3: range(1, 10),
        4: range(1, 10),
        5: range(1, 7),
        6: range(1, 7),
    }.items()
    for case in cases
}


class MissingPythonTests(SynchronousTestCase):
    """A machine without Python 2.7."""

    def test_it_is_told_in_a_sentence(self) -> None:
        empty = Path(self.mktemp()).absolute()
        empty.mkdir(parents=True)
        (empty / "cat").symlink_to("/bin/cat")
        done = subprocess.run(
            ["/bin/sh", SCRIPT, empty / "suite"],
            env={"PATH": str(empty), "HOME": str(empty), "PYTHON27": "/nowhere/python2.7"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing: Python 2.7, which the Autobahn test suite needs", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertFalse((empty / "suite").exists())


class ConformanceCase(BridgeCase):
    """A run of the suite."""

    timeout = 280

    @classmethod
    def setUpClass(cls) -> None:
        install()
        super().setUpClass()

    async def failed_of(self, cases: Sequence[str], number: int) -> dict[str, str]:
        """Run cases, so many in number; gives those that failed, with the suite's words."""
        keeper = await self.raw(path="/keeper", listening=False)
        await self.hears(keeper, destination=KEEPER)
        first = await self.raw(listening=False)
        await self.hears(first, destination=ECHO)
        echo = Echo(reactor, self.bridge.port, keeper)
        self.addCleanup(echo.close)
        echo.arrived.addCallback(lambda _: Deferred.fromCoroutine(first.leave()))
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        start = time.monotonic()
        verdicts = await in_thread(judge, echo.url, cases, folder.absolute())
        print(f"{len(verdicts)} cases in {time.monotonic() - start:.0f} s")
        self.assertEqual(len(verdicts), number)
        return {case: str(each) for case, each in verdicts.items() if not each.passed}

    def assert_failed(self, failed: dict[str, str], expected: Iterable[str]) -> None:
        """Exactly these cases failed."""
        expected = set(expected)
        lines = [f"{case} failed: {why}" for case, why in failed.items() if case not in expected]
        lines += [f"{case} did not fail" for case in sorted(expected - failed.keys())]
        self.assertEqual(lines, [], "\n".join(lines))


class LargeMessagesTests(ConformanceCase):
    """Limits that no case of the suite meets, and permessage-deflate."""

    toml = f"""{ROUTE}
    [limits]
    frame = {64 << 20}
    message = {64 << 20}
    fragments = 100_000
    send_buffer = {64 << 20}
    [websocket]
    deflate = true
    """

    async def test_every_case_passes(self) -> None:
        failed = await self.failed_of([*PLAIN, *DEFLATE], PLAIN_CASES + len(DEFLATE))
        self.assert_failed(failed, ())


class SmallLimitsTests(ConformanceCase):
    """Limits as in production."""

    toml = f"""{ROUTE}
    [limits]
    frame = {64 << 10}
    message = {64 << 10}
    """

    async def test_the_cases_with_larger_messages_fail_and_no_other(self) -> None:
        self.assertEqual(len(LARGE), 40)
        self.assert_failed(await self.failed_of(PLAIN, PLAIN_CASES), LARGE)
