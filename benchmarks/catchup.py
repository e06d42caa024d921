"""Catching up with a stream: one client reads it from its first message to the last.

A JSON client of the bridge, beside pika's blocking connection that reads the same stream. Both
have the same prefetch. Measured are messages a second, from the subscription to the last message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pika
from pamqp import commands

from benchmarks.fanout import BODY, CONTENT_TYPE
from benchmarks.meter import Meter
from benchmarks.servers import Bridge, Broker
from benchmarks.sockets import JSON_DIALECT, Client, MarkerHerd, masked_text
from benchmarks.source import call, login, publish_frames

STREAM = "bench.stream"
_BURST = 500
_MARKER = b'"op":"message"'
_DEADLINE = 120.0
_REST = 0.002


@dataclass(frozen=True)
class CatchUpRun:
    """What one run measured.

    Attributes:
        rate: Messages a second.
        cpu: Microseconds of the CPU time of the bridge, or of the process that runs pika, for one.
        cores: The cores used by ``server`` (bridge, or pika's process), ``broker``, ``load`` and
            ``others``.
    """

    rate: float
    cpu: float
    cores: dict[str, float]


@contextmanager
def filled_stream(broker: Broker, messages: int) -> Iterator[None]:
    """A stream of 100-byte messages, deleted in the end."""
    burst = publish_frames("", STREAM, BODY, CONTENT_TYPE) * _BURST
    with closing(login(broker.url)) as control:
        arguments: Any = {"x-queue-type": "stream"}
        declare = commands.Queue.Declare(queue=STREAM, durable=True, arguments=arguments)
        call(control, declare)
        for _ in range(messages // _BURST):
            control.sendall(burst)
        # The broker has read them all when it answers what comes behind them.
        call(control, declare)
        yield
        call(control, commands.Queue.Delete(queue=STREAM))


def check_stream(bridge: Bridge, messages: int, prefetch: int) -> None:
    """Read the stream once: every message must be there, in order, unchanged.

    After that all of it is in memory, for all who are measured.

    Raises:
        RuntimeError: It is not.
    """
    client = Client(bridge.address, JSON_DIALECT)
    with closing(client.socket):
        _greeted(client)
        client.socket.sendall(_subscription(prefetch))
        while (answer := json.loads(client.read_frame()))["op"] != "subscribed":
            raise RuntimeError(f"Expected subscribed, received {answer}")
        body = json.loads(BODY)
        for offset in range(messages):
            message = json.loads(client.read_frame())
            if message.get("offset") != offset or message["body"] != body:
                raise RuntimeError(f"Expected message {offset}, received {message}")


def run_bridge(bridge: Bridge, broker: Broker, messages: int, prefetch: int) -> CatchUpRun:
    """Read all of the stream as a JSON client.

    Raises:
        RuntimeError: Not every message came, or more did.
    """
    client = Client(bridge.address, JSON_DIALECT)
    _greeted(client)
    with closing(MarkerHerd([client], _MARKER)) as herd:
        meter = Meter(bridge.process, broker.process)
        client.socket.send(_subscription(prefetch))
        deadline = time.monotonic() + _DEADLINE
        while herd.total < messages and time.monotonic() < deadline:
            herd.pump(0.01)
            # Fewer and larger reads leave more of the machine to the bridge.
            time.sleep(_REST)
        usage = meter.usage()
        herd.pump(0.05)
        if herd.total != messages:
            raise RuntimeError(f"{herd.total} messages came instead of {messages}")
    return CatchUpRun(messages / usage.elapsed, usage.server / messages * 1e6, usage.cores())


def run_pika(broker: Broker, messages: int, prefetch: int, ack_every: int = 1) -> CatchUpRun:
    """Read all of the stream with pika's blocking connection, in this process.

    Args:
        broker: Where the stream is.
        messages: How many it has.
        prefetch: The same as the bridge's.
        ack_every: Acknowledge so many at once.
    """
    count = 0

    def delivered(channel: Any, method: Any, _properties: object, _body: bytes) -> None:
        nonlocal count
        count += 1
        if count % ack_every == 0:
            channel.basic_ack(method.delivery_tag, multiple=ack_every > 1)

    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    meter = Meter(broker.process, broker.process)
    channel.basic_consume(STREAM, delivered, arguments={"x-stream-offset": "first"})
    deadline = time.monotonic() + _DEADLINE
    while count < messages and time.monotonic() < deadline:
        connection.process_data_events(time_limit=1)
    usage = meter.usage()
    connection.close()
    if count != messages:
        raise RuntimeError(f"{count} messages came instead of {messages}")
    cores = usage.cores()
    # It is this process that is measured; there is no other load.
    cores["server"] = cores.pop("load")
    return CatchUpRun(messages / usage.elapsed, usage.load / messages * 1e6, cores)


def _greeted(client: Client) -> None:
    event = json.loads(client.read_frame())
    if event["op"] != "welcome":
        raise RuntimeError(f"Expected a welcome, received {event}")


def _subscription(prefetch: int) -> bytes:
    request = {
        "op": "subscribe",
        "id": "s",
        "destination": f"/stream/{STREAM}",
        "from": "first",
        "prefetch": prefetch,
    }
    return masked_text(json.dumps(request).encode())
