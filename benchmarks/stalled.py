"""One stalled client among many: what the others notice of it, and what the bridge keeps for it.

Messages come at a steady rate, each with the time at which it was sent. All clients subscribe to
the same destination in JSON. First all of them read. Then one more comes that reads nothing, with
the overflow policy drop-oldest: else it would be disconnected.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.fanout import CONTENT_TYPE, probe
from benchmarks.latency import STAMP, Watch, publish_steadily
from benchmarks.meter import Meter
from benchmarks.servers import Bridge, Broker
from benchmarks.sockets import JSON_DIALECT, Client
from benchmarks.source import Source, publish_frames
from benchmarks.subjects import JsonDialect, ask

BODY = json.dumps({"sent": STAMP.decode(), "text": "x" * 4062}, separators=(",", ":")).encode()
"""4 KiB."""
SEND_BUFFER = 1 << 18
"""``limits.send_buffer`` of the bridge."""
FILL = 16 << 20
"""Bytes for the stalled client alone, before the measuring: what its socket takes, and more."""
_WARM_UP = SEND_BUFFER // len(BODY) * 5 // 4
"""Messages before the measuring: enough that those for the stalled client are being dropped."""
_WARM_UP_RATE = 50
_RECEIVE_BUFFER = 1 << 16


@dataclass(frozen=True)
class Phase:
    """What the clients that read have noticed in one measurement.

    Attributes:
        p99: 99 of 100 deliveries were not slower, in milliseconds.
        cpu: Microseconds of the bridge's CPU time for one delivery.
        others: The cores that were used by what has nothing to do with it.
    """

    p99: float
    cpu: float
    others: float


@dataclass(frozen=True)
class StalledRun:
    """What one run measured.

    Attributes:
        before: While all read.
        behind: The same clients, with one more that read nothing.
        grown: Bytes of resident memory that came with it.
        dropped: Messages that it was told were dropped, when it read at last.
    """

    before: Phase
    behind: Phase
    grown: int
    dropped: int


def run_stalled(
    bridge: Bridge, broker: Broker, count: int, rate: int, seconds: float
) -> StalledRun:
    """Publish ``rate`` messages a second to ``count`` clients, for ``seconds`` without and with.

    Raises:
        RuntimeError: A client has not received every message, or none was dropped for the one
            that read nothing.
    """
    message = publish_frames(bridge.exchange, "bench", BODY, CONTENT_TYPE)
    with closing(Source(broker.url, bridge.exchange, message)) as source:
        subject = JsonDialect(bridge, key="bench")
        clients = subject.connect(count - 1)
        frame = probe(subject, clients, source, BODY)
        with closing(Watch(clients, frame, _place(clients, source, frame))) as watch:
            before = _measure(bridge, broker, source, message, watch, rate, seconds)
            resident = bridge.process.resident()
            with closing(_Stalled(bridge, broker)) as stalled:
                behind = _measure(bridge, broker, source, message, watch, rate, seconds)
                grown = bridge.process.resident() - resident
                dropped = stalled.dropped()
    return StalledRun(before, behind, grown, dropped)


def _place(clients: Sequence[Client], source: Source, frame: int) -> int:
    """Where in a frame the time is; asks for one more message and throws it away."""
    source.publish()
    clients[0].socket.settimeout(5)
    payload = clients[0].read_frame()
    time.sleep(0.3)
    for client in clients:
        client.discard()
    return frame - len(payload) + payload.index(STAMP)


def _measure(
    bridge: Bridge,
    broker: Broker,
    source: Source,
    message: bytes,
    watch: Watch,
    rate: int,
    seconds: float,
) -> Phase:
    """Warm up, then publish at a steady rate."""
    publish_steadily(source, message, watch, _WARM_UP_RATE, _WARM_UP / _WARM_UP_RATE)
    watch.milliseconds.clear()
    meter = Meter(bridge.process, broker.process)
    publish_steadily(source, message, watch, rate, seconds)
    usage, times = meter.usage(), watch.milliseconds
    return Phase(
        quantiles(times, n=100)[98], usage.server / len(times) * 1e6, usage.cores()["others"]
    )


class _Stalled:
    """A client that reads nothing; its buffers are full once this is made.

    Args:
        bridge: Where it connects.
        broker: What it hears of.
    """

    def __init__(self, bridge: Bridge, broker: Broker) -> None:
        self._destination = f"/exchange/{bridge.exchange}/bench"
        self._client = Client(bridge.address, JSON_DIALECT)
        # Else the kernel takes more and more of what nobody reads.
        self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        fill = {"destination": f"/exchange/{bridge.exchange}/fill"}
        policy: dict[str, object] = {"op": "subscribe", "overflow": "drop-oldest"}
        ask([self._client], policy | {"destination": self._destination})
        self._client.send_text(json.dumps(policy | fill))
        self._client.read_frame()
        message = publish_frames(bridge.exchange, "fill", BODY, CONTENT_TYPE)
        with closing(Source(broker.url, bridge.exchange, message)) as source:
            while source.published < FILL // len(BODY):
                source.offer()
                time.sleep(0.001)
            while not source.flush():
                time.sleep(0.001)
            _settle(bridge)
        self._client.send_text(json.dumps({"op": "unsubscribe"} | fill))
        _settle(bridge)

    def dropped(self) -> int:
        """Read at last; how many messages were dropped for it while the others had theirs.

        Raises:
            TimeoutError: It was not told of any.
        """
        while True:
            event = json.loads(self._client.read_frame())
            if event["op"] == "dropped" and event["destination"] == self._destination:
                return int(event["count"])

    def close(self) -> None:
        """Close its socket."""
        self._client.socket.close()


def _settle(bridge: Bridge) -> None:
    """Wait until the bridge has had nothing to do for a moment."""
    before, now = -1.0, bridge.process.cpu()
    while now > before:
        time.sleep(0.3)
        before, now = now, bridge.process.cpu()
