"""Calls through a real bridge to a real worker: from browsers, over WebSocket and over HTTP."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration import rpc_http_calls, rpc_socket_calls
from tests.integration.chromium import Browser
from tests.integration.rpc_bridge import OnOwnBroker, console

SECRET = "postgres://user:secret@db"


class BridgeCallTests(rpc_http_calls.HttpCalls, rpc_socket_calls.SocketCalls):
    """What clients may rely on, before RabbitMQ."""


class EmbeddedBridgeCallTests(OnOwnBroker, BridgeCallTests):
    """The same on the embedded broker; and what the README says, in Chromium."""

    async def test_a_browsers_console_calls_a_task_and_follows_and_cancels_it(self) -> None:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        page = await browser.open(self.bridge.page())
        await console(
            page,
            """const {connect} = await import("/static/twbridge.js");
               globalThis.bridge = connect(); 0""",
        )
        add, pages, endless = (self.name(task) for task in ("add", "pages", "endless"))
        self.assertEqual(await console(page, f'await bridge.call("{add}", [1, 2])'), 3)

        await console(page, "globalThis.seen = []; 0")
        call = f'await bridge.call("{pages}", 3, {{onProgress: ({{page}}) => seen.push(page)}})'
        self.assertEqual(await console(page, call), 3)
        self.assertEqual(await console(page, "seen"), [0, 1, 2])

        words: list[Any] = []
        channel = self.name("told")
        caller = await self.caller()
        await caller.subscribe(channel, lambda _channel, word: words.append(word))
        outcome = f"""
            const controller = new AbortController();
            await bridge.call("{endless}", "{channel}",
                              {{signal: controller.signal, onProgress: () => controller.abort()}})
                .catch(({{name, code}}) => [name, code])"""
        self.assertEqual(await console(page, outcome), ["BridgeError", "cancelled"])
        await self.until(lambda: words == ["told"])

        for task, code, message in (
            ("fails", "worker_error", "The task failed."),
            ("fails.loudly", "worker_error", "The task failed."),
            ("nobody", "not_found", "There is no such task."),
        ):
            call = f"""await bridge.call("{self.name(task)}", "{SECRET}")
                           .catch(({{code, message}}) => [code, message])"""
            self.assertEqual(await console(page, call), [code, message])
        call = f"""await bridge.call("{self.name("fails.publicly")}").catch((e) => e.message)"""
        self.assertEqual(await console(page, call), "An order has an id.")
        self.assertEqual(page.errors, [])
