"""The client on real sockets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.ssl import (
    Certificate,
    DefaultOpenSSLContextFactory,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.certificates import Authority
from tests.client.fake_bridge import FakeBridge
from twbridge.client import Client, Limits, NotConnected, connect
from twbridge.errors import BadDestination, BadFrame, ConfirmTimeout, NotReady, SettingsError

QUICK = Limits(retry_floor=0.01, retry_cap=0.02, close_seconds=0.3, connect_seconds=5.0)


class SocketCase(TestCase):
    """Tests with a bridge and clients, which are gone after the test."""

    timeout = 20

    def bridge(self, **settings: Any) -> FakeBridge:
        """A bridge that listens nowhere yet."""
        bridge = FakeBridge(**settings)
        self.addCleanup(bridge.close)
        return bridge

    def client(self, url: str | int, **settings: Any) -> Client:
        """A client of a URL, or of a port of this machine."""
        settings = {"limits": QUICK} | settings
        where = f"ws://127.0.0.1:{url}/ws" if isinstance(url, int) else url
        client = Client(reactor, where, **settings)
        self.addCleanup(client.close)
        return client

    async def until(self, holds: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it did not come true in time")
            await deferLater(cast(Any, reactor), 0.005)

    def folder(self) -> Path:
        """A folder with a path that is short enough for a Unix socket."""
        folder = tempfile.TemporaryDirectory(prefix="twb-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    async def works(self, client: Client) -> None:
        """Publish, which must succeed."""
        await client.publish("/topic/a", "x", timeout=10.0)

    async def fails(self, client: Client) -> NotConnected:
        """The first reason why there is no connection."""
        reasons: list[NotConnected] = []
        client._core._hooks = type(client._core._hooks)(on_away=reasons.append)
        connecting = client.connect()
        connecting.addErrback(lambda _: None)
        await self.until(lambda: reasons)
        return reasons[0]


class WayTests(SocketCase):
    """Each way to a bridge."""

    async def test_tcp(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        self.assertEqual(client.state, "idle")
        await self.works(client)
        self.assertEqual(client.state, "open")
        (connection,) = bridge.connections
        self.assertEqual(connection.http_request_uri, f"/ws?client={client.id}")
        self.assertEqual(connection.http_headers["host"], f"127.0.0.1:{bridge.number}")
        await client.close()
        self.assertEqual((client.state, connection.end), ("closed", 1000))

    async def test_the_host_of_an_ipv6_address_has_brackets(self) -> None:
        bridge = self.bridge()
        port = bridge.listen("::1")
        client = self.client(f"ws://[::1]:{port}/ws?a=b")
        await self.works(client)
        (connection,) = bridge.connections
        self.assertEqual(connection.http_headers["host"], f"[::1]:{port}")
        self.assertEqual(connection.http_request_uri, f"/ws?a=b&client={client.id}")

    async def test_a_unix_socket(self) -> None:
        path, bridge = self.folder() / "b.sock", self.bridge()
        bridge.listen_unix(str(path))
        client = self.client(f"ws+unix://{path}:/ws")
        await self.works(client)
        (connection,) = bridge.connections
        self.assertEqual(connection.http_headers["host"], "localhost:80")
        self.assertEqual(connection.http_request_path, "/ws")

    async def test_a_bridge_that_speaks_tls_is_verified(self) -> None:
        authority = Authority(self.folder())
        certificate, key = authority.issue("server")
        bridge = self.bridge()
        port = bridge.listen(tls=DefaultOpenSSLContextFactory(str(key), str(certificate)))
        url = f"wss://localhost:{port}/ws"
        root = trustRootFromCertificates([Certificate.loadPEM(authority.ca.read_bytes())])
        await self.works(self.client(url, tls=optionsForClientTLS("localhost", root)))
        refused = await self.fails(self.client(url))
        self.assertIn("certificate verify failed", str(refused))
        foreign = await self.fails(self.client(url, tls=optionsForClientTLS("example.org", root)))
        self.assertIsInstance(foreign, NotConnected)
        self.assertEqual(len(bridge.connections), 1)

    async def test_connect_gives_a_client_that_is_open(self) -> None:
        bridge = self.bridge()
        client = await connect(reactor, f"ws://127.0.0.1:{bridge.listen()}/ws")
        self.addCleanup(client.close)
        self.assertEqual(client.state, "open")
        self.assertIn("open", repr(client))

    async def test_a_bridge_may_compress(self) -> None:
        bridge = self.bridge()
        port = bridge.listen()
        client = self.client(port, compress=True)
        got: list[Any] = []
        await client.subscribe("/topic/a", got.append)
        await client.publish("/topic/a", "x" * 10_000)
        (connection,) = bridge.connections
        self.assertIn("permessage-deflate", connection.http_headers["sec-websocket-extensions"])
        self.assertIsNotNone(connection._perMessageCompress)
        connection.say("message", destination="/topic/a", body="y" * 10_000)
        await self.until(lambda: got)
        self.assertEqual(got[0].body, "y" * 10_000)
        plain = self.client(port)
        await self.works(plain)
        self.assertNotIn("sec-websocket-extensions", bridge.connections[-1].http_headers)

    def test_what_is_no_url_or_uuid_is_refused_at_once(self) -> None:
        for settings in (
            {"url": "http://h"},
            {"url": "ws://h", "client": "x"},
            {"url": "wss://" + "x" * 300},
        ):
            self.assertRaises(SettingsError, Client, reactor, **settings)

    async def test_the_client_may_be_named(self) -> None:
        name = "0190d6f6-6a2b-7c3e-8f00-123456789abc"
        self.assertEqual(self.client(1, client=name.upper()).id, name)


class RefusalTests(SocketCase):
    """What is told of a connection that does not come, or goes."""

    async def test_nobody_listens(self) -> None:
        bridge = self.bridge()
        port = bridge.listen()
        await bridge.close()  # type: ignore[misc]
        reason = await self.fails(self.client(port))
        self.assertIn("Connection refused", str(reason))
        self.assertGreater(reason.retry_in or 0, 0)

    async def test_there_is_no_such_socket(self) -> None:
        reason = await self.fails(self.client(f"ws+unix://{self.folder()}/none:/ws"))
        self.assertTrue(str(reason).endswith("."))

    async def test_the_handshake_is_refused(self) -> None:
        reason = await self.fails(self.client(self.bridge(status=404).listen()))
        self.assertEqual((reason.status, str(reason)), (404, "The handshake was refused: 404 No."))

    async def test_another_language_is_spoken_there(self) -> None:
        reason = await self.fails(self.client(self.bridge(subprotocol=None).listen()))
        self.assertEqual(str(reason), "The server does not speak v1.twbridge.json.")

    async def test_the_close_code_and_its_reason_are_told(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        await self.works(client)
        reasons: list[NotConnected] = []
        client._core._hooks = type(client._core._hooks)(on_away=reasons.append)
        bridge.connections[0].end_with(1012, "restart")
        await self.until(lambda: reasons)
        self.assertEqual(
            (reasons[0].closed, str(reasons[0])),
            (1012, "The bridge closed the connection (1012: restart)."),
        )
        await self.until(lambda: client.state == "open")
        bridge.connections[1].end_with(4503, "You may not.")
        await self.until(lambda: client.state == "closed")
        self.assertEqual(reasons[1].closed, 4503)
        await self.assertFailure(client.publish("/topic/a", 1), NotConnected)
        await self.assertFailure(client.subscribe("/topic/a", print), NotConnected)
        await self.assertFailure(client.connect(), NotConnected)

    async def test_a_lost_connection_is_told(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        await self.works(client)
        reasons: list[NotConnected] = []
        client._core._hooks = type(client._core._hooks)(on_away=reasons.append)
        bridge.connections[0].transport.loseConnection()
        await self.until(lambda: reasons)
        self.assertEqual(str(reasons[0]), "The connection was closed without a word.")
        await self.works(client)

    async def test_a_frame_over_the_limit_ends_the_connection(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen(), limits=Limits(receive=1_000, retry_floor=0.01))
        await self.works(client)
        bridge.connections[0].say("message", destination="/topic/a", body="x" * 1_000)
        reason = await self.reason_of(client)
        self.assertRegex(str(reason), r"^The connection was closed \(1009: [a-z]")
        self.assertEqual(reason.closed, 0)

    async def reason_of(self, client: Client) -> Any:
        await self.until(lambda: isinstance(client._core.reason, NotConnected))
        return client._core.reason

    async def test_a_compressed_bomb_ends_the_connection(self) -> None:
        bridge = self.bridge()
        limits = Limits(receive=100_000, retry_floor=0.01)
        client = self.client(bridge.listen(), compress=True, limits=limits)
        await self.works(client)
        bridge.connections[0].say("message", destination="/topic/a", body="x" * 10_000_000)
        reason = await self.reason_of(client)
        self.assertIn("1009", str(reason))

    async def test_a_bridge_that_does_not_close_is_left(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        await self.works(client)
        bridge.connections[0].onCloseFrame = lambda *_: None
        begin = time.monotonic()
        await client.close()
        self.assertGreater(time.monotonic() - begin, 0.25)
        self.assertEqual(client.state, "closed")


class TokenTests(SocketCase):
    """The token is asked for before each attempt."""

    async def told(self, token: Any) -> list[str]:
        """What two connections are told."""
        bridge = self.bridge()
        bridge.answers["auth"] = "authenticated"
        client = self.client(bridge.listen(), token=token)
        await self.works(client)
        bridge.connections[0].end_with(4401, "It is too old.")
        await self.until(lambda: len(bridge.connections) == 2)
        await self.works(client)
        return [connection.got[0]["token"] for connection in bridge.connections]

    async def test_it_may_be_text_a_function_or_a_coroutine(self) -> None:
        numbers = iter("123456")

        async def coroutine() -> str:
            return await succeed(next(numbers))

        self.assertEqual(await self.told("fixed"), ["fixed", "fixed"])
        self.assertEqual(await self.told(lambda: next(numbers)), ["1", "2"])
        self.assertEqual(await self.told(lambda: succeed(next(numbers))), ["3", "4"])
        self.assertEqual(await self.told(coroutine), ["5", "6"])

    async def test_one_that_fails_is_asked_again(self) -> None:
        bridge = self.bridge()
        tokens: list[Any] = ["good", ValueError("no network")]

        def token() -> str:
            found = tokens.pop()
            if isinstance(found, Exception):
                raise found
            return str(found)

        bridge.answers["auth"] = "error"
        client = self.client(bridge.listen(), token=token)
        reason = await self.fails(client)
        self.assertEqual(str(reason), "no network.")
        self.assertEqual(len(bridge.connections), 0)

    async def test_waiting_for_it_ends_with_the_client(self) -> None:
        token: Deferred[str] = Deferred()
        bridge = self.bridge()
        client = self.client(bridge.listen(), token=lambda: token)
        opened = client.connect()
        await self.until(lambda: client.state == "connecting")
        await client.close()
        await self.assertFailure(opened, NotReady)
        self.assertEqual(len(bridge.connections), 0)


class ClientTests(SocketCase):
    """What a program asks for."""

    async def test_what_makes_no_sense_fails_and_nothing_is_sent(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        await self.works(client)
        await self.assertFailure(client.publish("/nowhere", 1), BadDestination)
        await self.assertFailure(client.subscribe("/nowhere", print), BadDestination)
        for publish in (client.publish("/topic/a", {1}), client.publish("/topic/a", 1, id="")):
            await self.assertFailure(publish, BadFrame)
        self.assertRaises(BadDestination, client.messages, "/nowhere")
        self.assertEqual(len(bridge.connections[0].got), 1)

    async def test_ids_differ_between_processes_with_the_same_name(self) -> None:
        bridge = self.bridge()
        port = bridge.listen()
        ids = []
        for _ in range(2):
            client = self.client(port, client="0190d6f6-6a2b-7c3e-8f00-123456789abc")
            await client.publish("/topic/a", 1)
            await client.publish("/topic/a", 2)
            ids += [frame["id"] for frame in bridge.connections[-1].got]
        self.assertEqual(len(set(ids)), 4)

    async def test_an_id_may_be_given(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        await client.publish("/topic/a", 1, id="mine", mandatory=True, headers={"h": 1})
        self.assertEqual(
            bridge.connections[0].got,
            [
                {
                    "op": "publish",
                    "id": "mine",
                    "destination": "/topic/a",
                    "body": 1,
                    "headers": {"h": 1},
                    "mandatory": True,
                }
            ],
        )

    async def test_a_publish_without_an_answer_waits_as_long_as_it_is_told(self) -> None:
        bridge = self.bridge()
        del bridge.answers["publish"]
        client = self.client(bridge.listen())
        await client.connect()
        self.assertEqual(client.unconfirmed, 0)
        late = client.publish("/topic/a", 1, timeout=0.05)
        self.assertEqual(client.unconfirmed, 1)
        await self.assertFailure(late, ConfirmTimeout)

    async def test_leaving_the_block_closes_it(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge.listen())
        async with client, client.messages("/queue/q", prefetch=3) as messages:
            bridge.connections[0].say("message", destination="/queue/q", body=1, delivery_tag=1)
            async for message in messages:
                self.assertEqual(message.body, 1)
                break
        await self.until(lambda: bridge.connections[0].end == 1000)
        ops = [(frame["op"], frame.get("ack")) for frame in bridge.connections[0].got]
        self.assertEqual(ops, [("subscribe", "client"), ("ack", None), ("unsubscribe", None)])
        self.assertEqual(client.state, "closed")
