"""The chat page in a real browser: two windows, a broker that goes away, a bridge that does."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.certificates import Authority
from tests.integration import witness
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BreakableCase, BridgeCase
from tests.integration.chromium import Browser, Page
from tests.integration.proxy import Way
from tests.integration.rabbitmq import free_ports

TIMEOUT = 2.0
ALLOW_CHAT = f"""
    [[allow]]
    operation = "publish"
    destination = "{CHAT_IN}"
    [[allow]]
    operation = "subscribe"
    destination = "{CHAT_OUT}"
"""
CONNECTED = "Connected"
BROKER_AWAY = "The message broker is away, waiting for it…"
SERVER_AWAY = "The server is away, trying again…"
NOT_BUSY = "!document.querySelector('#line').readOnly"
REMARKS = "[...document.querySelectorAll('.remark')].map((each) => each.textContent)"
LINES = "[...document.querySelectorAll('.line .text')].map((each) => each.textContent)"


class PageCase(BridgeCase):
    """A browser, a bridge and a node of the class's own."""

    timeout = 90
    toml = f"amqp = {{ timeout = {TIMEOUT}, reconnect_cap = 0.5 }}"

    async def browser(self, *flags: str) -> Browser:
        browser = await Browser.launch(reactor, *flags)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        return browser

    async def window(self, browser: Browser, name: str = "", url: str | None = None) -> Page:
        """A window of the page, connected, with the name filled in."""
        page = await browser.open(url or self.bridge.page())
        await self.status(page, CONNECTED)
        if name:
            await page.evaluate("document.querySelector('#name').select()")
            await page.type("#name", name)
        return page

    async def status(self, page: Page, words: str, seconds: float = 15.0) -> None:
        """Wait until the page says this of the connection."""
        wanted = json.dumps(words)
        await page.wait_for(f"document.querySelector('#status').innerText === {wanted}", seconds)

    async def say(self, page: Page, line: str) -> None:
        """Type a line and press Enter, when the one before is published: it is seen before that."""
        await page.wait_for(NOT_BUSY)
        await page.type("#line", line)
        await page.press("Enter")

    async def sees(self, page: Page, *lines: str, seconds: float = 10.0) -> None:
        """Wait until the last lines are these."""
        wanted = json.dumps(lines, ensure_ascii=False)
        last = f"JSON.stringify({LINES}.slice(-{len(lines)})) === JSON.stringify({wanted})"
        await page.wait_for(last, seconds)

    async def tells(self, page: Page, words: str, seconds: float = 10.0) -> None:
        """Wait until the notice over the field has these words."""
        wanted = json.dumps(words)
        await page.wait_for(
            "(() => {const e = document.querySelector('#notice');"
            f"return !e.hidden && e.innerText.includes({wanted})}})()",
            seconds,
        )

    async def field(self, page: Page) -> Any:
        """What stands in the field, when nothing is being published."""
        await page.wait_for(NOT_BUSY)
        return await page.evaluate("document.querySelector('#line').value")

    def no_complaint(self, *pages: Page) -> None:
        """Nothing on the consoles: no exception, no failed request, no violated policy."""
        for page in pages:
            self.assertEqual((page.console, page.errors), ([], []))


class ChatTests(PageCase):
    """What everybody sees while all is well."""

    async def test_a_line_typed_in_one_window_appears_in_all_with_its_name(self) -> None:
        browser = await self.browser()
        ada = await self.window(browser, "Ada")
        bob = await self.window(browser, "Bob 🧑🏽‍🚀")
        await self.say(ada, "héllo, <b>world</b> & 👋")
        for page in (ada, bob):
            await self.sees(page, "héllo, <b>world</b> & 👋")
        self.assertEqual(await self.field(ada), "")
        await self.say(bob, "hi Ada")
        for page in (ada, bob):
            await self.sees(page, "héllo, <b>world</b> & 👋", "hi Ada")
            names = "[...document.querySelectorAll('.line .who-said')].map((e) => e.textContent)"
            self.assertEqual(await page.evaluate(names), ["Ada", "Bob 🧑🏽‍🚀"])
            times = await page.evaluate(
                "[...document.querySelectorAll('.line time')].map((e) => Date.parse(e.dateTime))"
            )
            self.assertTrue(all(isinstance(time, int) for time in times), times)
            own = "[...document.querySelectorAll('.line.own .text')].map((e) => e.textContent)"
            mine = "héllo, <b>world</b> & 👋" if page is ada else "hi Ada"
            self.assertEqual(await page.evaluate(own), [mine])
        self.no_complaint(ada, bob)

    async def test_the_sender_sees_its_line_only_when_it_has_come_back(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.toml)
        browser = await self.browser()
        page = await self.window(browser, "Ada", bridge.page())
        await self.say(page, "at once")
        await self.sees(page, "at once")
        queue = await self.witness()
        proxy.stall(Way.DOWN)
        await self.say(page, "not yet")
        body = await self.next_of(queue)  # the broker has it
        self.assertEqual(json.loads(body)["text"], "not yet")
        self.assertEqual(await page.evaluate(LINES), ["at once"])
        proxy.resume()
        await self.sees(page, "at once", "not yet")
        self.no_complaint(page)
        await in_thread(bridge.close)

    async def test_lines_of_any_client_are_shown_as_text(self) -> None:
        browser = await self.browser()
        page = await self.window(browser)
        script = "<img src=x onerror=alert(1)>"
        await in_thread(witness.publish, self.node.url(), CHAT, "elsewhere", script.encode())
        await self.sees(page, script)
        client = await self.json(None, CHAT_OUT)
        await client.publish(CHAT_IN, {"name": "<i>Eve</i>", "text": script})
        await client.publish(CHAT_IN, {"name": 5, "text": ["x"]})
        await client.publish(CHAT_IN, base64="//79")
        await self.sees(page, script, script, '{"name":5,"text":["x"]}', "Binary data, 3 bytes")
        self.assertEqual(await page.evaluate("document.querySelectorAll('.line img').length"), 0)
        await self.say(page, "and back")
        frame = [await client.message() for _ in range(4)][-1]
        self.assertEqual(sorted(frame["body"]), ["name", "text", "time"])
        self.assertEqual((frame["body"]["name"], frame["body"]["text"]), ("Guest", "and back"))
        self.no_complaint(page)

    async def test_it_works_by_the_name_localhost_and_by_the_address(self) -> None:
        browser = await self.browser()
        pages = [
            await self.window(browser, url=self.bridge.page(host))
            for host in ("localhost", "127.0.0.1")
        ]
        for page in pages:
            await self.say(page, "here")
        for page in pages:
            await self.sees(page, "here", "here")
        self.no_complaint(*pages)

    async def test_it_works_by_any_host_name_over_http_and_https(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        certificate, key = Authority(folder).issue("server")
        secure, plain = free_ports(2)
        bridge = Bridge(
            *("--amqp-url", self.node.url()),
            *("--listen", f"tcp:{plain}:interface=127.0.0.1"),
            *(
                "--listen",
                f"ssl:{secure}:privateKey={key}:certKey={certificate}:interface=127.0.0.1",
            ),
            port=plain,
            toml="""
                [[allow]]
                operation = "subscribe"
                destination = "/exchange/twbridge.chat/#"
                [[allow]]
                operation = "publish"
                destination = "/exchange/twbridge.chat/chat"
            """,
        )
        self.addCleanup(lambda: in_thread(bridge.close))
        await in_thread(bridge.start)
        browser = await self.browser(
            "--host-resolver-rules=MAP *.example 127.0.0.1", "--ignore-certificate-errors"
        )
        pages = [
            await self.window(browser, url=url)
            for url in (f"http://chat.example:{plain}/", f"https://chat.example:{secure}/")
        ]
        await self.say(pages[0], "by http")
        await self.sees(pages[1], "by http")
        await self.say(pages[1], "by https")
        await self.sees(pages[0], "by http", "by https")
        self.no_complaint(*pages)

    async def test_without_rules_a_foreign_name_for_this_machine_may_not_chat(self) -> None:
        browser = await self.browser("--host-resolver-rules=MAP *.example 127.0.0.1")
        page = await browser.open(self.bridge.page("rebound.example"))
        await self.status(page, "You may not chat here.")

    async def test_it_loads_nothing_from_elsewhere(self) -> None:
        page = await self.window(await self.browser())
        loaded = await page.evaluate(
            "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)"
        )
        self.assertGreater(len(loaded), 3)
        self.assertEqual(set(loaded), {f"127.0.0.1:{self.bridge.port}"})

    async def test_it_can_be_used_with_the_keyboard_alone(self) -> None:
        page = await self.window(await self.browser())
        focused = "document.activeElement.id"
        self.assertEqual(await page.evaluate(focused), "name")
        await page.send("Input.insertText", text="Ada")
        await page.press("Enter")
        self.assertEqual(await page.evaluate(focused), "line")
        await page.send("Input.insertText", text="by keyboard")
        await page.press("Enter")
        await self.sees(page, "by keyboard")
        self.assertEqual(await page.evaluate(focused), "line")
        roles = await page.evaluate(
            "['#status', '#log', '#notice'].map((id) =>"
            " document.querySelector(id).getAttribute('role'))"
        )
        self.assertEqual(roles, ["status", "log", "alert"])


class AwayTests(PageCase, BreakableCase):
    """The broker or the bridge goes away, and comes back."""

    async def test_the_broker_killed_and_restarted_between_two_windows(self) -> None:
        browser = await self.browser()
        ada, bob = await self.window(browser, "Ada"), await self.window(browser, "Bob")
        await self.say(ada, "before")
        for page in (ada, bob):
            await self.sees(page, "before")
        await in_thread(self.node.kill)
        for page in (ada, bob):
            await self.status(page, BROKER_AWAY)
        await self.say(ada, "into the void")
        await self.tells(ada, "not sent", TIMEOUT + 3.0)
        self.assertEqual(await self.field(ada), "into the void")
        self.assertEqual(await ada.evaluate(LINES), ["before"])
        await self.status(ada, BROKER_AWAY, 0.5)
        await in_thread(self.node.start)
        for page in (ada, bob):
            await self.status(page, CONNECTED)
        await ada.press("Enter")  # the text is still there, and the caret
        for page in (ada, bob):
            await self.sees(page, "before", "into the void")
        self.assertEqual(await self.field(ada), "")
        await self.say(bob, "welcome back")
        for page in (ada, bob):
            await self.sees(page, "into the void", "welcome back")
            self.assertIn("missing", (await page.evaluate(REMARKS))[0])
        self.no_complaint(ada, bob)

    async def test_the_bridge_killed_and_restarted(self) -> None:
        bridge = await self.another()
        browser = await self.browser()
        ada = await self.window(browser, "Ada", bridge.page())
        bob = await self.window(browser, "Bob", bridge.page())
        for again in (bridge.kill, bridge.stop):
            await in_thread(again)
            for page in (ada, bob):
                await self.status(page, SERVER_AWAY)
            await self.say(ada, f"after {again.__name__}")
            await self.tells(ada, "The server is away, so your line was not sent.")
            self.assertEqual(await self.field(ada), f"after {again.__name__}")
            await in_thread(bridge.start)
            for page in (ada, bob):
                await self.status(page, CONNECTED, 20.0)
            await ada.press("Enter")
            for page in (ada, bob):
                await self.sees(page, f"after {again.__name__}")
        for page in (ada, bob):
            others = [each for each in page.errors if "WebSocket connection to" not in each]
            self.assertEqual((page.console, others), ([], []))

    async def test_a_page_opened_while_the_broker_is_away_connects_when_it_comes(self) -> None:
        proxy = await self.proxy()
        await proxy.refuse()
        bridge = Bridge("--amqp-url", self.url_of(proxy), toml=self.toml)
        self.addCleanup(lambda: in_thread(bridge.close))
        bridge.launch()
        await in_thread(bridge.until, lambda answer: answer.status == 503)
        page = await (await self.browser()).open(bridge.page())
        await self.status(page, BROKER_AWAY)
        proxy.accept()
        await self.status(page, CONNECTED)
        await self.say(page, "first")
        await self.sees(page, "first")
        self.no_complaint(page)
        await in_thread(bridge.close)


class HistoryTests(PageCase):
    """The page where a stream keeps what was said."""

    stream: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.stream = f"test.{uuid.uuid4()}"
        cls.toml = f"""
            amqp = {{ timeout = {TIMEOUT}, reconnect_cap = 0.5 }}
            [[stream]]
            name = "{cls.stream}"
            max_bytes = 10_000_000
            bindings = ["{CHAT_OUT}"]
        """
        super().setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        witness.delete(cls.node.url(), cls.stream)
        super().tearDownClass()

    async def own(self) -> Bridge:
        """A bridge whose stream has nothing in it yet."""
        stream = f"test.{uuid.uuid4()}"
        toml = self.toml.replace(self.stream, stream)
        bridge = await self.another("--amqp-url", self.amqp_url(), toml=toml)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), stream))
        return bridge

    async def test_a_page_that_comes_later_sees_what_was_said_and_whose_it_was(self) -> None:
        bridge = await self.own()
        browser = await self.browser()
        ada = await self.window(browser, "Ada", bridge.page())
        await self.say(ada, "first")
        await self.sees(ada, "first")
        await self.say(ada, "second")
        await self.sees(ada, "first", "second")
        bob = await self.window(browser, "Bob", bridge.page())
        await self.sees(bob, "first", "second")
        own = "document.querySelectorAll('.line.own').length"
        self.assertEqual([await page.evaluate(own) for page in (ada, bob)], [2, 0])
        await ada.go(bridge.page())
        await self.status(ada, CONNECTED)
        await self.sees(ada, "first", "second")
        await self.say(bob, "third")
        for page in (ada, bob):
            await self.sees(page, "first", "second", "third")
            self.assertEqual(await page.evaluate(REMARKS), [])
        self.assertEqual([await page.evaluate(own) for page in (ada, bob)], [2, 1])
        self.no_complaint(ada, bob)

    async def test_lines_said_while_the_server_was_away_are_there_and_no_line_twice(self) -> None:
        bridge = await self.own()
        page = await self.window(await self.browser(), "Ada", bridge.page())
        await self.say(page, "before")
        await self.sees(page, "before")
        await in_thread(bridge.kill)
        await self.status(page, SERVER_AWAY)
        line = json.dumps({"name": "Bob", "text": "meanwhile"}).encode()
        await in_thread(witness.publish, self.node.url(), CHAT, "chat", line)
        await in_thread(bridge.start)
        await self.status(page, CONNECTED, 20.0)
        await self.say(page, "after")
        await self.sees(page, "after")
        texts = await page.evaluate(LINES)
        self.assertEqual([each for each in texts if "meanwhile" not in each], ["before", "after"])
        self.assertEqual(len(texts), 3)
        self.assertEqual(await page.evaluate(REMARKS), [])

    async def test_the_page_keeps_the_last_500_of_a_long_history(self) -> None:
        bridge = await self.own()
        client = await self.json(bridge)
        sent = [client.publish(CHAT_IN, {"name": "Bob", "text": f"line {n}"}) for n in range(3000)]
        for each in sent:
            await each
        page = await self.window(await self.browser(), "Ada", bridge.page())
        await self.sees(page, "line 2998", "line 2999")
        self.assertEqual(await page.evaluate("document.querySelectorAll('.line').length"), 500)
        self.assertEqual(await page.evaluate("document.title"), "twbridge chat")
        live = "document.querySelector('#log').getAttribute('aria-live')"
        await page.wait_for(f"{live} === 'polite'")
        await self.say(page, "now")
        await self.sees(page, "line 2999", "now")
        self.assertEqual(await page.evaluate(live), "polite")
        self.no_complaint(page)

    async def test_whoever_may_not_read_the_stream_chats_without_history(self) -> None:
        stream = f"test.{uuid.uuid4()}"
        toml = self.toml.replace(self.stream, stream) + ALLOW_CHAT
        bridge = await self.another("--amqp-url", self.amqp_url(), toml=toml)
        self.addCleanup(lambda: in_thread(witness.delete, self.node.url(), stream))
        page = await self.window(await self.browser(), "Ada", bridge.page())
        await self.say(page, "live")
        await self.sees(page, "live")
        self.no_complaint(page)
