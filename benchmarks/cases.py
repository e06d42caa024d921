"""The cases of a bridge: codec, fan-out, publishes, idle clients, latency."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks.codec import run_codec
from benchmarks.fanout import run_fanout
from benchmarks.idle import run_idle
from benchmarks.latency import run_latency
from benchmarks.publishing import run_publishing
from benchmarks.results import Claim, Section
from benchmarks.servers import Bridge, Broker, node_bridge, rabbitmq, twbridge
from benchmarks.subjects import JsonDialect, RawRoute, Subject, web_stomp

OURS, NODE, STOMP = "twbridge", "Node ws + amqplib", "RabbitMQ Web STOMP"
CORES = {"server": "cores, server", "broker": "cores, broker", "load": "cores, load"}


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        turns: How often every subject of a case has its turn.
        seconds: How long a run lasts, without its warming up.
        idle_clients: How many idle clients.
        messages: How many messages a run of the codec handles.
        stream: How many messages a stream has.
        audience: How many clients there are beside a stalled one, that one included.
    """

    turns: int = 5
    seconds: float = 4.0
    idle_clients: int = 5000
    messages: int = 50000
    stream: int = 100000
    audience: int = 1000


def codec(plan: Plan) -> dict[str, Section]:
    """CPU for one message: deliver to callback, publish with confirm."""
    deliver = Section(
        "Codec: deliver to callback, 100-byte messages",
        {"deliver-memory": "CPU us/message, bytes to callback", "deliver": "from RabbitMQ"},
    )
    publish = Section(
        "Codec: publish, 100-byte messages",
        {"publish-memory": "CPU us/message, call to bytes", "publish": "to RabbitMQ"},
        note="twbridge's publish waits for the broker's confirm. txAMQP has no confirms.",
    )
    names = {OURS: "twbridge", "txAMQP 0.8.2": "txAMQP", "pika, Twisted adapter": "pika"}
    confirming = {"pika, Twisted adapter, confirms": "pika-confirms"}
    with rabbitmq() as broker:
        for section, subjects in ((deliver, names), (publish, names | confirming)):
            for _ in range(plan.turns):
                for subject, client in subjects.items():
                    for what in section.units:
                        cost = run_codec(client, what, broker, plan.messages)
                        section.of(subject).add(**{what: cost})
                        say(f"{subject}, {what}: {cost:.2f} us")
    for section, text, bound in (
        (deliver, "Deliver to callback", 4),
        (publish, "Publish with confirm", 10),
    ):
        for what, heading in section.units.items():
            where = "RabbitMQ" if "RabbitMQ" in heading else "memory"
            cost = section.of(OURS).median(what)
            section.claims.append(Claim(f"{text}, {where}", cost, "at most", bound, "us"))
    return {"codec-deliver": deliver, "codec-publish": publish}


def fanout(plan: Plan) -> dict[str, Section]:
    """Deliveries a second to 100 and 500 clients, raw and JSON."""
    units = {"rate": "deliveries/s", "cpu": "CPU us/delivery", **CORES}
    sections = {}
    with rabbitmq() as broker, twbridge(broker) as ours, node_bridge(broker) as node:
        stomp = web_stomp(broker)
        raw: list[Subject] = [RawRoute(ours), RawRoute(node), stomp]
        json: list[Subject] = [JsonDialect(ours), JsonDialect(node)]
        for key, title, subjects, count, node_bound in (
            ("fanout-raw-100", "Fan-out: raw route, 100 clients", raw, 100, 3),
            ("fanout-raw-500", "Fan-out: raw route, 500 clients", raw, 500, 6),
            ("fanout-json-100", "Fan-out: JSON dialect, 100 clients", json, 100, 3),
        ):
            section = sections[key] = Section(title, units)
            for _ in range(plan.turns):
                for subject in subjects:
                    run = run_fanout(subject, broker, count, plan.seconds)
                    section.of(subject.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
                    say(f"{title}: {subject.name}: {run}")
            section.claims.append(times(section, NODE, node_bound))
            if stomp in subjects:
                section.claims.append(times(section, STOMP, 10))
    return sections


def times(section: Section, rival: str, bound: float) -> Claim:
    ratio = section.ratio("rate", OURS, rival)
    return Claim(f"Deliveries/s, twbridge / {rival}", ratio, "at least", bound)


def publish(plan: Plan) -> dict[str, Section]:
    """Confirmed publishes a second of 8 JSON clients."""
    units = {"rate": "confirmed/s", "cpu": "CPU us/message", **CORES}
    sections = {}
    with rabbitmq() as broker, twbridge(broker) as ours, node_bridge(broker) as node:
        for key, title, routed in (
            ("publish-routed", "Confirmed publishes: 8 JSON clients, into a queue", True),
            ("publish-unrouted", "Confirmed publishes: 8 JSON clients, no queue bound", False),
        ):
            section = sections[key] = Section(title, units)
            for _ in range(plan.turns):
                for bridge in (ours, node):
                    run = run_publishing(bridge, broker, 8, plan.seconds, routed=routed)
                    section.of(bridge.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
                    say(f"{title}: {bridge.name}: {run}")
            ratio = section.ratio("rate", OURS, NODE)
            section.claims.append(Claim(f"Confirmed/s, twbridge / {NODE}", ratio, "at least", 0.8))
    return sections


def idle(plan: Plan) -> dict[str, Section]:
    """Resident memory of idle, subscribed clients."""
    units = {
        "share": "KB/client, all",
        "slope": "KB/client, the last four fifths",
        "base": "MB without clients",
    }
    sections = {}
    compressing = partial(twbridge, deflate=True)
    for key, title, subject, starts, bound in (
        ("idle-raw", "raw route", RawRoute, [twbridge, node_bridge], 16),
        ("idle-json", "JSON dialect", JsonDialect, [twbridge, node_bridge], 16),
        (
            "idle-deflate",
            "JSON dialect, with compression",
            partial(JsonDialect, deflate=True),
            [compressing],
            29,
        ),
    ):
        section = Section(f"{plan.idle_clients:,} idle subscribed clients: {title}", units)
        sections[key] = section
        with rabbitmq() as broker:
            # Memory does not jitter as time does, and each run needs a fresh process.
            for start in starts * min(plan.turns, 3):
                with _started(start, broker) as bridge:
                    run = run_idle(subject(bridge), broker, plan.idle_clients)
                section.of(bridge.name).add(
                    share=run.share / 1024,
                    slope=run.slope / 1024,
                    base=run.base / 2**20,
                )
                say(f"{section.title}: {bridge.name}: {run}")
        worst = max(section.of(OURS).median(name) for name in ("share", "slope"))
        section.claims.append(Claim("Memory of a client", worst, "at most", bound, "KB"))
    return sections


def _started(
    start: Callable[[Broker], AbstractContextManager[Bridge]], broker: Broker
) -> AbstractContextManager[Bridge]:
    return start(broker)


def latency(plan: Plan) -> dict[str, Section]:
    """Time from publish to frame, 50 raw clients, 200 messages a second."""
    title = "Latency: AMQP publish to frame, 50 raw clients, 200 messages/s"
    section = Section(title, {"p50": "p50 ms", "p99": "p99 ms", "worst": "slowest ms"})
    with rabbitmq() as broker, twbridge(broker) as ours, node_bridge(broker) as node:
        for _ in range(plan.turns):
            for subject in (RawRoute(ours), RawRoute(node)):
                run = run_latency(subject, broker, 50, 200, plan.seconds + 1)
                section.of(subject.name).add(
                    p50=run.p50, p99=run.p99, worst=run.worst, others=run.others
                )
                say(f"{title}: {subject.name}: {run}")
    ratio = section.ratio("p99", OURS, NODE)
    section.claims.append(Claim(f"p99, twbridge / {NODE}", ratio, "at most", 1))
    return {"latency": section}


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)
