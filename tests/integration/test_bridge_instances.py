"""The rows "Several instances" and "Client leaves"."""

from __future__ import annotations

import signal
import time

from twisted.internet.defer import Deferred, gatherResults

from tests.integration import witness
from tests.integration.bridge import Bridge, in_thread
from tests.integration.bridge_cases import CHAT, CHAT_IN, CHAT_OUT, BridgeCase, blameless
from tests.integration.rabbitmq import Node
from tests.integration.websocket import Client, Socket

MEGABYTE = 1024 * 1024
LINE = ("connection",)
"""Each bridge has two of them, one that publishes and one that consumes."""


# What there is on the broker, in one call of rabbitmqctl instead of four.
_LIST = """
    lists:foreach(fun(Row) -> io:format("~s~n", [lists:join("|", Row)]) end,
        [["exchange", N] || {resource, _, _, N} <- rabbit_exchange:list_names()] ++
        [["queue", N] || {resource, _, _, N} <- rabbit_amqqueue:list_names()] ++
        [["connection"] || _ <- rabbit_networking:connections()] ++
        [["binding", S, K, D] || {binding, {_, _, _, S}, K, {_, _, _, D}, _}
            <- rabbit_binding:list(<<"/">>)]).
"""


def topology(node: Node) -> list[tuple[str, ...]]:
    """What there is on the broker, by names that stay the same.

    But not what bridges that other tests have killed left there: it expires by itself.
    """
    lines = [line for line in node.ctl("eval", _LIST).splitlines() if line != "ok"]
    return sorted(tuple(line.split("|")) for line in lines if "twbridge.subscription." not in line)


class InstancesTests(BridgeCase):
    """Several instances on one broker."""

    async def test_a_client_on_one_reaches_a_client_on_another(self) -> None:
        other = await self.another()
        raw, json = await self.raw(other), await self.json(other, CHAT_OUT)
        here = await self.json(None, CHAT_OUT)
        self.assertNotEqual(json.welcome["instance"], here.welcome["instance"])
        await here.publish(CHAT_IN, "over there")
        self.assertEqual(await self.heard(raw), "over there")
        self.assertEqual((await json.message())["body"], "over there")
        raw.send("and back")
        for client in (here, json):
            bodies = [(await client.message())["body"] for _ in range(2 if client is here else 1)]
            self.assertEqual(bodies[-1], "and back")

    async def test_stopping_one_breaks_no_other_and_leaves_nothing_in_the_broker(self) -> None:
        here = await self.json(None, CHAT_OUT)
        route = 'exchange = [{ name = "old" }]'
        for number in (signal.SIGTERM, signal.SIGKILL):
            first = await quiet(self)
            other = await self.another("--amqp-url", self.node.url(), toml=route)
            clients = [await self.json(other, CHAT_OUT, "/topic/a.#") for _ in range(3)]
            await self.another_leaves(other, number, clients, here)
            old = ("exchange", "old")
            await like(self, sorted([*(row for row in first if row != old), old]), 15.0)

    async def another_leaves(
        self, other: Bridge, number: int, clients: list[Client], here: Client
    ) -> None:
        during = await in_thread(topology, self.node)
        self.assertIn(("exchange", "old"), during)
        self.assertEqual(during.count(LINE), 4)
        # 0 for the first signal, the signal for the second.
        self.assertIn(await in_thread(other.stop, number), (0, -signal.SIGKILL))
        for client in clients:
            code = (await client.socket.closed()).code
            self.assertEqual(code, 1001 if number == signal.SIGTERM else 1006)
        await here.publish(CHAT_IN, "still here")
        self.assertEqual((await here.message())["body"], "still here")
        await here.lives()
        self.assertEqual([frame for frame in here.frames.items if frame["op"] == "link"], [])
        blameless(other.log + other.complaints)


async def quiet(case: BridgeCase) -> list[tuple[str, ...]]:
    """The topology, when nobody but our bridge is on the broker."""
    deadline, before = time.monotonic() + 10.0, list[tuple[str, ...]]()
    # What a connection leaves goes some time after it.
    while (now := await in_thread(topology, case.node)).count(LINE) != 2 or now != before:
        case.assertLess(time.monotonic(), deadline)
        before = now
    return now


async def like(case: BridgeCase, wanted: list[tuple[str, ...]], seconds: float) -> None:
    """Wait until the broker has what it should have, no more and no less."""
    deadline = time.monotonic() + seconds
    while (now := await in_thread(topology, case.node)) != wanted:
        if time.monotonic() > deadline:
            case.assertEqual(now, wanted)


class LeavingTests(BridgeCase):
    """When clients leave, everything is as it was."""

    async def test_subscriptions_queues_and_bindings_are_what_they_were(self) -> None:
        exchange = await self.exchange("headers")  # its type is not known to the bridge
        await self.until_idle()
        before = await quiet(self)
        clients: list[Socket] = [await self.raw(listening=False) for _ in range(5)]
        for number in range(10):
            client = await self.json(
                None, CHAT_OUT, f"/topic/leaving.{number}.#", f"/exchange/{exchange}/{number}"
            )
            clients.append(client.socket)
        during = await in_thread(topology, self.node)
        ours = [row for row in during if row not in before]
        self.assertEqual(
            sorted(row[1:3] for row in ours if row[0] == "binding" and row[1]),
            sorted(
                [(CHAT, "#")]
                + [("amq.topic", f"leaving.{number}.#") for number in range(10)]
                + [(exchange, str(number)) for number in range(10)]
            ),
        )
        # One queue for the chat, one for amq.topic, ten for the exchange of unknown type.
        self.assertEqual(len([row for row in ours if row[0] == "queue"]), 12)
        for number, socket in enumerate(clients):
            if number % 2:
                socket.abort()
            else:
                await socket.leave()
        await like(self, before, seconds=20.0)
        late = await self.json(None, CHAT_OUT)
        await in_thread(witness.publish, self.node.url(), CHAT, "k", b"again")
        self.assertEqual((await late.message())["body"], "again")

    async def until_idle(self) -> None:
        """Wait until the bridge has let its queues go. Those of other tests have other names."""
        deadline = time.monotonic() + 15.0
        while any(
            row[0] == "queue" and row[1].startswith("amq.gen-")
            for row in await in_thread(topology, self.node)
        ):
            self.assertLess(time.monotonic(), deadline)

    async def test_unsubscribing_ends_the_messages_and_leaves_the_others_theirs(self) -> None:
        one, two = await self.json(None, CHAT_OUT), await self.json(None, CHAT_OUT)
        await one.subscribe("/topic/kept")
        answer = await one.ask("unsubscribe", destination=CHAT_OUT)
        self.assertEqual((answer["op"], answer["destination"]), ("unsubscribed", CHAT_OUT))
        await two.publish(CHAT_IN, "not for one")
        await two.publish("/topic/kept", "for one")
        self.assertEqual((await one.message())["body"], "for one")
        self.assertEqual((await two.message())["body"], "not for one")
        again = await one.ask("unsubscribe", destination=CHAT_OUT)
        self.assertEqual(again["code"], "not_found")


class MemoryTests(BridgeCase):
    """When clients leave, memory is as it was."""

    async def test_memory_is_what_it_was(self) -> None:
        await self.come_and_go()
        await self.come_and_go()
        before = self.bridge.resident
        for _ in range(4):
            await self.come_and_go()
        # 800 clients have been there: a client that stays costs 9 KB and more.
        self.assertLess(self.bridge.resident - before, 3 * MEGABYTE)

    async def come_and_go(self, number: int = 200) -> None:
        """Many clients at once, which subscribe, get a message and leave."""
        url = self.bridge.url()
        clients = await gatherResults(
            [Deferred.fromCoroutine(Client.connect(url)) for _ in range(number)]
        )
        asked = [each.send("subscribe", destination=CHAT_OUT) for each in clients]
        for client, identity in zip(clients, asked, strict=True):
            await client.answer(identity)
        await clients[0].publish(CHAT_IN, "for all")
        for client in clients:
            await client.message()
        for client in clients:
            await client.socket.leave()
