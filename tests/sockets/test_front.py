"""The door: limits, deadlines, and who gets the socket."""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import FakeSocket, connect, upgrade
from twbridge.sockets.census import Census, Lease
from twbridge.sockets.front import Front, FrontFactory, FrontLimits
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client, Listener

PAGE = b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n"
LIMITS = FrontLimits(connections=10, connections_per_address=3, body=1_000)


class Taker(Protocol):
    """What a socket is handed to; remembers what it got."""

    lease: Lease | None = None

    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if self.lease:
            self.lease.release()


class Sides:
    """Both of the door's insides."""

    def __init__(self) -> None:
        self.admitted: list[tuple[Head, Client, Taker]] = []
        self.sites: list[Taker] = []
        self.error: Exception | None = None

    def admit(self, head: Head, client: Client, lease: Lease) -> IProtocol:
        if self.error:
            raise self.error
        taker = Taker()
        taker.lease = lease
        self.admitted.append((head, client, taker))
        return taker

    def buildProtocol(self, addr: IAddress) -> IProtocol:
        self.sites.append(Taker())
        return self.sites[-1]


class FrontTestCase(SynchronousTestCase):
    """A door with nothing behind it."""

    listener = Listener(proxies=("10.0.0.0/8",))

    def setUp(self) -> None:
        self.clock = Clock()
        self.sides = Sides()
        self.factory = FrontFactory(
            self.sides, self.sides, clock=self.clock, listener=self.listener, limits=LIMITS
        )

    def connect(self, address: str | IAddress = "192.0.2.1") -> FakeSocket:
        return connect(self.factory, self.clock, address)

    def ask(self, request: bytes, address: str | IAddress = "192.0.2.1") -> FakeSocket:
        socket = self.connect(address)
        socket.deliver(request)
        return socket

    def status(self, socket: FakeSocket) -> int:
        """The status of an answer that must be there."""
        self.clock.advance(0)
        return int(socket.received.split(b" ")[1])


class HandOverTests(FrontTestCase):
    """Who gets the socket."""

    def test_a_websocket_gets_the_socket_and_every_byte(self) -> None:
        request = upgrade() + b"\x81\x80abcd"
        socket = self.ask(request)
        taker = self.sides.admitted[0][2]
        self.assertIs(socket.protocol, taker)
        self.assertIs(taker.transport, socket)
        self.assertEqual(taker.got, request)
        socket.deliver(b"more")
        self.assertEqual(taker.got, request + b"more")

    def test_the_head_may_come_in_pieces(self) -> None:
        socket = self.connect()
        for byte in upgrade():
            socket.deliver(bytes([byte]))
        self.assertEqual(self.sides.admitted[0][2].got, upgrade())

    def test_nothing_of_the_door_stays_behind(self) -> None:
        socket = self.ask(upgrade())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.waiting, set())
        self.assertNotIsInstance(socket.protocol, Front)
        socket.lose(ConnectionDone())
        self.assertEqual((self.factory.census.total, self.factory.census.places), (0, {}))

    def test_everything_else_is_the_sites(self) -> None:
        socket = self.ask(PAGE)
        self.assertEqual(self.sites_got(), [PAGE])
        socket.deliver(b"body")
        self.assertEqual(self.sites_got(), [PAGE + b"body"])
        socket.lose(ConnectionDone())
        self.assertTrue(self.sides.sites[0].lost)
        self.assertEqual((self.factory.census.total, self.factory.census.places), (0, {}))

    def sites_got(self) -> list[bytes]:
        return [taker.got for taker in self.sides.sites]

    def test_another_upgrade_is_plain_http(self) -> None:
        self.ask(upgrade(Upgrade="h2c"))
        self.assertEqual(len(self.sides.sites), 1)

    def test_the_client_is_told(self) -> None:
        self.ask(upgrade("/ws?a=1", X_Forwarded_For="198.51.100.7"), "10.0.0.1")
        head, client, _ = self.sides.admitted[0]
        self.assertEqual(head.target, "/ws?a=1")
        self.assertEqual(client, Client("198.51.100.7", True, False, "chat.example"))

    def test_a_refusal_is_answered_and_closes(self) -> None:
        self.sides.error = Refusal(403, "No.")
        socket = self.ask(upgrade())
        self.assertEqual(self.status(socket), 403)
        self.assertTrue(socket.lost)

    def test_an_error_inside_is_logged_and_not_shown(self) -> None:
        self.sides.error = RuntimeError("secret")
        socket = self.ask(upgrade())
        self.assertEqual(self.status(socket), 500)
        self.assertNotIn(b"secret", socket.received)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class HeadLimitTests(FrontTestCase):
    """Hostile heads."""

    def test_an_endless_head_is_431_at_16_KiB(self) -> None:
        socket = self.ask(b"GET / HTTP/1.1\r\nX: " + b"a" * 16_000)
        self.assertEqual(socket.received, b"")
        socket.deliver(b"a" * 1_000)
        self.assertEqual(self.status(socket), 431)
        self.assertTrue(socket.lost)

    def test_an_endless_head_with_an_end_is_431_too(self) -> None:
        socket = self.ask(upgrade(X="a" * 20_000))
        self.assertEqual(self.status(socket), 431)

    def test_line_breaks_that_are_none_are_400(self) -> None:
        for byte in ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r", "\n", "\0"):
            socket = self.ask(upgrade(X=f"a{byte}Origin: http://evil.example"))
            self.assertEqual(self.status(socket), 400, repr(byte))
        self.assertEqual(self.sides.admitted, [])

    def test_an_empty_line_before_the_head_reaches_nobody(self) -> None:
        self.ask(b"\r\n" + PAGE)
        self.ask(b"\r\n" + upgrade())
        self.assertEqual([taker.got for taker in self.sides.sites], [PAGE])
        self.assertEqual(self.sides.admitted[0][2].got, upgrade())

    def test_a_body_after_an_upgrade_is_400(self) -> None:
        self.assertEqual(self.status(self.ask(upgrade(Content_Length="5"))), 400)

    def test_a_slow_head_is_dropped_after_5_seconds_however_it_drips(self) -> None:
        socket = self.connect()
        for byte in b"GET /":
            socket.deliver(bytes([byte]))
            self.clock.advance(0.99)
        self.assertIsNone(socket.lost)
        self.clock.advance(0.1)
        self.clock.advance(0)
        assert socket.lost
        self.assertIsInstance(socket.lost.value, ConnectionAborted)
        self.assertEqual(self.factory.census.total, 0)

    def test_a_silent_socket_is_dropped_after_5_seconds(self) -> None:
        socket = self.connect()
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_a_refused_peer_that_does_not_take_its_answer_is_dropped_too(self) -> None:
        socket = self.connect()
        socket.reading = False
        socket.deliver(b"\x00")
        self.clock.advance(4)
        self.assertIsNone(socket.lost)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_what_comes_after_a_refusal_is_ignored(self) -> None:
        socket = self.connect()
        socket.reading = False
        socket.deliver(b"\x00")
        socket.deliver(upgrade())
        self.assertEqual(self.sides.admitted, [])
        self.assertEqual(socket.buffer.count(b"HTTP/1.1"), 1)

    def test_closing_the_port_ends_those_who_wait(self) -> None:
        waiting, open_ = self.connect(), self.ask(upgrade())
        self.factory.stopFactory()
        self.clock.advance(0)
        self.assertTrue(waiting.lost)
        self.assertIsNone(open_.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BodyLimitTests(FrontTestCase):
    """Bodies of plain requests."""

    def test_an_announced_body_over_the_limit_is_413(self) -> None:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        self.assertEqual(self.status(self.ask(post % 1_001)), 413)
        self.ask(post % 1_000)
        self.assertEqual(len(self.sides.sites), 1)

    def test_an_endless_body_is_dropped(self) -> None:
        socket = self.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            socket.deliver(b"a" * 1_000)
        self.clock.advance(0)
        self.assertTrue(socket.lost)
        self.assertLess(len(self.sides.sites[0].got), 20_000)


class CensusTests(FrontTestCase):
    """Too many connections."""

    def others(self, count: int) -> list[FakeSocket]:
        return [self.ask(upgrade(), f"198.51.100.{i}") for i in range(count)]

    def test_past_the_limit_in_all_websockets_are_503(self) -> None:
        sockets = self.others(10)
        socket = self.ask(upgrade())
        self.assertEqual(self.status(socket), 503)
        self.assertIn(b"Retry-After: ", socket.received)
        sockets[0].lose(ConnectionDone())
        self.ask(upgrade())
        self.assertEqual(len(self.sides.admitted), 11)

    def test_past_it_pages_and_health_checks_are_still_answered(self) -> None:
        self.others(10)
        self.ask(PAGE)
        self.assertEqual(len(self.sides.sites), 1)

    def test_past_the_lobby_sockets_are_dropped_unheard(self) -> None:
        sockets = [self.connect(f"203.0.113.{i}") for i in range(75)]
        self.clock.advance(0)
        self.assertEqual([bool(socket.lost) for socket in sockets], [False] * 74 + [True])

    def test_past_the_limit_of_an_address_everything_is_503(self) -> None:
        sockets = [self.ask(upgrade()) for _ in range(3)]
        self.assertEqual(self.status(self.ask(upgrade())), 503)
        self.assertEqual(self.status(self.ask(PAGE)), 503)
        self.ask(upgrade(), "192.0.2.2")
        self.assertEqual(len(self.sides.admitted), 4)
        sockets[0].lose(ConnectionDone())
        self.ask(upgrade())
        self.assertEqual(len(self.sides.admitted), 5)

    def test_slow_heads_count_for_their_address(self) -> None:
        for _ in range(3):
            self.connect()
        self.assertEqual(self.status(self.ask(upgrade())), 503)

    def test_far_past_it_sockets_are_dropped_unheard(self) -> None:
        sockets = [self.connect() for _ in range(12)]
        self.clock.advance(0)
        self.assertEqual([bool(socket.lost) for socket in sockets], [False] * 11 + [True])

    def test_an_ipv6_network_is_one_address(self) -> None:
        for i in range(3):
            self.ask(upgrade(), IPv4Address("TCP", f"2001:db8::{i}", 1))
        socket = self.ask(upgrade(), IPv4Address("TCP", "2001:db8::ffff", 1))
        self.assertEqual(self.status(socket), 503)

    def test_behind_a_proxy_the_forwarded_address_counts(self) -> None:
        for _ in range(3):
            self.ask(upgrade(X_Forwarded_For="198.51.100.7"), "10.0.0.1")
        socket = self.ask(upgrade(X_Forwarded_For="198.51.100.7"), "10.0.0.2")
        self.assertEqual(self.status(socket), 503)
        for i in range(5):
            self.ask(upgrade(X_Forwarded_For=f"198.51.100.{i}"), "10.0.0.1")
        self.assertEqual(len(self.sides.admitted), 8)

    def test_a_forged_header_does_not_help(self) -> None:
        for i in range(3):
            self.ask(upgrade(X_Forwarded_For=f"198.51.100.{i}"))
        socket = self.ask(upgrade(X_Forwarded_For="198.51.100.9"))
        self.assertEqual(self.status(socket), 503)

    def test_a_unix_socket_has_no_address(self) -> None:
        for _ in range(4):
            self.ask(upgrade(), UNIXAddress(None))
        self.assertEqual(len(self.sides.admitted), 4)

    def test_listeners_may_share_a_census(self) -> None:
        census = Census(1, 1)
        factories = [
            FrontFactory(self.sides, self.sides, clock=self.clock, limits=LIMITS, census=census)
            for _ in range(2)
        ]
        connect(factories[0], self.clock, "192.0.2.1").deliver(upgrade())
        socket = connect(factories[1], self.clock, "192.0.2.2")
        socket.deliver(upgrade())
        self.assertEqual(self.status(socket), 503)

    def test_a_lease_is_released_once(self) -> None:
        census = Census(10, 10)
        lease = census.enter()
        lease.settle("192.0.2.1")
        self.assertEqual((census.total, census.of("192.0.2.1")), (1, 1))
        lease.release()
        lease.release()
        self.assertEqual((census.total, census.of("192.0.2.1")), (0, 0))


class LogTests(FrontTestCase):
    """What of a request is in the log."""

    def test_nothing_that_the_client_sent(self) -> None:
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.sides.error = Refusal(403, "No.")
        self.ask(upgrade("/ws?token=hunter2", Cookie="hunter2", Origin="hunter2"))
        self.assertNotIn("hunter2", repr(events))
