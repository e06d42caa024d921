"""Other people's STOMP clients against the whole daemon: @stomp/stompjs and stomp.py."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from pathlib import Path
from typing import Any

import bcrypt
import stomp
from stomp.exception import ConnectFailedException
from stomp.utils import Frame
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import BridgeCase
from tests.integration.chromium import Browser
from tests.integration.node_scripts import Script, install
from tests.integration.rabbitmq import in_thread

SECONDS = 10.0
FOLDER = Path(__file__).parent / "stomp"
BUNDLE = FOLDER / "node_modules" / "@stomp" / "stompjs" / "bundles" / "stomp.umd.js"


class StompCase(BridgeCase):
    timeout = 90

    async def word(self, *suffixes: str) -> str:
        """Begins the names of queues, which are deleted at the end."""
        word = f"test-{uuid.uuid4()}"
        for suffix in ("", *suffixes):
            name = f"{word}{suffix}"
            self.addCleanup(in_thread, witness.delete, self.node.url(), name)
        return word


class JavaScriptTests(StompCase):
    """@stomp/stompjs."""

    @classmethod
    def setUpClass(cls) -> None:
        install(FOLDER)
        super().setUpClass()

    async def script(self, *arguments: str) -> Script:
        script = Script(FOLDER, "live.mjs", *arguments)
        self.addCleanup(lambda: in_thread(script.close))
        return script

    async def test_everything_in_node(self) -> None:
        for path in ("/stomp", "/ws"):
            word = await self.word(".answers", ".questions")
            script = await self.script("run", self.bridge.url(path), word)
            await in_thread(script.wait_for, "done")

    async def test_everything_in_a_browser(self) -> None:
        word = await self.word(".answers", ".questions")
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        page = await browser.open(self.bridge.page())
        script = (FOLDER / "client.mjs").read_text().replace("\nexport ", "\n")
        call = f"run(StompJs.Client, {json.dumps(self.bridge.url())}, {json.dumps(word)})"
        answer = await page.send(
            "Runtime.evaluate",
            expression=f"{BUNDLE.read_text()};\n{script};\n{call}.then(() => 'done', String)",
            awaitPromise=True,
            returnByValue=True,
        )
        self.assertEqual(answer["result"].get("value"), "done")
        self.assertEqual(page.errors, [])

    async def test_it_goes_on_over_the_end_of_the_bridge(self) -> None:
        word = await self.word()
        bridge = await self.another("--amqp-url", self.amqp_url())
        script = await self.script("reconnects", bridge.url("/stomp"), word)
        await in_thread(script.wait_for, "kill")
        await in_thread(bridge.kill)
        await in_thread(script.wait_for, "start")
        await in_thread(bridge.start)
        await in_thread(script.wait_for, "done")
        self.assertEqual(await self.drain(word), [])

    async def test_wrong_passwords_are_told(self) -> None:
        for options in (("--auth", "amqp"), ("--auth", "file")):
            bridge = await secured(self, *options)
            script = await self.script("refused", bridge.url("/stomp"), "guest", "wrong")
            await in_thread(script.wait_for, '[["Bad CONNECT"],4501]')


async def secured(case: StompCase, *options: str) -> Bridge:
    """A bridge on which guest has the password guest."""
    toml = ""
    if "file" in options:
        folder = Path(case.mktemp())
        folder.mkdir()
        users = folder.absolute() / "users"
        users.write_text(f"guest:{bcrypt.hashpw(b'guest', bcrypt.gensalt(4)).decode()}\n")
        toml = f'auth = {{ file = "{users}" }}'
    return await case.another("--amqp-url", case.amqp_url(), *options, toml=toml)


class Ear(stomp.ConnectionListener):  # type: ignore[misc]
    """What a connection hears."""

    def __init__(self) -> None:
        self.messages: list[Frame] = []
        self.receipts: list[str] = []
        self.errors: list[Frame] = []
        self.over = False
        self._changed = threading.Condition()

    def _note(self, add: Any, item: Any = None) -> None:
        with self._changed:
            add(item)
            self._changed.notify_all()

    def on_message(self, frame: Frame) -> None:
        self._note(self.messages.append, frame)

    def on_receipt(self, frame: Frame) -> None:
        self._note(self.receipts.append, frame.headers["receipt-id"])

    def on_error(self, frame: Frame) -> None:
        self._note(self.errors.append, frame)

    def on_disconnected(self) -> None:
        self._note(lambda _: setattr(self, "over", True))

    def wait(self, holds: Any) -> None:
        """Wait until it holds."""
        with self._changed:
            assert self._changed.wait_for(holds, SECONDS), vars(self)


def connection_to(bridge: Bridge) -> tuple[Any, Ear]:
    """A connection of stomp.py, which asks for no subprotocol."""
    connection = stomp.WSStompConnection(
        [("127.0.0.1", bridge.port)],
        ws_path="/stomp",
        vhost="/",
        heartbeats=(1000, 1000),
        # It takes three seconds without one for the end: a busy machine may keep one back for long.
        heart_beat_receive_scale=3,
        reconnect_attempts_max=1,
    )
    ear = Ear()
    connection.set_listener("", ear)
    return connection, ear


def connected(bridge: Bridge) -> tuple[Any, Ear]:
    """A connection that is connected."""
    connection, ear = connection_to(bridge)
    connection.connect("guest", "guest", wait=True)
    return connection, ear


def refused(bridge: Bridge) -> str:
    """What who has a wrong password is told."""
    connection, ear = connection_to(bridge)
    sockets: list[Any] = []
    ear.on_connecting = lambda _: sockets.append(connection.transport.socket.sock)
    with contextlib.suppress(ConnectFailedException):
        connection.connect("guest", "wrong", wait=True)
        raise AssertionError("connected")
    ear.wait(lambda: ear.over)
    # It leaves that to the garbage collector where the server has closed.
    sockets.pop().close()
    (error,) = ear.errors
    return str(error.headers["message"])


class PythonTests(StompCase):
    """stomp.py."""

    async def test_everything(self) -> None:
        word = await self.word()
        await in_thread(_everything, self.bridge, word)

    async def test_it_comes_back_after_the_end_of_the_bridge(self) -> None:
        word = await self.word()
        bridge = await self.another("--amqp-url", self.amqp_url())
        first, ear = await in_thread(connected, bridge)
        await in_thread(_leave_unacknowledged, first, ear, word)
        await in_thread(bridge.kill)
        await in_thread(ear.wait, lambda: ear.over)
        await in_thread(bridge.start)
        second, again = await in_thread(connected, bridge)
        self.addCleanup(lambda: in_thread(second.disconnect))
        await in_thread(second.subscribe, f"/queue/{word}", "1", "client-individual")
        await in_thread(again.wait, lambda: again.messages)
        (message,) = again.messages
        self.assertEqual((message.body, message.headers["redelivered"]), ("kept", "true"))

    async def test_logins(self) -> None:
        for options in (("--auth", "amqp"), ("--auth", "file")):
            bridge = await secured(self, *options)
            connection, _ = await in_thread(connected, bridge)
            await in_thread(connection.disconnect)
            self.assertEqual(await in_thread(refused, bridge), "Bad CONNECT")


def _everything(bridge: Bridge, word: str) -> None:
    connection, ear = connected(bridge)
    connection.subscribe(f"/topic/{word}.#", id="1")
    connection.send(f"/topic/{word}.a", "grüße", receipt="r1", headers={"foo": "a:b\nc"})
    ear.wait(lambda: ear.messages and "r1" in ear.receipts)
    message = ear.messages.pop()
    assert (message.body, message.headers["foo"]) == ("grüße", "a:b\nc"), message
    queue = f"/queue/{word}"
    connection.subscribe(queue, id="2", ack="client-individual")
    transaction = connection.begin()
    connection.send(queue, "1", transaction=transaction)
    connection.send(queue, "2", transaction=transaction)
    connection.send(queue, "0", receipt="r2")
    ear.wait(lambda: ear.messages and "r2" in ear.receipts)
    assert [each.body for each in ear.messages] == ["0"]
    connection.commit(transaction, receipt="r3")
    ear.wait(lambda: len(ear.messages) == 3 and "r3" in ear.receipts)
    assert [each.body for each in ear.messages] == ["0", "1", "2"]
    connection.nack(ear.messages[0].headers["ack"])
    ear.wait(lambda: len(ear.messages) == 4)
    assert (ear.messages[3].body, ear.messages[3].headers["redelivered"]) == ("0", "true")
    for number, each in enumerate(ear.messages[1:]):
        connection.ack(each.headers["ack"], receipt=f"ack{number}")
    ear.wait(lambda: "ack2" in ear.receipts)
    connection.unsubscribe("1")
    connection.unsubscribe("2")
    # Longer than it takes to miss the heart-beats.
    assert not ear.over
    threading.Event().wait(3.2)
    assert connection.is_connected()
    connection.disconnect(receipt="bye")
    ear.wait(lambda: ear.over)
    assert "bye" in ear.receipts
    assert ear.errors == []


def _leave_unacknowledged(connection: Any, ear: Ear, word: str) -> None:
    connection.subscribe(f"/queue/{word}", id="1", ack="client-individual")
    connection.send(f"/queue/{word}", "kept", persistent="true", receipt="r")
    ear.wait(lambda: ear.messages and "r" in ear.receipts)
