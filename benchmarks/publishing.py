"""Confirmed publishes: JSON clients that publish and wait for ``published``.

Each client keeps some requests under way. Measured are confirmed messages a second and the CPU
time that one of them costs the bridge.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from pamqp import commands

from benchmarks.fanout import BODY, WARM_UP
from benchmarks.meter import Meter
from benchmarks.servers import Bridge, Broker, Watched
from benchmarks.sockets import JSON_DIALECT, Client, Herd, connect_many, masked_text
from benchmarks.source import call, login

BURST = 25
UNDER_WAY = 100
"""Requests that a client has sent and that are not answered yet, at most."""
_REST = 0.002


@dataclass(frozen=True)
class PublishRun:
    """What one run measured.

    Attributes:
        rate: Confirmed messages a second.
        cpu: Microseconds of the bridge's CPU time for one of them.
        cores: The cores used by ``server``, ``broker``, ``load`` and ``others``.
    """

    rate: float
    cpu: float
    cores: dict[str, float]


def run_publishing(
    bridge: Bridge, broker: Broker, count: int, seconds: float, *, routed: bool
) -> PublishRun:
    """Publish from ``count`` JSON clients for ``seconds``.

    Args:
        bridge: What is measured.
        broker: Its broker.
        count: How many clients.
        seconds: How long, after a second of warming up.
        routed: True if a queue takes the messages (a short one in memory that drops its oldest),
            False if they go nowhere, which the broker confirms at once.

    Raises:
        RuntimeError: A publish was refused, or not answered.
    """
    key = "taken" if routed else "dropped"
    with closing(login(broker.url)) as control:
        _declare(control, bridge.exchange)
        clients = list(connect_many(bridge.address, count, JSON_DIALECT))
        burst, answer = _burst(bridge.exchange, key), 0
        for client in clients:
            answer = _first_publish(client, bridge.exchange, key)
        run, _ = measure(clients, burst, answer, (bridge.process, broker.process), seconds)
        return run


def measure(
    clients: Sequence[Client],
    burst: bytes,
    answer: int,
    processes: tuple[Watched, Watched],
    seconds: float,
) -> tuple[PublishRun, int]:
    """Send bursts from all clients for ``seconds``; what that cost, and how many were answered.

    Args:
        clients: Closed in the end.
        burst: The frames of `BURST` requests.
        answer: How many bytes the answer to each has.
        processes: What is charged for the work, and the broker.
        seconds: How long, after a second of warming up.

    Raises:
        RuntimeError: A publish was refused, or not answered.
    """
    with closing(Herd(clients)) as herd:
        sent = [0] * len(clients)
        _load(herd, sent, burst, answer, WARM_UP)
        meter, before = Meter(*processes), herd.total
        _load(herd, sent, burst, answer, seconds)
        usage, after = meter.usage(), herd.total
        _finish(herd, sent, answer)
    confirmed = (after - before) / answer
    cpu = usage.server / confirmed * 1e6
    return PublishRun(confirmed / usage.elapsed, cpu, usage.cores()), sum(sent)


def _declare(control: socket.socket, exchange: str) -> None:
    """A queue that takes what has the key ``taken``, for as long as this connection lives."""
    queue = f"{exchange}.taken"
    call(
        control,
        commands.Exchange.Declare(exchange=exchange, exchange_type="topic", durable=True),
    )
    call(
        control,
        commands.Queue.Declare(queue=queue, exclusive=True, arguments={"x-max-length": 1000}),
    )
    call(control, commands.Queue.Bind(queue=queue, exchange=exchange, routing_key="taken"))


def _request(exchange: str, key: str, number: int) -> bytes:
    request = {
        "op": "publish",
        "id": f"p{number:02}",
        "destination": f"/exchange/{exchange}/{key}",
        "body": json.loads(BODY),
    }
    return masked_text(json.dumps(request, separators=(",", ":")).encode())


def _burst(exchange: str, key: str) -> bytes:
    return b"".join(_request(exchange, key, number) for number in range(BURST))


def _first_publish(client: Client, exchange: str, key: str) -> int:
    """Publish one message, check the answer, return how many bytes its frame has."""
    welcome = json.loads(client.read_frame())
    if welcome["op"] != "welcome":
        raise RuntimeError(f"Expected a welcome, received {welcome}")
    client.socket.sendall(_request(exchange, key, 0))
    payload, size = client.read_sized_frame()
    if json.loads(payload) != {"op": "published", "id": "p00"}:
        raise RuntimeError(f"Expected published, received {payload!r}")
    return size


def _load(herd: Herd, sent: list[int], burst: bytes, answer: int, seconds: float) -> None:
    """Send a burst for every burst that was answered, for some seconds."""
    end = time.monotonic() + seconds
    ready: Sequence[int] = range(len(sent))
    while time.monotonic() < end:
        for index in ready:
            while sent[index] + BURST - herd.received[index] // answer <= UNDER_WAY:
                # A socket takes this much at once: the bridge reads, or it has too much already.
                if herd.clients[index].socket.send(burst) != len(burst):
                    raise RuntimeError("The bridge does not read its clients' requests")
                sent[index] += BURST
        ready = herd.pump(0.01)
        time.sleep(_REST)


def _finish(herd: Herd, sent: list[int], answer: int) -> None:
    """Wait for the last answers; every request must have exactly one."""
    deadline = time.monotonic() + 20
    while herd.total < sum(sent) * answer and time.monotonic() < deadline:
        herd.pump(0.1)
    if herd.received != [n * answer for n in sent]:
        raise RuntimeError(f"{sent} requests, {[n / answer for n in herd.received]} answers")
