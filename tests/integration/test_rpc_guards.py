"""The queues and exchanges of tasks are no client's: whatever it tries, no worker hears of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.integration import witness
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import blameless
from tests.integration.http_client import Caller, EventSource
from tests.integration.rpc_bridge import RpcBridgeCase
from tests.integration.stomp_client import Listener

#: As wide as rules can be, but for calls.
RULES = "".join(
    f"""
    [[allow]]
    operation = "{operation}"
    destination = "{destination}"
    """
    for operation in ("subscribe", "publish")
    for destination in (
        *("/exchange/*/#", "/topic/#", "/queue/*", "/amq/queue/*", "/stream/*", "/reply-queue/*"),
    )
)
REFUSED = {"forbidden", "bad_destination"}


class GuardTests(RpcBridgeCase):
    """A client that would like a worker to run the task ``counter``, or to read what others ask."""

    #: With the widest rules.
    wide: Bridge

    @classmethod
    def start_bridge(cls) -> None:
        super().start_bridge()
        cls.wide = Bridge("--amqp-url", cls.amqp_url(), toml=RULES)
        try:
            cls.wide.start()
        except BaseException:
            cls.wide.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            assert cls.wide.stop() == 0, cls.wide.log
            blameless(cls.wide.log)
        finally:
            cls.wide.close()
            super().tearDownClass()

    @property
    def queue_name(self) -> str:
        """Where the requests are."""
        return f"twbridge.task.{self.name('counter')}"

    def addresses(self, name: str) -> Iterator[str]:
        """A name in all kinds of destinations."""
        for kind in ("queue", "amq/queue", "stream", "reply-queue", "temp-queue", "exchange"):
            yield f"/{kind}/{name}"
        yield f"/exchange/{name}/{self.name('counter')}"

    def of_the_task(self) -> Iterator[str]:
        """Destinations of the task's own."""
        yield from self.addresses(self.queue_name)
        yield f"/exchange//{self.queue_name}"
        yield f"/task/{self.name('counter')}"
        yield f"/task/{quote(self.queue_name, '')}"

    def encoded(self) -> Iterator[str]:
        """The same, written in other ways."""
        name = self.queue_name
        bytewise = "".join(f"%{byte:02x}" for byte in name.encode())
        for written in (bytewise, f"%74{name[1:]}", name.replace(".", "%2E")):
            yield from self.addresses(written)

    def of_all_tasks(self) -> Iterator[str]:
        """Destinations that tasks have in common, and a queue of dead letters."""
        dead = f"twbridge.dead.{self.name('poison')}"
        for name in ("twbridge.dlx", "twbridge.workers", "twbridge.pubsub", dead):
            yield from self.addresses(name)

    async def untouched(self) -> None:
        """The task has not run, and nothing waits for it."""
        caller = await self.caller()
        self.assertEqual(await caller.call(self.name("counter"), 0), 0)
        found = await in_thread(witness.counts, self.node.url(), self.queue_name)
        self.assertEqual(found, (0, 1))

    @property
    def bridges(self) -> tuple[Bridge, Bridge]:
        """One without rules, and one with the widest."""
        return self.bridge, self.wide

    async def test_the_widest_rules_are_none_for_calls(self) -> None:
        for bridge, outcome in zip(self.bridges, (1, "forbidden"), strict=True):
            self.assertEqual(await self.call(await self.json(bridge), "echo", 1), outcome)

    async def test_nothing_is_published_there_or_read_from_there_over_websocket(self) -> None:
        for bridge in self.bridges:
            client = await self.json(bridge)
            for destination in (*self.of_the_task(), *self.encoded(), *self.of_all_tasks()):
                published = await client.publish(destination, 1)
                self.assertIn(published.get("code"), REFUSED, (destination, published))
                read = await client.ask("subscribe", destination=destination)
                self.assertIn(read.get("code"), REFUSED, (destination, read))
                await client.lives()
        await self.untouched()

    async def test_nor_over_http(self) -> None:
        for bridge in self.bridges:
            caller = Caller(bridge.port)
            self.addCleanup(caller.close)
            for destination in (f"/queue/{self.queue_name}", "/exchange/twbridge.pubsub/a"):
                told = await caller.publish({"destination": destination, "body": 1})
                self.assertEqual((told.status, told.json["code"]), (403, "forbidden"))
                source = await EventSource.open(bridge.port, destination)
                self.addCleanup(source.leave)
                self.assertEqual(source.status, 403, source.body)
        await self.untouched()

    async def test_headers_and_properties_do_not_lead_there(self) -> None:
        queue = await self.queue()
        for bridge in self.bridges:
            client = await self.json(bridge)
            unwanted: tuple[dict[str, Any], ...] = (
                {"headers": {"CC": [self.queue_name]}},
                {"headers": {"BCC": [self.queue_name]}},
                # Whoever reads the queue would put its answer there.
                {"properties": {"reply_to": self.queue_name}},
                {"properties": {"user_id": "guest"}},
            )
            for fields in unwanted:
                answer = await client.publish(f"/queue/{queue}", 1, **fields)
                self.assertEqual(answer.get("code"), "forbidden", fields)
        self.assertEqual(await self.drain(queue), [])
        await self.untouched()

    async def test_nor_does_stomp(self) -> None:
        wrong = []
        for bridge in self.bridges:
            for frame in (*self.frames(), *self.replies(), *self.letters()):
                answer = await in_thread(self.answer, bridge, frame)
                if not answer.startswith("ERROR"):
                    wrong.append((frame, answer))
        self.assertEqual(wrong, [])
        await self.untouched()

    def frames(self) -> Iterator[str]:
        """To the task itself."""
        for destination in self.of_the_task():
            yield f"SEND\ndestination:{destination}\nreceipt:r\n\n1\0"
            yield f"SUBSCRIBE\nid:1\ndestination:{destination}\nreceipt:r\n\n\0"

    def replies(self) -> Iterator[str]:
        """With the task where an answer is to go."""
        task = self.queue_name
        for reply in (task, f"/queue/{task}", f"/amq/queue/{task}", f"/reply-queue/{task}"):
            yield f"SEND\ndestination:/topic/a\nreply-to:{reply}\nreceipt:r\n\n1\0"

    def letters(self) -> Iterator[str]:
        """With queues whose dead letters would go to the task, to its workers, to its callers."""
        for exchange, key in (
            ("", self.queue_name),
            # The key that a message came with.
            ("", None),
            ("twbridge.dlx", None),
            ("twbridge.pubsub", "k"),
            ("twbridge.workers", None),
        ):
            own = f"test.{uuid.uuid4()}"
            lines = f"x-dead-letter-exchange:{exchange}\nx-message-ttl:1\nauto-delete:true\n"
            if key is not None:
                lines += f"x-dead-letter-routing-key:{key}\n"
            for destination in (f"/topic/{self.queue_name}", f"/queue/{own}"):
                subscribe = f"SUBSCRIBE\nid:1\nack:client\ndestination:{destination}\n"
                yield f"{subscribe}{lines}x-queue-name:{own}\nreceipt:r\n\n\0"
            yield f"SEND\ndestination:/queue/{own}\n{lines}receipt:r\n\n1\0"

    def answer(self, bridge: Bridge, frame: str) -> str:
        """What a frame is answered with."""
        with Listener(bridge.url()) as listener:
            listener.say("CONNECT\naccept-version:1.2\nhost:/\n\n\0")
            self.assertTrue(listener.hear(1)[0].startswith("CONNECTED"))
            listener.say(frame)
            return (listener.hear(1) or ["nothing"])[0]
