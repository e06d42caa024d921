"""The browser harness sees, types and clicks for real."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration import chromium
from tests.integration.chromium import Browser, BrowserError
from tests.integration.rabbitmq import free_ports

_PAGE = """<!doctype html><title>t</title>
<form onsubmit="event.preventDefault(); out.textContent += line.value + ';'; line.value = ''">
<input id=line><button id=go>go</button></form><p id=out></p>
<script>console.log("ready", 1); setTimeout(() => { throw new Error("late") }, 0);
setTimeout(() => { document.title = "changed" }, 200)</script>"""


class BrowserTests(TestCase):
    timeout = 60

    async def test_two_windows_type_click_and_look(self) -> None:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        one = await browser.open("data:text/html," + quote(_PAGE))
        two = await browser.open("data:text/html," + quote(_PAGE))
        await one.type("#line", "héllo")
        await one.press("Enter")
        await two.type("#line", "two")
        await two.click("#go")
        self.assertEqual(await one.text("#out"), "héllo;")
        self.assertEqual(await two.text("#out"), "two;")
        await one.wait_for("document.title === 'changed'")
        self.assertEqual(await one.evaluate("Promise.resolve({a: [1, null]})"), {"a": [1, None]})
        self.assertEqual(one.console, ["log: ready 1"])
        self.assertIn("Error: late", one.errors[0])
        picture = Path(self.mktemp())
        await one.screenshot(picture)
        self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")
        with self.assertRaisesRegex(BrowserError, "no element matches #nope"):
            await one.text("#nope")
        with self.assertRaisesRegex(BrowserError, "not in 0.1 s: 1 === 2"):
            await one.wait_for("1 === 2", 0.1)
        with self.assertRaisesRegex(BrowserError, "ERR_CONNECTION_REFUSED"):
            await two.go(f"http://127.0.0.1:{free_ports(1)[0]}/")
        await two.close()
        await browser.close()
        with self.assertRaisesRegex(BrowserError, "not running"):
            await one.evaluate("1")

    async def test_a_machine_without_chromium_is_told_what_to_install(self) -> None:
        self.patch(chromium, "PROGRAMS", ("no-such-browser",))
        with self.assertRaisesRegex(BrowserError, "apt-get install chromium"):
            await Browser.launch(reactor)
