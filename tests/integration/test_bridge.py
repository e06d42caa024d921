"""The rows "Bridge" of what must work: the whole daemon between WebSocket clients and RabbitMQ."""

from __future__ import annotations

import base64
import os
import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.integration import witness
from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BridgeCase
from tests.integration.proxy import Way
from tests.integration.websocket import SECONDS, Client

TEXT, BYTES = "text/plain; charset=utf-8", "application/octet-stream"
BODIES: dict[str, str | bytes] = {
    "latin": "héllo",
    "emoji": "👩‍👩‍👧 🇨🇭 \U0001f9d1\U0001f3fd‍🚀",
    "no utf-8": b"\xff\xfe",
    "utf-8 in a binary frame": "héllo".encode(),
    "empty text": "",
    "empty bytes": b"",
    "NUL and controls": "\x00\x01\x1f\x7f",
    "all bytes": bytes(range(256)),
    "300 KB of text": "añ😀z" * 37_500,
    "300 KB of bytes": os.urandom(300_000),
}


def as_bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


class CarryTests(BridgeCase):
    """WebSocket to AMQP, AMQP to WebSocket."""

    async def test_a_frame_on_ws_arrives_on_the_exchange_byte_for_byte(self) -> None:
        queue = await self.witness()
        client = await self.raw(listening=False)
        for body in BODIES.values():
            client.send(body)
        client.send(b"in\xffpieces" * 10, fragment=7)
        wanted = [*BODIES.values(), b"in\xffpieces" * 10]
        found = await self.collect(queue, len(wanted))
        self.assertTrue([body for _, body in found] == list(map(as_bytes, wanted)))
        kinds = [TEXT if isinstance(body, str) else BYTES for body in wanted]
        self.assertEqual([properties.content_type for properties, _ in found], kinds)
        self.assertEqual({properties.delivery_mode for properties, _ in found}, {2})
        self.assertEqual(len({properties.message_id for properties, _ in found}), len(wanted))

    async def collect(self, queue: str, number: int) -> list[tuple[Any, bytes]]:
        """So many messages of a queue."""
        found: list[tuple[Any, bytes]] = []
        deadline = time.monotonic() + 10.0
        while len(found) < number and time.monotonic() < deadline:
            found += await self.drain(queue)
        self.assertEqual(len(found), number)
        return found

    async def test_a_message_of_any_amqp_client_reaches_every_connected_client(self) -> None:
        raw = await gather([self.raw(listening=False) for _ in range(20)])
        await self.hears(raw[-1])
        json = await gather([self.json(None, CHAT_OUT) for _ in range(10)])
        messages: dict[bytes, str | bytes] = {
            b"h\xc3\xa9llo": "héllo",
            b"\xff\xfe": b"\xff\xfe",
            b"": "",
        }
        for body, message in messages.items():
            await in_thread(witness.publish, self.node.url(), CHAT, "any.key", body)
            for socket in raw:
                self.assertEqual(await self.heard(socket), message)
            for client in json:
                frame = await client.message()
                self.assertEqual(frame["routing_key"], "any.key")
                self.assertEqual(frame["destination"], CHAT_OUT)
                self.assertEqual(body_of(frame), body)

    async def test_published_is_told_only_after_the_brokers_confirm(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy))
        client = await self.json(bridge)
        self.assertEqual((await client.publish(CHAT_IN, "first"))["op"], "published")
        queue = await self.witness()
        proxy.stall(Way.DOWN)
        identity = client.send("publish", destination=CHAT_IN, body="second")
        self.assertEqual(await self.next_of(queue), b"second")  # the broker has it
        await client.lives()
        self.assertEqual(client.unread, 0)
        proxy.resume()
        self.assertEqual((await client.answer(identity))["op"], "published")
        await in_thread(bridge.close)

    async def test_frames_are_of_the_shortest_form_and_unmasked(self) -> None:
        bare = await in_thread(BareSocket, self.bridge.url())
        self.addCleanup(bare.close)
        await in_thread(until_it_hears, bare)
        for size, head in (
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ):
            body = os.urandom(size)
            answer = await in_thread(echoed, bare, body, len(head))
            self.assertEqual(answer[: len(head)], head)
            self.assertTrue(answer[len(head) :] == body)


def until_it_hears(bare: BareSocket) -> None:
    """Send markers until one comes back, and read all that were sent since: a raw client is
    subscribed at some time after the handshake.
    """
    bare.socket.settimeout(0.5)
    for number in range(20):
        bare.send(2, b"%02d" % number)
        try:
            found = bare.exactly(4)[2:]
            break
        except TimeoutError:
            continue
    else:
        raise AssertionError("it does not come back")
    bare.socket.settimeout(SECONDS)
    while found != b"%02d" % number:
        found = bare.exactly(4)[2:]


def echoed(bare: BareSocket, body: bytes, head: int) -> bytes:
    """Send it, once: what comes back."""
    bare.send(2, body)
    return bare.exactly(head + len(body))


def body_of(frame: dict[str, Any]) -> bytes:
    """The bytes that a JSON client has got."""
    if "base64" in frame:
        return base64.b64decode(frame["base64"], validate=True)
    assert isinstance(frame["body"], str), frame
    return frame["body"].encode()


def gather(coroutines: list[Any]) -> Deferred[list[Any]]:
    """The results of all of them."""
    return gatherResults([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True)


class FidelityTests(BridgeCase):
    """Bodies are exact both ways."""

    toml = "limits = { message = 24_000_000, frame = 24_000_000 }"

    async def test_raw_both_ways_text_and_binary_frames_mixed(self) -> None:
        one, two = await self.raw(), await self.raw()
        await self.hears(one)
        for name, body in BODIES.items():
            one.send(body)
            for socket in (one, two):
                got = await self.heard(socket)
                self.assertTrue(got == body and type(got) is type(body), name)

    async def test_json_both_ways_as_text_and_as_base64(self) -> None:
        one, two = await self.json(), await self.json(None, CHAT_OUT)
        queue = await self.witness()
        for name, body in BODIES.items():
            if isinstance(body, str):
                answer = await one.publish(CHAT_IN, body)
            else:
                answer = await one.publish(CHAT_IN, base64=base64.b64encode(body).decode())
            self.assertEqual(answer["op"], "published", name)
            frame = await two.message()
            self.assertEqual("base64" in frame, isinstance(body, bytes), name)
            self.assertTrue(body_of(frame) == as_bytes(body), name)
        found = [body for _, body in await self.drain(queue)]
        self.assertTrue(found == list(map(as_bytes, BODIES.values())))

    async def test_json_bodies_of_json_keep_every_digit_and_key(self) -> None:
        one, two = await self.json(), await self.json(None, CHAT_OUT)
        queue = await self.witness()
        values = ['{"b":1,"a":[1.0,1e3,-0.0,12345678901234567890123]}', "null", "[]", "0.10"]
        got: list[str | bytes] = []
        two.socket.on_message = got.append
        for value in values:
            one.socket.send(f'{{"op":"publish","destination":"{CHAT_IN}","body":{value}}}')
        await self.until(lambda: len(got) == len(values))
        for value, text in zip(values, got, strict=True):
            self.assertIn(f'"body":{value}', text)
        self.assertEqual([body.decode() for _, body in await self.drain(queue)], values)

    async def test_16_mb_with_the_limit_raised(self) -> None:
        raw, json = await self.raw(), await self.json(None, CHAT_OUT)
        queue = await self.witness()
        body = os.urandom(1_048_576) * 16
        raw.send(body)
        got = await self.heard(raw)
        self.assertTrue(got == body)
        self.assertTrue(body_of(await json.message()) == body)
        answer = await json.publish(CHAT_IN, base64=base64.b64encode(body).decode())
        self.assertEqual(answer["op"], "published")
        self.assertTrue(await raw.take() == body)
        self.assertTrue(body_of(await json.message()) == body)
        await in_thread(witness.publish, self.node.url(), CHAT, "x", body)
        self.assertTrue(await raw.take() == body)
        self.assertTrue(body_of(await json.message()) == body)
        self.assertTrue([each for _, each in await self.drain(queue)] == [body] * 3)

    async def test_over_the_limit_is_1009_and_hurts_nobody_else(self) -> None:
        raw, other = await self.raw(listening=False), await self.json(None, CHAT_OUT)
        raw.send(b"x" * 24_000_001)
        self.assertEqual((await raw.closed()).code, 1009)
        await other.publish(CHAT_IN, "after")
        self.assertEqual((await other.message())["body"], "after")


class OldNamesTests(BridgeCase):
    """The wiring of older bridges is one line."""

    toml = 'route = [{ publish = "/exchange/X/", subscribe = "/exchange/X/" }]'

    async def test_exchange_x_with_the_empty_key_is_one_line_of_configuration(self) -> None:
        client = await self.raw(listening=False)
        await self.hears(client, destination="/exchange/X/")
        queue = await self.witness("X", "")
        client.send("to the exchange X")
        self.assertEqual(await client.take(), "to the exchange X")
        await in_thread(witness.publish, self.node.url(), "X", "", b"from the exchange X")
        self.assertEqual(await client.take(), "from the exchange X")
        found = [body for _, body in await self.drain(queue)]
        self.assertEqual(found, [b"to the exchange X", b"from the exchange X"])

    async def test_the_line_may_be_a_variable_too(self) -> None:
        route = '[{"publish": "/exchange/X/", "subscribe": "/exchange/X/"}]'
        bridge = await self.another(
            environment={"TWBRIDGE_ROUTE": route, "AMQP_URL": self.node.url()}
        )
        client = await Client.connect(bridge.url())
        await client.subscribe("/exchange/X/")
        await in_thread(witness.publish, self.node.url(), "X", "", b"again")
        self.assertEqual((await client.message())["body"], "again")
        await client.socket.leave()


class RouteTests(BridgeCase):
    """A path for each kind of raw client, and what a publish that fails does to it."""

    toml = """
        [[route]]
        [[route]]
        path = "/strict"
        publish = "/queue/there.is.none"
        [[route]]
        path = "/careless"
        publish = "/queue/there.is.none"
        on_error = "ignore"
        [[route]]
        path = "/there"
        publish = "/topic/there"
        subscribe = "/topic/back.#"
        [[route]]
        path = "/back"
        publish = "/topic/back"
        subscribe = "/topic/there.#"
    """

    async def test_a_publish_that_fails_closes_with_1013(self) -> None:
        strict, other = await self.raw(path="/strict", listening=False), await self.json()
        strict.send("nowhere to go")
        closed = await strict.closed()
        self.assertEqual((closed.code, closed.reason), (1013, "No queue took the message."))
        await other.lives()

    async def test_or_is_ignored_where_the_route_says_so(self) -> None:
        careless = await self.raw(path="/careless", listening=False)
        for _ in range(3):
            careless.send("nowhere to go")
        # Subscribed to the chat, as by default; the three are refused before this can come.
        await self.hears(careless)
        json = await self.json()
        for _ in range(3):
            answer = await json.publish("/queue/there.is.none", "x")
            self.assertEqual(answer["code"], "unroutable")
        await json.publish(CHAT_IN, "still there")
        self.assertEqual(await self.heard(careless), "still there")

    async def test_the_path_decides_where_frames_go_and_come_from(self) -> None:
        there = await self.raw(path="/there", listening=False)
        back = await self.raw(path="/back", listening=False)
        await self.hears(there, destination="/topic/back")
        await self.hears(back, destination="/topic/there")
        there.send("there")
        back.send(b"and back")
        self.assertEqual(await self.heard(back), "there")
        self.assertEqual(await self.heard(there), b"and back")
