"""Bodies that nobody may have whole in memory, and clients that take them slowly."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from tests.integration.rabbitmq import Node, in_thread
from tests.integration.wsgi_cases import PLAIN, Memory, WsgiCase, children
from tests.integration.wsgi_client import Answer, Http, head

MIB = 1 << 20
#: What downloads consist of.
BLOCK = bytes(range(256))
UPLOAD, DOWNLOAD = 50 * MIB, 200 * MIB
#: MiB that a process may grow by, whatever goes through it.
GROWTH = 16.0
#: Bytes that are between the application and a client that reads nothing: what the kernel keeps
#: for both ends of the client's socket is most of it.
BETWEEN = 12 * MIB
MOUNTS = {"sized": f"body = {UPLOAD}"}
SERVED = (("sized", PLAIN, "--processes", "2"),)


class Sizes(WsgiCase):
    """Memory and queues stay small."""

    async def memory(self) -> Memory:
        """Watches the bridge, the worker and the processes of the application."""
        worker = self.workers[-1].process.pid
        await self.texts(self.ask("GET", self.path("sized", "/pid?seconds=0.2")) for _ in range(4))
        bridge = self.bridge.process
        assert bridge is not None
        apps = {f"application {number}": pid for number, pid in enumerate(children(worker))}
        return Memory({"bridge": bridge.pid, "worker": worker} | apps)

    def bounded(self, memory: Memory) -> None:
        grown = memory.grown()
        self.assertLess(max(grown.values()), GROWTH, grown)

    async def waiting(self) -> int:
        """How many messages the broker has; the memory of the bridge tells of the embedded one."""
        if not isinstance(self.node, Node):
            return 0
        rows = await in_thread(self.node.list, "queues", "name", "messages")
        return sum(row["messages"] for row in rows)

    async def test_an_upload_is_streamed(self) -> None:
        memory, block = await self.memory(), random.Random(6).randbytes(MIB)
        digest = hashlib.sha256()

        def sent() -> Answer:
            target = self.path("sized", "/digest?seconds=0.5")
            with Http(self.bridge.port) as http:
                http.send(head("POST", target, {"Content-Length": UPLOAD}))
                for number in range(UPLOAD // MIB):
                    piece = number.to_bytes(8, "big") + block[8:]
                    digest.update(piece)
                    http.send(piece)
                return http.answer()

        (text,) = await self.texts([in_thread(sent)])
        self.assertEqual(text, f"{UPLOAD} {digest.hexdigest()}")
        self.bounded(memory)

    async def test_who_reads_slowly_stops_the_application_and_nobody_else(self) -> None:
        memory = await self.memory()
        slow = Http(self.bridge.port, buffer=65_536)
        self.addCleanup(slow.close)
        pieces = await in_thread(self.begun_download, slow, "slow")
        first = next(pieces)
        self.assertEqual(await in_thread(self.fast), expected())
        given = self.given("slow")
        self.assertLess(given, BETWEEN)
        self.assertLess(await self.waiting(), 20)
        self.assertEqual(self.given("slow"), given, "it goes on though nobody reads")
        self.bounded(memory)

        def reads_on_and_leaves() -> bytes:
            read = [first]
            while sum(map(len, read)) < BETWEEN + MIB:
                read.append(next(pieces))
            slow.close()
            return b"".join(read)

        read = await in_thread(reads_on_and_leaves)
        self.assertEqual(read, (BLOCK * (len(read) // 256 + 1))[: len(read)])
        ((_, _, given_in_all),) = await self.noted("slow", "closed")
        self.assertLess(int(given_in_all), len(read) + BETWEEN)
        self.bounded(memory)

    def begun_download(self, http: Http, name: str) -> Iterator[bytes]:
        http.request("GET", self.path("sized", f"/large?size={DOWNLOAD}&name={name}"))
        answer = http.head()
        assert answer.status == 200, answer
        return http.pieces(answer)

    def fast(self) -> str:
        """Reads all of it as fast as it comes; gives its hash."""
        digest = hashlib.sha256()
        with Http(self.bridge.port) as http:
            for piece in self.begun_download(http, "fast"):
                digest.update(piece)
        return digest.hexdigest()

    def given(self, name: str) -> int:
        """How many bytes the application has given, about."""
        return int((self.folder / f"given-{name}").read_text())


def expected() -> str:
    """The hash of a download."""
    digest, block = hashlib.sha256(), BLOCK * (MIB // 256)
    for _ in range(DOWNLOAD // MIB):
        digest.update(block)
    return digest.hexdigest()
