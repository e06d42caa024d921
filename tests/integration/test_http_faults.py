"""HTTP while the broker or the bridge goes away; an EventSource of a browser."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import BreakableCase
from tests.integration.cases import pause
from tests.integration.chromium import Browser, Page
from tests.integration.rabbitmq import free_ports
from tests.integration.test_http_api import HttpCase

TIMEOUT = 2.0
LISTEN = """
(() => {
  window.ids = []; window.kinds = [];
  const source = new EventSource(%s);
  source.onmessage = (event) => window.ids.push(Number(event.lastEventId));
  for (const kind of ["subscribed", "drain", "link", "gap", "unsubscribed"]) {
    source.addEventListener(kind, (event) => {
      window.kinds.push(JSON.parse(event.data).op);
    });
  }
})()
"""
ACROSS = """
Promise.all([
  fetch(%s + "/api/publish", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({destination: "/topic/test", body: 1}),
  }).then((answer) => answer.json()).then((answer) => answer.op, () => ""),
  new Promise((resolve) => {
    const source = new EventSource(%s + "/events?destination=/topic/test");
    source.addEventListener("subscribed", () => { source.close(); resolve("subscribed"); });
    source.onerror = () => { source.close(); resolve(""); };
  }),
])
"""


class FaultTests(BreakableCase, HttpCase):
    """On a node that is killed and frozen."""

    timeout = 120
    toml = f"amqp = {{ timeout = {TIMEOUT}, reconnect_cap = 0.5 }}"

    @classmethod
    def amqp_url(cls) -> str:
        return cls.node.url(query="heartbeat=2&connection_timeout=1000")

    async def test_a_stream_goes_on_after_the_broker_was_killed(self) -> None:
        stream = await self.stream()
        caller = self.caller()
        source = await self.stands(f"/stream/{stream}", from_="first")
        for number in range(10):
            await self.published(caller, f"/queue/{stream}", str(number))
        self.assertEqual(len(await source.bodies(10)), 10)
        await in_thread(self.node.sync)
        await in_thread(self.node.kill)
        self.assertEqual((await source.event("link")).json["state"], "down")
        after = {"destination": f"/queue/{stream}", "body": "after"}
        told = await caller.publish(after)
        self.assertEqual((told.status, told.json["code"]), (503, "not_ready"))
        refused = await self.source("/topic/a")
        self.assertEqual((refused.status, "retry-after" in refused.headers), (503, True))
        await in_thread(self.node.start)
        self.assertEqual((await source.event("link", 60.0)).json["state"], "up")
        # RabbitMQ is there before its streams are.
        deadline = time.monotonic() + 30.0
        while (await caller.publish(after)).status != 200:
            self.assertLess(time.monotonic(), deadline)
            await pause(0.2)
        # One that was not answered in time may be there nevertheless: then it comes twice.
        event = await source.event("message")
        self.assertEqual((event.json["body"], event.last_event_id), ("after", "10"))

    async def test_a_broker_that_does_not_answer_is_504(self) -> None:
        queue, caller = await self.queue(), self.caller()
        await self.published(caller, f"/queue/{queue}", "x")
        await in_thread(self.node.freeze)
        try:
            told = await caller.publish({"destination": f"/queue/{queue}", "body": "y"})
        finally:
            await in_thread(self.node.thaw)
        self.assertEqual(told.status, 504, told)
        self.assertIn(told.json["code"], ("timeout", "unknown"))


class BrowserTests(HttpCase):
    """A page of the bridge, with an EventSource."""

    timeout = 90

    async def page(self, bridge: Bridge) -> Page:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        return await browser.open(bridge.page())

    async def ids(self, page: Page, last: int) -> Any:
        return await page.wait_for(f"window.ids.at(-1) === {last} && window.ids", 30.0)

    async def test_it_resumes_where_it_was_when_the_bridge_comes_back(self) -> None:
        stream, bridge = await self.stream(), await self.another()
        await self.fill(stream, range(10))
        page = await self.page(bridge)
        target = f"/events?destination=/stream/{stream}&from=first"
        await page.evaluate(LISTEN % json.dumps(target))
        self.assertEqual(await self.ids(page, 9), list(range(10)))
        self.assertEqual(await in_thread(bridge.stop), 0)
        await self.fill(stream, range(10, 20))
        await in_thread(bridge.start)
        self.assertEqual(await self.ids(page, 19), list(range(20)))
        kinds = await page.evaluate("window.kinds")
        # It may have come back before the broker was: of that it is told.
        told = [kind for kind in kinds if kind != "link"]
        self.assertEqual(told, ["subscribed", "drain", "subscribed"])

    async def test_pages_of_other_origins_may_use_both_where_the_settings_name_them(self) -> None:
        page = await self.page(self.bridge)
        # The chat page may speak to its own server only.
        await page.send("Page.setBypassCSP", enabled=True)
        await page.go(self.bridge.page())
        for origins, expected in ((self.bridge.page().rstrip("/"), True), ("self", False)):
            (port,) = free_ports(1)
            other = await self.another(
                "--amqp-url",
                self.amqp_url(),
                toml=f"""
                    [[listen]]
                    endpoint = "tcp:{port}:interface=127.0.0.1"
                    origins = ["{origins}"]
                """,
                port=port,
            )
            base = other.page().rstrip("/")
            answers = await page.evaluate(ACROSS % (json.dumps(base), json.dumps(base)))
            self.assertEqual(answers, ["published", "subscribed"] if expected else ["", ""])
