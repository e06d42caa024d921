"""What a client can put into a publish that would hurt others, and clients that do not read."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.integration import witness
from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BridgeCase
from tests.integration.cases import outcomes
from tests.integration.rabbitmq import Node
from tests.integration.websocket import JSON, Client

MEGABYTE = 1024 * 1024


class HostilePublishTests(BridgeCase):
    """Each is refused, and neither its session nor anybody else's notices more than that.

    RabbitMQ would close a channel or a connection for most of them. The bridge's user on the
    broker may do everything but write to exchanges whose name begins with ``secret``.
    """

    user: str

    @classmethod
    def amqp_url(cls) -> str:
        cls.user = f"user-{uuid.uuid4()}"
        cls.node.ctl("add_user", cls.user, "password")
        cls.node.ctl("set_permissions", cls.user, ".*", "^(?!secret)", ".*")
        return cls.node.url(user=f"{cls.user}:password")

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.node.ctl("delete_user", cls.user)

    async def refused(self, code: str, destination: str = CHAT_IN, **fields: Any) -> None:
        """Publish it amidst the publishes of another, who must not notice."""
        client, other = await self.json(), await self.json()
        before = [other.send("publish", destination=CHAT_IN, body=n) for n in range(20)]
        fields.setdefault("body", "x")
        answer = await client.ask("publish", destination=destination, **fields)
        after = [other.send("publish", destination=CHAT_IN, body=n) for n in range(20)]
        self.assertEqual((answer["op"], answer["code"]), ("error", code), fields)
        self.assertTrue(answer["message"])
        for identity in before + after:
            self.assertEqual((await other.answer(identity))["op"], "published", fields)
        # The channel to the same exchange lives, for the offender too.
        self.assertEqual((await client.publish(CHAT_IN, "fine"))["op"], "published")
        for each in (client, other):
            self.assertEqual(each.frames.items, [], fields)
            await each.socket.leave()

    async def properties(self, code: str, **properties: Any) -> None:
        await self.refused(code, properties=properties)

    async def test_an_expiration_that_is_not_digits(self) -> None:
        for value in ("soon", "-1", "1.5", "99999999999", ""):
            await self.properties("bad_frame", expiration=value)

    async def test_a_foreign_user_id(self) -> None:
        await self.properties("forbidden", user_id="guest")

    async def test_the_reply_to_of_direct_reply(self) -> None:
        await self.properties("forbidden", reply_to="amq.rabbitmq.reply-to")
        await self.properties("forbidden", reply_to="amq.rabbitmq.reply-to.g1h2AA5yZXBseUA")

    async def test_a_delivery_mode_that_is_not_1_or_2(self) -> None:
        for value in (0, 3, 255, -1):
            await self.properties("bad_frame", delivery_mode=value)

    async def test_cc_and_bcc_of_any_type(self) -> None:
        for name in ("CC", "BCC"):
            for value in ("a", 1, ["a"], [1], {"a": 1}, None):
                await self.refused("forbidden", headers={name: value})

    async def test_headers_over_the_frame_and_headers_that_amqp_cannot_carry(self) -> None:
        await self.refused("too_large", headers={"h": "x" * 200_000})
        await self.refused("too_large", headers={f"h{n}": n for n in range(20_000)})
        await self.refused("bad_frame", headers={"h" * 300: 1})
        await self.refused("bad_frame", headers={"h": 2**70})

    async def test_properties_of_wrong_types(self) -> None:
        for properties in (
            {"priority": 256},
            {"priority": "high"},
            {"timestamp": -1},
            {"message_id": 5},
            {"cluster_id": "x"},
            {"colour": "red"},
        ):
            await self.properties("bad_frame", **properties)
        await self.properties("too_large", message_id="x" * 256)

    async def test_a_missing_an_internal_and_a_forbidden_exchange(self) -> None:
        internal = await self.exchange(internal=True)
        secret = f"secret.{uuid.uuid4()}"
        with_secret = await in_thread(declare_exchange, self.node, secret)
        self.addCleanup(lambda: in_thread(with_secret))
        await self.refused("not_found", "/exchange/there.is.none/k")
        await self.refused("forbidden", f"/exchange/{internal}/k")
        await self.refused("forbidden", f"/exchange/{secret}/k")

    async def test_a_routing_key_and_an_exchange_over_255_bytes(self) -> None:
        await self.refused("bad_destination", f"/topic/{'k' * 256}")
        await self.refused("bad_destination", f"/topic/{'%C3%A9' * 128}")
        await self.refused("bad_destination", f"/exchange/{'x' * 256}/k")
        # As long as AMQP allows, and cut within a character where RabbitMQ repeats it.
        await self.refused("not_found", f"/exchange/{'%C3%A9' * 127}/k")

    async def test_a_body_over_the_max_message_size_of_the_broker(self) -> None:
        exchange = await self.exchange()
        await in_thread(self.set_max_message_size, 1000)
        try:
            client = await self.json()
            answer = await client.publish(f"/exchange/{exchange}/k", "x")  # opens its channel
            self.assertEqual(answer["op"], "published")
        finally:
            await in_thread(self.set_max_message_size, 134_217_728)
        await self.refused("conflict", f"/exchange/{exchange}/k", body="x" * 2000)

    def set_max_message_size(self, size: int) -> None:
        self.node.ctl("eval", f"application:set_env(rabbit, max_message_size, {size}).")

    async def test_a_frame_over_the_limit_closes_its_own_session_only(self) -> None:
        client, other = await self.json(), await self.json(None, CHAT_OUT)
        client.socket.send(json.dumps({"op": "publish", "body": "x" * MEGABYTE}))
        self.assertEqual((await client.socket.closed()).code, 1009)
        await other.publish(CHAT_IN, "fine")
        self.assertEqual((await other.message())["body"], "fine")

    async def test_who_talks_nonsense_on_and_on_is_closed_with_1008(self) -> None:
        client, other = await self.json(), await self.json()
        for _ in range(100):
            client.socket.send("nonsense")
        self.assertEqual((await client.socket.closed()).code, 1008)
        await other.lives()


def declare_exchange(node: Node, name: str) -> Any:
    """Make an exchange; gives what deletes it."""
    with witness.channel(node.url()) as channel:
        channel.exchange_declare(name)

    def delete() -> None:
        with witness.channel(node.url()) as channel:
            channel.exchange_delete(name)

    return delete


class SlowReaderTests(BridgeCase):
    """A client that does not read is closed, costs little and delays nobody."""

    async def test_200_mb_go_by_a_client_that_never_reads(self) -> None:
        url = self.bridge.url()
        reading = await self.json(None, CHAT_OUT)
        stalled = await in_thread(stalled_client, url, JSON)
        late = await in_thread(stalled_client, url, None)
        for each in (stalled, late):
            self.addCleanup(each.close)
        await self.hears_markers(reading)
        before, most = self.bridge.resident, 0
        link, body = await self.ready(), "x" * 65_536
        for megabyte in range(200):
            sent = [link.publish(CHAT, "k", body.encode()) for _ in range(16)]
            self.assertEqual(await outcomes(sent), [None] * 16)
            for _ in range(16):
                self.assertTrue((await reading.message())["body"] == body)
            most = max(most, self.bridge.resident)
            if megabyte == 50:  # far more than the sockets and the limit hold
                closed = await in_thread(late.close_frame)
                self.assertEqual(closed.code, 1013, closed.reason)
        self.assertLess(most - before, 16 * MEGABYTE)
        # The one that never reads is gone too, whether it reads its close frame or not.
        await in_thread(until_gone, stalled)
        await reading.publish(CHAT_IN, "after")
        self.assertEqual((await reading.message())["body"], "after")

    async def hears_markers(self, reading: Client) -> None:
        """Make sure that the raw client's subscription, the older one, is there."""
        await self.raw()
        await reading.publish(CHAT_IN, "the last marker")
        await reading.messages.take(lambda frame: frame["body"] == "the last marker")
        reading.messages.items.clear()

    async def test_who_floods_with_pings_and_never_reads_costs_little(self) -> None:
        other = await self.json(None, CHAT_OUT)
        before = self.bridge.resident
        await in_thread(flood, self.bridge.url())
        self.assertLess(self.bridge.resident - before, 4 * MEGABYTE)
        await other.publish(CHAT_IN, "fine")
        self.assertEqual((await other.message())["body"], "fine")


def stalled_client(url: str, protocol: str | None) -> BareSocket:
    """A subscribed client that has stopped reading."""
    bare = BareSocket(url, protocol, buffer=65_536)
    if protocol is not None:
        request = {"op": "subscribe", "id": "s", "destination": CHAT_OUT}
        bare.send(1, json.dumps(request).encode())
        while b'"subscribed"' not in bare.frame()[1]:
            pass
    return bare


def until_gone(bare: BareSocket) -> None:
    """Read what the kernel holds until the connection ends."""
    bare.socket.settimeout(10.0)
    try:
        while bare.socket.recv(MEGABYTE):
            pass
    except ConnectionResetError:
        pass


def flood(url: str) -> None:
    """40 MB of pings, or as many as are taken."""
    bare = BareSocket(url, buffer=4096)
    bare.socket.settimeout(2.0)
    ping = b"\x89\xfd\0\0\0\0" + b"p" * 125
    try:
        for _ in range(40):
            bare.socket.sendall(ping * 8000)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        bare.close()
