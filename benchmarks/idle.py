"""Idle clients: the resident memory that a connected, subscribed client costs."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

from benchmarks.fanout import BODY, CONTENT_TYPE, probe
from benchmarks.servers import Broker
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import Subject


@dataclass(frozen=True)
class IdleRun:
    """What one run measured.

    Attributes:
        share: Bytes of resident memory for each client: all that came with the clients, divided.
        slope: Bytes that one more client costs, from a fifth of the clients to all of them. The
            first ones find memory that the start of the process left behind.
        base: Bytes of the whole process without clients.
    """

    share: float
    slope: float
    base: int


def run_idle(subject: Subject, broker: Broker, count: int) -> IdleRun:
    """Connect and subscribe ``count`` clients, deliver one message to all, look at the memory.

    The subject should be started for this run: memory that an earlier run left would be used again
    and not be counted.
    """
    message = publish_frames(subject.exchange, "bench", BODY, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        # What is loaded or compiled once, with the first client, is not the price of a client.
        first = subject.connect(20)
        probe(subject, first, source)
        for client in first:
            client.socket.close()
        base = _settled(subject)
        clients = subject.connect(count // 5)
        probe(subject, clients, source)
        few, some = len(clients), _settled(subject)
        clients += subject.connect(count - few)
        probe(subject, clients, source)
        everything = _settled(subject)
        for client in clients:
            client.socket.close()
    return IdleRun((everything - base) / count, (everything - some) / (count - few), base)


def _settled(subject: Subject) -> int:
    """Resident memory once it has not changed for a second; after 10 seconds as it is."""
    deadline = time.monotonic() + 10
    last, since = subject.process.resident(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 1:
        time.sleep(0.1)
        now = subject.process.resident()
        if now != last:
            last, since = now, time.monotonic()
    return last
