"""Latency: the time from an AMQP publish to the frame at a client.

Messages come at a steady rate, each with the time at which it was sent, by one clock.
"""

from __future__ import annotations

import select
import time
from contextlib import closing
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.fanout import BODY, CONTENT_TYPE, probe
from benchmarks.meter import Meter
from benchmarks.servers import Broker
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import Subject

_STAMP = 20
_SKIPPED = 0.5


@dataclass(frozen=True)
class LatencyRun:
    """What one run measured, in milliseconds, over every delivery of every client.

    Attributes:
        p50: Half of them were not slower.
        p99: 99 of 100 were not slower.
        worst: None was slower.
        deliveries: How many there were.
        others: The cores that were used by what has nothing to do with it.
    """

    p50: float
    p99: float
    worst: float
    deliveries: int
    others: float


def run_latency(
    subject: Subject, broker: Broker, count: int, rate: int, seconds: float
) -> LatencyRun:
    """Publish ``rate`` messages a second to ``count`` raw clients for ``seconds``.

    The first half second does not count.

    Raises:
        RuntimeError: A client has not received every message.
    """
    message = publish_frames(subject.exchange, "bench", BODY, CONTENT_TYPE)
    stamped_at = message.index(BODY)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        clients = subject.connect(count)
        frame = probe(subject, clients, source)
        with closing(select.epoll()) as epoll:
            receivers = {}
            for client in clients:
                epoll.register(client.socket, select.EPOLLIN)
                receivers[client.socket.fileno()] = client.socket.recv
            total = int(rate * seconds)
            meter = Meter(subject.process, broker.process)
            watch = _Watch(frame, frame - len(BODY))
            start = time.monotonic() + 0.05
            sent = 0
            while watch.deliveries < total * count:
                now = time.monotonic()
                if sent < total and now >= start + sent / rate:
                    stamp = b"%0*d" % (_STAMP, time.monotonic_ns())
                    source.publish(message[:stamped_at] + stamp + message[stamped_at + _STAMP :])
                    sent += 1
                elif now > start + seconds + 5:
                    raise RuntimeError(f"{watch.deliveries} deliveries of {total * count}")
                due = start + sent / rate if sent < total else now + 0.1
                for descriptor, _ in epoll.poll(max(0.0, due - time.monotonic())):
                    watch.received(descriptor, receivers[descriptor](65536))
        others = meter.usage().cores()["others"]
        for client in clients:
            client.socket.close()
    times = watch.milliseconds[int(_SKIPPED * rate) * count :]
    cuts = quantiles(times, n=100)
    return LatencyRun(cuts[49], cuts[98], max(times), watch.deliveries, others)


class _Watch:
    """Reads the time of sending out of frames of one length.

    Args:
        frame: Bytes of a frame.
        start: Where the body begins in it.
    """

    def __init__(self, frame: int, start: int) -> None:
        self.milliseconds: list[float] = []
        self.deliveries = 0
        self._frame = frame
        self._stamp = slice(start, start + _STAMP)
        self._partial: dict[int, bytes] = {}

    def received(self, descriptor: int, data: bytes) -> None:
        """Take bytes that one client received just now."""
        now = time.monotonic_ns()
        data = self._partial.pop(descriptor, b"") + data
        whole = len(data) - len(data) % self._frame
        for offset in range(0, whole, self._frame):
            stamp = int(data[offset : offset + self._frame][self._stamp])
            self.milliseconds.append((now - stamp) / 1e6)
            self.deliveries += 1
        if whole < len(data):
            self._partial[descriptor] = data[whole:]
