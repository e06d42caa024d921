"""Fan-out: one message to many clients, as many messages as the server takes.

Measured are deliveries a second, and the CPU time that one delivery costs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from benchmarks.meter import Meter
from benchmarks.servers import Broker
from benchmarks.sockets import Client, Herd
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import Subject

BODY = json.dumps({"name": "Ada", "text": "x" * 76}, separators=(",", ":")).encode()
"""100 bytes."""
CONTENT_TYPE = "application/json"
WINDOW = (200, 2000)
"""Messages under way at once, at least and at most: what the server delivers in a quarter of a
second, so that it never runs dry and no queue grows without end."""
WARM_UP = 1.0
_REST = 0.02


@dataclass(frozen=True)
class FanoutRun:
    """What one run measured.

    Attributes:
        rate: Deliveries a second.
        cpu: Microseconds of the server's CPU time for one delivery.
        frame: Bytes of a frame.
        cores: The cores used by ``server``, ``broker``, ``load`` and ``others``.
    """

    rate: float
    cpu: float
    frame: int
    cores: dict[str, float]


def run_fanout(
    subject: Subject, broker: Broker, count: int, seconds: float, body: bytes = BODY
) -> FanoutRun:
    """Connect ``count`` clients and keep them supplied with one message for ``seconds``.

    Raises:
        RuntimeError: A client has not received exactly what was published.
    """
    message = publish_frames(subject.exchange, "bench", body, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        clients = subject.connect(count)
        frame = probe(subject, clients, source, body)
        herd, unit = subject.herd(clients, frame)
        with closing(herd):
            source.published = 0
            _load(herd, source, unit, WINDOW[0], WARM_UP)
            messages = herd.total / unit / count
            window = min(max(WINDOW[0], messages / WARM_UP / 4), WINDOW[1])
            _load(herd, source, unit, window, WARM_UP / 2)
            meter, before = Meter(subject.process, broker.process), herd.total
            _load(herd, source, unit, window, seconds)
            usage, after = meter.usage(), herd.total
            while not source.flush():
                herd.pump(0.01)
            herd.drain(source.published * unit)
    deliveries = (after - before) / unit
    cpu = usage.server / deliveries * 1e6
    return FanoutRun(deliveries / usage.elapsed, cpu, frame, usage.cores())


def probe(subject: Subject, clients: Sequence[Client], source: Source, body: bytes = BODY) -> int:
    """Publish until every client has received the message, unchanged; the bytes of a frame.

    A raw client is not told when its subscription is in force, so the first may miss some.
    """
    sizes = set()
    for client in clients:
        client.socket.settimeout(0.2)
        deadline = time.monotonic() + 20
        while True:
            try:
                payload, size = client.read_sized_frame()
                break
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                source.publish()
        if subject.body(payload) != body:
            raise RuntimeError(f"{subject.name} delivered {payload!r}")
        sizes.add(size)
    time.sleep(0.3)
    for client in clients:
        client.discard()
    return max(sizes)


def _load(herd: Herd, source: Source, unit: int, window: float, seconds: float) -> None:
    """Publish bursts as earlier ones arrive, for some seconds."""
    audience = len(herd.clients) * unit
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while source.published - herd.total / audience < window and source.offer():
            pass
        herd.pump(0.01)
        # Let some more arrive: fewer and larger reads leave more of the machine to the server.
        time.sleep(_REST)
