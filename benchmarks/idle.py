"""Idle clients: the resident memory that a connected, subscribed client costs."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

from benchmarks.fanout import BODY, CONTENT_TYPE, probe
from benchmarks.servers import Broker, Watched
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import Subject


@dataclass(frozen=True)
class IdleRun:
    """What one run measured.

    Attributes:
        share: Bytes of resident memory for each client: all that came with the clients, divided.
        slope: Bytes that one more client costs, from a fifth of the clients to all of them. The
            first ones find memory that the start of the process left behind.
        base: Bytes of the whole process (or both) without clients.
    """

    share: float
    slope: float
    base: int


def run_idle(subject: Subject, broker: Broker, count: int, *, with_broker: bool = False) -> IdleRun:
    """Connect and subscribe ``count`` clients, deliver one message to all, look at the memory.

    The subject should be started for this run: memory that an earlier run left would be used again
    and not be counted.

    Args:
        subject: What the clients connect to.
        broker: Its broker.
        count: How many clients.
        with_broker: Look at the memory of both, where it is not that of the subject alone.
    """
    processes = {subject.process, broker.process} if with_broker else {subject.process}
    message = publish_frames(subject.exchange, "bench", BODY, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        # What is loaded or compiled once, with the first client, is not the price of a client.
        first = subject.connect(20)
        probe(subject, first, source)
        for client in first:
            client.socket.close()
        base = _settled(processes)
        clients = subject.connect(count // 5)
        probe(subject, clients, source)
        few, some = len(clients), _settled(processes)
        clients += subject.connect(count - few)
        probe(subject, clients, source)
        everything = _settled(processes)
        for client in clients:
            client.socket.close()
    return IdleRun((everything - base) / count, (everything - some) / (count - few), base)


def _settled(processes: set[Watched]) -> int:
    """Resident memory once it has not changed for a second; after 10 seconds as it is."""
    deadline = time.monotonic() + 10
    last, since = _resident(processes), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 1:
        time.sleep(0.1)
        now = _resident(processes)
        if now != last:
            last, since = now, time.monotonic()
    return last


def _resident(processes: set[Watched]) -> int:
    return sum(process.resident() for process in processes)
