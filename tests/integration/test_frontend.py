"""``examples/frontend``: its routes on both brokers, its page in a browser, and its end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration import witness
from tests.integration.chromium import Browser, Page
from tests.integration.frontend_cases import (
    AS_JSON,
    FRONTEND,
    Site,
    SiteCase,
    command_line,
    parents,
    until,
)
from tests.integration.rabbitmq import in_thread, shared
from tests.integration.rpc_cases import SECONDS
from tests.integration.wsgi_client import Http, ask

#: A prime: to find that out takes longer than a number may.
ENDLESS = 9007199254740881


class RouteTests(SiteCase):
    """What every route answers, with the broker of its own: one command, and nothing else.

    In the end a second signal ends it, as a worker hangs.
    """

    @classmethod
    def end(cls) -> None:
        for pid in cls.site.family:
            if "twbridge worker" in command_line(pid):
                os.kill(pid, signal.SIGSTOP)
        for _ in range(2):
            super().end()
            # It listens no more: the first one was heard.
            until(lambda: refuses(cls.site.port))
        # Before the first one has it killed.
        until(lambda: cls.site.process.poll() is not None, seconds=4.0)

    def test_a_line_that_is_published_reaches_who_waits(self) -> None:
        with self.site.subscribed() as one, self.site.subscribed() as other:
            told = self.site.publish("héllo 👋")
            self.assertEqual((told.status, told.json["text"]), (200, "héllo 👋"))
            answers = [one.answer(), other.answer()]
        for answer in answers:
            self.assertEqual((answer.status, answer.json), (200, told.json))
        self.site.publish("in between")
        with self.site.subscribed(after=answers[0].field("twbridge-number")) as http:
            self.assertEqual(http.answer().json["text"], "in between")

    def test_the_numbers_count(self) -> None:
        # A worker is counted twice, or not at all, in the moment in which it consumes anew.
        until(lambda: self.site.workers == {"tasks": 1, "wsgi": 1})
        # What the other tests have published may still be on its way.
        until(lambda: len(set(self.site.get("/stat").json["messages"].values())) == 1)
        before = self.site.get("/stat").json
        self.site.publish("one more")
        received = before["messages"]["received"]
        until(lambda: self.site.get("/stat").json["messages"]["received"] > received)
        after = self.site.get("/stat").json
        self.assertEqual(after["link"], {"state": "ready", "why": "connected"})
        self.assertEqual(
            after["messages"]["published"] - before["messages"]["published"],
            after["messages"]["received"] - before["messages"]["received"],
        )
        self.assertGreater(after["requests"], before["requests"] + 1)
        self.assertEqual((after["polls"], after["calls"]), (0, 0))

    def test_results_are_in_order_with_errors_as_values(self) -> None:
        rows = self.site.get("/parallel?numbers=999999999989,0,360,97").json
        self.assertEqual([row["number"] for row in rows], [999999999989, 0, 360, 97])
        self.assertEqual(
            [row.get("factors") for row in rows],
            [[999999999989], None, [2, 2, 2, 3, 3, 5], [97]],
        )
        self.assertEqual(rows[1]["message"], "Only whole numbers from 2 up have prime factors.")
        self.assertEqual(rows[1]["error"], "worker_error")

    def test_calls_end_when_the_client_leaves(self) -> None:
        with Http(self.site.port) as http:
            http.request("GET", f"/parallel?numbers={ENDLESS},{ENDLESS}")
            until(lambda: self.site.get("/stat").json["calls"] == 2)
        until(lambda: self.site.get("/stat").json["calls"] == 0, seconds=2.5)

    def test_flask_answers_below_its_mount(self) -> None:
        self.assertEqual(self.site.get("/app/hello/Ada%20L").json["hello"], "Ada L")
        page = self.site.get("/app/")
        self.assertEqual((page.status, page.field("content-type")[:9]), (200, "text/html"))
        self.assertIn('href="/app/hello/Ada"', page.text)
        self.assertEqual(self.site.get("/app/nothing").status, 404)

    def test_flask_gets_uploads(self) -> None:
        data = bytes(range(256)) * 2000
        answer = ask(self.site.port, "POST", "/app/upload", data, {"Content-Type": "a/b"})
        told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.assertEqual((answer.status, answer.json), (200, told))

    def test_flask_sends_piece_by_piece(self) -> None:
        with Http(self.site.port) as http:
            http.request("GET", "/app/count/10")
            pieces = http.pieces(http.head())
            self.assertEqual(next(pieces), b"1\n")
            begun = time.monotonic()
            self.assertEqual(b"".join(pieces), b"".join(b"%d\n" % n for n in range(2, 11)))
            # It takes 1.8 seconds, of which this may have slept through some.
            self.assertGreater(time.monotonic() - begun, 0.2)

    def test_mistakes_are_told(self) -> None:
        for answer, status, word in (
            (self.site.get("/parallel?numbers=12,x"), 400, "whole numbers"),
            (self.site.get("/parallel"), 400, "?numbers=12,97"),
            (self.site.get("/parallel?numbers=" + "1," * 20 + "1"), 400, "Up to 20"),
            (self.site.publish(""), 400, "length >= 1"),
            (ask(self.site.port, "POST", "/publish", b"{", AS_JSON), 400, "data"),
            (ask(self.site.port, "POST", "/publish", b"{}"), 415, "application/json"),
        ):
            self.assertEqual(answer.status, status, answer)
            self.assertIn(word, answer.json["error"])
        self.assertEqual(self.site.get("/subscribe?after=x").status, 400)
        self.assertEqual(self.site.get("/nothing").status, 404)

    def test_pages_of_other_sites_may_link_to_the_page_and_nothing_else(self) -> None:
        for path, fields, status in (
            ("/", {"Sec-Fetch-Site": "cross-site"}, 200),
            ("/", {"Host": "evil.example"}, 403),
            ("/stat", {"Host": "localhost:8080"}, 200),
            ("/stat", {"Host": f"127.0.0.1.evil.example:{self.site.port}"}, 403),
            ("/fast", {"Sec-Fetch-Site": "same-origin"}, 200),
            ("/fast", {"Sec-Fetch-Site": "none"}, 200),
            ("/parallel?numbers=12", {"Sec-Fetch-Site": "cross-site"}, 403),
            ("/app/", {"Sec-Fetch-Site": "same-site"}, 403),
        ):
            self.assertEqual(ask(self.site.port, "GET", path, b"", fields).status, status, path)
        line = b'{"name": "Eve", "text": "x"}'
        told = ask(self.site.port, "POST", "/publish", line, AS_JSON | {"Host": "evil.example"})
        self.assertEqual(told.status, 403)

    def test_no_other_site_frames_the_page_or_changes_where_it_leads(self) -> None:
        page = self.site.get("/")
        for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            self.assertIn(part, page.field("content-security-policy"))
        for path in ("/", "/page.js"):
            self.assertEqual(self.site.get(path).field("x-content-type-options"), "nosniff")


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class RabbitTests(RouteTests):
    """The same on RabbitMQ, and several instances."""

    ends_by = signal.SIGINT

    @classmethod
    def options(cls) -> tuple[str, ...]:
        return ("--amqp-url", shared().url())

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()
        finally:
            for kind in ("task", "dead"):
                witness.delete(shared().url(), f"twbridge.{kind}.frontend.factors")

    async def other(self) -> Site:
        """One more instance; it is gone after the test."""
        site = Site(self.folder, *self.options())
        self.addCleanup(lambda: in_thread(site.close))
        await in_thread(site.serves)
        return site

    async def test_instances_share_the_news_and_the_workers_until_one_loses_its_own(self) -> None:
        other = await self.other()
        with other.subscribed() as http:
            self.site.publish("to all")
            self.assertEqual(http.answer().json["text"], "to all")
        await in_thread(until, lambda: other.workers == {"tasks": 2, "wsgi": 2})
        family = other.family
        (worker,) = (pid for pid in family if "twbridge worker" in command_line(pid))
        os.kill(worker, signal.SIGKILL)
        self.assertEqual(await in_thread(other.wait), 1, other.said)
        self.assertIn("frontend: twbridge worker has ended", other.said)
        await in_thread(until, lambda: not family & parents().keys())
        await in_thread(until, lambda: self.site.workers == {"tasks": 1, "wsgi": 1})


class PageTests(SiteCase):
    """The command, and the page in a browser. This instance is killed in the end."""

    ends_by = signal.SIGKILL

    def test_make_frontend_starts_it(self) -> None:
        makefile = (FRONTEND.parent.parent / "Makefile").read_text()
        self.assertRegex(makefile, r"\nfrontend: .*\n\t\$\(BIN\)/python examples/frontend ")
        dry = ("make", "--dry-run", "-C", str(FRONTEND.parent.parent), "frontend", "PORT=8081")
        done = subprocess.run(dry, capture_output=True, text=True, check=True)
        self.assertIn("/python examples/frontend --port 8081\n", done.stdout)

    def test_a_busy_port_is_one_line_and_exit_code_1(self) -> None:
        done = subprocess.run(
            [sys.executable, str(FRONTEND), "--port", str(self.site.port)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        (line,) = done.stderr.splitlines()
        self.assertIn(f":{self.site.port}", line)
        self.assertIn("--port", line)

    def test_fast_answers_at_once_while_workers_compute(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(self.site.get, f"/parallel?numbers={ENDLESS},12")
            until(lambda: self.site.get("/stat").json["calls"] > 0)
            self.assertEqual(self.site.get("/fast").status, 200)
            self.assertFalse(work.done())
            late, twelve = work.result().json
        self.assertEqual((late["error"], twelve["factors"]), ("timeout", [2, 2, 3]))

    async def test_two_windows_of_the_page(self) -> None:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        ada, bob = [await self.window(browser) for _ in range(2)]
        await self.line(ada, "<b>héllo</b>")
        for page in (ada, bob):
            await self.lines(page, "<b>héllo</b>")
        await self.line(bob, "and back")
        for page in (ada, bob):
            await self.lines(page, "<b>héllo</b>", "and back")
        await self.factors(ada)
        await self.greeting(bob)
        await ada.wait_for("document.querySelector('#received').innerText >= '2'")
        for page in (ada, bob):
            self.assertEqual((page.console, page.errors), ([], []))
        loaded = await ada.evaluate(
            "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).port)"
        )
        self.assertEqual(set(loaded), {str(self.site.port)})

    async def window(self, browser: Browser) -> Page:
        """A window that is connected."""
        page = await browser.open(f"http://127.0.0.1:{self.site.port}/", width=1180)
        await page.wait_for("document.querySelector('#status').innerText === 'Connected'")
        return page

    async def line(self, page: Page, text: str) -> None:
        """Say something, by the keyboard alone."""
        await page.type("#text", text)
        await page.press("Enter")

    async def lines(self, page: Page, *lines: str) -> None:
        """Wait until these are there."""
        found = (
            "JSON.stringify([...document.querySelectorAll('#lines .text')].map((e) => e.innerText))"
        )
        wanted = json.dumps(json.dumps(lines, ensure_ascii=False, separators=(",", ":")))
        await page.wait_for(f"{found} === {wanted}")

    async def factors(self, page: Page) -> None:
        """Have numbers factored, beginning with the focus on the field."""
        await page.evaluate("document.querySelector('#numbers').select()")
        await page.send("Input.insertText", text="360, 0, 97")
        await page.press("Tab")
        await page.press("Space")
        await page.wait_for("!document.querySelector('#results').hidden")
        cells = "[...document.querySelectorAll('#results tbody td:nth-child(2)')]"
        self.assertEqual(
            await page.evaluate(f"{cells}.map((each) => each.innerText)"),
            [
                "2 × 2 × 2 × 3 × 3 × 5",
                "Only whole numbers from 2 up have prime factors.",
                "97",
            ],
        )
        self.assertRegex(await page.text("#parallel-said"), r"/fast answered [1-9]")
        self.assertEqual(
            await page.evaluate("document.activeElement.innerText"), "Factor", "the focus stays"
        )

    async def greeting(self, page: Page) -> None:
        """Be greeted by Flask, and upload a file to it."""
        await page.click("#hello button")
        await page.wait_for("document.querySelector('#flask-said').innerText.includes('Ada')")
        (self.folder / "file").write_bytes(b"x" * 100_000)
        node = await page.send("Runtime.evaluate", expression="document.querySelector('#file')")
        await page.send(
            "DOM.setFileInputFiles",
            files=[str(self.folder / "file")],
            objectId=node["result"]["objectId"],
        )
        await page.click("#upload button")
        await page.wait_for("document.querySelector('#flask-said').innerText.includes('100000')")
