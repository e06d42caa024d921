"""The broker killed, blocked and frozen while clients chat through the whole daemon."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from tests.integration import witness
from tests.integration.bridge import Response, in_thread
from tests.integration.bridge_cases import CHAT_IN, CHAT_OUT, BreakableCase
from tests.integration.cases import pause
from tests.integration.websocket import Client, Socket

MEGABYTE = 1024 * 1024
TIMEOUT, HEARTBEAT = 3.0, 2
LATEST = 2 * TIMEOUT + 2.0
"""Seconds: a publish waits for the link, then for its confirm; after that it must be told."""


class Chatter:
    """Clients that publish without a pause, and what each was told of each line."""

    def __init__(self, clients: list[Client]) -> None:
        self.told: dict[str, str] = {}
        self.slowest = 0.0
        self._numbers = count()
        self._running = True
        self._error: Failure | None = None
        talking = [Deferred.fromCoroutine(self._talk(each)) for each in clients]
        self._over = gatherResults(talking, consumeErrors=True)
        self._over.addErrback(self._failed)

    async def _talk(self, client: Client) -> None:
        while self._running:
            line = f"line {next(self._numbers)}"
            begin = time.monotonic()
            answer = await client.publish(CHAT_IN, line, seconds=LATEST)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.told[line] = answer["code"] if answer["op"] == "error" else answer["op"]
            await pause(0.002)

    async def stop(self) -> None:
        """Stop, when everything has its answer; fails where somebody was left in silence."""
        self._running = False
        await self._over
        self.check()

    def check(self) -> bool:
        """Fail where one of them did."""
        if self._error is not None:
            assert isinstance(self._error.value, FirstError)
            self._error.value.subFailure.raiseException()
        return True

    def _failed(self, error: Failure) -> None:
        self._running = False
        self._error = error

    @property
    def confirmed(self) -> set[str]:
        return {line for line, told in self.told.items() if told == "published"}

    @property
    def codes(self) -> Counter[str]:
        return Counter(self.told.values())


class Company:
    """Who is there, and what a durable queue saw."""

    chatter: Chatter

    def __init__(
        self, queue: str, *, talking: list[Client], quiet: list[Client], raw: list[Socket]
    ) -> None:
        self.queue = queue
        self.talking = talking
        self.quiet = quiet
        self.raw = raw


class FaultCase(BreakableCase):
    """Clients in company, on a link that is quick to notice and to come back."""

    timeout = 90
    toml = f"amqp = {{ timeout = {TIMEOUT}, reconnect_cap = 0.5 }}"

    @classmethod
    def amqp_url(cls) -> str:
        return cls.node.url(query=f"heartbeat={HEARTBEAT}&connection_timeout=1000")

    async def company(self) -> Company:
        """Clients that chat, and some that only listen."""
        queue = await self.witness()
        await in_thread(self.node.sync)
        company = Company(
            queue,
            talking=[await self.json(None, CHAT_OUT) for _ in range(4)],
            quiet=[await self.json(None, CHAT_OUT) for _ in range(3)],
            raw=[await self.raw() for _ in range(3)],
        )
        company.chatter = Chatter(company.talking)
        self.addCleanup(lambda: Deferred.fromCoroutine(company.chatter.stop()))
        await self.until(lambda: len(company.chatter.confirmed) > 200)
        return company

    async def readyz(self, wanted: Callable[[Response], bool], seconds: float = 10.0) -> Response:
        return await in_thread(self.bridge.until, wanted, seconds)

    async def told(self, company: Company, state: str, seconds: float) -> None:
        """Every JSON client is told of the link, within so many seconds."""
        for client in company.talking + company.quiet:
            await client.frame("link", seconds, state=state)

    async def recovered(self, company: Company) -> None:
        """Lines flow again to everybody, who is all still there, and none was lost."""
        chatter = company.chatter
        before = len(chatter.confirmed)
        await self.until(lambda: chatter.check() and len(chatter.confirmed) > before + 200, 15.0)
        await chatter.stop()
        self.assertEqual(
            set(chatter.codes) - {"published", "not_ready", "timeout", "unknown"}, set()
        )
        self.assertLess(chatter.slowest, LATEST)
        last = f"the last of {id(company)}"
        answer = await company.quiet[0].publish(CHAT_IN, last)
        self.assertEqual(answer["op"], "published")
        for client in company.talking + company.quiet:
            await client.messages.take(lambda frame: frame["body"] == last)
        for socket in company.raw:
            await socket.inbox.take(lambda message: message == last)
        found = Counter(body.decode() for _, body in await self.drain(company.queue))
        self.assertEqual(chatter.confirmed - set(found), set(), "confirmed and lost")
        twice = [line for line in chatter.confirmed if found[line] > 1]
        self.assertEqual(twice, [], "confirmed once and there twice")

    async def own_publish_fails(self) -> None:
        """A raw client whose publish fails is closed with 1013, in time."""
        raw = await self.raw(listening=False)
        raw.send("into the void")
        closed = await raw.closed(LATEST)
        self.assertEqual(closed.code, 1013, closed)


class FaultTests(FaultCase):
    """Nobody is disconnected for it, nobody is left in silence, nothing confirmed is lost."""

    async def test_killed_and_restarted(self) -> None:
        company = await self.company()
        await in_thread(self.node.kill)
        await self.told(company, "down", 3.0)
        answer = await in_thread(self.bridge.get)
        self.assertEqual(answer.status, 200)
        self.assertRegex(answer.body, "^ready, but the broker is away: .+")
        await self.own_publish_fails()
        await self.until(lambda: company.chatter.codes["not_ready"])
        late = await self.json()
        self.assertEqual((await late.frame("link"))["state"], "down")
        begin = time.monotonic()
        refused = await late.ask("subscribe", destination="/topic/late", seconds=LATEST)
        self.assertEqual(refused["code"], "not_ready")
        # It has waited for the link, once.
        self.assertLess(time.monotonic() - begin, 2 * TIMEOUT)
        answer = await self.readyz(lambda answer: answer.status == 503, 20.0)
        self.assertRegex(answer.body, "^the broker has been away for 1[5-9] s: .+")
        await in_thread(self.node.start)
        # It greets before it is able to do anything, longer so on a busy machine.
        await in_thread(witness.counts, self.node.url(), company.queue)
        begin = time.monotonic()
        await self.told(company, "up", 10.0)
        self.assertLess(time.monotonic() - begin, 4.0)
        answer = await self.readyz(lambda answer: answer.status == 200)
        self.assertEqual(answer.body, "ready\n")
        await late.subscribe("/topic/late")
        await self.recovered(company)
        self.assertGreater(company.chatter.codes["published"], 400)

    async def test_blocked_by_a_memory_alarm_and_unblocked(self) -> None:
        company = await self.company()
        # A bridge whose publishes wait for longer than rabbitmqctl may take.
        patience = "amqp = { timeout = 30.0 }"
        calm = await self.another("--amqp-url", self.node.url(), toml=patience)
        patient = await self.json(calm)
        await in_thread(self.node.block)
        try:
            answer = await self.readyz(lambda answer: "takes no messages" in answer.body)
            self.assertEqual(answer.status, 200)
            self.assertRegex(answer.body, "memory")
            await self.own_publish_fails()
            before = self.bridge.resident
            flooding = await self.json()
            body = "x" * 65_536
            asked = [
                flooding.send("publish", destination="/topic/nobody.listens", body=body)
                for _ in range(800)
            ]
            refused = await flooding.answer(asked[0], LATEST)
            self.assertIn(refused.get("code"), ("not_ready", "timeout"))
            self.assertLess(self.bridge.resident - before, 32 * MEGABYTE)
            first = patient.send("publish", destination=CHAT_IN, body="finds out")
            says = "takes no messages"
            await in_thread(calm.until, lambda answer: says in answer.body)
            waits = patient.send("publish", destination=CHAT_IN, body="waits")
            await patient.lives()
            self.assertEqual(patient.unread, 0)
        finally:
            await in_thread(self.node.unblock)
        for identity in (first, waits):
            self.assertEqual((await patient.answer(identity))["op"], "published")
        await in_thread(calm.close)
        told = [await flooding.answer(each, 20.0) for each in asked[1:]]
        self.assertEqual(len(told), 799)
        await self.readyz(lambda answer: answer.body == "ready\n")
        await self.recovered(company)
        for client in company.talking + company.quiet:
            self.assertEqual(client.frames.items, [], "the link was up all the time")

    async def test_frozen_and_thawed(self) -> None:
        company = await self.company()
        self.node.freeze()
        try:
            begin = time.monotonic()
            await self.told(company, "down", 10.0)
            # After two heartbeats: before there were three.
            self.assertLess(time.monotonic() - begin, 3 * HEARTBEAT)
            answer = await in_thread(self.bridge.get)
            self.assertRegex(answer.body, "^ready, but the broker is away: .+")
            await self.own_publish_fails()
            codes = company.chatter.codes
            self.assertGreater(codes["not_ready"] + codes["timeout"] + codes["unknown"], 0)
        finally:
            self.node.thaw()
        await self.told(company, "up", 10.0)
        await self.recovered(company)

    async def test_a_publish_in_a_short_absence_is_confirmed_after_it(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.toml)
        queue, client = await self.witness(), await self.json(bridge, CHAT_OUT)
        await client.publish(CHAT_IN, "before")
        await proxy.refuse()
        proxy.reset()
        await client.frame("link", state="down")
        asked = [client.send("publish", destination=CHAT_IN, body=n) for n in range(20)]
        await pause(0.5)
        self.assertEqual(client.unread, 0)
        proxy.accept()
        for identity in asked:
            self.assertEqual((await client.answer(identity))["op"], "published")
        await client.frame("link", state="up")
        found = [body for _, body in await self.drain(queue)]
        self.assertEqual(found, [b"before", *(b"%d" % n for n in range(20))])
        await in_thread(bridge.close)

    async def test_all_that_a_client_sent_at_once_is_told_in_time_and_pings_too(self) -> None:
        proxy = await self.proxy()
        bridge = await self.another("--amqp-url", self.url_of(proxy), toml=self.toml)
        client = await self.json(bridge)
        await client.publish(CHAT_IN, "before")
        await proxy.refuse()
        proxy.reset()
        await client.frame("link", state="down")
        asked = [client.send("publish", destination=CHAT_IN, body=n) for n in range(20)]
        ping, begin = client.send("ping"), time.monotonic()
        for identity in [*asked, ping]:
            left = begin + LATEST - time.monotonic()
            answer = await client.answer(identity, left)
            self.assertEqual(
                answer.get("code", "pong"), "pong" if identity == ping else "not_ready"
            )
        await in_thread(bridge.close)

    async def test_an_operator_who_closes_the_connections(self) -> None:
        company = await self.company()
        await in_thread(self.node.ctl, "close_all_connections", "--global", "maintenance")
        await self.told(company, "down", 3.0)
        await self.told(company, "up", 5.0)
        await self.recovered(company)
        self.assertIn("maintenance", self.bridge.log)
