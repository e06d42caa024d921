"""The embedded broker answers as RabbitMQ does: the same frames to both, the answers compared.

Each scenario runs on a connection of its own. Server-made names are masked, everything else, the
texts of errors included, must be equal.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pamqp import base, commands
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.broker.client import shown
from tests.integration.argument_scenarios import SCENARIOS as ARGUMENT_SCENARIOS
from tests.integration.broker_scenarios import SCENARIOS, Step
from tests.integration.header_scenarios import SCENARIOS as HEADER_SCENARIOS
from tests.integration.letter_scenarios import SCENARIOS as LETTER_SCENARIOS
from tests.integration.limit_scenarios import SCENARIOS as LIMIT_SCENARIOS
from tests.integration.quorum_scenarios import SCENARIOS as QUORUM_SCENARIOS
from tests.integration.rabbitmq import in_thread, shared
from tests.integration.stream_scenarios import SCENARIOS as STREAM_SCENARIOS
from twbridge import wire
from twbridge.broker import EmbeddedBroker

CAPABILITIES = ("consumer_cancel_notify", "basic.nack", "authentication_failure_close")
BARRIER = commands.Channel.Flow(active=True)
#: The scenarios' exclusive queue. RabbitMQ deletes it some time after its connection has ended, so
#: on each connection it gets another name, as long as this one.
QUEUE = "parity.q"
_numbers = itertools.count()


class Peer:
    """A blocking client that writes bytes and keeps what comes."""

    def __init__(self, port: int) -> None:
        self._queue = f"par{next(_numbers):05}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=3)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = wire.FrameReader()
        self._events: list[wire.Event] = []
        self.ended = False  # by an error, in a step with a barrier

    def close(self) -> None:
        self._socket.close()

    def login(self, password: str = "guest", vhost: str = "/") -> list[str]:
        """Open the connection and channel 1; return what came after the tune."""
        self.send(wire.PROTOCOL_HEADER)
        assert self.next() is not None
        properties: dict[str, Any] = {"capabilities": dict.fromkeys(CAPABILITIES, True)}
        response = f"\0guest\0{password}"
        self.method(commands.Connection.StartOk(properties, "PLAIN", response))
        first = self.next()
        if not isinstance(first, wire.Method) or first.method.name != "Connection.Tune":
            return [_masked(first)]
        self.method(commands.Connection.TuneOk(2047, 131072, 0))
        self.method(commands.Connection.Open(vhost))
        opened = self.next()
        self.send(wire.method_frame(1, commands.Channel.Open()))
        return [_masked(opened), _masked(self.next())]

    def method(self, method: base.Frame) -> None:
        self.send(wire.method_frame(0, method))

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data.replace(QUEUE.encode(), self._queue.encode()))

    def next(self) -> wire.Event | None:
        """The next event; None at the end of the socket, or when nothing comes for long."""
        while not self._events:
            try:
                data = self._socket.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                return None
            self._events += self._reader.receive(data)
        return self._events.pop(0)

    def line(self) -> str:
        """The next event, as it is compared."""
        return _masked(self.next()).replace(self._queue, QUEUE)

    def wait(self, step: Step) -> str:
        deadline = time.monotonic() + 3
        while True:
            self.send(step.data)
            line = self.line()
            if line == step.until or time.monotonic() > deadline:
                return line
            time.sleep(0.005)

    def step(self, step: Step) -> list[str]:
        """Send, and return what answers."""
        if step.until:
            return [self.wait(step)]
        if step.events is not None:
            self.send(step.data)
            # A quorum queue delivers and confirms in any order.
            return sorted([self.line() for _ in range(step.events)], key=_is_delivery)
        self.send(step.data + wire.method_frame(1, BARRIER))
        lines: list[str] = []
        while True:
            line = self.line()
            if line == "channel.flowok True":
                return lines
            lines.append(line)
            if line.startswith(("channel.close ", "connection.close", "end")):
                self.ended = True
                return lines


def _is_delivery(line: str) -> bool:
    return line.startswith("deliver ")


def _masked(event: wire.Event | None) -> str:
    if event is None:
        return "end"
    line = shown(event)
    if isinstance(event, wire.Content):
        method = {name: value for name, value in event.method if name != "reply_text"}
        line = f"{line} {method} {_in_order(event.properties)}"
    elif isinstance(event, wire.Confirm):
        # Whether a run of them is joined is a matter of timing.
        line = line.removesuffix(" multiple")
    elif isinstance(event, wire.Delivery):
        line = f"{line} {event.exchange} {event.routing_key} {_in_order(event.properties)}"
    elif isinstance(event, wire.Method) and "Close" in event.method.name:
        line = f"{line} {dict(event.method)}"
    line = re.sub(r"'time': datetime\.datetime\([^)]*\)", "'time': ...", line)
    return re.sub(r"amq\.(gen|ctag)-[\w-]{22}", r"amq.\1-...", line)


def _in_order(value: Any) -> Any:
    """The same with the keys of all tables in one order: RabbitMQ sorts some of them."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def transcript(port: int, steps: Sequence[Step]) -> list[list[str]]:
    peer = Peer(port)
    try:
        lines = [peer.login()]
        for step in steps:
            if not peer.ended:
                lines.append(peer.step(step))
        return lines
    finally:
        peer.close()


def refusals(port: int) -> list[list[str]]:
    """What those hear who may not come in."""
    found = []
    for arguments in ({"password": "wrong"}, {"vhost": "parity.no"}):
        peer = Peer(port)
        found.append(peer.login(**arguments)[:1])
        peer.close()
    return found


class ParityTests(TestCase):
    timeout = 100

    def start(self) -> Deferred[tuple[int, int]]:
        """The ports of both brokers: RabbitMQ's and ours."""

        async def started() -> tuple[int, int]:
            node = await in_thread(shared)
            broker = EmbeddedBroker(reactor)
            ours = await broker.listen(port=0)
            self.addCleanup(broker.stop)
            return node.port, ours

        return Deferred.fromCoroutine(started())

    async def test_every_scenario_reads_the_same(self) -> None:
        await self.compare(SCENARIOS)

    async def test_every_scenario_with_streams_reads_the_same(self) -> None:
        await self.compare(STREAM_SCENARIOS)

    async def test_every_scenario_with_dead_letters_reads_the_same(self) -> None:
        await self.compare(LETTER_SCENARIOS)

    async def test_every_scenario_with_limits_and_priorities_reads_the_same(self) -> None:
        await self.compare(LIMIT_SCENARIOS)

    async def test_every_scenario_with_quorum_queues_reads_the_same(self) -> None:
        await self.compare(QUORUM_SCENARIOS)

    async def test_every_scenario_with_headers_reads_the_same(self) -> None:
        await self.compare(HEADER_SCENARIOS)

    async def test_every_argument_of_a_queue_is_answered_the_same(self) -> None:
        await self.compare(ARGUMENT_SCENARIOS)

    async def compare(self, scenarios: Mapping[str, Sequence[Step]]) -> None:
        rabbit, ours = await self.start()
        different = []
        for name, steps in scenarios.items():
            expected = await in_thread(transcript, rabbit, steps)
            found = await in_thread(transcript, ours, steps)
            if found != expected:
                different.append(f"{name}\n  RabbitMQ: {expected}\n  ours:     {found}")
        self.assertEqual(different, [], "\n".join(different))

    async def test_the_unwelcome_are_told_the_same(self) -> None:
        rabbit, ours = await self.start()
        self.assertEqual(await in_thread(refusals, ours), await in_thread(refusals, rabbit))
