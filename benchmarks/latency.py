"""Latency: the time from an AMQP publish to the frame at a client.

Messages come at a steady rate, each with the time at which it was sent, by one clock.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.fanout import BODY, CONTENT_TYPE, probe
from benchmarks.meter import Meter
from benchmarks.servers import Broker
from benchmarks.sockets import Client
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import Subject

STAMP = b"0" * 20
"""A place in a body for the time at which it was sent."""
_BODY = STAMP + BODY[len(STAMP) :]
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
    subject: Subject,
    broker: Broker,
    count: int,
    rate: int,
    seconds: float,
    watching: Callable[[Sequence[Client], int, int], Watch] | None = None,
) -> LatencyRun:
    """Publish ``rate`` messages a second to ``count`` clients for ``seconds``.

    The first half second does not count.

    Args:
        subject: What the clients connect to.
        broker: Its broker.
        count: How many clients.
        rate: How many messages a second.
        seconds: How long.
        watching: The class that reads the frames; None for frames of one length that end with
            the body, as those of the raw route.

    Raises:
        RuntimeError: A client has not received every message.
    """
    message = publish_frames(subject.exchange, "bench", _BODY, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        clients = subject.connect(count)
        frame = probe(subject, clients, source, _BODY)
        watch = (watching or Watch)(clients, frame, frame - len(_BODY))
        meter = Meter(subject.process, broker.process)
        with closing(watch):
            publish_steadily(source, message, watch, rate, seconds)
        others = meter.usage().cores()["others"]
    times = watch.milliseconds[int(_SKIPPED * rate) * count :]
    cuts = quantiles(times, n=100)
    return LatencyRun(cuts[49], cuts[98], max(times), len(watch.milliseconds), others)


def publish_steadily(
    source: Source, message: bytes, watch: Watch, rate: int, seconds: float
) -> None:
    """Publish at a steady rate until all was delivered, with the time in place of `STAMP`.

    Raises:
        RuntimeError: A client has not received every message.
    """
    before, _, behind = message.partition(STAMP)
    total, sent = int(rate * seconds), 0
    expected = len(watch.milliseconds) + total * watch.count
    start = time.monotonic() + 0.05
    while len(watch.milliseconds) < expected:
        now = time.monotonic()
        if sent < total and now >= start + sent / rate:
            source.publish(before + b"%0*d" % (len(STAMP), time.monotonic_ns()) + behind)
            sent += 1
        elif now > start + seconds + 5:
            raise RuntimeError("A client has not received every message")
        due = start + sent / rate if sent < total else now + 0.1
        watch.wait(max(0.0, due - time.monotonic()))


class Watch:
    """Reads the time of sending out of frames of one length.

    Args:
        clients: Who receives; closed with the watch.
        frame: Bytes of a frame.
        start: Where the time begins in it.

    Attributes:
        milliseconds: How long each delivery took, in the order of their arrival.
        count: How many clients.
    """

    def __init__(self, clients: Sequence[Client], frame: int, start: int) -> None:
        self.milliseconds: list[float] = []
        self.count = len(clients)
        self._frame = frame
        self._stamp = slice(start, start + len(STAMP))
        self._partial: dict[int, bytes] = {}
        self._epoll = select.epoll()
        self._sockets = {client.socket.fileno(): client.socket for client in clients}
        for descriptor in self._sockets:
            self._epoll.register(descriptor, select.EPOLLIN)

    def wait(self, timeout: float) -> None:
        """Take what the clients receive, for up to ``timeout`` seconds until some do."""
        for descriptor, _ in self._epoll.poll(timeout):
            self._received(descriptor, self._sockets[descriptor].recv(65536))

    def _received(self, descriptor: int, data: bytes) -> None:
        """Bytes that one client received just now."""
        now = time.monotonic_ns()
        data = self._partial.pop(descriptor, b"") + data
        whole = len(data) - len(data) % self._frame
        for offset in range(0, whole, self._frame):
            stamp = int(data[offset : offset + self._frame][self._stamp])
            self.milliseconds.append((now - stamp) / 1e6)
        if whole < len(data):
            self._partial[descriptor] = data[whole:]

    def close(self) -> None:
        """Close all sockets."""
        self._epoll.close()
        for client in self._sockets.values():
            client.close()


class StompWatch(Watch):
    """Reads the time of sending out of STOMP frames, whose length varies: the body begins with it.

    Its arguments are those of `Watch`; the clients alone are looked at.
    """

    _STAMPED = re.compile(rb"\n\n(\d{%d})" % len(STAMP))

    def _received(self, descriptor: int, data: bytes) -> None:
        now, end = time.monotonic_ns(), 0
        data = self._partial.pop(descriptor, b"") + data
        for found in self._STAMPED.finditer(data):
            self.milliseconds.append((now - int(found[1])) / 1e6)
            end = found.end()
        self._partial[descriptor] = data[end:]
