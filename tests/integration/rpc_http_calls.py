"""Calls over HTTP: ``POST /api/call/<task>``."""

from __future__ import annotations

import http.client
import json
import socket
from typing import NamedTuple

from twisted.internet import reactor

from tests.integration.rabbitmq import in_thread
from tests.integration.rpc_bridge import RpcBridgeCase
from twbridge.amqp import Link
from twbridge.rpc.inspection import ask_workers

SECONDS = 15.0
JSON = "application/json"
#: Bytes of the largest body that a bridge takes by default.
MESSAGE = 1024 * 1024


class Answered(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    fields: dict[str, str]

    @property
    def code(self) -> str:
        """Of an error."""
        return str(json.loads(self.body)["code"])


class HttpCalls(RpcBridgeCase):
    """What an HTTP client may rely on."""

    async def post(
        self,
        task: str,
        body: bytes = b"null",
        kind: str | None = JSON,
        /,
        method: str = "POST",
        **fields: str,
    ) -> Answered:
        """One request, on a connection of its own."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if kind is not None:
            headers["Content-Type"] = kind
        return await in_thread(self._post, method, self.name(task), body, headers)

    def _post(self, method: str, task: str, body: bytes, headers: dict[str, str]) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.bridge.port, timeout=SECONDS)
        try:
            connection.request(method, f"/api/call/{task}", body, headers)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, answer.read(), fields)
        finally:
            connection.close()

    async def test_200_is_the_result_with_its_type(self) -> None:
        for kind, body, wanted in (
            (JSON, b'[1, 2.50, "\\u00e9", 9007199254740993]', "application/json"),
            ("text/plain; charset=utf-8", "é👋".encode(), "text/plain; charset=utf-8"),
            ("application/octet-stream", b"\x00\xff", "application/octet-stream"),
            ("application/msgpack", b"\x93\x01\x02\xc0", "application/msgpack"),
        ):
            answer = await self.post("echo", body, kind, Twbridge_Timeout="10")
            self.assertEqual((answer.status, answer.fields["content-type"]), (200, wanted))
            if kind == JSON:
                self.assertEqual(answer.body.decode(), '[1,2.5,"é",9007199254740993]')
            else:
                self.assertEqual(answer.body, body)
            self.assertEqual(
                answer.fields["content-security-policy"], "default-src 'none'; sandbox"
            )
        for given in (None, JSON):
            answer = await self.post("echo", b"", given)
            self.assertEqual((answer.status, answer.body), (200, b"null"))
        answer = await self.post("pages", b"2")
        self.assertEqual((answer.status, answer.body), (200, b"2"))

    async def test_each_status(self) -> None:
        idle = (await self.idle()).removeprefix(self.prefix)
        large = b'"%b"' % (b"x" * MESSAGE)
        for status, code, answer in (
            (400, "bad_frame", await self.post("echo", Twbridge_Timeout="soon")),
            (400, "bad_frame", await self.post("echo", Twbridge_Timeout="3601")),
            (403, "forbidden", await self.post("echo", Origin="https://evil.example")),
            (404, "not_found", await self.post("nobody")),
            (405, "bad_frame", await self.post("echo", method="PUT")),
            (413, "too_large", await self.post("echo", large)),
            (
                415,
                "bad_frame",
                await self.post("echo", b"a=b", "application/x-www-form-urlencoded"),
            ),
            (415, "bad_frame", await self.post("pickled", b"x", "application/x-python-pickle")),
            (422, "worker_error", await self.post("fails", b'"secret"')),
            (422, "worker_error", await self.post("echo", b"{not json")),
            (422, "bad_destination", await self.post("%00")),
            (504, "call_expired", await self.post(idle, Twbridge_Timeout="0.3")),
            (504, "timeout", await self.post("spins", b"60", Twbridge_Timeout="1.5")),
        ):
            self.assertEqual((answer.status, answer.code), (status, code), answer)
            self.assertNotIn(b"secret", answer.body)
        for task, body in (("echo", b"{not json"), ("add", b"[1]")):
            answer = await self.post(task, body)
            self.assertIn(b"The body is not what the task takes.", answer.body)
        answer = await self.post("fails.publicly")
        self.assertIn(b"An order has an id.", answer.body)

    async def test_a_client_that_leaves_cancels_its_call(self) -> None:
        channel, words = await self.channel()
        body = f'"{channel}"'.encode()
        head = (
            f"POST /api/call/{self.name('endless')} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        def ask() -> socket.socket:
            asking = socket.create_connection(("127.0.0.1", self.bridge.port))
            asking.sendall(head.encode() + body)
            return asking

        asking = await in_thread(ask)
        self.addCleanup(asking.close)
        link = await self.ready()
        while not await self.running(link, self.name("endless")):
            self.assertEqual(words, [])
        asking.close()
        await self.until(lambda: words == ["told"])

    async def running(self, link: Link, task: str) -> int:
        """How many calls of a task run."""
        workers = await ask_workers(link, reactor, 0.1)
        return sum(each.running for worker in workers for each in worker.tasks if each.name == task)
