"""``examples/lines``: what it keeps for connections that do not read, and for how long."""

from __future__ import annotations

import gc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import FakeSocket
from twbridge.errors import NotReady


def load() -> ModuleType:
    """The module, which is no part of any package."""
    path = Path(__file__).parent.parent / "examples" / "lines" / "twbridge_lines.py"
    spec = spec_from_file_location("twbridge_lines", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LinesTests(SynchronousTestCase):
    """Connections of the plugin."""

    def setUp(self) -> None:
        self.module = load()
        self.clock = Clock()
        self.plugin: Any = self.module.Lines()
        self.sent: list[tuple[str, Deferred[None]]] = []

    def send(self, text: str) -> Deferred[None]:
        self.sent.append((text, Deferred()))
        return self.sent[-1][1]

    def connect(self, *, reading: bool = True) -> FakeSocket:
        """A connection."""
        socket = FakeSocket(self.clock, IPv4Address("TCP", "127.0.0.1", 50_000))
        socket.reading = reading
        protocol = self.module.LineConnection(self.plugin.connections, self.send, self.clock)
        socket.protocol = protocol
        protocol.makeConnection(socket)
        return socket

    def arrive(self, *bodies: bytes) -> None:
        for body in bodies:
            self.plugin.arrived(SimpleNamespace(body=body))

    def lines(self, socket: FakeSocket) -> list[bytes]:
        """All that it reads, until there is no more."""
        found = b""
        while socket.buffer or socket.received:
            socket.drain()
            found += socket.take()
        return found.splitlines()

    def test_a_burst_in_one_turn_is_kept_for_who_reads(self) -> None:
        socket = self.connect(reading=False)
        bodies = [b"%02d" % number + b"z" * 15_998 for number in range(18)]
        self.arrive(*bodies)
        self.assertEqual(self.lines(socket), bodies)
        self.clock.advance(61)
        self.assertIsNone(socket.lost)

    def test_more_than_that_is_left_out_and_told(self) -> None:
        socket = self.connect(reading=False)
        bodies = [b"%02d" % number + b"z" * 15_998 for number in range(40)]
        self.arrive(*bodies)
        *found, told = self.lines(socket)
        self.assertEqual(found, bodies[: len(found)])
        left = 40 - len(found)
        self.assertEqual(told, b"! left out, you read too slowly: %d" % left)
        self.arrive(b"on")
        self.assertEqual(self.lines(socket), [b"on"])

    def test_who_reads_nothing_is_cut_off(self) -> None:
        socket = self.connect(reading=False)
        self.arrive(*[b"z" * 16_000] * 40)
        self.clock.advance(59)
        self.assertIsNone(socket.lost)
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertIsNotNone(socket.lost)
        self.assertEqual(self.plugin.connections, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_takes_what_the_transport_has_within_a_minute_each_time_is_not(self) -> None:
        socket = self.connect(reading=False)
        self.arrive(*[b"z" * 16_000] * 40)
        for _ in range(5):
            self.clock.advance(59)
            socket.drain()
        self.assertIsNone(socket.lost)
        self.assertIn(b"! left out", socket.take())

    def test_one_that_is_ended_gets_no_more_and_has_five_seconds(self) -> None:
        socket = self.connect(reading=False)
        self.arrive(*[b"z" * 16_000] * 7)
        socket.deliver(b"q" * 20_000)
        self.assertEqual(self.plugin.connections, set())
        self.arrive(b"more")
        self.assertTrue(socket.buffer.endswith(b"z\n! a line is too long\n"))
        self.assertEqual(socket.buffer.count(b"\n"), 8)
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertIsNotNone(socket.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_too_many_is_told_and_hung_up_on(self) -> None:
        self.patch(self.module, "CONNECTIONS", 1)
        self.connect()
        socket = self.connect()
        self.assertEqual(self.lines(socket), [b"! too many connections"])
        self.clock.advance(0)
        self.assertIsNotNone(socket.lost)
        self.assertEqual(len(self.plugin.connections), 1)

    def test_the_next_line_is_read_when_the_one_before_is_confirmed_or_refused(self) -> None:
        socket = self.connect()
        socket.deliver(b"one\ntwo\nthree\n")
        self.assertFalse(socket.accepting)
        self.sent[-1][1].callback(None)
        self.sent[-1][1].errback(NotReady())
        self.assertEqual([text for text, _ in self.sent], ["one", "two", "three"])
        (told,) = self.lines(socket)
        self.assertEqual(told, b"! not sent: " + NotReady().public.encode())
        self.sent[-1][1].errback(ValueError("of another listener"))
        self.assertTrue(socket.accepting)
        del self.sent[:]
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_nothing_is_sent_of_one_that_was_ended_meanwhile(self) -> None:
        socket = self.connect(reading=False)
        socket.deliver(b"one\ntwo\n")
        (connection,) = self.plugin.connections
        connection.end("the bridge stops")
        self.sent[0][1].errback(NotReady())
        self.assertEqual([text for text, _ in self.sent], ["one"])
        self.assertEqual(socket.buffer, b"! the bridge stops\n")
        self.clock.advance(5)
