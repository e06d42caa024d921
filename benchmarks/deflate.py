"""Compression: what permessage-deflate saves on the wire, and what it costs the bridge.

The cost should be that of compressing a message once, whatever the number of clients. So the calls
of zlib are counted too, by cProfile in a bridge of their own.
"""

from __future__ import annotations

import json
import pstats
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.fanout import CONTENT_TYPE, probe
from benchmarks.servers import Broker, twbridge
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import JsonDialect

EVENT = json.dumps(
    {
        "type": "order.updated",
        "id": "0f7c5a52-3f0b-4a44-9f43-5d8f3f5f8f0e",
        "version": 17,
        "updated": "2026-03-14T09:26:53.589Z",
        "status": "shipped",
        "customer": {"id": 48211, "name": "Ada Lovelace", "email": "ada@example.com"},
        "items": [
            {"sku": "TW-1042", "title": "Network cable, 2 m", "quantity": 2, "price": "7.90"},
            {"sku": "TW-2210", "title": "Switch, 8 ports", "quantity": 1, "price": "34.50"},
        ],
        "total": "50.30",
        "currency": "EUR",
    },
    separators=(",", ":"),
).encode()
"""A message as an application has it, some 400 bytes."""


def count_compressions(broker: Broker, count: int, messages: int) -> float:
    """Publish to ``count`` clients that have it compressed; calls of zlib for each message.

    Raises:
        RuntimeError: A client has not received exactly what was published.
    """
    with tempfile.TemporaryDirectory(prefix="twbridge-bench-") as directory:
        path = Path(directory) / "profile"
        with twbridge(broker, "bench.profile", deflate=True, profile=path) as bridge:
            published = _broadcast(JsonDialect(bridge, deflate=True), broker, count, messages)
        statistics: Any = pstats.Stats(str(path))
    calls = sum(
        entry[1]
        for (_, _, function), entry in statistics.stats.items()
        if "zlib.compressobj" in function
    )
    return float(calls / published)


def _broadcast(subject: JsonDialect, broker: Broker, count: int, messages: int) -> int:
    """Publish so many messages at least; how many it were."""
    message = publish_frames(subject.exchange, "bench", EVENT, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        clients = subject.connect(count)
        frame = probe(subject, clients, source, EVENT)
        first = source.published
        herd, unit = subject.herd(clients, frame)
        with closing(herd):
            while source.published < first + messages:
                source.offer()
                herd.drain((source.published - first) * unit)
        return source.published
