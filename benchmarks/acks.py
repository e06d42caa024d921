"""Acknowledged deliveries: clients that consume queues and acknowledge every message.

Each client has a queue of its own, with a prefetch, and acknowledges each message by itself.
Measured are acknowledged messages a second and the CPU time that one costs the server.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pamqp import commands

from benchmarks.fanout import BODY, CONTENT_TYPE, WARM_UP
from benchmarks.meter import Meter
from benchmarks.servers import Bridge, Broker, Watched
from benchmarks.sockets import (
    JSON_DIALECT,
    Client,
    MarkerHerd,
    connect_many,
    masked_texts,
)
from benchmarks.source import Source, call, login, publish_frames
from benchmarks.subjects import ask, stomp

EXCHANGE = "bench.acks"
PREFETCH = 100
WINDOW = 500
"""Messages for each client that were published and have not arrived yet: its queue never runs
dry, and stays short."""
_REST = 0.002
_DEADLINE = 20.0
_EXPIRES = 120_000


@dataclass(frozen=True)
class AcksRun:
    """What one run measured.

    Attributes:
        rate: Acknowledged messages a second.
        cpu: Microseconds of the server's CPU time for one of them.
        cores: The cores used by ``server``, ``broker``, ``load`` and ``others``.
    """

    rate: float
    cpu: float
    cores: dict[str, float]


class Acknowledging(Protocol):
    """A server whose clients consume queues and acknowledge.

    Attributes:
        name: For the tables.
        process: What is charged for the work.
        marker: What every frame with a message holds once, and no other.
    """

    @property
    def marker(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def process(self) -> Watched: ...

    def connect(self, queues: Sequence[str]) -> list[Client]:
        """Connect one client for each queue, subscribed to it."""

    def ack(self, first: bytes, queue: str) -> str:
        """The acknowledgement of a message, with ``%d`` for its number among a client's.

        Args:
            first: The client's first message, as it came.
            queue: Where it came from.

        Raises:
            ValueError: The message is not what was published, or not number 1.
        """


@dataclass(frozen=True)
class JsonAcks:
    """The JSON dialect, ``"ack":"client"``."""

    bridge: Bridge
    marker: bytes = b'"op":"message"'

    @property
    def name(self) -> str:
        """The bridge's name."""
        return self.bridge.name

    @property
    def process(self) -> Watched:
        """The bridge's process."""
        return self.bridge.process

    def connect(self, queues: Sequence[str]) -> list[Client]:
        """Connect and subscribe."""
        clients = list(connect_many(self.bridge.address, len(queues), JSON_DIALECT))
        request = {"op": "subscribe", "ack": "client", "prefetch": PREFETCH}
        ask(clients, *(request | {"destination": f"/amq/queue/{queue}"} for queue in queues))
        return clients

    def ack(self, first: bytes, queue: str) -> str:
        """An object."""
        message = json.loads(first)
        if message["body"] != json.loads(BODY) or message["delivery_tag"] != 1:
            raise ValueError(f"The first message is {first!r}")
        return f'{{"op":"ack","destination":"/amq/queue/{queue}","delivery_tag":%d}}'


@dataclass(frozen=True)
class StompAcks:
    """Web STOMP, ``ack:client-individual``."""

    broker: Broker
    marker: bytes = b"MESSAGE\n"
    name: str = "RabbitMQ Web STOMP"

    @property
    def process(self) -> Watched:
        """The broker, which does all of the work here."""
        return self.broker.process

    def connect(self, queues: Sequence[str]) -> list[Client]:
        """Connect, log in and subscribe."""
        clients = list(connect_many(self.broker.web_stomp, len(queues), "v12.stomp"))
        how = f"ack:client-individual\nprefetch-count:{PREFETCH}"
        stomp(clients, *(f"{how}\ndestination:/amq/queue/{queue}" for queue in queues))
        return clients

    def ack(self, first: bytes, queue: str) -> str:
        """A frame with the id that the message's header ``ack`` has."""
        head, _, body = first.partition(b"\n\n")
        headers = dict(line.partition(":")[::2] for line in head.decode().splitlines()[1:])
        name, _, number = headers["ack"].rpartition("@@")
        if body.rstrip(b"\0\n") != BODY or number != "1":
            raise ValueError(f"The first message is {first!r}")
        return f"ACK\nid:{name}@@%d\n\n\0"


def run_acks(subject: Acknowledging, broker: Broker, count: int, seconds: float) -> AcksRun:
    """Keep the queues of ``count`` clients supplied for ``seconds``.

    Raises:
        RuntimeError: A client has not received each message once, or a message was not
            acknowledged.
    """
    names = [f"{EXCHANGE}.{index}" for index in range(count)]
    message = publish_frames(EXCHANGE, "bench", BODY, CONTENT_TYPE)
    with closing(Source(broker.url, EXCHANGE, message)) as source, _queues(broker, names):
        clients = subject.connect(names)
        source.publish()
        acks = []
        for client, name in zip(clients, names, strict=True):
            acks.append(subject.ack(client.read_frame(), name))
            client.socket.sendall(ack_frames(acks[-1], 1, 2))
        with closing(_Consumers(clients, subject.marker, acks)) as consumers:
            source.published = 0
            _load(consumers, source, WARM_UP)
            meter, before = Meter(subject.process, broker.process), consumers.acknowledged
            _load(consumers, source, seconds)
            usage, after = meter.usage(), consumers.acknowledged
            _finish(consumers, source)
    cpu = usage.server / (after - before) * 1e6
    return AcksRun((after - before) / usage.elapsed, cpu, usage.cores())


class _Consumers(MarkerHerd):
    """Clients that acknowledge what they have received.

    Args:
        clients: Each has received and acknowledged one message.
        marker: See `Acknowledging`.
        acks: The acknowledgement of each, from `Acknowledging.ack`.
    """

    def __init__(self, clients: Sequence[Client], marker: bytes, acks: Sequence[str]) -> None:
        super().__init__(clients, marker)
        self.acknowledged = 0
        self._acks = acks
        self._done = [0] * len(clients)

    def answer(self, timeout: float) -> None:
        """Take what comes, and acknowledge it."""
        for index in self.pump(timeout):
            done, received = self._done[index], self.received[index]
            data = ack_frames(self._acks[index], done + 2, received + 2)
            if data and self.clients[index].socket.send(data) != len(data):
                raise RuntimeError("The server does not read its clients' acknowledgements")
            self._done[index] = received
            self.acknowledged += received - done


def ack_frames(text: str, first: int, stop: int) -> bytes:
    """The frames that acknowledge the messages from ``first`` to before ``stop``."""
    parts = []
    while first < stop:
        # Numbers with the same number of digits.
        end = min(stop, 10 ** len(str(first)))
        parts.append(masked_texts([(text % number).encode() for number in range(first, end)]))
        first = end
    return b"".join(parts)


def _load(consumers: _Consumers, source: Source, seconds: float) -> None:
    """Publish bursts as earlier ones arrive, for some seconds; each goes to every queue."""
    audience = len(consumers.clients)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while source.published - consumers.total / audience < WINDOW and source.offer():
            pass
        consumers.answer(0.01)
        # Let some more arrive: fewer and larger reads leave more of the machine to the server.
        time.sleep(_REST)


def _finish(consumers: _Consumers, source: Source) -> None:
    """Take the rest; each client must have had each message once."""
    while not source.flush():
        consumers.answer(0.01)
    deadline = time.monotonic() + _DEADLINE
    while any(n < source.published for n in consumers.received) and time.monotonic() < deadline:
        consumers.answer(0.1)
    consumers.answer(0.05)
    if consumers.received != [source.published] * len(consumers.clients):
        raise RuntimeError(f"{consumers.received} deliveries of {source.published} messages")


@contextmanager
def _queues(broker: Broker, names: Sequence[str]) -> Iterator[None]:
    """Queues in memory that hear of everything published; deleted in the end.

    Raises:
        RuntimeError: Once the clients were gone, something came back into one of them.
    """
    with closing(login(broker.url)) as control:
        call(
            control,
            commands.Exchange.Declare(exchange=EXCHANGE, exchange_type="topic", durable=True),
        )
        for name in names:
            arguments: Any = {"x-expires": _EXPIRES}
            call(control, commands.Queue.Declare(queue=name, arguments=arguments))
            call(control, commands.Queue.Bind(queue=name, exchange=EXCHANGE, routing_key="bench"))
        yield
        for name in names:
            _check_empty(control, name)
            call(control, commands.Queue.Delete(queue=name))


def _check_empty(control: socket.socket, name: str) -> None:
    """What a client had not acknowledged would be in the queue again, now that it is gone."""
    deadline = time.monotonic() + _DEADLINE
    while True:
        declared: Any = call(control, commands.Queue.Declare(queue=name, passive=True))
        if not declared.consumer_count:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} still has a consumer")
        time.sleep(0.02)
    if declared.message_count:
        raise RuntimeError(f"{declared.message_count} messages of {name} were not acknowledged")
