"""permessage-deflate through the whole daemon: Chromium, Autobahn's client, a bomb."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateResponseAccept
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint

from tests.fake_sockets import client_frame, upgrade
from tests.integration.bridge import in_thread
from tests.integration.bridge_cases import CHAT_IN, CHAT_OUT, BridgeCase
from tests.integration.chromium import Browser
from tests.integration.proxy import Proxy, Way
from tests.integration.websocket import Client, Socket
from tests.sockets.test_deflate import MIB, OFFER, bomb

_OPEN = """
window.got = [];
window.socket = new WebSocket(`ws://${location.host}/ws`, "v1.twbridge.json");
socket.onmessage = (event) => got.push(JSON.parse(event.data));
"""


class Deflating(WebSocketClientProtocol):
    """A client that offers the extension, and hands what comes to a :class:`Socket`."""

    factory: Any

    def onOpen(self) -> None:
        self.factory.owner.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.owner.received(payload if isBinary else payload.decode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.owner.on_close(Exception(f"{code} {reason}"))


def quotes(number: int) -> list[Any]:
    """A message of some kilobytes, as there are on the web."""
    some = random.Random(number)
    return [{"price": some.random(), "name": f"row {row}", "héllo": True} for row in range(40)]


def _close(proxy: Proxy) -> Deferred[None]:
    return Deferred.fromCoroutine(proxy.close())


class DeflateTests(BridgeCase):
    """A bridge with the extension switched on."""

    timeout = 60
    toml = "[websocket]\ndeflate = true"

    async def client(self, port: int, *offers: object) -> Client:
        """A client of the JSON dialect with such offers."""
        owner, protocols = Socket(), ["v1.twbridge.json"]
        factory: Any = WebSocketClientFactory(f"ws://127.0.0.1:{port}/ws", protocols=protocols)
        factory.protocol, factory.owner, factory.noisy = Deflating, owner, False
        factory.setProtocolOptions(
            perMessageCompressionOffers=list(offers),
            perMessageCompressionAccept=PerMessageDeflateResponseAccept,
        )
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        protocol: Any = await endpoint.connect(factory)
        self.addCleanup(protocol.transport.abortConnection)
        client = Client(owner)
        client.welcome = await client.frame("welcome")
        self.assertEqual(len(protocol.websocket_extensions_in_use), len(offers))
        await client.subscribe(CHAT_OUT)
        return client

    async def test_everybody_gets_what_everybody_sends_in_fewer_bytes(self) -> None:
        offers = ((), (PerMessageDeflateOffer(),), (PerMessageDeflateOffer(True, True, True, 9),))
        clients, proxies = [], []
        for each in offers:
            proxy = await Proxy.listen(reactor, "127.0.0.1", self.bridge.port)
            self.addCleanup(_close, proxy)
            clients.append(await self.client(proxy.port, *each))
            proxies.append(proxy)
        before = [dict(proxy.carried) for proxy in proxies]
        sent = [quotes(number) for number in range(30)]
        for number, body in enumerate(sent):
            answer = await clients[number % len(clients)].publish(CHAT_IN, body)
            self.assertEqual(answer["op"], "published")
        for client in clients:
            self.assertEqual([(await client.message())["body"] for _ in sent], sent)
        down, up = (
            [now.carried[way] - was[way] for now, was in zip(proxies, before, strict=True)]
            for way in (Way.DOWN, Way.UP)
        )
        print(f"bytes down: plain, window 15, window 9: {down}; up: {up}")
        for carried in (down, up):
            self.assertLess(carried[1], 0.5 * carried[0])
            self.assertLess(carried[2], 0.6 * carried[0])

    async def test_chromium(self) -> None:
        browser = await Browser.launch(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(browser.close()))
        page = await browser.open(self.bridge.page("localhost"))
        await page.evaluate(_OPEN)
        await page.wait_for("got.length && got[0].op === 'welcome'")
        self.assertEqual(
            await page.evaluate("socket.extensions"),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        )
        subscribe = {"op": "subscribe", "destination": CHAT_OUT, "id": 1}
        await page.evaluate(f"socket.send({json.dumps(json.dumps(subscribe))})")
        await page.wait_for("got.some((each) => each.op === 'subscribed')")
        plain = await self.json(None, CHAT_OUT)
        for number in range(5):
            await plain.publish(CHAT_IN, quotes(number))
            publish = {"op": "publish", "destination": CHAT_IN, "body": quotes(-number)}
            await page.evaluate(f"socket.send({json.dumps(json.dumps(publish))})")
        await page.wait_for("got.filter((each) => each.op === 'message').length === 10")
        bodies = "got.filter((each) => each.op === 'message').map((each) => each.body)"
        heard = [(await plain.message())["body"] for _ in range(10)]
        self.assertEqual(await page.evaluate(bodies), heard)
        wanted = [quotes(number) for number in range(-4, 5)] + [quotes(0)]
        self.assertEqual(sorted(map(json.dumps, heard)), sorted(map(json.dumps, wanted)))
        self.assertEqual(page.errors, [])

    async def test_a_bomb_is_1009_and_memory_stays_flat(self) -> None:
        payload = bomb(1000 * MIB)
        before = self.bridge.resident
        for _ in range(3):
            close = await in_thread(self._throw, client_frame(2, payload, rsv=4))
            self.assertEqual(close[:4], b"\x88" + close[1:2] + (1009).to_bytes(2, "big"))
        self.assertLess(self.bridge.resident - before, 16 * MIB)

    def _throw(self, wire: bytes) -> bytes:
        """Send bytes to the raw dialect, over the extension; gives what the bridge says."""
        address = ("127.0.0.1", self.bridge.port)
        with socket.create_connection(address, timeout=10.0) as connection:
            host = f"127.0.0.1:{self.bridge.port}"
            connection.sendall(upgrade(Host=host, Sec_WebSocket_Extensions=OFFER))
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4_096)
            assert b"permessage-deflate" in head
            connection.sendall(wire)
            return connection.recv(4_096)
