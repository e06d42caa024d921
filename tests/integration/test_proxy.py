"""The proxy's faults are the ones it names."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.integration.proxy import Proxy, Way

clock: Any = IReactorTime(reactor)


class Echo(Protocol):
    def __init__(self, ends: list[Deferred[None]]) -> None:
        self.end: Deferred[None] = Deferred()
        ends.append(self.end)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.end.callback(None)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Ear(Protocol):
    """Collects what arrives, and why it ended."""

    def __init__(self) -> None:
        self.heard = b""
        self.news: DeferredQueue[None] = DeferredQueue()
        self.end: Deferred[BaseException] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.news.put(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end.callback(cast(Exception, reason.value))

    def say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    async def until(self, count: int) -> bytes:
        while len(self.heard) < count:
            await self.news.get()
        return self.heard


class ProxyTests(TestCase):
    timeout = 10

    async def ready(self) -> Ear:
        """An echo server, a proxy before it, and a client through both."""
        ends: list[Deferred[None]] = []
        factory = Factory.forProtocol(lambda: Echo(ends))
        self.server = clock.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.server.stopListening)
        proxy = self.proxy = await Proxy.listen(reactor, "127.0.0.1", self.server.getHost().port)
        self.addCleanup(lambda: gatherResults(ends))
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.close()))
        return await self.connect()

    async def connect(self) -> Ear:
        where = HostnameEndpoint(reactor, "127.0.0.1", self.proxy.port)
        ear = await where.connect(Factory.forProtocol(Ear))
        assert isinstance(ear, Ear)
        return ear

    async def test_it_carries_bytes_both_ways_and_counts_them(self) -> None:
        ear = await self.ready()
        ear.say(b"x" * 300_000)
        self.assertEqual(await ear.until(300_000), b"x" * 300_000)
        self.assertEqual(self.proxy.carried, {Way.UP: 300_000, Way.DOWN: 300_000})
        self.assertEqual(self.proxy.accepted, 1)

    async def test_latency_counts_in_both_directions_and_keeps_the_order(self) -> None:
        ear = await self.ready()
        self.proxy.latency = 0.05
        before = clock.seconds()
        ear.say(b"a")
        await deferLater(clock, 0.01, lambda: ear.say(b"b"))
        self.assertEqual(await ear.until(2), b"ab")
        self.assertGreaterEqual(clock.seconds() - before, 0.1)

    async def test_a_stall_holds_one_way_back_and_resuming_loses_nothing(self) -> None:
        for way in (Way.UP, Way.DOWN):
            ear = await self.ready()
            self.proxy.stall(way)
            ear.say(b"hello")
            while way is Way.DOWN and self.proxy.carried[Way.UP] < 5:
                await deferLater(clock, 0.001, lambda: None)
            await deferLater(clock, 0.05, lambda: None)
            self.assertEqual(ear.heard, b"")
            self.assertEqual(self.proxy.carried[Way.UP], 0 if way is Way.UP else 5)
            self.proxy.resume()
            self.assertEqual(await ear.until(5), b"hello")

    async def test_a_stall_is_felt_as_back_pressure(self) -> None:
        ear = await self.ready()
        self.proxy.stall()
        ear.say(b"x" * 20_000_000)
        await deferLater(clock, 0.05, lambda: None)
        self.assertLess(sum(self.proxy.carried.values()), 1_000_000)
        self.proxy.resume()
        self.assertEqual(len(await ear.until(20_000_000)), 20_000_000)

    async def test_it_cuts_after_exactly_so_many_bytes(self) -> None:
        ear = await self.ready()
        self.proxy.cut_after(1000, Way.UP)
        ear.say(b"x" * 5000)
        self.assertIsInstance(await ear.end, ConnectionLost)
        self.assertEqual(self.proxy.carried[Way.UP], 1000)
        again = await self.connect()
        again.say(b"y")
        self.assertEqual(await again.until(1), b"y")

    async def test_a_reset_is_not_a_clean_end(self) -> None:
        ear = await self.ready()
        ear.say(b"x")
        await ear.until(1)
        self.proxy.reset()
        self.assertIsInstance(await ear.end, ConnectionLost)

    async def test_a_stall_hides_the_end_of_a_connection_until_it_is_over(self) -> None:
        ear = await self.ready()
        self.proxy.stall()
        assert ear.transport is not None
        ear.transport.loseConnection()
        await ear.end
        await deferLater(clock, 0.05, lambda: None)
        self.assertEqual(len(self.proxy.pairs), 1)
        (pair,) = self.proxy.pairs
        self.proxy.resume()
        await pair.gone
        self.assertEqual(self.proxy.pairs, set())

    async def test_a_forsaken_server_sees_no_end(self) -> None:
        ear = await self.ready()
        ear.say(b"x")
        await ear.until(1)
        (pair,) = self.proxy.pairs
        self.proxy.forsake()
        self.assertIsInstance(await ear.end, ConnectionLost)
        await deferLater(clock, 0.05, lambda: None)
        self.assertFalse(pair.gone.called)
        self.assertTrue(pair.sides[Way.DOWN].connected)

    async def test_it_refuses_and_accepts_again_on_the_same_port(self) -> None:
        ear = await self.ready()
        port = self.proxy.port
        await self.proxy.refuse()
        with self.assertRaises(ConnectionRefusedError):
            await self.connect()
        ear.say(b"x")
        self.assertEqual(await ear.until(1), b"x", "a connection that existed lives on")
        self.proxy.accept()
        self.assertEqual(self.proxy.port, port)
        await self.connect()

    async def test_a_dead_target_ends_the_client(self) -> None:
        ear = await self.ready()
        ear.say(b"x")
        await ear.until(1)
        await self.server.stopListening()
        other = await self.connect()
        self.assertIsInstance(await other.end, ConnectionLost)
        ear.say(b"y")
        self.assertEqual(await ear.until(2), b"xy")
