"""Headless Chromium for tests, over the DevTools protocol on a pair of pipes.

::

    browser = await Browser.launch(reactor)
    page = await browser.open("http://127.0.0.1:8080/")
    await page.type("#line", "hello")
    await page.press("Enter")
    await page.wait_for("document.querySelectorAll('li').length === 1")
    await browser.close()

Each :meth:`Browser.open` is a window of its own; nothing is throttled in the background. The
methods are coroutines and none blocks the reactor.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
LAUNCH_SECONDS = 30.0
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.03

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-component-update",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)
_KEYS = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
}
_TO_BROWSER, _FROM_BROWSER = 3, 4


class BrowserError(Exception):
    """Chromium is missing, refused a command, or the page's script threw."""


class Browser:
    """One Chromium process with a profile of its own."""

    def __init__(self, reactor: Any, wire: _Wire, profile: str) -> None:
        self.reactor = reactor
        self.pages: dict[str, Page] = {}
        self._wire = wire
        self._profile = profile
        wire.on_event = self._event

    @classmethod
    async def launch(cls, reactor: Any, *flags: str) -> Browser:
        """Start Chromium with more ``flags``.

        Raises:
            BrowserError: it is not installed (the text says what to install) or did not start.
        """
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise BrowserError("there is no chromium in PATH: apt-get install chromium")
        profile = tempfile.mkdtemp(prefix="twbridge-chromium-")
        wire = _Wire(reactor)
        command = [program, *_FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
        reactor.spawnProcess(
            wire,
            program,
            command,
            env=None,
            childFDs={0: 0, 1: "r", 2: "r", _TO_BROWSER: "w", _FROM_BROWSER: "r"},
        )
        browser = cls(reactor, wire, profile)
        try:
            await browser.send("Browser.getVersion")
        except BrowserError:
            await browser.close()
            raise
        return browser

    async def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Any command of the DevTools protocol."""
        return await self._wire.call(method, session, parameters)

    async def open(self, url: str = "about:blank", *, width: int = 900, height: int = 700) -> Page:
        """A new window at ``url``; returns when its document has loaded."""
        made = await self.send(
            "Target.createTarget", url="about:blank", newWindow=True, width=width, height=height
        )
        attached = await self.send("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        page = Page(self, made["targetId"], attached["sessionId"])
        self.pages[attached["sessionId"]] = page
        await page.send("Page.enable")
        await page.send("Runtime.enable")
        await page.send("Log.enable")
        if url != "about:blank":
            await page.go(url)
        return page

    async def close(self) -> None:
        """Kill Chromium and delete its profile; may be called twice."""
        self._wire.kill()
        await self._wire.gone()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _event(self, session: str, method: str, parameters: dict[str, Any]) -> None:
        page = self.pages.get(session)
        if page is not None:
            page.event(method, parameters)


class Page:
    """One window.

    ``console`` holds the lines that its scripts logged, ``errors`` uncaught exceptions and what
    the browser itself complained of (a failed request, a refused policy).
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.console: list[str] = []
        self.errors: list[str] = []
        self._browser = browser
        self._target = target
        self._session = session

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Any command of the DevTools protocol, to this page."""
        return await self._browser.send(method, self._session, **parameters)

    async def go(self, url: str) -> None:
        """Navigate, and wait until the document has loaded."""
        answer = await self.send("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        await self.wait_for("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (of its promise), as JSON would carry it."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {_thrown(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    async def wait_for(self, expression: str, seconds: float = 10.0) -> Any:
        """Wait until ``expression`` is true and return its value.

        Raises:
            BrowserError: it did not come true in time; the text holds the last value or error.
        """
        reactor = self._browser.reactor
        deadline = reactor.seconds() + seconds
        while True:
            try:
                last = await self.evaluate(expression)
                if last:
                    return last
            except BrowserError as error:  # a page that is being replaced, or not there yet
                last = error
            if reactor.seconds() > deadline:
                seen = await self.evaluate("document.body && document.body.innerText")
                raise BrowserError(f"not in {seconds} s: {expression} (last: {last})\n{seen}")
            await deferLater(reactor, POLL_SECONDS, lambda: None)

    async def text(self, selector: str) -> str:
        """The visible text of the first element that matches."""
        return str(await self.evaluate(f"{_element(selector)}.innerText"))

    async def click(self, selector: str) -> None:
        """Click into the middle of an element with the mouse."""
        x, y = await self.evaluate(
            f"(() => {{const e = {_element(selector)}; e.scrollIntoView({{block: 'center'}});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def type(self, selector: str, text: str) -> None:
        """Focus an element and insert text at its caret, as an input method would."""
        await self.evaluate(f"{_element(selector)}.focus()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press and release a key of the keyboard: Enter, Tab, Escape, Space, an arrow."""
        code, text = _KEYS[key]
        name = " " if key == "Space" else key
        common = {"key": name, "code": key, "windowsVirtualKeyCode": code}
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def screenshot(self, path: Path) -> None:
        """Write what is visible as a PNG."""
        answer = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self) -> None:
        """Close the window."""
        await self._browser.send("Target.closeTarget", targetId=self._target)
        self._browser.pages.pop(self._session, None)

    def event(self, method: str, parameters: dict[str, Any]) -> None:
        """Take one event of the DevTools protocol."""
        if method == "Runtime.consoleAPICalled":
            words = (str(each.get("value", each.get("description"))) for each in parameters["args"])
            self.console.append(f"{parameters['type']}: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            self.errors.append(_thrown(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())


def _element(selector: str) -> str:
    quoted = json.dumps(selector)
    message = json.dumps(f"no element matches {selector}")
    return f"(document.querySelector({quoted}) ?? (() => {{throw new Error({message})}})())"


def _thrown(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details.get("text"))


class _Wire(ProcessProtocol):
    """JSON messages with a NUL behind each, over file descriptors 3 and 4 of the browser."""

    def __init__(self, reactor: Any) -> None:
        self.on_event: Any = None
        self._reactor = reactor
        self._buffer = b""
        self._said = b""
        self._waiting: dict[int, Deferred[dict[str, Any]]] = {}
        self._count = 0
        self._over = False
        self._ends: list[Deferred[None]] = []

    async def call(self, method: str, session: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if self._over:
            raise BrowserError(f"chromium is not running: {self._complaint()}")
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        answer: Deferred[dict[str, Any]] = Deferred()
        self._waiting[self._count] = answer
        assert self.transport is not None
        self.transport.writeToChild(_TO_BROWSER, json.dumps(message).encode() + b"\0")
        answer.addTimeout(
            ANSWER_SECONDS,
            self._reactor,
            lambda *_: Failure(BrowserError(f"{method}: no answer in {ANSWER_SECONDS} s")),
        )
        return await answer

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != _FROM_BROWSER:
            self._said = (self._said + data)[-4000:]
            return
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for each in messages:
            self._message(json.loads(each))

    def _message(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self.on_event(message.get("sessionId", ""), message["method"], message["params"])
            return
        waiting = self._waiting.pop(message["id"], None)
        if waiting is None or waiting.called:
            return
        if "error" in message:
            waiting.errback(BrowserError(message["error"]["message"]))
        else:
            waiting.callback(message["result"])

    def kill(self) -> None:
        if self.transport is not None and not self._over:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def gone(self) -> Deferred[None]:
        end: Deferred[None] = Deferred()
        if self._over or self.transport is None:
            end.callback(None)
        else:
            self._ends.append(end)
        return end

    def processEnded(self, reason: Failure) -> None:
        self._over = True
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if not each.called:
                each.errback(BrowserError(f"chromium ended: {self._complaint()}"))
        for end in self._ends:
            end.callback(None)

    def _complaint(self) -> str:
        return self._said.decode(errors="replace").strip()
