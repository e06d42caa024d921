"""``twistd -n twbridge --embedded``: a chat on a machine that has nothing else."""

from __future__ import annotations

import re
import signal
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration import witness
from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BridgeCase, blameless
from tests.integration.rabbitmq import free_ports


class EmbeddedTests(BridgeCase):
    """The bridge with its own broker; other AMQP clients may use that too."""

    url: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.bridge = Bridge("--embedded")
        try:
            cls.bridge.start()
            printed = re.search(r"embedded broker on (amqp://)(\S+):", cls.bridge.log)
            assert printed is not None, cls.bridge.log
            cls.url = f"amqp://guest:guest@{printed[2]}/%2F"
        except BaseException:
            cls.bridge.close()
            raise

    async def test_it_says_that_it_is_for_one_machine_and_keeps_nothing(self) -> None:
        self.assertRegex(
            self.bridge.log, r"embedded broker on amqp://127\.0\.0\.1:\d+: .*machine.*keeps nothing"
        )

    async def test_it_carries_chat_between_clients(self) -> None:
        raw, json = await self.raw(), await self.json(None, CHAT_OUT)
        raw.send("from raw, héllo")
        raw.send(b"\xff\xfe")
        self.assertEqual(
            [await self.heard(raw), await raw.take()], ["from raw, héllo", b"\xff\xfe"]
        )
        self.assertEqual((await json.message())["body"], "from raw, héllo")
        self.assertEqual((await json.message())["base64"], "//4=")
        line = {"name": "Ada", "text": "👋", "time": "2024-01-01T00:00:00Z"}
        self.assertEqual((await json.publish(CHAT_IN, line))["op"], "published")
        self.assertEqual((await json.message())["body"], line)
        answer = await json.publish("/topic/nobody", "x", mandatory=True)
        self.assertEqual(answer["code"], "unroutable")
        answer = await json.publish("/exchange/there.is.none/x", "x")
        self.assertEqual(answer["code"], "not_found")

    async def test_pika_exchanges_messages_with_a_client_by_the_printed_port(self) -> None:
        json = await self.json(None, CHAT_OUT)
        queue = await in_thread(self.bound_queue)
        await in_thread(witness.publish, self.url, CHAT, "from.pika", b"hello from pika")
        frame = await json.message()
        self.assertEqual((frame["routing_key"], frame["body"]), ("from.pika", "hello from pika"))
        self.assertEqual((await json.publish(CHAT_IN, "hello pika"))["op"], "published")
        found = await in_thread(witness.drain, self.url, queue)
        self.assertEqual([body for _, body in found], [b"hello from pika", b"hello pika"])
        self.assertEqual(found[1][0].app_id, "twbridge")
        await in_thread(witness.delete, self.url, queue)

    def bound_queue(self) -> str:
        with witness.channel(self.url) as channel:
            name = str(channel.queue_declare("", exclusive=False).method.queue)
            channel.queue_bind(name, CHAT, "#")
            return name

    async def test_a_page_and_its_health_are_served(self) -> None:
        for path, word in (("/", "twbridge chat"), ("/healthz", "alive"), ("/readyz", "ready")):
            answer = await in_thread(self.bridge.get, path)
            self.assertEqual(answer.status, 200)
            self.assertIn(word, answer.body)


class EmbeddedPortTests(TestCase):
    """Where it listens, and its end."""

    timeout = 30

    def start(self, *options: str, **settings: Any) -> Bridge:
        bridge = Bridge("--embedded", *options, **settings)
        self.addCleanup(bridge.close)
        bridge.start()
        return bridge

    def test_two_on_one_machine_take_different_ports_and_end_with_0(self) -> None:
        one, two = self.start(), self.start()
        ports = [
            re.findall(r"embedded broker on amqp://\S+:(\d+):", each.log) for each in (one, two)
        ]
        self.assertNotEqual(*ports)
        bare = BareSocket(one.url())
        self.addCleanup(bare.close)
        for bridge, number in ((one, signal.SIGINT), (two, signal.SIGTERM)):
            bridge.send_signal(number)
            if bridge is one:
                self.assertEqual(bare.close_frame().code, 1001)
                bare.send(8, b"\x03\xe9")
            self.assertEqual(bridge.wait(), 0)
            blameless(bridge.log + bridge.complaints)

    def test_the_port_of_the_settings_is_taken_or_refused_in_one_line(self) -> None:
        port = free_ports(1)[0]
        toml = f'embedded = {{ listen = "127.0.0.1:{port}" }}'
        bridge = self.start(toml=toml)
        self.assertIn(f"embedded broker on amqp://127.0.0.1:{port}", bridge.log)
        late = Bridge("--embedded", toml=toml)
        self.addCleanup(late.close)
        late.launch()
        self.assertEqual(late.wait(), 1)
        self.assertRegex(late.complaints, rf"^twbridge: embedded\.listen: .*{port}.* in use\n$")
