"""twbridge.js: its own tests in Node, its package, and a bridge that comes and goes under it."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.integration import witness
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import BridgeCase
from tests.integration.chromium import Browser, Page
from tests.integration.node_scripts import Script, install, run
from twbridge import __version__

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients" / "js"
MODULE = CLIENT / "twbridge.js"
MOST_BYTES = 6_000


class NodeTests(SynchronousTestCase):
    """What needs no bridge."""

    @classmethod
    def setUpClass(cls) -> None:
        install(CLIENT)

    def test_its_own_tests_pass(self) -> None:
        files = sorted(str(path) for path in (CLIENT / "test").glob("*.test.js"))
        said = run(CLIENT, "node", "--test", *files)
        self.assertGreater(int(said.partition("# pass ")[2].split()[0]), 90, said)

    def test_its_types_are_those_of_the_examples(self) -> None:
        run(CLIENT, "npm", "run", "--silent", "types")

    def test_it_is_small_as_it_is_served(self) -> None:
        self.assertLessEqual(len(gzip.compress(MODULE.read_bytes())), MOST_BYTES)

    def test_it_needs_nothing_else(self) -> None:
        self.assertNotRegex(MODULE.read_text(), r"(?m)^\s*import\b|\bimport\(|\brequire\(")
        package = json.loads((CLIENT / "package.json").read_text())
        self.assertNotIn("dependencies", package)

    def test_the_package_has_the_module_its_types_and_its_licence(self) -> None:
        (packed,) = json.loads(run(CLIENT, "npm", "pack", "--dry-run", "--json"))
        self.assertEqual(
            {file["path"] for file in packed["files"]},
            {"LICENSE", "README.md", "package.json", "twbridge.d.ts", "twbridge.js"},
        )
        self.assertEqual(packed["version"], __version__)
        licence = (ROOT / "LICENSE").read_bytes()
        self.assertEqual((CLIENT / "LICENSE").read_bytes(), licence)

    def test_the_bridge_serves_the_very_same_file(self) -> None:
        served = ROOT / "twbridge" / "web" / "static" / "twbridge.js"
        self.assertEqual(served.resolve(), MODULE)


class StreamCase(BridgeCase):
    """A bridge with a stream of the class's own."""

    timeout = 120
    stream: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.stream = f"test.{uuid.uuid4()}"
        cls.toml = f"""
            [[stream]]
            name = "{cls.stream}"
            max_bytes = 10_000_000
        """
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        witness.delete(cls.node.url(), cls.stream)
        super().tearDownClass()

    async def of_its_own(self) -> tuple[Bridge, str]:
        """A bridge that the test may kill, and its stream."""
        stream = f"test.{uuid.uuid4()}"
        toml = self.toml.replace(self.stream, stream)
        bridge = await self.another("--amqp-url", self.amqp_url(), toml=toml)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), stream))
        return bridge, stream


class LiveTests(StreamCase):
    """In Node, against the whole daemon."""

    @classmethod
    def setUpClass(cls) -> None:
        install(CLIENT)
        super().setUpClass()

    async def test_everything_over_the_end_of_the_bridge(self) -> None:
        bridge, stream = await self.of_its_own()
        queue = await self.queue()
        script = Script(CLIENT, "test/live.js", bridge.url(), stream, queue)
        self.addCleanup(lambda: in_thread(script.close))
        await in_thread(script.wait_for, "kill")
        await in_thread(bridge.kill)
        await in_thread(script.wait_for, "start")
        await in_thread(bridge.start)
        await in_thread(script.wait_for, "done")
        self.assertEqual(await in_thread(script.end), 0)
        self.assertEqual(await self.drain(queue), [])


class BrowserTests(StreamCase):
    """In Chromium, from the console of the bridge's own page."""

    async def page(self, bridge: Bridge | None = None) -> Page:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        return await browser.open((bridge or self.bridge).page())

    async def console(self, page: Page, source: str) -> Any:
        """What a person would type, with ``await`` at the top."""
        answer = await page.send(
            "Runtime.evaluate",
            expression=source,
            replMode=True,
            awaitPromise=True,
            returnByValue=True,
        )
        self.assertNotIn("exceptionDetails", answer)
        return answer["result"].get("value")

    async def test_three_lines_in_the_console_start_a_subscriber(self) -> None:
        page = await self.page()
        key = f"news.{uuid.uuid4()}"
        await self.console(
            page,
            f"""const {{connect}} = await import("/static/twbridge.js");
                const bridge = connect();
                const sub = bridge.subscribe("/topic/{key}", console.log);""",
        )
        await self.console(page, "await sub.ready; 0")
        await self.console(page, f'await bridge.publish("/topic/{key}", {{hello: "you"}})')
        await self.until(lambda: page.console)
        self.assertEqual(len(page.console), 1)
        self.assertEqual(page.errors, [])

    async def test_a_stream_goes_on_over_the_end_of_the_bridge_and_over_a_reload(self) -> None:
        bridge, stream = await self.of_its_own()
        page = await self.page(bridge)
        subscribe = f"""
            const {{connect}} = await import("/static/twbridge.js");
            globalThis.bridge = connect();
            globalThis.got = [];
            globalThis.gaps = [];
            bridge.on("gap", (gap) => gaps.push(gap));
            bridge.subscribe("/stream/{stream}", ({{body}}) => void got.push(body),
                             {{from: "first", resume: "test"}});
            0"""
        publish = f'await bridge.publish("/stream/{stream}", %s); 0'
        await self.console(page, subscribe)
        for number in (0, 1):
            await self.console(page, publish % number)
        await page.wait_for("got.length === 2")
        await in_thread(bridge.kill)
        await page.wait_for("bridge.state === 'server-away'")
        await self.console(page, f'void bridge.publish("/stream/{stream}", 2)')
        await in_thread(bridge.start)
        await page.wait_for("got.length === 3", 40.0)
        self.assertEqual(await page.evaluate("[got, gaps]"), [[0, 1, 2], []])

        await page.send("Page.reload")
        await page.wait_for("document.readyState === 'complete' && !globalThis.got")
        link = await self.json(bridge)
        await link.publish(f"/stream/{stream}", 3)
        await self.console(page, subscribe)
        await page.wait_for("got.length === 1")
        await self.console(page, publish % 4)
        await page.wait_for("got.length === 2")
        self.assertEqual(await page.evaluate("[got, gaps]"), [[3, 4], []])
        others = [each for each in page.errors if "WebSocket connection to" not in each]
        self.assertEqual((page.console, others), ([], []))
